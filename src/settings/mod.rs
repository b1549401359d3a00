//! Settings: flags, then the environment, then a TOML file; checked at start, with every problem listed at once.

mod catalog;
mod messaging;
mod operations;
mod secret;
mod sign_on;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use primary::Servers;

pub use catalog::{CATALOG, Entry};
pub use messaging::Messaging;
pub use operations::{Operations, Scaler};
pub use secret::Secret;
pub use sign_on::SignOn;
use source::Sources;

/// Everything that is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the settings can't be used:")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

/// What was set on the command line: a key of the [`CATALOG`] and its text.
pub type Flags = Vec<(&'static str, String)>;

/// What the processes are told.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Postgres.
    pub database: Option<Secret>,
    /// Connections of each part's pool.
    pub database_connections: u32,
    /// Postgres or ClickHouse for the analytics, if not the same.
    pub analytics: Option<Secret>,
    /// `host:port`, several joined by commas.
    pub brokers: Option<String>,
    /// Partitions of the topics; all processes must agree.
    pub partitions: u32,
    /// Copies of each partition.
    pub replication: i32,
    /// Stripe's secret key.
    pub stripe_api_key: Option<Secret>,
    /// Where Stripe's API is, if not at Stripe.
    pub stripe_base_url: Option<String>,
    /// What Stripe signs webhooks with.
    pub stripe_webhook_secret: Option<Secret>,
    /// The mail server, `smtp://user:password@host:port`.
    pub smtp_url: Option<Secret>,
    /// The sender of our mails.
    pub mail_from: String,
    /// SMS, push messages, Slack, and bounces.
    pub messaging: Messaging,
    /// Alerts, and workers that come and go with them.
    pub operations: Operations,
    /// The orchestrator's HTTP API.
    pub engine_url: String,
    /// Where the orchestrator serves it.
    pub engine_listen: SocketAddr,
    /// Where the orchestrator serves mission control; none: nowhere.
    pub dashboard_listen: Option<SocketAddr>,
    /// Grave deeds and large campaigns need a second person.
    pub second_person: bool,
    /// A campaign of more sagas than this is large.
    pub approval_items: u32,
    /// Links on a saga's page.
    pub dashboard_links: Option<dashboard::Links>,
    /// The identity provider by which operators may come.
    pub sign_on: SignOn,
    /// Mission control, for the operators' command line.
    pub operator_server: Option<String>,
    /// A token of it.
    pub operator_token: Option<Secret>,
    /// Where the gateway serves the shop's API.
    pub gateway_listen: SocketAddr,
    /// What a gateway serves itself.
    pub gateway_services: gateway::Services,
    /// Where the services are whose requests it passes on.
    pub service_urls: gateway::ServiceUrls,
    /// What the shop's access tokens are signed with; several joined by commas.
    pub token_secret: Option<Secret>,
    /// What the gateway knows those by who mail tickets.
    pub internal_secret: Option<Secret>,
    /// Proxies whose word on where requests come from is taken.
    pub trusted_proxies: Option<gateway::TrustedProxies>,
    /// How much one user may ask for; none: as much as they like.
    pub rates: Option<gateway::Rates>,
    /// Sites whose pages may use the shop's API.
    pub cors_origins: Option<gateway::Origins>,
    /// What users do is told to the analytics.
    pub user_actions: bool,
    /// Somebody may book who isn't logged in.
    pub anonymous_bookings: bool,
    /// Where buyers reach the shop.
    pub shop_url: String,
    /// Gateways also serve the buyers' pages.
    pub shop_pages: bool,
    /// Where those are served apart from any gateway.
    pub shop_listen: SocketAddr,
    /// Which gateway they ask then.
    pub shop_gateway_url: String,
    /// The Stripe sandbox, as browsers reach it.
    pub bank_url: Option<String>,
    /// How long a booking holds its seats.
    pub hold: Duration,
    /// How much longer, once, if the buyer asks for it.
    pub hold_extension: Duration,
    /// The wait before the first retry of a payment.
    pub payment_retry_initial: Duration,
    /// The longest wait before a retry of a payment.
    pub payment_retry_cap: Duration,
    /// How long one attempt at a payment may take.
    pub payment_attempt_timeout: Duration,
    /// How long a stopping process finishes what is under way.
    pub drain: Duration,
}

