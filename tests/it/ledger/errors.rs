//! S-11: the disk under the books answers with errors, and the books say what was served.

use super::killed::{check, drained, written};
use super::mixed::{Price, client};
use super::trouble::becomes;
use super::*;

/// All by which the database's file is read and written, by no thread that does anything else with them.
const DATABASE: &str = "pread64,pwrite64,ftruncate,fdatasync";
/// All by which the disk is told to keep what it has.
const SYNCS: &str = "fsync,fdatasync,msync";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_say_what_was_served_on_a_disk_that_answers_with_errors() {
    if !can_trace("books on a disk that answers with errors") {
        return;
    }
    let prices = [Price { from: 0, heard: 0, prompt: 150_000_001, completion: 600_000_007, gpu: 1_000_003 }];
    for (calls, error, which) in [
        ("pwrite64", "EIO", "1+1"),
        ("pwrite64", "ENOSPC", "2+3"),
        ("pread64", "EIO", "1+1"),
        (DATABASE, "EIO", "3+7"),
        (SYNCS, "EIO", "1+1"),
    ] {
        let ground = Ground::File(TempDir::new().expect("a folder"));
        let truth = Arc::default();
        let upstream = mixed::upstream(&truth).await;
        let launch = ground.launch_under(&written(&prices), &upstream);
        let mut pannier = launch.set("ledger.max_spool", "64MiB").set("ledger.fsync", "20ms").start().await;
        let first = |n: u64| (n + 1) * 1_000_000;
        let mut clients: Vec<_> =
            (0..4).map(|n| tokio::spawn(client(pannier.addr, first(n), fastrand::u64(..)))).collect();
        pause(200).await;
        let fault = Fault::of(&pannier, calls, error, which, &[]).await;
        pause(1_500).await;
        fault.ends().await;
        clients.extend((4..6).map(|n| tokio::spawn(client(pannier.addr, first(n), fastrand::u64(..)))));
        pause(300).await;
        assert!(pannier.runs(), "{}", pannier.output());
        becomes(&pannier, true).await;
        end(pannier).await;
        let mut had = Vec::new();
        for client in clients {
            had.extend(client.await.expect("a client"));
        }
        drained(&ground, &upstream, &prices).await;
        println!("{calls} {error} {which}");
        let [paid, ..] = check(&ground.book().await, &truth, &had, &prices);
        assert!(paid > 10, "too little happened");
    }
}
