//! What is told of a recording, and what the road has to do with it.

use super::*;

#[tokio::test]
async fn what_is_said_is_written_down() {
    let Some(studio) = Studio::open().await else { return };
    let reply = studio.hear("jfk.wav", &[("model", "tiny"), ("language", "en")]).await.fine();
    assert_eq!(reply.field("content-type"), Some("application/json"));
    assert_eq!(error_rate(&reply.json()["text"], SENTENCE), 0.0, "{}", reply.text());
    assert_eq!(reply.json()["usage"], serde_json::json!({ "type": "duration", "seconds": 11 }));
    assert!(studio.upstream.visits(TRANSCRIPTIONS).is_empty());
}
