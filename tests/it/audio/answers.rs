//! What is told of a recording, and what the road has to do with it.

use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const TINY: (&str, &str) = ("model", "tiny");
const ENGLISH: (&str, &str) = ("language", "en");

/// One transcript in all shapes: it is listened to once.
#[tokio::test]
async fn what_is_said_is_written_down_once_and_told_in_every_shape() {
    let Some(studio) = Studio::open().await else { return };
    let reply = studio.hear("jfk.wav", &[TINY, ENGLISH]).await.fine();
    assert_eq!(reply.field("content-type"), Some("application/json"));
    assert!(reply.cache().contains("fwd=uri-miss"), "{}", reply.cache());
    let text = reply.json()["text"].clone();
    assert_eq!(error_rate(&text, SENTENCE), 0.0, "{text}");
    assert_eq!(reply.json()["usage"], json!({ "type": "duration", "seconds": 11 }));

    let only = |fields: &[(&str, &str)], recording: &str| {
        let fields = [&[TINY, ENGLISH][..], fields].concat();
        form(TRANSCRIPTIONS, &studio.recording(recording), &fields).with("Cache-Control", "only-if-cached")
    };
    eventually("it is remembered", || async {
        (studio.pannier.ask(&only(&[], "jfk.wav")).await.status() == 200).then_some(())
    })
    .await;
    let told = async |fields: &[(&str, &str)], recording: &str| {
        let reply = studio.pannier.ask(&only(fields, recording)).await.fine();
        assert!(reply.is_hit(), "{}", reply.cache());
        reply
    };
    // The same sound in another file is the same question.
    assert_eq!(told(&[], "jfk.flac").await.json()["text"], text);
    let plain = told(&[("response_format", "text")], "jfk.wav").await;
    assert_eq!(plain.field("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(plain.text().trim_end(), text.as_str().expect("a text"));
    let srt = told(&[("response_format", "srt")], "jfk.wav").await.text();
    assert!(srt.starts_with("1\n00:00:0") && srt.contains(" --> 00:00:1"), "{srt}");
    let vtt = told(&[("response_format", "vtt")], "jfk.wav").await;
    assert_eq!(vtt.field("content-type"), Some("text/vtt; charset=utf-8"));
    assert!(vtt.text().starts_with("WEBVTT\n\n00:00:0"), "{}", vtt.text());
    let verbose = [("response_format", "verbose_json"), ("timestamp_granularities[]", "word")];
    let words = told(&verbose, "jfk.wav").await.json();
    assert_eq!(
        (&words["task"], &words["language"], &words["duration"]),
        (&json!("transcribe"), &json!("english"), &json!(11.0))
    );
    let words = words["words"].as_array().expect("words").clone();
    assert_eq!((words.len(), &words[0]["word"]), (22, &json!("And")));
    let times: Vec<f64> = words.iter().map(|word| word["start"].as_f64().expect("a time")).collect();
    assert!(times.is_sorted() && times[21] < 11.0, "{times:?}");
    let events = told(&[("stream", "true")], "jfk.wav").await;
    assert_eq!(events.field("content-type"), Some("text/event-stream"));
    assert!(events.text().contains("\"transcript.text.done\""), "{}", events.text());
    assert!(studio.upstream.visits(TRANSCRIPTIONS).is_empty());

    // The predecessor's routes tell the same in their own words.
    let base64 = STANDARD.encode(studio.recording("jfk.wav"));
    let asked =
        json!({ "audio": format!("data:audio/wav;base64,{base64}"), "model": "tiny", "language": "en" });
    let native = studio.pannier.ask(&Ask::post("/audio/transcribe", &asked)).await.fine();
    assert!(native.is_hit(), "{}", native.cache());
    let told = native.json();
    assert_eq!((&told["text"], &told["language"], &told["duration"]), (&text, &json!("en"), &json!(11.0)));
    let upload = form("/audio/upload/transcribe?model=tiny", &studio.recording("jfk.wav"), &[ENGLISH]);
    assert_eq!(studio.pannier.ask(&upload).await.fine().json(), told);
    let counted = studio.pannier.metrics().await;
    let of =
        |result| counted.sum("pannier_media_decodes_total", &[("kind", "recording"), ("result", result)]);
    assert_eq!((of("decoded"), of("refused")), (2.0, 0.0));
    // It was asked for once, and nine times given; who asked for what was kept too early has been refused.
    let calls = [("operation", "transcription"), ("model", "whisper:tiny-q5_1"), ("finish_reason", "stop")];
    studio.pannier.counts("pannier_llm_requests_total", &calls, 10.0).await;
}

/// Fresh, and with the language found out.
#[tokio::test]
async fn a_stream_tells_what_is_said_as_it_is_said() {
    let Some(studio) = Studio::open().await else { return };
    let ask = form(TRANSCRIPTIONS, &studio.recording("jfk.ogg"), &[TINY, ("stream", "true")]);
    let mut wire = studio.pannier.open().await;
    wire.ask(&ask.with("Connection", "close")).await;
    let mut reply = Vec::new();
    tokio::time::timeout(MINUTES, async {
        wire.something().await;
        let head = wire.head("POST").await;
        assert_eq!((head.status, head.field("content-type")), (200, Some("text/event-stream")));
        loop {
            wire.something().await;
            match wire.piece().await {
                Ok(piece) => reply.extend(piece),
                Err(ending) => break assert_eq!(ending, Ending::Complete),
            }
            if reply.windows(4).any(|window| window == b"done") {
                break;
            }
        }
    })
    .await
    .expect("an answer");
    let text = String::from_utf8(reply).expect("text");
    let events: Vec<Value> = text
        .split_terminator("\n\n")
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").expect("data")).expect("JSON"))
        .collect();
    let (done, deltas) = events.split_last().expect("events");
    assert_eq!(done["type"], "transcript.text.done");
    let together: String = deltas.iter().filter_map(|delta| delta["delta"].as_str()).collect();
    assert_eq!(done["text"], together.trim_end());
    assert!(error_rate(&done["text"], SENTENCE) <= 0.1, "{text}");
}

#[tokio::test]
async fn nobody_speaks_in_silence() {
    let Some(studio) = Studio::open().await else { return };
    let reply = studio.hear("silence_5s.wav", &[TINY]).await.fine();
    assert_eq!(reply.json(), json!({ "text": "", "usage": { "type": "duration", "seconds": 5 } }));
    let srt = studio.hear("silence_5s.wav", &[TINY, ("response_format", "srt")]).await.fine();
    assert_eq!(srt.text(), "");
    // The same process has listened to both, and waits for more.
    assert_eq!(transcribers(&studio.pannier).len(), 1);
}

#[tokio::test]
async fn a_language_that_there_is_not_is_refused() {
    let Some(studio) = Studio::open().await else { return };
    let reply = studio.hear("silence_5s.wav", &[TINY, ("language", "klingon")]).await;
    assert_eq!((reply.status(), reply.code()), (400, Some("bad_request")));
    assert!(reply.text().contains("klingon"), "{}", reply.text());
    studio.hear("silence_5s.wav", &[TINY, ("language", "German")]).await.fine();
}
