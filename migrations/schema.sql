-- What the migrations make, as pg_dump writes it. Written by `just schema`; a test compares.

CREATE SCHEMA analytics;

CREATE SCHEMA ops;

CREATE SCHEMA saga;

CREATE SCHEMA ticketing;

CREATE FUNCTION analytics.drop_days(before date) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION analytics.make_days(days date[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION ops.complete_audit() RETURNS trigger
    LANGUAGE plpgsql
    AS $_$
begin
    update ops.audit a set outcome = 'done: entry ' || new.seq
    where a.saga_id = new.saga_id and a.entry = new.seq - 1 and a.outcome is null and a.entry is not null
      and case when a.action = 'signal'
          then starts_with(new.event, '{"event":"signal","id":'
                   || to_json(format('operator:%s:%s:%s', a.operator, a.entry, a.details ->> 'step'))::text || ',')
          else starts_with(new.event, '{"event":"command","command":' || to_json(a.action)::text
                   || case when a.details ->> 'step' = '' then '' else ',"step":' || to_json(a.details ->> 'step')::text end)
               -- A reason is bounded (2,000 characters, each at most 12 bytes as JSON), and an input before it is not.
               and substring(right(new.event, 32768) from '"by":"([^"\\]*)","reason":"(?:[^"\\]|\\.)*"\}$') = a.operator
          end;
    return null;
end
$_$;

CREATE FUNCTION saga.create_journal_partitions(weeks_ahead integer) RETURNS void
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION saga.drop_journal_partitions(keep interval) RETURNS integer
    LANGUAGE plpgsql
    AS $_$
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
$_$;

CREATE FUNCTION saga.first_id_at(at timestamp with time zone) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT
    AS $$
    select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid
$$;

CREATE FUNCTION saga.require_current(ok boolean) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
begin
    if not ok then
        raise exception 'a saga of this batch has moved on' using errcode = 'SG001';
    end if;
    return true;
end
$$;

CREATE FUNCTION ticketing.event_words(name text, venue text, city text, performers text[]) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN to_tsvector('simple'::regconfig, ((((((name || ' '::text) || venue) || ' '::text) || city) || ' '::text) || array_to_string(performers, ' '::text)));

CREATE FUNCTION ticketing.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    raise exception 'what is in the ledger stays: write another transaction' using errcode = 'restrict_violation';
end
$$;

CREATE FUNCTION ticketing.require_balance() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
declare
    wrong text;
begin
    select transaction_id into wrong from added group by transaction_id, currency having sum(amount_cents) <> 0 limit 1;
    if found then
        raise exception 'ledger transaction % does not balance', wrong using errcode = 'check_violation';
    end if;
    -- In place of a foreign key, which would lock these few rows for every payment.
    select account into wrong from added where account not in (select id from ticketing.ledger_accounts) limit 1;
    if found then
        raise exception 'the ledger has no account %', wrong using errcode = 'foreign_key_violation';
    end if;
    return null;
end
$$;

CREATE FUNCTION ticketing.sale_status(status text, sale_starts_at timestamp with time zone, sale_ends_at timestamp with time zone) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN (status IS DISTINCT FROM 'on_sale'::text) THEN status WHEN (sale_starts_at > now()) THEN 'upcoming'::text WHEN (sale_ends_at <= now()) THEN 'closed'::text ELSE 'on_sale'::text END;

CREATE TABLE analytics.active_users (
    minute timestamp with time zone NOT NULL,
    user_id text NOT NULL
);

CREATE TABLE analytics.durations (
    step text NOT NULL,
    since timestamp with time zone NOT NULL,
    event_id text NOT NULL,
    bucket integer NOT NULL,
    facts bigint NOT NULL,
    CONSTRAINT durations_facts_check CHECK ((facts > 0)),
    CONSTRAINT durations_step_check CHECK ((step = ANY (ARRAY['minute'::text, 'hour'::text])))
);

CREATE TABLE analytics.facts (
    id text NOT NULL,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    event_id text NOT NULL,
    user_id text,
    currency text NOT NULL,
    cents bigint,
    millis bigint,
    data jsonb NOT NULL,
    CONSTRAINT facts_id_check CHECK ((id <> ''::text)),
    CONSTRAINT facts_kind_check CHECK ((kind <> ''::text))
)
PARTITION BY RANGE (at);

CREATE TABLE analytics.rollups (
    step text NOT NULL,
    since timestamp with time zone NOT NULL,
    kind text NOT NULL,
    event_id text NOT NULL,
    currency text NOT NULL,
    facts bigint NOT NULL,
    cents bigint NOT NULL,
    millis bigint NOT NULL,
    CONSTRAINT rollups_facts_check CHECK ((facts > 0)),
    CONSTRAINT rollups_step_check CHECK ((step = ANY (ARRAY['minute'::text, 'hour'::text, 'day'::text])))
);

CREATE TABLE analytics.visitors (
    day date NOT NULL,
    kind text NOT NULL,
    event_id text NOT NULL,
    visitor text NOT NULL
);

CREATE TABLE ops.alert_rules (
    name text NOT NULL,
    standing text NOT NULL,
    since timestamp with time zone,
    alert_id uuid,
    metric text NOT NULL,
    value double precision,
    judged_at timestamp with time zone NOT NULL,
    rule text DEFAULT ''::text NOT NULL
);

COMMENT ON TABLE ops.alert_rules IS 'How each alert''s rule stands; written by whichever process watches.';

CREATE TABLE ops.alerts (
    id uuid NOT NULL,
    name text NOT NULL,
    metric text NOT NULL,
    value double precision NOT NULL,
    threshold double precision NOT NULL,
    raised_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone
);

COMMENT ON TABLE ops.alerts IS 'Alerts that were raised.';

CREATE TABLE ops.api_tokens (
    id bigint NOT NULL,
    user_id bigint NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    token_hash bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    revoked_at timestamp with time zone,
    used_at timestamp with time zone,
    CONSTRAINT api_tokens_check CHECK ((expires_at > created_at)),
    CONSTRAINT api_tokens_name_check CHECK ((name ~ '^[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}$'::text)),
    CONSTRAINT api_tokens_role_check CHECK ((role = ANY (ARRAY['viewer'::text, 'operator'::text, 'approver'::text, 'admin'::text]))),
    CONSTRAINT api_tokens_token_hash_check CHECK ((length(token_hash) = 32))
);

ALTER TABLE ops.api_tokens ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ops.api_tokens_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ops.approvals (
    id bigint NOT NULL,
    requested_at timestamp with time zone DEFAULT now() NOT NULL,
    requested_by text NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    saga_id uuid,
    campaign_id bigint,
    deed jsonb NOT NULL,
    reason text NOT NULL,
    decision text,
    decided_by text,
    decided_at timestamp with time zone,
    outcome text,
    CONSTRAINT approvals_check CHECK (((saga_id IS NULL) <> (campaign_id IS NULL))),
    CONSTRAINT approvals_check1 CHECK ((((decision IS NULL) = (decided_by IS NULL)) AND ((decision IS NULL) = (decided_at IS NULL)))),
    CONSTRAINT approvals_decision_check CHECK ((decision = ANY (ARRAY['approved'::text, 'rejected'::text, 'withdrawn'::text]))),
    CONSTRAINT approvals_reason_check CHECK (((reason <> ''::text) AND (length(reason) <= 2000))),
    CONSTRAINT second_person CHECK (((decision IS DISTINCT FROM 'approved'::text) OR (decided_by <> requested_by)))
);

ALTER TABLE ops.approvals ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ops.approvals_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ops.audit (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    operator text NOT NULL,
    action text NOT NULL,
    saga_id uuid,
    reason text DEFAULT ''::text NOT NULL,
    details jsonb DEFAULT '{}'::jsonb NOT NULL,
    outcome text,
    entry bigint,
    CONSTRAINT audit_entry_check CHECK ((entry > 0))
);

ALTER TABLE ops.audit ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ops.audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ops.campaign_items (
    campaign_id bigint NOT NULL,
    ordinal integer NOT NULL,
    saga_id uuid NOT NULL,
    seq bigint NOT NULL,
    seen_seq bigint NOT NULL,
    state text DEFAULT 'frozen'::text NOT NULL,
    round integer DEFAULT 0 NOT NULL,
    workflow text DEFAULT ''::text NOT NULL,
    step text,
    code text,
    effects jsonb DEFAULT '[]'::jsonb NOT NULL,
    money_cents bigint,
    outcome text DEFAULT ''::text NOT NULL,
    again boolean DEFAULT false NOT NULL,
    sent_at timestamp with time zone,
    CONSTRAINT campaign_items_check CHECK ((seen_seq >= seq)),
    CONSTRAINT campaign_items_check1 CHECK (((sent_at IS NOT NULL) OR (state = ANY (ARRAY['frozen'::text, 'ready'::text, 'excluded'::text])))),
    CONSTRAINT campaign_items_ordinal_check CHECK ((ordinal > 0)),
    CONSTRAINT campaign_items_seq_check CHECK ((seq > 0)),
    CONSTRAINT campaign_items_state_check CHECK ((state = ANY (ARRAY['frozen'::text, 'ready'::text, 'excluded'::text, 'claimed'::text, 'sent'::text, 'struggling'::text, 'passed'::text, 'failed'::text])))
)
WITH (fillfactor='70');

CREATE TABLE ops.campaigns (
    id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    created_by text NOT NULL,
    reason text NOT NULL,
    search text NOT NULL,
    parent_id bigint,
    plan jsonb NOT NULL,
    phase text DEFAULT 'freezing'::text NOT NULL,
    note text DEFAULT ''::text NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    round integer DEFAULT 0 NOT NULL,
    frozen_to uuid,
    paid_until_ms bigint DEFAULT 0 NOT NULL,
    active boolean DEFAULT true NOT NULL,
    holder uuid,
    held_until timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    CONSTRAINT campaigns_check CHECK (((parent_id IS NULL) OR (search = ''::text))),
    CONSTRAINT campaigns_check1 CHECK ((active OR (phase <> ALL (ARRAY['freezing'::text, 'planning'::text, 'canary'::text, 'running'::text])))),
    CONSTRAINT campaigns_phase_check CHECK ((phase = ANY (ARRAY['freezing'::text, 'planning'::text, 'planned'::text, 'canary'::text, 'running'::text, 'paused'::text, 'stopped'::text, 'aborted'::text, 'finished'::text]))),
    CONSTRAINT campaigns_reason_check CHECK (((reason <> ''::text) AND (length(reason) <= 2000))),
    CONSTRAINT campaigns_round_check CHECK ((round >= 0))
);

ALTER TABLE ops.campaigns ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ops.campaigns_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ops.login_links (
    token_hash bytea NOT NULL,
    user_id bigint NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT login_links_token_hash_check CHECK ((length(token_hash) = 32))
);

CREATE TABLE ops.notes (
    id bigint NOT NULL,
    saga_id uuid NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    operator text NOT NULL,
    text text NOT NULL,
    CONSTRAINT notes_text_check CHECK (((text <> ''::text) AND (length(text) <= 4000)))
);

ALTER TABLE ops.notes ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ops.notes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE SEQUENCE ops.scale_decisions
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE ops.scale_targets (
    name text NOT NULL,
    replicas integer NOT NULL,
    decision bigint NOT NULL,
    since timestamp with time zone NOT NULL,
    applied bigint DEFAULT 0 NOT NULL,
    applied_at timestamp with time zone
);

COMMENT ON TABLE ops.scale_targets IS 'How many workers of each kind are wanted, and whether the scaler knows.';

CREATE TABLE ops.sessions (
    token_hash bytea NOT NULL,
    user_id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT sessions_token_hash_check CHECK ((length(token_hash) = 32))
);

CREATE TABLE ops.stuck_groups (
    fingerprint text NOT NULL,
    state text NOT NULL,
    owner text DEFAULT ''::text NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT stuck_groups_fingerprint_check CHECK ((fingerprint ~ '^[0-9a-f]{16}$'::text)),
    CONSTRAINT stuck_groups_state_check CHECK ((state = ANY (ARRAY['open'::text, 'acknowledged'::text, 'resolved'::text])))
);

CREATE TABLE ops.users (
    id bigint NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    password_hash text,
    disabled boolean DEFAULT false NOT NULL,
    failed_logins integer DEFAULT 0 NOT NULL,
    next_login_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    issuer text,
    subject text,
    CONSTRAINT users_failed_logins_check CHECK ((failed_logins >= 0)),
    CONSTRAINT users_name_check CHECK ((name ~ '^[a-z0-9][a-z0-9._@-]{0,63}$'::text)),
    CONSTRAINT users_password_hash_check CHECK ((password_hash ~~ '$argon2id$%'::text)),
    CONSTRAINT users_provider CHECK (((issuer IS NULL) = (subject IS NULL))),
    CONSTRAINT users_provider_password CHECK (((subject IS NULL) OR (password_hash IS NULL))),
    CONSTRAINT users_role_check CHECK ((role = ANY (ARRAY['viewer'::text, 'operator'::text, 'approver'::text, 'admin'::text])))
);

ALTER TABLE ops.users ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ops.users_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ops.views (
    name text NOT NULL,
    search text NOT NULL,
    saved_by text NOT NULL,
    saved_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT views_name_check CHECK (((name <> ''::text) AND (length(name) <= 80))),
    CONSTRAINT views_search_check CHECK ((length(search) <= 2000))
);

CREATE TABLE ops.watch (
    id boolean DEFAULT true NOT NULL,
    judged_at timestamp with time zone,
    booking_minute timestamp with time zone,
    system_minute timestamp with time zone,
    CONSTRAINT watch_id_check CHECK (id)
);

COMMENT ON TABLE ops.watch IS 'The lock of whichever process watches.';

CREATE TABLE ops.watch_outbox (
    id uuid NOT NULL,
    workflow text NOT NULL,
    input jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE ops.watch_outbox IS 'Sagas that are to be started because of alerts; each is deleted once the engine has it.';

CREATE TABLE saga.activities (
    queue text NOT NULL,
    activity text NOT NULL,
    version text NOT NULL,
    input jsonb NOT NULL,
    output jsonb NOT NULL,
    codes text[] NOT NULL,
    announced_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE saga.counts (
    minute timestamp with time zone NOT NULL,
    workflow text NOT NULL,
    kind text NOT NULL,
    sagas bigint NOT NULL,
    money_cents bigint NOT NULL,
    items bigint NOT NULL,
    CONSTRAINT counts_kind_check CHECK ((kind = ANY (ARRAY['started'::text, 'completed'::text, 'undone'::text, 'failing'::text]))),
    CONSTRAINT counts_sagas_check CHECK ((sagas >= 0))
)
WITH (fillfactor='50');

CREATE TABLE saga.definitions (
    id bigint NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    hash text NOT NULL,
    body jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT definitions_hash_check CHECK ((hash <> ''::text)),
    CONSTRAINT definitions_name_check CHECK ((name <> ''::text)),
    CONSTRAINT definitions_version_check CHECK ((version > 0))
);

ALTER TABLE saga.definitions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME saga.definitions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE saga.firings (
    schedule text NOT NULL,
    due_at timestamp with time zone NOT NULL,
    origin text NOT NULL,
    outcome text NOT NULL,
    saga_id uuid NOT NULL,
    note text,
    open boolean NOT NULL,
    lease_until timestamp with time zone DEFAULT now() NOT NULL,
    claimed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT firings_check CHECK (((open = false) OR (outcome = ANY (ARRAY['claimed'::text, 'queued'::text, 'started'::text])))),
    CONSTRAINT firings_check1 CHECK (((open = true) OR (outcome <> ALL (ARRAY['claimed'::text, 'queued'::text])))),
    CONSTRAINT firings_origin_check CHECK ((origin = ANY (ARRAY['due'::text, 'backfill'::text, 'manual'::text]))),
    CONSTRAINT firings_outcome_check CHECK ((outcome = ANY (ARRAY['claimed'::text, 'queued'::text, 'started'::text, 'skipped'::text, 'missed'::text, 'refused'::text])))
);

CREATE TABLE saga.held_tasks (
    saga_id uuid NOT NULL,
    step text NOT NULL,
    queue text NOT NULL,
    due_at timestamp with time zone NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_cost_delay='0');

CREATE VIEW saga.held_queues AS
 WITH RECURSIVE held(queue) AS (
        ( SELECT held_tasks.queue
           FROM saga.held_tasks
          ORDER BY held_tasks.queue
         LIMIT 1)
        UNION ALL
         SELECT ( SELECT h.queue
                   FROM saga.held_tasks h
                  WHERE (h.queue > held_1.queue)
                  ORDER BY h.queue
                 LIMIT 1) AS queue
           FROM held held_1
          WHERE (held_1.queue IS NOT NULL)
        )
 SELECT held.queue
   FROM held
  WHERE (held.queue IS NOT NULL);

CREATE TABLE saga.instances (
    id uuid NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    seen_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE saga.journal (
    saga_id uuid NOT NULL,
    seq bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    step text,
    event text NOT NULL,
    facts text,
    CONSTRAINT journal_seq_check CHECK ((seq > 0))
)
PARTITION BY RANGE (saga_id);

CREATE TABLE saga.journal_other (
    saga_id uuid NOT NULL,
    seq bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    step text,
    event text NOT NULL,
    facts text,
    CONSTRAINT journal_seq_check CHECK ((seq > 0))
);

CREATE TABLE saga.leases (
    name text NOT NULL,
    holder uuid NOT NULL,
    held_until timestamp with time zone NOT NULL
);

CREATE TABLE saga.outbox (
    id uuid NOT NULL,
    instance uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    messages integer NOT NULL,
    payload bytea NOT NULL,
    CONSTRAINT outbox_messages_check CHECK ((messages > 0))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='500', autovacuum_vacuum_cost_delay='0', toast.autovacuum_vacuum_scale_factor='0', toast.autovacuum_vacuum_threshold='5000', toast.autovacuum_vacuum_cost_delay='0');
ALTER TABLE ONLY saga.outbox ALTER COLUMN payload SET STORAGE EXTERNAL;

CREATE TABLE saga.queues (
    queue text NOT NULL,
    paused boolean DEFAULT false NOT NULL,
    rate double precision,
    paid_until timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    changed_by text NOT NULL,
    reason text NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT queues_queue_check CHECK (((queue <> ''::text) AND (length(queue) <= 200))),
    CONSTRAINT queues_rate_check CHECK (((rate > (0)::double precision) AND (rate <= (1000000)::double precision))),
    CONSTRAINT queues_reason_check CHECK ((length(reason) <= 2000))
);

CREATE TABLE saga.sagas (
    id uuid NOT NULL,
    workflow text NOT NULL,
    definition_id bigint NOT NULL,
    status text NOT NULL,
    business_key text,
    tags jsonb,
    state text NOT NULL,
    seq bigint NOT NULL,
    attempt_due_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    failure_code text,
    failure_step text,
    CONSTRAINT sagas_check CHECK (((ended_at IS NULL) OR (status = ANY (ARRAY['completed'::text, 'compensated'::text, 'rejected'::text, 'cancelled'::text])))),
    CONSTRAINT sagas_check1 CHECK (((ended_at IS NULL) OR (attempt_due_at IS NULL))),
    CONSTRAINT sagas_seq_check CHECK ((seq > 0)),
    CONSTRAINT sagas_status_check CHECK ((status = ANY (ARRAY['running'::text, 'waiting'::text, 'compensating'::text, 'completed'::text, 'compensated'::text, 'rejected'::text, 'cancelled'::text, 'failed'::text, 'paused'::text])))
)
WITH (fillfactor='50', toast_tuple_target='4080', autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_insert_scale_factor='0.1', autovacuum_analyze_scale_factor='0.1', autovacuum_vacuum_cost_delay='0');

CREATE TABLE saga.schedules (
    name text NOT NULL,
    cron text NOT NULL,
    time_zone text NOT NULL,
    workflow text NOT NULL,
    version integer,
    input jsonb NOT NULL,
    tags jsonb NOT NULL,
    overlap text NOT NULL,
    catch_up_ms bigint NOT NULL,
    paused boolean NOT NULL,
    next_due_at timestamp with time zone,
    last_due_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT schedules_catch_up_ms_check CHECK ((catch_up_ms >= 0)),
    CONSTRAINT schedules_check CHECK ((NOT (paused AND (next_due_at IS NOT NULL)))),
    CONSTRAINT schedules_name_check CHECK ((name <> ''::text)),
    CONSTRAINT schedules_overlap_check CHECK ((overlap = ANY (ARRAY['skip'::text, 'queue'::text, 'allow'::text]))),
    CONSTRAINT schedules_version_check CHECK ((version > 0))
);

CREATE TABLE saga.signals (
    saga_id uuid NOT NULL,
    id text NOT NULL,
    signal text NOT NULL,
    delivered boolean NOT NULL,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT signals_id_check CHECK ((id <> ''::text))
);

CREATE TABLE saga.start_keys (
    key text NOT NULL,
    request_hash text NOT NULL,
    saga_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT start_keys_key_check CHECK ((key <> ''::text))
);

CREATE TABLE saga.timers (
    saga_id uuid NOT NULL,
    due_at timestamp with time zone NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_cost_delay='0');

CREATE UNLOGGED TABLE saga.workers (
    id uuid NOT NULL,
    name text NOT NULL,
    version text NOT NULL,
    host text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    queues jsonb NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE ticketing.account_events (
    id uuid NOT NULL,
    kind text NOT NULL,
    account_id uuid,
    data jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT account_events_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT account_events_data_check CHECK ((jsonb_typeof(data) = 'object'::text)),
    CONSTRAINT account_events_kind_check CHECK ((kind = ANY (ARRAY['registered'::text, 'login'::text, 'logout'::text, 'confirmation'::text, 'password_reset'::text, 'password_changed'::text, 'email_change'::text, 'email_changed'::text])))
)
WITH (autovacuum_vacuum_scale_factor='0.05');

CREATE TABLE ticketing.account_links (
    token_hash bytea NOT NULL,
    account_id uuid NOT NULL,
    purpose text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    email text,
    CONSTRAINT account_links_email_check CHECK (((email <> ''::text) AND (length(email) <= 254))),
    CONSTRAINT account_links_email_purpose_check CHECK (((purpose = 'email_change'::text) = (email IS NOT NULL))),
    CONSTRAINT account_links_purpose_check CHECK ((purpose = ANY (ARRAY['confirmation'::text, 'password_reset'::text, 'email_change'::text]))),
    CONSTRAINT account_links_token_hash_check CHECK ((length(token_hash) = 32))
);

CREATE TABLE ticketing.accounts (
    id uuid NOT NULL,
    email text NOT NULL,
    email_key text NOT NULL,
    password_hash text NOT NULL,
    name text NOT NULL,
    phone text,
    email_confirmed_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT accounts_email_check CHECK (((email <> ''::text) AND (length(email) <= 254))),
    CONSTRAINT accounts_email_key_check CHECK ((email_key <> ''::text)),
    CONSTRAINT accounts_name_check CHECK ((name <> ''::text)),
    CONSTRAINT accounts_password_hash_check CHECK ((password_hash ~~ '$argon2id$%'::text)),
    CONSTRAINT accounts_phone_check CHECK ((phone ~ '^\+[1-9][0-9]{6,14}$'::text))
);

CREATE TABLE ticketing.check_ins (
    event_id text NOT NULL,
    booking_id uuid NOT NULL,
    seat_id text NOT NULL,
    admitted_at timestamp with time zone NOT NULL,
    recorded_at timestamp with time zone DEFAULT now() NOT NULL,
    door text NOT NULL,
    scan_id uuid NOT NULL,
    CONSTRAINT check_ins_door_check CHECK ((door <> ''::text)),
    CONSTRAINT check_ins_event_id_check CHECK ((event_id <> ''::text)),
    CONSTRAINT check_ins_seat_id_check CHECK ((seat_id <> ''::text))
);

CREATE TABLE ticketing.check_ins_undone (
    event_id text NOT NULL,
    booking_id uuid NOT NULL,
    seat_id text NOT NULL,
    admitted_at timestamp with time zone NOT NULL,
    admitted_by text NOT NULL,
    undone_at timestamp with time zone DEFAULT now() NOT NULL,
    undone_by text NOT NULL,
    reason text NOT NULL,
    scan_id uuid NOT NULL,
    CONSTRAINT check_ins_undone_event_id_check CHECK ((event_id <> ''::text)),
    CONSTRAINT check_ins_undone_reason_check CHECK ((reason <> ''::text)),
    CONSTRAINT check_ins_undone_seat_id_check CHECK ((seat_id <> ''::text))
);

CREATE TABLE ticketing.disputes (
    dispute_id text NOT NULL,
    intent_id text,
    booking_id uuid,
    amount_cents bigint NOT NULL,
    currency text NOT NULL,
    reason text NOT NULL,
    status text NOT NULL,
    respond_by timestamp with time zone,
    opened_at timestamp with time zone NOT NULL,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT disputes_amount_cents_check CHECK ((amount_cents >= 0)),
    CONSTRAINT disputes_currency_check CHECK ((currency ~ '^[a-z]{3}$'::text)),
    CONSTRAINT disputes_dispute_id_check CHECK ((dispute_id <> ''::text)),
    CONSTRAINT disputes_status_check CHECK ((status <> ''::text))
);

CREATE TABLE ticketing.door_passes (
    event_id text NOT NULL,
    digest bytea NOT NULL,
    door text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    revoked_at timestamp with time zone,
    CONSTRAINT door_passes_check CHECK ((expires_at > created_at)),
    CONSTRAINT door_passes_digest_check CHECK ((octet_length(digest) = 32)),
    CONSTRAINT door_passes_door_check CHECK ((door <> ''::text)),
    CONSTRAINT door_passes_event_id_check CHECK ((event_id <> ''::text))
);

CREATE TABLE ticketing.event_buyers (
    event_id text NOT NULL,
    user_id text NOT NULL,
    CONSTRAINT event_buyers_event_id_check CHECK ((event_id <> ''::text)),
    CONSTRAINT event_buyers_user_id_check CHECK ((user_id <> ''::text))
);

CREATE TABLE ticketing.event_cancellation_items (
    event_id text NOT NULL,
    booking_id uuid NOT NULL,
    status text DEFAULT 'due'::text NOT NULL,
    deed text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone DEFAULT now() NOT NULL,
    done_at timestamp with time zone,
    CONSTRAINT event_cancellation_items_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT event_cancellation_items_check CHECK (((status = 'done'::text) = (done_at IS NOT NULL))),
    CONSTRAINT event_cancellation_items_deed_check CHECK ((deed = ANY (ARRAY['refund'::text, 'cancel'::text]))),
    CONSTRAINT event_cancellation_items_status_check CHECK ((status = ANY (ARRAY['due'::text, 'begun'::text, 'done'::text])))
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.1', autovacuum_vacuum_cost_delay='0');

CREATE TABLE ticketing.event_cancellations (
    event_id text NOT NULL,
    cancellation_id uuid NOT NULL,
    reason text NOT NULL,
    began_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    CONSTRAINT event_cancellations_event_id_check CHECK ((event_id <> ''::text))
);

CREATE TABLE ticketing.event_changes (
    id uuid NOT NULL,
    kind text NOT NULL,
    event_id text NOT NULL,
    data jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT event_changes_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT event_changes_data_check CHECK ((jsonb_typeof(data) = 'object'::text)),
    CONSTRAINT event_changes_event_id_check CHECK ((event_id <> ''::text)),
    CONSTRAINT event_changes_kind_check CHECK ((kind = ANY (ARRAY['created'::text, 'updated'::text, 'seats_released'::text])))
)
WITH (autovacuum_vacuum_scale_factor='0.05');

CREATE TABLE ticketing.events (
    id text NOT NULL,
    name text NOT NULL,
    venue text NOT NULL,
    city text NOT NULL,
    starts_at timestamp with time zone NOT NULL,
    time_zone text NOT NULL,
    currency text NOT NULL,
    status text DEFAULT 'on_sale'::text NOT NULL,
    attributes jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    seats_per_buyer_max integer,
    organisation_id uuid,
    venue_id uuid,
    performers text[] DEFAULT '{}'::text[] NOT NULL,
    sale_starts_at timestamp with time zone,
    sale_ends_at timestamp with time zone,
    seats_per_order_max integer,
    pricing jsonb DEFAULT '{}'::jsonb NOT NULL,
    postponed_from timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL,
    stage_x real DEFAULT 0 NOT NULL,
    stage_y real DEFAULT 0 NOT NULL,
    words tsvector GENERATED ALWAYS AS (ticketing.event_words(name, venue, city, performers)) STORED,
    refund_hours integer DEFAULT 48,
    CONSTRAINT events_attributes_check CHECK ((jsonb_typeof(attributes) = 'object'::text)),
    CONSTRAINT events_check CHECK ((sale_ends_at > sale_starts_at)),
    CONSTRAINT events_currency_check CHECK ((currency ~ '^[a-z]{3}$'::text)),
    CONSTRAINT events_id_check CHECK ((id <> ''::text)),
    CONSTRAINT events_name_check CHECK ((name <> ''::text)),
    CONSTRAINT events_pricing_check CHECK ((jsonb_typeof(pricing) = 'object'::text)),
    CONSTRAINT events_refund_hours_check CHECK ((refund_hours >= 0)),
    CONSTRAINT events_seats_per_buyer_max_check CHECK ((seats_per_buyer_max > 0)),
    CONSTRAINT events_seats_per_order_max_check CHECK ((seats_per_order_max > 0)),
    CONSTRAINT events_status_check CHECK ((status = ANY (ARRAY['draft'::text, 'on_sale'::text, 'postponed'::text, 'closed'::text, 'cancelled'::text]))),
    CONSTRAINT events_version_check CHECK ((version > 0))
);

CREATE TABLE ticketing.holds (
    event_id text NOT NULL,
    booking_id uuid NOT NULL,
    seat_ids text[] NOT NULL,
    status text NOT NULL,
    reserved_at timestamp with time zone,
    expires_at timestamp with time zone,
    total_cents bigint,
    confirmation_number text,
    confirmed_at timestamp with time zone,
    released_at timestamp with time zone,
    release_reason text,
    user_id text,
    CONSTRAINT holds_check CHECK (((status = 'released'::text) OR (cardinality(seat_ids) > 0))),
    CONSTRAINT holds_check1 CHECK ((num_nulls(reserved_at, expires_at, total_cents, confirmation_number) =
CASE cardinality(seat_ids)
    WHEN 0 THEN 4
    ELSE 0
END)),
    CONSTRAINT holds_check2 CHECK ((expires_at > reserved_at)),
    CONSTRAINT holds_check3 CHECK (((status = 'released'::text) = (released_at IS NOT NULL))),
    CONSTRAINT holds_check4 CHECK (((status = 'released'::text) = (release_reason IS NOT NULL))),
    CONSTRAINT holds_check5 CHECK (((status <> 'confirmed'::text) OR (confirmed_at IS NOT NULL))),
    CONSTRAINT holds_check6 CHECK (((status <> 'held'::text) OR (confirmed_at IS NULL))),
    CONSTRAINT holds_event_id_check CHECK ((event_id <> ''::text)),
    CONSTRAINT holds_release_reason_check CHECK ((release_reason = ANY (ARRAY['EXPIRED'::text, 'PAYMENT_FAILED'::text, 'CANCELLED'::text]))),
    CONSTRAINT holds_status_check CHECK ((status = ANY (ARRAY['held'::text, 'confirmed'::text, 'released'::text]))),
    CONSTRAINT holds_total_cents_check CHECK ((total_cents >= 0)),
    CONSTRAINT holds_user_id_check CHECK ((user_id <> ''::text))
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.1', autovacuum_vacuum_cost_delay='0');

CREATE TABLE ticketing.ledger_accounts (
    id text NOT NULL,
    kind text NOT NULL,
    description text NOT NULL,
    CONSTRAINT ledger_accounts_id_check CHECK ((id <> ''::text)),
    CONSTRAINT ledger_accounts_kind_check CHECK ((kind = ANY (ARRAY['asset'::text, 'income'::text, 'contra_income'::text, 'expense'::text])))
);

CREATE TABLE ticketing.ledger_entries (
    transaction_id text NOT NULL,
    account text NOT NULL,
    booking_id uuid NOT NULL,
    reference text NOT NULL,
    currency text NOT NULL,
    amount_cents bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ledger_entries_amount_cents_check CHECK ((amount_cents <> 0)),
    CONSTRAINT ledger_entries_currency_check CHECK ((currency ~ '^[a-z]{3}$'::text)),
    CONSTRAINT ledger_entries_reference_check CHECK ((reference <> ''::text)),
    CONSTRAINT ledger_entries_transaction_id_check CHECK ((transaction_id <> ''::text))
)
WITH (autovacuum_vacuum_insert_scale_factor='0.1', autovacuum_analyze_scale_factor='0.1');

CREATE TABLE ticketing.notification_devices (
    token text NOT NULL,
    id uuid NOT NULL,
    account_id uuid NOT NULL,
    name text NOT NULL,
    registered_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT notification_devices_name_check CHECK ((name <> ''::text)),
    CONSTRAINT notification_devices_token_check CHECK (((octet_length(token) >= 1) AND (octet_length(token) <= 4096)))
);

CREATE TABLE ticketing.notification_preferences (
    account_id uuid NOT NULL,
    language text NOT NULL,
    channels text[] NOT NULL,
    phone text,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT notification_preferences_channels_check CHECK ((channels <@ ARRAY['email'::text, 'sms'::text, 'push'::text])),
    CONSTRAINT notification_preferences_language_check CHECK ((language = ANY (ARRAY['en'::text, 'de'::text]))),
    CONSTRAINT notification_preferences_phone_check CHECK ((phone ~ '^\+[1-9][0-9]{6,14}$'::text))
);

CREATE TABLE ticketing.notifications (
    id uuid NOT NULL,
    booking_id uuid,
    account_id uuid,
    channel text NOT NULL,
    kind text NOT NULL,
    language text NOT NULL,
    recipient text NOT NULL,
    data jsonb NOT NULL,
    status text DEFAULT 'queued'::text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    leased_until timestamp with time zone,
    provider_id text,
    problem text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    sent_at timestamp with time zone,
    delivered_at timestamp with time zone,
    failed_at timestamp with time zone,
    receipt_at timestamp with time zone,
    tell_at timestamp with time zone DEFAULT now(),
    CONSTRAINT notifications_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT notifications_channel_check CHECK ((channel = ANY (ARRAY['email'::text, 'sms'::text, 'push'::text, 'slack'::text]))),
    CONSTRAINT notifications_check CHECK (((status <> 'sent'::text) OR (sent_at IS NOT NULL))),
    CONSTRAINT notifications_check1 CHECK (((status <> 'delivered'::text) OR (delivered_at IS NOT NULL))),
    CONSTRAINT notifications_check2 CHECK (((status = 'failed'::text) = (failed_at IS NOT NULL))),
    CONSTRAINT notifications_check3 CHECK (((status <> 'failed'::text) OR (problem IS NOT NULL))),
    CONSTRAINT notifications_data_check CHECK ((jsonb_typeof(data) = 'object'::text)),
    CONSTRAINT notifications_kind_check CHECK ((kind <> ''::text)),
    CONSTRAINT notifications_language_check CHECK ((language = ANY (ARRAY['en'::text, 'de'::text]))),
    CONSTRAINT notifications_recipient_check CHECK ((recipient <> ''::text)),
    CONSTRAINT notifications_status_check CHECK ((status = ANY (ARRAY['queued'::text, 'sent'::text, 'delivered'::text, 'failed'::text])))
)
WITH (autovacuum_vacuum_scale_factor='0.05');

CREATE TABLE ticketing.notifications_sent (
    key text NOT NULL,
    booking_id uuid,
    channel text NOT NULL,
    recipient text NOT NULL,
    template text NOT NULL,
    message_id text NOT NULL,
    status text NOT NULL,
    attempts integer DEFAULT 1 NOT NULL,
    leased_until timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    sent_at timestamp with time zone,
    account_id uuid,
    CONSTRAINT notifications_sent_attempts_check CHECK ((attempts > 0)),
    CONSTRAINT notifications_sent_channel_check CHECK ((channel = 'email'::text)),
    CONSTRAINT notifications_sent_check CHECK (((status = 'sent'::text) = (sent_at IS NOT NULL))),
    CONSTRAINT notifications_sent_check1 CHECK ((num_nonnulls(booking_id, account_id) = 1)),
    CONSTRAINT notifications_sent_key_check CHECK ((key <> ''::text)),
    CONSTRAINT notifications_sent_status_check CHECK ((status = ANY (ARRAY['sending'::text, 'sent'::text])))
)
WITH (fillfactor='80');

CREATE TABLE ticketing.organisations (
    id uuid NOT NULL,
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT organisations_name_check CHECK ((name <> ''::text))
);

CREATE TABLE ticketing.organisers (
    account_id uuid NOT NULL,
    organisation_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE ticketing.payment_differences (
    reference text NOT NULL,
    kind text NOT NULL,
    booking_id uuid,
    ours_cents bigint,
    theirs_cents bigint,
    found_by uuid NOT NULL,
    found_at timestamp with time zone DEFAULT now() NOT NULL,
    status text DEFAULT 'new'::text NOT NULL,
    next_attempt_at timestamp with time zone DEFAULT now() NOT NULL,
    settled_at timestamp with time zone,
    CONSTRAINT payment_differences_check CHECK (((status = 'settled'::text) = (settled_at IS NOT NULL))),
    CONSTRAINT payment_differences_kind_check CHECK ((kind = ANY (ARRAY['payment'::text, 'refund'::text]))),
    CONSTRAINT payment_differences_reference_check CHECK ((reference <> ''::text)),
    CONSTRAINT payment_differences_status_check CHECK ((status = ANY (ARRAY['new'::text, 'open'::text, 'settled'::text])))
);

CREATE TABLE ticketing.payment_refunds (
    refund_id uuid NOT NULL,
    payment_key text NOT NULL,
    amount_cents bigint NOT NULL,
    asked integer DEFAULT 1 NOT NULL,
    refused integer DEFAULT 0 NOT NULL,
    provider_id text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    refunded_at timestamp with time zone,
    CONSTRAINT payment_refunds_amount_cents_check CHECK ((amount_cents > 0)),
    CONSTRAINT payment_refunds_asked_check CHECK ((asked > 0)),
    CONSTRAINT payment_refunds_check CHECK (((refused >= 0) AND (refused <= asked))),
    CONSTRAINT payment_refunds_check1 CHECK (((provider_id IS NULL) = (refunded_at IS NULL))),
    CONSTRAINT payment_refunds_provider_id_check CHECK ((provider_id <> ''::text))
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.1');

CREATE TABLE ticketing.payments (
    key text NOT NULL,
    booking_id uuid NOT NULL,
    status text DEFAULT 'new'::text NOT NULL,
    intent_id text,
    amount_cents bigint NOT NULL,
    currency text NOT NULL,
    confirm_spent boolean DEFAULT false NOT NULL,
    failure jsonb,
    refund_attempt integer DEFAULT 1 NOT NULL,
    refund_id text,
    refunded_cents bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    client_secret text,
    CONSTRAINT payments_amount_cents_check CHECK ((amount_cents > 0)),
    CONSTRAINT payments_check CHECK (((refunded_cents >= 0) AND (refunded_cents <= amount_cents))),
    CONSTRAINT payments_check1 CHECK (((status <> ALL (ARRAY['confirming'::text, 'pending'::text, 'succeeded'::text, 'refunded'::text])) OR (intent_id IS NOT NULL))),
    CONSTRAINT payments_check2 CHECK (((status = 'failed'::text) = (failure IS NOT NULL))),
    CONSTRAINT payments_client_secret_check CHECK (((client_secret IS NULL) OR (status = 'pending'::text))),
    CONSTRAINT payments_currency_check CHECK ((currency ~ '^[a-z]{3}$'::text)),
    CONSTRAINT payments_intent_id_check CHECK ((intent_id <> ''::text)),
    CONSTRAINT payments_key_check CHECK ((key <> ''::text)),
    CONSTRAINT payments_refund_attempt_check CHECK ((refund_attempt > 0)),
    CONSTRAINT payments_refunded_check CHECK (((status <> 'refunded'::text) OR (refunded_cents > 0))),
    CONSTRAINT payments_status_check CHECK ((status = ANY (ARRAY['new'::text, 'confirming'::text, 'pending'::text, 'succeeded'::text, 'refunded'::text, 'failed'::text, 'canceled'::text])))
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.1', autovacuum_vacuum_cost_delay='0');

CREATE TABLE ticketing.queue_places (
    event_id text NOT NULL,
    user_id text NOT NULL,
    joined_at timestamp with time zone DEFAULT now() NOT NULL,
    lot double precision DEFAULT random() NOT NULL,
    place bigint,
    used_at timestamp with time zone,
    CONSTRAINT queue_places_event_id_check CHECK ((event_id <> ''::text)),
    CONSTRAINT queue_places_place_check CHECK ((place > 0)),
    CONSTRAINT queue_places_user_id_check CHECK ((user_id <> ''::text))
)
WITH (fillfactor='70');

CREATE TABLE ticketing.queue_turns (
    event_id text NOT NULL,
    until timestamp with time zone NOT NULL,
    admitted bigint NOT NULL,
    CONSTRAINT queue_turns_admitted_check CHECK ((admitted > 0))
)
WITH (fillfactor='50');

CREATE TABLE ticketing.reconciliation_seen (
    id uuid NOT NULL,
    reference text NOT NULL,
    CONSTRAINT reconciliation_seen_reference_check CHECK ((reference <> ''::text))
);

CREATE TABLE ticketing.reconciliations (
    id uuid NOT NULL,
    from_at timestamp with time zone NOT NULL,
    until_at timestamp with time zone NOT NULL,
    phase text DEFAULT 'payments'::text NOT NULL,
    cursor text,
    payments bigint DEFAULT 0 NOT NULL,
    refunds bigint DEFAULT 0 NOT NULL,
    differences bigint DEFAULT 0 NOT NULL,
    began_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    CONSTRAINT reconciliations_check CHECK ((from_at < until_at)),
    CONSTRAINT reconciliations_check1 CHECK (((phase = 'done'::text) = (finished_at IS NOT NULL))),
    CONSTRAINT reconciliations_differences_check CHECK ((differences >= 0)),
    CONSTRAINT reconciliations_payments_check CHECK ((payments >= 0)),
    CONSTRAINT reconciliations_phase_check CHECK ((phase = ANY (ARRAY['payments'::text, 'refunds'::text, 'ours'::text, 'done'::text]))),
    CONSTRAINT reconciliations_refunds_check CHECK ((refunds >= 0))
);

CREATE TABLE ticketing.refunds (
    event_id text NOT NULL,
    booking_id uuid NOT NULL,
    refund_id uuid NOT NULL,
    seat_ids text[] NOT NULL,
    amount_cents bigint NOT NULL,
    seats_left integer NOT NULL,
    returned_at timestamp with time zone DEFAULT now() NOT NULL,
    refunded_at timestamp with time zone,
    CONSTRAINT refunds_amount_cents_check CHECK ((amount_cents >= 0)),
    CONSTRAINT refunds_event_id_check CHECK ((event_id <> ''::text)),
    CONSTRAINT refunds_seat_ids_check CHECK ((cardinality(seat_ids) > 0)),
    CONSTRAINT refunds_seats_left_check CHECK ((seats_left >= 0))
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.1');

CREATE TABLE ticketing.seats (
    event_id text NOT NULL,
    seat_id text NOT NULL,
    section text NOT NULL,
    row_name text NOT NULL,
    number integer NOT NULL,
    price_cents bigint NOT NULL,
    status text DEFAULT 'available'::text NOT NULL,
    booking_id uuid,
    held_until timestamp with time zone,
    x real,
    y real,
    marks text[],
    CONSTRAINT seats_check CHECK (((status = ANY (ARRAY['available'::text, 'house'::text])) = (booking_id IS NULL))),
    CONSTRAINT seats_check1 CHECK (((status = 'held'::text) = (held_until IS NOT NULL))),
    CONSTRAINT seats_number_check CHECK ((number > 0)),
    CONSTRAINT seats_price_cents_check CHECK ((price_cents >= 0)),
    CONSTRAINT seats_seat_id_check CHECK ((seat_id <> ''::text)),
    CONSTRAINT seats_status_check CHECK ((status = ANY (ARRAY['available'::text, 'held'::text, 'sold'::text, 'house'::text])))
)
WITH (fillfactor='60', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.1', autovacuum_vacuum_cost_delay='0');

CREATE TABLE ticketing.sessions (
    id uuid NOT NULL,
    account_id uuid NOT NULL,
    family_hash bytea NOT NULL,
    token_hash bytea NOT NULL,
    user_agent text,
    address text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    refreshed_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT sessions_family_hash_check CHECK ((length(family_hash) = 32)),
    CONSTRAINT sessions_token_hash_check CHECK ((length(token_hash) = 32))
)
WITH (fillfactor='80');

CREATE TABLE ticketing.ticket_keys (
    id text NOT NULL,
    seed bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ticket_keys_id_check CHECK ((id <> ''::text)),
    CONSTRAINT ticket_keys_seed_check CHECK ((octet_length(seed) = 32))
);

CREATE TABLE ticketing.venue_seats (
    venue_id uuid NOT NULL,
    seat_id text NOT NULL,
    section text NOT NULL,
    row_name text NOT NULL,
    number integer NOT NULL,
    x real,
    y real,
    marks text[],
    CONSTRAINT venue_seats_check CHECK (((x IS NULL) = (y IS NULL))),
    CONSTRAINT venue_seats_marks_check CHECK (((marks <@ ARRAY['wheelchair'::text, 'companion'::text, 'step_free'::text, 'restricted_view'::text]) AND (marks <> '{}'::text[]))),
    CONSTRAINT venue_seats_number_check CHECK ((number > 0)),
    CONSTRAINT venue_seats_row_name_check CHECK ((row_name <> ''::text)),
    CONSTRAINT venue_seats_seat_id_check CHECK ((seat_id <> ''::text)),
    CONSTRAINT venue_seats_section_check CHECK ((section <> ''::text))
);

CREATE TABLE ticketing.venues (
    id uuid NOT NULL,
    organisation_id uuid NOT NULL,
    name text NOT NULL,
    city text NOT NULL,
    time_zone text NOT NULL,
    stage_x real DEFAULT 0 NOT NULL,
    stage_y real DEFAULT 0 NOT NULL,
    seats integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT venues_city_check CHECK ((city <> ''::text)),
    CONSTRAINT venues_name_check CHECK ((name <> ''::text)),
    CONSTRAINT venues_seats_check CHECK ((seats >= 0)),
    CONSTRAINT venues_time_zone_check CHECK ((time_zone <> ''::text))
);

CREATE TABLE ticketing.waiting_rooms (
    event_id text NOT NULL,
    opens_at timestamp with time zone NOT NULL,
    last_place bigint DEFAULT 0 NOT NULL,
    admitted bigint DEFAULT 0 NOT NULL,
    secret bytea DEFAULT (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) NOT NULL,
    turn_seconds integer DEFAULT 300 NOT NULL,
    ended bigint DEFAULT 0 NOT NULL,
    unused bigint DEFAULT 0 NOT NULL,
    CONSTRAINT waiting_rooms_check CHECK (((admitted >= 0) AND (admitted <= last_place))),
    CONSTRAINT waiting_rooms_check1 CHECK (((ended >= 0) AND (ended <= admitted))),
    CONSTRAINT waiting_rooms_last_place_check CHECK ((last_place >= 0)),
    CONSTRAINT waiting_rooms_secret_check CHECK ((length(secret) >= 32)),
    CONSTRAINT waiting_rooms_turn_seconds_check CHECK ((turn_seconds > 0)),
    CONSTRAINT waiting_rooms_unused_check CHECK ((unused >= 0))
)
WITH (fillfactor='50');

CREATE TABLE ticketing.webhook_inbox (
    event_id text NOT NULL,
    kind text NOT NULL,
    booking_id uuid,
    object_id text,
    created_at timestamp with time zone,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    repeats integer DEFAULT 0 NOT NULL,
    status text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone,
    finished_at timestamp with time zone,
    note text,
    CONSTRAINT webhook_inbox_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT webhook_inbox_check CHECK (((status = 'waiting'::text) = (next_attempt_at IS NOT NULL))),
    CONSTRAINT webhook_inbox_check1 CHECK (((status = 'waiting'::text) = (finished_at IS NULL))),
    CONSTRAINT webhook_inbox_event_id_check CHECK ((event_id <> ''::text)),
    CONSTRAINT webhook_inbox_repeats_check CHECK ((repeats >= 0)),
    CONSTRAINT webhook_inbox_status_check CHECK ((status = ANY (ARRAY['waiting'::text, 'delivered'::text, 'ignored'::text, 'expired'::text])))
)
WITH (autovacuum_vacuum_scale_factor='0.05');

ALTER TABLE ONLY saga.journal ATTACH PARTITION saga.journal_other DEFAULT;

ALTER TABLE ONLY analytics.active_users
    ADD CONSTRAINT active_users_pkey PRIMARY KEY (minute, user_id);

ALTER TABLE ONLY analytics.durations
    ADD CONSTRAINT durations_pkey PRIMARY KEY (step, since, event_id, bucket);

ALTER TABLE ONLY analytics.facts
    ADD CONSTRAINT facts_pkey PRIMARY KEY (id, at);

ALTER TABLE ONLY analytics.rollups
    ADD CONSTRAINT rollups_pkey PRIMARY KEY (step, since, kind, event_id, currency);

ALTER TABLE ONLY analytics.visitors
    ADD CONSTRAINT visitors_pkey PRIMARY KEY (day, kind, event_id, visitor);

ALTER TABLE ONLY ops.alert_rules
    ADD CONSTRAINT alert_rules_pkey PRIMARY KEY (name);

ALTER TABLE ONLY ops.alerts
    ADD CONSTRAINT alerts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ops.api_tokens
    ADD CONSTRAINT api_tokens_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ops.api_tokens
    ADD CONSTRAINT api_tokens_token_hash_key UNIQUE (token_hash);

ALTER TABLE ONLY ops.approvals
    ADD CONSTRAINT approvals_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ops.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ops.campaign_items
    ADD CONSTRAINT campaign_items_campaign_id_saga_id_key UNIQUE (campaign_id, saga_id);

ALTER TABLE ONLY ops.campaign_items
    ADD CONSTRAINT campaign_items_pkey PRIMARY KEY (campaign_id, ordinal);

ALTER TABLE ONLY ops.campaigns
    ADD CONSTRAINT campaigns_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ops.login_links
    ADD CONSTRAINT login_links_pkey PRIMARY KEY (token_hash);

ALTER TABLE ONLY ops.notes
    ADD CONSTRAINT notes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ops.scale_targets
    ADD CONSTRAINT scale_targets_pkey PRIMARY KEY (name);

ALTER TABLE ONLY ops.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (token_hash);

ALTER TABLE ONLY ops.stuck_groups
    ADD CONSTRAINT stuck_groups_pkey PRIMARY KEY (fingerprint);

ALTER TABLE ONLY ops.users
    ADD CONSTRAINT users_name_key UNIQUE (name);

ALTER TABLE ONLY ops.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ops.views
    ADD CONSTRAINT views_pkey PRIMARY KEY (name);

ALTER TABLE ONLY ops.watch_outbox
    ADD CONSTRAINT watch_outbox_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ops.watch
    ADD CONSTRAINT watch_pkey PRIMARY KEY (id);

ALTER TABLE ONLY saga.activities
    ADD CONSTRAINT activities_pkey PRIMARY KEY (queue, activity);

ALTER TABLE ONLY saga.counts
    ADD CONSTRAINT counts_pkey PRIMARY KEY (minute, workflow, kind);

ALTER TABLE ONLY saga.definitions
    ADD CONSTRAINT definitions_name_version_key UNIQUE (name, version);

ALTER TABLE ONLY saga.definitions
    ADD CONSTRAINT definitions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY saga.firings
    ADD CONSTRAINT firings_pkey PRIMARY KEY (schedule, due_at);

ALTER TABLE ONLY saga.held_tasks
    ADD CONSTRAINT held_tasks_pkey PRIMARY KEY (saga_id, step);

ALTER TABLE ONLY saga.instances
    ADD CONSTRAINT instances_pkey PRIMARY KEY (id);

ALTER TABLE ONLY saga.journal
    ADD CONSTRAINT journal_pkey PRIMARY KEY (saga_id, seq);

ALTER TABLE ONLY saga.journal_other
    ADD CONSTRAINT journal_other_pkey PRIMARY KEY (saga_id, seq);

ALTER TABLE ONLY saga.leases
    ADD CONSTRAINT leases_pkey PRIMARY KEY (name);

ALTER TABLE ONLY saga.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (id);

ALTER TABLE ONLY saga.queues
    ADD CONSTRAINT queues_pkey PRIMARY KEY (queue);

ALTER TABLE ONLY saga.sagas
    ADD CONSTRAINT sagas_pkey PRIMARY KEY (id);

ALTER TABLE ONLY saga.schedules
    ADD CONSTRAINT schedules_pkey PRIMARY KEY (name);

ALTER TABLE ONLY saga.signals
    ADD CONSTRAINT signals_pkey PRIMARY KEY (saga_id, id);

ALTER TABLE ONLY saga.start_keys
    ADD CONSTRAINT start_keys_pkey PRIMARY KEY (key);

ALTER TABLE ONLY saga.timers
    ADD CONSTRAINT timers_pkey PRIMARY KEY (saga_id);

ALTER TABLE ONLY saga.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ticketing.account_events
    ADD CONSTRAINT account_events_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ticketing.account_links
    ADD CONSTRAINT account_links_pkey PRIMARY KEY (token_hash);

ALTER TABLE ONLY ticketing.accounts
    ADD CONSTRAINT accounts_email_key_key UNIQUE (email_key);

ALTER TABLE ONLY ticketing.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ticketing.check_ins
    ADD CONSTRAINT check_ins_pkey PRIMARY KEY (event_id, seat_id, booking_id);

ALTER TABLE ONLY ticketing.check_ins_undone
    ADD CONSTRAINT check_ins_undone_pkey PRIMARY KEY (event_id, booking_id, seat_id, scan_id);

ALTER TABLE ONLY ticketing.disputes
    ADD CONSTRAINT disputes_pkey PRIMARY KEY (dispute_id);

ALTER TABLE ONLY ticketing.door_passes
    ADD CONSTRAINT door_passes_pkey PRIMARY KEY (event_id, digest);

ALTER TABLE ONLY ticketing.event_buyers
    ADD CONSTRAINT event_buyers_pkey PRIMARY KEY (event_id, user_id);

ALTER TABLE ONLY ticketing.event_cancellation_items
    ADD CONSTRAINT event_cancellation_items_pkey PRIMARY KEY (event_id, booking_id);

ALTER TABLE ONLY ticketing.event_cancellations
    ADD CONSTRAINT event_cancellations_pkey PRIMARY KEY (event_id);

ALTER TABLE ONLY ticketing.event_changes
    ADD CONSTRAINT event_changes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ticketing.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ticketing.holds
    ADD CONSTRAINT holds_pkey PRIMARY KEY (event_id, booking_id);

ALTER TABLE ONLY ticketing.ledger_accounts
    ADD CONSTRAINT ledger_accounts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ticketing.ledger_entries
    ADD CONSTRAINT ledger_entries_pkey PRIMARY KEY (transaction_id, account);

ALTER TABLE ONLY ticketing.notification_devices
    ADD CONSTRAINT notification_devices_id_key UNIQUE (id);

ALTER TABLE ONLY ticketing.notification_devices
    ADD CONSTRAINT notification_devices_pkey PRIMARY KEY (token);

ALTER TABLE ONLY ticketing.notification_preferences
    ADD CONSTRAINT notification_preferences_pkey PRIMARY KEY (account_id);

ALTER TABLE ONLY ticketing.notifications
    ADD CONSTRAINT notifications_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ticketing.notifications_sent
    ADD CONSTRAINT notifications_sent_pkey PRIMARY KEY (key);

ALTER TABLE ONLY ticketing.organisations
    ADD CONSTRAINT organisations_name_key UNIQUE (name);

ALTER TABLE ONLY ticketing.organisations
    ADD CONSTRAINT organisations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ticketing.organisers
    ADD CONSTRAINT organisers_pkey PRIMARY KEY (account_id);

ALTER TABLE ONLY ticketing.payment_differences
    ADD CONSTRAINT payment_differences_pkey PRIMARY KEY (reference);

ALTER TABLE ONLY ticketing.payment_refunds
    ADD CONSTRAINT payment_refunds_pkey PRIMARY KEY (refund_id);

ALTER TABLE ONLY ticketing.payment_refunds
    ADD CONSTRAINT payment_refunds_provider_id_key UNIQUE (provider_id);

ALTER TABLE ONLY ticketing.payments
    ADD CONSTRAINT payments_intent_id_key UNIQUE (intent_id);

ALTER TABLE ONLY ticketing.payments
    ADD CONSTRAINT payments_pkey PRIMARY KEY (key);

ALTER TABLE ONLY ticketing.queue_places
    ADD CONSTRAINT queue_places_pkey PRIMARY KEY (event_id, user_id);

ALTER TABLE ONLY ticketing.queue_turns
    ADD CONSTRAINT queue_turns_pkey PRIMARY KEY (event_id, until);

ALTER TABLE ONLY ticketing.reconciliation_seen
    ADD CONSTRAINT reconciliation_seen_pkey PRIMARY KEY (id, reference);

ALTER TABLE ONLY ticketing.reconciliations
    ADD CONSTRAINT reconciliations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ticketing.refunds
    ADD CONSTRAINT refunds_pkey PRIMARY KEY (event_id, booking_id, refund_id);

ALTER TABLE ONLY ticketing.seats
    ADD CONSTRAINT seats_pkey PRIMARY KEY (event_id, seat_id);

ALTER TABLE ONLY ticketing.sessions
    ADD CONSTRAINT sessions_family_hash_key UNIQUE (family_hash);

ALTER TABLE ONLY ticketing.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ticketing.ticket_keys
    ADD CONSTRAINT ticket_keys_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ticketing.venue_seats
    ADD CONSTRAINT venue_seats_pkey PRIMARY KEY (venue_id, seat_id);

ALTER TABLE ONLY ticketing.venues
    ADD CONSTRAINT venues_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ticketing.waiting_rooms
    ADD CONSTRAINT waiting_rooms_pkey PRIMARY KEY (event_id);

ALTER TABLE ONLY ticketing.webhook_inbox
    ADD CONSTRAINT webhook_inbox_pkey PRIMARY KEY (event_id);

CREATE INDEX facts_by_time ON ONLY analytics.facts USING brin (at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX facts_system ON ONLY analytics.facts USING btree (at) WHERE (kind = 'analytics.system-metrics'::text);

CREATE INDEX rollups_by_event ON analytics.rollups USING btree (event_id, step, since);

CREATE INDEX alerts_raised ON ops.alerts USING btree (raised_at);

CREATE UNIQUE INDEX api_tokens_name ON ops.api_tokens USING btree (user_id, name) WHERE (revoked_at IS NULL);

CREATE UNIQUE INDEX approvals_campaign ON ops.approvals USING btree (campaign_id) WHERE (decision IS NULL);

CREATE INDEX approvals_pending ON ops.approvals USING btree (expires_at) WHERE (decision IS NULL);

CREATE INDEX audit_action ON ops.audit USING btree (action, id);

CREATE INDEX audit_at ON ops.audit USING btree (at, id);

CREATE UNIQUE INDEX audit_begun ON ops.audit USING btree (saga_id, entry, operator, action, ((details ->> 'step'::text))) WHERE ((outcome IS NULL) AND (entry IS NOT NULL));

CREATE INDEX audit_operator ON ops.audit USING btree (operator, id);

CREATE INDEX audit_saga ON ops.audit USING btree (saga_id, id) WHERE (saga_id IS NOT NULL);

CREATE INDEX campaign_items_state ON ops.campaign_items USING btree (campaign_id, state, ordinal);

CREATE INDEX campaigns_active ON ops.campaigns USING btree (id) WHERE active;

CREATE INDEX campaigns_parent ON ops.campaigns USING btree (parent_id) WHERE (parent_id IS NOT NULL);

CREATE INDEX login_links_expiry ON ops.login_links USING btree (expires_at);

CREATE INDEX login_links_user ON ops.login_links USING btree (user_id);

CREATE INDEX notes_saga ON ops.notes USING btree (saga_id, id);

CREATE INDEX sessions_expiry ON ops.sessions USING btree (expires_at);

CREATE INDEX sessions_user ON ops.sessions USING btree (user_id);

CREATE UNIQUE INDEX users_subject ON ops.users USING btree (subject, issuer) WHERE (subject IS NOT NULL);

CREATE INDEX firings_claimed ON saga.firings USING btree (lease_until) WHERE (outcome = 'claimed'::text);

CREATE INDEX firings_open ON saga.firings USING btree (schedule, due_at) WHERE open;

CREATE INDEX held_tasks_queue ON saga.held_tasks USING btree (queue, due_at, saga_id, step);

CREATE INDEX sagas_business_key ON saga.sagas USING btree (business_key, id) WHERE (business_key IS NOT NULL);

CREATE INDEX sagas_failure_code ON saga.sagas USING btree (failure_code, id) WHERE (failure_code IS NOT NULL);

CREATE INDEX sagas_failure_step ON saga.sagas USING btree (failure_step, id) WHERE (failure_step IS NOT NULL);

CREATE INDEX sagas_live ON saga.sagas USING btree (status, id, workflow) WHERE (ended_at IS NULL);

CREATE INDEX sagas_tags ON saga.sagas USING gin (tags jsonb_path_ops) WHERE (tags IS NOT NULL);

CREATE INDEX sagas_troubled ON saga.sagas USING btree (id) WHERE ((ended_at IS NULL) AND ((failure_code IS NOT NULL) OR (status = 'failed'::text)));

CREATE INDEX sagas_undone ON saga.sagas USING btree (status, id) WHERE ((ended_at IS NOT NULL) AND (status <> 'completed'::text));

CREATE INDEX sagas_undone_workflow ON saga.sagas USING btree (workflow, status, id) WHERE ((ended_at IS NOT NULL) AND (status <> 'completed'::text));

CREATE INDEX schedules_due ON saga.schedules USING btree (next_due_at) WHERE (next_due_at IS NOT NULL);

CREATE INDEX signals_parked ON saga.signals USING btree (received_at) WHERE (NOT delivered);

CREATE INDEX start_keys_created ON saga.start_keys USING brin (created_at);

CREATE INDEX timers_due ON saga.timers USING btree (due_at, saga_id);

CREATE INDEX account_events_by_account ON ticketing.account_events USING btree (account_id);

CREATE INDEX account_events_due ON ticketing.account_events USING btree (next_attempt_at);

CREATE INDEX account_links_by_account ON ticketing.account_links USING btree (account_id);

CREATE INDEX account_links_by_expiry ON ticketing.account_links USING btree (expires_at);

CREATE INDEX disputes_by_booking ON ticketing.disputes USING btree (booking_id) WHERE (booking_id IS NOT NULL);

CREATE INDEX event_cancellation_items_due ON ticketing.event_cancellation_items USING btree (next_attempt_at) WHERE (status = 'due'::text);

CREATE INDEX event_cancellation_items_open ON ticketing.event_cancellation_items USING btree (event_id, booking_id) WHERE (status <> 'done'::text);

CREATE INDEX event_changes_due ON ticketing.event_changes USING btree (next_attempt_at);

CREATE INDEX events_by_organisation ON ticketing.events USING btree (organisation_id, id) WHERE (organisation_id IS NOT NULL);

CREATE INDEX events_by_start ON ticketing.events USING btree (starts_at, id);

CREATE INDEX events_city ON ticketing.events USING btree (lower(city), starts_at, id);

CREATE INDEX events_words ON ticketing.events USING gin (words);

CREATE INDEX holds_by_buyer ON ticketing.holds USING btree (event_id, user_id) WHERE ((user_id IS NOT NULL) AND (status <> 'released'::text));

CREATE UNIQUE INDEX holds_by_confirmation_number ON ticketing.holds USING btree (confirmation_number, event_id);

CREATE INDEX holds_by_expiry ON ticketing.holds USING btree (expires_at) WHERE (status = 'held'::text);

CREATE INDEX holds_by_number ON ticketing.holds USING btree (confirmation_number) WHERE (confirmation_number IS NOT NULL);

CREATE INDEX ledger_entries_by_time ON ticketing.ledger_entries USING brin (at);

CREATE INDEX notification_devices_by_account ON ticketing.notification_devices USING btree (account_id);

CREATE INDEX notifications_by_age ON ticketing.notifications USING brin (created_at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX notifications_sent_by_age ON ticketing.notifications_sent USING brin (created_at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX notifications_to_tell ON ticketing.notifications USING btree (tell_at) WHERE (tell_at IS NOT NULL);

CREATE INDEX organisers_by_organisation ON ticketing.organisers USING btree (organisation_id);

CREATE INDEX payment_differences_due ON ticketing.payment_differences USING btree (next_attempt_at) WHERE (status = 'new'::text);

CREATE INDEX payment_refunds_by_payment ON ticketing.payment_refunds USING btree (payment_key);

CREATE INDEX payments_by_booking ON ticketing.payments USING btree (booking_id);

CREATE UNIQUE INDEX queue_places_by_place ON ticketing.queue_places USING btree (place, event_id);

CREATE INDEX queue_places_without ON ticketing.queue_places USING btree (event_id) WHERE (place IS NULL);

CREATE UNIQUE INDEX seats_by_place ON ticketing.seats USING btree (event_id, section, row_name, number);

CREATE INDEX sessions_by_account ON ticketing.sessions USING btree (account_id);

CREATE INDEX sessions_by_expiry ON ticketing.sessions USING btree (expires_at);

CREATE INDEX venues_by_organisation ON ticketing.venues USING btree (organisation_id, id);

CREATE INDEX webhook_inbox_due ON ticketing.webhook_inbox USING btree (next_attempt_at) WHERE (status = 'waiting'::text);

CREATE INDEX webhook_inbox_finished ON ticketing.webhook_inbox USING btree (finished_at) WHERE (status <> 'waiting'::text);

ALTER INDEX saga.journal_pkey ATTACH PARTITION saga.journal_other_pkey;

CREATE TRIGGER complete_audit AFTER INSERT ON saga.journal FOR EACH ROW WHEN ((starts_with(new.event, '{"event":"command"'::text) OR starts_with(new.event, '{"event":"signal","id":"operator:'::text))) EXECUTE FUNCTION ops.complete_audit();

CREATE TRIGGER ledger_entries_balance AFTER INSERT ON ticketing.ledger_entries REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION ticketing.require_balance();

CREATE TRIGGER ledger_entries_stay BEFORE DELETE OR UPDATE OR TRUNCATE ON ticketing.ledger_entries FOR EACH STATEMENT EXECUTE FUNCTION ticketing.refuse_change();

ALTER TABLE ONLY ops.api_tokens
    ADD CONSTRAINT api_tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES ops.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY ops.approvals
    ADD CONSTRAINT approvals_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES ops.campaigns(id);

ALTER TABLE ONLY ops.campaign_items
    ADD CONSTRAINT campaign_items_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES ops.campaigns(id) ON DELETE CASCADE;

ALTER TABLE ONLY ops.campaigns
    ADD CONSTRAINT campaigns_parent_id_fkey FOREIGN KEY (parent_id) REFERENCES ops.campaigns(id);

ALTER TABLE ONLY ops.login_links
    ADD CONSTRAINT login_links_user_id_fkey FOREIGN KEY (user_id) REFERENCES ops.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY ops.sessions
    ADD CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES ops.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY saga.firings
    ADD CONSTRAINT firings_schedule_fkey FOREIGN KEY (schedule) REFERENCES saga.schedules(name) ON DELETE CASCADE;

ALTER TABLE ONLY ticketing.account_events
    ADD CONSTRAINT account_events_account_id_fkey FOREIGN KEY (account_id) REFERENCES ticketing.accounts(id) ON DELETE CASCADE;

ALTER TABLE ONLY ticketing.account_links
    ADD CONSTRAINT account_links_account_id_fkey FOREIGN KEY (account_id) REFERENCES ticketing.accounts(id) ON DELETE CASCADE;

ALTER TABLE ONLY ticketing.event_cancellation_items
    ADD CONSTRAINT event_cancellation_items_event_id_fkey FOREIGN KEY (event_id) REFERENCES ticketing.event_cancellations(event_id);

ALTER TABLE ONLY ticketing.organisers
    ADD CONSTRAINT organisers_organisation_id_fkey FOREIGN KEY (organisation_id) REFERENCES ticketing.organisations(id);

ALTER TABLE ONLY ticketing.payment_refunds
    ADD CONSTRAINT payment_refunds_payment_key_fkey FOREIGN KEY (payment_key) REFERENCES ticketing.payments(key);

ALTER TABLE ONLY ticketing.queue_turns
    ADD CONSTRAINT queue_turns_event_id_fkey FOREIGN KEY (event_id) REFERENCES ticketing.waiting_rooms(event_id) ON DELETE CASCADE;

ALTER TABLE ONLY ticketing.reconciliation_seen
    ADD CONSTRAINT reconciliation_seen_id_fkey FOREIGN KEY (id) REFERENCES ticketing.reconciliations(id) ON DELETE CASCADE;

ALTER TABLE ONLY ticketing.seats
    ADD CONSTRAINT seats_event_id_fkey FOREIGN KEY (event_id) REFERENCES ticketing.events(id);

ALTER TABLE ONLY ticketing.sessions
    ADD CONSTRAINT sessions_account_id_fkey FOREIGN KEY (account_id) REFERENCES ticketing.accounts(id) ON DELETE CASCADE;

ALTER TABLE ONLY ticketing.venue_seats
    ADD CONSTRAINT venue_seats_venue_id_fkey FOREIGN KEY (venue_id) REFERENCES ticketing.venues(id) ON DELETE CASCADE;

ALTER TABLE ONLY ticketing.venues
    ADD CONSTRAINT venues_organisation_id_fkey FOREIGN KEY (organisation_id) REFERENCES ticketing.organisations(id);

ALTER TABLE ONLY ticketing.waiting_rooms
    ADD CONSTRAINT waiting_rooms_event_id_fkey FOREIGN KEY (event_id) REFERENCES ticketing.events(id);
