//! A memory that is right: what makes two requests the same, who may share, what is never kept.

mod fields;
mod identity;
mod keeping;
mod scopes;

use crate::stage::*;
use serde_json::Value;

/// A stage where one route answers in the mode it is asked in.
async fn stage_with(path: &str) -> (Upstream, Pannier, Route) {
    let upstream = Upstream::start().await;
    let route = route(path);
    let script = route.clone();
    upstream.on(route.path, move |visit| script.reply_to(visit));
    let pannier = Pannier::start(&upstream).await;
    (upstream, pannier, route)
}

/// Whether `ask` goes upstream.
async fn goes_up(upstream: &Upstream, pannier: &Pannier, ask: &Ask) -> bool {
    let path = ask.target.split('?').next().unwrap_or_default();
    let before = upstream.count(path);
    let reply = pannier.ask(ask).await.fine();
    let went = upstream.count(path) > before;
    assert_eq!(reply.is_hit(), !went, "Cache-Status tells the truth: {}", reply.cache());
    went
}

#[tokio::test]
async fn all_nine_routes_are_remembered_in_each_mode() {
    for route in routes() {
        let (upstream, pannier, route) = stage_with(route.path).await;
        for (nth, &streamed) in route.modes().iter().enumerate() {
            let miss = pannier.ask(&route.ask_apart(streamed)).await.fine();
            assert!(
                miss.cache().contains("fwd=uri-miss") || miss.cache().contains("fwd=miss"),
                "{}",
                miss.cache()
            );
            assert!(!miss.cache().contains("stored"), "nobody knows yet: {}", miss.cache());
            assert_eq!(miss.field("age"), None, "a fresh answer has no age");
            let hit = pannier.remembered(&route.ask_apart(streamed)).await;
            let what = format!("{} streamed {streamed}", route.path);
            assert_eq!(upstream.count(route.path), nth + 1, "{what}");
            assert!(hit.is_hit(), "{what}: {}", hit.cache());
            assert!(!hit.cache().contains("fwd"), "hit and fwd exclude each other: {}", hit.cache());
            assert!(hit.cache().contains("ttl="), "{what}: {}", hit.cache());
            assert!(
                hit.field("age").is_some_and(|age| age.parse::<u64>().is_ok_and(|age| age < 10)),
                "{what}"
            );
            assert_eq!(hit.field("content-type"), miss.field("content-type"), "{what}");
            assert_eq!(hit.field("cache-control"), miss.field("cache-control"), "{what}");
            assert_ne!(hit.field("date"), Some("Fri, 20 Nov 2026 21:04:43 GMT"), "{what}: a fresh Date");
            assert_eq!(hit.body().len(), miss.body().len(), "{what}");
            assert_eq!(without_fresh(&hit.text()), without_fresh(&miss.text()), "{what}");
        }
    }
}

/// An answer's text with all that a replay makes fresh blanked out.
fn without_fresh(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    let names = ["\"created_at\":", "\"created\":", "\"completed_at\":", "\"id\":", "\"item_id\":"];
    while let Some((at, name)) = names.iter().filter_map(|n| rest.find(n).map(|at| (at, n))).min() {
        let (before, after) = rest.split_at(at + name.len());
        let end = after.find([',', '}']).expect("a value's end");
        out.push_str(before);
        rest = &after[end..];
    }
    out + rest
}

