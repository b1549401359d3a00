-- Users who come by an identity provider (OpenID Connect). The provider's name for them is what they are known by: names that people
-- read may change, and may be another's. They have no password here.
alter table ops.users
    add column issuer text,
    add column subject text,
    add constraint users_provider check ((issuer is null) = (subject is null)),
    add constraint users_provider_password check (subject is null or password_hash is null);
create unique index users_subject on ops.users (subject, issuer) where subject is not null;
