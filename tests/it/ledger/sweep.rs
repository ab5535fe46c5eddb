//! L-01: Pannier is killed at each write and each sync, one after the other, and the books say what was served.

use super::killed::{check, drained, written};
use super::mixed::{Price, client};
use super::*;
use std::time::Duration;

/// All by which the spool and the database touch the disk.
const CALLS: [&str; 7] = ["write", "pwrite64", "msync", "fsync", "rename", "unlink", "ftruncate"];
/// Each of them is made within this time, or not as often as that.
const LONG_ENOUGH: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_say_what_was_served_wherever_pannier_is_killed() {
    if !can_trace("a kill at each write and sync") {
        return;
    }
    let points: Option<u32> = std::env::var("SWEEP").ok().and_then(|points| points.parse().ok());
    for call in CALLS {
        // Each in turn, or one by chance.
        let nths = points.map_or_else(|| vec![fastrand::u32(1..30)], |points| (1..=points).collect());
        let ground = Ground::File(TempDir::new().expect("a folder"));
        let truth = Arc::default();
        let upstream = mixed::upstream(&truth).await;
        let prices =
            [Price { from: 0, heard: 0, prompt: 150_000_001, completion: 600_000_007, gpu: 1_000_003 }];
        let (mut had, mut killed) = (Vec::new(), 0);
        for nth in &nths {
            let launch = ground.launch_under(&written(&prices), &upstream).killed_at(call, *nth);
            // Files that are soon full: there is much to be made and to be removed.
            let launch = launch.set("ledger.max_spool", "2MiB").set("ledger.fsync", "20ms");
            let mut pannier = match launch.try_start().await {
                Ok(pannier) => pannier,
                Err(said) => {
                    assert!(said.contains("SIGKILL"), "{call} {nth}: {said}");
                    killed += 1;
                    continue;
                }
            };
            let first = |n: u32| u64::from(nth * 8 + n + 1) * 1_000_000;
            let begin = |n| tokio::spawn(client(pannier.addr, first(n), fastrand::u64(..)));
            let clients: Vec<_> = (0..4).map(begin).collect();
            if tokio::time::timeout(LONG_ENOUGH, pannier.ended()).await.is_err() {
                pannier.signal("KILL");
                pannier.ended().await;
            } else {
                killed += 1;
            }
            for client in clients {
                had.extend(client.await.expect("a client"));
            }
        }
        drained(&ground, &upstream, &prices).await;
        println!("{call} {nths:?}: killed there {killed} times");
        // Others may not be made so often; this one is made again and again.
        assert!(killed > 0 || call != "msync", "nobody was killed");
        check(&ground.book().await, &truth, &had, &prices);
    }
}
