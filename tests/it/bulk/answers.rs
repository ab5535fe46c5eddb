//! What is answered, in either mode, and what the cache has to do with it.

use super::*;

#[tokio::test]
async fn a_batch_is_answered_as_embed_would_and_only_once() {
    let upstream = embedding_upstream().await;
    let pannier = Launch::before(&upstream).set("cache.database.enabled", "false").start().await;
    let texts = ["a", "b", "a", "", "日本"];
    let miss = pannier.ask(&ask(&texts)).await;
    assert_eq!(miss.cache(), "pannier; fwd=uri-miss; fwd-status=200; ttl=86400; detail=\"0 of 4 known\"");
    assert!(miss.field("x-request-id").is_some());
    Told::read(miss).check(&texts, 0);
    assert_eq!(asked_for(&upstream), ["", "a", "b", "日本"], "each once");
    let remembered = Ask::post("/api/embed", &json!({ "model": MODEL, "input": texts }));
    pannier.remembered(&remembered).await;

    // All is known: in either mode, in any order, under any of its names.
    let hit = pannier.ask(&ask(&texts)).await;
    assert!(hit.cache().starts_with("pannier; hit; ttl=86") && hit.cache().ends_with("; detail=memory"));
    assert!(hit.field("age").is_some());
    Told::read(hit).check(&texts, 5);
    let lines = json!({ "model": MODEL, "input": ["b", "a"], "stream": true });
    Told::read(pannier.ask(&Ask::post(BATCH, &lines)).await).check(&["b", "a"], 2);
    Told::read(pannier.ask(&ask(&["b"]).with("Accept", LINES)).await).check(&["b"], 1);
    let lone = json!({ "model": MODEL, "texts": "a" });
    Told::read(pannier.ask(&Ask::post(BATCH, &lone)).await).check(&["a"], 1);
    assert_eq!(upstream.count("/api/embed"), 4);

    // And what came by another route is known here.
    let other = Ask::post("/v1/embeddings", &json!({ "model": MODEL, "input": "c" }));
    upstream.on("/v1/embeddings", |visit| embedder::embeds(visit, DIGEST));
    pannier.ask(&other).await.fine();
    pannier.remembered(&other).await;
    let half = pannier.ask(&ask(&["c", "d"])).await;
    assert_eq!(half.cache(), "pannier; fwd=partial; fwd-status=200; ttl=86400; detail=\"1 of 2 known\"");
    Told::read(half).check(&["c", "d"], 1);
}

#[tokio::test]
async fn numbers_may_be_base64_and_vectors_shorter() {
    let upstream = embedding_upstream().await;
    let pannier = Launch::before(&upstream).set("embeddings.shorten", "on").start().await;
    Told::read(pannier.ask(&ask(&["a", "b"])).await).check(&["a", "b"], 0);
    let whole = Ask::post("/api/embed", &json!({ "model": MODEL, "input": ["a", "b"] }));
    pannier.remembered(&whole).await;
    for streamed in [false, true] {
        let short = json!({
            "model": MODEL, "texts": ["a", "b"], "dimensions": 5, "encoding_format": "base64", "stream": streamed,
        });
        let reply = pannier.ask(&Ask::post(BATCH, &short)).await;
        assert!(!reply.text().contains("[0."), "{}", reply.text());
        let told = Told::read(reply);
        let short = |text| Ok(embedder::vector(text, DIGEST, Some(5)));
        assert_eq!(told.fates, [short("a"), short("b")]);
    }
    assert_eq!(upstream.count("/api/embed"), 2, "made of whole ones");
}

#[tokio::test]
async fn lines_come_in_order_while_others_are_under_way() {
    let upstream = Upstream::start().await;
    let gate = embedder::embeds_late(&upstream, DIGEST);
    let pannier = Launch::before(&upstream).set("embeddings.workers", "2").start().await;
    let texts = ["first", "late", "third", "fourth"];
    let mut wire = pannier.open().await;
    wire.ask(&ask(&texts).with("Accept", LINES)).await;
    let head = wire.head("POST").await;
    assert_eq!((head.status, head.field("content-type")), (200, Some(LINES)));
    let mut seen = String::new();
    while seen.lines().count() < 2 {
        seen += &String::from_utf8(wire.piece().await.expect("more")).expect("text");
    }
    assert!(seen.starts_with("{\"model\":") && seen.contains("\n{\"index\":0,"), "{seen}");
    // Behind the one that is late, the others have been asked for.
    eventually("the others to be asked for", || async { (upstream.count("/api/embed") == 4).then_some(()) })
        .await;
    pause(600).await;
    gate.open();
    let told = loop {
        match wire.piece().await {
            Ok(piece) => seen += &String::from_utf8(piece).expect("text"),
            Err(ending) => {
                assert_eq!(ending, Ending::Complete);
                break Told::of_lines(&seen);
            }
        }
    };
    let told = told.check(&texts, 0);
    let progress = told.progress.first().expect("half a second is long enough to tell how far it is");
    assert_eq!((&progress["of"], &progress["failed"]), (&json!(4), &json!(0)), "{progress}");
    assert!(progress["embeddings_per_second"].as_f64() > Some(0.0));
}

