//! A connection to the upstream on which bytes go up and come down as they are. Knows no HTTP.

use super::Client;
use super::client::limited;
use super::opening::Socket;
use crate::domain::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

/// One connection, for one exchange. Dropping it closes the socket.
pub struct Line {
    pub(super) client: Arc<Client>,
    pub(super) socket: Socket,
}

impl Line {
    /// # Errors
    /// When the upstream has closed it, or takes nothing.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await
    }

    /// What has come, appended to `into`: nothing when the upstream has closed the connection.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        self.socket.read_buf(into).await
    }

    /// The same in the middle of an answer, which must go on.
    ///
    /// # Errors
    /// `UpstreamTimeout` when nothing comes for as long as an answer may take to begin: a pull or a quantisation
    /// is silent in its middle too.
    pub async fn read_on(&mut self, into: &mut Vec<u8>) -> Result<io::Result<usize>, Error> {
        limited(self.client.timeouts().first_byte, self.read(into)).await
    }

    /// The exchange is over, and both sides know it: another may follow.
    pub fn keep(self) {
        self.client.lines().put(self.socket);
    }
}

/// Whether `socket` can bear a request: it is open, and nothing lies on it that nobody asked for.
pub(super) async fn is_quiet(socket: &mut Socket) -> bool {
    let mut room = [0; 1];
    std::future::poll_fn(|cx| {
        let polled = Pin::new(&mut *socket).poll_read(cx, &mut ReadBuf::new(&mut room));
        Poll::Ready(polled.is_pending())
    })
    .await
}
