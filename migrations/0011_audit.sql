-- The audit trail: what is done to a saga completes its row in the deed's own transaction, and filters find rows by an index.

-- The end of the saga's journal at which the deed was given; none: it is no command and no signal.
alter table ops.audit add column entry bigint check (entry > 0);
-- Deeds that were begun. The same one again, a second click, is the same row: who is first completes it.
create unique index audit_begun on ops.audit (saga_id, entry, operator, action, (details ->> 'step')) where outcome is null and entry is not null;
create index audit_action on ops.audit (action, id);
create index audit_at on ops.audit (at, id);

-- Says of the row that was written before a command or a signal of an operator that it is done, in the transaction that does it. The journal's
-- text is compared, not parsed: whatever somebody has put into an input can't fail the engine's batch here.
-- The row is the one whose operator, action and step the event begins and ends with: serde writes `event`, `command`, `step` first, `by` and
-- `reason` last, and quotes within a reason are escaped, so that nobody can speak for somebody else.
create function ops.complete_audit() returns trigger language plpgsql as $$
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
$$;

-- Only what an operator may have done is looked at: beginnings of texts are compared for all other entries.
create trigger complete_audit after insert on saga.journal for each row
    when (starts_with(new.event, '{"event":"command"') or starts_with(new.event, '{"event":"signal","id":"operator:'))
    execute function ops.complete_audit();
