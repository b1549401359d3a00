-- Queues that operators pause or limit, what waits for them, and the workers that have announced themselves.

-- A queue without a row is open. Rows stay: `held_tasks` are let through by them.
create table saga.queues (
    queue text primary key check (queue <> '' and length(queue) <= 200),
    paused boolean not null default false,
    -- Tasks a second over all replicas; none: as many as there are.
    rate double precision check (rate > 0 and rate <= 1000000),
    -- The rate limit: what was let through is paid for up to here.
    paid_until timestamptz not null default '-infinity',
    changed_by text not null,
    reason text not null check (length(reason) <= 2000),
    changed_at timestamptz not null default now()
);

-- Steps whose attempt has begun and waits for its queue to let it through: like timers, they follow from the sagas' states, and are
-- written in the same transaction.
create table saga.held_tasks (
    saga_id uuid not null,
    step text not null,
    queue text not null,
    -- Since when; while it is being let through, the end of that lease.
    due_at timestamptz not null,
    primary key (saga_id, step)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
create index held_tasks_queue on saga.held_tasks (queue, due_at, saga_id, step);

-- Workers' signs of life. Lost in a crash of Postgres: they come again within seconds.
create unlogged table saga.workers (
    id uuid primary key,
    name text not null,
    version text not null,
    host text not null,
    started_at timestamptz not null,
    seen_at timestamptz not null default now(),
    -- Queue, concurrency and tasks in flight of each queue.
    queues jsonb not null
) with (fillfactor = 50);

-- What activities take and give, as workers have announced it last.
create table saga.activities (
    queue text not null,
    activity text not null,
    version text not null,
    input jsonb not null,
    output jsonb not null,
    codes text[] not null,
    announced_at timestamptz not null default now(),
    primary key (queue, activity)
);
