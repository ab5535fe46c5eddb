//! What is asked about pictures is in the books like any call: a row a request, whatever it was made of.

use super::*;

const PRICES: &str =
    "[prices]\nmodels = [{ model = \"llava\", prompt = \"1\", completion = \"10\", image = \"0.002\" }]\n";

/// All rows, in the order of their requests, once the last of them has this answer.
async fn rows(pannier: &Pannier, cache: &str) -> Vec<Value> {
    rows_until(pannier, |last| last["cache"] == cache).await
}

/// The same, once the last of them is the one that is meant.
async fn rows_until(pannier: &Pannier, is_meant: impl Fn(&Value) -> bool) -> Vec<Value> {
    let read = || async {
        let text = pannier.administer(Ask::get("/usage/requests?format=json")).await.fine().text();
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        rows.last().is_some_and(&is_meant).then_some(rows)
    };
    eventually("the rows are there", read).await
}

/// What a row says of these, in this order.
fn told(row: &Value) -> [Value; 7] {
    let names = ["endpoint", "model", "cache", "prompt_tokens", "completion_tokens", "images", "cost"];
    names.map(|name| row[name].clone())
}

#[tokio::test]
async fn each_request_has_a_row_of_its_route_and_pays_for_its_trips() {
    let upstream = seeing_upstream().await;
    let pannier = Launch::before(&upstream).set("ledger.enabled", "true").file(PRICES).start().await;
    let (red, blue) = (picture(ImageFormat::Png, RED, 16), picture(ImageFormat::Bmp, BLUE, 16));
    pannier.ask(&look(OCR, &red)).await.fine();
    pannier.remembered(&look(OCR, &red)).await;
    let before = rows(&pannier, "hit").await;
    // 11 tokens of the question and 2 of the answer, at 1 and 10 the million, and a picture.
    let paid = [json!(OCR), json!(MODEL), json!("miss"), json!(11), json!(2), json!(1), json!(0.002031)];
    assert_eq!(told(&before[0]), paid);
    let hit = before.last().expect("a row");
    assert_eq!((&hit["cost"], &hit["saved_cost"]), (&json!(null), &json!(0.002031)));

    // One of them is known, one is new, and one is none.
    let images = [base64(&red), base64(&blue), "####".to_owned()];
    let list = Ask::post(OCR, &json!({ "model": MODEL, "images": images }));
    let reply = pannier.ask(&list).await.fine();
    assert_eq!((&reply.json()["succeeded"], &reply.json()["failed"]), (&json!(2), &json!(1)));
    let now = rows(&pannier, "miss").await;
    assert_eq!(now.len(), before.len() + 1, "one for all of them");
    let list = now.last().expect("a row");
    assert_eq!(told(list), paid, "it pays for what is new, and for nothing else");
    assert_eq!(upstream.count(GENERATE), 2);
}

#[tokio::test]
async fn each_picture_of_any_call_has_its_price_where_it_was_looked_at() {
    let upstream = seeing_upstream().await;
    let pannier = Launch::before(&upstream).set("ledger.enabled", "true").file(PRICES).start().await;
    let [red, blue] = [RED, BLUE].map(|colour| base64(&picture(ImageFormat::Png, colour, 16)));
    let ask = |images: &[&String]| {
        Ask::post(GENERATE, &json!({ "model": MODEL, "prompt": "which?", "images": images, "stream": false }))
    };
    let both = ask(&[&red, &blue]);
    pannier.ask(&both).await.fine();
    pannier.remembered(&both).await;
    assert_eq!(pannier.ask(&ask(&[&"####".to_owned()])).await.status(), 500);
    let rows = rows_until(&pannier, |last| last["status"] == 500).await;
    let said = |row: &Value| ["status", "images", "cost", "saved_cost"].map(|name| row[name].clone());
    assert_eq!(said(&rows[0]), [json!(200), json!(2), json!(0.004031), json!(null)]);
    let hit = rows.iter().find(|row| row["cache"] == "hit").expect("a hit");
    assert_eq!(said(hit), [json!(200), json!(2), json!(null), json!(0.004031)]);
    let refused = rows.last().expect("a row");
    assert_eq!(said(refused), [json!(500), json!(null), json!(null), json!(null)], "nobody has looked");
}

#[tokio::test]
async fn what_is_refused_for_its_model_is_told() {
    let upstream = seeing_upstream().await;
    let settings = PRICES.replace("[prices]\n", "[prices]\nunknown = \"reject\"\n");
    let pannier = Launch::before(&upstream).set("ledger.enabled", "true").file(&settings).start().await;
    let blind =
        Ask::post(OCR, &json!({ "model": BLIND, "image": base64(&picture(ImageFormat::Png, RED, 16)) }));
    assert_eq!(pannier.ask(&blind).await.status(), 400);
    let row = &rows(&pannier, "bypass").await[0];
    assert_eq!(
        (&row["endpoint"], &row["status"], &row["error"]),
        (&json!(OCR), &json!(400), &json!("bad_request"))
    );
}

#[tokio::test]
async fn a_model_without_a_price_is_refused_before_a_picture_is_looked_at() {
    let upstream = seeing_upstream().await;
    let settings = "[prices]\nunknown = \"reject\"\nbuiltin = false\n";
    let pannier = Launch::before(&upstream).set("ledger.enabled", "true").file(settings).start().await;
    let reply = pannier.ask(&look(OCR, &picture(ImageFormat::WebP, RED, 16))).await;
    assert_eq!((reply.status(), reply.json()["code"].clone()), (403, json!("unpriced")));
    let looked_at = pannier.metrics().await.sum("pannier_media_decodes_total", &[]);
    assert_eq!((looked_at, upstream.count(GENERATE)), (0.0, 0));
}
