//! A thousand clients that ask the same thing at the same time: how often the upstream hears of it, and
//! how much later than the first one the last of them is served.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::time::timeout;

use crate::client::{Parsed, Reading, read_answer};
use crate::contender::{Contender, Kind};
use crate::ground::Ground;
use crate::results::{Results, Stampede, quantile};
use crate::workload::Workload;

const CLIENTS: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// A client's answer, and how long it waited for it.
struct Served {
    waited: Duration,
    body: Vec<u8>,
    /// Kept open until all are served: what is measured is a thousand answers, not a thousand partings among them.
    _stream: TcpStream,
}

/// Pannier, and for comparison the stub itself: what that takes is the client's own work and the sleep.
pub fn stampede(ground: &Ground, results: &mut Results) -> anyhow::Result<()> {
    for kind in [Kind::Direct, Kind::Pannier] {
        if let Err(error) = stampedes(ground, kind, results) {
            results.fail(&format!("1,000 identical at once, {}", kind.label()), &error);
        }
    }
    Ok(())
}

fn stampedes(ground: &Ground, kind: Kind, results: &mut Results) -> anyhow::Result<()> {
    let contender = Contender::start(ground, kind, &[])?;
    let upstream = if kind == Kind::Direct { &contender } else { &ground.stub };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let workload = Workload::slow();
    for _ in 0..ground.options.rounds() {
        let stampede = ground.quiet.sample(&[&contender.process, &ground.stub.process], || {
            let request = workload.request(kind, contender.port, ground.fresh(1));
            let before = upstream.calls(workload.path)?;
            let all = async { timeout(PATIENCE, all_at_once(contender.port, request)).await };
            let served = runtime.block_on(all).context("not all were served in time")??;
            judge(kind, &served, upstream.calls(workload.path)? - before)
        })?;
        eprintln!("  {stampede:?}");
        results.herd.push(stampede);
    }
    Ok(())
}

/// Opens all connections, waits until the last is open, then asks on all of them. The client that asks
/// first comes first.
async fn all_at_once(port: u16, request: Vec<u8>) -> anyhow::Result<Vec<Served>> {
    let request: Arc<[u8]> = request.into();
    let barrier = Arc::new(Barrier::new(CLIENTS));
    let mut clients = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        clients.push(tokio::spawn(ask(stream, Arc::clone(&request), Arc::clone(&barrier))));
    }
    let mut served = Vec::with_capacity(CLIENTS);
    for client in clients {
        served.push(client.await??);
    }
    served.sort_by_key(|(asked, _)| *asked);
    Ok(served.into_iter().map(|(_, served)| served).collect())
}

async fn ask(
    mut stream: TcpStream,
    request: Arc<[u8]>,
    barrier: Arc<Barrier>,
) -> anyhow::Result<(Instant, Served)> {
    barrier.wait().await;
    let asked = Instant::now();
    stream.write_all(&request).await?;
    let mut received = Vec::with_capacity(4 * 1024);
    loop {
        ensure!(stream.read_buf(&mut received).await? > 0, "a connection was closed before its answer");
        if let Reading::Done(Parsed { status, body }) = read_answer(&received)? {
            ensure!(status == 200, "status {status}: {}", String::from_utf8_lossy(&body));
            return Ok((asked, Served { waited: asked.elapsed(), body, _stream: stream }));
        }
    }
}

fn judge(kind: Kind, served: &[Served], upstream_calls: u64) -> anyhow::Result<Stampede> {
    let leader = served.first().context("nobody asked")?;
    let mut waits: Vec<Duration> = served.iter().map(|one| one.waited).collect();
    waits.sort_unstable();
    let quantile_ms = |part| quantile(&waits, part).map_or(0.0, |wait| wait.as_secs_f64() * 1e3);
    Ok(Stampede {
        kind,
        upstream_calls,
        leader_ms: leader.waited.as_secs_f64() * 1e3,
        p50_ms: quantile_ms(0.5),
        p99_ms: quantile_ms(0.99),
        equal: served.iter().all(|one| one.body == leader.body),
    })
}
