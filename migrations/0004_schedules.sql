-- Sagas started by the clock.
create table saga.schedules (
    name text primary key check (name <> ''),
    cron text not null,
    time_zone text not null,
    workflow text not null,
    version integer check (version > 0),
    input jsonb not null,
    tags jsonb not null,
    overlap text not null check (overlap in ('skip', 'queue', 'allow')),
    catch_up_ms bigint not null check (catch_up_ms >= 0),
    paused boolean not null,
    -- Null: it is paused, or its expression gives no further time.
    next_due_at timestamptz,
    last_due_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (not (paused and next_due_at is not null))
);
create index schedules_due on saga.schedules (next_due_at) where next_due_at is not null;

-- Every due time that was handled, once: the primary key is what makes firing exactly-once over all replicas.
create table saga.firings (
    schedule text not null references saga.schedules (name) on delete cascade,
    due_at timestamptz not null,
    origin text not null check (origin in ('due', 'backfill', 'manual')),
    outcome text not null check (outcome in ('claimed', 'queued', 'started', 'skipped', 'missed', 'refused')),
    -- Chosen when it is claimed, so that a second try after a crash begins the same saga.
    saga_id uuid not null,
    note text,
    -- It stands in the way of the next one: not yet started, or its saga runs.
    open boolean not null,
    -- A claimed firing that is not started by then has lost its replica and is taken over.
    lease_until timestamptz not null default now(),
    claimed_at timestamptz not null default now(),
    primary key (schedule, due_at),
    check (open = false or outcome in ('claimed', 'queued', 'started')),
    check (open = true or outcome not in ('claimed', 'queued'))
);
create index firings_claimed on saga.firings (lease_until) where outcome = 'claimed';
create index firings_open on saga.firings (schedule, due_at) where open;