impl Settings {
    /// Reads the settings from all three places.
    pub fn load(file: Option<PathBuf>, flags: Flags) -> Result<Settings, Problems> {
        Self::from_sources(Sources::read(file, flags, |name| std::env::var(name).ok())?)
    }

    fn from_sources(mut sources: Sources) -> Result<Settings, Problems> {
        let settings = Settings {
            database: sources.optional("database.url", database_url),
            database_connections: sources.required("database.connections", in_range(1, 1_000)),
            analytics: {
                let older = sources.optional("analytics.database_url", analytics_url);
                sources.optional("analytics.url", analytics_url).or(older)
            },
            brokers: sources.optional("kafka.brokers", brokers),
            partitions: sources.required("kafka.partitions", in_range(1, 1_000)),
            replication: sources.required("kafka.replication", in_range(1, 9)),
            stripe_api_key: sources.optional("stripe.api_key", |text| Ok(Secret::new(text))),
            stripe_base_url: sources.optional("stripe.base_url", http_url),
            stripe_webhook_secret: sources.optional("stripe.webhook_secret", |text| Ok(Secret::new(text))),
            smtp_url: sources.optional("smtp.url", smtp_url),
            mail_from: sources.required("smtp.from", |text| Ok(text.to_owned())),
            messaging: Messaging::read(&mut sources),
            operations: Operations::read(&mut sources),
            engine_url: sources.required("engine.url", http_url),
            engine_listen: sources.required("engine.listen", address),
            dashboard_listen: sources.optional("dashboard.listen", address),
            second_person: sources.required("dashboard.second_person", yes_or_no),
            approval_items: sources.required("dashboard.approval_items", in_range(0, 1_000_000)),
            dashboard_links: sources.optional("dashboard.links", dashboard::Links::parse),
            sign_on: SignOn::read(&mut sources),
            operator_server: sources.optional("operator.server", http_url),
            operator_token: sources.optional("operator.token", |text| Ok(Secret::new(text))),
            gateway_listen: sources.required("gateway.listen", address),
            gateway_services: sources.required("gateway.services", str::parse),
            service_urls: sources.optional("gateway.service_urls", str::parse).unwrap_or_default(),
            token_secret: sources.optional("gateway.token_secret", token_secret),
            internal_secret: sources.optional("gateway.internal_secret", internal_secret),
            trusted_proxies: sources.optional("gateway.trusted_proxies", str::parse),
            rates: sources.required("gateway.rate_limits", rate_limits),
            cors_origins: sources.optional("gateway.cors_origins", str::parse),
            user_actions: sources.required("gateway.user_actions", yes_or_no),
            anonymous_bookings: sources.required("gateway.anonymous_bookings", yes_or_no),
            shop_url: sources.required("shop.url", http_url),
            shop_pages: sources.required("shop.pages", yes_or_no),
            shop_listen: sources.required("shop.listen", address),
            shop_gateway_url: sources.required("shop.gateway_url", http_url),
            bank_url: sources.optional("shop.bank_url", http_url),
            hold: sources.required("booking.hold", duration),
            hold_extension: sources.required("booking.hold_extension", hold_extension),
            payment_retry_initial: sources.required("booking.payment_retry_initial", duration),
            payment_retry_cap: sources.required("booking.payment_retry_cap", duration),
            payment_attempt_timeout: sources.required("booking.payment_attempt_timeout", duration),
            drain: sources.required("drain", duration),
        };
        if let Err(problem) = settings.gateway_services.here(&settings.service_urls) {
            sources.complain(problem);
        }
        sources.finish(settings)
    }

