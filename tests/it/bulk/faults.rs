//! What goes wrong: one text, the upstream, the client, the request itself.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[tokio::test]
async fn one_bad_text_loses_nothing_else() {
    let upstream = embedding_upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let texts = ["a", "bad", "b", "bad", "c"];
    let reply = pannier.ask(&ask(&texts)).await;
    let error = reply.json()["errors"][0].clone();
    let said = json!({
        "index": 1, "error": "the input length exceeds the context length", "code": "refused", "status": 400,
    });
    assert_eq!(error, said);
    Told::read(reply).check(&texts, 0);
    // What is no text at all is told in the same way, and nobody is asked about it.
    let odd = json!({ "model": MODEL, "texts": [1, "a", null, "d"], "stream": true });
    let told = Told::read(pannier.ask(&Ask::post(BATCH, &odd)).await);
    let vector = |text| Ok(embedder::vector(text, DIGEST, None));
    let no_text = || Err("bad_text".to_owned());
    assert_eq!(told.fates, [no_text(), vector("a"), no_text(), vector("d")]);
    assert_eq!(asked_for(&upstream), ["a", "b", "bad", "c", "d"]);
}

#[tokio::test]
async fn where_nothing_comes_of_any_text_that_is_the_answer() {
    let upstream = embedding_upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let refused = pannier.ask(&ask(&["bad", "bad too"])).await;
    assert_eq!(refused.status(), 400);
    let said = json!({ "error": "the input length exceeds the context length", "code": "refused" });
    assert_eq!(refused.json(), said);
    // For two reasons: each is told by its number.
    let body = json!({ "model": MODEL, "texts": ["bad", 1] });
    let told = Told::read(pannier.ask(&Ask::post(BATCH, &body)).await);
    assert_eq!(told.fates, [Err("refused".to_owned()), Err("bad_text".to_owned())]);
    // In lines each always is.
    let told = Told::read(pannier.ask(&ask(&["bad"]).with("Accept", LINES)).await);
    assert_eq!((&told.sums["failed"], &told.sums["succeeded"]), (&json!(1), &json!(0)));
    let none = Told::read(pannier.ask(&ask(&[])).await);
    assert_eq!((none.fates.len(), &none.sums["count"]), (0, &json!(0)));
}

