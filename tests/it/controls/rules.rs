//! What the settings say of single routes, models, keys and teams.

use crate::stage::*;

const KEYS: &str = "[auth]\nkeys = [\n\
    { name = \"alice\", team = \"lab\", key = \"key-of-alice\" },\n\
    { name = \"bob\", team = \"lab\", key = \"key-of-bob\" },\n\
    { name = \"carol\", team = \"shop\", key = \"key-of-carol\" },\n]\n";

async fn stage(rules: &str) -> (Upstream, Pannier) {
    let upstream = Upstream::start().await;
    for route in routes() {
        upstream.always(route.path, route.acts(false));
    }
    let settings = format!("{KEYS}[cache]\nrules = [\n{rules}\n]\n");
    let pannier = Launch::before(&upstream).file(&settings).start().await;
    (upstream, pannier)
}

fn of(ask: Ask, key: &str) -> Ask {
    ask.with("X-API-Key", key)
}

/// What one key may not have is not given to it on the shortest way either, however often the other asks.
#[tokio::test]
async fn a_rule_for_one_key_leaves_its_team_alone() {
    let (upstream, pannier) = stage(r#"{ key = "bob", enabled = false },"#).await;
    let chat = route("/api/chat");
    let (alice, bob) = (of(chat.ask(false), "key-of-alice"), of(chat.ask(false), "key-of-bob"));
    pannier.ask(&alice).await.fine();
    pannier.remembered(&alice).await;
    for _ in 0..3 {
        assert!(pannier.ask(&alice).await.fine().is_hit());
        let before = upstream.count(chat.path);
        assert_eq!(pannier.ask(&bob).await.fine().cache(), "pannier; fwd=bypass; detail=OFF");
        assert_eq!(upstream.count(chat.path), before + 1);
    }
}

/// Nor is what one team may not have, where all share.
#[tokio::test]
async fn a_rule_for_one_team_leaves_the_others_alone_where_all_share() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let rules = "[cache]\nrules = [{ team = \"shop\", enabled = false }]\n";
    let settings = format!("{KEYS}scope = \"shared\"\n{rules}");
    let pannier = Launch::before(&upstream).file(&settings).start().await;
    let (alice, carol) = (of(chat.ask(false), "key-of-alice"), of(chat.ask(false), "key-of-carol"));
    pannier.ask(&alice).await.fine();
    pannier.remembered(&alice).await;
    for _ in 0..3 {
        assert!(pannier.ask(&alice).await.fine().is_hit());
        assert_eq!(pannier.ask(&carol).await.fine().cache(), "pannier; fwd=bypass; detail=OFF");
    }
}

#[tokio::test]
async fn a_rule_is_for_a_team_or_a_route() {
    let rules = r#"{ team = "sh*", ttl = 0 }, { route = "/v1/*", operation = "chat", enabled = false },"#;
    let (_upstream, pannier) = stage(rules).await;
    let chat = route("/api/chat");
    let carol = of(chat.ask(false), "key-of-carol");
    assert_eq!(pannier.ask(&carol).await.fine().cache(), "pannier; fwd=bypass; detail=TTL");
    let status = |cache: String| cache.split("; ").nth(1).map(str::to_owned);
    for (path, expected) in [
        ("/api/chat", "fwd=uri-miss"),
        ("/v1/chat/completions", "fwd=bypass"),
        ("/v1/completions", "fwd=uri-miss"),
        ("/v1/messages", "fwd=bypass"),
    ] {
        let reply = pannier.ask(&of(route(path).ask(false), "key-of-alice")).await.fine();
        assert_eq!(status(reply.cache()).as_deref(), Some(expected), "{path}");
    }
}

#[tokio::test]
async fn a_rule_may_switch_on_what_is_off() {
    let upstream = Upstream::start().await;
    let (chat, generate) = (route("/api/chat"), route("/api/generate"));
    for route in [&chat, &generate] {
        upstream.always(route.path, route.acts(false));
    }
    let settings = "[cache]\nenabled = false\nrules = [{ route = \"/api/chat\", enabled = true }]\n";
    let pannier = Launch::before(&upstream).file(settings).start().await;
    pannier.ask(&chat.ask(false)).await.fine();
    pannier.remembered(&chat.ask(false)).await;
    assert_eq!(pannier.ask(&generate.ask(false)).await.fine().cache(), "pannier; fwd=bypass; detail=OFF");
}

#[tokio::test]
async fn a_rule_says_how_large_an_answer_may_be() {
    let (upstream, pannier) = stage(r#"{ route = "/api/chat", max_entry = 16 },"#).await;
    let (chat, generate) = (route("/api/chat"), route("/api/generate"));
    for route in [&chat, &generate] {
        pannier.ask(&route.ask(false)).await.fine();
    }
    // Stored after the first: whoever is found says that the other has been judged, too.
    pannier.remembered(&generate.ask(false)).await;
    let before = upstream.count(chat.path);
    pannier.ask(&chat.ask(false)).await.fine();
    assert_eq!(upstream.count(chat.path), before + 1, "it was too large");
}
