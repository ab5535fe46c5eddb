//! The cache asked by those who look after it: who may, what is told, and what goes.

use crate::stage::*;
use std::os::unix::fs::PermissionsExt;

const TOP: &str = "/admin/cache/top";

/// On either port.
async fn both(pannier: &Pannier, ask: &Ask) -> [Reply; 2] {
    [pannier.ask(ask).await, Wire::open(pannier.admin).await.exchange(ask).await]
}

#[tokio::test]
async fn the_admin_key_is_made_once_for_its_owner_alone() {
    let upstream = Upstream::start().await;
    let dir = tempfile::TempDir::new().expect("a directory");
    let place = dir.path().join("kept");
    let launch = || Launch::before(&upstream).data_dir(&place);
    let mut first = launch().start().await;
    let key = std::fs::read_to_string(place.join("admin.key")).expect("an admin key");
    assert!(key.starts_with("pannier_admin_") && key.trim_end().len() == 14 + 64, "{key}");
    let mode = std::fs::metadata(place.join("admin.key")).expect("its mode").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    first.signal("INT");
    first.ended().await;
    let again = launch().start().await;
    assert_eq!(std::fs::read_to_string(place.join("admin.key")).expect("an admin key"), key);
    let ask = Ask::get(TOP).with("Authorization", &format!("Bearer {}", key.trim_end()));
    for reply in both(&again, &ask).await {
        reply.fine();
    }
}

#[tokio::test]
async fn what_is_locked_opens_to_the_key_alone_at_both_ports() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let key = pannier.admin_key();
    let locked = |ask: Ask, status: u16| {
        let pannier = &pannier;
        async move {
            for reply in both(pannier, &ask).await {
                assert_eq!(reply.status(), status, "{ask:?}");
                assert_eq!(reply.field("content-type"), Some("application/problem+json"));
                assert_eq!(reply.field("access-control-allow-origin"), None);
            }
        }
    };
    locked(Ask::get(TOP), 401).await;
    locked(Ask::get(TOP).with("X-API-Key", &key[..key.len() - 1]), 401).await;
    locked(Ask::get(&format!("{TOP}?key={key}&admin_key={key}&x-api-key={key}")), 401).await;
    locked(Ask::get(TOP).with("Cookie", &format!("key={key}")), 401).await;
    let mine = || Ask::get(TOP).with("X-API-Key", &key);
    locked(mine().with("Sec-Fetch-Site", "cross-site"), 403).await;
    locked(mine().with("Sec-Fetch-Site", "same-site"), 403).await;
    locked(mine().with("Origin", "http://localhost:1"), 403).await;
    locked(mine().with("Origin", "null"), 403).await;
    for own in [mine(), mine().with("Sec-Fetch-Site", "same-origin")] {
        for reply in both(&pannier, &own).await {
            reply.fine();
        }
    }
    for addr in [pannier.addr, pannier.admin] {
        let own = mine().with("Origin", &format!("http://{addr}"));
        Wire::open(addr).await.exchange(&own).await.fine();
    }
    assert_eq!(upstream.strangers().len(), 0, "nothing of it went on");
}

/// I8: the key stands in no log, no metric and no answer, and never goes upstream.
#[tokio::test]
async fn the_key_stays_here() {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).set("log.level", "trace").start().await;
    let key = pannier.admin_key();
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let bearer = format!("Bearer {key}");
    let alone = |ask: &Ask| {
        [
            ask.clone().with("X-API-Key", &key),
            ask.clone().with("Authorization", &bearer),
            ask.clone().with("Authorization", &format!("bearer  {key} ")),
            ask.clone().with("X-API-Key", &key).with("Authorization", &bearer),
        ]
    };
    // Whoever presents another besides is nobody.
    let mixed = |ask: &Ask| {
        [
            ask.clone().with("X-API-Key", &key).with("Authorization", "Bearer another"),
            ask.clone().with("X-API-Key", "another").with("Authorization", &bearer),
        ]
    };
    let mut answers = Vec::new();
    for ask in [chat.ask(false), Ask::get("/api/tags")].map(|ask| ask.with("Cache-Control", "no-cache")) {
        for ask in alone(&ask) {
            answers.push(pannier.ask(&ask).await.fine());
        }
        for ask in mixed(&ask) {
            answers.push(pannier.ask(&ask).await);
            assert_eq!(answers.last().map(Reply::status), Some(401), "{ask:?}");
        }
    }
    for ask in [Ask::get(TOP), Ask::get("/admin/cache/top?by=luck")] {
        for ask in alone(&ask).into_iter().chain(mixed(&ask)) {
            answers.push(pannier.ask(&ask).await);
        }
    }
    assert_eq!(upstream.count(chat.path), 4);
    for path in [chat.path, "/api/tags"] {
        assert!(upstream.count(path) > 3, "{path}");
        for visit in upstream.visits(path) {
            assert!(find(&visit.head, key.as_bytes()).is_none(), "{}", String::from_utf8_lossy(&visit.head));
        }
    }
    let metrics = pannier.house("/metrics").await.fine().text();
    let said = answers.iter().map(|answer| format!("{:?}{}", answer.head, answer.text())).collect::<String>();
    for text in [pannier.output(), metrics, said] {
        assert!(!text.contains(&key));
    }
}

/// What `pannier` with these arguments says, and its exit code, with the settings of `pannier`.
pub async fn command(pannier: &Pannier, arguments: &[&str]) -> (i32, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_pannier"));
    command
        .stdin(std::process::Stdio::null())
        .env_clear()
        .args(arguments)
        .args(["--admin-listen", &pannier.admin.to_string()]);
    command.arg("--data-dir").arg(&pannier.data_dir);
    let output = within("the command's end", command.output()).await.expect("run pannier");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("an exit code"), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn the_command_line_finds_the_key_and_says_who_does_not_answer() {
    let upstream = Upstream::start().await;
    let mut pannier = Pannier::start(&upstream).await;
    let (code, told, _) = command(&pannier, &["cache", "top"]).await;
    assert!(code == 0 && told.starts_with("tier"), "{told}");
    let (code, told, _) = command(&pannier, &["cache", "top", "--format", "json"]).await;
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert!(code == 0 && told["tiers"].is_array(), "{told}");
    let (code, _, said) = command(&pannier, &["cache", "top", "--admin-key", "sesame"]).await;
    assert!(code == 5 && said.contains("admin key") && !said.contains("sesame"), "{code} {said}");
    let (code, _, said) = command(&pannier, &["cache", "top", "--prefix", "speech"]).await;
    assert!(code == 1 && said.contains("embedding, inference, chat or audio"), "{code} {said}");
    let address = pannier.admin.to_string();
    pannier.signal("KILL");
    pannier.ended().await;
    let (code, _, said) = command(&pannier, &["cache", "top"]).await;
    assert!(code == 4 && said.contains(&address), "{code} {said}");
}