#[tokio::test]
async fn an_unknown_model_is_not_asked_about_for_every_text() {
    let upstream = Upstream::start().await;
    upstream
        .always("/api/embed", json(404, r#"{"error":"model \"nobody\" not found, try pulling it first"}"#));
    let pannier = Launch::before(&upstream).set("embeddings.workers", "2").start().await;
    let body = json!({ "model": "nobody", "texts": numbered(500) });
    let reply = pannier.ask(&Ask::post(BATCH, &body)).await;
    assert_eq!(reply.status(), 404);
    let said = json!({ "error": "model \"nobody\" not found, try pulling it first", "code": "refused" });
    assert_eq!(reply.json(), said);
    assert!(upstream.count("/api/embed") < 20, "{}", upstream.count("/api/embed"));
}

#[tokio::test]
async fn an_upstream_that_dies_midway_loses_only_what_it_had_not_answered() {
    let mut upstream = Upstream::start().await;
    upstream.on("/api/embed", |visit| {
        [vec![Act::Pause(Duration::from_millis(2))], embedder::embeds(visit, DIGEST)].concat()
    });
    let pannier = Launch::before(&upstream).set("embeddings.workers", "2").start().await;
    let texts = numbered(2000);
    let texts = borrowed(&texts);
    let mut wire = pannier.open().await;
    wire.ask(&ask(&texts).with("Accept", LINES)).await;
    upstream.visit("/api/embed", 100).await;
    upstream.stop().await;
    let told = Told::read(wire.reply("POST").await);
    assert_eq!(told.fates.len(), 2000);
    let good = told.fates.iter().take_while(|fate| fate.is_ok()).count();
    assert!((20..2000).contains(&good), "{good}");
    for (fate, text) in told.fates.iter().zip(&texts) {
        match fate {
            Ok(vector) => assert_eq!(*vector, embedder::vector(text, DIGEST, None), "{text}"),
            Err(code) => {
                let codes = ["upstream_unreachable", "upstream_aborted", "model_changed"];
                assert!(codes.contains(&code.as_str()), "{code}");
            }
        }
    }
    let failed = told.fates.iter().filter(|fate| fate.is_err()).count();
    assert_eq!(told.sums["failed"], json!(failed));
}

#[tokio::test]
async fn a_model_that_changes_midway_ends_the_batch_with_its_own_vectors() {
    let upstream = Upstream::start().await;
    let other = "0".repeat(64);
    let digest = Arc::new(Mutex::new(DIGEST.to_owned()));
    let shown = digest.clone();
    upstream.on("/api/embed", move |visit| {
        let digest = shown.lock().expect("digest").clone();
        [vec![Act::Pause(Duration::from_millis(5))], embedder::embeds(visit, &digest)].concat()
    });
    let pannier = Launch::before(&upstream).set("embeddings.workers", "2").start().await;
    let texts = numbered(1000);
    let texts = borrowed(&texts);
    let mut wire = pannier.open().await;
    wire.ask(&ask(&texts)).await;
    upstream.visit("/api/embed", 50).await;
    {
        let mut digest = digest.lock().expect("digest");
        upstream.models(&[(MODEL, &other)]);
        digest.clone_from(&other);
    }
    let told = Told::read(wire.reply("POST").await);
    let good = told.fates.iter().take_while(|fate| fate.is_ok()).count();
    assert!((1..1000).contains(&good), "{good}");
    for (fate, text) in told.fates.iter().zip(&texts) {
        match fate {
            Ok(vector) => assert_eq!(*vector, embedder::vector(text, DIGEST, None), "{text}"),
            Err(code) => assert_eq!(code, "model_changed"),
        }
    }
}

#[tokio::test]
async fn who_leaves_calls_the_rest_off() {
    let upstream = Upstream::start().await;
    // The first text is answered, and whatever is asked for before it; nothing after.
    let (is_told, hanging) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let (told, hangs) = (is_told.clone(), hanging.clone());
    upstream.on("/api/embed", move |visit| {
        let is_first = String::from_utf8_lossy(&visit.body()).contains("text 0");
        if is_first || !told.load(Ordering::SeqCst) {
            told.fetch_or(is_first, Ordering::SeqCst);
            return embedder::embeds(visit, DIGEST);
        }
        hangs.lock().expect("numbers").push(visit.nth);
        vec![Act::Hang]
    });
    for accept in [LINES, "application/json"] {
        let pannier = Launch::before(&upstream).set("embeddings.workers", "4").start().await;
        is_told.store(false, Ordering::SeqCst);
        hanging.lock().expect("numbers").clear();
        let hanging = || hanging.lock().expect("numbers").clone();
        let texts = numbered(200);
        let mut leaving = pannier.open().await;
        leaving.ask(&ask(&borrowed(&texts)).with("Accept", accept)).await;
        eventually("some are under way", || async { (!hanging().is_empty()).then_some(()) }).await;
        leaving.head("POST").await;
        pause(50).await;
        drop(leaving);
        let left = Instant::now();
        for nth in hanging() {
            let took = upstream.visits("/api/embed")[nth].hung_up().await.saturating_duration_since(left);
            assert!(took <= CALLED_OFF, "the upstream saw it after {took:?}");
        }
        let asked = hanging().len();
        assert!(asked <= 6, "{asked}: what was in line was never asked for");
        for what in ["text_calls_waiting", "text_flights", "held_body_bytes"] {
            pannier.counts("pannier_internal_size", &[("what", what)], 0.0).await;
        }
        pannier.counts("pannier_http_requests_total", &[("route", BATCH)], 1.0).await;
    }
}

#[tokio::test]
async fn a_slow_reader_holds_the_rest_up() {
    let upstream = Upstream::start().await;
    let vector = vec!["0.25"; 20_000].join(",");
    let answer = format!(r#"{{"model":"{MODEL}","embeddings":[[{vector}]],"prompt_eval_count":2}}"#);
    upstream.on("/api/embed", move |_| json(200, &answer));
    let pannier = Launch::before(&upstream).set("upstream.inventory_refresh", "100ms").start().await;
    let texts = numbered(500);
    let mut wire = pannier.open().await;
    wire.ask(&ask(&borrowed(&texts)).with("Accept", LINES)).await;
    wire.head("POST").await;
    let asked = async || {
        let mut last = 0;
        loop {
            pause(300).await;
            let now = upstream.count("/api/embed");
            if now == last {
                return now;
            }
            last = now;
        }
    };
    let held = within("the batch to stand still", asked()).await;
    // 50 MB would have come of all of them.
    assert!(held < 400, "{held}: nobody takes what comes");
    // It holds up nobody else.
    for text in ["another", "one more"] {
        pause(300).await;
        let begun = Instant::now();
        pannier.ask(&ask(&[text])).await.fine();
        assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn what_is_too_much_or_no_batch_is_refused() {
    let upstream = embedding_upstream().await;
    let launch = Launch::before(&upstream).set("embeddings.max_texts", "3").set("server.max_body", "2000");
    let pannier = launch.start().await;
    let post = |body: &str| Ask::new("POST", BATCH).bytes(body);
    let many = pannier.ask(&ask(&["a", "b", "c", "d"])).await;
    assert_eq!((many.status(), many.code()), (413, Some("too_large")));
    assert_eq!(many.json(), json!({ "error": "a batch has at most 3 texts", "code": "too_large" }));
    let large = pannier.ask(&ask(&[&"x".repeat(3000)])).await;
    assert_eq!((large.status(), large.code()), (413, Some("too_large")));
    for body in ["", "{", "[]", "{\"model\":\"m\"}", "{\"texts\":[\"a\"]}", "{\"model\":\"m\",\"texts\":3}"] {
        let refused = pannier.ask(&post(body)).await;
        assert_eq!((refused.status(), refused.code()), (400, Some("bad_request")), "{body}");
        assert_eq!(refused.json()["code"], "bad_request");
    }
    let packed = post("{}").with("Content-Encoding", "gzip");
    assert_eq!(pannier.ask(&packed).await.status(), 415);
    assert_eq!(upstream.strangers().len(), 0);
    // Other methods are not for it, and go the way of all that nobody knows.
    assert_eq!(pannier.ask(&Ask::get(BATCH)).await.status(), 404);
    Told::read(pannier.ask(&ask(&["a", "b", "c"])).await).check(&["a", "b", "c"], 0);
}

#[tokio::test]
async fn an_upstream_that_is_away_is_said_to_be() {
    let pannier = Launch::new(&format!("http://{}", free_address())).start().await;
    let away = pannier.ask(&ask(&["a", "b"])).await;
    assert_eq!((away.status(), away.code()), (502, Some("upstream_unreachable")));
}

/// A newer Ollama may say more than is understood; its vectors are all that a batch wants.
#[tokio::test]
async fn what_else_stands_in_an_answer_does_no_harm() {
    let upstream = Upstream::start().await;
    upstream.on("/api/embed", move |visit| {
        let body = serde_json::from_slice(&visit.body()).expect("JSON");
        let vectors = vec!["[0.5,0.25]"; embedder::texts(&body).len()].join(",");
        json(
            200,
            &format!(r#"{{"model":"{MODEL}","embeddings":[{vectors}],"new":[1],"prompt_eval_count":2}}"#),
        )
    });
    let pannier = Pannier::start(&upstream).await;
    let told = Told::read(pannier.ask(&ask(&["a", "b"])).await);
    assert_eq!(told.fates, [Ok(vec![0.5, 0.25]), Ok(vec![0.5, 0.25])]);
    assert_eq!(told.sums["prompt_eval_count"], json!(4));
    // Nor does it matter how the numbers are written, as long as they are numbers.
    for (vector, fate) in [
        ("[ 5E-1,\n\t0.250 ]", Ok(vec![0.5, 0.25])),
        ("[0.5, \"0.25\"]", Err("unreadable".to_owned())),
        ("[0.5, 1e39]", Err("unreadable".to_owned())),
    ] {
        let answer = format!("{{ \"model\": \"{MODEL}\", \"embeddings\": [ {vector} ] }}");
        upstream.always("/api/embed", json(200, &answer));
        let told = Told::read(pannier.ask(&ask(&["c"]).with("Accept", LINES)).await);
        assert_eq!(told.fates, [fate], "{vector}");
    }
}
