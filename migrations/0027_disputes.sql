-- Payments that their buyers have taken to the bank, as the payment provider tells of them (docs/payments.md). Beside ticketing.payments.
create table ticketing.disputes (
    -- The provider's.
    dispute_id text primary key check (dispute_id <> ''),
    intent_id text,
    -- None: the payment is none of ours.
    booking_id uuid,
    amount_cents bigint not null check (amount_cents >= 0),
    currency text not null check (currency ~ '^[a-z]{3}$'),
    reason text not null,
    -- In the provider's words: a bank's inquiry goes through the same with warning_ before it.
    status text not null check (status <> ''),
    respond_by timestamptz,
    opened_at timestamptz not null,
    seen_at timestamptz not null default now()
);
create index disputes_by_booking on ticketing.disputes (booking_id) where booking_id is not null;

-- Events about refunds that failed and about disputes concern us, though they may name no booking.
alter table ticketing.webhook_inbox drop constraint webhook_inbox_check2;
