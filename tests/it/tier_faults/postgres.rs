//! What befalls a PostgreSQL.

use super::load::Load;
use super::*;
use servers::Postgres;
use servers::{Answers, Detour, Disk, Weather};
use std::os::unix::fs::{MetadataExt, chown};

/// With a PostgreSQL behind it and nothing else.
fn launch(upstream: &Upstream, url: &str) -> Launch {
    forgetful(upstream).set("cache.database.url", url)
}

/// PostgreSQL, and a Pannier that uses it under load.
struct Scene {
    server: Postgres,
    detour: Detour,
    upstream: Upstream,
    pannier: Pannier,
    load: Load,
}

impl Scene {
    async fn new(settings: &[&str]) -> Option<Scene> {
        let server = Postgres::start_with(settings)?;
        let detour = Detour::to_socket(&server.socket().join(".s.PGSQL.5432")).await;
        let upstream = Upstream::start().await;
        let pannier = launch(&upstream, &through(&detour)).start().await;
        let load = loaded(&upstream, &pannier, "database").await;
        Some(Scene { server, detour, upstream, pannier, load })
    }

    async fn endures(&self) {
        endures(&self.pannier, &self.load).await;
    }

    /// Lets it last, and asserts that what could not be kept is counted.
    async fn endures_a_loss(&self) {
        let before = lost(&self.pannier).await;
        self.endures().await;
        assert!(lost(&self.pannier).await > before, "what is not kept is counted");
    }

    async fn is_away(&self) {
        is_up(&self.pannier, "database", false).await;
    }

    async fn is_back(&self) {
        is_back(&self.load).await;
        is_up(&self.pannier, "database", true).await;
    }

    /// Waits until new entries come into the table.
    async fn is_kept(&self) {
        let count =
            || self.server.ask("SELECT count(*) FROM pannier_cache").parse::<u64>().expect("a number");
        let before = count();
        eventually_within(RECOVERY, "new entries are kept", || async {
            (count() > before + 5).then_some(())
        })
        .await;
    }

    async fn end(mut self) {
        self.load.end().await;
        in_order(&mut self.pannier, &[]).await;
        assert!(self.upstream.connections().1 < 20);
        let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
        let is_clean = || async { (self.server.ask(open) == "0").then_some(()) };
        // One of whose end the server has not heard has the time that it is given there.
        eventually_within(PATIENCE * 2, "no transaction is left open", is_clean).await;
        // What is counted of the entries as they come and go is what there is.
        let counted = "SELECT (SELECT count(*) FROM pannier_cache) - \
                       (SELECT COALESCE(sum(entries), 0) FROM pannier_cache_tally)";
        assert_eq!(self.server.ask(counted), "0");
    }
}

fn through(detour: &Detour) -> String {
    format!("postgresql://pannier@127.0.0.1:{}/postgres?sslmode=disable", detour.port())
}

/// S-01
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_crashes_under_load() {
    let Some(mut scene) = Scene::new(&[]).await else { return };
    for _ in 0..2 {
        scene.server.stop_immediately();
        scene.endures_a_loss().await;
        scene.is_away().await;
        scene.server.start_again();
        scene.is_back().await;
    }
    scene.end().await;
}

/// P-08: it is an extra.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_comes_later_than_pannier() {
    let Some(mut server) = Postgres::start() else { return };
    server.stop_immediately();
    let upstream = Upstream::start().await;
    let mut pannier = launch(&upstream, &server.url()).start().await;
    let load = Load::on(&upstream, &pannier, "database");
    endures(&pannier, &load).await;
    is_up(&pannier, "database", false).await;
    assert_eq!(pannier.house("/readyz").await.status(), 200);
    server.start_again();
    is_back(&load).await;
    load.end().await;
    in_order(&mut pannier, &[]).await;
}

/// S-02
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_hangs() {
    let Some(scene) = Scene::new(&[]).await else { return };
    scene.server.freeze();
    scene.endures_a_loss().await;
    scene.is_away().await;
    scene.server.thaw();
    scene.is_back().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_slow_or_vanishes() {
    let Some(scene) = Scene::new(&[]).await else { return };
    let slow = Weather { latency: TIMEOUT, ..Weather::default() };
    let silent = Weather { swallows: true, ..Weather::default() };
    for weather in [slow, silent] {
        scene.detour.weather(weather);
        scene.endures().await;
        scene.is_away().await;
        scene.detour.weather(Weather::default());
        scene.is_back().await;
    }
    scene.end().await;
}

/// S-07 with it: whether what was committed last has come is never known, and does not matter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_answers_are_garbled_or_torn() {
    let Some(scene) = Scene::new(&[]).await else { return };
    for answers in [Answers::Garbled(1000), Answers::Garbled(10), Answers::Cut, Answers::Half] {
        scene.detour.weather(Weather { answers, ..Weather::default() });
        scene.endures().await;
        scene.detour.weather(Weather::default());
        scene.is_back().await;
    }
    scene.end().await;
}

