//! What is removed from the cache is gone, from every tier and for good.

use crate::stage::*;
use serde_json::{Value, json};
use servers::Postgres;
use servers::RedisServer;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PLACE: &str = "/analytics/cache";
const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const CHAT: &str = "/api/chat";
const GENERATE: &str = "/api/generate";
const EMBED: &str = "/api/embed";
/// By the prefixes of their entries.
const KINDS: [(&str, &str); 3] = [("chat", CHAT), ("inference", GENERATE), ("embedding", EMBED)];

/// What stands behind the memory.
enum Below {
    File(TempDir),
    Redis(RedisServer),
    Postgres(Postgres),
}

impl Below {
    /// Those that can be had here.
    fn all() -> Vec<Below> {
        let file = Below::File(TempDir::new().expect("a directory"));
        let servers = [RedisServer::start(&[]).map(Below::Redis), Postgres::start().map(Below::Postgres)];
        [file].into_iter().chain(servers.into_iter().flatten()).collect()
    }

    fn launch(&self, upstream: &Upstream) -> Launch {
        let launch = Launch::before(upstream).set("cache.tiers.secret", SECRET);
        // On a busy machine, too, it is not left out for being slow.
        match self {
            Below::File(dir) => launch
                .set("cache.database.timeout", "5s")
                .set("cache.database.url", &dir.path().join("cache.db").to_string_lossy()),
            Below::Redis(server) => launch
                .set("cache.database.enabled", "false")
                .set("cache.redis.timeout", "5s")
                .set("cache.redis.url", &server.url()),
            Below::Postgres(server) => {
                launch.set("cache.database.timeout", "5s").set("cache.database.url", &server.url())
            }
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Below::Redis(_) => "redis",
            _ => "database",
        }
    }

    fn stop(&mut self) {
        match self {
            Below::File(_) => {}
            Below::Redis(server) => server.kill(),
            Below::Postgres(server) => server.stop_immediately(),
        }
    }

    fn begin(&mut self) {
        match self {
            Below::File(_) => {}
            Below::Redis(server) => server.begin(),
            Below::Postgres(server) => server.start_again(),
        }
    }

    /// Copies all entries to where nobody looks ...
    fn save(&self) {
        match self {
            Below::File(_) => {}
            Below::Redis(server) => {
                let pattern = format!("pannier:{}*", "[0-9a-f]".repeat(4));
                for name in server.run::<Vec<String>>(&["KEYS", &pattern]) {
                    server.run::<()>(&["COPY", &name, &format!("saved-{name}")]);
                }
            }
            Below::Postgres(server) => {
                server.ask("CREATE TABLE saved AS SELECT * FROM pannier_cache");
            }
        }
    }

    /// ... and back, where they are not, as one who has not heard of a removal would write them.
    fn restore(&self) {
        match self {
            Below::File(_) => {}
            Below::Redis(server) => {
                for saved in server.run::<Vec<String>>(&["KEYS", "saved-*"]) {
                    server.run::<()>(&["COPY", &saved, saved.trim_start_matches("saved-")]);
                }
            }
            Below::Postgres(server) => {
                let columns = "key, kind, bytes, hits, stored, expires, used, sealed";
                server.ask(&format!(
                    "INSERT INTO pannier_cache ({columns}) SELECT {columns} FROM saved ON CONFLICT DO NOTHING"
                ));
            }
        }
    }

    /// One whose tier has answered.
    async fn begun(&self, upstream: &Upstream) -> Pannier {
        let pannier = self.launch(upstream).start().await;
        pannier.counts("pannier_dependency_up", &[("dep", self.name())], 1.0).await;
        pannier
    }
}

/// One whose file is open: before that it could not be told to forget anything.
async fn open(launch: Launch) -> Pannier {
    let pannier = launch.set("cache.database.timeout", "5s").start().await;
    pannier.counts("pannier_dependency_up", &[("dep", "database")], 1.0).await;
    pannier
}

async fn upstream() -> Upstream {
    let upstream = Upstream::start().await;
    for (_, path) in KINDS {
        let route = route(path);
        upstream.always(path, route.acts(false));
    }
    upstream
}

/// Removes what `query` says, which must work.
async fn clear(pannier: &Pannier, query: &str) -> Value {
    let told = pannier.administer(Ask::new("DELETE", &format!("{PLACE}{query}"))).await.fine().json();
    assert_eq!(told["status"], "success", "{told}");
    told
}

