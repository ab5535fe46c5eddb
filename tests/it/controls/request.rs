//! What a request says in Pannier's own fields.

use crate::stage::*;

const CACHE: &str = "X-Pannier-Cache";
const TTL: &str = "X-Pannier-Cache-TTL";

async fn stage() -> (Upstream, Pannier, Route) {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let pannier = Pannier::start(&upstream).await;
    (upstream, pannier, chat)
}

#[tokio::test]
async fn bypass_neither_looks_nor_keeps() {
    let (upstream, pannier, chat) = stage().await;
    let bypass = chat.ask(false).with(CACHE, "bypass");
    for times in 1..=2 {
        let reply = pannier.ask(&bypass).await.fine();
        assert_eq!(reply.cache(), "pannier; fwd=bypass; detail=BYPASS");
        assert_eq!(upstream.count(chat.path), times);
    }
    assert_eq!(pannier.ask(&chat.ask(false).with(CACHE, "only")).await.status(), 504, "nothing was kept");
    assert!(upstream.visit(chat.path, 0).await.field(CACHE).is_none(), "it is between us");
}

#[tokio::test]
async fn refresh_asks_and_keeps() {
    let (upstream, pannier, chat) = stage().await;
    let refresh = chat.ask(false).with(CACHE, "Refresh");
    let reply = pannier.ask(&refresh).await.fine();
    assert_eq!(reply.cache(), "pannier; fwd=request; fwd-status=200; ttl=3600; detail=REFRESH");
    pannier.remembered(&chat.ask(false)).await;
    // On the shortest way, too.
    assert!(pannier.ask(&chat.ask(false)).await.fine().is_hit());
    let before = upstream.count(chat.path);
    pannier.ask(&refresh).await.fine();
    assert_eq!(upstream.count(chat.path), before + 1);
}

#[tokio::test]
async fn only_what_is_kept_will_do() {
    let (upstream, pannier, chat) = stage().await;
    let only = chat.ask(false).with(CACHE, "only");
    let reply = pannier.ask(&only).await;
    assert_eq!((reply.status(), reply.code()), (504, Some("not_cached")));
    assert_eq!(upstream.count(chat.path), 0);
    pannier.ask(&chat.ask(false)).await.fine();
    pannier.remembered(&chat.ask(false)).await;
    assert!(pannier.ask(&only).await.fine().is_hit());
}

#[tokio::test]
async fn what_pannier_does_not_know_is_refused_in_the_dialect() {
    let (upstream, pannier, _) = stage().await;
    for route in routes() {
        for (name, value) in [(CACHE, "perhaps"), (TTL, "soon"), (TTL, "-5")] {
            let reply = pannier.ask(&route.ask(false).with(name, value)).await;
            assert_eq!((reply.status(), reply.code()), (400, Some("bad_request")), "{} {value}", route.path);
            let shape = &reply.json()["error"];
            assert!(if route.dialect == "ollama" { shape.is_string() } else { shape["message"].is_string() });
        }
        assert_eq!(upstream.count(route.path), 0);
    }
}

#[tokio::test]
async fn an_answer_may_be_kept_for_less_time_and_not_for_more() {
    let (upstream, pannier, chat) = stage().await;
    let ask = |ttl: &str| chat.ask(false).with(CACHE, "refresh").with(TTL, ttl);
    for (ttl, kept) in [("2h", "ttl=3600"), ("90", "ttl=90"), ("1m", "ttl=60")] {
        let reply = pannier.ask(&ask(ttl)).await.fine();
        assert!(reply.cache().contains(kept), "{ttl}: {}", reply.cache());
        let most: u64 = kept.trim_start_matches("ttl=").parse().expect("a number");
        // Before the next is asked for: two that are stored at the same time may come in any order.
        eventually("it is kept", || async {
            let hit = pannier.ask(&chat.ask(false).with(CACHE, "only")).await;
            let left = hit.cache().split("ttl=").nth(1)?.split(';').next()?.parse::<u64>().ok()?;
            (hit.is_hit() && left <= most).then_some(())
        })
        .await;
    }
    let not_at_all = chat.ask_apart(false).with(TTL, "0");
    let reply = pannier.ask(&not_at_all).await.fine();
    assert_eq!(reply.cache(), "pannier; fwd=bypass; detail=TTL");
    assert!(upstream.visit(chat.path, 0).await.field(TTL).is_none(), "it is between us");
}
