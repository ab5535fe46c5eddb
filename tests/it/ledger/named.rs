//! What models are called in the books, however clients write them and whatever the upstream says of them.

use super::*;
use pannier::store::ledger::Figure;

fn of(model: &str, number: u64) -> Ask {
    let message = json!({ "role": "user", "content": format!("question {number}.") });
    Ask::post(CHAT, &json!({ "model": model, "stream": false, "messages": [message] }))
}

#[tokio::test]
async fn a_model_has_one_name_however_it_is_written() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (upstream, _) = upstream().await;
    let pannier = ground.launch(&upstream).start().await;
    let spellings = [
        "SmolLM2:135m",
        "registry.ollama.ai/library/smollm2:135m",
        "https://registry.ollama.ai/library/smollm2:135m",
        "any:///library/smollm2:135m:local",
    ];
    for (number, spelling) in (0..).zip(spellings) {
        pannier.ask(&of(spelling, number)).await.fine();
    }
    end(pannier).await;
    let book = ground.book().await;
    assert_eq!(book.models(), ["smollm2:135m"]);
    let cost = (0..4).map(|number| Figures::of(number).cost()).sum::<i64>();
    assert_eq!((book.sum(Figure::Cost), book.sum(Figure::Unpriced)), (cost, 0));
}

/// One that runs elsewhere; and all of them, while the upstream does not say which it has.
#[tokio::test]
async fn what_the_upstream_answers_for_has_a_name_and_what_is_made_up_has_none() {
    for lists in [true, false] {
        let ground = Ground::File(TempDir::new().expect("a folder"));
        let upstream = Upstream::start().await;
        upstream.on(CHAT, |visit| {
            let body: serde_json::Value = serde_json::from_slice(&visit.body()).expect("JSON");
            match body["model"].as_str().expect("a model").starts_with("made-up") {
                true => json(404, r#"{"error":"model not found"}"#),
                false => Figures::of(asked(visit).0).acts(false),
            }
        });
        if !lists {
            upstream.always("/api/tags", json(500, r#"{"error":"not now"}"#));
        }
        let prices = PRICES.replace("\"smollm2\"", "\"*\"");
        let pannier = ground.launch_under(&prices, &upstream).start().await;
        pannier.ask(&of("smollm2:135m", 1)).await.fine();
        pannier.ask(&of("Elsewhere:cloud", 2)).await.fine();
        for number in 3..6 {
            assert_eq!(pannier.ask(&of(&format!("made-up{number}"), number)).await.status(), 404);
        }
        let samples = pannier.metrics().await;
        assert!(!samples.values("model").contains(&"elsewhere:cloud".to_owned()), "no label");
        end(pannier).await;
        let book = ground.book().await;
        book.agrees();
        assert_eq!(book.models(), ["elsewhere:cloud", "other", "smollm2:135m"], "{lists}");
        for (model, number) in [("smollm2:135m", 1), ("elsewhere:cloud", 2)] {
            assert_eq!(book.sum_of_model(model, Figure::Cost), Figures::of(number).cost(), "{model}");
        }
        assert_eq!(book.sum_of_model("other", Figure::Failed), 3);
    }
}
