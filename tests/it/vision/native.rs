//! `vision.transcode_native`: pictures in calls of the upstream's own routes.

use super::*;

const ROUTES: [&str; 4] = ["/api/generate", "/api/chat", "/v1/chat/completions", "/v1/responses"];

fn call(path: &str, base64: &str, kind: &str) -> Value {
    let uri = format!("data:image/{kind};base64,{base64}");
    match path {
        "/api/generate" => json!({ "model": MODEL, "prompt": "?", "images": [base64] }),
        "/api/chat" => {
            json!({ "model": MODEL, "messages": [{ "role": "user", "content": "?", "images": [base64] }] })
        }
        "/v1/chat/completions" => json!({ "model": MODEL, "messages": [{ "role": "user", "content": [
            { "type": "text", "text": "?" }, { "type": "image_url", "image_url": { "url": uri } },
        ] }] }),
        _ => json!({ "model": MODEL, "input": [{ "role": "user", "content": [
            { "type": "input_image", "image_url": uri },
        ] }] }),
    }
}

/// What went up on `path` last.
async fn sent(pannier: &Pannier, upstream: &Upstream, path: &str, body: &Value) -> Value {
    pannier.ask(&Ask::post(path, body)).await;
    asked(upstream.visits(path).last().expect("a call"))
}

#[tokio::test]
async fn pictures_are_converted_only_where_that_is_wanted() {
    let upstream = seeing_upstream().await;
    for path in ROUTES {
        upstream.always(path, json(200, r#"{"error":"never mind"}"#));
    }
    let (usual, wanted) = (
        Pannier::start(&upstream).await,
        Launch::before(&upstream).set("vision.transcode_native", "true").start().await,
    );
    let (webp, png) = (picture(ImageFormat::WebP, RED, 16), picture(ImageFormat::Png, RED, 16));
    for path in ROUTES {
        let body = call(path, &base64(&webp), "webp");
        assert_eq!(sent(&usual, &upstream, path, &body).await, body, "{path}");
        let converted = sent(&wanted, &upstream, path, &body).await;
        let text = converted.to_string();
        let start = text.find("iVBOR").unwrap_or_else(|| panic!("a PNG: {text}"));
        let end = start + text[start..].find('"').expect("its end");
        assert_eq!(colour(&text[start..end]).as_deref(), Some("red"), "{path}");
        assert_eq!(converted, call(path, &text[start..end], "png"), "{path}: nothing else changes");
        // What can be read, and what cannot be at all, goes on as it came.
        for same in [call(path, &base64(&png), "png"), call(path, "AAAA", "png"), call(path, "####", "png")] {
            assert_eq!(sent(&wanted, &upstream, path, &same).await, same, "{path}");
        }
    }
}

#[tokio::test]
async fn a_converted_picture_is_answered_from_memory_as_well() {
    let upstream = seeing_upstream().await;
    let pannier = Launch::before(&upstream).set("vision.transcode_native", "true").start().await;
    let mut body = call(GENERATE, &base64(&picture(ImageFormat::Bmp, BLUE, 16)), "bmp");
    body["stream"] = false.into();
    let ask = Ask::post(GENERATE, &body);
    assert_eq!(pannier.ask(&ask).await.fine().json()["response"], " blue\n");
    for _ in 0..3 {
        assert_eq!(pannier.remembered(&ask).await.json()["response"], " blue\n");
    }
    assert_eq!(upstream.count(GENERATE), 1);
    // Who wants it to go on as it came gets nothing that was made of it either.
    let as_it_came = ask.with("Cache-Control", "no-transform");
    assert_eq!(pannier.ask(&as_it_came).await.status(), 500, "the model cannot read it");
    assert_eq!(calls(&upstream)[1]["images"], body["images"]);
}

#[tokio::test]
async fn more_pictures_than_one_may_ask_about_go_on_as_they_came() {
    let upstream = seeing_upstream().await;
    let launch = Launch::before(&upstream).set("vision.transcode_native", "true");
    let pannier = launch.set("vision.max_images", "2").start().await;
    let bmp = base64(&picture(ImageFormat::Bmp, RED, 16));
    for (count, is_converted) in [(2, true), (3, false)] {
        let body = json!({ "model": MODEL, "prompt": "?", "images": vec![&bmp; count], "stream": false });
        let sent = sent(&pannier, &upstream, GENERATE, &body).await;
        assert_eq!(sent["images"] != body["images"], is_converted, "{count}");
    }
}
