//! Keys outlive the process, are shared by replicas, and bear that their database is away.

use super::*;
use serde_json::json;
use servers::Postgres;
use std::time::Instant;

const PEPPER: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Asks until the answer has this status: what one replica has changed is in force at the others soon.
async fn until(pannier: &Pannier, ask: &Ask, status: u16) {
    let what = format!("the answer is {status}");
    eventually(&what, || async { (pannier.ask(ask).await.status() == status).then_some(()) }).await;
}

#[tokio::test]
async fn keys_outlive_the_process_however_it_ends() {
    let upstream = upstream().await;
    let home = tempfile::tempdir().expect("a directory");
    let launch = || Launch::before(&upstream).set("auth.mode", "required").data_dir(home.path());
    let mut pannier = launch().start().await;
    let chat = route("/api/chat").ask(false);
    let mut keys = Vec::new();
    for signal in ["KILL", "TERM"] {
        keys.push(make(&pannier, &format!("of-{signal}"), Value::Null).await);
        pannier.signal(signal);
        pannier.ended().await;
        pannier = launch().start().await;
        for key in &keys {
            pannier.ask(&of(&chat, key)).await.fine();
        }
    }
}

#[tokio::test]
async fn when_a_key_was_used_last_outlives_the_process() {
    let upstream = upstream().await;
    let home = tempfile::tempdir().expect("a directory");
    let launch = || Launch::before(&upstream).data_dir(home.path());
    let mut pannier = launch().start().await;
    let key = make(&pannier, "ann", Value::Null).await;
    pannier.ask(&of(&route("/api/chat").ask(false), &key)).await.fine();
    let used = async |pannier: &Pannier| {
        let ann = house(pannier, "GET", "/admin/keys/ann", Value::Null).await.fine().json();
        ann["last_used"].as_u64()
    };
    let before = used(&pannier).await;
    assert!(before.is_some_and(|used| used > 0), "{before:?}");
    pannier.signal("TERM");
    pannier.ended().await;
    assert_eq!(used(&launch().start().await).await, before);
}

#[tokio::test]
async fn replicas_share_their_keys() {
    let Some(server) = Postgres::start() else { return };
    let upstream = upstream().await;
    let launch = || {
        let launch =
            Launch::before(&upstream).set("auth.mode", "required").set("cache.database.enabled", "false");
        launch.set("store.database", &server.url()).set("store.pepper", PEPPER)
    };
    let (one, other) = (launch().start().await, launch().start().await);
    let ask = route("/api/chat").ask(false);
    let key = make(&one, "ann", Value::Null).await;
    one.ask(&of(&ask, &key)).await.fine();
    until(&other, &of(&ask, &key), 200).await;
    house(&other, "PATCH", "/admin/keys/ann", json!({ "disabled": true })).await.fine();
    assert_eq!(other.ask(&of(&ask, &key)).await.code(), Some("key_disabled"));
    until(&one, &of(&ask, &key), 401).await;
    house(&other, "PATCH", "/admin/keys/ann", json!({ "disabled": false })).await.fine();
    let rotated = house(&other, "POST", "/admin/keys/ann/rotate", json!({ "grace": 0 })).await.fine();
    let second = rotated.json()["key"].as_str().unwrap().to_owned();
    until(&one, &of(&ask, &second), 200).await;
    assert_eq!(one.ask(&of(&ask, &key)).await.status(), 401);
    // Two who make the same at once make one.
    let both = json!({ "name": "twin" });
    let (first, then) =
        tokio::join!(house(&one, "POST", KEYS, both.clone()), house(&other, "POST", KEYS, both));
    let mut statuses = [first.status(), then.status()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 400]);
    assert_eq!(house(&one, "DELETE", "/admin/keys/ann", Value::Null).await.status(), 204);
    until(&other, &of(&ask, &second), 401).await;
    assert_eq!(server.ask("SELECT count(*) FROM pannier_key").trim(), "1");
}

