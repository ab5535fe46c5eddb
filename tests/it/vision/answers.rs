//! What is told of a picture, and what the road has to do with it.

use super::*;

#[tokio::test]
async fn every_kind_of_picture_is_seen() {
    let upstream = seeing_upstream().await;
    let pannier = Pannier::start(&upstream).await;
    for format in FORMATS {
        for (colour, name) in [(RED, "red"), (BLUE, "blue")] {
            let reply = pannier.ask(&look(ANALYZE, &picture(format, colour, 16))).await.fine();
            assert_eq!(reply.field("content-type"), Some("application/json"));
            let told = json!({
                "model": MODEL, "response": format!(" {name}\n"), "done": true,
                "total_duration": 216_968_724, "eval_count": 2,
            });
            assert_eq!(reply.json(), told, "{format:?}");
        }
    }
    let counted = pannier.metrics().await;
    let of = |result| counted.sum("pannier_media_decodes_total", &[("kind", "picture"), ("result", result)]);
    assert_eq!((of("as_is"), of("converted"), of("refused")), (4.0, 6.0, 0.0));
}

#[tokio::test]
async fn small_pictures_go_on_byte_for_byte_and_large_ones_scaled() {
    let upstream = seeing_upstream().await;
    let pannier = Launch::before(&upstream).set("vision.max_side", "32").start().await;
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let file = picture(format, RED, 32);
        let uri = format!("data:application/octet-stream;base64,{}", base64(&file));
        pannier.ask(&Ask::post(CAPTION, &json!({ "model": MODEL, "image": uri }))).await.fine();
        let sent = calls(&upstream).pop().expect("a call");
        assert_eq!(sent["images"], json!([base64(&file)]));
        pannier.ask(&look(CAPTION, &picture(format, RED, 100))).await.fine();
        let sent = calls(&upstream).pop().expect("a call");
        let sent = STANDARD.decode(sent["images"][0].as_str().expect("base64")).expect("base64");
        assert_eq!(image::guess_format(&sent).expect("a picture"), format);
        assert_eq!(image::load_from_memory(&sent).expect("a picture").width(), 32);
    }
}

#[tokio::test]
async fn each_route_asks_in_its_own_words_and_tells_in_its_own_shape() {
    let upstream = seeing_upstream().await;
    let pannier = Launch::before(&upstream).set("vision.model", MODEL).start().await;
    let image = base64(&picture(ImageFormat::Png, RED, 16));
    let asked = json!({ "image": image, "prompt": "what colour?", "temperature": 0.25, "max_tokens": 5 });
    pannier.ask(&Ask::post(ANALYZE, &asked)).await.fine();
    let sent = calls(&upstream).pop().expect("a call");
    assert_eq!(
        (&sent["model"], &sent["prompt"], &sent["stream"]),
        (&json!(MODEL), &json!("what colour?"), &json!(false))
    );
    assert_eq!(sent["options"], json!({ "temperature": 0.25, "num_predict": 5 }));

    let mut prompts = vec![];
    for detail in ["brief", "normal", "detailed"] {
        let asked = json!({ "image": image, "detail_level": detail });
        let told = pannier.ask(&Ask::post(CAPTION, &asked)).await.fine().json();
        assert_eq!(told, json!({ "caption": "red", "model": MODEL }));
        prompts.push(calls(&upstream).pop().expect("a call")["prompt"].to_string());
    }
    let told = pannier.ask(&Ask::post(OCR, &json!({ "image": image }))).await.fine().json();
    assert_eq!(told, json!({ "text": "red", "model": MODEL }));
    prompts.push(calls(&upstream).pop().expect("a call")["prompt"].to_string());
    prompts.dedup();
    assert_eq!(prompts.len(), 4, "each has a prompt of its own");
}

#[tokio::test]
async fn files_come_in_forms() {
    let upstream = seeing_upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let (red, blue) = (picture(ImageFormat::WebP, RED, 16), picture(ImageFormat::Gif, BLUE, 16));
    let fields: [(&str, Option<&str>, &[u8]); 3] = [
        ("file", Some("../../red.webp"), &red),
        ("prompt", None, b"what?"),
        ("model", None, MODEL.as_bytes()),
    ];
    let told = pannier.ask(&form(UPLOAD, &fields)).await.fine().json();
    assert_eq!((&told["response"], &told["done"]), (&json!(" red\n"), &json!(true)));
    assert_eq!(calls(&upstream).pop().expect("a call")["prompt"], "what?");
    // As the predecessor took them: in the address.
    let ask = form(&format!("{UPLOAD}?prompt=and+this%3F&model={MODEL}"), &[("file", Some("b"), &blue)]);
    assert_eq!(pannier.ask(&ask).await.fine().json()["response"], " blue\n");
    assert_eq!(calls(&upstream).pop().expect("a call")["prompt"], "and this?");
    // And any route takes a file.
    let told = pannier.ask(&form(OCR, &[("file", Some("b"), &blue), fields[2]])).await.fine().json();
    assert_eq!(told, json!({ "text": "blue", "model": MODEL }));
}

