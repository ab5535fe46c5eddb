//! `pannier cache …`: the real program as the client of a running one.

use crate::ask::command;
use crate::stage::*;
use serde_json::{Value, json};

const CHAT: &str = "/api/chat";

/// With a model, and a database that has answered.
async fn begun() -> (Upstream, Pannier) {
    let upstream = Upstream::start().await;
    for path in [CHAT, "/api/generate", "/api/embed"] {
        let route = route(path);
        upstream.always(path, route.acts(false));
    }
    let pannier = Launch::before(&upstream).set("cache.database.timeout", "5s").start().await;
    pannier.counts("pannier_dependency_up", &[("dep", "database")], 1.0).await;
    (upstream, pannier)
}

/// What a command tells that must work.
async fn told(pannier: &Pannier, arguments: &[&str]) -> String {
    let (code, told, said) = command(pannier, &[&["cache"], arguments].concat()).await;
    assert_eq!(code, 0, "{arguments:?}: {said}");
    told
}

async fn told_as_json(pannier: &Pannier, arguments: &[&str]) -> Value {
    let told = told(pannier, &[arguments, &["--format", "json"]].concat()).await;
    serde_json::from_str(&told).expect("JSON")
}

/// `text` in a file of its own.
fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("write");
    file
}

/// The cells of the row of a table that begins with `name`.
fn row(table: &str, name: &str) -> Vec<String> {
    let line = table.lines().find(|line| line.split("  ").next() == Some(name));
    let cells = line.unwrap_or_else(|| panic!("no {name} in\n{table}")).split("  ").map(str::trim);
    cells.filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn stats_are_a_table_or_json() {
    let (_upstream, pannier) = begun().await;
    let chat = route(CHAT).ask(false);
    pannier.ask(&chat).await.fine();
    pannier.remembered(&chat).await;
    pannier.counts("pannier_cache_calls_total", &[("operation", "chat"), ("result", "hit")], 2.0).await;
    let cache = eventually("it is counted", || async {
        let cache = told_as_json(&pannier, &["stats"]).await;
        (cache["keys"] == 1).then_some(cache)
    })
    .await;
    assert_eq!(cache["hits"], 2, "{cache}");
    let table = told(&pannier, &["stats"]).await;
    let memory = row(&table, "memory");
    assert_eq!((memory[1].as_str(), memory[5].as_str()), ("2", "1"), "{table}");
    let chats: Vec<_> = row(&table, "chat");
    assert_eq!((chats[1].as_str(), chats[4].as_str()), ("2", "1"), "{table}");
    for title in ["tier", "prefix", "operation", "model"] {
        assert!(table.lines().any(|line| line.starts_with(title)), "{title} in\n{table}");
    }
}

#[tokio::test]
async fn clear_removes_what_is_named_and_asks_back_before() {
    let (upstream, pannier) = begun().await;
    let (chat, embed) = (route(CHAT).ask(false), route("/api/embed").ask(false));
    for ask in [&chat, &embed] {
        pannier.ask(ask).await.fine();
        pannier.remembered(ask).await;
    }
    let (code, _, said) = command(&pannier, &["cache", "clear"]).await;
    assert!(code == 1 && said.contains("--yes") && said.contains("everything"), "{code} {said}");
    pannier.remembered(&chat).await;
    let table = told(&pannier, &["clear", "--prefix", "chat", "--yes"]).await;
    assert_eq!(row(&table, "memory"), ["memory", "1"]);
    let known = async |ask: &Ask| {
        pannier.ask(&ask.clone().with("Cache-Control", "only-if-cached")).await.status() == 200
    };
    assert!(!known(&chat).await && known(&embed).await);
    let (code, _, said) = command(&pannier, &["cache", "clear", "--prefix", "speech", "--yes"]).await;
    assert!(code == 1 && said.contains("embedding, inference, chat or audio"), "{code} {said}");
    told(&pannier, &["clear", "--expired"]).await;
    assert!(known(&embed).await, "it is not too old");
    let removed = told_as_json(&pannier, &["clear", "--yes"]).await;
    assert_eq!(removed["message"], "Cleared all cache entries");
    assert!(!known(&embed).await);
    assert_eq!(upstream.count(CHAT), 1);
}

#[tokio::test]
async fn top_lists_what_is_kept() {
    let (_upstream, pannier) = begun().await;
    let chat = route(CHAT).ask(false);
    pannier.ask(&chat).await.fine();
    let table = eventually("it is written", || async {
        let table = told(&pannier, &["top", "--most", "5"]).await;
        table.contains("chat").then_some(table)
    })
    .await;
    assert!(table.starts_with("tier"), "{table}");
    let listed = told_as_json(&pannier, &["top", "--prefix", "chat"]).await;
    let tiers = listed["tiers"].as_array().expect("tiers");
    let entries = tiers.iter().find(|tier| tier["tier"] == "database").expect("a database");
    let key = entries["entries"][0]["key"].as_str().expect("a key");
    assert!(key.len() == 64 && table.contains(key), "{table}");
    let none = told(&pannier, &["top", "--prefix", "inference"]).await;
    assert_eq!(none.lines().count(), 1, "{none}");
}

#[tokio::test]
async fn explain_says_why_of_a_file() {
    let (upstream, pannier) = begun().await;
    let chat = route(CHAT);
    let body = chat.body(false);
    let (same, mut other) = (file(&body.to_string()), body.clone());
    other["options"] = json!({ "temperature": 0.25, "seed": 1 });
    let other = file(&other.to_string());
    let explain = |file: &tempfile::NamedTempFile| file.path().to_string_lossy().into_owned();
    let said = told(&pannier, &["explain", "--path", CHAT, &explain(&same)]).await;
    assert!(said.starts_with("miss:"), "{said}");
    pannier.ask(&chat.ask(false)).await.fine();
    pannier.remembered(&chat.ask(false)).await;
    let said = told(&pannier, &["explain", "--path", CHAT, &explain(&same)]).await;
    assert!(said.starts_with("hit:") && said.contains("memory"), "{said}");
    let said = told(&pannier, &["explain", "--path", CHAT, &explain(&other)]).await;
    assert!(said.starts_with("miss:") && said.contains("options.temperature"), "{said}");
    let told = told_as_json(&pannier, &["explain", "--path", CHAT, &explain(&same)]).await;
    assert_eq!(told["verdict"], "hit", "{told}");
    assert_eq!(upstream.count(CHAT), 1, "nobody was asked");
    let (code, _, said) =
        command(&pannier, &["cache", "explain", "--path", "/api/tags", &explain(&same)]).await;
    assert!(code == 1 && said.contains("path"), "{code} {said}");
}

#[tokio::test]
async fn warm_asks_what_is_not_known() {
    let (upstream, pannier) = begun().await;
    let line = |path: &str| json!({ "path": path, "body": route(path).body(false) }).to_string();
    let requests = file(&[line(CHAT), String::new(), line("/api/generate")].join("\n"));
    let requests = requests.path().to_string_lossy().into_owned();
    let count = |told: &Value, what: &str| told[what].as_u64().expect("a number");
    let dry = told_as_json(&pannier, &["warm", "--dry-run", &requests]).await;
    assert_eq!((count(&dry, "unknown"), upstream.count(CHAT)), (2, 0), "{dry}");
    let warmed = told_as_json(&pannier, &["warm", &requests]).await;
    assert_eq!((count(&warmed, "asked"), upstream.count(CHAT)), (2, 1), "{warmed}");
    pannier.remembered(&route(CHAT).ask(false)).await;
    pannier.remembered(&route("/api/generate").ask(false)).await;
    let table = told(&pannier, &["warm", &requests]).await;
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("known") && lines[1].trim_start().starts_with('2'), "{table}");
    upstream.always(CHAT, json_error());
    let other = file(
        &json!({ "path": CHAT, "body": { "model": route(CHAT).body(false)["model"],
        "messages": [{ "role": "user", "content": "another" }] } })
        .to_string(),
    );
    let (code, _, said) = command(&pannier, &["cache", "warm", &other.path().to_string_lossy()]).await;
    assert!(code == 1 && said.contains("1 failed"), "{code} {said}");
    let nonsense = file("{\"path\": ");
    let (code, _, said) = command(&pannier, &["cache", "warm", &nonsense.path().to_string_lossy()]).await;
    assert!(code == 1 && said.contains("line 1 is not JSON"), "{code} {said}");
}

