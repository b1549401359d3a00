//! Every limit of the site, each with its reason.

use std::time::Duration;

/// A form: ten seats' names, an address, a code from a ticket.
pub const FORM_BYTES_MAX: usize = 64 * 1024;
/// An answer of the API: the seats of the largest section, a picture of a stadium.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long an answer may take: the gateway gives up after 15 s.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// How long a connection to the gateway may take where it is another process.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// How long a stream may be silent: the gateway says something every few seconds.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Events on a page.
pub const EVENTS_PAGE: usize = 12;
/// How long a price "from" is shown without another look. Prices of published events stay; what is left needn't be exact there.
pub const GLANCE_AGE_MAX: Duration = Duration::from_secs(30);
/// Events whose price is kept in memory: a hundred bytes each.
pub const GLANCES_MAX: usize = 2_000;
/// Bytes of a page's list of seats, at most; further rows have pages of their own. Leaves the page below 100 KB.
pub const SEAT_LIST_BYTES_MAX: usize = 60_000;
/// Seats of an event that are shown without choosing a section first.
pub const SEATS_AT_ONCE_MAX: usize = 400;
/// Seats of a map that one can click on; browsers become slow beyond.
pub const MAP_SEATS_MAX: usize = 2_500;
/// Seats of one booking, as the gateway has it.
pub const SEATS_PER_BOOKING_MAX: usize = 10;
/// Orders that a guest's browser knows: a cookie has 4 KB.
pub const GUEST_ORDERS_MAX: usize = 20;
/// How long it knows them.
pub const GUEST_SECONDS: u64 = 180 * 24 * 60 * 60;
/// How long a session goes on without being used, as the gateway has it.
pub const SESSION_SECONDS: u64 = 30 * 24 * 60 * 60;
/// How much earlier than its end an access token isn't used any more: a request takes a while.
pub const ACCESS_MARGIN_SECONDS: u64 = 30;
/// How long the tokens that a refresh gave are given to other tabs, which came with the old one.
pub const REFRESH_KEPT: Duration = Duration::from_secs(60);
/// Refreshes that are kept: a kilobyte each. Every session comes once in ten minutes, so that is for a million sessions.
pub const REFRESHES_MAX: usize = 100_000;
/// Bytes of a cookie of ours: what is longer isn't ours.
pub const COOKIE_BYTES_MAX: usize = 3_000;
/// How often a page looks again for its booking, without a script.
pub const LOOK_AGAIN_SECONDS: u32 = 3;
/// How long a door's pass stays in its browser: no event is longer.
pub const DOOR_SECONDS: u64 = 24 * 60 * 60;
/// The form of an event: as the gateway takes one.
pub const EVENT_FORM_BYTES_MAX: usize = 512 * 1024;
/// A form with a file of seats: the gateway takes 16 MiB, and the form's own parts are around it.
pub const SEATS_FORM_BYTES_MAX: u64 = 16 * 1024 * 1024 + 64 * 1024;
/// Files of seats that a process reads at a time: each is kept in memory.
pub const SEATS_FORMS_MAX: usize = 2;
/// How long one may take to come: 16 MiB at a megabit a second.
pub const SEATS_FORM_LIMIT: Duration = Duration::from_secs(150);
/// Of a file of seats that has mistakes, what is shown to be mended on the page; a larger one is chosen again.
pub const SEATS_SHOWN_BYTES_MAX: usize = 40 * 1024;
/// Venues to choose from: pages of a hundred that are asked for.
pub const VENUE_PAGES_MAX: usize = 5;
/// Empty rows for more prices, fees and taxes than there are.
pub const ROWS_SPARE: usize = 1;
/// Prices of an event, as the gateway has it.
pub const TIERS_MAX: usize = 100;
/// Fees, and taxes, of an event, as the gateway has it.
pub const CHARGES_MAX: usize = 10;
/// Minutes of sales that are drawn.
pub const MINUTES_SHOWN: usize = 60;
/// Days of sales that are summed up: nothing is sold so long before.
pub const DAYS_SUMMED: i64 = 1_000;
/// How often a page of sales looks again.
pub const SALES_MS: u32 = 3_000;
