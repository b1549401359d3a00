-- Until how many hours before an event a buyer may give tickets back; none: never. Organisers and operators may at any time.
alter table ticketing.events add column refund_hours integer default 48 check (refund_hours >= 0);

-- What a confirmed booking has given back. Written with its seats' return, under their locks: so nothing is given back twice, and the
-- amounts of a booking add up to its price. The hold keeps only the seats that the booking still has, and their price.
create table ticketing.refunds (
    event_id text not null check (event_id <> ''),
    booking_id uuid not null,
    -- The refund's saga.
    refund_id uuid not null,
    seat_ids text[] not null check (cardinality(seat_ids) > 0),
    amount_cents bigint not null check (amount_cents >= 0),
    -- What the booking had left afterwards.
    seats_left integer not null check (seats_left >= 0),
    returned_at timestamptz not null default now(),
    -- When the money went back.
    refunded_at timestamptz,
    primary key (event_id, booking_id, refund_id)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.1);

-- An event that was called off, and how far its bookings are (docs/payments.md).
create table ticketing.event_cancellations (
    event_id text primary key check (event_id <> ''),
    -- The saga.
    cancellation_id uuid not null,
    reason text not null,
    began_at timestamptz not null default now(),
    finished_at timestamptz
);

-- Each booking of it that had or may get seats.
create table ticketing.event_cancellation_items (
    event_id text not null references ticketing.event_cancellations (event_id),
    booking_id uuid not null,
    -- due: to be taken up. begun: its refund has been started, or it was told to end. done: it has no seats, and the money is back.
    status text not null default 'due' check (status in ('due', 'begun', 'done')),
    -- refund: it is confirmed. cancel: it is in flight.
    deed text not null check (deed in ('refund', 'cancel')),
    attempts integer not null default 0 check (attempts >= 0),
    -- Not before.
    next_attempt_at timestamptz not null default now(),
    done_at timestamptz,
    primary key (event_id, booking_id),
    check ((status = 'done') = (done_at is not null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.1,
        autovacuum_vacuum_cost_delay = 0);
create index event_cancellation_items_due on ticketing.event_cancellation_items (next_attempt_at) where status = 'due';
create index event_cancellation_items_open on ticketing.event_cancellation_items (event_id, booking_id) where status <> 'done';
