-- What was sent is forgotten after a while. Rows come in the order of time and stay where they are: a few bytes for each range of pages will do.
create index notifications_by_age on ticketing.notifications using brin (created_at) with (pages_per_range = 32, autosummarize = on);
create index notifications_sent_by_age on ticketing.notifications_sent using brin (created_at) with (pages_per_range = 32, autosummarize = on);
