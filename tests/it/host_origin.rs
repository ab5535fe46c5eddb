//! Who may call from a browser: the guard against DNS rebinding, and Ollama's own verdict on origins.

use crate::stage::*;
use serde_json::json;

/// A chat that answers with Ollama's CORS fields.
fn chat_with_cors(upstream: &Upstream) -> Route {
    let chat = route("/api/chat");
    let script = chat.clone();
    upstream.on(chat.path, move |visit| with_cors(visit, script.reply_to(visit)));
    chat
}

/// A Pannier that remembers that chat.
async fn remembering(upstream: &Upstream) -> (Pannier, Route) {
    let chat = chat_with_cors(upstream);
    let pannier = Pannier::start(upstream).await;
    pannier.ask(&chat.ask(false)).await.fine();
    assert!(pannier.remembered(&chat.ask(false)).await.is_hit());
    (pannier, chat)
}

fn own_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a host name").trim().to_owned()
}

#[tokio::test]
async fn a_loopback_bind_answers_to_names_of_its_own_only() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let own = own_name();
    let allowed = [
        "localhost",
        "LocalHost:1234",
        "127.0.0.1",
        "127.8.9.10:80",
        "[::1]:11434",
        "0.0.0.0",
        "192.168.1.5:8000",
        "10.0.0.1",
        "my.localhost",
        "printer.local:80",
        "ollama.internal",
        &own,
    ];
    for host in allowed {
        let reply = pannier.ask(&Ask::get("/api/version").host(host)).await;
        assert_eq!(reply.status(), 200, "Host: {host}");
    }
    let before = upstream.count("/api/show");
    let refused = [
        "evil.example",
        "evil.example:11434",
        "8.8.8.8",
        "localhost.evil.example",
        "evil-local",
        "xlocalhost",
    ];
    for host in refused {
        for ask in
            [Ask::get("/"), Ask::post("/api/show", &json!({})), Ask::get("/metrics"), Ask::get("/api/nope")]
        {
            let reply = pannier.ask(&ask.clone().host(host)).await;
            assert_eq!(reply.status(), 403, "Host: {host}, {}", ask.target);
            assert_eq!(reply.code(), Some("forbidden"));
            assert!(!reply.text().contains("evil"), "nothing of the request is echoed");
        }
    }
    assert_eq!(upstream.count("/api/show"), before, "nothing went up");
}

#[tokio::test]
async fn the_guard_stands_before_the_memory() {
    let upstream = Upstream::start().await;
    let (pannier, chat) = remembering(&upstream).await;
    let reply = pannier.ask(&chat.ask(false).host("evil.example")).await;
    assert_eq!(reply.status(), 403);
    assert!(!reply.text().contains("glad"));
}

#[tokio::test]
async fn hosts_can_be_allowed_by_name() {
    let upstream = Upstream::start().await;
    let settings = "[access]\nallowed_hosts = [\"llm.example.org\", \"*.lab.example\"]\n";
    let pannier = Launch::before(&upstream).file(settings).start().await;
    let cases = [
        ("llm.example.org", 200),
        ("LLM.example.org:443", 200),
        ("a.lab.example", 200),
        ("a.b.lab.example", 200),
        ("other.example.org", 403),
        ("evil-lab.example", 403),
    ];
    for (host, status) in cases {
        assert_eq!(pannier.ask(&Ask::get("/").host(host)).await.status(), status, "Host: {host}");
    }
    pannier.configure("[access]\nallowed_hosts = [\"*\"]\n");
    pannier.signal("HUP");
    eventually("any host is allowed", || async {
        (pannier.ask(&Ask::get("/").host("evil.example")).await.status() == 200).then_some(())
    })
    .await;
}

/// As Ollama: bound to more than the loopback, the operator has opened it.
#[tokio::test]
async fn a_public_bind_checks_no_names() {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).listen("0.0.0.0:0").start().await;
    assert_eq!(pannier.ask(&Ask::get("/").host("llm.example.org")).await.status(), 200);
}

