-- The queues for which tasks wait: found one by one along the index, however many tasks wait for each.
create view saga.held_queues as
    with recursive held(queue) as (
        (select queue from saga.held_tasks order by queue limit 1)
        union all
        select (select h.queue from saga.held_tasks h where h.queue > held.queue order by h.queue limit 1)
        from held where held.queue is not null
    )
    select queue from held where queue is not null;
