-- Bulk repair, the second person's approval, and tokens for the operators' API.

-- A repair of many sagas: frozen to ids and journal entries, dry-run for each, then done carefully. Any replica can run it on.
create table ops.campaigns (
    id bigint generated always as identity primary key,
    created_at timestamptz not null default now(),
    created_by text not null,
    reason text not null check (reason <> '' and length(reason) <= 2000),
    -- What was searched for; for a retry of another campaign's failed items, that campaign.
    search text not null,
    parent_id bigint references ops.campaigns,
    check (parent_id is null or search = ''),
    plan jsonb not null,
    phase text not null default 'freezing' check (phase in ('freezing', 'planning', 'planned', 'canary', 'running', 'paused',
                                                            'stopped', 'aborted', 'finished')),
    -- Why it is in this phase, and by whom.
    note text not null default '',
    changed_at timestamptz not null default now(),
    -- Each start and each resumption is a round of its own, with its own canary and its own count of failures.
    round integer not null default 0 check (round >= 0),
    -- The last saga that was frozen.
    frozen_to uuid,
    -- The rate limit: what was sent is paid for up to here, in milliseconds since the epoch on the database's clock.
    paid_until_ms bigint not null default 0,
    -- A runner has something to do: freeze, dry-run, send, or watch what was sent.
    active boolean not null default true,
    check (active or phase not in ('freezing', 'planning', 'canary', 'running')),
    -- Who runs it: one at a time, until then.
    holder uuid,
    held_until timestamptz not null default '-infinity'
);
create index campaigns_active on ops.campaigns (id) where active;
create index campaigns_parent on ops.campaigns (parent_id) where parent_id is not null;

create table ops.campaign_items (
    campaign_id bigint not null references ops.campaigns on delete cascade,
    ordinal integer not null check (ordinal > 0),
    saga_id uuid not null,
    -- The journal's end when it was frozen: the command is given at this entry, or not at all.
    seq bigint not null check (seq > 0),
    -- The journal's end when it was last looked at.
    seen_seq bigint not null check (seen_seq >= seq),
    -- frozen -> ready or excluded (dry run) -> claimed -> sent -> struggling -> passed or failed
    state text not null default 'frozen' check (state in ('frozen', 'ready', 'excluded', 'claimed', 'sent', 'struggling',
                                                          'passed', 'failed')),
    round integer not null default 0,
    workflow text not null default '',
    -- The failure that it was taken in for.
    step text,
    code text,
    -- Names of the steps whose effects are there.
    effects jsonb not null default '[]',
    money_cents bigint,
    -- Why, in words.
    outcome text not null default '',
    -- The failure that it was taken in for has come back.
    again boolean not null default false,
    sent_at timestamptz,
    check (sent_at is not null or state in ('frozen', 'ready', 'excluded')),
    primary key (campaign_id, ordinal),
    unique (campaign_id, saga_id)
) with (fillfactor = 70);
create index campaign_items_state on ops.campaign_items (campaign_id, state, ordinal);

-- What one person asked for and another one has to agree to.
create table ops.approvals (
    id bigint generated always as identity primary key,
    requested_at timestamptz not null default now(),
    requested_by text not null,
    expires_at timestamptz not null,
    saga_id uuid,
    campaign_id bigint references ops.campaigns,
    check ((saga_id is null) <> (campaign_id is null)),
    -- What is to be done, in full; for a saga also at which entry of its journal.
    deed jsonb not null,
    reason text not null check (reason <> '' and length(reason) <= 2000),
    decision text check (decision in ('approved', 'rejected', 'withdrawn')),
    decided_by text,
    decided_at timestamptz,
    check ((decision is null) = (decided_by is null) and (decision is null) = (decided_at is null)),
    -- Nobody approves what they have asked for themselves.
    constraint second_person check (decision is distinct from 'approved' or decided_by <> requested_by),
    -- What came of it; none for an approved one: its process died in between, and the journal says whether it was done.
    outcome text
);
create index approvals_pending on ops.approvals (expires_at) where decision is null;
-- One request at a time for a campaign.
create unique index approvals_campaign on ops.approvals (campaign_id) where decision is null;

-- A user's key to the API; it can do what it says and its user may, whichever is less.
create table ops.api_tokens (
    id bigint generated always as identity primary key,
    user_id bigint not null references ops.users on delete cascade,
    name text not null check (name ~ '^[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}$'),
    role text not null check (role in ('viewer', 'operator', 'approver', 'admin')),
    token_hash bytea not null unique check (length(token_hash) = 32),
    created_at timestamptz not null default now(),
    expires_at timestamptz not null check (expires_at > created_at),
    revoked_at timestamptz,
    used_at timestamptz
);
create unique index api_tokens_name on ops.api_tokens (user_id, name) where revoked_at is null;
