-- What the payment provider told us, kept before it is answered: each event once, however often it is repeated. Only what is
-- needed to wake the booking is kept; the state itself is always fetched from the provider again.
create table ticketing.webhook_inbox (
    -- The provider's own id (evt_…), by which repetitions are known.
    event_id text primary key check (event_id <> ''),
    kind text not null,
    booking_id uuid,
    object_id text,
    created_at timestamptz,
    received_at timestamptz not null default now(),
    repeats integer not null default 0 check (repeats >= 0),
    -- waiting: its booking has yet to be told. ignored: it concerns no booking. expired: its booking never came.
    status text not null check (status in ('waiting', 'delivered', 'ignored', 'expired')),
    attempts integer not null default 0 check (attempts >= 0),
    next_attempt_at timestamptz,
    finished_at timestamptz,
    note text,
    check ((status = 'waiting') = (next_attempt_at is not null)),
    check ((status = 'waiting') = (finished_at is null)),
    check (status = 'ignored' or booking_id is not null)
) with (autovacuum_vacuum_scale_factor = 0.05);

-- What is due: holds only what is still waiting, however long the past grows.
create index webhook_inbox_due on ticketing.webhook_inbox (next_attempt_at) where status = 'waiting';

-- What can be forgotten.
create index webhook_inbox_finished on ticketing.webhook_inbox (finished_at) where status <> 'waiting';
