//! The disk under the spool is full, or may not be written.

use super::trouble::{becomes, endures, is_logged};
use super::*;
use pannier::store::ledger::Figure;
use servers::{Ballast, Disk};

/// A ground whose spool is on a disk of its own.
fn ground(disk: &Disk) -> Ground {
    let folder = TempDir::new().expect("a folder");
    std::os::unix::fs::symlink(disk.path(), folder.path().join("spool")).expect("a link");
    Ground::File(folder)
}

async fn lost(pannier: &Pannier) -> f64 {
    pannier.metrics().await.sum("pannier_internal_size", &[("what", "ledger_lost_entries")])
}

async fn is_told(pannier: &Pannier, line: &str) {
    eventually_within(PATIENCE, line, || async {
        let probe = pannier.house("/readyz?verbose").await;
        (probe.status() == 200 && probe.text().contains(line)).then_some(())
    })
    .await;
}

/// At the start nothing can be written down; and then it can.
async fn begins_later(hinder: fn(&Disk) -> Option<Ballast>, free: fn(&Disk)) {
    let Some(disk) = Disk::new("2m") else { return };
    let ground = ground(&disk);
    let (upstream, served) = upstream().await;
    let ballast = hinder(&disk);
    let launch = |ground: &Ground| ground.launch(&upstream).set("ledger.max_spool", "512KiB");
    let pannier = launch(&ground).start().await;
    endures(&pannier, 0..10).await;
    is_told(&pannier, "[-]ledger nothing can be written down\n").await;
    becomes(&pannier, false).await;
    let missing = lost(&pannier).await;
    assert!(missing >= 10.0, "{missing} entries are counted as lost");
    is_logged(&pannier, "the ledger's spool is full").await;

    drop(ballast);
    free(&disk);
    is_told(&pannier, "[+]ledger ok\n").await;
    becomes(&pannier, true).await;
    endures(&pannier, 10..30).await;
    assert_eq!(lost(&pannier).await, missing);
    end(pannier).await;
    let book = ground.book().await;
    book.agrees();
    assert_eq!((served.lock().expect("served").len(), book.sum(Figure::Requests)), (30, 20));

    // Whoever wishes to be told at once is.
    let ballast = hinder(&disk);
    let (status, said) = launch(&ground).set("ledger.when_full", "refuse").run().await;
    assert!(!status.success() && said.contains("cannot keep the ledger"), "{said}");
    drop(ballast);
    free(&disk);
}

#[tokio::test]
async fn on_a_full_disk_the_books_begin_when_there_is_room() {
    begins_later(|disk| Some(disk.fill()), |_| {}).await;
}

#[tokio::test]
async fn in_a_folder_that_may_not_be_written_the_books_begin_when_it_may() {
    let read_only = |disk: &Disk| {
        disk.remount("remount,ro");
        None
    };
    begins_later(read_only, |disk| disk.remount("remount,rw")).await;
}

/// A hit is one entry: what was asked is in the books, or counted as lost.
#[tokio::test]
async fn when_the_disk_is_full_all_is_in_the_books_or_counted_as_lost() {
    let Some(disk) = Disk::new("2m") else { return };
    let ground = ground(&disk);
    let (upstream, _) = upstream().await;
    // Nothing can be taken over: where the database should be is a folder.
    let in_the_way = ground.folder().join("pannier.db");
    std::fs::create_dir(&in_the_way).expect("a folder");
    let pannier = ground.launch(&upstream).set("ledger.max_spool", "512KiB").start().await;
    let mut wire = pannier.open().await;
    let mut asked = 1;
    while !wire.exchange(&ask(1, false)).await.fine().is_hit() {
        asked += 1;
    }
    let ballast = disk.fill();
    while lost(&pannier).await == 0.0 {
        assert!(asked < 20_000, "it is never full");
        asked += hit(&mut wire, 200).await;
    }
    is_told(&pannier, "[-]ledger nothing can be written down\n").await;
    drop(ballast);
    is_told(&pannier, "[-]ledger it waits in its spool\n").await;
    let missing = lost(&pannier).await;
    asked += hit(&mut wire, 100).await;
    assert_eq!(lost(&pannier).await, missing);
    std::fs::remove_dir(&in_the_way).expect("remove");
    becomes(&pannier, true).await;
    end(pannier).await;
    let book = ground.book().await;
    book.agrees();
    assert_eq!(book.sum(Figure::Requests) + missing as i64, asked, "{missing} are missing");
}

/// Asks so many times what the cache answers.
async fn hit(wire: &mut Wire, times: i64) -> i64 {
    for _ in 0..times {
        wire.exchange(&ask(1, false)).await.fine();
    }
    times
}
