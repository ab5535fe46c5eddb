//! How parts with work of their own hear that it ends.

use tokio::sync::watch;

/// Resolves when `stop` says so, or nobody is left who could.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // What it gives must not be held on to while others wait.
    let _ = stop.wait_for(|stop| *stop).await;
}
