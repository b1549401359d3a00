-- A waiting room in front of an event: a row here turns it on.
create table ticketing.waiting_rooms (
    event_id text primary key references ticketing.events (id),
    -- Whoever comes before stands in an order drawn by lot; whoever comes later stands behind, first come first served.
    opens_at timestamptz not null,
    -- The last place in the line that was given.
    last_place bigint not null default 0 check (last_place >= 0),
    -- Places up to this one may book.
    admitted bigint not null default 0 check (admitted between 0 and last_place),
    -- Signs the places: 244 random bits.
    secret bytea not null default uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) check (length(secret) >= 32)
) with (fillfactor = 50);

-- Who stands in the line. One buyer has one place, however often they ask. No foreign key: each who comes would lock the room.
create table ticketing.queue_places (
    event_id text not null check (event_id <> ''),
    user_id text not null check (user_id <> ''),
    joined_at timestamptz not null default now(),
    -- The lot of those who came before the opening.
    lot double precision not null default random(),
    -- Given soon after the opening, or after joining.
    place bigint check (place > 0),
    primary key (event_id, user_id),
    unique (event_id, place)
) with (fillfactor = 70);

-- Those who have no place yet: nobody, most of the time.
create index queue_places_without on ticketing.queue_places (event_id) where place is null;
