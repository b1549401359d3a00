-- The shop's users. On a cluster all of these stay on one node: addresses are unique over all of them, and what people do with
-- their accounts is little beside what they do with seats.
create table ticketing.accounts (
    id uuid primary key,
    -- As its owner writes it.
    email text not null check (email <> '' and length(email) <= 254),
    -- The same in lower case: one account an address.
    email_key text not null unique check (email_key <> ''),
    -- Argon2id, as a PHC string.
    password_hash text not null check (password_hash like '$argon2id$%'),
    name text not null check (name <> ''),
    -- E.164.
    phone text check (phone ~ '^\+[1-9][0-9]{6,14}$'),
    email_confirmed_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

-- Who is logged in: one row a family of refresh tokens, of which the last one is good. Only digests are kept.
create table ticketing.sessions (
    id uuid primary key,
    account_id uuid not null references ticketing.accounts on delete cascade,
    -- The half of the token that stays: it tells whose an earlier token is.
    family_hash bytea not null unique check (length(family_hash) = 32),
    -- The half that changes each time.
    token_hash bytea not null check (length(token_hash) = 32),
    user_agent text,
    address text,
    created_at timestamptz not null default now(),
    refreshed_at timestamptz not null default now(),
    expires_at timestamptz not null
) with (fillfactor = 80);
create index sessions_by_account on ticketing.sessions (account_id);
create index sessions_by_expiry on ticketing.sessions (expires_at);

-- Links in mails, each good for one use.
create table ticketing.account_links (
    token_hash bytea primary key check (length(token_hash) = 32),
    account_id uuid not null references ticketing.accounts on delete cascade,
    purpose text not null check (purpose in ('confirmation', 'password_reset')),
    created_at timestamptz not null default now(),
    expires_at timestamptz not null
);
create index account_links_by_account on ticketing.account_links (account_id);
create index account_links_by_expiry on ticketing.account_links (expires_at);

-- What happened to accounts and is to be published, or mailed about: written with what happened, in one transaction, and deleted once
-- the engine has it. Rows live for milliseconds, unless the engine is away.
create table ticketing.account_events (
    id uuid primary key,
    kind text not null check (kind in ('registered', 'login', 'logout', 'confirmation', 'password_reset')),
    -- None: nobody has the address that somebody asked a new password for.
    account_id uuid references ticketing.accounts on delete cascade,
    data jsonb not null default '{}' check (jsonb_typeof(data) = 'object'),
    created_at timestamptz not null default now(),
    attempts integer not null default 0 check (attempts >= 0),
    next_attempt_at timestamptz not null default now()
) with (autovacuum_vacuum_scale_factor = 0.05);
create index account_events_due on ticketing.account_events (next_attempt_at);
create index account_events_by_account on ticketing.account_events (account_id);

-- A mail is about a booking or about an account.
alter table ticketing.notifications_sent alter column booking_id drop not null;
alter table ticketing.notifications_sent add column account_id uuid;
alter table ticketing.notifications_sent add check (num_nonnulls(booking_id, account_id) = 1);
