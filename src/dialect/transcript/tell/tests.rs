//! One transcript, in all its shapes.

use super::super::line;
use super::*;
use crate::domain::Word;

fn kept() -> Vec<u8> {
    let word = |word: &str, start, end| Word { word: word.into(), start, end };
    let segment = |start, end, text: &str, words| Segment {
        start,
        end,
        text: text.into(),
        tokens: vec![1, 2],
        temperature: 0.0,
        avg_logprob: -0.25,
        no_speech_prob: 0.5,
        words,
    };
    let passages = [
        Passage::Segment(segment(
            500,
            1_250,
            " Ask <not>",
            vec![word("Ask", 500, 800), word("<not>", 800, 1_250)],
        )),
        Passage::Segment(segment(3_723_004, 3_724_000, " what --> \n\n it can.", vec![])),
        Passage::End(Close {
            language: "en".into(),
            language_name: "english".into(),
            audio: 3_724_500_000_000,
            load: 1,
            decode: 2,
            listen: 3,
        }),
    ];
    passages.iter().flat_map(|passage| line(passage).expect("JSON")).collect()
}

fn told(manner: Manner, shape: Shape, words: bool) -> String {
    let hearing = Hearing { translate: false, manner };
    let grain = Grain { segments: true, words };
    Teller { hearing, shape, grain, model: "tiny".into() }.whole(&kept()).expect("a transcript")
}

fn json_of(manner: Manner, shape: Shape, words: bool) -> Value {
    serde_json::from_str(&told(manner, shape, words)).expect("JSON")
}

const TEXT: &str = "Ask <not> what --> \n\n it can.";

#[test]
fn text_and_json_say_what_was_said() {
    assert_eq!(told(Manner::OpenAi, Shape::Text, false), format!("{TEXT}\n"));
    let usage = json!({ "type": "duration", "seconds": 3725 });
    assert_eq!(json_of(Manner::OpenAi, Shape::Json, false), json!({ "text": TEXT, "usage": usage }));
    let native = json_of(Manner::Native, Shape::Json, false);
    assert_eq!(
        (&native["text"], &native["language"], &native["model"]),
        (&json!(TEXT), &json!("en"), &json!("tiny"))
    );
    assert_eq!((&native["duration"], &native["segments"][0]["start"]), (&json!(3724.5), &json!(0.5)));
}

#[test]
fn verbose_tells_of_segments_and_words() {
    let verbose = json_of(Manner::OpenAi, Shape::Verbose, true);
    assert_eq!((&verbose["task"], &verbose["language"]), (&json!("transcribe"), &json!("english")));
    let segment = &verbose["segments"][1];
    assert_eq!(
        (&segment["id"], &segment["start"], &segment["end"]),
        (&json!(1), &json!(3723.004), &json!(3724.0))
    );
    assert_eq!(segment["tokens"], json!([1, 2]));
    assert!(segment["compression_ratio"].as_f64().is_some_and(|ratio| ratio > 0.1));
    assert_eq!(verbose["words"][1], json!({ "word": "<not>", "start": 0.8, "end": 1.25 }));
    assert!(json_of(Manner::OpenAi, Shape::Verbose, false).get("words").is_none());
}

#[test]
fn subtitles_cannot_be_broken_by_what_is_said() {
    assert_eq!(
        told(Manner::OpenAi, Shape::Srt, false),
        "1\n00:00:00,500 --> 00:00:01,250\nAsk <not>\n\n2\n01:02:03,004 --> 01:02:04,000\nwhat ->\nit can.\n\n"
    );
    assert_eq!(
        told(Manner::OpenAi, Shape::Vtt, false),
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.250\nAsk &lt;not&gt;\n\n01:02:03.004 --> 01:02:04.000\nwhat -&gt;\nit can.\n\n"
    );
}

#[test]
fn events_are_the_same_however_the_stream_is_cut() {
    let hearing = Hearing { translate: false, manner: Manner::OpenAi };
    let teller = Teller { hearing, shape: Shape::Json, grain: Grain::default(), model: "m".into() };
    let told = |step: usize| {
        let (mut events, kept) = (teller.events(), kept());
        let pieces = kept.chunks(step).filter_map(|piece| events.pass(piece));
        String::from_utf8(pieces.flatten().collect()).expect("text")
    };
    let whole = told(usize::MAX);
    let events: Vec<Value> = whole
        .split_terminator("\n\n")
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").expect("data")).expect("JSON"))
        .collect();
    let deltas: String = events[..2].iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!((deltas.as_str(), &events[2]["text"]), (TEXT, &json!(TEXT)));
    assert_eq!(events[2]["type"], "transcript.text.done");
    for step in [1, 7, 64] {
        assert_eq!(told(step), whole, "{step}");
    }
}

#[test]
fn what_has_no_end_is_no_transcript() {
    let kept = kept();
    let teller = |kept: &[u8]| Transcript::read(kept).is_some();
    assert!(teller(&kept) && !teller(b"") && !teller(b"{}\n"));
    let last = kept[..kept.len() - 1].iter().rposition(|byte| *byte == b'\n').expect("lines");
    assert!(!teller(&kept[..=last]));
}
