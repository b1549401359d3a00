-- Searches for events by words and by city, among many that are over.
create index events_words on ticketing.events using gin (words);
create index events_city on ticketing.events (lower(city), starts_at, id);
