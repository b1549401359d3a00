-- The index of live sagas knows their workflow: a rare workflow among tens of thousands of live sagas is found, and the overview counts,
-- without a look at the table for each.
drop index saga.sagas_live;
create index sagas_live on saga.sagas (status, id, workflow) where ended_at is null;
