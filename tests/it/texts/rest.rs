//! What goes up, in which calls, and what becomes of errors, of who leaves, and of who waits.

use super::*;
use std::time::{Duration, Instant};

#[tokio::test]
async fn only_what_is_not_known_goes_up() {
    let upstream = embedding_upstream().await;
    let pannier = Launch::before(&upstream).set("cache.database.enabled", "false").start().await;
    check(pannier.ask(&ask("/api/embed", &["a", "b"])).await, &["a", "b"], None);
    pannier.remembered(&ask("/api/embed", &["a", "b"])).await;
    assert_eq!(asked_for(&upstream, "/api/embed"), ["a", "b"]);
    let mixed = ["c", "a", "c", "b", "d", "a"];
    let reply = pannier.ask(&ask("/v1/embeddings", &mixed)).await;
    assert_eq!(reply.cache(), "pannier; fwd=partial; fwd-status=200; ttl=86400; detail=\"2 of 4 known\"");
    assert_eq!(reply.field("content-type"), Some("application/json"));
    check(reply, &mixed, None);
    assert_eq!(asked_for(&upstream, "/v1/embeddings"), ["c", "d"]);
    assert_eq!(asked_for(&upstream, "/api/embed"), ["a", "b"]);

    // All is known now: on either route, in either encoding, in any order.
    let hit = pannier.remembered(&ask("/api/embed", &["d", "c", "b", "a"])).await;
    assert!(hit.cache().starts_with("pannier; hit; ttl=86") && hit.field("age").is_some(), "{}", hit.cache());
    let answer = check(hit, &["d", "c", "b", "a"], None);
    assert_eq!(answer["load_duration"], 900);
    let base64 = json!({ "model": MODEL, "input": mixed, "encoding_format": "base64" });
    let hit = pannier.remembered(&Ask::post("/v1/embeddings", &base64)).await;
    assert!(hit.json()["data"][0]["embedding"].is_string());
    check(hit, &mixed, None);
    let samples = pannier.counts("pannier_llm_tokens_total", &[("type", "input")], 8.0).await;
    assert_eq!(samples.sum("pannier_internal_size", &[("what", "vectors")]), 4.0);
}

/// The oldest route's numbers are others: neither is answered with what the other keeps.
#[tokio::test]
async fn the_oldest_route_keeps_to_itself() {
    let old = route("/api/embeddings");
    let text = old.body(false)["prompt"].as_str().expect("a text").to_owned();
    let new = ask("/api/embed", &[&text]);
    for asks in [[&old.ask(false), &new], [&new, &old.ask(false)]] {
        let upstream = embedding_upstream().await;
        upstream.always(old.path, old.acts(false));
        let pannier = Pannier::start(&upstream).await;
        for ask in asks {
            assert!(!pannier.ask(ask).await.fine().is_hit());
            pannier.remembered(ask).await;
        }
        check(pannier.ask(&new).await, &[&text], None);
        assert_eq!(pannier.ask(&old.ask(false)).await.fine().body(), old.answer);
        assert_eq!((upstream.count("/api/embed"), upstream.count(old.path)), (1, 1));
    }
}

/// What a lone text's answer had cost is told again to the byte.
#[tokio::test]
async fn a_lone_text_comes_back_byte_for_byte() {
    let upstream = embedding_upstream().await;
    let pannier = Pannier::start(&upstream).await;
    for path in ROUTES {
        let ask = ask(path, &[path]);
        let miss = pannier.ask(&ask).await.fine();
        for _ in 0..3 {
            assert_eq!(pannier.remembered(&ask).await.body(), miss.body());
        }
    }
}

