-- The engine's schema. All of a saga's rows carry the saga's id in their key, so that the tables could be sharded by it.
create schema if not exists saga;

-- Workflow definitions. Never changed, never deleted: running sagas refer to them.
create table saga.definitions (
    id bigint generated always as identity primary key,
    name text not null check (name <> ''),
    version integer not null check (version > 0),
    hash text not null check (hash <> ''),
    body jsonb not null,
    created_at timestamptz not null default now(),
    unique (name, version)
);

-- One row per saga. Its status, deadlines and end are derived from `state` by the engine at each transition.
-- No foreign key to definitions: checking it would lock the one row of a definition in every batch.
-- fillfactor and the absence of indexes on state, seq, updated_at and attempt_due_at make transitions HOT updates.
create table saga.sagas (
    id uuid primary key,
    workflow text not null,
    definition_id bigint not null,
    status text not null check (status in ('running', 'waiting', 'compensating', 'completed', 'compensated',
                                           'rejected', 'cancelled', 'failed', 'paused')),
    business_key text,
    tags jsonb,
    state text not null,
    seq bigint not null check (seq > 0),
    -- When the earliest attempt in flight must have been answered. Swept, not indexed.
    attempt_due_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- Set once the status is final and nothing is in flight any more.
    ended_at timestamptz,
    failure_code text,
    failure_step text,
    check (ended_at is null or status in ('completed', 'compensated', 'rejected', 'cancelled')),
    check (ended_at is null or attempt_due_at is null)
) with (fillfactor = 50, toast_tuple_target = 4080, autovacuum_vacuum_scale_factor = 0.05,
        autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.1,
        autovacuum_vacuum_cost_delay = 0);

-- Live sagas: for the sweep of unanswered attempts, for redispatch and for lists.
create index sagas_live on saga.sagas (status, id) where ended_at is null;
-- The rarer ends; completed sagas are most of the table and are found by id order.
create index sagas_undone on saga.sagas (status, id) where ended_at is not null and status <> 'completed';
create index sagas_business_key on saga.sagas (business_key, id) where business_key is not null;
create index sagas_tags on saga.sagas using gin (tags jsonb_path_ops) where tags is not null;

-- What happened to each saga: folding the events gives `sagas.state` again. Append-only.
-- Partitioned by the saga's id, which is a version 7 UUID and so a time; a partition is dropped when none of its
-- sagas is left. `facts` are the domain events the entry published.
create table saga.journal (
    saga_id uuid not null,
    seq bigint not null check (seq > 0),
    at timestamptz not null,
    kind text not null,
    step text,
    event text not null,
    facts text,
    primary key (saga_id, seq)
) partition by range (saga_id);

create table saga.journal_other partition of saga.journal default;

-- Kafka messages of committed batches until the broker has acknowledged them: one row per batch.
create table saga.outbox (
    id uuid primary key,
    instance uuid not null,
    created_at timestamptz not null default now(),
    messages integer not null check (messages > 0),
    payload bytea not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0,
        toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 5000,
        toast.autovacuum_vacuum_cost_delay = 0);
-- Rows live for milliseconds; compressing them would cost more than it saves.
alter table saga.outbox alter column payload set storage external;

-- The earliest instant at which something happens to a saga by itself, other than an attempt's deadline.
create table saga.timers (
    saga_id uuid primary key,
    due_at timestamptz not null
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
create index timers_due on saga.timers (due_at, saga_id);

-- Idempotency keys of starts.
create table saga.start_keys (
    key text primary key check (key <> ''),
    request_hash text not null,
    saga_id uuid not null,
    created_at timestamptz not null default now()
);
create index start_keys_created on saga.start_keys using brin (created_at);

-- Signals by id, for deduplication; those with delivered = false wait for their saga to begin.
create table saga.signals (
    saga_id uuid not null,
    id text not null check (id <> ''),
    signal text not null,
    delivered boolean not null,
    received_at timestamptz not null default now(),
    primary key (saga_id, id)
);
create index signals_parked on saga.signals (received_at) where not delivered;

-- Running orchestrators. The outbox rows of one that is silent are published by the others.
create table saga.instances (
    id uuid primary key,
    started_at timestamptz not null default now(),
    seen_at timestamptz not null default now()
);

-- Who does what only one replica should do at a time.
create table saga.leases (
    name text primary key,
    holder uuid not null,
    held_until timestamptz not null
);

-- Fails the statement that calls it unless `ok`: the guard at the end of a batch's write.
create function saga.require_current(ok boolean) returns boolean
language plpgsql as $$
begin
    if not ok then
        raise exception 'a saga of this batch has moved on' using errcode = 'SG001';
    end if;
    return true;
end
$$;

-- The first id of the version 7 UUIDs made at `at`.
create function saga.first_id_at(at timestamptz) returns uuid
language sql immutable strict as $$
    select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid
$$;

-- Makes the journal's weekly partitions from this week to `weeks_ahead` from now. One caller at a time.
create function saga.create_journal_partitions(weeks_ahead integer) returns void
language plpgsql as $$
declare
    week timestamptz;
    partition_name text;
begin
    perform pg_advisory_xact_lock(hashtext('saga.create_journal_partitions'));
    for week in
        select generate_series(date_trunc('week', now() at time zone 'utc'),
                               date_trunc('week', now() at time zone 'utc') + make_interval(weeks => weeks_ahead),
                               interval '1 week') at time zone 'utc'
    loop
        partition_name := 'journal_' || to_char(week at time zone 'utc', 'IYYY"w"IW');
        if to_regclass('saga.' || partition_name) is null then
            execute format(
                'create table saga.%I partition of saga.journal for values from (%L) to (%L) '
                'with (toast_tuple_target = 4080, autovacuum_vacuum_insert_scale_factor = 0.1)',
                partition_name, saga.first_id_at(week), saga.first_id_at(week + interval '1 week'));
        end if;
    end loop;
end
$$;

-- Drops the journal's partitions that end before `keep` ago and hold no entry of a saga that is still there.
create function saga.drop_journal_partitions(keep interval) returns integer
language plpgsql as $$
declare
    week date;
    partition_name text;
    dropped integer := 0;
begin
    perform pg_advisory_xact_lock(hashtext('saga.create_journal_partitions'));
    for partition_name in
        select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'saga.journal'::regclass and c.relname ~ '^journal_[0-9]{4}w[0-9]{2}$'
        order by c.relname
    loop
        week := to_date(substr(partition_name, 9), 'IYYY"w"IW');
        if week + 7 < (now() - keep) at time zone 'utc' and not exists (
            select 1 from saga.sagas s
            where s.id >= saga.first_id_at(week::timestamp at time zone 'utc')
              and s.id < saga.first_id_at((week + 7)::timestamp at time zone 'utc'))
        then
            execute format('drop table saga.%I', partition_name);
            dropped := dropped + 1;
        end if;
    end loop;
    return dropped;
end
$$;

select saga.create_journal_partitions(4);