/// S-03
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_becomes_read_only() {
    let Some(scene) = Scene::new(&[]).await else { return };
    let set = |how: &str| {
        scene.server.ask(&format!("ALTER SYSTEM {how}"));
        scene.server.ask("SELECT pg_reload_conf()");
    };
    set("SET default_transaction_read_only = on");
    scene.endures_a_loss().await;
    is_back(&scene.load).await;
    set("RESET default_transaction_read_only");
    scene.is_kept().await;
    scene.is_back().await;
    scene.end().await;
}

/// S-04
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_disk_is_full() {
    let Some(disk) = Disk::new("4m") else { return };
    let Some(scene) = Scene::new(&[]).await else { return };
    let owner = std::fs::metadata(scene.server.socket()).expect("its folder");
    chown(disk.path(), Some(owner.uid()), Some(owner.gid())).expect("give it away");
    scene.server.ask(&format!("CREATE TABLESPACE small LOCATION '{}'", disk.path().display()));
    scene.server.ask("ALTER TABLE pannier_cache SET TABLESPACE small");
    let ballast = disk.fill();
    eventually_within(PATIENCE, "there is no room", || async {
        (scene.server.log().contains("No space left on device")).then_some(())
    })
    .await;
    scene.endures_a_loss().await;
    is_back(&scene.load).await;
    drop(ballast);
    scene.is_kept().await;
    scene.is_back().await;
    scene.end().await;
}

/// Tables that go, change their shape, or may not be touched any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_tables_are_not_what_they_were() {
    let Some(scene) = Scene::new(&[]).await else { return };
    scene.server.ask("DROP TABLE pannier_cache CASCADE");
    scene.endures_a_loss().await;
    scene.server.ask("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    scene.is_back().await;
    scene.server.ask("ALTER TABLE pannier_cache RENAME COLUMN sealed TO opened");
    scene.endures_a_loss().await;
    scene.is_away().await;
    scene.server.ask("ALTER TABLE pannier_cache RENAME COLUMN opened TO sealed");
    scene.is_back().await;
    scene.is_kept().await;
    let lock = "BEGIN; LOCK TABLE pannier_cache IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)";
    let locker = scene.server.session("pannier", lock);
    scene.endures_a_loss().await;
    drop(locker);
    // Its end is not the end of what it asked for.
    scene
        .server
        .ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'another'");
    scene.is_back().await;
    scene.is_kept().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_refuses_pannier() {
    let Some(server) = Postgres::start() else { return };
    let upstream = Upstream::start().await;
    server.ask("CREATE ROLE guest LOGIN PASSWORD 'sesame'; REVOKE ALL ON SCHEMA public FROM PUBLIC");
    let url = |login: &str, database: &str| {
        format!("postgresql://{login}@localhost:5432/{database}?host={}", server.socket().display())
    };
    for url in
        [url("guest:sesame", "postgres"), url("nobody:sesame", "postgres"), url("pannier:sesame", "none")]
    {
        let mut pannier = launch(&upstream, &url).start().await;
        let load = Load::on(&upstream, &pannier, "database");
        is_never_let_in(&pannier, &load, "database").await;
        load.end().await;
        in_order(&mut pannier, &["sesame"]).await;
    }
}

/// S-06: there are fewer connections than Pannier would have, then none at all, and those that there are are cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_has_no_connection_left() {
    let Some(server) = Postgres::start_with(&["max_connections=8", "superuser_reserved_connections=3"])
    else {
        return;
    };
    server.ask("CREATE ROLE guest LOGIN; GRANT ALL ON SCHEMA public TO guest");
    let upstream = Upstream::start().await;
    let url = server.url().replace("pannier@", "guest@");
    let mut pannier = launch(&upstream, &url).start().await;
    let load = loaded(&upstream, &pannier, "database").await;
    let cut = || {
        server.ask("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'guest'");
    };
    server.ask("ALTER ROLE guest CONNECTION LIMIT 0");
    cut();
    endures(&pannier, &load).await;
    is_up(&pannier, "database", false).await;
    server.ask("ALTER ROLE guest CONNECTION LIMIT -1");
    is_back(&load).await;
    // Whoever is cut off all the time finds something now and then.
    for _ in 0..20 {
        cut();
        pause(50).await;
    }
    is_back(&load).await;
    assert!(load.seen().waited < LIMIT);
    load.end().await;
    in_order(&mut pannier, &[]).await;
}
