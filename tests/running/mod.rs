//! A running `sagaline dev`: the whole platform, as anybody would start it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// How long a start may take: initialising Postgres, loading 20,000 seats, a machine with other things to do.
const START_LIMIT: Duration = Duration::from_secs(180);

/// A running `dev`, killed when dropped.
pub struct Dev {
    pub process: Child,
    /// What it said once it was ready.
    pub ready: Value,
    pub http: reqwest::Client,
}

impl Dev {
    /// Starts it on this data directory, with these settings beside the defaults.
    pub async fn start(data_dir: &Path, settings: &[(&str, String)]) -> Dev {
        // The TLS library wants one to be named, even where no TLS is spoken.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let process = Command::new(env!("CARGO_BIN_EXE_sagaline"))
            .args([
                "dev",
                "--port",
                "0",
                "--ops-port",
                "0",
                "--dashboard-port",
                "0",
                "--output",
                "json",
                "--data-dir",
            ])
            .arg(data_dir)
            .env_remove("DATABASE_URL")
            .env_remove("KAFKA_BROKERS")
            .env_remove("STRIPE_API_KEY")
            .env_remove("SMTP_URL")
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut dev = Dev {
            process,
            ready: Value::Null,
            http: reqwest::Client::new(),
        };
        let stdout = dev.process.stdout.take().unwrap();
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        let line = tokio::time::timeout(START_LIMIT, line).await;
        let line = line.expect("dev is ready in time").unwrap().unwrap();
        dev.ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
        dev
    }

    /// Where something of it is.
    pub fn url(&self, of: &str) -> &str {
        self.ready[of].as_str().unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
