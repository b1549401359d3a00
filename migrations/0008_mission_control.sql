-- Mission control's own: who may operate, their sessions, what they did, what they noted.
create schema if not exists ops;

create table ops.users (
    id bigint generated always as identity primary key,
    name text not null unique check (name ~ '^[a-z0-9][a-z0-9._@-]{0,63}$'),
    role text not null check (role in ('viewer', 'operator', 'approver', 'admin')),
    -- Argon2id, as a PHC string; none: this user comes by a one-time link only.
    password_hash text check (password_hash like '$argon2id$%'),
    disabled boolean not null default false,
    -- Attempts since the last success; the next one is possible at `next_login_at`.
    failed_logins integer not null default 0 check (failed_logins >= 0),
    next_login_at timestamptz not null default '-infinity',
    created_at timestamptz not null default now()
);

-- Only digests of tokens are kept: who reads the table can't log in with it.
create table ops.sessions (
    token_hash bytea primary key check (length(token_hash) = 32),
    user_id bigint not null references ops.users on delete cascade,
    created_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    expires_at timestamptz not null
);
create index sessions_user on ops.sessions (user_id);
create index sessions_expiry on ops.sessions (expires_at);

create table ops.login_links (
    token_hash bytea primary key check (length(token_hash) = 32),
    user_id bigint not null references ops.users on delete cascade,
    expires_at timestamptz not null
);
create index login_links_user on ops.login_links (user_id);
create index login_links_expiry on ops.login_links (expires_at);

-- Written before what it tells of is done, and completed afterwards: nothing is done without a row here. A saga's journal
-- carries who and why of each command in the command's own transaction, and decides where the two differ.
create table ops.audit (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    operator text not null,
    action text not null,
    saga_id uuid,
    reason text not null default '',
    details jsonb not null default '{}',
    -- None: it was begun, and its process died before it could say what came of it.
    outcome text
);
create index audit_saga on ops.audit (saga_id, id) where saga_id is not null;
create index audit_operator on ops.audit (operator, id);

create table ops.notes (
    id bigint generated always as identity primary key,
    saga_id uuid not null,
    at timestamptz not null default now(),
    operator text not null,
    text text not null check (text <> '' and length(text) <= 4000)
);
create index notes_saga on ops.notes (saga_id, id);

-- Lists by error and step. Only sagas that failed are in them, so that others cost nothing.
create index sagas_failure_code on saga.sagas (failure_code, id) where failure_code is not null;
create index sagas_failure_step on saga.sagas (failure_step, id) where failure_step is not null;
