//! Every setting there is: its key in the file, its environment variable, its default.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its place in the TOML file.
    pub key: &'static str,
    /// Its environment variable.
    pub variable: &'static str,
    /// What holds when nobody sets it.
    pub default: Option<&'static str>,
    /// It carries a password.
    pub secret: bool,
    /// What it is for.
    pub about: &'static str,
}

const fn entry(key: &'static str, variable: &'static str, default: Option<&'static str>, about: &'static str) -> Entry {
    Entry {
        key,
        variable,
        default,
        secret: false,
        about,
    }
}

const fn secret(key: &'static str, variable: &'static str, about: &'static str) -> Entry {
    Entry {
        key,
        variable,
        default: None,
        secret: true,
        about,
    }
}

/// Every setting, in the order of the documentation. `.env.sample` is held against it by a test.
pub const CATALOG: &[Entry] = &[
    secret(
        "database.url",
        "DATABASE_URL",
        "Postgres, as postgres://user:password@host:port/database",
    ),
    entry(
        "database.connections",
        "SAGALINE_DATABASE_CONNECTIONS",
        Some("10"),
        "connections of each part's pool",
    ),
    secret(
        "analytics.url",
        "ANALYTICS_URL",
        "the analytics' store: clickhouse://user:password@host:port/database, or Postgres as above; left out, database.url",
    ),
    secret(
        "analytics.database_url",
        "SAGALINE_ANALYTICS_DATABASE_URL",
        "an older name of analytics.url, which goes before it",
    ),
    entry(
        "operations.alerts",
        "SAGALINE_ALERTS",
        Some(
            "HIGH_LOAD: active_users > 100000 for 30s until < 80000 for 5m scale worker-seats=10 worker-payments=5; \
             QUEUE_LAG: queue_lag > 1000 for 30s until < 100 for 2m scale worker-seats=10 worker-payments=5; \
             OUTBOX_LATE: outbox_seconds > 30 for 30s until < 5 for 1m; \
             STUCK_SAGA: oldest_stuck_seconds > 900 for 0s until < 900 for 1m; \
             PAYMENTS_FAIL: payment_failure_rate > 0.3 for 1m until < 0.1 for 5m",
        ),
        "what raises an alert, and how many workers there shall be then (docs/operations.md)",
    ),
    entry(
        "operations.scale_targets",
        "SAGALINE_SCALE_TARGETS",
        Some("worker-seats=2..20,worker-payments=2..10"),
        "workers that may be scaled, as worker-QUEUE=MIN..MAX joined by commas",
    ),
    entry(
        "operations.cool_down",
        "SAGALINE_SCALE_COOL_DOWN",
        Some("5m"),
        "how long after a change there may be fewer workers again",
    ),
    entry(
        "operations.every",
        "SAGALINE_ALERTS_EVERY",
        Some("5s"),
        "how often alerts are judged",
    ),
    entry(
        "operations.scaler",
        "SAGALINE_SCALER",
        None,
        "what starts and stops workers: kubernetes, processes (of this machine) or off; left out, off, and processes in dev",
    ),
    entry(
        "operations.namespace",
        "SAGALINE_KUBERNETES_NAMESPACE",
        None,
        "where the workers' Deployments are; left out, where this process runs",
    ),
    entry(
        "kafka.brokers",
        "KAFKA_BROKERS",
        None,
        "Kafka, as host:port, several joined by commas",
    ),
    entry(
        "kafka.partitions",
        "SAGALINE_KAFKA_PARTITIONS",
        Some("10"),
        "partitions of each topic; all must agree",
    ),
    entry(
        "kafka.replication",
        "SAGALINE_KAFKA_REPLICATION",
        Some("1"),
        "copies of each partition; 3 in production",
    ),
    secret("stripe.api_key", "STRIPE_API_KEY", "Stripe's secret key"),
    entry(
        "stripe.base_url",
        "STRIPE_BASE_URL",
        None,
        "where Stripe's API is; left out, at Stripe",
    ),
    secret(
        "stripe.webhook_secret",
        "STRIPE_WEBHOOK_SECRET",
        "what Stripe signs its webhooks with",
    ),
    secret(
        "smtp.url",
        "SMTP_URL",
        "the mail server, as smtp://user:password@host:port",
    ),
    entry(
        "smtp.from",
        "SAGALINE_MAIL_FROM",
        Some("Sagaline Tickets <tickets@sagaline.example>"),
        "the sender of mails",
    ),
    secret(
        "smtp.webhook_secret",
        "SAGALINE_MAIL_WEBHOOK_SECRET",
        "what the mail service signs its webhooks with",
    ),
    entry(
        "notifications.channels",
        "SAGALINE_NOTIFICATION_CHANNELS",
        Some("email"),
        "what buyers and operations may be reached by, joined by commas: email, sms, push, slack",
    ),
    entry(
        "sms.account",
        "TWILIO_ACCOUNT_SID",
        None,
        "our account at Twilio, AC…, for SMS",
    ),
    secret(
        "sms.token",
        "TWILIO_AUTH_TOKEN",
        "the token of our account at Twilio; it signs Twilio's webhooks too",
    ),
    entry(
        "sms.from",
        "TWILIO_FROM",
        None,
        "our number, as +12125550123, or the id of a messaging service, MG…",
    ),
    entry(
        "sms.base_url",
        "TWILIO_BASE_URL",
        Some("https://api.twilio.com"),
        "where Twilio's API is",
    ),
    entry(
        "push.project",
        "FCM_PROJECT",
        None,
        "the Firebase project's id, for push messages",
    ),
    entry(
        "push.credentials",
        "FCM_CREDENTIALS",
        Some("http://metadata.google.internal"),
        "the file of a service account, or the URL of Google's metadata server",
    ),
    entry(
        "push.base_url",
        "FCM_BASE_URL",
        Some("https://fcm.googleapis.com"),
        "where Firebase Cloud Messaging's API is",
    ),
    secret(
        "slack.webhook_url",
        "SLACK_WEBHOOK_URL",
        "the incoming webhook of the operations' channel at Slack",
    ),
    entry(
        "engine.url",
        "SAGALINE_ENGINE_URL",
        Some("http://127.0.0.1:3001"),
        "the orchestrator's HTTP API, for its clients",
    ),
    entry(
        "engine.listen",
        "SAGALINE_OPS_LISTEN",
        Some("127.0.0.1:3001"),
        "where the orchestrator serves its HTTP API",
    ),
    entry(
        "dashboard.listen",
        "SAGALINE_DASHBOARD_LISTEN",
        None,
        "where the orchestrator serves mission control; left out, nowhere",
    ),
    entry(
        "dashboard.second_person",
        "SAGALINE_SECOND_PERSON",
        Some("true"),
        "whether edits, skips, compensations and large campaigns need a second person's approval",
    ),
    entry(
        "dashboard.approval_items",
        "SAGALINE_APPROVAL_ITEMS",
        Some("100"),
        "a campaign of more sagas than this needs a second person",
    ),
    entry(
        "dashboard.links",
        "SAGALINE_DASHBOARD_LINKS",
        None,
        "links on a saga's page, as Name=https://host/{saga}, separated by spaces",
    ),
    entry(
        "sign_on.issuer",
        "SAGALINE_OIDC_ISSUER",
        None,
        "an OpenID Connect provider by which operators may come to mission control; left out, none",
    ),
    entry(
        "sign_on.client_id",
        "SAGALINE_OIDC_CLIENT_ID",
        None,
        "our name at the identity provider",
    ),
    secret(
        "sign_on.client_secret",
        "SAGALINE_OIDC_CLIENT_SECRET",
        "our password at the identity provider; left out, we are a public client",
    ),
    entry(
        "sign_on.url",
        "SAGALINE_DASHBOARD_URL",
        None,
        "where browsers reach mission control; the identity provider sends them back there",
    ),
    entry(
        "sign_on.claim",
        "SAGALINE_OIDC_CLAIM",
        Some("groups"),
        "the claim whose values stand for roles, by its name or as a path such as realm_access.roles",
    ),
    entry(
        "sign_on.roles",
        "SAGALINE_OIDC_ROLES",
        None,
        "which value of it stands for which role, as value=role, separated by spaces",
    ),
    entry(
        "operator.server",
        "SAGALINE_SERVER",
        None,
        "mission control, for the operators' command line",
    ),
    secret(
        "operator.token",
        "SAGALINE_TOKEN",
        "a token of mission control, for the operators' command line",
    ),
    entry(
        "gateway.listen",
        "SAGALINE_GATEWAY_LISTEN",
        Some("127.0.0.1:3000"),
        "where the gateway serves the shop's API",
    ),
    entry(
        "gateway.services",
        "SAGALINE_GATEWAY_SERVICES",
        Some("all"),
        "what a gateway serves itself: all, or some of users, events, bookings, payments, tickets, notifications, analytics",
    ),
    entry(
        "gateway.service_urls",
        "SAGALINE_SERVICE_URLS",
        None,
        "services that run apart, to which a gateway passes their requests on, as users=http://host:port, joined by commas",
    ),
    secret(
        "gateway.token_secret",
        "SAGALINE_TOKEN_SECRET",
        "what the shop's access tokens are signed with; left out, a gateway makes one that ends with it",
    ),
    secret(
        "gateway.internal_secret",
        "SAGALINE_INTERNAL_SECRET",
        "what gateways know those by who mail tickets, at least 32 characters; left out, mails have no tickets attached",
    ),
    entry(
        "gateway.trusted_proxies",
        "SAGALINE_TRUSTED_PROXIES",
        None,
        "proxies whose X-Forwarded-For is believed, as addresses and networks joined by commas",
    ),
    entry(
        "gateway.rate_limits",
        "SAGALINE_RATE_LIMITS",
        Some("read=20/100,write=5/20,booking=2/10"),
        "requests of one user a second, for long and at once, and ten times as many of one address; or off",
    ),
    entry(
        "gateway.cors_origins",
        "SAGALINE_CORS_ORIGINS",
        None,
        "other sites whose pages may use the API, e.g. https://shop.example.com, several joined by commas",
    ),
    entry(
        "gateway.user_actions",
        "SAGALINE_USER_ACTIONS",
        Some("true"),
        "whether gateways that know Kafka tell the analytics what users do (docs/analytics.md)",
    ),
    entry(
        "gateway.anonymous_bookings",
        "SAGALINE_ANONYMOUS_BOOKINGS",
        Some("true"),
        "whether somebody may book who is not logged in",
    ),
    entry(
        "shop.url",
        "SAGALINE_SHOP_URL",
        Some("http://127.0.0.1:3000"),
        "where buyers reach the shop: links in mails begin with it",
    ),
    entry(
        "shop.pages",
        "SAGALINE_SHOP_PAGES",
        Some("true"),
        "whether gateways also serve the buyers' pages",
    ),
    entry(
        "shop.listen",
        "SAGALINE_SHOP_LISTEN",
        Some("127.0.0.1:3003"),
        "where `sagaline shop` serves the buyers' pages, apart from any gateway",
    ),
    entry(
        "shop.gateway_url",
        "SAGALINE_GATEWAY_URL",
        Some("http://127.0.0.1:3000"),
        "the gateway, for pages that are apart from it",
    ),
    entry(
        "shop.bank_url",
        "SAGALINE_BANK_URL",
        None,
        "the Stripe sandbox as browsers reach it, for its test cards and its bank's page; left out, stripe.base_url",
    ),
    entry(
        "booking.hold",
        "SAGALINE_BOOKING_HOLD",
        Some("15m"),
        "how long a booking holds its seats",
    ),
    entry(
        "booking.hold_extension",
        "SAGALINE_HOLD_EXTENSION",
        Some("5m"),
        "how much longer, once, if the buyer asks for it: 10m at most; 0s: they can't",
    ),
    entry(
        "booking.payment_retry_initial",
        "SAGALINE_PAYMENT_RETRY_INITIAL",
        Some("30s"),
        "the wait before a payment's first retry",
    ),
    entry(
        "booking.payment_retry_cap",
        "SAGALINE_PAYMENT_RETRY_CAP",
        Some("4m"),
        "the longest wait between payment retries",
    ),
    entry(
        "booking.payment_attempt_timeout",
        "SAGALINE_PAYMENT_ATTEMPT_TIMEOUT",
        Some("30s"),
        "how long one attempt at a payment may take",
    ),
    entry(
        "drain",
        "SAGALINE_DRAIN",
        Some("20s"),
        "how long a stopping process finishes what is under way",
    ),
];

/// The setting with that key.
pub(super) fn of(key: &str) -> &'static Entry {
    CATALOG
        .iter()
        .find(|entry| entry.key == key)
        .expect("keys are written next to the catalog and tested against it")
}

/// The complaint about a setting that is needed and not there.
pub(super) fn is_missing(key: &str) -> String {
    let entry = of(key);
    format!(
        "{} is not set ({}): set it, or {key} in the settings file",
        entry.variable, entry.about
    )
}
