-- How far visitors of an event come, how long bookings take, and how the platform was: for operators' reports (docs/analytics.md).

-- Who did what on a day (UTC) with which event, once: a step on the way to a ticket each. From the booking on, the booking counts.
create table analytics.visitors (
    day date not null,
    kind text not null,
    event_id text not null,
    visitor text not null,
    primary key (day, kind, event_id, visitor)
);

-- How many bookings took about so long until they were confirmed; always with the facts, by the same statement.
create table analytics.durations (
    step text not null check (step in ('minute', 'hour')),
    since timestamptz not null,
    event_id text not null,
    bucket integer not null,
    facts bigint not null check (facts > 0),
    primary key (step, since, event_id, bucket)
);

-- One row a minute, among millions.
create index facts_system on analytics.facts (at) where kind = 'analytics.system-metrics';

-- The minutes whose metrics were published last.
alter table ops.watch add booking_minute timestamptz, add system_minute timestamptz;

-- As the settings of the process that watches have it, for those who look.
alter table ops.alert_rules add rule text not null default '';
