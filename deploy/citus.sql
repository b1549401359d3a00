-- Distributes the tables over the nodes of a Citus cluster. Optional, and never run by Sagaline itself: run it once with psql on
-- the coordinator, after `sagaline migrate` and before there is any data. docs/scaling.md says what it is for, and what
-- has to be cut first. tests/sharding.rs holds it against the catalogue.
create extension if not exists citus;

-- Read everywhere, rarely written: a copy on every node.
select create_reference_table('saga.definitions');
select create_reference_table('saga.queues');
select create_reference_table('ticketing.events');
select create_reference_table('ticketing.ticket_keys');

-- The audit trail is on one node: it is completed by whoever gave the command, a moment later, not by the command's own transaction.
drop trigger complete_audit on saga.journal;

-- What belongs to a saga lies together, by the saga's id.
select create_distributed_table('saga.sagas', 'id');
select create_distributed_table('saga.journal', 'saga_id', colocate_with => 'saga.sagas');
select create_distributed_table('saga.timers', 'saga_id', colocate_with => 'saga.sagas');
select create_distributed_table('saga.held_tasks', 'saga_id', colocate_with => 'saga.sagas');
select create_distributed_table('saga.signals', 'saga_id', colocate_with => 'saga.sagas');

-- Recursion doesn't cross nodes; each node tells its own queues at the price of reading all that wait.
create or replace view saga.held_queues as select distinct queue from saga.held_tasks;

-- A key says which saga it began; it is known before the saga's id is.
select create_distributed_table('saga.start_keys', 'key', colocate_with => 'none');

-- What belongs to an event lies together, by the event's id.
select create_distributed_table('ticketing.seats', 'event_id');
select create_distributed_table('ticketing.holds', 'event_id', colocate_with => 'ticketing.seats');
select create_distributed_table('ticketing.event_buyers', 'event_id', colocate_with => 'ticketing.seats');
select create_distributed_table('ticketing.refunds', 'event_id', colocate_with => 'ticketing.seats');
select create_distributed_table('ticketing.event_cancellations', 'event_id', colocate_with => 'ticketing.seats');
select create_distributed_table('ticketing.event_cancellation_items', 'event_id', colocate_with => 'ticketing.seats');
select create_distributed_table('ticketing.waiting_rooms', 'event_id', colocate_with => 'ticketing.seats');
select create_distributed_table('ticketing.queue_places', 'event_id', colocate_with => 'ticketing.seats');
select create_distributed_table('ticketing.queue_turns', 'event_id', colocate_with => 'ticketing.seats');
select create_distributed_table('ticketing.check_ins', 'event_id', colocate_with => 'ticketing.seats');
select create_distributed_table('ticketing.check_ins_undone', 'event_id', colocate_with => 'ticketing.seats');
select create_distributed_table('ticketing.door_passes', 'event_id', colocate_with => 'ticketing.seats');

-- Each row by itself.
select create_distributed_table('ticketing.notifications_sent', 'key', colocate_with => 'none');
select create_distributed_table('ticketing.notifications', 'id', colocate_with => 'none');
select create_distributed_table('ticketing.webhook_inbox', 'event_id', colocate_with => 'none');
