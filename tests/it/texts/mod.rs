//! Embedding calls, answered text by text: no wrong vector, nothing asked for twice, nobody kept waiting.

mod fleet;
mod mixes;
mod rest;

use crate::stage::*;
use serde_json::{Value, json};

const MODEL: &str = MODELS[1].0;
const DIGEST: &str = MODELS[1].1;
const ROUTES: [&str; 2] = ["/api/embed", "/v1/embeddings"];

/// An upstream that embeds on both routes.
async fn embedding_upstream() -> Upstream {
    let upstream = Upstream::start().await;
    for path in ROUTES {
        upstream.on(path, |visit| embedder::embeds(visit, DIGEST));
    }
    upstream
}

fn ask(path: &str, texts: &[&str]) -> Ask {
    Ask::post(path, &json!({ "model": MODEL, "input": texts }))
}

/// Fails unless `reply` holds exactly the vectors of `texts`, and their tokens.
#[track_caller]
fn check(reply: Reply, texts: &[&str], dimensions: Option<u64>) -> Value {
    let answer = reply.fine().json();
    let vectors = embedder::read(&answer);
    assert_eq!(vectors.len(), texts.len());
    for (read, text) in vectors.iter().zip(texts) {
        let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(read), bits(&embedder::vector(text, DIGEST, dimensions)), "{text:?}");
    }
    let tokens: u64 = texts.iter().map(|text| embedder::tokens(text)).sum();
    assert_eq!(embedder::told_tokens(&answer), tokens);
    answer
}

/// The texts that went up so far, each as often as it did.
fn asked_for(upstream: &Upstream, path: &str) -> Vec<String> {
    let visits = upstream.visits(path);
    let mut texts: Vec<_> = visits.iter().flat_map(|visit| embedder::texts(&embedder::body(visit))).collect();
    texts.sort();
    texts
}