    /// A setting's value for people: passwords hidden.
    pub fn shown(&self, key: &str) -> Option<String> {
        let time = |duration: Duration| Some(humantime::format_duration(duration).to_string());
        match key {
            "database.url" => self.database.as_ref().map(Secret::to_string),
            "database.connections" => Some(self.database_connections.to_string()),
            // One is the other's older name.
            "analytics.url" | "analytics.database_url" => self.analytics.as_ref().map(Secret::to_string),
            "kafka.brokers" => self.brokers.clone(),
            "kafka.partitions" => Some(self.partitions.to_string()),
            "kafka.replication" => Some(self.replication.to_string()),
            "stripe.api_key" => self.stripe_api_key.as_ref().map(Secret::to_string),
            "stripe.base_url" => self.stripe_base_url.clone(),
            "stripe.webhook_secret" => self.stripe_webhook_secret.as_ref().map(Secret::to_string),
            "smtp.url" => self.smtp_url.as_ref().map(Secret::to_string),
            "smtp.from" => Some(self.mail_from.clone()),
            key if Messaging::has(key) => self.messaging.shown(key),
            key if key.starts_with("operations.") => self.operations.shown(key),
            "engine.url" => Some(self.engine_url.clone()),
            "engine.listen" => Some(self.engine_listen.to_string()),
            "dashboard.listen" => self.dashboard_listen.map(|address| address.to_string()),
            "dashboard.second_person" => Some(self.second_person.to_string()),
            "dashboard.approval_items" => Some(self.approval_items.to_string()),
            "dashboard.links" => self.dashboard_links.as_ref().map(ToString::to_string),
            key if key.starts_with("sign_on.") => self.sign_on.shown(key),
            "operator.server" => self.operator_server.clone(),
            "operator.token" => self.operator_token.as_ref().map(Secret::to_string),
            "gateway.listen" => Some(self.gateway_listen.to_string()),
            "gateway.services" => Some(self.gateway_services.to_string()),
            "gateway.service_urls" => Some(self.service_urls.to_string()).filter(|urls| !urls.is_empty()),
            "gateway.token_secret" => self.token_secret.as_ref().map(Secret::to_string),
            "gateway.internal_secret" => self.internal_secret.as_ref().map(Secret::to_string),
            "gateway.trusted_proxies" => self.trusted_proxies.as_ref().map(ToString::to_string),
            "gateway.rate_limits" => Some(self.rates.as_ref().map_or("off".to_owned(), ToString::to_string)),
            "gateway.cors_origins" => self.cors_origins.as_ref().map(ToString::to_string),
            "gateway.user_actions" => Some(self.user_actions.to_string()),
            "gateway.anonymous_bookings" => Some(self.anonymous_bookings.to_string()),
            "shop.url" => Some(self.shop_url.clone()),
            "shop.pages" => Some(self.shop_pages.to_string()),
            "shop.listen" => Some(self.shop_listen.to_string()),
            "shop.gateway_url" => Some(self.shop_gateway_url.clone()),
            "shop.bank_url" => self.bank_url.clone(),
            "booking.hold" => time(self.hold),
            "booking.hold_extension" => time(self.hold_extension),
            "booking.payment_retry_initial" => time(self.payment_retry_initial),
            "booking.payment_retry_cap" => time(self.payment_retry_cap),
            "booking.payment_attempt_timeout" => time(self.payment_attempt_timeout),
            "drain" => time(self.drain),
            _ => None,
        }
    }

