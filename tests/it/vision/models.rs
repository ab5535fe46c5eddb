//! Which model is asked, and who may ask it.

use super::*;

#[tokio::test]
async fn a_model_that_cannot_see_or_is_not_there_is_told_which_can() {
    let upstream = seeing_upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let image = base64(&picture(ImageFormat::Png, RED, 16));
    for (model, status, code) in [(BLIND, 400, "bad_request"), ("nobody", 404, "not_found")] {
        let reply = pannier.ask(&Ask::post(ANALYZE, &json!({ "model": model, "image": image }))).await;
        assert_eq!((reply.status(), reply.code()), (status, Some(code)), "{}", reply.text());
        let told = reply.json();
        let error = told["error"].as_str().expect("an error");
        assert!(error.ends_with("these can be asked about pictures: llava:latest"), "{error}");
        assert_eq!(told["code"], code);
    }
    assert_eq!(upstream.count(GENERATE), 0);
    // The default one is there under its short name.
    pannier.ask(&Ask::post(OCR, &json!({ "image": image }))).await.fine();
    // Nobody is asked twice what a model can do.
    let asked = upstream.count("/api/show");
    pannier.ask(&Ask::post(CAPTION, &json!({ "model": MODEL, "image": image }))).await.fine();
    pannier.ask(&Ask::post(CAPTION, &json!({ "model": BLIND, "image": image }))).await;
    assert_eq!((upstream.count("/api/show"), asked), (asked, 3));
}

#[tokio::test]
async fn where_none_can_see_it_is_said_how_to_get_one() {
    let upstream = seeing_upstream().await;
    upstream.models(&[MODELS[0]]);
    let pannier = Pannier::start(&upstream).await;
    let reply = pannier.ask(&look(OCR, &picture(ImageFormat::Png, RED, 16))).await;
    assert_eq!(reply.status(), 404);
    assert!(reply.text().contains("ollama pull llava"), "{}", reply.text());
}

/// An upstream that says nothing of what its models can do is asked all the same, and its word counts.
#[tokio::test]
async fn an_upstream_that_says_nothing_of_abilities_is_left_to_judge() {
    let upstream = seeing_upstream().await;
    upstream.always("/api/show", json(404, r#"{"error":"what?"}"#));
    upstream.always(GENERATE, json(400, r#"{"error":"this model is blind"}"#));
    let pannier = Pannier::start(&upstream).await;
    let reply = pannier.ask(&look(OCR, &picture(ImageFormat::Png, RED, 16))).await;
    assert_eq!(reply.status(), 400);
    assert_eq!(reply.json(), json!({ "error": "this model is blind", "code": "refused" }));
    upstream.always(GENERATE, json(200, r#"{"no":"answer"}"#));
    let reply = pannier.ask(&look(OCR, &picture(ImageFormat::Png, RED, 16))).await;
    assert_eq!((reply.status(), reply.code()), (502, Some("upstream_aborted")));
}

#[tokio::test]
async fn rights_hold_for_pictures_too() {
    let upstream = seeing_upstream().await;
    upstream.models(&[(MODEL, "1111"), ("bakllava:latest", "2222"), MODELS[0]]);
    upstream.always("/api/show", json(200, r#"{"capabilities":["vision"]}"#));
    let pannier = Launch::before(&upstream)
        .file(
            "[auth]\nmode = \"required\"\nkeys = [\n\
             { name = \"ann\", key = \"ann-ann-ann-ann-ann\", models = [\"llava\"], routes = [\"/vision/*\"] },\n\
             { name = \"bob\", key = \"bob-bob-bob-bob-bob\", routes = [\"/api/*\"] },\n]\n",
        )
        .start()
        .await;
    let ask = |key: &str, model: &str| {
        let image = base64(&picture(ImageFormat::Png, RED, 16));
        Ask::post(OCR, &json!({ "model": model, "image": image })).with("X-API-Key", key)
    };
    let status = async |key: &str, model: &str| pannier.ask(&ask(key, model)).await.status();
    assert_eq!(status("ann-ann-ann-ann-ann", MODEL).await, 200);
    assert_eq!(status("ann-ann-ann-ann-ann", "bakllava").await, 403);
    assert_eq!(status("ann-ann-ann-ann-ann", "nobody").await, 403, "in the same words");
    assert_eq!(status("bob-bob-bob-bob-bob", MODEL).await, 403);
    assert_eq!(status("nobody", MODEL).await, 401);
    assert_eq!(upstream.count(GENERATE), 1);
    assert_eq!(upstream.visits(GENERATE)[0].field("x-api-key"), None, "the key stays here");
}
