//! What befalls a SQLite file, and the disk that it is on.

use super::load::{self, Load};
use super::*;
use servers::Disk;
use sqlx::{ConnectOptions, Executor, SqliteConnection};
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// With a file behind it and nothing else.
fn launch(upstream: &Upstream, file: &Path) -> Launch {
    forgetful(upstream).set("cache.database.url", &file.to_string_lossy())
}

/// A file in a folder of its own, and a Pannier that uses it under load.
struct Scene {
    folder: TempDir,
    upstream: Upstream,
    pannier: Pannier,
    load: Load,
}

impl Scene {
    async fn new() -> Scene {
        let folder = TempDir::new().expect("a folder");
        Scene::over(folder).await
    }

    async fn over(folder: TempDir) -> Scene {
        let upstream = Upstream::start().await;
        let pannier = launch(&upstream, &folder.path().join("cache.db")).start().await;
        let load = loaded(&upstream, &pannier, "database").await;
        Scene { folder, upstream, pannier, load }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("cache.db")
    }

    async fn endures(&self) {
        endures(&self.pannier, &self.load).await;
    }

    /// Asserts that the file was found to be damaged, put aside, and that this was said.
    async fn is_put_aside(&self, times: usize) {
        eventually_within(PATIENCE, "the file is put aside", || async {
            (asides(self.folder.path()) == times).then_some(())
        })
        .await;
        self.pannier.counts("pannier_cache_files_put_aside_total", &[], times as f64).await;
        let said = self.pannier.output().matches("put aside and a new one begun").count();
        assert_eq!(said, times, "{}", self.pannier.output());
    }

    async fn is_back(&self) {
        is_back(&self.load).await;
        is_up(&self.pannier, "database", true).await;
    }

    async fn end(mut self) {
        let file = self.file();
        self.load.end().await;
        in_order(&mut self.pannier, &[]).await;
        assert!(self.upstream.connections().1 < 20);
        // What there is now is whole.
        self.pannier.signal("TERM");
        assert_eq!(self.pannier.ended().await.0.code(), Some(0));
        let mut file = outsider(&file).await;
        let row = sqlx::query_scalar::<_, String>("PRAGMA integrity_check").fetch_one(&mut file).await;
        assert_eq!(row.expect("a verdict"), "ok");
    }
}

/// How many damaged files lie there, companions left out.
fn asides(folder: &Path) -> usize {
    let names = fs::read_dir(folder).expect("list").map(|file| file.expect("a file").file_name());
    let is_aside =
        |name: &str| name.contains(".corrupt-") && !name.ends_with("-wal") && !name.ends_with("-shm");
    names.filter(|name| is_aside(&name.to_string_lossy())).count()
}

/// The connection of an outsider who knows nothing of Pannier.
pub async fn outsider(path: &Path) -> SqliteConnection {
    sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.expect("connect")
}

/// Takes all of the log into the file, so that damage to the file is damage to what is read.
async fn settle(path: &Path) {
    let mut outside = outsider(path).await;
    let _ = outside.execute("PRAGMA busy_timeout = 2000; PRAGMA wal_checkpoint(TRUNCATE)").await;
}

fn overwrite(path: &Path, from: u64, with: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).expect("open");
    file.seek(SeekFrom::Start(from)).expect("seek");
    file.write_all(with).expect("write");
}

/// A way to spoil a file, by its name.
type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 5] = [
    ("another beginning", |path| overwrite(path, 0, &[0xa5; 100])),
    ("bits that are others", |path| {
        let bytes = fs::read(path).expect("read");
        let flipped: Vec<u8> = bytes.iter().map(|byte| byte ^ 0x10).collect();
        overwrite(path, 4096, &flipped[4096..]);
    }),
    ("zeros", |path| {
        let length = fs::metadata(path).expect("the file").len() as usize;
        overwrite(path, 4096, &vec![0; length - 4096]);
    }),
    ("half of it", |path| {
        let file = OpenOptions::new().write(true).open(path).expect("open");
        let length = file.metadata().expect("its length").len();
        file.set_len(length / 2 / 4096 * 4096).expect("cut");
    }),
    ("nothing of it", |path| {
        OpenOptions::new().write(true).open(path).expect("open").set_len(0).expect("cut");
    }),
];

/// S-12: while nobody uses it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_damaged_at_the_start() {
    for (what, damage) in &DAMAGES[..4] {
        let mut scene = Scene::new().await;
        let file = scene.file();
        scene.load.end().await;
        scene.pannier.signal("TERM");
        scene.pannier.ended().await;
        settle(&file).await;
        damage(&file);
        let scene = Scene::over(scene.folder).await;
        eprintln!("{what}: {} put aside", asides(scene.folder.path()));
        scene.is_put_aside(1).await;
        scene.end().await;
    }
}

/// S-12: under the hands of whoever uses it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_damaged_in_mid_life() {
    for (what, damage) in DAMAGES {
        let scene = Scene::new().await;
        settle(&scene.file()).await;
        damage(&scene.file());
        eprintln!("{what}");
        scene.endures().await;
        scene.is_back().await;
        scene.end().await;
    }
}

