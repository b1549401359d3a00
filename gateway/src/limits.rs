//! Every limit of the gateway, in one place.

use std::time::Duration;

/// Bytes of a request's body. A booking of ten seats takes under a kilobyte.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a webhook's body. Stripe's largest events, those that carry whole objects, stay well below.
pub const WEBHOOK_BYTES_MAX: usize = 256 * 1024;
/// Bytes of an oversized body that are read and thrown away, so that the client gets to read its 413 rather than
/// find the connection reset while it is still sending.
pub const BODY_DRAIN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a client may take to send its body.
pub const BODY_READ_LIMIT: Duration = Duration::from_secs(10);

/// Seats in one booking: what ticket shops commonly sell to one buyer, and a claim that locks few rows.
pub const SEATS_PER_BOOKING_MAX: usize = 10;
/// Characters of an identifier (user, event, seat, section).
pub const ID_CHARS_MAX: usize = 100;
/// Characters of a payment method's identifier; Stripe's own limit for ids is 255.
pub const PAYMENT_METHOD_CHARS_MAX: usize = 255;
/// Characters of an e-mail address (RFC 5321: a path of 256 octets with its angle brackets).
pub const EMAIL_CHARS_MAX: usize = 254;
/// Characters of an idempotency key.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// Digits of an amount before the decimal point: far beyond any price, far within 64 bits of cents.
pub const AMOUNT_DIGITS_MAX: usize = 12;
/// Problems named in one answer; whoever makes more mistakes at once fixes these first.
pub const ERRORS_MAX: usize = 20;
/// Characters of a client's own text repeated in an error.
pub const ECHO_CHARS_MAX: usize = 64;

/// The longest wait that `Prefer: wait` is granted: below the idle time-outs of common proxies.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
/// While waiting, how often to look whether the booking is decided although the saga still runs: a confirmed
/// buyer shall not wait for a mail server.
pub const WAIT_SLICE: Duration = Duration::from_secs(1);
/// Entries of a booking's history in an answer. A booking has about a dozen, and a few for each payment attempt.
pub const HISTORY_MAX: u32 = 1_000;
/// Events on a page, at most.
pub const EVENTS_PAGE_MAX: u32 = 200;
/// Events on a page when nobody says.
pub const EVENTS_PAGE_DEFAULT: u32 = 50;
/// Events whose latest seat map is kept in memory; about 2 MB each for 20,000 seats.
pub const SEAT_MAPS_MAX: usize = 64;

/// Webhook events taken from the inbox at a time.
pub const INBOX_BATCH_MAX: i64 = 100;
/// Signals under way to the engine at a time, per gateway.
pub const INBOX_CONCURRENCY: usize = 16;
/// A claimed webhook event that nobody finished within this time is claimed again.
pub const INBOX_LEASE: Duration = Duration::from_secs(60);
/// How long a webhook event waits for its booking: as long as Stripe itself keeps repeating one.
pub const INBOX_PATIENCE: Duration = Duration::from_secs(3 * 24 * 60 * 60);
/// The longest pause between two tries at one webhook event.
pub const INBOX_BACKOFF_MAX: Duration = Duration::from_secs(60 * 60);
/// How long finished webhook events are kept, to recognise repetitions and to answer questions.
pub const INBOX_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Old webhook events deleted at a time, so that no delete runs long.
pub const INBOX_PURGE_MAX: i64 = 1_000;
/// How often old webhook events are looked for.
pub const INBOX_PURGE_EVERY: Duration = Duration::from_secs(60 * 60);

/// How long a dependency may take to answer the readiness probe.
pub const PROBE_LIMIT: Duration = Duration::from_secs(1);
