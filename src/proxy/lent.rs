//! A [`Wire`] as Pingora wants its streams: with a buffer for what is written, and the traits of the house
//! that it is lent to.

use super::wire::Wire;
use async_trait::async_trait;
use bytes::BytesMut;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType, raw_connect::ProxyDigest,
};
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};
use tokio::net::TcpStream;

/// Written bytes are gathered up to here before they go out, unless they are flushed.
const WRITE_BUFFER: usize = 16 << 10;

/// The stream that Pingora sees.
#[derive(Debug)]
pub struct Lent {
    wire: BufWriter<Wire>,
    digest: Arc<SocketDigest>,
}

impl Lent {
    pub fn new(wire: Wire) -> Self {
        let digest = Arc::new(SocketDigest::from_raw_fd(wire.socket().as_raw_fd()));
        Lent { wire: BufWriter::with_capacity(WRITE_BUFFER, wire), digest }
    }

    /// The socket and what came behind the request; `None` when either way something is left over.
    pub fn into_parts(self) -> Option<(TcpStream, BytesMut)> {
        let is_flushed = self.wire.buffer().is_empty();
        is_flushed.then(|| self.wire.into_inner().into_parts())?
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(self.wire.get_mut()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Lent {
    async fn shutdown(&mut self) {
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut self.wire).await;
    }
}

impl UniqueID for Lent {
    fn id(&self) -> UniqueIDType {
        self.wire.get_ref().socket().as_raw_fd()
    }
}

impl Ssl for Lent {}

#[async_trait]
impl Peek for Lent {}

impl GetTimingDigest for Lent {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Lent {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Lent {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.digest.clone())
    }
}
