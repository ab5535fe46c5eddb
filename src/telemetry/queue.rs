//! What waits to be written down by a thread of its own.
//!
//! Never makes whoever has something to say wait: what does not fit is dropped, and counted.

use prometheus::IntCounter;
use std::io;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A bounded queue and the thread at its end.
pub(super) struct Queue<T> {
    /// `None` stands for the end.
    sender: SyncSender<Option<T>>,
    /// Yields nothing, and is disconnected when the writer has ended. Taken by whoever closes first.
    writer: Mutex<Option<Receiver<()>>>,
    dropped: IntCounter,
}

const CLOSE_WITHIN: Duration = Duration::from_secs(2);

impl<T: Send + 'static> Queue<T> {
    /// At most `capacity` wait; `dropped` counts what is lost beyond. `write` is the thread's work: it takes
    /// what comes until it is given `None`, and then what is still there.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(
        thread: &str,
        capacity: usize,
        dropped: IntCounter,
        write: impl FnOnce(Receiver<Option<T>>) + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(capacity);
        let (running, writer) = mpsc::sync_channel(0);
        thread::Builder::new().name(thread.into()).spawn(move || {
            write(receiver);
            drop::<SyncSender<()>>(running);
        })?;
        Ok(Queue { sender, writer: Mutex::new(Some(writer)), dropped })
    }

    /// Hands one over. Does not wait.
    pub fn push(&self, item: T) {
        if self.sender.try_send(Some(item)).is_err() {
            self.dropped.inc();
        }
    }

    /// Takes no more, and waits until all that was taken is written, for two seconds at most. Blocks the
    /// thread. What comes later is dropped, and counted.
    pub fn close(&self) {
        let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let deadline = Instant::now() + CLOSE_WITHIN;
        while let Err(TrySendError::Full(_)) = self.sender.try_send(None) {
            if Instant::now() >= deadline {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        // Disconnected: all is written. Timed out: nobody reads our output, so there is nobody to tell.
        let _ = writer.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}
