//! What was heard once is there for others: for whoever asks at the same time, after a restart, and for replicas.

use super::*;
use servers::RedisServer;

const FIELDS: [(&str, &str); 2] = [("model", "tiny"), ("language", "en")];
const SHORT: &str = "goforward.wav";

/// Asks for what is kept and no more, until it is there.
async fn found(pannier: &Pannier, ask: &Ask) -> Reply {
    let only = ask.clone().with("Cache-Control", "only-if-cached");
    eventually("it is found", || async {
        let mut wire = pannier.open().await;
        wire.ask(&only).await;
        let reply = wire.reply(&ask.method).await;
        reply.is_hit().then_some(reply)
    })
    .await
}

#[tokio::test]
async fn it_outlives_pannier_and_replicas_share_it() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("cache.db").to_string_lossy().into_owned();
    let server = RedisServer::start(&[]);
    let settings = |launch: Launch| {
        let launch = launch.set("cache.tiers.secret", &"0f".repeat(32)).set("cache.database.url", &file);
        let launch = launch.set("cache.database.timeout", "5s").set("cache.redis.timeout", "5s");
        match &server {
            Some(server) => launch.set("cache.redis.url", &server.url()),
            None => launch,
        }
    };
    let Some(Studio { assets, upstream, mut pannier, .. }) = Studio::open_with(settings).await else {
        return;
    };
    let recording = std::fs::read(assets.join("audio").join(SHORT)).expect("a recording");
    let ask = form(TRANSCRIPTIONS, &recording, &FIELDS);
    let said = patiently(&pannier, &ask).await.fine().json();
    found(&pannier, &ask).await;
    pannier.signal("TERM");
    pannier.ended().await;

    let launch = || {
        let launch = settings(Launch::before(&upstream).set("audio.threads", "1"));
        launch.set("audio.models_dir", &assets.join("whisper").to_string_lossy())
    };
    for tier in ["redis", "database"] {
        let launch = match (tier, &server) {
            ("redis", None) => continue,
            ("redis", _) => launch().set("cache.database.enabled", "false"),
            _ => launch().set("cache.redis.url", ""),
        };
        let pannier = launch.start().await;
        let reply = found(&pannier, &ask).await;
        assert!(reply.cache().contains(&format!("detail={tier}")), "{}", reply.cache());
        assert_eq!(reply.json(), said, "{tier}");
    }
    // Weights of other numbers may hear something else.
    let pannier = launch().set("cache.redis.url", "").set("audio.unpack", "false").start().await;
    let reply = patiently(&pannier, &ask).await.fine();
    assert!(!reply.is_hit(), "{}", reply.cache());
}

#[tokio::test]
async fn who_asks_at_the_same_time_gets_the_same() {
    let Some(studio) = Studio::open().await else { return };
    let ask = form(TRANSCRIPTIONS, &studio.recording(SHORT), &FIELDS);
    let asks = (0..4).map(|_| patiently(&studio.pannier, &ask));
    let replies = futures_util::future::join_all(asks).await;
    let said = replies[0].json();
    let alone = |reply: &&Reply| !reply.is_hit() && !reply.cache().contains("collapsed");
    assert_eq!(replies.iter().filter(alone).count(), 1, "one was listened to");
    assert!(said["text"].as_str().is_some_and(|text| text.contains("forward")), "{said}");
    assert!(replies.iter().all(|reply| reply.status() == 200 && reply.json() == said));
}