fn deleted(told: &Value, tier: &str) -> u64 {
    let tiers = told["tiers"].as_array().expect("tiers");
    let of_tier = tiers.iter().find(|of_tier| of_tier["tier"] == tier);
    of_tier.unwrap_or_else(|| panic!("no {tier} in {told}"))["deleted"].as_u64().expect("a number")
}

async fn knows(pannier: &Pannier, ask: &Ask) -> bool {
    let reply = pannier.ask(&ask.clone().with("Cache-Control", "only-if-cached")).await;
    assert!([200, 504].contains(&reply.status()), "{}", reply.text());
    reply.status() == 200
}

/// Asks for one entry of each kind, until all are in memory and in the tier behind it.
async fn fill(pannier: &Pannier, below: &Below) {
    let labels = [("dep", below.name()), ("op", "keep")];
    let written = async || pannier.metrics().await.sum("pannier_dependency_duration_seconds_count", &labels);
    for (_, path) in KINDS {
        let (ask, before) = (route(path).ask(false), written().await);
        pannier.ask(&ask).await.fine();
        pannier.remembered(&ask).await;
        eventually("it is written", || async { (written().await > before).then_some(()) }).await;
    }
}

#[tokio::test]
async fn one_kind_goes_from_every_tier_and_the_others_stay() {
    for below in Below::all() {
        let upstream = upstream().await;
        let pannier = below.begun(&upstream).await;
        fill(&pannier, &below).await;
        for (at, (prefix, path)) in KINDS.into_iter().enumerate() {
            let told = clear(&pannier, &format!("?prefix={prefix}")).await;
            assert_eq!(told["message"], format!("Cleared cache entries with prefix: {prefix}"));
            assert_eq!(deleted(&told, below.name()), 1, "{told}");
            assert!(deleted(&told, "memory") >= 1, "{told}");
            for (_, gone) in &KINDS[..=at] {
                assert!(!knows(&pannier, &route(gone).ask(false)).await, "{gone} after {path}");
            }
            for (_, here) in &KINDS[at + 1..] {
                assert!(knows(&pannier, &route(here).ask(false)).await, "{here} after {path}");
            }
        }
        // What is made anew is kept anew.
        let ask = route(CHAT).ask(false);
        pannier.ask(&ask).await.fine();
        pannier.remembered(&ask).await;
        assert_eq!(upstream.count(CHAT), 2);
    }
}

