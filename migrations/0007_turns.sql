-- Turns that aren't used end, and the next in line have them.
alter table ticketing.waiting_rooms
    -- How long a turn lasts once it has come, while others wait.
    add column turn_seconds integer not null default 300 check (turn_seconds > 0),
    -- The turns of places up to this one are over.
    add column ended bigint not null default 0,
    -- Turns that ended unused and were not yet given to others.
    add column unused bigint not null default 0 check (unused >= 0),
    add check (ended between 0 and admitted);

-- When a buyer booked with this place.
alter table ticketing.queue_places add column used_at timestamptz;

-- How far a line had moved by when: one row for some seconds, forgotten when the turns of those places are over.
create table ticketing.queue_turns (
    event_id text not null references ticketing.waiting_rooms (event_id) on delete cascade,
    until timestamptz not null,
    admitted bigint not null check (admitted > 0),
    primary key (event_id, until)
) with (fillfactor = 50);