#[tokio::test]
async fn what_the_request_says_of_the_cache_is_heeded() {
    let upstream = embedding_upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let both = ask(&["a", "b"]);
    let with = |name: &str, value: &str| both.clone().with(name, value);
    let only = with("X-Pannier-Cache", "only");
    let none = pannier.ask(&only).await;
    assert_eq!((none.status(), none.json()["code"].as_str()), (504, Some("not_cached")));
    for (name, value, why) in
        [("Cache-Control", "no-store", "NO-STORE"), ("X-Pannier-Cache", "bypass", "BYPASS")]
    {
        let told = pannier.ask(&with(name, value)).await;
        assert_eq!(told.cache(), format!("pannier; fwd=bypass; detail={why}"));
        Told::read(told).check(&["a", "b"], 0);
        assert_eq!(pannier.ask(&only).await.status(), 504, "nothing is kept");
    }
    assert_eq!(asked_for(&upstream), ["a", "a", "b", "b"], "text by text all the same");

    let lone = Ask::post("/api/embed", &json!({ "model": MODEL, "input": "a" }));
    pannier.ask(&lone).await.fine();
    pannier.remembered(&lone).await;
    let part = pannier.ask(&only).await;
    assert_eq!(part.cache(), "pannier; detail=\"1 of 2 known\"");
    let told = Told::read(part);
    assert_eq!(told.fates, [Ok(embedder::vector("a", DIGEST, None)), Err("not_cached".to_owned())]);

    let anew = pannier.ask(&with("X-Pannier-Cache", "refresh")).await;
    assert_eq!(anew.cache(), "pannier; fwd=request; fwd-status=200; ttl=86400; detail=REFRESH");
    Told::read(anew).check(&["a", "b"], 0);
    assert_eq!(upstream.count("/api/embed"), 7);
    eventually("both are kept", || async {
        let told = pannier.ask(&only).await;
        (told.status() == 200 && told.json()["known"] == 2).then_some(())
    })
    .await;
    let odd = pannier.ask(&with("X-Pannier-Cache", "perhaps")).await;
    assert_eq!((odd.status(), odd.code()), (400, Some("bad_request")));
}

/// Each leaves one record, and its tokens are counted once.
#[tokio::test]
async fn a_batch_leaves_one_record() {
    let upstream = embedding_upstream().await;
    let launch = Launch::before(&upstream).set("log.hit_sample", "1");
    let pannier = launch.start().await;
    Told::read(pannier.ask(&ask(&["a", "bad", "b"])).await).check(&["a", "bad", "b"], 0);
    let both = Ask::post("/api/embed", &json!({ "model": MODEL, "input": ["a", "b"] }));
    pannier.remembered(&both).await;
    Told::read(pannier.ask(&ask(&["a", "b", "a"])).await).check(&["a", "b", "a"], 3);
    let route = ("route", BATCH);
    let samples = pannier.counts("pannier_http_requests_total", &[route, ("code", "200")], 2.0).await;
    assert_eq!(samples.sum("pannier_llm_tokens_total", &[("type", "input")]), 4.0);
    let lines = eventually("their lines", || async {
        let log = pannier.stdout();
        let lines: Vec<Value> = log
            .lines()
            .filter(|line| line.contains(BATCH))
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        (lines.len() == 2).then_some(lines)
    })
    .await;
    assert_eq!((&lines[0]["cache"], &lines[0]["tokens_in"]), (&json!("miss"), &json!(4)), "{}", lines[0]);
    assert_eq!((&lines[1]["cache"], &lines[1]["tokens_in"]), (&json!("hit"), &json!(6)), "{}", lines[1]);
    assert_eq!((&lines[0]["dialect"], &lines[0]["model"]), (&json!("native"), &json!(MODEL)));
}

#[tokio::test]
async fn texts_are_shared_with_whoever_asks_for_them_at_the_same_time() {
    let upstream = Upstream::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    upstream.on("/api/embed", move |visit| {
        [vec![Act::Wait(held.clone())], embedder::embeds(visit, DIGEST)].concat()
    });
    let pannier = Pannier::start(&upstream).await;
    let texts = numbered(12);
    let texts = borrowed(&texts);
    let (mut one, mut other) = (pannier.open().await, pannier.open().await);
    one.ask(&ask(&texts)).await;
    upstream.visit("/api/embed", 7).await;
    other.ask(&Ask::post("/api/embed", &json!({ "model": MODEL, "input": &texts[..6] }))).await;
    pause(100).await;
    gate.open();
    Told::read(one.reply("POST").await).check(&texts, 0);
    other.reply("POST").await.fine();
    assert_eq!(asked_for(&upstream).len(), 12);
}

#[tokio::test]
async fn keys_share_what_their_scope_says_and_rules_hold() {
    let upstream = embedding_upstream().await;
    let settings = "[auth]\nkeys = [{ name = \"ann\", team = \"lab\", key = \"k-ann\" }, \
                    { name = \"bob\", team = \"ops\", key = \"k-bob\" }]\n\
                    [cache]\nrules = [{ key = \"bob\", route = \"/embeddings/*\", enabled = false }]\n";
    let pannier = Launch::before(&upstream).file(settings).start().await;
    let of = |key: &str| ask(&["a"]).with("Authorization", &format!("Bearer {key}"));
    Told::read(pannier.ask(&of("k-ann")).await).check(&["a"], 0);
    eventually("it is known to one of them", || async {
        pannier.ask(&of("k-ann")).await.is_hit().then_some(())
    })
    .await;
    for _ in 0..2 {
        let told = pannier.ask(&of("k-bob")).await;
        assert_eq!(told.cache(), "pannier; fwd=bypass; detail=OFF");
        Told::read(told).check(&["a"], 0);
    }
    assert_eq!(upstream.count("/api/embed"), 3);
    assert!(upstream.visits("/api/embed").iter().all(|visit| visit.field("authorization").is_none()));
}
