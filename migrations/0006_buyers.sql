-- How many seats of an event one buyer may have, held and sold together. Null: as many as they like.
alter table ticketing.events add column seats_per_buyer_max integer check (seats_per_buyer_max > 0);

-- Whose hold it is. Kept whether or not the event has a limit, so that one that is set later counts what was there before.
alter table ticketing.holds add column user_id text check (user_id <> '');

-- What a buyer has of an event.
create index holds_by_buyer on ticketing.holds (event_id, user_id) where user_id is not null and status <> 'released';

-- The buyers of events with a limit, to be locked while their seats are counted: two claims of one buyer may be on their way
-- at once, for different seats. What they have is counted in holds, never kept here.
create table ticketing.event_buyers (
    event_id text not null check (event_id <> ''),
    user_id text not null check (user_id <> ''),
    primary key (event_id, user_id)
);