fn json_error() -> Vec<Act> {
    crate::stage::json(500, r#"{"error":"it is on fire"}"#)
}

#[tokio::test]
async fn one_entry_is_shown_and_all_are_exported_to_be_asked_again() {
    let (upstream, pannier) = begun().await;
    for path in [CHAT, "/api/embed"] {
        let ask = route(path).ask(false);
        pannier.ask(&ask).await.fine();
        pannier.remembered(&ask).await;
    }
    let exported = |text: &str| -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let lines = eventually("both are written", || async {
        let lines = exported(&told(&pannier, &["export", "--answers"]).await);
        (lines.len() == 2).then_some(lines)
    })
    .await;
    let chat = lines.iter().find(|line| line["prefix"] == "chat").expect("a chat");
    assert_eq!((&chat["tier"], &chat["question"]["path"]), (&json!("database"), &json!(CHAT)));
    assert_eq!(chat["question"]["body"], route(CHAT).body(false));
    assert_eq!(chat["answer"].as_str().map(str::as_bytes), Some(&route(CHAT).answer[..]));
    let embed = lines.iter().find(|line| line["prefix"] == "embedding").expect("a vector");
    assert!(embed["answer"]["numbers"].as_array().is_some_and(|numbers| !numbers.is_empty()), "{embed}");

    let key = chat["key"].as_str().expect("a key");
    let shown = told_as_json(&pannier, &["show", key]).await;
    let tiers: Vec<_> = shown["tiers"].as_array().expect("tiers").iter().map(|tier| &tier["tier"]).collect();
    assert_eq!((tiers, shown.get("answer")), (vec![&json!("memory"), &json!("database")], None));
    assert_eq!((&shown["tiers"][0]["hits"], &shown["question"]["path"]), (&json!(2), &json!(CHAT)));
    // Of the memory's own hits the tiers below are told later.
    let top = told_as_json(&pannier, &["top", "--prefix", "chat"]).await;
    let tiers = top["tiers"].as_array().expect("tiers");
    let hits: Vec<_> = tiers.iter().map(|tier| (&tier["tier"], &tier["entries"][0]["hits"])).collect();
    assert_eq!(hits, [(&json!("memory"), &json!(2)), (&json!("database"), &json!(0))], "{top}");
    for tier in tiers {
        let [entry] = tier["entries"].as_array().expect("entries").as_slice() else { panic!("{tier}") };
        assert_eq!((&entry["key"], &entry["model"]), (&json!(key), &chat["model"]), "{tier}");
    }
    let table = told(&pannier, &["show", key, "--answer"]).await;
    assert!(
        table.starts_with("tier") && table.contains("asked   /api/chat") && table.contains("answer  "),
        "{table}"
    );
    let (code, _, said) = command(&pannier, &["cache", "show", &"0".repeat(64)]).await;
    assert!(code == 1 && said.contains("no tier has an entry"), "{code} {said}");
    let (code, _, said) = command(&pannier, &["cache", "show", "a key"]).await;
    assert!(code == 1 && said.contains("64 hexadecimal digits"), "{code} {said}");

    let place = pannier.data_dir.join("exported.jsonl");
    let place = place.to_string_lossy();
    told(&pannier, &["export", "--requests", "-o", &place]).await;
    told(&pannier, &["clear", "--yes"]).await;
    let warmed = told_as_json(&pannier, &["warm", &place]).await;
    assert_eq!(warmed["asked"], 2, "{warmed}");
    assert_eq!(upstream.count(CHAT), 2);
    assert!(told(&pannier, &["export", "--prefix", "inference"]).await.is_empty());
}

#[tokio::test]
async fn without_a_tier_the_memory_is_exported() {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).set("cache.database.enabled", "false").start().await;
    let chat = route(CHAT);
    upstream.always(CHAT, chat.acts(false));
    pannier.ask(&chat.ask(false)).await.fine();
    pannier.remembered(&chat.ask(false)).await;
    let top = told_as_json(&pannier, &["top"]).await;
    assert_eq!(top["tiers"].as_array().map(Vec::len), Some(1), "{top}");
    assert_eq!(top["tiers"][0]["entries"][0]["hits"], 2, "{top}");
    assert_eq!(told_as_json(&pannier, &["top", "--team", "nobody"]).await["tiers"][0]["entries"], json!([]));
    let line: Value = serde_json::from_str(&told(&pannier, &["export"]).await).expect("one line");
    assert_eq!((&line["tier"], &line["question"]["path"]), (&json!("memory"), &json!(CHAT)));
    let key = line["key"].as_str().expect("a key");
    let place = format!("/admin/cache/entries/{key}");
    let removed = pannier.administer(Ask::new("DELETE", &place)).await.fine().json();
    assert_eq!((&removed["status"], &removed["deleted"]), (&json!("success"), &json!(1)), "{removed}");
    assert_eq!(pannier.administer(Ask::get(&place)).await.status(), 404);
    assert!(told(&pannier, &["export"]).await.is_empty());
    assert_eq!(pannier.administer(Ask::new("DELETE", &place)).await.fine().json()["deleted"], 0);
}

