//! Models that are not Pannier's, and those who may not use one that is.

use super::*;

#[tokio::test]
async fn a_model_of_the_upstreams_is_asked_byte_for_byte() {
    let lobby = Lobby::open().await;
    lobby.upstream.on(TRANSCRIPTIONS, |_| json(200, "{\"text\":\"from the upstream\"}\n"));
    let ask = form(TRANSCRIPTIONS, b"no recording at all", &[("model", "gemma4"), ("temperature", "99")]);
    let reply = lobby.pannier.ask(&ask).await.fine();
    assert_eq!(reply.text(), "{\"text\":\"from the upstream\"}\n");
    let visits = lobby.upstream.visits(TRANSCRIPTIONS);
    let Payload::Whole(sent) = &ask.body else { panic!("a whole body") };
    assert_eq!((visits.len(), &visits[0].body()[..]), (1, &sent[..]));
    assert_eq!(visits[0].field("content-type"), Some("multipart/form-data; boundary=edge"));
    // What it says is its own, errors too.
    lobby.upstream.on("/v1/audio/translations", |_| json(404, "{\"error\":\"no such route\"}"));
    let reply = lobby.pannier.ask(&form("/v1/audio/translations", b"x", &[("model", "gemma4")])).await;
    assert_eq!((reply.status(), reply.text().as_str()), (404, "{\"error\":\"no such route\"}"));
}

#[tokio::test]
async fn the_predecessors_routes_have_no_upstream() {
    let lobby = Lobby::open().await;
    let reply = lobby.pannier.ask(&form("/audio/upload/transcribe", b"x", &[("model", "gemma4")])).await;
    assert_eq!((reply.status(), reply.code()), (404, Some("not_found")));
    assert!(reply.json()["error"].as_str().is_some_and(|error| error.contains("tiny")), "{}", reply.text());
}

#[tokio::test]
async fn a_key_may_be_kept_from_models_that_listen() {
    let keys = "[auth]\nmode = \"required\"\nkeys = [\
                { name = \"deaf\", key = \"pk-deaf-0123456789abcdef\", models = [\"llama*\"] },\
                { name = \"all\", key = \"pk-all-0123456789abcdef\", models = [\"whisper:*\"] }]\n";
    let lobby = Lobby::open_with(|launch| launch.file(keys)).await;
    let ask = form(TRANSCRIPTIONS, b"", &[("model", "tiny")]);
    let status = async |key: &str| lobby.pannier.ask(&ask.clone().with("X-API-Key", key)).await.status();
    assert_eq!(lobby.pannier.ask(&ask).await.status(), 401);
    assert_eq!(status("pk-deaf-0123456789abcdef").await, 403);
    assert_eq!(status("pk-all-0123456789abcdef").await, 400, "an empty recording");
}
