//! A key stays with its owner (RELIABILITY.md I8, K-01, K-03, K-09).

use super::*;
use serde_json::json;
use servers::Postgres;

/// What digests are made with, and entries are sealed with.
const PEPPER: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Neither upstream nor in any log, metric, error or file, whatever is done with it.
#[tokio::test]
async fn a_key_is_seen_once() {
    let upstream = upstream().await;
    upstream.always("/api/unknown", json(200, "{}"));
    let mut pannier =
        Launch::before(&upstream).set("log.level", "trace").set("log.hit_sample", "1").start().await;
    let key = make(&pannier, "ann", json!({ "team": "lab" })).await;
    let secret = &key[14..];
    let mut said = String::new();
    let asks = [
        route("/api/chat").ask(true),
        route("/v1/embeddings").ask(false),
        route("/v1/messages").ask(false),
        Ask::get("/api/tags"),
        Ask::get("/api/unknown"),
        Ask::new("POST", "/api/blobs/sha256:1").bytes(vec![b'x'; 1 << 20]),
        Ask::get("/admin/keys"),
        Ask::get("/admin/keys/ann"),
        Ask::new("POST", "/admin/keys").bytes(json!({ "name": key }).to_string()),
    ];
    for ask in &asks {
        for ask in [
            of(ask, &key),
            ask.clone().with("x-api-key", &key),
            ask.clone().with("Authorization", &key),
            of(ask, &format!("{key}{key}")),
            of(ask, &key).with("Connection", "keep-alive, Authorization"),
            Ask { target: format!("{}?key={key}", ask.target), ..ask.clone() },
        ] {
            let reply = pannier.ask(&ask).await;
            said += &format!("{:?}{}", reply.head, reply.text());
        }
    }
    for target in ["/admin/keys", "/admin/keys/ann"] {
        said += &house(&pannier, "GET", target, Value::Null).await.fine().text();
    }
    said += &house(&pannier, "PATCH", "/admin/keys/ann", json!({ "key": key })).await.text();
    said += &pannier.house("/metrics").await.fine().text();
    pannier.signal("TERM");
    pannier.ended().await;
    said += &pannier.output();
    assert!(said.contains("ann") && !said.contains(secret));

    let visits = ["/api/chat", "/v1/embeddings", "/v1/messages", "/api/tags", "/api/unknown"];
    let visits: Vec<_> = visits.iter().flat_map(|path| upstream.visits(path)).collect();
    assert!(visits.len() > 8, "{}", visits.len());
    for visit in visits {
        assert!(find(&visit.head, secret.as_bytes()).is_none(), "{}", String::from_utf8_lossy(&visit.head));
    }
    let mut files = 0;
    for folder in [pannier.data_dir.clone(), pannier.data_dir.join("spool")] {
        for file in std::fs::read_dir(folder).expect("a directory").flatten() {
            if file.path().is_file() {
                let kept = std::fs::read(file.path()).expect("a file");
                assert!(find(&kept, secret.as_bytes()).is_none(), "{:?}", file.file_name());
                files += 1;
            }
        }
    }
    assert!(files > 3);
}

