-- The inbox of sagas in trouble: live ones that wait for an operator, or fail again and again. `failure_code` is null for all
-- others, so that their rows never touch this index.
create index sagas_troubled on saga.sagas (id) where ended_at is null and (failure_code is not null or status = 'failed');

-- What people say of a group of stuck sagas. A group's fingerprint is made of workflow, version, step, direction and error; it
-- needs no row here as long as nobody has said anything.
create table ops.stuck_groups (
    fingerprint text primary key check (fingerprint ~ '^[0-9a-f]{16}$'),
    state text not null check (state in ('open', 'acknowledged', 'resolved')),
    owner text not null default '',
    changed_by text not null,
    -- A resolved group in which a saga fails after this is open again.
    changed_at timestamptz not null default now()
);

-- Searches that operators keep, for all of them.
create table ops.views (
    name text primary key check (name <> '' and length(name) <= 80),
    search text not null check (length(search) <= 2000),
    saved_by text not null,
    saved_at timestamptz not null default now()
);
