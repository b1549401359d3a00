-- What the domain events say, for those who ask how sales go (docs/analytics.md). Nothing that sells reads or writes here: these tables may have a
-- database of their own.
create schema analytics;

-- Every event once, however often the broker delivers it. A day's rows go with its partition.
create table analytics.facts (
    -- The CloudEvent's.
    id text not null check (id <> ''),
    at timestamptz not null,
    kind text not null check (kind <> ''),
    -- Of the shop; none: ''.
    event_id text not null,
    user_id text,
    -- None: ''.
    currency text not null,
    cents bigint,
    -- From a booking's beginning to its confirmation.
    millis bigint,
    data jsonb not null,
    primary key (id, at)
) partition by range (at);
create index facts_by_time on analytics.facts using brin (at) with (pages_per_range = 32, autosummarize = on);

-- How many there were, and what they come to, by minute, hour and day (UTC); always with the facts, by the same statement.
create table analytics.rollups (
    step text not null check (step in ('minute', 'hour', 'day')),
    since timestamptz not null,
    kind text not null,
    event_id text not null,
    currency text not null,
    facts bigint not null check (facts > 0),
    cents bigint not null,
    millis bigint not null,
    primary key (step, since, kind, event_id, currency)
);

-- Of one event, among many that are sold at the time.
create index rollups_by_event on analytics.rollups (event_id, step, since);

-- Who did something in which minute.
create table analytics.active_users (
    minute timestamptz not null,
    user_id text not null,
    primary key (minute, user_id)
);

-- Makes the partitions of these days that are missing.
create function analytics.make_days(days date[]) returns void language plpgsql as $$
declare
    wanted date;
begin
    -- Replicas that start together would get in each other's way.
    perform pg_advisory_xact_lock(hashtext('analytics.make_days'));
    for wanted in
        select distinct d from unnest(days) as d
        where to_regclass('analytics.' || to_char(d, '"facts_"YYYYMMDD')) is null
        order by d
    loop
        execute format(
            'create table analytics.%I partition of analytics.facts for values from (%L) to (%L)',
            to_char(wanted, '"facts_"YYYYMMDD'), wanted::text || ' 00:00:00+00', (wanted + 1)::text || ' 00:00:00+00');
    end loop;
end;
$$;

-- Drops the partitions of days before this one; says how many.
create function analytics.drop_days(before date) returns bigint language plpgsql as $$
declare
    old regclass;
    dropped bigint := 0;
begin
    perform pg_advisory_xact_lock(hashtext('analytics.make_days'));
    for old in
        select i.inhrelid::regclass from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'analytics.facts'::regclass and c.relname < to_char(before, '"facts_"YYYYMMDD')
    loop
        execute format('drop table %s', old);
        dropped := dropped + 1;
    end loop;
    return dropped;
end;
$$;
