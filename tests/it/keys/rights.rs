//! What a key may use: models, routes, and the management of models (RELIABILITY.md K-07).

use super::*;
use serde_json::json;
use std::collections::BTreeSet;

/// 403 in the route's own dialect.
fn is_forbidden(reply: &Reply, what: &str) {
    assert_eq!((reply.status(), reply.code()), (403, Some("forbidden")), "{what}: {}", reply.text());
    assert!(reply.json()["error"].is_string() || reply.json()["error"]["message"].is_string(), "{what}");
}

/// The status, and what each dialect's own clients tell it by.
#[tokio::test]
async fn what_is_forbidden_is_so_in_the_words_of_the_dialect() {
    let upstream = upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let none = make(&pannier, "none", json!({ "models": ["nothing*"] })).await;
    let dialects: BTreeSet<&str> = routes().iter().map(|route| route.dialect).collect();
    assert_eq!(Vec::from_iter(dialects), ["anthropic", "ollama", "openai"]);
    for route in routes() {
        let reply = pannier.ask(&of(&route.ask(false), &none)).await;
        is_forbidden(&reply, route.path);
        assert_eq!(reply.field("content-type"), Some("application/json"), "{}", route.path);
        let told = reply.json();
        let message = "this API key may not use this model";
        let expected = match route.dialect {
            "anthropic" => json!({
                "type": "error", "error": { "type": "permission_error", "message": message },
                "request_id": reply.field("x-request-id"),
            }),
            "openai" => json!({ "error": {
                "message": message, "type": "invalid_request_error", "param": null, "code": "forbidden",
            }}),
            _ => json!({ "error": message }),
        };
        assert_eq!(told, expected, "{}", route.path);
    }
}

fn model_of(route: &Route) -> String {
    route.body(false)["model"].as_str().expect("a model").to_owned()
}

/// Forbidden on every road, also where it is remembered, under every name, and whether there is such a model or not.
#[tokio::test]
async fn a_model_that_is_not_allowed_is_not_to_be_had() {
    let upstream = upstream().await;
    let pannier = Launch::before(&upstream).set("auth.scope", "shared").start().await;
    let none = make(&pannier, "none", json!({ "models": ["nothing*"] })).await;
    for route in routes() {
        let model = model_of(&route);
        let ask = route.ask(false);
        // It is remembered, in the same scope, for those who may.
        pannier.ask(&ask).await.fine();
        pannier.remembered(&ask).await;
        let before = upstream.count(route.path);
        is_forbidden(&pannier.ask(&of(&ask, &none)).await, route.path);
        for name in [
            &model.to_uppercase(),
            &format!("registry.ollama.ai/library/{model}"),
            &format!("nothing://registry.ollama.ai/library/{model}"),
            &format!("nothing:///library/{model}:local"),
            "unknown",
            "",
        ] {
            let mut body = route.body(false);
            body["model"] = name.into();
            is_forbidden(&pannier.ask(&of(&Ask::post(route.path, &body), &none)).await, name);
        }
        let mut body = route.body(false);
        body.as_object_mut().expect("an object").remove("model");
        is_forbidden(&pannier.ask(&of(&Ask::post(route.path, &body), &none)).await, "no model");
        is_forbidden(&pannier.ask(&of(&Ask::new("POST", route.path).bytes("{"), &none)).await, "no JSON");
        assert_eq!(upstream.count(route.path), before, "{}", route.path);
        let some =
            make(&pannier, &format!("of{}", route.path.replace('/', ".")), json!({ "models": [model] }))
                .await;
        pannier.ask(&of(&ask, &some)).await.fine();
    }
}

