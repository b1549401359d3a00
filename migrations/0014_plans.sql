-- A booking's hold is looked up by (event_id, booking_id) only. While the table is small, or not analysed yet, every index that begins with
-- event_id looks as good to the planner as the primary key, and the one it took read all holds of the event for each booking.
alter table ticketing.holds drop constraint holds_event_id_confirmation_number_key;
create unique index holds_by_confirmation_number on ticketing.holds (confirmation_number, event_id);

-- The same of a buyer's place in a line of half a million.
alter table ticketing.queue_places drop constraint queue_places_event_id_place_key;
create unique index queue_places_by_place on ticketing.queue_places (place, event_id);
