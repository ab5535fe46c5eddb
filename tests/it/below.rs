//! The tiers behind the memory, through the whole server: what outlives it, what others share, what may fail.

use crate::stage::{Ask, Launch, Pannier, Upstream, eventually, route, routes};
use servers::RedisServer;
use tempfile::TempDir;

const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// With the cache's file in `dir`.
fn before(upstream: &Upstream, dir: &TempDir) -> Launch {
    let file = dir.path().join("cache.db");
    Launch::before(upstream)
        .set("cache.tiers.secret", SECRET)
        .set("cache.database.url", &file.to_string_lossy())
        // On a busy machine, too, it is not left out for being slow.
        .set("cache.database.timeout", "2s")
}

async fn end(mut pannier: Pannier) {
    pannier.signal("TERM");
    assert_eq!(pannier.ended().await.0.code(), Some(0));
}

/// Neither in the memory nor below it.
#[tokio::test]
async fn what_a_team_has_kept_no_other_finds_after_a_restart_either() {
    let keys = "[auth]\nkeys = [\n  { name = \"ann\", team = \"red\", key = \"key-of-ann\" },\n  \
                { name = \"cat\", team = \"blue\", key = \"key-of-cat\" },\n]\n";
    let upstream = Upstream::start().await;
    let dir = TempDir::new().expect("a directory");
    let of = |path: &str, who: &str| {
        let route = route(path);
        let streamed = route.modes()[0];
        route.ask_apart(streamed).with("X-API-Key", &format!("key-of-{who}"))
    };
    let pannier = before(&upstream, &dir).file(keys).start().await;
    for route in routes() {
        upstream.always(route.path, route.acts(route.modes()[0]));
        pannier.ask(&of(route.path, "ann")).await.fine();
        pannier.remembered(&of(route.path, "ann")).await;
    }
    end(pannier).await;

    let again = before(&upstream, &dir).file(keys).start().await;
    again.counts("pannier_dependency_up", &[("dep", "database")], 1.0).await;
    for route in routes() {
        let kept = |who| of(route.path, who).with("Cache-Control", "only-if-cached");
        // Before the one whose it is has put it into the memory, and afterwards.
        assert!(!again.ask(&kept("cat")).await.is_hit(), "{}", route.path);
        assert!(again.ask(&kept("ann")).await.fine().is_hit(), "{}", route.path);
        assert!(!again.ask(&kept("cat")).await.is_hit(), "{}", route.path);
    }
    end(again).await;
}

/// A file is not asked for what it certainly has not: and for what it has, it is.
#[tokio::test]
async fn what_was_never_kept_is_not_looked_for() {
    let upstream = Upstream::start().await;
    let dir = TempDir::new().expect("a directory");
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let new = |number: u64| {
        let mut body = chat.body(false);
        body["options"]["seed"] = number.into();
        Ask::post(chat.path, &body)
    };
    let looks = [("dep", "database"), ("op", "find")];
    let looked = async |pannier: &Pannier| {
        pannier.metrics().await.sum("pannier_dependency_duration_seconds_count", &looks)
    };
    for round in 0..2_u64 {
        let pannier = before(&upstream, &dir).start().await;
        pannier.counts("pannier_dependency_up", &[("dep", "database")], 1.0).await;
        let known = |number: u64| round * 1_000 + number;
        // Which keys the file has is read soon after it was opened.
        let mut number = 100;
        eventually("the keys are known", || {
            number += 1;
            let (ask, pannier) = (new(known(number)), &pannier);
            let looked = &looked;
            async move {
                let before = looked(pannier).await;
                pannier.ask(&ask).await.fine();
                (looked(pannier).await == before).then_some(())
            }
        })
        .await;
        let asked = looked(&pannier).await;
        for number in 0..20 {
            pannier.ask(&new(known(number))).await.fine();
        }
        assert_eq!(looked(&pannier).await, asked, "round {round}");
        if round > 0 {
            for number in 0..20 {
                let reply = pannier.ask(&new(number).with("Cache-Control", "only-if-cached")).await.fine();
                assert!(reply.cache().contains("detail=database"), "{number}: {}", reply.cache());
            }
            assert_eq!(looked(&pannier).await, asked + 20.0);
        }
        pannier.remembered(&new(known(19))).await;
        end(pannier).await;
    }
}

