//! Entries that are not what Pannier wrote under their key (R-10, R-11, C-01, C-27): each is a miss and counted, and
//! the right one takes its place.

use super::load;
use super::*;
use servers::Postgres;
use servers::RedisServer;
use std::collections::BTreeMap;
use tempfile::TempDir;

const ANOTHER: &str = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// Both kinds of entries, and answers told in either mode.
const NUMBERS: std::ops::Range<u64> = 0..12;

/// Sealed bytes by their key's name.
type Entries = BTreeMap<String, Vec<u8>>;

/// Where entries lie, and whoever has access there can change them.
enum Ground {
    Redis(RedisServer),
    Postgres(Postgres),
    File(TempDir),
}

impl Ground {
    /// Those that can be had here.
    fn all() -> Vec<Ground> {
        let mut all = vec![Ground::File(TempDir::new().expect("a folder"))];
        all.extend(RedisServer::start(&[]).map(Ground::Redis));
        all.extend(Postgres::start().map(Ground::Postgres));
        all
    }

    fn launch(&self, upstream: &Upstream, secret: &str) -> Launch {
        let launch =
            forgetful(upstream).set("cache.tiers.secret", secret).set("cache.database.timeout", "5s");
        match self {
            Ground::Redis(server) => launch
                .set("cache.database.enabled", "false")
                .set("cache.redis.timeout", "5s")
                .set("cache.redis.url", &server.url()),
            Ground::Postgres(server) => launch.set("cache.database.url", &server.url()),
            Ground::File(folder) => {
                launch.set("cache.database.url", &folder.path().join("cache.db").to_string_lossy())
            }
        }
    }

