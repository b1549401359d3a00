-- What has been paid and given back, in double entry (docs/payments.md). On a cluster it stays beside ticketing.payments, for it is
-- written by the same statements.
create table ticketing.ledger_accounts (
    id text primary key check (id <> ''),
    kind text not null check (kind in ('asset', 'income', 'contra_income', 'expense')),
    description text not null
);
insert into ticketing.ledger_accounts (id, kind, description) values
    ('provider', 'asset', 'What the payment provider holds for us'),
    ('sales', 'income', 'What was sold'),
    ('refunds', 'contra_income', 'What was given back'),
    ('disputes', 'expense', 'What banks have taken back, and not returned');

-- Debits are positive, credits negative. A transaction's entries come in one statement, and nobody changes them: a mistake is
-- mended by another transaction. The first column of the key makes each transaction one, however often it is written.
create table ticketing.ledger_entries (
    -- payment/<reference>, refund/<reference>, dispute/<reference>/…
    transaction_id text not null check (transaction_id <> ''),
    account text not null,
    booking_id uuid not null,
    -- The provider's id of what moved the money: a payment intent, a refund, a dispute.
    reference text not null check (reference <> ''),
    currency text not null check (currency ~ '^[a-z]{3}$'),
    amount_cents bigint not null check (amount_cents <> 0),
    at timestamptz not null default now(),
    primary key (transaction_id, account)
) with (autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.1);

-- Of a day among years: entries come in the order of time, so a few bytes for each thousand of them will do.
create index ledger_entries_by_time on ticketing.ledger_entries using brin (at);

-- Once for each statement, on what it adds: if every statement adds nothing in sum, neither do all of them.
create function ticketing.require_balance() returns trigger language plpgsql as $$
declare
    wrong text;
begin
    select transaction_id into wrong from added group by transaction_id, currency having sum(amount_cents) <> 0 limit 1;
    if found then
        raise exception 'ledger transaction % does not balance', wrong using errcode = 'check_violation';
    end if;
    -- In place of a foreign key, which would lock these few rows for every payment.
    select account into wrong from added where account not in (select id from ticketing.ledger_accounts) limit 1;
    if found then
        raise exception 'the ledger has no account %', wrong using errcode = 'foreign_key_violation';
    end if;
    return null;
end
$$;
create trigger ledger_entries_balance after insert on ticketing.ledger_entries
    referencing new table as added for each statement execute function ticketing.require_balance();

create function ticketing.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'what is in the ledger stays: write another transaction' using errcode = 'restrict_violation';
end
$$;
create trigger ledger_entries_stay before update or delete or truncate on ticketing.ledger_entries
    for each statement execute function ticketing.refuse_change();

-- Part of the money may have gone back.
alter table ticketing.payments drop constraint payments_check3;
alter table ticketing.payments add constraint payments_refunded_check check (status <> 'refunded' or refunded_cents > 0);
-- What the buyer's browser needs to authenticate, while the bank waits for that. It is in no saga, journal or message.
alter table ticketing.payments add column client_secret text;
alter table ticketing.payments add constraint payments_client_secret_check check (client_secret is null or status = 'pending');

-- Each wish to give back a part of a payment, or all of it, by the refund's saga.
create table ticketing.payment_refunds (
    refund_id uuid primary key,
    payment_key text not null references ticketing.payments (key),
    amount_cents bigint not null check (amount_cents > 0),
    -- How often the provider was asked, and how often it has answered that it did not do it: where more was asked than refused, look first.
    asked integer not null default 1 check (asked > 0),
    refused integer not null default 0 check (refused between 0 and asked),
    -- Given once the money has gone back.
    provider_id text unique check (provider_id <> ''),
    created_at timestamptz not null default now(),
    refunded_at timestamptz,
    check ((provider_id is null) = (refunded_at is null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.1);
create index payment_refunds_by_payment on ticketing.payment_refunds (payment_key);