/// S-12: the file, its log, or the log's index is taken away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_taken_away() {
    for endings in [&[""][..], &["-wal"], &["-shm"], &["", "-wal", "-shm"]] {
        let scene = Scene::new().await;
        for ending in endings {
            fs::remove_file(scene.folder.path().join(format!("cache.db{ending}"))).expect("remove");
        }
        scene.endures().await;
        scene.is_back().await;
        assert!(scene.file().exists());
        scene.end().await;
    }
}

/// S-10
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_has_it_locked() {
    let scene = Scene::new().await;
    let mut outside = outsider(&scene.file()).await;
    outside.execute("PRAGMA busy_timeout = 5000; BEGIN EXCLUSIVE").await.expect("lock");
    let before = lost(&scene.pannier).await;
    scene.endures().await;
    eventually_within(RECOVERY, "what is not kept is counted", || async {
        (lost(&scene.pannier).await > before).then_some(())
    })
    .await;
    outside.execute("ROLLBACK").await.expect("unlock");
    scene.is_back().await;
    scene.end().await;
}

/// S-11
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_disk_is_full() {
    let Some(disk) = Disk::new("4m") else { return };
    let upstream = Upstream::start().await;
    let mut pannier = launch(&upstream, &disk.path().join("cache.db")).start().await;
    let load = loaded(&upstream, &pannier, "database").await;
    let before = lost(&pannier).await;
    let ballast = disk.fill();
    endures(&pannier, &load).await;
    eventually_within(RECOVERY, "what is not kept is counted", || async {
        (lost(&pannier).await > before).then_some(())
    })
    .await;
    drop(ballast);
    is_back(&load).await;
    load.end().await;
    in_order(&mut pannier, &[]).await;
}

/// S-11: what is asked of the file ends with an error, always or now and then. A file that cannot be read is as good as
/// damaged; one that cannot be written stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_disk_answers_with_errors() {
    const ALL: &str = "pread64,pwrite64,fsync,fdatasync,ftruncate";
    if !can_trace("a cache on a disk that answers with errors") {
        return;
    }
    for (calls, error, which) in [
        ("pwrite64", "EIO", "1+1"),
        ("pwrite64", "ENOSPC", "1+1"),
        ("fsync,fdatasync", "EIO", "1+1"),
        ("pread64", "EIO", "1+1"),
        (ALL, "EIO", "3+7"),
    ] {
        let scene = Scene::new().await;
        let (file, log) = (scene.file(), scene.folder.path().join("cache.db-wal"));
        let fault = Fault::of(&scene.pannier, calls, error, which, &[&file, &log]).await;
        scene.endures().await;
        fault.ends().await;
        scene.is_back().await;
        let asides = asides(scene.folder.path());
        eprintln!("{calls} {error} {which}: {asides} put aside");
        assert!(asides == 0 || calls.contains("pread64"));
        scene.end().await;
    }
}

/// S-12: nothing can be written there, before the start and after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_disk_is_read_only() {
    let Some(disk) = Disk::new("4m") else { return };
    let upstream = Upstream::start().await;
    disk.remount("remount,ro");
    let mut pannier = launch(&upstream, &disk.path().join("cache.db")).start().await;
    let load = Load::on(&upstream, &pannier, "database");
    endures(&pannier, &load).await;
    is_up(&pannier, "database", false).await;
    disk.remount("remount,rw");
    is_back(&load).await;
    load.end().await;
    in_order(&mut pannier, &[]).await;
}

/// S-15: the second of two keeps nothing there, and says why; when the first has gone, it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_want_it() {
    let mut scene = Scene::new().await;
    let mut second = launch(&scene.upstream, &scene.file()).start().await;
    let load = Load::on(&scene.upstream, &second, "database");
    endures(&second, &load).await;
    is_up(&second, "database", false).await;
    assert!(second.output().contains("another process uses it"), "{}", second.output());
    scene.is_back().await;
    scene.load.end().await;
    scene.pannier.signal("KILL");
    scene.pannier.ended().await;
    is_back(&load).await;
    load.end().await;
    in_order(&mut second, &[]).await;
}

/// What one kept another finds, though it was killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_user_is_killed() {
    let mut scene = Scene::new().await;
    let is_kept = || async { scene.pannier.ask(&load::question(1)).await.is_hit().then_some(()) };
    eventually_within(PATIENCE, "it is kept", is_kept).await;
    for _ in 0..3 {
        pause(300).await;
        scene.pannier.signal("KILL");
        scene.pannier.ended().await;
        scene.load.abort();
        scene.pannier = launch(&scene.upstream, &scene.folder.path().join("cache.db")).start().await;
        let asked = scene.upstream.count("/api/chat");
        eventually_within(RECOVERY, "what was kept is found", || async {
            let only = load::question(1).with("Cache-Control", "only-if-cached");
            scene.pannier.ask(&only).await.is_hit().then_some(())
        })
        .await;
        assert_eq!(scene.upstream.count("/api/chat"), asked);
        scene.load = Load::on(&scene.upstream, &scene.pannier, "database");
    }
    assert_eq!(asides(scene.folder.path()), 0);
    scene.is_back().await;
    scene.end().await;
}