/// Whatever the memory has answered: a file that did not know it would take the most wanted for what nobody wants.
#[tokio::test]
async fn what_was_of_use_in_memory_is_known_below() {
    let upstream = Upstream::start().await;
    let dir = TempDir::new().expect("a directory");
    let pannier = before(&upstream, &dir).start().await;
    for (path, times) in [("/api/chat", 5), ("/api/embed", 3), ("/api/generate", 0)] {
        let route = route(path);
        upstream.always(path, route.acts(false));
        let ask = route.ask_apart(false);
        pannier.ask(&ask).await.fine();
        if times > 0 {
            pannier.remembered(&ask).await;
        }
        for _ in 0..times {
            assert!(pannier.ask(&ask).await.fine().is_hit(), "{path}");
        }
    }
    end(pannier).await;

    let again = before(&upstream, &dir).start().await;
    again.counts("pannier_dependency_up", &[("dep", "database")], 1.0).await;
    let top = again.administer(Ask::get("/admin/cache/top?most=9")).await.fine().json();
    let tiers = top["tiers"].as_array().expect("tiers");
    let below = tiers.iter().find(|tier| tier["tier"] == "database").expect("the file");
    let entries = below["entries"].as_array().expect("entries");
    let hits: Vec<_> =
        entries.iter().map(|entry| (entry["prefix"].as_str(), entry["hits"].as_u64())).collect();
    let [(Some("chat"), Some(5..)), (Some("embedding"), Some(3..)), (Some("inference"), Some(0))] = hits[..]
    else {
        panic!("{top}")
    };
    end(again).await;
}

#[tokio::test]
async fn a_restart_forgets_nothing() {
    let upstream = Upstream::start().await;
    let dir = TempDir::new().expect("a directory");
    let mut told = Vec::new();
    let pannier = before(&upstream, &dir).start().await;
    for route in routes() {
        for &streamed in route.modes() {
            upstream.always(route.path, route.acts(streamed));
            pannier.ask(&route.ask_apart(streamed)).await.fine();
            told.push((route.path, streamed, pannier.remembered(&route.ask_apart(streamed)).await));
        }
    }
    end(pannier).await;

    let again = before(&upstream, &dir).start().await;
    for (path, streamed, before) in &told {
        let (route, asked) = (route(path), upstream.count(path));
        let ask = route.ask_apart(*streamed);
        let first = eventually("the database", || async {
            let reply = again.ask(&ask.clone().with("Cache-Control", "only-if-cached")).await;
            reply.is_hit().then_some(reply)
        })
        .await;
        assert!(first.cache().contains("detail=database"), "{path}: {}", first.cache());
        assert_eq!(first.body().len(), before.body().len(), "{path} streamed {streamed}");
        assert_eq!(first.field("content-type"), before.field("content-type"));
        let second = again.ask(&ask).await.fine();
        assert!(second.cache().contains("detail=memory"), "what was found below is found above next time");
        assert_eq!(upstream.count(path), asked, "{path}: nobody was asked");
    }
    end(again).await;
}

#[tokio::test]
async fn a_damaged_file_is_put_aside() {
    let upstream = Upstream::start().await;
    let dir = TempDir::new().expect("a directory");
    std::fs::write(dir.path().join("cache.db"), b"this is no database at all".repeat(500)).expect("write");
    let pannier = before(&upstream, &dir).start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    pannier.ask(&chat.ask(false)).await.fine();
    pannier.remembered(&chat.ask(false)).await;
    let aside = || {
        let names = std::fs::read_dir(dir.path()).expect("read").flatten();
        names.filter(|entry| entry.file_name().to_string_lossy().contains("corrupt")).count()
    };
    eventually("the old file put aside", || async { (aside() > 0).then_some(()) }).await;
    end(pannier).await;
}

#[tokio::test]
async fn replicas_share_what_one_was_told_and_lose_nothing_when_redis_dies() {
    let Some(mut server) = RedisServer::start(&[]) else {
        return;
    };
    let upstream = Upstream::start().await;
    let launch = || {
        Launch::before(&upstream)
            .set("cache.tiers.secret", SECRET)
            .set("cache.database.enabled", "false")
            // On a busy machine, too, nothing is lost for being slow.
            .set("cache.redis.timeout", "5s")
            .set("cache.redis.url", &server.url())
    };
    let (one, other) = (launch().start().await, launch().start().await);
    for pannier in [&one, &other] {
        pannier.counts("pannier_dependency_up", &[("dep", "redis")], 1.0).await;
    }
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(true));
    let known = async || one.ask(&chat.ask(true)).await.fine().is_hit().then_some(());
    eventually("the one to know it", known).await;
    let calls = upstream.count(chat.path);
    let shared = eventually("the other to know it", || async {
        let reply = other.ask(&chat.ask(true).with("Cache-Control", "only-if-cached")).await;
        reply.is_hit().then_some(reply)
    })
    .await;
    assert!(shared.cache().contains("detail=redis"), "{}", shared.cache());
    assert_eq!(upstream.count(chat.path), calls);
    server.kill();
    for pannier in [&one, &other] {
        assert!(pannier.ask(&chat.ask(true)).await.fine().is_hit());
        let generate = route("/api/generate");
        upstream.always(generate.path, generate.acts(false));
        pannier.ask(&generate.ask(false)).await.fine();
    }
}
