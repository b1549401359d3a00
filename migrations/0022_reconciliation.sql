-- The daily comparison of our ledger with the payment provider's lists (docs/payments.md). On a cluster it stays beside the ledger.
create table ticketing.reconciliations (
    -- The saga.
    id uuid primary key,
    -- What is compared: what came about from … until …, by the provider's clock.
    from_at timestamptz not null,
    until_at timestamptz not null,
    -- Which list is read, and behind which of its objects it goes on.
    phase text not null default 'payments' check (phase in ('payments', 'refunds', 'ours', 'done')),
    cursor text,
    payments bigint not null default 0 check (payments >= 0),
    refunds bigint not null default 0 check (refunds >= 0),
    differences bigint not null default 0 check (differences >= 0),
    began_at timestamptz not null default now(),
    finished_at timestamptz,
    check (from_at < until_at),
    check ((phase = 'done') = (finished_at is not null))
);

-- What the provider has listed, until its run ends: what of ours is not among it is asked for by itself.
create table ticketing.reconciliation_seen (
    id uuid not null references ticketing.reconciliations on delete cascade,
    reference text not null check (reference <> ''),
    primary key (id, reference)
);

-- Where the two don't agree; each becomes a saga that an operator finds among the stuck ones.
create table ticketing.payment_differences (
    -- The provider's id of the payment or the refund.
    reference text primary key check (reference <> ''),
    kind text not null check (kind in ('payment', 'refund')),
    booking_id uuid,
    -- In minor units; nothing: it isn't there, or isn't paid.
    ours_cents bigint,
    theirs_cents bigint,
    found_by uuid not null,
    found_at timestamptz not null default now(),
    -- new: its saga has yet to be started. open: an operator has it. settled: the two agree.
    status text not null default 'new' check (status in ('new', 'open', 'settled')),
    next_attempt_at timestamptz not null default now(),
    settled_at timestamptz,
    check ((status = 'settled') = (settled_at is not null))
);
create index payment_differences_due on ticketing.payment_differences (next_attempt_at) where status = 'new';
