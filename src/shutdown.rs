//! When to leave: Ctrl-C or SIGTERM, or when something the process can't be without has ended.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first Ctrl-C or SIGTERM. The second ends the process at once: whoever sends it has
/// waited long enough, and nothing is lost by it.
pub fn on_signal() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let cancelled = token.clone();
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            if cancelled.is_cancelled() {
                tracing::warn!(signal = name, "second signal: leaving at once");
                std::process::exit(1);
            }
            tracing::info!(signal = name, "stopping: finishing what is under way");
            cancelled.cancel();
        }
    });
    Ok(token)
}
