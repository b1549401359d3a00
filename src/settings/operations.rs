//! Settings of whoever watches the platform.

use std::time::Duration;

use operations::rules::Rules;
use operations::scale::Targets;
use operations::watch::Plan;

use super::source::Sources;
use super::{Settings, duration};

/// What starts and stops workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaler {
    /// Nothing: alerts are only told of.
    Off,
    /// Processes of this machine.
    Processes,
    /// Kubernetes' API.
    Kubernetes,
}

/// What is watched, and what is done about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Operations {
    /// What raises alerts.
    pub alerts: Rules,
    /// What can be scaled.
    pub targets: Targets,
    /// How long after a change fewer may be wanted again.
    pub cool_down: Duration,
    /// How often all is judged.
    pub every: Duration,
    /// What starts and stops workers, if it is said.
    pub scaler: Option<Scaler>,
    /// Where their Deployments are.
    pub namespace: Option<String>,
}

impl Operations {
    pub(super) fn read(sources: &mut Sources) -> Operations {
        Operations {
            alerts: sources.required("operations.alerts", str::parse),
            targets: sources.required("operations.scale_targets", str::parse),
            cool_down: sources.required("operations.cool_down", duration),
            every: sources.required("operations.every", every),
            scaler: sources.optional("operations.scaler", scaler),
            namespace: sources.optional("operations.namespace", |text| Ok(text.to_owned())),
        }
    }

    pub(super) fn shown(&self, key: &str) -> Option<String> {
        let time = |duration: Duration| Some(humantime::format_duration(duration).to_string());
        match key {
            "operations.alerts" => Some(self.alerts.to_string()),
            "operations.scale_targets" => Some(self.targets.to_string()),
            "operations.cool_down" => time(self.cool_down),
            "operations.every" => time(self.every),
            "operations.scaler" => self.scaler.map(|scaler| name(scaler).to_owned()),
            "operations.namespace" => self.namespace.clone(),
            _ => None,
        }
    }

    /// For a process that does all the work itself: other processes come when they are needed, and on this machine.
    pub fn for_one_process(&mut self) {
        self.scaler.get_or_insert(Scaler::Processes);
        for target in &mut self.targets.0 {
            target.min = 0;
        }
    }

    /// What is watched. With nothing that scales there is nothing to decide about workers.
    pub fn plan(&self) -> Plan {
        Plan {
            rules: self.alerts.clone(),
            targets: self.targets.clone(),
            cool_down: self.cool_down,
            every: self.every,
            scales: self.scaler.is_some_and(|scaler| scaler != Scaler::Off),
        }
    }
}

impl Settings {
    /// Settings that a worker needs, as variables of a process of its own.
    pub fn for_workers(&self) -> Vec<(String, String)> {
        let secret = |variable: &str, secret: &Option<super::Secret>| {
            secret
                .as_ref()
                .map(|secret| (variable.to_owned(), secret.reveal().to_owned()))
        };
        let text = |variable: &str, text: Option<String>| text.map(|text| (variable.to_owned(), text));
        let mut variables: Vec<(String, String)> = [
            secret("DATABASE_URL", &self.database),
            secret("STRIPE_API_KEY", &self.stripe_api_key),
            secret("SMTP_URL", &self.smtp_url),
            secret("SAGALINE_INTERNAL_SECRET", &self.internal_secret),
            text("KAFKA_BROKERS", self.brokers.clone()),
            text("SAGALINE_KAFKA_PARTITIONS", Some(self.partitions.to_string())),
            text("SAGALINE_KAFKA_REPLICATION", Some(self.replication.to_string())),
            text("STRIPE_BASE_URL", self.stripe_base_url.clone()),
            text("SAGALINE_MAIL_FROM", Some(self.mail_from.clone())),
            text("SAGALINE_SHOP_URL", Some(self.shop_url.clone())),
            text("SAGALINE_GATEWAY_URL", Some(self.shop_gateway_url.clone())),
        ]
        .into_iter()
        .flatten()
        .collect();
        variables.extend(self.messaging.for_workers());
        variables
    }
}

fn scaler(text: &str) -> Result<Scaler, String> {
    let all = [Scaler::Off, Scaler::Processes, Scaler::Kubernetes];
    let found = all.into_iter().find(|scaler| name(*scaler) == text);
    found.ok_or_else(|| "it must be kubernetes, processes or off".to_owned())
}

fn name(scaler: Scaler) -> &'static str {
    match scaler {
        Scaler::Off => "off",
        Scaler::Processes => "processes",
        Scaler::Kubernetes => "kubernetes",
    }
}

fn every(text: &str) -> Result<Duration, String> {
    let every = duration(text)?;
    if every < Duration::from_millis(100) {
        return Err("at least 100ms".to_owned());
    }
    Ok(every)
}
