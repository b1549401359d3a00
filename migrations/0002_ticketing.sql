-- The ticket shop's tables. Every key that concerns an event begins with event_id, so that an event's seats, holds and
-- confirmation numbers could live together on one shard.
create schema if not exists ticketing;

create table ticketing.events (
    id text primary key check (id <> ''),
    name text not null check (name <> ''),
    venue text not null,
    city text not null,
    starts_at timestamptz not null,
    -- IANA name, e.g. America/New_York: what the venue's clock shows.
    time_zone text not null,
    -- ISO 4217, lower case as Stripe writes it.
    currency text not null check (currency ~ '^[a-z]{3}$'),
    status text not null default 'on_sale' check (status in ('draft', 'on_sale', 'closed', 'cancelled')),
    attributes jsonb not null default '{}' check (jsonb_typeof(attributes) = 'object'),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

-- Who holds which seat: the one truth about it. A seat changes two or three times in its life, so no index covers a column
-- that changes (status, booking_id, held_until) and the fillfactor leaves room on each page: every change is a HOT update.
-- No foreign key from booking_id to holds: every claim would check it, and audits compare the two (activities::seats::audit).
create table ticketing.seats (
    event_id text not null references ticketing.events (id),
    seat_id text not null check (seat_id <> ''),
    section text not null,
    row_name text not null,
    number integer not null check (number > 0),
    price_cents bigint not null check (price_cents >= 0),
    status text not null default 'available' check (status in ('available', 'held', 'sold')),
    booking_id uuid,
    held_until timestamptz,
    primary key (event_id, seat_id),
    check ((status = 'available') = (booking_id is null)),
    check ((status = 'held') = (held_until is not null))
) with (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.1,
        autovacuum_vacuum_cost_delay = 0);

-- Finds the free seats of a section by reading that section alone (some hundred rows), in the order of its rows.
create unique index seats_by_place on ticketing.seats (event_id, section, row_name, number);

-- What a booking has or had in its hands. A released hold stays as a tombstone: a task that comes late finds it, and may not
-- take the seats a second time. Rows change only under the locks of all of their seats, which is why nobody locks them.
-- No foreign key to events: each hold would lock the same event's row.
create table ticketing.holds (
    event_id text not null check (event_id <> ''),
    booking_id uuid not null,
    -- Never changes. Empty for a tombstone of a booking that never held a seat.
    seat_ids text[] not null,
    status text not null check (status in ('held', 'confirmed', 'released')),
    reserved_at timestamptz,
    expires_at timestamptz,
    total_cents bigint check (total_cents >= 0),
    -- Given to every hold at once, shown when confirmed: set at insert, so that confirming changes no unique column.
    confirmation_number text,
    confirmed_at timestamptz,
    released_at timestamptz,
    release_reason text check (release_reason in ('EXPIRED', 'PAYMENT_FAILED', 'CANCELLED')),
    primary key (event_id, booking_id),
    unique (event_id, confirmation_number),
    -- A hold that was given has all of its facts; a tombstone may have none.
    check (status = 'released' or cardinality(seat_ids) > 0),
    check (num_nulls(reserved_at, expires_at, total_cents, confirmation_number) = case cardinality(seat_ids) when 0 then 4 else 0 end),
    check (expires_at > reserved_at),
    check ((status = 'released') = (released_at is not null)),
    check ((status = 'released') = (release_reason is not null)),
    check (status <> 'confirmed' or confirmed_at is not null),
    check (status <> 'held' or confirmed_at is null)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.1,
        autovacuum_vacuum_cost_delay = 0);

-- What the safety net looks for. It costs the confirming update its HOT, and keeps the net's price independent of the past.
create index holds_by_expiry on ticketing.holds (expires_at) where status = 'held';

-- Which messages went out, by idempotency key. 'sending' is written before the conversation with the mail server, 'sent' after.
create table ticketing.notifications_sent (
    key text primary key check (key <> ''),
    booking_id uuid not null,
    channel text not null check (channel in ('email')),
    recipient text not null,
    template text not null,
    message_id text not null,
    status text not null check (status in ('sending', 'sent')),
    attempts integer not null default 1 check (attempts > 0),
    -- Until then the sender may be in mid-conversation, and nobody else sends.
    leased_until timestamptz not null,
    created_at timestamptz not null default now(),
    sent_at timestamptz,
    check ((status = 'sent') = (sent_at is not null))
) with (fillfactor = 80);

-- ---------------------------------------------------------------------------------------------------------------------
-- Payments (activities/src/payments)
-- ---------------------------------------------------------------------------------------------------------------------

-- One attempt at taking a booking's money, by the idempotency key of the effect. Written around the calls to the provider; no
-- transaction is open across one. A confirmation is sent only after 'confirming' is committed, and 'canceled' or 'failed'
-- follows 'new' only if it is not: that makes this row the fence between whoever charges and whoever gives up.
create table ticketing.payments (
    key text primary key check (key <> ''),
    booking_id uuid not null,
    status text not null default 'new'
        check (status in ('new', 'confirming', 'pending', 'succeeded', 'refunded', 'failed', 'canceled')),
    intent_id text unique check (intent_id <> ''),
    amount_cents bigint not null check (amount_cents > 0),
    currency text not null check (currency ~ '^[a-z]{3}$'),
    -- The provider answered the confirmation with an error of its own, which it will repeat for this key.
    confirm_spent boolean not null default false,
    -- {code, message, retryable, details}: what a later run under the same key answers.
    failure jsonb,
    -- Part of the refund's idempotency key; counted up when a refund was answered with a failure.
    refund_attempt integer not null default 1 check (refund_attempt > 0),
    refund_id text,
    refunded_cents bigint not null default 0 check (refunded_cents between 0 and amount_cents),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (status not in ('confirming', 'pending', 'succeeded', 'refunded') or intent_id is not null),
    check ((status = 'failed') = (failure is not null)),
    check ((status = 'refunded') = (refunded_cents > 0))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.1,
        autovacuum_vacuum_cost_delay = 0);

create index payments_by_booking on ticketing.payments (booking_id);
