//! When to leave: Ctrl-C or SIGTERM, or when something the process can't be without has ended.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels the token once standard input has ended: with the process that holds its other end.
pub fn with_input(token: CancellationToken) {
    // A thread of its own, which nobody waits for: a read of the runtime's would hold up our leaving.
    std::thread::spawn(move || {
        // Whatever comes is nobody's.
        let ended = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        tracing::info!(?ended, "standard input has ended: stopping");
        token.cancel();
    });
}

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
