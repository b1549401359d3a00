-- Whoever is logged in changes their password, or the address of their account.
alter table ticketing.account_events drop constraint account_events_kind_check;
alter table ticketing.account_events add constraint account_events_kind_check check (kind in (
    'registered', 'login', 'logout', 'confirmation', 'password_reset', 'password_changed', 'email_change', 'email_changed'));

alter table ticketing.account_links drop constraint account_links_purpose_check;
alter table ticketing.account_links add constraint account_links_purpose_check check (
    purpose in ('confirmation', 'password_reset', 'email_change'));
-- The address that the account has once the link is used; the link was sent there.
alter table ticketing.account_links add column email text check (email <> '' and length(email) <= 254);
alter table ticketing.account_links add constraint account_links_email_purpose_check check (
    (purpose = 'email_change') = (email is not null));
