-- What organisers say of their events. Those of before have none of it: they belong to nobody, and are on sale while their status says so.
alter table ticketing.events
    -- No foreign keys: events are copied to every node of a cluster, organisations and venues are not.
    add column organisation_id uuid,
    add column venue_id uuid,
    add column performers text[] not null default '{}',
    -- When they are sold; null: no limit on that side.
    add column sale_starts_at timestamptz,
    add column sale_ends_at timestamptz,
    add column seats_per_order_max integer check (seats_per_order_max > 0),
    -- Tiers, fees and taxes: see gateway/src/events/pricing.rs. Money is in minor units.
    add column pricing jsonb not null default '{}' check (jsonb_typeof(pricing) = 'object'),
    -- When it was to begin before it was postponed for the first time.
    add column postponed_from timestamptz,
    -- Counts changes: what is published about it carries it, so that readers know what is newer.
    add column version bigint not null default 1 check (version > 0),
    add column stage_x real not null default 0,
    add column stage_y real not null default 0,
    add check (sale_ends_at > sale_starts_at);

-- `on_sale`: published; whether it is sold at this moment its window says.
alter table ticketing.events drop constraint events_status_check;
alter table ticketing.events add constraint events_status_check
    check (status in ('draft', 'on_sale', 'postponed', 'closed', 'cancelled'));

-- The one place that says whether an event is sold now, on the database's clock.
create function ticketing.sale_status(status text, sale_starts_at timestamptz, sale_ends_at timestamptz) returns text
language sql stable parallel safe
return case
    when status is distinct from 'on_sale' then status
    when sale_starts_at > now() then 'upcoming'
    when sale_ends_at <= now() then 'closed'
    else 'on_sale'
end;

-- What a search for text looks at.
create function ticketing.event_words(name text, venue text, city text, performers text[]) returns tsvector
language sql immutable parallel safe
return to_tsvector('simple'::regconfig, name || ' ' || venue || ' ' || city || ' ' || array_to_string(performers, ' '));
alter table ticketing.events add column words tsvector
    generated always as (ticketing.event_words(name, venue, city, performers)) stored;

-- The order in which they are listed.
create index events_by_start on ticketing.events (starts_at, id);
create index events_by_organisation on ticketing.events (organisation_id, id) where organisation_id is not null;

-- Where a seat is and what is to be known about it; null: not known.
alter table ticketing.seats add column x real, add column y real, add column marks text[];

-- `house`: the organiser keeps it. No booking has it, and none can take it.
alter table ticketing.seats drop constraint seats_status_check, drop constraint seats_check;
alter table ticketing.seats
    add constraint seats_status_check check (status in ('available', 'held', 'sold', 'house')),
    add constraint seats_check check ((status in ('available', 'house')) = (booking_id is null));

-- What happened to events and is to be published: written with what happened, in one transaction, and deleted once the engine has it.
create table ticketing.event_changes (
    id uuid primary key,
    kind text not null check (kind in ('created', 'updated', 'seats_released')),
    event_id text not null check (event_id <> ''),
    data jsonb not null default '{}' check (jsonb_typeof(data) = 'object'),
    created_at timestamptz not null default now(),
    attempts integer not null default 0 check (attempts >= 0),
    next_attempt_at timestamptz not null default now()
) with (autovacuum_vacuum_scale_factor = 0.05);
create index event_changes_due on ticketing.event_changes (next_attempt_at);