#[tokio::test]
async fn everything_goes_and_a_restart_finds_nothing() {
    for below in Below::all() {
        let upstream = upstream().await;
        let mut pannier = below.begun(&upstream).await;
        fill(&pannier, &below).await;
        let told = clear(&pannier, "").await;
        assert_eq!(told["message"], "Cleared all cache entries");
        assert_eq!(deleted(&told, below.name()), 3, "{told}");
        pannier.signal("TERM");
        assert_eq!(pannier.ended().await.0.code(), Some(0));
        let again = below.begun(&upstream).await;
        for pannier in [&again] {
            for (_, path) in KINDS {
                assert!(!knows(pannier, &route(path).ask(false)).await, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn a_model_and_a_team_go_alone() {
    let upstream = upstream().await;
    let settings = "[[auth.keys]]\nname = \"a\"\nteam = \"red\"\nkey = \"key-of-a\"\n\
                    [[auth.keys]]\nname = \"b\"\nteam = \"blue\"\nkey = \"key-of-b\"\n";
    let pannier = open(Launch::before(&upstream).file(settings)).await;
    let ask = |key: &str, path: &str| route(path).ask(false).with("Authorization", &format!("Bearer {key}"));
    let of = |key: &str| [ask(key, CHAT), ask(key, EMBED)];
    let all = async || {
        for ask in [of("key-of-a"), of("key-of-b")].concat() {
            pannier.ask(&ask).await.fine();
            pannier.remembered(&ask).await;
        }
    };
    all().await;
    clear(&pannier, "?team=red").await;
    for ask in of("key-of-a") {
        assert!(!knows(&pannier, &ask).await, "{ask:?}");
    }
    for ask in of("key-of-b") {
        assert!(knows(&pannier, &ask).await, "{ask:?}");
    }
    all().await;
    let model = pannier.house(PLACE).await.fine().json()["cache"]["models"].clone();
    let models: Vec<String> = model
        .as_array()
        .expect("models")
        .iter()
        .map(|one| one["model"].as_str().expect("a name").into())
        .collect();
    let chats = models.iter().find(|model| model.starts_with("smollm2")).expect("a model").clone();
    clear(&pannier, &format!("?model={}", chats.replace(':', "%3A"))).await;
    for key in ["key-of-a", "key-of-b"] {
        assert!(!knows(&pannier, &ask(key, CHAT)).await);
        assert!(knows(&pannier, &ask(key, EMBED)).await, "of another model");
    }
}

#[tokio::test]
async fn only_what_is_over_goes_where_that_is_wanted() {
    let upstream = upstream().await;
    let pannier = open(Launch::before(&upstream)).await;
    let (short, long) = (route(CHAT).ask(false), route(EMBED).ask(false));
    pannier.ask(&short.clone().with("X-Pannier-Cache-TTL", "1s")).await.fine();
    pannier.ask(&long).await.fine();
    pannier.remembered(&long).await;
    let gone = eventually("it is over", || async {
        let told = clear(&pannier, "?expired=true").await;
        (told["deleted"].as_u64() > Some(0)).then_some(told)
    })
    .await;
    assert_eq!(gone["message"], "Cleared expired cache entries");
    assert!(!knows(&pannier, &short).await && knows(&pannier, &long).await);
}

/// Whoever set out before gets his answer, and keeps nothing of it.
#[tokio::test]
async fn what_was_under_way_does_not_come_back() {
    for below in Below::all() {
        let upstream = upstream().await;
        let pannier = below.begun(&upstream).await;
        for (prefix, path) in KINDS {
            for query in ["", &format!("?prefix={prefix}")] {
                let (gate, route) = (Gate::closed(), route(path));
                let mut acts = route.acts(false);
                acts.insert(0, Act::Wait(gate.clone()));
                upstream.always(path, acts);
                let nth = upstream.count(path);
                let mut wire = pannier.open().await;
                wire.ask(&route.ask(false)).await;
                upstream.visit(path, nth).await;
                clear(&pannier, query).await;
                gate.open();
                wire.reply("POST").await.fine();
                // It is over only when what is to be kept has been.
                pannier.counts("pannier_flights", &[], 0.0).await;
                pannier.counts("pannier_internal_size", &[("what", "cache_writes")], 0.0).await;
                assert!(!knows(&pannier, &route.ask(false)).await, "{path} {query}");
                upstream.always(path, route.acts(false));
                pannier.ask(&route.ask(false)).await.fine();
                pannier.remembered(&route.ask(false)).await;
                clear(&pannier, "").await;
            }
        }
    }
}

/// What was not meant is kept by whoever was under way.
#[tokio::test]
async fn who_is_not_meant_is_not_disturbed() {
    let upstream = upstream().await;
    let pannier = open(Launch::before(&upstream)).await;
    let (gate, chat) = (Gate::closed(), route(CHAT));
    let mut acts = chat.acts(false);
    acts.insert(0, Act::Wait(gate.clone()));
    upstream.always(CHAT, acts);
    let mut wire = pannier.open().await;
    wire.ask(&chat.ask(false)).await;
    upstream.visit(CHAT, 0).await;
    for query in ["?prefix=embedding", "?model=another", "?team=another", "?expired=true"] {
        clear(&pannier, query).await;
    }
    gate.open();
    wire.reply("POST").await.fine();
    pannier.remembered(&chat.ask(false)).await;
    assert_eq!(upstream.count(CHAT), 1);
}

/// While a tier is away it cannot forget: it is not asked until it has.
#[tokio::test]
async fn a_tier_that_was_away_forgets_when_it_is_back() {
    let redis = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]).map(Below::Redis);
    for mut below in redis.into_iter().chain(Postgres::start().map(Below::Postgres)) {
        let upstream = upstream().await;
        let pannier = below.begun(&upstream).await;
        fill(&pannier, &below).await;
        below.stop();
        let told = pannier.administer(Ask::new("DELETE", PLACE)).await.fine().json();
        assert_eq!(told["status"], "error", "{told}");
        assert!(told["tiers"][1]["fault"].is_string(), "{told}");
        below.begin();
        // Whoever asks meanwhile, before the tier is back or after, finds nothing.
        within("the tier to forget", async {
            while !pannier.output().contains("has removed what it still had to") {
                for (_, path) in KINDS {
                    assert!(!knows(&pannier, &route(path).ask(false)).await, "{path}");
                }
                pause(20).await;
            }
        })
        .await;
        pannier.counts("pannier_dependency_up", &[("dep", below.name())], 1.0).await;
        for (_, path) in KINDS {
            assert!(!knows(&pannier, &route(path).ask(false)).await, "{path}");
        }
    }
}

#[tokio::test]
async fn who_asks_for_something_else_removes_nothing() {
    let upstream = upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let chat = route(CHAT).ask(false);
    pannier.ask(&chat).await.fine();
    pannier.remembered(&chat).await;
    for query in [
        "?prefx=chat",
        "?prefix=speech",
        "?prefix=chat&prefix=chat",
        "?expired=perhaps",
        "?most=1",
        "?model=a%00b",
        "?team=a%0Ab",
    ] {
        let reply = pannier.administer(Ask::new("DELETE", &format!("{PLACE}{query}"))).await;
        assert_eq!(reply.status(), 400, "{query}");
    }
    let keyless = Ask::new("DELETE", PLACE);
    assert_eq!(Wire::open(pannier.admin).await.exchange(&keyless).await.status(), 401);
    assert_eq!(pannier.ask(&keyless).await.status(), 401);
    assert!(knows(&pannier, &chat).await);
    let body = json!({});
    assert_eq!(pannier.ask(&Ask::post(PLACE, &body)).await.status(), 405);
}

/// What others have in memory, and on its way, goes as well.
#[tokio::test]
async fn replicas_drop_what_one_of_them_removes() {
    let shared = [RedisServer::start(&[]).map(Below::Redis), Postgres::start().map(Below::Postgres)];
    for below in shared.into_iter().flatten() {
        let upstream = upstream().await;
        let [one, other] = [below.begun(&upstream).await, below.begun(&upstream).await];
        fill(&one, &below).await;
        for (_, path) in KINDS {
            // From the tier, and then from the memory.
            let ask = route(path).ask(false);
            assert!(other.ask(&ask).await.fine().is_hit() && other.ask(&ask).await.fine().is_hit());
        }
        // Somebody is on his way at the other meanwhile, for something that nobody knows yet.
        let gate = Gate::closed();
        let late = route("/v1/chat/completions");
        let mut acts = late.acts(false);
        acts.insert(0, Act::Wait(gate.clone()));
        upstream.always(late.path, acts);
        let mut wire = other.open().await;
        wire.ask(&late.ask(false)).await;
        upstream.visit(late.path, 0).await;

        clear(&one, "?prefix=chat").await;
        within("the other to drop it", async {
            while knows(&other, &route(CHAT).ask(false)).await {
                pause(50).await;
            }
        })
        .await;
        gate.open();
        wire.reply("POST").await.fine();
        other.counts("pannier_flights", &[], 0.0).await;
        for pannier in [&one, &other] {
            assert!(!knows(pannier, &route(CHAT).ask(false)).await);
            assert!(!knows(pannier, &late.ask(false)).await, "it was under way");
            for path in [GENERATE, EMBED] {
                assert!(knows(pannier, &route(path).ask(false)).await, "{path} was not meant");
            }
        }
    }
}

/// What one of them writes before he has heard of a removal, and others read meanwhile, goes when it is done once
/// more.
#[tokio::test]
async fn what_comes_back_behind_a_removal_goes_with_the_second() {
    /// Between the two.
    const BETWEEN: Duration = Duration::from_secs(3);
    let shared = [RedisServer::start(&[]).map(Below::Redis), Postgres::start().map(Below::Postgres)];
    'grounds: for below in shared.into_iter().flatten() {
        let upstream = upstream().await;
        let [one, other] = [below.begun(&upstream).await, below.begun(&upstream).await];
        fill(&one, &below).await;
        below.save();
        let chat = route(CHAT).ask(false);
        // On a busy machine the second may come before anything else can.
        for _ in 0..10 {
            other.ask(&chat).await.fine();
            other.remembered(&chat).await;
            let begun = Instant::now();
            clear(&one, "?prefix=chat").await;
            within("the other to hear of it", async {
                while knows(&other, &chat).await {
                    pause(20).await;
                }
            })
            .await;
            below.restore();
            let (back, again) = (knows(&one, &chat).await, knows(&other, &chat).await);
            if begun.elapsed() < BETWEEN {
                assert!(back && again, "so it was: both have it in memory");
                within("both to drop it again", async {
                    while knows(&one, &chat).await || knows(&other, &chat).await {
                        pause(50).await;
                    }
                })
                .await;
                assert!(knows(&other, &route(EMBED).ask(false)).await, "it was not meant");
                continue 'grounds;
            }
            one.ask(&chat).await.fine();
            one.remembered(&chat).await;
        }
        panic!("never in time");
    }
}
