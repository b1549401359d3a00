-- Tickets: the keys that sign them, who may let people in, and who was.

-- The first of the keys (the newest) signs; tickets signed with the others stay good, so rows are not deleted. Whoever can read this table can print
-- tickets, and still gets in with none: the door asks whose the seat is.
create table ticketing.ticket_keys (
    id text primary key check (id <> ''),
    seed bytea not null check (octet_length(seed) = 32),
    created_at timestamptz not null default now()
);

-- A pass lets one door's devices check tickets of one event, until it ends or is revoked. The token itself is not kept.
create table ticketing.door_passes (
    event_id text not null check (event_id <> ''),
    digest bytea not null check (octet_length(digest) = 32),
    door text not null check (door <> ''),
    created_at timestamptz not null default now(),
    expires_at timestamptz not null check (expires_at > created_at),
    revoked_at timestamptz,
    primary key (event_id, digest)
);

-- One row a seat and booking that was let in: the key is what makes a ticket good for one person. A ticket that was given back and sold
-- again has another booking.
create table ticketing.check_ins (
    event_id text not null check (event_id <> ''),
    booking_id uuid not null,
    seat_id text not null check (seat_id <> ''),
    -- By the device's clock, where it had no network then.
    admitted_at timestamptz not null,
    recorded_at timestamptz not null default now(),
    door text not null check (door <> ''),
    -- Chosen by the device: the same scan sent again is no second one.
    scan_id uuid not null,
    primary key (event_id, seat_id, booking_id)
);

-- What was taken back, and why.
create table ticketing.check_ins_undone (
    event_id text not null check (event_id <> ''),
    booking_id uuid not null,
    seat_id text not null check (seat_id <> ''),
    admitted_at timestamptz not null,
    admitted_by text not null,
    undone_at timestamptz not null default now(),
    undone_by text not null,
    reason text not null check (reason <> ''),
    scan_id uuid not null,
    primary key (event_id, booking_id, seat_id, scan_id)
);

-- Guests find their order by its number.
create index holds_by_number on ticketing.holds (confirmation_number) where confirmation_number is not null;
