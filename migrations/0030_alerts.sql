-- Alerts, and how many workers there shall be.
create table ops.alert_rules (
    name text primary key,
    -- 'quiet', 'pending', 'firing' or 'recovering', and since when where it matters.
    standing text not null,
    since timestamptz,
    alert_id uuid,
    metric text not null,
    value double precision,
    judged_at timestamptz not null
);
comment on table ops.alert_rules is 'How each alert''s rule stands; written by whichever process watches.';

create table ops.alerts (
    id uuid primary key,
    name text not null,
    metric text not null,
    value double precision not null,
    threshold double precision not null,
    raised_at timestamptz not null,
    ended_at timestamptz
);
comment on table ops.alerts is 'Alerts that were raised.';
create index alerts_raised on ops.alerts (raised_at);

create sequence ops.scale_decisions;
create table ops.scale_targets (
    name text primary key,
    replicas integer not null,
    decision bigint not null,
    since timestamptz not null,
    -- The decision that the scaler has carried out last.
    applied bigint not null default 0,
    applied_at timestamptz
);
comment on table ops.scale_targets is 'How many workers of each kind are wanted, and whether the scaler knows.';

create table ops.watch_outbox (
    id uuid primary key,
    workflow text not null,
    input jsonb not null,
    created_at timestamptz not null default now()
);
comment on table ops.watch_outbox is 'Sagas that are to be started because of alerts; each is deleted once the engine has it.';

-- One row, which whoever judges locks.
create table ops.watch (
    id boolean primary key default true check (id),
    judged_at timestamptz
);
insert into ops.watch default values;
comment on table ops.watch is 'The lock of whichever process watches.';