#[tokio::test]
async fn single_texts_go_up_in_the_clients_own_body() {
    let upstream = embedding_upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let body = format!(
        r#" {{ "Options" : {{"num_ctx":512}}, "input":["a\u0061", "b"],"keep_alive":"5m","model":"{MODEL}"}}"#
    );
    let packed = zstd::encode_all(body.as_bytes(), 3).expect("pack");
    let plain = Ask::new("POST", "/api/embed").with("Accept-Encoding", "gzip").bytes(body.as_str());
    check(pannier.ask(&plain).await, &["aa", "b"], None);
    let packed = Ask::new("POST", "/v1/embeddings").with("Content-Encoding", "zstd").bytes(packed);
    check(pannier.ask(&packed).await, &["aa", "b"], None);
    for path in ROUTES {
        let mut bodies: Vec<_> = upstream.visits(path).iter().map(|visit| visit.body()).collect();
        bodies.sort();
        let alone = |text: &str| body.replace(r#"["a\u0061", "b"]"#, text);
        assert_eq!(bodies, [alone(r#""a\u0061""#), alone(r#""b""#)], "{path}");
        for visit in upstream.visits(path) {
            assert_eq!((visit.field("accept-encoding"), visit.field("content-encoding")), (None, None));
        }
    }
}

#[tokio::test]
async fn an_error_reads_as_the_upstreams_own_and_loses_nothing_else() {
    let upstream = Upstream::start().await;
    for path in ROUTES {
        upstream.on(path, |visit| match String::from_utf8_lossy(&visit.body()).contains("bad") {
            true => json(400, "{\"error\":\"the input length exceeds the context length\"}"),
            false => embedder::embeds(visit, DIGEST),
        });
    }
    let launch = Launch::before(&upstream).set("cache.database.enabled", "false");
    let pannier = launch.set("embeddings.workers", "1").start().await;
    for path in ROUTES {
        let reply = pannier.ask(&ask(path, &["good", "bad", "never asked for"])).await;
        assert_eq!(reply.status(), 400, "{path}");
        assert_eq!(reply.text(), "{\"error\":\"the input length exceeds the context length\"}");
        assert_eq!(reply.cache(), "pannier; fwd=uri-miss; fwd-status=400", "{path}");
    }
    pannier.remembered(&ask("/api/embed", &["good"])).await;
    assert_eq!(asked_for(&upstream, "/api/embed").iter().filter(|text| *text == "good").count(), 1);
    // The upstream itself is asked about what it will refuse, and in the client's own words.
    let odd = json!({ "model": MODEL, "input": ["good", 1] });
    upstream.always("/api/embed", json(400, "{\"error\":\"invalid input type\"}"));
    assert_eq!(
        pannier.ask(&Ask::post("/api/embed", &odd)).await.text(),
        "{\"error\":\"invalid input type\"}"
    );
    assert_eq!(upstream.visits("/api/embed").last().expect("a visit").body(), odd.to_string());
}

#[tokio::test]
async fn who_leaves_takes_all_texts_along_that_nobody_else_wants() {
    let upstream = Upstream::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    upstream.on("/api/embed", move |visit| match String::from_utf8_lossy(&visit.body()).contains("shared") {
        true => [vec![Act::Wait(held.clone())], embedder::embeds(visit, DIGEST)].concat(),
        false => vec![Act::Hang],
    });
    let pannier = Launch::before(&upstream).set("embeddings.workers", "4").start().await;
    let texts: Vec<_> = (0..200).map(|number| format!("text {number}")).collect();
    let mut texts: Vec<_> = texts.iter().map(String::as_str).collect();
    texts.insert(0, "shared");
    let mut leaving = pannier.open().await;
    leaving.ask(&ask("/api/embed", &texts)).await;
    upstream.visit("/api/embed", 3).await;
    let mut staying = pannier.open().await;
    staying.ask(&ask("/api/embed", &["shared"])).await;
    pannier.counts("pannier_http_requests_in_flight", &[("route", "/api/embed")], 2.0).await;
    pause(300).await;
    drop(leaving);
    let left = Instant::now();
    for visit in upstream.visits("/api/embed") {
        if !String::from_utf8_lossy(&visit.body()).contains("shared") {
            let took = visit.hung_up().await.saturating_duration_since(left);
            assert!(took <= CALLED_OFF, "the upstream saw it after {took:?}");
        }
    }
    gate.open();
    check(staying.reply("POST").await, &["shared"], None);
    // One or two may have come up in the moment in which all of them left.
    let asked = upstream.count("/api/embed");
    assert!(asked <= 6, "{asked}: what was in line was never asked for");
    pannier.counts("pannier_internal_size", &[("what", "text_calls_waiting")], 0.0).await;
    pannier.counts("pannier_internal_size", &[("what", "text_flights")], 0.0).await;
}

#[tokio::test]
async fn a_thousand_texts_do_not_keep_a_single_one_waiting() {
    let upstream = Upstream::start().await;
    upstream.on("/api/embed", |visit| {
        [vec![Act::Pause(Duration::from_millis(100))], embedder::embeds(visit, DIGEST)].concat()
    });
    let pannier = Launch::before(&upstream).set("embeddings.workers", "2").start().await;
    let texts: Vec<_> = (0..1000).map(|number| format!("text {number}")).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    let mut many = pannier.open().await;
    many.ask(&ask("/api/embed", &texts)).await;
    upstream.visit("/api/embed", 10).await;
    // All of the thousand would take fifty seconds.
    for text in ["one", "two", "three"] {
        let begun = Instant::now();
        check(pannier.ask(&ask("/api/embed", &[text])).await, &[text], None);
        assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn several_texts_go_in_one_call_where_that_is_wanted() {
    let upstream = embedding_upstream().await;
    let launch = Launch::before(&upstream).set("embeddings.batch", "8").set("log.hit_sample", "1");
    let pannier = launch.start().await;
    let texts: Vec<_> = (0..20).map(|number| format!("{number}{}", "x".repeat(number))).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    check(pannier.ask(&ask("/api/embed", &texts)).await, &texts, None);
    assert_eq!(upstream.count("/api/embed"), 3);
    assert_eq!(asked_for(&upstream, "/api/embed").len(), 20);
    check(pannier.remembered(&ask("/v1/embeddings", &texts)).await, &texts, None);
    // A single text's share is an estimate, and the log says so.
    let answer = pannier.remembered(&ask("/v1/embeddings", &texts[3..5])).await;
    let id = answer.field("x-request-id").expect("an id").to_owned();
    eventually("its line", || async {
        let log = pannier.stdout();
        let line = log.lines().find(|line| line.contains(&id))?;
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["tokens_source"], "estimated", "{line}");
        Some(())
    })
    .await;
}

#[tokio::test]
async fn a_shorter_vector_is_made_of_a_whole_one() {
    let upstream = embedding_upstream().await;
    for (shorten, asked) in [("on", 1), ("off", 2)] {
        let pannier = Launch::before(&upstream).set("embeddings.shorten", shorten).start().await;
        let before = upstream.count("/api/embed");
        check(pannier.ask(&ask("/api/embed", &["a"])).await, &["a"], None);
        pannier.remembered(&ask("/api/embed", &["a"])).await;
        for (path, dimensions) in [("/api/embed", 5), ("/v1/embeddings", 5), ("/api/embed", 0)] {
            let body = json!({ "model": MODEL, "input": "a", "dimensions": dimensions });
            check(pannier.ask(&Ask::post(path, &body)).await, &["a"], Some(dimensions));
            pannier.remembered(&Ask::post(path, &body)).await;
        }
        let went = upstream.count("/api/embed") - before;
        // Zero is no limit, and so no manner of its own.
        assert!((asked..=asked + 1).contains(&went), "{shorten}: {went}");
    }
}

/// A newer Ollama may say more than is understood: it is passed on, and remembered as a whole.
#[tokio::test]
async fn what_is_not_understood_is_passed_on_as_it_came() {
    let upstream = Upstream::start().await;
    let answer = |texts: usize| {
        let vectors = vec!["[0.5,0.25]"; texts].join(",");
        format!(r#"{{"model":"{MODEL}","embeddings":[{vectors}],"new_in_0.50":[1],"prompt_eval_count":2}}"#)
    };
    upstream.on("/api/embed", move |visit| {
        let body = serde_json::from_slice(&visit.body()).expect("JSON");
        json(200, &answer(embedder::texts(&body).len()))
    });
    let pannier = Pannier::start(&upstream).await;
    let several = ask("/api/embed", &["a", "b", "c"]);
    assert_eq!(pannier.ask(&several).await.fine().text(), answer(3));
    assert_eq!(pannier.remembered(&several).await.text(), answer(3));
    let lone = ask("/api/embed", &["d"]);
    assert_eq!(pannier.ask(&lone).await.fine().text(), answer(1));
    assert_eq!(pannier.remembered(&lone).await.text(), answer(1));
}

#[tokio::test]
async fn directives_are_heeded_text_by_text() {
    let upstream = embedding_upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let both = ask("/api/embed", &["a", "b"]);
    let with = |directive: &str| both.clone().with("Cache-Control", directive);
    assert_eq!(pannier.ask(&with("only-if-cached")).await.status(), 504);
    assert_eq!(upstream.count("/api/embed"), 0);
    check(pannier.ask(&with("no-store")).await, &["a", "b"], None);
    assert_eq!(upstream.count("/api/embed"), 1, "as a whole, and forgotten");
    assert_eq!(pannier.ask(&with("only-if-cached")).await.status(), 504);
    check(pannier.ask(&ask("/api/embed", &["a"])).await, &["a"], None);
    pannier.remembered(&ask("/api/embed", &["a"])).await;
    assert_eq!(pannier.ask(&with("only-if-cached")).await.status(), 504, "only one of them is known");
    let anew = pannier.ask(&with("no-cache")).await;
    assert_eq!(anew.cache(), "pannier; fwd=request; fwd-status=200; ttl=86400; detail=REQUEST");
    check(anew, &["a", "b"], None);
    assert_eq!(asked_for(&upstream, "/api/embed"), ["a", "a", "a", "b", "b"]);
    pannier.remembered(&both).await;
    pause(1100).await;
    let anew = pannier.ask(&with("max-age=1")).await;
    let said = "fwd=request; fwd-status=200; ttl=86400; detail=\"0 of 2 known: TOO-OLD\"";
    assert_eq!(anew.cache(), format!("pannier; {said}"));
    check(anew, &["a", "b"], None);
    assert_eq!(upstream.count("/api/embed"), 6, "both were too old");
    let lone = ask("/api/embed", &["a"]).with("Cache-Control", "min-fresh=86401");
    let lone = pannier.ask(&lone).await;
    assert_eq!(lone.cache(), "pannier; fwd=request; fwd-status=200; ttl=86400; detail=ENDS-SOON");
}

/// A few bytes that ask for many: what would be larger than any answer that is kept is the upstream's to write.
#[tokio::test]
async fn one_text_said_again_and_again_is_no_flood() {
    let upstream = embedding_upstream().await;
    let pannier = Launch::before(&upstream).set("flight.max_recording", "256KiB").start().await;
    for path in ROUTES {
        let few = vec!["a"; 20];
        check(pannier.ask(&ask(path, &few)).await, &few, None);
        let many = vec!["a"; 10_001];
        let unknown = vec![path; 5_000];
        // What is not known is asked for once: then it is clear how long all of it would be.
        for (texts, first) in [(&many[..5_000], 0), (&unknown, 1), (&many, 0)] {
            let asked = upstream.count(path);
            upstream.on(path, |visit| match embedder::body(visit)["input"].as_array() {
                Some(texts) if texts.len() > 1 => json(200, "{}"),
                _ => embedder::embeds(visit, DIGEST),
            });
            let reply = pannier.ask(&ask(path, texts)).await.fine();
            assert_eq!(reply.text(), "{}", "{path}: the upstream's own answer");
            assert_eq!(upstream.count(path), asked + first + 1);
            let whole = upstream.visit(path, asked + first).await.body();
            let question: Value = serde_json::from_slice(&whole).expect("JSON");
            assert_eq!(question["input"], json!(texts), "{path}: the question as it came");
            upstream.on(path, |visit| embedder::embeds(visit, DIGEST));
        }
    }
}
