//! Where keys are asked for, and how they are presented (RELIABILITY.md K-05, K-07).

use super::*;
use serde_json::json;

/// A refusal as the route's own dialect has it.
fn is_refused(reply: &Reply, dialect: &str, what: &str) {
    assert_eq!(reply.status(), 401, "{what}");
    assert_eq!(reply.field("www-authenticate"), Some("Bearer"), "{what}");
    assert!(reply.code().is_some(), "{what}");
    let told = reply.json();
    match dialect {
        "openai" => assert_eq!(told["error"]["code"], "invalid_api_key", "{what}"),
        "anthropic" => assert_eq!(told["error"]["type"], "authentication_error", "{what}"),
        _ => assert!(told["error"].is_string(), "{what}: {told}"),
    }
}

/// Every road: what is read, what is small and passed on, what is large, what nobody knows; and what is remembered.
#[tokio::test]
async fn no_road_is_open_where_a_key_is_required() {
    let upstream = upstream().await;
    upstream.always("/api/blobs/sha256:1", whole(201, "text/plain", ""));
    upstream.always("/api/unknown", json(200, "{}"));
    let pannier = Launch::before(&upstream).set("auth.mode", "required").start().await;
    let key = make(&pannier, "ann", Value::Null).await;
    let large = vec![b'x'; 1 << 20];
    let mut asks: Vec<(Ask, &str)> =
        routes().iter().map(|route| (route.ask(false), dialect(route.path))).collect();
    asks.extend([
        (Ask::get("/api/tags"), "ollama"),
        (Ask::get("/"), "ollama"),
        (Ask::get("/v1/models"), "openai"),
        (Ask::new("POST", "/api/blobs/sha256:1").bytes(large.clone()), "ollama"),
        (Ask::new("POST", "/api/blobs/sha256:1").chunks(&[b"abc"]), "ollama"),
        (Ask::get("/api/unknown"), "ollama"),
        (Ask::post("/api/pull", &json!({ "model": "m" })), "ollama"),
        (Ask::new("DELETE", "/api/delete").bytes("{}"), "ollama"),
        (Ask::post("http://localhost/api/chat", &json!({})).host("localhost"), "ollama"),
        (Ask::new("OPTIONS", "/api/chat"), "ollama"),
    ]);
    let before = upstream.strangers().len();
    for (ask, dialect) in &asks {
        let what = format!("{} {}", ask.method, ask.target);
        for ask in [
            ask.clone(),
            of(ask, "ollama"),
            of(ask, ""),
            ask.clone().with("X-API-Key", "sk-1"),
            of(ask, &key[..45]),
            of(ask, &format!("{key}x")),
            of(ask, &pannier.admin_key()),
            ask.clone().with("Authorization", &key),
            ask.clone().with("Authorization", &format!("Basic {key}")),
            Ask { target: format!("{}?api_key={key}&key={key}", ask.target), ..ask.clone() },
        ] {
            is_refused(&pannier.ask(&ask).await, dialect, &what);
        }
    }
    for route in routes() {
        assert_eq!(upstream.count(route.path), 0, "{}", route.path);
    }
    assert_eq!(upstream.strangers().len(), before);
    assert_eq!(upstream.count("/api/blobs/sha256:1") + upstream.count("/api/unknown"), 0);
    let head = pannier.open().await.exchange(&Ask::new("HEAD", "/")).await;
    assert_eq!((head.status(), head.text().as_str()), (401, ""));

    // With it, all are open; and what is remembered is so for those with a key only.
    for (ask, _) in &asks {
        assert_ne!(pannier.ask(&of(ask, &key)).await.status(), 401, "{} {}", ask.method, ask.target);
    }
    let chat = route("/api/chat").ask(false);
    pannier.remembered(&of(&chat, &key)).await;
    is_refused(&pannier.ask(&chat).await, "ollama", "remembered");
    is_refused(&pannier.ask(&of(&chat, "whoever")).await, "ollama", "remembered");

    // A browser asks beforehand, and shows no key; the house has doors of its own.
    let before = Ask::new("OPTIONS", "/api/chat").with("Origin", "http://localhost");
    assert_ne!(pannier.ask(&before).await.status(), 401);
    for target in ["/metrics", "/livez", "/readyz"] {
        pannier.ask(&Ask::get(target)).await.fine();
    }
}

/// One connection may bear many who ask.
#[tokio::test]
async fn a_key_counts_for_its_own_request_only() {
    let upstream = upstream().await;
    let pannier = Launch::before(&upstream).set("auth.mode", "required").start().await;
    let key = make(&pannier, "ann", Value::Null).await;
    let tags = Ask::get("/api/tags");
    let mut wire = pannier.open().await;
    for _ in 0..3 {
        assert_eq!(wire.exchange(&of(&tags, &key)).await.status(), 200);
    }
    assert_eq!(wire.exchange(&tags).await.status(), 401);
}

#[tokio::test]
async fn there_is_one_rule_for_how_a_key_is_presented() {
    let upstream = upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let (ann, ben) = (make(&pannier, "ann", Value::Null).await, make(&pannier, "ben", Value::Null).await);
    for ask in [route("/api/embed").ask(false), Ask::get("/api/tags")] {
        let with = |fields: &[(&str, String)]| {
            fields.iter().fold(ask.clone(), |ask, (name, value)| ask.with(name, value))
        };
        let authorization = |value: String| ("Authorization", value);
        let api_key = |value: &str| ("X-API-Key", value.to_owned());
        let good = [
            with(&[authorization(format!("bearer {ann}"))]),
            with(&[authorization(format!("BEARER   {ann}"))]),
            with(&[authorization(format!("Bearer\t{ann}"))]),
            with(&[api_key(&ann)]),
            with(&[api_key(&ann), authorization(format!("Bearer {ann}"))]),
            with(&[authorization(format!("Bearer {ann}")), authorization(format!("Bearer {ann}"))]),
            with(&[api_key(""), authorization(format!("Bearer {ann}"))]),
            // What is none of Pannier's is none of its business.
            with(&[api_key("one"), authorization("Bearer another".to_owned())]),
            with(&[authorization("Basic YTpi".to_owned())]),
        ];
        for ask in good {
            assert_eq!(pannier.ask(&ask).await.status(), 200, "{:?}", ask.fields);
        }
        let before = upstream.count(&ask.target);
        let bad = [
            with(&[api_key(&ann), authorization(format!("Bearer {ben}"))]),
            with(&[authorization(format!("Bearer {ann}")), authorization(format!("Bearer {ben}"))]),
            with(&[api_key(&ann), authorization("Bearer ollama".to_owned())]),
            with(&[api_key("ollama"), authorization(format!("Bearer {ann}"))]),
            with(&[api_key(&ann), api_key("ollama")]),
            with(&[authorization(ann.clone())]),
            with(&[authorization(format!("Bearer {ann}, Bearer {ben}"))]),
            with(&[api_key(&ann[..45])]),
            Ask { target: format!("{}?key={ann}", ask.target), ..ask.clone() },
            Ask { target: format!("{}?key={ann}", ask.target), ..with(&[api_key(&ann)]) },
        ];
        for ask in bad {
            let reply = pannier.ask(&ask).await;
            assert_eq!(reply.status(), 401, "{:?} {}", ask.fields, ask.target);
            assert!(!reply.text().contains(&ann) && !reply.text().contains(&ben));
        }
        assert_eq!(upstream.count(&ask.target), before);
    }
}

fn dialect(path: &str) -> &'static str {
    match path {
        "/v1/messages" => "anthropic",
        path if path.starts_with("/v1/") => "openai",
        _ => "ollama",
    }
}
