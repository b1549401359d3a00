-- Who sells: an organisation, whose members are users of the shop. No foreign key to accounts: users are another service's.
create table ticketing.organisations (
    id uuid primary key,
    name text not null unique check (name <> ''),
    created_at timestamptz not null default now()
);

-- One organisation a user: so nobody need say for which one they act.
create table ticketing.organisers (
    account_id uuid primary key,
    organisation_id uuid not null references ticketing.organisations,
    created_at timestamptz not null default now()
);
create index organisers_by_organisation on ticketing.organisers (organisation_id);

-- Where events take place.
create table ticketing.venues (
    id uuid primary key,
    organisation_id uuid not null references ticketing.organisations,
    name text not null check (name <> ''),
    city text not null check (city <> ''),
    -- IANA name.
    time_zone text not null check (time_zone <> ''),
    -- Where the stage is, in the seats' coordinates.
    stage_x real not null default 0,
    stage_y real not null default 0,
    seats integer not null default 0 check (seats >= 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index venues_by_organisation on ticketing.venues (organisation_id, id);

-- A venue's seats, from which those of an event are made. They are written all together, and read all together.
create table ticketing.venue_seats (
    venue_id uuid not null references ticketing.venues on delete cascade,
    seat_id text not null check (seat_id <> ''),
    section text not null check (section <> ''),
    row_name text not null check (row_name <> ''),
    number integer not null check (number > 0),
    x real,
    y real,
    -- What is to be known about it: wheelchair, companion, step_free, restricted_view. Null: nothing.
    marks text[] check (marks <@ array['wheelchair', 'companion', 'step_free', 'restricted_view'] and marks <> '{}'),
    primary key (venue_id, seat_id),
    check ((x is null) = (y is null))
);