    /// The settings that a command can't do without; those that are missing are named together.
    pub fn require(&self, keys: &[&str]) -> Result<(), Problems> {
        let missing = |key: &&&str| match **key {
            "database.url" => self.database.is_none(),
            "kafka.brokers" => self.brokers.is_none(),
            "stripe.api_key" => self.stripe_api_key.is_none(),
            "stripe.webhook_secret" => self.stripe_webhook_secret.is_none(),
            "smtp.url" => self.smtp_url.is_none(),
            "operator.server" => self.operator_server.is_none(),
            "operator.token" => self.operator_token.is_none(),
            key => self.messaging.lacks(key),
        };
        let problems: Vec<String> = keys
            .iter()
            .filter(missing)
            .map(|key| catalog::is_missing(key))
            .collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Problems(problems))
        }
    }
}

fn database_url(text: &str) -> Result<Secret, String> {
    Servers::from_str(text).map_err(|error| error.to_string())?;
    Ok(Secret::url(text))
}

fn analytics_url(text: &str) -> Result<Secret, String> {
    if !text.starts_with("clickhouse") {
        return database_url(text);
    }
    text.parse::<analytics::store::Address>()?;
    Ok(Secret::url(text))
}

fn brokers(text: &str) -> Result<String, String> {
    for broker in text.split(',') {
        let port = broker
            .trim()
            .rsplit_once(':')
            .map(|(host, port)| (host, port.parse::<u16>()));
        if !matches!(port, Some((host, Ok(_))) if !host.is_empty()) {
            return Err(format!("{broker:?} is not host:port"));
        }
    }
    Ok(text.to_owned())
}

fn http_url(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" => Ok(text.trim_end_matches('/').to_owned()),
        other => Err(format!("it must begin with http:// or https://, not {other}://")),
    }
}

fn smtp_url(text: &str) -> Result<Secret, String> {
    let url = reqwest::Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "smtp" | "smtps" => Ok(Secret::url(text)),
        other => Err(format!("it must begin with smtp:// or smtps://, not {other}://")),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "it must be an address and a port, such as 0.0.0.0:3000".into())
}

/// Characters of a secret that tokens are signed with: as many bits as the signature has, at least.
const TOKEN_SECRET_CHARS_MIN: usize = 32;

fn token_secret(text: &str) -> Result<Secret, String> {
    if text
        .split(',')
        .all(|secret| secret.trim().chars().count() >= TOKEN_SECRET_CHARS_MIN)
    {
        Ok(Secret::new(text))
    } else {
        Err(format!(
            "it must have at least {TOKEN_SECRET_CHARS_MIN} characters, such as `openssl rand -hex 32` makes; several are joined by commas"
        ))
    }
}

fn internal_secret(text: &str) -> Result<Secret, String> {
    if text.chars().count() < TOKEN_SECRET_CHARS_MIN {
        return Err(format!(
            "it must have at least {TOKEN_SECRET_CHARS_MIN} characters, such as `openssl rand -hex 32` makes"
        ));
    }
    Ok(Secret::new(text))
}

fn rate_limits(text: &str) -> Result<Option<gateway::Rates>, String> {
    match text {
        "off" => Ok(None),
        rates => rates.parse().map(Some),
    }
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "it must be true or false".into())
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it as in 15m, 30s or 500ms"))
}

fn in_range<T: FromStr + PartialOrd + fmt::Display>(min: T, max: T) -> impl Fn(&str) -> Result<T, String> {
    move |text| match text.parse::<T>() {
        Ok(number) if number >= min && number <= max => Ok(number),
        Ok(_) | Err(_) => Err(format!("it must be a whole number from {min} to {max}")),
    }
}

/// The longest extension of a hold: what the sweep of forgotten holds waits for, as it knows nothing of extensions.
pub const HOLD_EXTENSION_MAX: Duration = Duration::from_secs(10 * 60);

fn hold_extension(text: &str) -> Result<Duration, String> {
    let extension = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if extension > HOLD_EXTENSION_MAX {
        return Err(format!("at most {}", humantime::format_duration(HOLD_EXTENSION_MAX)));
    }
    Ok(extension)
}