/// What is stolen from the database opens nothing: neither a digest, nor the file beside another secret.
#[tokio::test]
async fn what_the_database_holds_opens_nothing() {
    let upstream = upstream().await;
    let mut pannier = Launch::before(&upstream).set("auth.mode", "required").start().await;
    let key = make(&pannier, "ann", Value::Null).await;
    pannier.signal("TERM");
    pannier.ended().await;
    let pepper = std::fs::read_to_string(pannier.data_dir.join("keys.secret")).expect("a pepper");
    let pepper: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&pepper[2 * at..2 * at + 2], 16).unwrap()).collect();
    let digest = blake3::keyed_hash(pepper.as_slice().try_into().unwrap(), key.as_bytes());
    let kept = std::fs::read(pannier.data_dir.join("pannier.db")).expect("a database");
    assert!(find(&kept, digest.as_bytes()).is_some(), "that is what is kept of a key, and it was closed");

    let again = Launch::before(&upstream).set("auth.mode", "required").data_dir(&pannier.data_dir);
    let mut again = again.start().await;
    let chat = route("/api/chat").ask(false);
    again.ask(&of(&chat, &key)).await.fine();
    let hex = digest.to_hex().to_string();
    for stolen in [hex.clone(), format!("pannier_{hex}"), format!("pannier_{}", &hex[..38])] {
        assert_eq!(again.ask(&of(&chat, &stolen)).await.status(), 401);
    }
    let raw = [
        b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nX-API-Key: ",
        &digest.as_bytes()[..],
    ];
    let mut wire = again.open().await;
    wire.send(&[&raw.concat()[..], b"\r\n\r\n"].concat()).await;
    assert!([400, 401].contains(&wire.reply("POST").await.status()));
    again.signal("TERM");
    again.ended().await;

    // With another secret the same file is not taken for what it is not.
    std::fs::write(pannier.data_dir.join("keys.secret"), "ab".repeat(32)).expect("another secret");
    let other =
        Launch::before(&upstream).set("auth.mode", "required").data_dir(&pannier.data_dir).start().await;
    assert_eq!(other.ask(&of(&chat, &key)).await.status(), 503);
    assert_eq!(house(&other, "POST", KEYS, json!({ "name": "eve" })).await.status(), 503);
    assert!(other.output().contains("store.pepper"));
}

/// I8: no key, nothing that was asked and nothing that was answered stands in the database or on the disk.
#[tokio::test]
async fn nothing_of_what_was_said_is_in_a_dump() {
    const CANARIES: [&str; 5] =
        ["canary-question", "canary-answer", "canary-error", "canary-header", "canary-picture"];
    let server = Postgres::start();
    for server in [None, server.as_ref()].into_iter().take(1 + usize::from(server.is_some())) {
        let upstream = upstream().await;
        let chat = route("/api/chat");
        let answer = String::from_utf8_lossy(&chat.answer).replace("glad", "canary-answer").into_bytes();
        upstream.always("/api/chat", whole(200, chat.content_type, answer));
        upstream.always("/api/generate", json(500, r#"{"error":"canary-error: canary-question"}"#));
        let launch = Launch::before(&upstream).set("cache.tiers.secret", PEPPER);
        let launch = match server {
            Some(server) => {
                let launch = launch.set("store.database", &server.url()).set("store.pepper", PEPPER);
                launch.set("cache.database.url", &server.url())
            }
            None => launch,
        };
        let mut pannier = launch.start().await;
        let key = make(&pannier, "ann", json!({ "team": "lab" })).await;
        let body = |mut body: Value| {
            body["messages"] = json!([{ "role": "user", "content": "canary-question",
                                        "images": ["Y2FuYXJ5LXBpY3R1cmU="] }]);
            body["prompt"] = "canary-question".into();
            body
        };
        for path in ["/api/chat", "/api/generate", "/api/chat"] {
            let ask = Ask::post(path, &body(route(path).body(false))).with("X-Whatever", "canary-header");
            pannier.ask(&of(&ask, &key)).await;
        }
        eventually("all of it is in the books", || async {
            let told = house(&pannier, "GET", "/usage?by=", Value::Null).await.fine().json();
            (told["total"]["requests"] == 3).then_some(())
        })
        .await;
        let admin = pannier.admin_key();
        pannier.signal("TERM");
        pannier.ended().await;
        let mut kept: Vec<_> =
            files(&pannier.data_dir).into_iter().filter(|file| !file.ends_with("admin.key")).collect();
        kept.sort();
        let mut kept: Vec<u8> = kept.iter().flat_map(|file| std::fs::read(file).expect("a file")).collect();
        kept.extend(server.iter().flat_map(|server| server.dump()));
        assert!(find(&kept, b"ann").is_some() && find(&kept, b"lab").is_some());
        if let Some(server) = server {
            assert_ne!(server.ask("SELECT count(*) FROM pannier_cache"), "0", "an answer is kept, sealed");
        }
        let secrets = CANARIES.into_iter().chain([&key[14..], &admin[14..], "Y2FuYXJ5LXBpY3R1cmU="]);
        for secret in secrets {
            assert!(find(&kept, secret.as_bytes()).is_none(), "{secret} is kept");
        }
    }
}

/// All files below a folder.
fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    let (folders, mut all): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    all.extend(folders.iter().flat_map(|folder| files(folder)));
    all
}