#[tokio::test]
async fn of_several_pictures_each_is_told_by_itself() {
    let upstream = seeing_upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let (red, blue) =
        (base64(&picture(ImageFormat::Png, RED, 16)), base64(&picture(ImageFormat::Bmp, BLUE, 16)));
    let one = Ask::post(CAPTION, &json!({ "model": MODEL, "image": red }));
    pannier.ask(&one).await.fine();
    pannier.remembered(&one).await;
    let list = Ask::post(CAPTION, &json!({ "model": MODEL, "images": [red, "####", blue] }));
    let reply = pannier.ask(&list).await.fine();
    assert_eq!(reply.cache(), "pannier; fwd=partial; detail=\"1 of 3 known\"");
    let told = reply.json();
    let refused = json!({ "error": "the picture is not base64", "code": "bad_request" });
    let results =
        json!([{ "caption": "red", "model": MODEL }, refused, { "caption": "blue", "model": MODEL }]);
    assert_eq!(told, json!({ "model": MODEL, "results": results, "count": 3, "succeeded": 2, "failed": 1 }));
    assert_eq!(upstream.count(GENERATE), 2);
    let (red, blue) = (picture(ImageFormat::Png, RED, 16), picture(ImageFormat::Bmp, BLUE, 16));
    let files: [(&str, Option<&str>, &[u8]); 3] =
        [("files", Some("a"), &red), ("files", Some("b"), &blue), ("model", None, MODEL.as_bytes())];
    let ask = form(CAPTION, &files);
    eventually("both are remembered", || async {
        let reply = pannier.ask(&ask).await.fine();
        (reply.cache() == "pannier; hit; detail=\"2 of 2 known\"").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stream_is_told_line_by_line_fresh_or_remembered() {
    let upstream = seeing_upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let asked =
        json!({ "model": MODEL, "image": base64(&picture(ImageFormat::Gif, RED, 16)), "stream": true });
    for (path, name) in [(ANALYZE, "response"), (CAPTION, "caption"), (OCR, "text")] {
        let ask = Ask::post(path, &asked);
        let fresh = pannier.ask(&ask).await.fine();
        let known = pannier.remembered(&ask).await;
        for reply in [&fresh, &known] {
            assert_eq!(reply.field("content-type"), Some("application/x-ndjson"));
        }
        assert_eq!(fresh.text(), known.text());
        let lines: Vec<Value> =
            fresh.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines[1], json!({ "model": MODEL, name: "red", "done": false }));
        let last =
            json!({ "model": MODEL, name: "", "done": true, "total_duration": 216_968_724, "eval_count": 2 });
        assert_eq!(lines[2], last);
        assert_eq!(lines.len(), 3);
        // The same question in the other mode is known.
        let mut whole = asked.clone();
        whole["stream"] = false.into();
        let whole = pannier.ask(&Ask::post(path, &whole)).await.fine();
        assert!(whole.is_hit(), "{:?}", whole.cache());
    }
    assert_eq!(upstream.count(GENERATE), 3);
}

#[tokio::test]
async fn a_call_by_hand_has_the_same_answer() {
    let upstream = seeing_upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let file = picture(ImageFormat::Png, RED, 16);
    let ask = look(ANALYZE, &file);
    pannier.ask(&ask).await.fine();
    pannier.remembered(&ask).await;
    let by_hand = Ask::new("POST", GENERATE).bytes(upstream.visits(GENERATE)[0].body());
    let by_hand = by_hand.with("Content-Type", "application/json");
    for _ in 0..3 {
        let reply = pannier.ask(&by_hand).await.fine();
        assert!(reply.is_hit(), "{:?}", reply.cache());
        assert_eq!(reply.json()["response"], " red\n");
    }
    // Each is counted as what it was.
    let told = "pannier_http_requests_total";
    pannier.counts(told, &[("route", GENERATE), ("code", "200")], 3.0).await;
    assert!(pannier.metrics().await.sum(told, &[("route", ANALYZE), ("code", "200")]) >= 2.0);
    // Another picture, another prompt, another model: another question.
    let other = look(ANALYZE, &picture(ImageFormat::Png, BLUE, 16));
    assert_eq!(pannier.ask(&other).await.fine().json()["response"], " blue\n");
    let prompt = json!({ "model": MODEL, "image": base64(&file), "prompt": "else?" });
    assert!(!pannier.ask(&Ask::post(ANALYZE, &prompt)).await.fine().is_hit());
    upstream.models(&[(MODEL, "2222")]);
    eventually("the model is another", || async {
        let reply = pannier.ask(&ask).await.fine();
        (!reply.is_hit()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn equal_questions_are_one_trip_and_whoever_leaves_ends_it() {
    let upstream = seeing_upstream().await;
    let gate = Gate::closed();
    let shut = gate.clone();
    upstream.on(GENERATE, move |visit| {
        let mut acts = vec![Act::Wait(shut.clone())];
        acts.extend(tells_colour(visit));
        acts
    });
    let pannier = Pannier::start(&upstream).await;
    let ask = look(CAPTION, &picture(ImageFormat::WebP, RED, 16));
    let mut first = pannier.open().await;
    first.ask(&ask).await;
    upstream.visit(GENERATE, 0).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        let mut other = pannier.open().await;
        other.ask(&ask).await;
        others.push(other);
    }
    eventually("all to be looked at", || async {
        let samples = pannier.metrics().await;
        let known = samples.sum("pannier_media_decodes_total", &[("kind", "picture")]);
        (known == 4.0).then_some(())
    })
    .await;
    gate.open();
    others.push(first);
    for mut other in others {
        assert_eq!(other.reply("POST").await.fine().json()["caption"], "red");
    }
    assert_eq!(upstream.count(GENERATE), 1);

    // Alone, whoever leaves calls it off.
    let shut = Gate::closed();
    let waits = shut.clone();
    upstream.on(GENERATE, move |_| vec![Act::Wait(waits.clone())]);
    let mut alone = pannier.open().await;
    alone.ask(&look(OCR, &picture(ImageFormat::Png, BLUE, 16))).await;
    let visit = upstream.visit(GENERATE, 1).await;
    drop(alone);
    visit.hung_up().await;
}