#[tokio::test]
async fn the_verdict_on_an_origin_is_the_upstreams_on_misses_and_hits() {
    let upstream = Upstream::start().await;
    let chat = chat_with_cors(&upstream);
    let pannier = Pannier::start(&upstream).await;
    let allowed = "http://localhost:3000";
    for round in ["miss", "hit"] {
        let reply = pannier.ask(&chat.ask(false).with("Origin", allowed)).await.fine();
        assert_eq!(reply.is_hit(), round == "hit", "{}", reply.cache());
        assert_eq!(reply.field("access-control-allow-origin"), Some(allowed), "on a {round}");
        assert!(reply.head.all("vary").join(",").contains("Origin"), "on a {round}");

        let denied = pannier.ask(&chat.ask(false).with("Origin", "https://evil.example")).await;
        assert_eq!((denied.status(), denied.text().as_str()), (403, ""), "on a {round}");
        pannier.remembered(&chat.ask(false)).await;
    }
    // Another allowed origin gets its own name, none gets none: nothing is replayed from the first.
    let other = pannier.ask(&chat.ask(false).with("Origin", "http://127.0.0.1:5173")).await.fine();
    assert_eq!(other.head.all("access-control-allow-origin"), ["http://127.0.0.1:5173"]);
    let none = pannier.ask(&chat.ask(false)).await.fine();
    assert!(none.is_hit());
    assert_eq!(none.field("access-control-allow-origin"), None);
    assert_eq!(none.field("vary").filter(|v| v.contains("Origin")), None);
}

/// What stands before an Ollama that is away judges nobody.
#[tokio::test]
async fn an_error_on_the_way_is_no_verdict() {
    let upstream = Upstream::start().await;
    let (pannier, chat) = remembering(&upstream).await;
    upstream.always("/", json(503, "{}"));
    let foreign = chat.ask(false).with("Origin", "https://evil.example");
    assert_eq!(pannier.ask(&foreign).await.status(), 502, "nothing that is remembered either");
}

/// A page that Pannier's own address serves is no stranger: with its Host kept, Ollama would have let
/// it pass.
#[tokio::test]
async fn its_own_origin_is_taken_out() {
    let upstream = Upstream::start().await;
    let chat = chat_with_cors(&upstream);
    let pannier = Pannier::start(&upstream).await;
    for name in [pannier.addr.to_string(), "ui.local:8000".to_owned()] {
        let own = format!("http://{name}");
        let nth = upstream.count(chat.path);
        let ask = chat.ask(false).host(&name).with("Origin", &own).with("Cache-Control", "no-cache");
        let reply = pannier.ask(&ask).await.fine();
        assert_eq!(reply.field("access-control-allow-origin"), None);
        assert_eq!(upstream.visit(chat.path, nth).await.field("origin"), None);
        let reply = pannier.ask(&Ask::get("/api/tags").host(&name).with("Origin", &own)).await;
        assert_eq!(reply.status(), 200);
    }
    let reply =
        pannier.remembered(&chat.ask(false).with("Origin", &format!("http://{}", pannier.addr))).await;
    assert!(reply.is_hit());
}

#[tokio::test]
async fn preflights_get_the_upstreams_answer() {
    let upstream = Upstream::start().await;
    chat_with_cors(&upstream);
    let pannier = Pannier::start(&upstream).await;
    for path in ["/api/chat", "/api/tags", "/v1/models"] {
        let preflight = Ask::new("OPTIONS", path).with("Access-Control-Request-Method", "POST");
        let reply = pannier.ask(&preflight.clone().with("Origin", "http://localhost:3000")).await;
        assert_eq!(reply.status(), 204, "{path}");
        assert_eq!(reply.field("access-control-allow-origin"), Some("http://localhost:3000"));
        assert_eq!(reply.field("access-control-max-age"), Some("43200"));
        let reply = pannier.ask(&preflight.with("Origin", "https://evil.example")).await;
        assert_eq!((reply.status(), reply.text().as_str()), (403, ""), "{path}");
    }
}
