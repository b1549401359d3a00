//! Where mails go in development: a mail server that delivers each as a file, and to the page that shows all messages.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use activities::notifications::SmtpSink;
use activities::notifications::sink::ReceivedMail;
use sandbox::messaging::Messaging;
use tokio::task::JoinHandle;

/// Mails held between their arrival and their file. A burst of bookings is written out within a moment.
const KEPT_MAX: usize = 1_000;

/// The mail server and the folder that it delivers to.
pub struct Mailbox {
    url: String,
    dir: PathBuf,
    delivery: JoinHandle<()>,
}

impl Mailbox {
    /// Starts the server on a free port.
    pub async fn start(dir: PathBuf, page: Messaging) -> std::io::Result<Mailbox> {
        std::fs::create_dir_all(&dir)?;
        let sink = SmtpSink::start((Ipv4Addr::LOCALHOST, 0).into(), KEPT_MAX).await?;
        let url = sink.url();
        let delivery = tokio::spawn(deliver(sink, dir.clone(), page));
        Ok(Mailbox { url, dir, delivery })
    }

    /// How to reach the server.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Where the mails are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.delivery.abort();
    }
}

/// Writes each mail as it comes, and shows it.
async fn deliver(sink: SmtpSink, dir: PathBuf, page: Messaging) {
    let mut seen = 0;
    let mut written = HashSet::new();
    loop {
        sink.wait_for(seen + 1).await;
        // Read before the messages: one that comes in between is met twice rather than never.
        seen = sink.total();
        let mut present = HashSet::new();
        for mail in sink.messages() {
            let name = file_name(&mail);
            if !written.contains(&name) {
                page.capture("email", &mail.to.join(", "), &mail.data);
                if let Err(error) = tokio::fs::write(dir.join(&name), &mail.data).await {
                    tracing::warn!(%error, name, "a mail could not be kept");
                }
            }
            present.insert(name);
        }
        written = present;
    }
}

/// By time of arrival, and different for different mails.
fn file_name(mail: &ReceivedMail) -> String {
    let mut hasher = DefaultHasher::new();
    mail.data.hash(&mut hasher);
    format!(
        "{}-{:08x}.eml",
        mail.received_at.format("%Y%m%dT%H%M%S%.6f"),
        hasher.finish() as u32
    )
}