#[tokio::test]
async fn what_was_known_last_goes_on_while_the_database_is_away() {
    let Some(mut server) = Postgres::start() else { return };
    let upstream = upstream().await;
    let launch = |server: &Postgres| {
        let launch = Launch::before(&upstream)
            .set("auth.mode", "required")
            .set("cache.database.enabled", "false")
            .set("auth.keys", r#"[{ name = "bob", key = "key-of-bob" }]"#);
        launch.set("store.database", &server.url()).set("store.pepper", PEPPER)
    };
    let pannier = launch(&server).start().await;
    let ask = route("/api/chat").ask(false);
    let key = make(&pannier, "ann", Value::Null).await;
    pannier.counts("pannier_dependency_up", &[("dep", "store")], 1.0).await;
    server.stop_immediately();
    let away = house(&pannier, "POST", KEYS, json!({ "name": "late" })).await;
    assert_eq!((away.status(), away.code()), (503, Some("overloaded")));
    pannier.counts("pannier_dependency_up", &[("dep", "store")], 0.0).await;
    for _ in 0..3 {
        pannier.ask(&of(&ask, &key)).await.fine();
        pannier.ask(&of(&ask, "key-of-bob")).await.fine();
    }
    // One that starts now knows those of the settings, and says of the others that it does not know yet.
    let late = launch(&server).start().await;
    late.ask(&of(&ask, "key-of-bob")).await.fine();
    let unread = late.ask(&of(&ask, &key)).await;
    assert_eq!(unread.status(), 503);
    assert!(unread.field("retry-after").is_some());
    assert_eq!(late.ask(&of(&ask, "whoever")).await.status(), 401);
    server.start_again();
    until(&late, &of(&ask, &key), 200).await;
    assert!(late.output().contains("the database is back"), "{}", late.output());
    until(&pannier, &of(&ask, &make(&late, "new", Value::Null).await), 200).await;
}

/// Where the keys are, for whoever goes past Pannier.
enum Books {
    File(tempfile::TempDir),
    Server(Postgres),
}

impl Books {
    /// Those that can be had here.
    fn all() -> impl Iterator<Item = Books> {
        let file = Books::File(tempfile::tempdir().expect("a directory"));
        std::iter::once(file).chain(Postgres::start().map(Books::Server))
    }

    async fn pannier(&self, upstream: &Upstream) -> Pannier {
        let launch =
            Launch::before(upstream).set("auth.mode", "required").set("cache.database.enabled", "false");
        let place = match self {
            Books::File(_) => self.file().to_string_lossy().into_owned(),
            Books::Server(server) => server.url(),
        };
        launch.set("store.database", &place).start().await
    }

    fn file(&self) -> std::path::PathBuf {
        match self {
            Books::File(folder) => folder.path().join("keys.db"),
            Books::Server(_) => panic!("a server has no file"),
        }
    }

    /// Does this in either database's words.
    async fn run(&self, sqlite: &str, postgres: &str) {
        use sqlx::{ConnectOptions, Executor};
        match self {
            Books::File(_) => {
                let file = sqlx::sqlite::SqliteConnectOptions::new().filename(self.file());
                let mut outsider = file.connect().await.expect("connect");
                outsider.execute(sqlx::AssertSqlSafe(sqlite.to_owned())).await.expect(sqlite);
            }
            Books::Server(server) => {
                server.ask(postgres);
            }
        }
    }

    async fn both(&self, text: &str) {
        self.run(text, text).await;
    }
}

/// The others are as they were when all were read last; whoever changes something and does not note it has all of them
/// read again.
#[tokio::test]
async fn only_a_key_that_has_changed_is_read_again() {
    for books in Books::all() {
        let upstream = upstream().await;
        let pannier = books.pannier(&upstream).await;
        let ask = route("/api/chat").ask(false);
        let (ann, bob) = (make(&pannier, "ann", Value::Null).await, make(&pannier, "bob", Value::Null).await);
        let new = json!({ "disabled": true });
        books.both("UPDATE pannier_key SET disabled = 1 WHERE name = 'bob'").await;
        house(&pannier, "PATCH", "/admin/keys/ann", new).await.fine();
        make(&pannier, "eve", Value::Null).await;
        assert_eq!(pannier.ask(&of(&ask, &ann)).await.code(), Some("key_disabled"));
        pannier.ask(&of(&ask, &bob)).await.fine();
        assert_eq!(house(&pannier, "DELETE", "/admin/keys/ann", Value::Null).await.status(), 204);
        assert_eq!(pannier.ask(&of(&ask, &ann)).await.code(), Some("unauthenticated"));
        pannier.ask(&of(&ask, &bob)).await.fine();

        // As a Pannier of before would, and one that notes it right behind.
        books.both("UPDATE pannier_key_book SET version = version + 1").await;
        house(&pannier, "PATCH", "/admin/keys/eve", json!({ "team": "lab" })).await.fine();
        assert_eq!(pannier.ask(&of(&ask, &bob)).await.code(), Some("key_disabled"));
        books.both("UPDATE pannier_key SET disabled = 0 WHERE name = 'bob'").await;
        books.both("UPDATE pannier_key_book SET version = version + 1").await;
        until(&pannier, &of(&ask, &bob), 200).await;
    }
}

/// As many as nobody has: they are found as fast, and take room for little more than themselves.
#[tokio::test]
async fn a_hundred_thousand_keys_are_no_burden() {
    for books in Books::all() {
        many_keys(&books).await;
    }
}

async fn many_keys(books: &Books) {
    let upstream = upstream().await;
    let pannier = books.pannier(&upstream).await;
    let key = make(&pannier, "ann", Value::Null).await;
    let ask = of(&route("/api/chat").ask(false), &key);
    pannier.ask(&ask).await.fine();
    let before = pannier.resident();
    let insert = "INSERT INTO pannier_key (id, name, team, start, admin, digest, old_digest, old_until, expires, disabled, \
                  created, rotated, used)";
    books
        .run(
            &format!(
                "WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < 100000) {insert} \
                 SELECT 'key_' || substr('000000000000' || n, -12), 'name-' || n, 'team-' || n % 100, \
                 'pannier_abcdef', 0, randomblob(32), x'', 0, 0, 0, 1, 0, 0 FROM many"
            ),
            &format!(
                "{insert} SELECT 'key_' || lpad(n::text, 12, '0'), 'name-' || n, 'team-' || n % 100, \
                 'pannier_abcdef', 0, sha256(n::text::bytea), ''::bytea, 0, 0, 0, 1, 0, 0 \
                 FROM generate_series(1, 100000) AS n"
            ),
        )
        .await;
    books.both("UPDATE pannier_key_book SET version = version + 1").await;
    eventually_within(4 * PATIENCE, "they are read", || async {
        let known = pannier.metrics().await.sum("pannier_internal_size", &[("what", "keys")]);
        (known >= 100_001.0).then_some(())
    })
    .await;
    // What reading them took is given back a moment later.
    let is_little = async || {
        let begun = Instant::now();
        loop {
            pannier.ask(&ask).await.fine();
            let grown = pannier.resident().saturating_sub(before);
            if grown < 40 << 20 {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{} MiB", grown >> 20);
            pause(100).await;
        }
    };
    is_little().await;
    // One that changes does not make all others anew.
    house(&pannier, "PATCH", "/admin/keys/name-77", json!({ "disabled": true })).await.fine();
    is_little().await;
}