#[tokio::test]
async fn replays_are_fresh_where_clients_look() {
    let now =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();

    let (_upstream, pannier, chat) = stage_with("/api/chat").await;
    let before = now();
    pannier.ask(&chat.ask(true)).await.fine();
    let lines = pannier.remembered(&chat.ask(true)).await.text();
    let mut last = String::new();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        let created = line["created_at"].as_str().expect("created_at").to_owned();
        assert!(created.ends_with('Z') && created.len() <= 30, "{created}");
        let whole = format!("{}Z", &created[..19]);
        let seconds = seconds_of(&whole);
        assert!((before..=now() + 1).contains(&seconds), "{created} is not now");
        assert!(created[..19] >= *last.as_str(), "time runs forward");
        last = created[..19].to_owned();
    }
    let durations: Value = serde_json::from_str(lines.lines().last().expect("lines")).expect("JSON");
    assert_eq!(durations["eval_duration"], 204095000, "what it had cost stays");

    for (path, id, created) in [
        ("/v1/chat/completions", "chatcmpl-", "created"),
        ("/v1/completions", "cmpl-", "created"),
        ("/v1/responses", "resp_", "created_at"),
        ("/v1/messages", "msg_", ""),
    ] {
        let (_upstream, pannier, route) = stage_with(path).await;
        let first = pannier.ask(&route.ask(false)).await.fine().json();
        let replays =
            [pannier.remembered(&route.ask(false)).await.json(), pannier.ask(&route.ask(false)).await.json()];
        for replay in &replays {
            let new_id = replay["id"].as_str().expect("an id");
            assert!(
                new_id.starts_with(id) && new_id.len() == first["id"].as_str().expect("an id").len(),
                "{new_id}"
            );
            if !created.is_empty() {
                let at = replay[created].as_u64().expect("seconds");
                assert!((before..=now() + 1).contains(&at), "{path}: {at} is not now");
            }
            assert_eq!(replay["usage"], first["usage"], "{path}");
        }
        if path != "/v1/completions" && path != "/v1/chat/completions" {
            assert_ne!(replays[0]["id"], replays[1]["id"], "{path}: two answers, two ids");
        }

        // In a stream each id is one and the same from its first event to its last.
        pannier.ask(&route.ask(true)).await.fine();
        let stream = pannier.remembered(&route.ask(true)).await.text();
        let mut ids: Vec<_> =
            stream.split(id).skip(1).map(|rest| rest.split('"').next().expect("an end")).collect();
        ids.dedup();
        assert_eq!(ids.len(), 1, "{path}: {ids:?}");
    }
}

/// Seconds since 1970 of `YYYY-MM-DDTHH:MM:SSZ`.
fn seconds_of(text: &str) -> u64 {
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().expect("a number");
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    // Days from the civil calendar, the year starting in March.
    let shifted = if month < 3 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + of_year - 719_468;
    (days * 86_400 + number(11..13) * 3600 + number(14..16) * 60 + number(17..19)) as u64
}

#[test]
fn seconds_of_known_dates() {
    assert_eq!(seconds_of("1970-01-01T00:00:00Z"), 0);
    assert_eq!(seconds_of("2026-11-20T21:04:52Z"), 1795208692);
    assert_eq!(seconds_of("2024-02-29T12:00:01Z"), 1709208001);
}

/// C-26: what was told in one mode answers in the other as well, down both ways, and nobody is asked again.
#[tokio::test]
async fn either_mode_answers_for_both_and_their_defaults_are_known() {
    for path in ["/api/generate", "/api/chat", "/v1/chat/completions", "/v1/completions", "/v1/messages"] {
        for first in [false, true] {
            let (upstream, pannier, route) = stage_with(path).await;
            let by_default = route.dialect == "ollama";
            let mut unsaid = route.body(by_default);
            unsaid.as_object_mut().expect("an object").remove("stream");
            pannier.ask(&route.ask(first)).await.fine();
            pannier.remembered(&route.ask(first)).await;
            for _ in 0..3 {
                let other = pannier.ask(&route.ask(!first)).await.fine();
                assert!(other.is_hit(), "{path} {first}: {}", other.cache());
                let streams = other.field("content-type").is_some_and(|kind| !kind.contains("/json"));
                assert_eq!(streams, !first, "{path}: {:?}", other.head);
                assert!(other.text().contains("glad"), "{path}: {}", other.text());
            }
            assert!(
                !goes_up(&upstream, &pannier, &Ask::post(path, &unsaid)).await,
                "{path}: unsaid is {by_default}"
            );
            let same = pannier.ask(&route.ask(first)).await.fine();
            assert_eq!(
                without_fresh(&same.text()),
                without_fresh(&String::from_utf8_lossy(&route.bytes(first)))
            );
        }
    }
}
