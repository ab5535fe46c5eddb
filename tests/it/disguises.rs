//! Requests that seem to be others (RELIABILITY.md H-06, H-07, H-10): what is judged here is what goes up, byte for byte.

use crate::stage::*;

/// Paths that lead to a route of Pannier's, or to one that it reads, for somebody who resolves or unescapes them.
const DISGUISED: [&str; 17] = [
    "/api/../metrics",
    "/./metrics",
    "//metrics",
    "/metrics/",
    "/METRICS",
    "/metrics;x=y",
    "/metrics.",
    "/api/..%2fmetrics",
    "/%2e%2e/metrics",
    "/nothing/../admin/keys",
    "//admin/keys",
    "/admin/keys%20",
    "/api/./version/../chat",
    "/api//chat",
    "/api/chat/",
    "/api/chat;x",
    "\\api\\chat",
];

/// Nothing is resolved, unescaped or folded: such a path is the upstream's to judge, and opens nothing here.
#[tokio::test]
async fn a_disguised_path_goes_up_as_it_came_and_opens_nothing() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let key = pannier.admin_key();
    for path in DISGUISED {
        for method in ["GET", "POST"] {
            let before = upstream.count(path);
            let reply = pannier.ask(&Ask::new(method, path).with("X-API-Key", &key)).await;
            if path.starts_with('/') {
                assert_eq!((reply.status(), reply.text().as_str()), (404, "404 page not found"), "{path}");
                assert_eq!(reply.code(), None, "{path}");
                let visit = upstream.visit(path, before).await;
                assert_eq!((visit.method.as_str(), visit.target.as_str()), (method, path));
            } else {
                assert_eq!((reply.status(), reply.code()), (400, Some("bad_request")), "{path}");
            }
            // What was meant for this house does not leave it, whatever road was tried.
            let heads = upstream.strangers();
            assert!(heads.iter().all(|visit| find(&visit.head, key.as_bytes()).is_none()), "{path}");
        }
        let reply = Wire::open(pannier.admin).await.exchange(&Ask::get(path).with("X-API-Key", &key)).await;
        assert!(
            [400, 404].contains(&reply.status()),
            "{path} on the house's own listener: {}",
            reply.status()
        );
    }
    // One who must have a key needs it there as well.
    let pannier = Launch::before(&upstream).set("auth.mode", "required").start().await;
    for path in DISGUISED {
        let reply = pannier.ask(&Ask::get(path)).await;
        assert!([400, 401].contains(&reply.status()), "{path}: {}", reply.status());
    }
}

/// No field says that a request is another than its first line says.
#[tokio::test]
async fn no_field_makes_another_request_of_one() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let pannier = Pannier::start(&upstream).await;
    pannier.ask(&chat.ask(false)).await.fine();
    pannier.remembered(&chat.ask(false)).await;
    let key = pannier.admin_key();
    for (name, value) in [
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-HTTP-Method", "DELETE"),
        ("X-Method-Override", "DELETE"),
        ("X-Original-URL", "/analytics/cache"),
        ("X-Rewrite-URL", "/metrics"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("Forwarded", "for=127.0.0.1;host=evil.example"),
        ("X-Pannier-Scope", "another"),
        ("X-Pannier-Team", "another"),
    ] {
        assert!(pannier.ask(&chat.ask(false).with(name, value)).await.fine().is_hit(), "{name}");
        let ask = Ask::get("/analytics/cache").with("X-API-Key", &key).with(name, value);
        assert_eq!(pannier.ask(&ask).await.fine().json()["cache"]["keys"], 1, "{name}: it is only told");
        let nth = upstream.count("/api/show");
        pannier.ask(&Ask::post("/api/show", &serde_json::json!({})).with(name, value)).await;
        let visit = upstream.visit("/api/show", nth).await;
        assert_eq!(visit.method, "POST");
        let ours = name.starts_with("X-Pannier-");
        assert_eq!(visit.field(&name.to_lowercase()), (!ours).then_some(value), "{name}");
    }
    assert!(pannier.ask(&chat.ask(false)).await.is_hit(), "nothing was removed");
    // The guard looks at `Host` alone.
    let behind = Ask::get("/").host("evil.example").with("X-Forwarded-Host", "localhost");
    assert_eq!(pannier.ask(&behind).await.status(), 403);
}

/// Whatever `Connection` names: there is an answer, and none of those whom it names is taken from Pannier or made to
/// say something else upstream.
#[tokio::test]
async fn whatever_connection_names_there_is_an_answer() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let pannier = Pannier::start(&upstream).await;
    let many = ["x"; 200].join(", ");
    for named in [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "X-Forwarded-For",
        "X-Pannier-Cache",
        "\"X-A\"",
        &many,
    ] {
        let connection = format!("close, {named}");
        let asks = [
            Ask::post("/api/show", &serde_json::json!({})),
            Ask::new("POST", "/api/blobs/sha256:1").bytes(vec![b'b'; 70_000]),
            Ask::new("POST", "/api/blobs/sha256:1").chunks(&[b"abc"]),
            Ask::get("/livez"),
        ];
        for ask in asks {
            let before = upstream.count(&ask.target);
            let reply = pannier.ask(&ask.clone().with("Connection", &connection)).await;
            let is_refused = (reply.status(), reply.code()) == (400, Some("bad_request"));
            assert!(is_refused || [200, 404].contains(&reply.status()), "{named}: {}", reply.text());
            for visit in upstream.visits(&ask.target).iter().skip(before) {
                assert_eq!(visit.all("host"), [upstream.addr.to_string()], "{named}");
                let framings = visit.all("content-length").len() + visit.all("transfer-encoding").len();
                assert_eq!(framings, 1, "{named}: {}", String::from_utf8_lossy(&visit.head));
            }
        }
        let bypass = chat.ask(false).with("X-Pannier-Cache", "bypass").with("Connection", &connection);
        assert!(pannier.ask(&bypass).await.fine().cache().contains("detail=BYPASS"), "{named}");
    }
    let samples = pannier.metrics().await;
    assert_eq!(samples.sum("pannier_errors_total", &[("type", "client_gone")]), 0.0, "nobody has left");
}
