//! A way round to a server, on which things are slow, or vanish.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Forwards every connection to one port.
pub struct Detour {
    port: u16,
    swallows: Arc<AtomicBool>,
    accepting: JoinHandle<()>,
}

impl Detour {
    /// Each piece takes `latency`, and up to `jitter` more; none overtakes another.
    pub async fn to(port: u16, latency: Duration, jitter: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let swallows = Arc::new(AtomicBool::new(false));
        let way = Way { latency, jitter, swallows: swallows.clone() };
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(way.clone().carry(from_client, to_server));
                tokio::spawn(way.clone().carry(from_server, to_client));
            }
        });
        Detour { port: own_port, swallows, accepting }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// From now on nothing comes through, and nobody hears of it.
    pub fn swallow(&self, swallows: bool) {
        self.swallows.store(swallows, Ordering::Relaxed);
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[derive(Clone)]
struct Way {
    latency: Duration,
    jitter: Duration,
    swallows: Arc<AtomicBool>,
}

impl Way {
    async fn carry(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let (on_its_way, mut arriving) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
        let arrive = async move {
            while let Some((due, piece)) = arriving.recv().await {
                tokio::time::sleep_until(due).await;
                if to.write_all(&piece).await.is_err() {
                    return;
                }
            }
        };
        let set_off = async move {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(length @ 1..) = from.read(&mut buffer).await {
                let due = Instant::now() + self.latency + self.jitter.mul_f32(fastrand::f32());
                if !self.swallows.load(Ordering::Relaxed) {
                    let _ = on_its_way.send((due, buffer[..length].to_vec()));
                }
            }
            drop(on_its_way);
        };
        tokio::join!(arrive, set_off);
    }
}