#[tokio::test]
async fn what_is_not_allowed_is_not_shown() {
    let upstream = upstream().await;
    upstream.models(&[("a:latest", "1"), ("b:latest", "2"), ("ab:7b", "3")]);
    upstream
        .always("/v1/models", json(200, r#"{"object":"list","data":[{"id":"a:latest"},{"id":"b:latest"}]}"#));
    upstream.always("/api/ps", json(200, r#"{"models":[{"name":"b:latest","model":"b:latest"}]}"#));
    upstream.always("/api/show", json(200, "{}"));
    upstream.always("/v1/models/a", json(200, "{}"));
    upstream.always("/v1/models/b", json(200, "{}"));
    upstream.always("/api/unknown", json(200, "{}"));
    let pannier = Pannier::start(&upstream).await;
    let key = make(&pannier, "ann", json!({ "models": ["a", "ab:*"] })).await;
    let names = async |target: &str, list: &str, name: &str| {
        let told = pannier.ask(&of(&Ask::get(target), &key)).await.fine().json();
        let names = told[list]
            .as_array()
            .expect("a list")
            .iter()
            .map(|entry| entry[name].as_str().unwrap().to_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    assert_eq!(names("/api/tags", "models", "name").await, ["a:latest", "ab:7b"]);
    assert_eq!(names("/v1/models", "data", "id").await, ["a:latest"]);
    assert_eq!(names("/api/ps", "models", "name").await, Vec::<String>::new());
    let head = pannier.ask(&of(&Ask::new("HEAD", "/api/tags"), &key)).await;
    assert_eq!((head.status(), head.text().as_str()), (200, ""));
    let show = |body: Value| of(&Ask::post("/api/show", &body), &key);
    pannier.ask(&show(json!({ "model": "a" }))).await.fine();
    pannier.ask(&of(&Ask::get("/v1/models/a"), &key)).await.fine();
    let shown = (upstream.count("/api/show"), upstream.count("/v1/models/b"));
    for ask in [
        show(json!({ "model": "b" })),
        show(json!({ "name": "b" })),
        show(json!({ "Model": "b" })),
        of(&Ask::new("POST", "/api/show").chunks(&[br#"{"model":"#, br#""b"}"#]), &key),
        of(&Ask::get("/v1/models/b"), &key),
        of(&Ask::get("/v1/models/%62"), &key),
        of(&Ask::get("/api/unknown"), &key),
        of(&Ask::post("/api/unknown", &json!({})), &key),
        of(&Ask::post("/v1/audio/transcriptions", &json!({})), &key),
        of(&Ask::post("/api/copy", &json!({ "source": "b", "destination": "a" })), &key),
        of(&Ask::post("/api/create", &json!({ "model": "a", "from": "b" })), &key),
        of(&Ask::new("DELETE", "/api/delete").bytes(r#"{"model":"a"}"#), &key),
        of(&Ask::new("POST", "/api/blobs/sha256:1").bytes(vec![b'x'; 1 << 20]), &key),
    ] {
        is_forbidden(&pannier.ask(&ask).await, &format!("{} {}", ask.method, ask.target));
    }
    // Forms that are read in one way here, and in another way there.
    let form = |target: &str, fields: &[&str]| {
        let fields: Vec<String> = fields.iter().map(|field| format!("--x\r\n{field}\r\n")).collect();
        let body = fields.concat() + "--x--\r\n";
        of(
            &Ask::new("POST", target).with("Content-Type", "multipart/form-data; boundary=x").bytes(body),
            &key,
        )
    };
    let path = "/v1/audio/transcriptions";
    const A: &str = "Content-Disposition: form-data; name=\"model\"\r\n\r\na";
    const B: &str = "Content-Disposition: form-data; name=\"model\"\r\n\r\nb";
    upstream.always(path, json(200, r#"{"text":"t"}"#));
    pannier.ask(&form(path, &[A])).await.fine();
    for ask in [
        form(path, &[B]),
        form(path, &[A, B]),
        form(&format!("{path}?model=b"), &[A]),
        form(&format!("{path}?%6dodel=b"), &[A]),
        form(&format!("{path}?;model=b"), &[A]),
        form(path, &["Content-Disposition: form-data; name=\"model\"; filename=\"\"\r\n\r\nb", A]),
        form(path, &["Content-Disposition: form-data; name*=utf-8''model\r\n\r\nb", A]),
        form(path, &[&A.replacen("\r\n", "\r\nContent-Transfer-Encoding: quoted-printable\r\n", 1)]),
        form(
            path,
            &[&format!("Content-Disposition: form-data; name=\"model\"\r\n{}", A.replace("model", "x")), A],
        ),
    ] {
        is_forbidden(&pannier.ask(&ask).await, &String::from_utf8_lossy(&ask.raw("h")));
    }
    assert_eq!(upstream.count(path), 1);
    let twice = of(&Ask::new("POST", "/api/show").bytes(r#"{"model":"a","MODEL":"b"}"#), &key);
    assert_eq!(pannier.ask(&twice).await.status(), 400);
    assert_eq!((upstream.count("/api/show"), upstream.count("/v1/models/b")), shown);
    // Nobody else sees less, and the key stays here on this road as on all others.
    assert_eq!(
        pannier.ask(&Ask::get("/api/tags")).await.fine().json()["models"].as_array().unwrap().len(),
        3
    );
    for path in ["/api/tags", "/api/show", "/v1/models", "/v1/models/a"] {
        for visit in upstream.visits(path) {
            assert!(find(&visit.head, &key.as_bytes()[8..]).is_none(), "{path}");
        }
    }
}

#[tokio::test]
async fn routes_and_models_are_limited_for_teams_as_well() {
    let upstream = upstream().await;
    let chat = route("/api/chat");
    let model = model_of(&chat);
    let settings = |teams: &str| {
        format!(
            "[auth]\nkeys = [{{ name = \"bob\", team = \"lab\", key = \"key-of-bob\", routes = [\"/api/*\"] }}]\n\
             teams = [{teams}]\n"
        )
    };
    let routes =
        r#"{ name = "lab", routes = ["/api/chat", "/v1/*"] }, { name = "default", routes = ["/api/tags"] }"#;
    let pannier = Launch::before(&upstream).file(&settings(routes)).start().await;
    let ann = make(&pannier, "ann", json!({ "team": "lab" })).await;
    let eve = make(&pannier, "eve", json!({ "team": "shop", "routes": ["/api/embed", "other"] })).await;
    let ask = chat.ask(false);
    let openai = route("/v1/chat/completions").ask(false);
    let tags = Ask::get("/api/tags");
    for (key, allowed) in [
        ("key-of-bob", [true, false, false]),
        (&ann, [true, true, false]),
        (&eve, [false, false, false]),
        ("whoever", [false, false, true]),
    ] {
        for (ask, allowed) in [&ask, &openai, &tags].into_iter().zip(allowed) {
            let reply = pannier.ask(&of(ask, key)).await;
            assert_eq!(reply.status(), if allowed { 200 } else { 403 }, "{key} {}", ask.target);
            if !allowed {
                is_forbidden(&reply, &ask.target);
            }
        }
    }
    // A team is limited while it is at work: keys of the database and of the settings alike.
    pannier.remembered(&of(&ask, &ann)).await;
    pannier.configure(&settings(r#"{ name = "lab", models = ["nothing"] }"#));
    pannier.signal("HUP");
    eventually("the team has lost its models", || async {
        (pannier.ask(&of(&ask, &ann)).await.status() == 403).then_some(())
    })
    .await;
    eventually("that of the settings has lost them too", || async {
        (pannier.ask(&of(&ask, "key-of-bob")).await.status() == 403).then_some(())
    })
    .await;
    pannier.configure(&settings(&format!(r#"{{ name = "lab", models = ["{model}"] }}"#)));
    pannier.signal("HUP");
    eventually("the team has them again", || async {
        (pannier.ask(&of(&ask, &ann)).await.status() == 200).then_some(())
    })
    .await;
    house(&pannier, "PATCH", "/admin/keys/ann", json!({ "models": ["other*"] })).await.fine();
    is_forbidden(&pannier.ask(&of(&ask, &ann)).await, "of its own");
}

#[tokio::test]
async fn management_is_kept_for_those_who_are_named() {
    let upstream = upstream().await;
    for path in ["/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "/api/signout"] {
        upstream.always(path, json(200, r#"{"status":"success"}"#));
    }
    upstream.always("/api/blobs/sha256:1", whole(201, "text/plain", ""));
    let pannier = Launch::before(&upstream).set("auth.management", r#"["root"]"#).start().await;
    let root = make(&pannier, "root", json!({ "models": ["none"] })).await;
    let ann = make(&pannier, "ann", Value::Null).await;
    for ask in [
        Ask::post("/api/pull", &json!({ "model": "a" })),
        Ask::post("/api/push", &json!({ "model": "a" })),
        Ask::post("/api/create", &json!({ "model": "a" })),
        Ask::post("/api/copy", &json!({ "source": "a" })),
        Ask::new("DELETE", "/api/delete").bytes("{}"),
        Ask::new("POST", "/api/blobs/sha256:1").bytes(vec![b'x'; 1 << 20]),
        Ask::new("POST", "/api/blobs/sha256:1").bytes("x"),
        Ask::new("HEAD", "/api/blobs/sha256:1"),
        Ask::post("/api/signout", &json!({})),
        Ask::post("/api/unknown", &json!({})),
    ] {
        let what = format!("{} {}", ask.method, ask.target);
        for who in [ask.clone(), of(&ask, &ann), of(&ask, "root")] {
            assert_eq!(pannier.ask(&who).await.status(), 403, "{what}");
        }
        assert_ne!(pannier.ask(&of(&ask, &root)).await.status(), 403, "{what}");
    }
    pannier.ask(&of(&Ask::get("/api/tags"), &ann)).await.fine();
}

/// Ollama unescapes a path before it looks for the route.
#[tokio::test]
async fn an_escaped_path_is_no_way_round() {
    let upstream = upstream().await;
    upstream.always("/v1/models/a%2Fb", json(200, "{}"));
    let pannier = Launch::before(&upstream).set("auth.management", r#"["root"]"#).start().await;
    let ann = make(&pannier, "ann", Value::Null).await;
    let before = upstream.strangers().len();
    for (method, target) in [
        ("POST", "/%61pi/blobs/sha256:1"),
        ("HEAD", "/%61pi/blobs/sha256:1"),
        ("POST", "/api%2fblobs%2Fsha256:1"),
        ("DELETE", "/%61pi/user/keys/1"),
        ("POST", "/%61pi/pull"),
        ("POST", "/%61pi/pull/"),
        ("POST", "/%61pi/unknown"),
        ("POST", "/%61pi/chat"),
        ("GET", "/v1/models%2Fa"),
        ("GET", "/%61pi/tags"),
    ] {
        let ask = Ask::new(method, target).bytes("{}");
        assert_eq!(pannier.ask(&of(&ask, &ann)).await.status(), 400, "{method} {target}");
    }
    assert_eq!(upstream.strangers().len(), before);
    // What the name of a model needs is another matter.
    pannier.ask(&of(&Ask::get("/v1/models/a%2Fb"), &ann)).await.fine();
}

#[tokio::test]
async fn limits_are_given_and_seen_on_the_command_line() {
    let upstream = upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let arguments =
        ["keys", "create", "--name", "ann", "--models", "llama3*, qwen2:0.5b", "--routes", "/api/*"];
    let (code, told, said) = command(&pannier, &arguments).await;
    assert!(code == 0 && told.contains("llama3*, qwen2:0.5b") && told.contains("/api/*"), "{told}{said}");
    let (code, told, _) = command(&pannier, &["keys", "change", "ann", "--models", ""]).await;
    assert!(code == 0 && told.contains("all") && !told.contains("llama3"), "{told}");
    let (code, _, said) = command(&pannier, &["keys", "change", "ann", "--routes", "/api/ chat"]).await;
    assert!(code == 1 && said.contains("pattern"), "{code} {said}");
    let made = ["keys", "create", "--name", "bob", "--routes", "/api/cat"];
    for slip in [&made[..], &["keys", "change", "ann", "--routes", "/api/chat,/api/cat"]] {
        let (code, _, said) = command(&pannier, slip).await;
        assert!(code == 1 && said.contains("did you mean `/api/chat`?"), "{code} {said}");
    }
}
