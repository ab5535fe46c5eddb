//! The lock and the spawning that flights are built on; `tests/shuttle.rs` builds them on its own instead.

use std::future::Future;
use std::sync::PoisonError;

pub(super) use std::sync::{Mutex, MutexGuard};
pub(super) use tokio::task::AbortHandle;

/// Starts `trip` as a task. Dropping the handle lets it run on.
pub(super) fn spawn(trip: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    tokio::spawn(trip).abort_handle()
}

/// Locks. A poisoned lock is taken as it is: only a caller's `recheck`, hash or comparison can panic under one of
/// ours, and each of them runs before anything has been changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