/// A question may be written in several lines, as people do who write it by hand; what is told of it is one.
#[tokio::test]
async fn a_question_of_several_lines_is_exported_as_one() {
    let (upstream, pannier) = begun().await;
    let body = serde_json::to_string_pretty(&route(CHAT).body(false)).expect("JSON").replace('\n', "\r\n");
    assert!(body.lines().count() > 5);
    let ask = Ask::new("POST", CHAT).bytes(body);
    pannier.ask(&ask).await.fine();
    pannier.remembered(&ask).await;
    let line = eventually("it is written", || async {
        let told = told(&pannier, &["export"]).await;
        (!told.is_empty()).then_some(told)
    })
    .await;
    let line: Value = serde_json::from_str(&line).expect("one line");
    assert_eq!(line["question"]["body"], route(CHAT).body(false));
    let raw = pannier.administer(Ask::get("/admin/cache/export")).await.fine().text();
    let lines: Vec<Value> = raw.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2, "of the one entry, and of the end: {raw}");
    assert_eq!(lines[1]["done"], true);
    assert_eq!(upstream.count(CHAT), 1);
}

#[tokio::test]
async fn a_reader_who_has_had_enough_is_no_fault() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_pannier"));
    command.arg("config").env_clear().stdout(writer).stderr(std::process::Stdio::piped());
    let child = command.spawn().expect("start pannier");
    let ended = within("the command to end", child.wait_with_output()).await.expect("output");
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}
