//! What befalls a file.

use crate::stage::{
    Ground, PATIENCE, PROMPTLY, Stage, entries, key, new_entry, options, outsider, parcel, parcels,
};
use pannier::cache::{Fault, Tier};
use pannier::store::entries::Filter;
use pannier::store::{Damaged, Options, Place, Trouble};
use servers::Disk;
use sqlx::Executor;
use std::fs::{self, OpenOptions};
use std::iter::once;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Overwrites so many bytes from each of these offsets, of the file that is there now: another may take its place.
fn scratch(path: &Path, offsets: impl Iterator<Item = u64>, length: usize) {
    let file = OpenOptions::new().write(true).open(path).expect("open");
    for offset in offsets {
        file.write_all_at(&vec![0xa5; length], offset).expect("write");
    }
}

/// The names of what was put aside, companions left out.
fn asides(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().expect("a folder");
    let files = fs::read_dir(folder).expect("list").map(|file| file.expect("a file").path());
    let aside = |file: &PathBuf| {
        let name = file.to_string_lossy().into_owned();
        name.contains(".corrupt-") && !name.ends_with("-wal") && !name.ends_with("-shm")
    };
    files.filter(aside).collect()
}

const PUT_ASIDE: &str = "pannier_cache_files_put_aside_total";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_database_is_put_aside() {
    let rubbish: [&dyn Fn(&Path); 3] = [
        &|path| fs::write(path, "this is a text of no use\n".repeat(1000)).expect("write"),
        &|path| scratch(path, once(0), 100),
        &|path| scratch(path, once(4096), 20 * 4096),
    ];
    for spoil in rubbish {
        let ground = Ground::file();
        let stage = Stage::open(ground.place()).await;
        stage.tier.keep(&parcels(0..100, 1000)).await.expect("keep");
        stage.stop().await;
        spoil(&ground.path());
        let stage = Stage::running(ground.place(), 1 << 30).await;
        assert_eq!(stage.tier.find(&[key(1)]).await, Ok(vec![None]));
        let new = parcel(1, 100);
        stage.tier.keep(std::slice::from_ref(&new)).await.expect("keep");
        assert!(stage.has(&new).await);
        assert_eq!(asides(&ground.path()).len(), 1);
        assert_eq!(stage.metric(PUT_ASIDE), 1.0);
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_would_not_be_put_aside() {
    let ground = Ground::file();
    entries(&ground.place(), &options()).await.expect("open").store().close().await;
    scratch(&ground.path(), once(0), 100);
    let refused = Options { damaged: Damaged::Refuse, ..options() };
    let error = entries(&ground.place(), &refused).await.err().expect("refused");
    assert_eq!(error.trouble, Trouble::Damaged);
    assert!(error.to_string().contains("file is not a database"), "{error}");
    assert!(asides(&ground.path()).is_empty());
}

/// Pages are overwritten while the file is in use; it turns out at whichever call comes upon one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_in_mid_life() {
    let ground = Ground::file();
    let stage = Stage::running(ground.place(), 1 << 30).await;
    // More than the page caches of all connections hold.
    for batch in 0..30 {
        stage.tier.keep(&parcels(batch * 1000..batch * 1000 + 1000, 1500)).await.expect("keep");
    }
    let mut outside = outsider(&ground.path()).await;
    outside.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.expect("checkpoint");
    drop(outside);
    let length = fs::metadata(ground.path()).expect("the file").len();
    let pages = (5..length / 4096).filter(|page| page % 3 != 0);
    scratch(&ground.path(), pages.map(|page| page * 4096), 4096);
    let begun = Instant::now();
    // Whoever looks after the file may come upon it before anybody asks.
    while asides(&ground.path()).is_empty() || stage.tier.probe().await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "it is never put aside");
        for n in (0..30_000).step_by(997) {
            match stage.tier.find(&[key(n)]).await {
                Ok(found) => {
                    // Random bytes in a page of an entry cannot be told here; the seal is for that.
                    assert_eq!(found.len(), 1);
                }
                Err(fault) => {
                    assert!(matches!(fault, Fault::Corrupt | Fault::Unreachable), "{fault:?}");
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let new = parcel(1, 100);
    stage
        .until("it keeps again", async |stage| stage.tier.keep(std::slice::from_ref(&new)).await.is_ok())
        .await;
    assert!(stage.has(&new).await);
    assert_eq!((asides(&ground.path()).len(), stage.metric(PUT_ASIDE)), (1, 1.0), "once");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_log_and_a_lost_index_of_it_cost_at_most_the_last() {
    let ground = Ground::file();
    let stage = Stage::open(ground.place()).await;
    for n in 0..50 {
        stage.tier.keep(&[parcel(n, 1000)]).await.expect("keep");
    }
    // As a crash leaves it: all three files as they stand, the log cut short.
    let crashed = Ground::file();
    for ending in ["", "-wal"] {
        let name = format!("cache.db{ending}");
        fs::copy(ground.path().with_file_name(&name), crashed.path().with_file_name(&name)).expect("copy");
    }
    stage.stop().await;
    let log =
        OpenOptions::new().write(true).open(crashed.path().with_file_name("cache.db-wal")).expect("open");
    log.set_len(log.metadata().expect("its length").len() - 100).expect("cut");
    let stage = Stage::open(crashed.place()).await;
    let found = stage.tier.find(&(0..50).map(key).collect::<Vec<_>>()).await.expect("find");
    let kept = found.iter().take_while(|sealed| sealed.is_some()).count();
    assert_eq!(kept, 49, "all but the last");
    let tally = stage.tier.tally().await.expect("tally");
    assert_eq!((tally[0].entries, tally[0].bytes), (49, 49_000));
    assert!(asides(&crashed.path()).is_empty());
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_taken_away_is_begun_anew() {
    let ground = Ground::file();
    let stage = Stage::running(ground.place(), 1 << 30).await;
    stage.tier.keep(&parcels(0..10, 100)).await.expect("keep");
    fs::remove_file(ground.path()).expect("remove");
    stage.until("there is a new one", async |_| ground.path().exists()).await;
    stage.until("it is in use", async |stage| stage.tier.keep(&[parcel(1, 100)]).await.is_ok()).await;
    stage.stop().await;
    let stage = Stage::open(ground.place()).await;
    assert!(stage.has(&parcel(1, 100)).await);
    stage.stop().await;
}

/// An outsider holds the file's lock for longer than anybody here waits for anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_file_still_answers() {
    let ground = Ground::file();
    let stage = Stage::running(ground.place(), 1 << 30).await;
    let kept = parcel(1, 1000);
    stage.tier.keep(std::slice::from_ref(&kept)).await.expect("keep");
    let mut outside = outsider(&ground.path()).await;
    outside.execute("BEGIN EXCLUSIVE").await.expect("lock");
    let held = Duration::from_secs(30);
    let begun = Instant::now();
    let mut refused = 0;
    while begun.elapsed() < held {
        let bound = Duration::from_millis(50);
        assert_eq!(
            tokio::time::timeout(PROMPTLY, stage.tier.find(&[key(2)])).await.expect("in time"),
            Ok(vec![None])
        );
        assert!(stage.has(&kept).await);
        // The caller's bound first, then the tier's own.
        assert!(tokio::time::timeout(bound, stage.tier.keep(&[parcel(2, 10)])).await.is_err());
        let asked = Instant::now();
        assert_eq!(stage.tier.keep(&[parcel(2, 10)]).await, Err(Fault::TimedOut));
        assert!(asked.elapsed() < PROMPTLY, "{:?}", asked.elapsed());
        refused += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(refused > 5);
    outside.execute("ROLLBACK").await.expect("unlock");
    stage.until("it keeps again", async |stage| stage.tier.keep(&[parcel(2, 10)]).await.is_ok()).await;
    stage.tier.write_down().await.expect("nothing was forgotten");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_may_not_grow_refuses_and_heals() {
    let ground = Ground::file();
    let options = Options { largest_file: Some(1 << 20), ..options() };
    let cache = entries(&ground.place(), &options).await.expect("open");
    let sealed = vec![7; 3000];
    let keys: Vec<[u8; 32]> = (0..1000).map(|n| key(n).0).collect();
    let mut kept = 0;
    let error = loop {
        match cache.keep(&[new_entry(&keys[kept], &sealed)]).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.trouble, Trouble::Full);
    assert!((100..400).contains(&kept), "{kept}");
    let wanted: Vec<&[u8; 32]> = keys[..kept].iter().collect();
    assert_eq!(cache.find(&wanted, 0).await.expect("find").len(), kept, "nothing that was kept is lost");
    assert_eq!(cache.total().await.expect("total").entries, kept as u64);
    assert_eq!(cache.remove(&Filter::default(), 50, true).await.expect("there is room to remove"), 50);
    cache.keep(&[new_entry(&keys[999], &sealed)]).await.expect("and to keep again");
    cache.store().close().await;
}

/// The file on a disk of such a size.
fn disk(size: &str) -> Option<(Disk, Place)> {
    let disk = Disk::new(size)?;
    let place = Place::File(disk.path().join("cache.db"));
    Some((disk, place))
}

/// S-11
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_entries_and_nothing_else() {
    for size in ["1m", "2m"] {
        let Some((_disk, place)) = disk(size) else { return };
        let stage = Stage::running(place, 1 << 30).await;
        let mut kept = Vec::new();
        let fault = loop {
            let new = parcel(kept.len() as u64, 3000);
            match stage.tier.keep(std::slice::from_ref(&new)).await {
                Ok(()) => kept.push(new),
                Err(fault) => break fault,
            }
        };
        assert_eq!(fault, Fault::Refused);
        assert!(stage.has(&kept[kept.len() - 1]).await, "it still answers on {size}");
        // Nobody else will make room: the cache does, by itself, as little as it can.
        let again = async |stage: &Stage| stage.tier.keep(&[parcel(9999, 3000)]).await.is_ok();
        stage.until("it keeps again", again).await;
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_became_read_only_is_still_read() {
    let Some((disk, place)) = disk("2m") else { return };
    let stage = Stage::open(place.clone()).await;
    let kept = parcel(1, 1000);
    stage.tier.keep(std::slice::from_ref(&kept)).await.expect("keep");
    stage.tier.close().await;
    disk.remount("remount,ro");
    let stage = Stage::closed(place, 1 << 30);
    assert_eq!(stage.tier.open().await, Err(Fault::Refused), "there is nothing to claim it with");
    disk.remount("remount,rw");
    stage.tier.open().await.expect("open");
    assert!(stage.has(&kept).await);
    stage.stop().await;
}