    fn tier(&self) -> &'static str {
        match self {
            Ground::Redis(_) => "redis",
            Ground::Postgres(_) | Ground::File(_) => "database",
        }
    }

    async fn start(&self, launch: Launch) -> Pannier {
        let pannier = launch.start().await;
        is_up(&pannier, self.tier(), true).await;
        pannier
    }

    /// All that is there, past any Pannier.
    async fn read(&self) -> Entries {
        match self {
            Ground::Redis(server) => {
                let names: Vec<String> = server.run(&["KEYS", "pannier:*"]);
                let names = names.iter().filter_map(|name| Some((name, name.strip_prefix("pannier:")?)));
                let names = names.filter(|(_, key)| key.len() == 64);
                names.map(|(name, key)| (key.to_owned(), server.run(&["GET", name]))).collect()
            }
            Ground::Postgres(server) => {
                let told = server.ask("SELECT encode(key, 'hex'), encode(sealed, 'hex') FROM pannier_cache");
                let pair = |line: &str| line.split_once('|').map(|(key, hex)| (key.to_owned(), bytes(hex)));
                told.lines().filter_map(pair).collect()
            }
            Ground::File(folder) => {
                let mut file = super::file::outsider(&folder.path().join("cache.db")).await;
                let rows = sqlx::query_as::<_, (String, Vec<u8>)>(
                    "SELECT lower(hex(key)), sealed FROM pannier_cache",
                );
                rows.fetch_all(&mut file).await.expect("rows").into_iter().collect()
            }
        }
    }

    /// Puts these in the place of what is there.
    async fn write(&self, entries: &Entries) {
        for (key, sealed) in entries {
            match self {
                Ground::Redis(server) => {
                    let mut set = ::redis::cmd("SET");
                    set.arg(format!("pannier:{key}")).arg(sealed).arg("KEEPTTL");
                    set.exec(&mut server.own_connection()).expect("set");
                }
                Ground::Postgres(server) => {
                    let sealed: String = sealed.iter().map(|byte| format!("{byte:02x}")).collect();
                    server.ask(&format!(
                        "UPDATE pannier_cache SET sealed = decode('{sealed}', 'hex') WHERE key = decode('{key}', 'hex')"
                    ));
                }
                Ground::File(folder) => {
                    let mut file = super::file::outsider(&folder.path().join("cache.db")).await;
                    let update = sqlx::query("UPDATE pannier_cache SET sealed = ? WHERE lower(hex(key)) = ?");
                    let done = update.bind(sealed).bind(key).execute(&mut file).await.expect("update");
                    assert_eq!(done.rows_affected(), 1);
                }
            }
        }
    }

    /// Where in an entry the sealed bytes begin: in Redis a label stands before them.
    fn start_of(&self, entry: &[u8]) -> usize {
        match self {
            Ground::Redis(_) => usize::from(u16::from_le_bytes([entry[1], entry[2]])),
            Ground::Postgres(_) | Ground::File(_) => 0,
        }
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("hex"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
}

/// Asks all questions; each answer must be right. Returns how many the tier had.
async fn ask_all(pannier: &Pannier, tier: &str) -> usize {
    let mut hits = 0;
    for number in NUMBERS {
        let reply = pannier.ask(&load::question(number)).await;
        load::is_right(number, &reply);
        hits += usize::from(reply.is_hit() && reply.cache().contains(tier));
    }
    hits
}

/// Asks until the tier has all.
async fn fill(pannier: &Pannier, tier: &str) {
    eventually_within(PATIENCE, "the tier has all", || async {
        (ask_all(pannier, tier).await == NUMBERS.count()).then_some(())
    })
    .await;
}

/// How often an entry could not be opened: one may be found several times before it is gone.
async fn unopened(pannier: &Pannier) -> usize {
    pannier.metrics().await.sum("pannier_cache_unopened_total", &[]) as usize
}

/// What others may do to entries: each gets all of them, where a sealed one begins, and the nth to change.
type Change = fn(&[Vec<u8>], usize, usize) -> Vec<u8>;

const CHANGES: [(&str, Change); 8] = [
    ("a bit is flipped", |all, start, nth| {
        let mut entry = all[nth].clone();
        let bit = fastrand::usize(start * 8..entry.len() * 8);
        entry[bit / 8] ^= 1 << (bit % 8);
        entry
    }),
    ("another's", |all, _, nth| all[(nth + 1) % all.len()].clone()),
    ("the beginning of it", |all, start, nth| {
        all[nth][..fastrand::usize(start + 1..all[nth].len())].to_vec()
    }),
    ("more than it", |all, _, nth| [&all[nth][..], b"more"].concat()),
    ("of an older version", |all, start, nth| {
        let mut entry = all[nth].clone();
        entry[start] -= 1;
        entry
    }),
    ("of a newer version", |all, start, nth| {
        let mut entry = all[nth].clone();
        entry[start] += 1;
        entry
    }),
    ("made up", |_, _, _| b"{\"message\":{\"content\":\"all yours\"},\"done\":true}".to_vec()),
    ("nothing but zeros", |all, _, nth| vec![0; all[nth].len()]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_changed_is_a_miss_and_counted() {
    for ground in Ground::all() {
        let upstream = Upstream::start().await;
        load::answer(&upstream);
        let pannier = ground.start(ground.launch(&upstream, SECRET)).await;
        for (what, change) in CHANGES {
            fill(&pannier, ground.tier()).await;
            let good = ground.read().await;
            assert_eq!(good.len(), NUMBERS.count());
            let all: Vec<Vec<u8>> = good.values().cloned().collect();
            let changed =
                |(nth, key): (usize, &String)| (key.clone(), change(&all, ground.start_of(&all[nth]), nth));
            ground.write(&good.keys().enumerate().map(changed).collect()).await;
            let before = unopened(&pannier).await;
            assert_eq!(ask_all(&pannier, ground.tier()).await, 0, "{what} is an answer in {}", ground.tier());
            assert!(unopened(&pannier).await - before >= all.len(), "{what} in {}", ground.tier());
        }
        fill(&pannier, ground.tier()).await;
        assert!(pannier.output().contains("an entry cannot be opened"), "it is said");
    }
}

/// What another Pannier wrote there, which has another secret.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sealed_with_another_secret_is_a_miss_and_counted() {
    for ground in Ground::all() {
        let upstream = Upstream::start().await;
        load::answer(&upstream);
        let mut stranger = ground.start(ground.launch(&upstream, ANOTHER)).await;
        fill(&stranger, ground.tier()).await;
        let theirs = ground.read().await;
        stranger.signal("TERM");
        stranger.ended().await;
        let pannier = ground.start(ground.launch(&upstream, SECRET)).await;
        assert_eq!(ask_all(&pannier, ground.tier()).await, 0);
        assert!(unopened(&pannier).await >= theirs.len());
        fill(&pannier, ground.tier()).await;
        let ours = ground.read().await;
        assert!(ours.keys().eq(theirs.keys()), "the same questions");
        assert!(ours.iter().all(|(key, sealed)| theirs[key] != *sealed));
    }
}

const KEYS: &str = "keys = [
    { name = \"alice\", team = \"lab\", key = \"sk-alice\" },
    { name = \"carol\", team = \"lab\", key = \"sk-carol\" },
    { name = \"bob\", team = \"shop\", key = \"sk-bob\" },
]\n";

/// The question of a route, by the owner of a key.
fn by(key: &str, route: &Route) -> Ask {
    route.ask(false).with("Authorization", &format!("Bearer {key}"))
}

/// C-01, C-02: on all nine routes, at replicas that share everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_team_finds_what_is_its_own_in_every_tier() {
    for ground in Ground::all() {
        // A file has one user: whoever comes later is another process all the same.
        for (scope, strangers_find) in [("team", false), ("shared", true)] {
            let upstream = Upstream::start().await;
            let settings = format!("[auth]\nscope = \"{scope}\"\n{KEYS}");
            let pannier = ground.start(ground.launch(&upstream, SECRET).file(&settings)).await;
            for route in routes() {
                upstream.always(route.path, route.acts(false));
                let told = pannier.ask(&by("sk-alice", &route)).await.fine();
                let find = async |key: &str| {
                    let only = by(key, &route).with("Cache-Control", "only-if-cached");
                    Some(pannier.ask(&only).await).filter(Reply::is_hit)
                };
                let find_in_time = async |key: &str| {
                    let what =
                        format!("{key} finds what alice was told on {} in {}", route.path, ground.tier());
                    eventually_within(PATIENCE, &what, || find(key)).await
                };
                find_in_time("sk-carol").await;
                let asked = upstream.count(route.path);
                // A tier that takes too long on a busy machine is none: only who is not to find it is asked just once.
                let reply = match strangers_find {
                    true => find_in_time("sk-bob").await,
                    false => pannier.ask(&by("sk-bob", &route)).await.fine(),
                };
                assert_eq!(reply.is_hit(), strangers_find, "{} in {}", route.path, ground.tier());
                assert_eq!(upstream.count(route.path), asked + usize::from(!strangers_find));
                assert_eq!(reply.field("content-type"), told.field("content-type"));
            }
        }
    }
}

/// What a stranger's entry says under one's own key it says to nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_moved_into_another_scope_is_a_miss() {
    for ground in Ground::all() {
        let upstream = Upstream::start().await;
        load::answer(&upstream);
        let settings = format!("[auth]\n{KEYS}");
        let pannier = ground.start(ground.launch(&upstream, SECRET).file(&settings)).await;
        let asks = ["sk-alice", "sk-bob"]
            .map(|key| load::question(1).with("Authorization", &format!("Bearer {key}")));
        for ask in &asks {
            load::is_right(1, &pannier.ask(ask).await);
        }
        let both = || async { (ground.read().await.len() == 2).then_some(()) };
        eventually_within(PATIENCE, "both are kept", both).await;
        let kept = ground.read().await;
        let crosswise = kept.keys().cloned().zip(kept.values().rev().cloned()).collect();
        ground.write(&crosswise).await;
        for ask in &asks {
            let reply = pannier.ask(ask).await;
            load::is_right(1, &reply);
            assert!(!reply.is_hit(), "in {}", ground.tier());
        }
        assert!(unopened(&pannier).await >= 2);
    }
}

/// C-03: whose key is taken away, or goes to another team, finds no more of what its team was told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_taken_away_finds_nothing() {
    for ground in Ground::all() {
        let upstream = Upstream::start().await;
        load::answer(&upstream);
        let settings =
            |line: &str| format!("[auth]\nkeys = [{{ name = \"ann\", team = \"lab\", {line} }}]\n");
        let pannier =
            ground.start(ground.launch(&upstream, SECRET).file(&settings("key = \"sk-ann\""))).await;
        let ask = load::question(1).with("Authorization", "Bearer sk-ann");
        let only = ask.clone().with("Cache-Control", "only-if-cached");
        pannier.ask(&ask).await.fine();
        let hit = |wanted: bool| {
            let (pannier, only) = (&pannier, &only);
            move || async move { (pannier.ask(only).await.is_hit() == wanted).then_some(()) }
        };
        eventually_within(PATIENCE, "it is kept", hit(true)).await;
        pannier.configure(&settings("key = \"sk-another\""));
        pannier.signal("HUP");
        eventually_within(PATIENCE, "it is nobody's", hit(false)).await;
        pannier.configure(&settings("key = \"sk-ann\""));
        pannier.signal("HUP");
        eventually_within(PATIENCE, "it is ann's again", hit(true)).await;
    }
}

/// C-05: how long an answer takes does not tell whether strangers were given it before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_miss_takes_as_long_whatever_strangers_were_told() {
    const EACH: u64 = 1000;
    let upstream = Upstream::start().await;
    load::answer(&upstream);
    let launch = Launch::before(&upstream).file(&format!("[auth]\n{KEYS}"));
    let pannier = launch.set("cache.database.timeout", "5s").start().await;
    is_up(&pannier, "database", true).await;
    let by = |key: &str, number| load::question(number).with("Authorization", &format!("Bearer {key}"));
    let mut wire = pannier.open().await;
    // Whole chats only: what differs by its kind takes another time.
    let question = |nth: u64| nth * 3 + 2;
    for nth in (0..EACH * 2).step_by(2) {
        wire.exchange(&by("sk-alice", question(nth))).await.fine();
    }
    let mut order: Vec<u64> = (0..EACH * 2).collect();
    fastrand::shuffle(&mut order);
    let mut times = Vec::new();
    for nth in order {
        let began = Instant::now();
        let reply = wire.exchange(&by("sk-bob", question(nth))).await;
        times.push((began.elapsed(), nth % 2 == 0));
        assert!(!reply.fine().is_hit());
    }
    times.sort();
    // Mann and Whitney's: the sum of ranks of either kind is that of as many drawn at random.
    let ranks: f64 =
        (1..).zip(&times).filter(|(_, (_, known))| *known).map(|(rank, _)| f64::from(rank)).sum();
    let n = EACH as f64;
    let (mean, deviation) = (n * (2.0 * n + 1.0) / 2.0, (n * n * (2.0 * n + 1.0) / 12.0).sqrt());
    let z = (ranks - mean) / deviation;
    assert!(z.abs() < 5.0, "the two kinds of misses are {z} deviations apart");
}
