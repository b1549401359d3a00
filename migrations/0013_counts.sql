-- What happened to sagas in each minute, as orchestrators count it when their batches are committed: a few rows a minute, however many
-- sagas. For people: a replica that dies takes its last seconds with it.
create table saga.counts (
    minute timestamptz not null,
    workflow text not null,
    -- started, completed, undone (ended otherwise), failing (has begun to wait for an operator).
    kind text not null check (kind in ('started', 'completed', 'undone', 'failing')),
    sagas bigint not null check (sagas >= 0),
    -- What they were worth, and for how many things, where the workflow tells.
    money_cents bigint not null,
    items bigint not null,
    primary key (minute, workflow, kind)
) with (fillfactor = 50);

-- Undone sagas of one workflow, in the order of their lists: a rare workflow among many others. Sagas that completed are not in it.
create index sagas_undone_workflow on saga.sagas (workflow, status, id) where ended_at is not null and status <> 'completed';
