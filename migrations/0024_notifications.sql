-- Notifications: one row a message, whatever it goes by, from the wish for it to its receipt; and what buyers want to be told, and where.

create table ticketing.notifications (
    -- Made of what asked for it, the channel and the recipient: the same wish is one row however often it comes.
    id uuid primary key,
    -- Whose: none, it is for operations.
    booking_id uuid,
    -- The registered user; none: a guest's, or nobody's.
    account_id uuid,
    channel text not null check (channel in ('email', 'sms', 'push', 'slack')),
    kind text not null check (kind <> ''),
    language text not null check (language in ('en', 'de')),
    -- An address, a number, a device's token. Not in any saga or journal where it is a token.
    recipient text not null check (recipient <> ''),
    -- What the template shows.
    data jsonb not null check (jsonb_typeof(data) = 'object'),
    -- Moves forward only: queued, sent, delivered, failed. What says that it failed for good comes last, for a bounce follows a delivery.
    status text not null default 'queued' check (status in ('queued', 'sent', 'delivered', 'failed')),
    -- Attempts at sending, and until when nobody else makes one.
    attempts integer not null default 0 check (attempts >= 0),
    leased_until timestamptz,
    -- The provider's name for it.
    provider_id text,
    -- What was wrong with the last attempt, or with the message.
    problem text,
    created_at timestamptz not null default now(),
    sent_at timestamptz,
    delivered_at timestamptz,
    failed_at timestamptz,
    -- The provider's last word on it came then.
    receipt_at timestamptz,
    -- When the engine is to be told of the wish, or of the receipt; none: it knows.
    tell_at timestamptz default now(),
    check (status <> 'sent' or sent_at is not null),
    check (status <> 'delivered' or delivered_at is not null),
    check ((status = 'failed') = (failed_at is not null)),
    check (status <> 'failed' or problem is not null)
) with (autovacuum_vacuum_scale_factor = 0.05);
create index notifications_to_tell on ticketing.notifications (tell_at) where tell_at is not null;

-- Who has no row wants e-mail and push, in English.
create table ticketing.notification_preferences (
    account_id uuid primary key,
    language text not null check (language in ('en', 'de')),
    -- What they want to be reached by.
    channels text[] not null check (channels <@ array['email', 'sms', 'push']),
    -- In international form. Messages go by SMS only where there is one.
    phone text check (phone ~ '^\+[1-9][0-9]{6,14}$'),
    updated_at timestamptz not null default now()
);

-- Telephones and browsers that take push messages. A token that its provider knows no more is removed.
create table ticketing.notification_devices (
    token text primary key check (octet_length(token) between 1 and 4096),
    id uuid not null unique,
    account_id uuid not null,
    name text not null check (name <> ''),
    registered_at timestamptz not null default now()
);
create index notification_devices_by_account on ticketing.notification_devices (account_id);

-- The mails about bookings are among the notifications now. What was sent before stays known for what it was about.
insert into ticketing.notifications
    (id, booking_id, channel, kind, language, recipient, data, status, attempts, provider_id, created_at, sent_at, tell_at)
select gen_random_uuid(), booking_id, 'email', template, 'en', recipient, '{}', 'sent', attempts, message_id, created_at, sent_at, null
from ticketing.notifications_sent
where booking_id is not null and status = 'sent';
delete from ticketing.notifications_sent where booking_id is not null;
