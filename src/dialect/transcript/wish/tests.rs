//! What is wanted, in either dress.

use super::*;
use bytes::Bytes;
use serde_json::json;

const OPENAI: Hearing = Hearing { translate: false, manner: Manner::OpenAi };
const NATIVE: Hearing = Hearing { translate: true, manner: Manner::Native };

fn form(parts: &[(&str, &str)]) -> Bytes {
    let part = |(head, content): &(&str, &str)| {
        format!("--x\r\nContent-Disposition: form-data; name={head}\r\n\r\n{content}\r\n")
    };
    format!("{}--x--\r\n", parts.iter().map(part).collect::<String>()).into()
}

fn read(parts: &[(&str, &str)]) -> Result<Wish, String> {
    let kind = Some(&b"multipart/form-data; boundary=x"[..]);
    Wish::read(OPENAI, Sent::of(kind, "model=base&language=de", &form(parts))).map_err(|error| error.message)
}

const FILE: (&str, &str) = ("file; filename=\"../a.wav\"", "RIFF");

#[test]
fn a_form_says_what_is_wanted() {
    let wish = read(&[
        FILE,
        ("model", "tiny"),
        ("language", " en "),
        ("prompt", "names"),
        ("temperature", "0.5"),
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "word"),
        ("include[]", "logprobs"),
    ])
    .expect("a wish");
    assert_eq!(wish.audio, Film::Bytes(Bytes::from_static(b"RIFF")));
    assert_eq!((wish.model.as_deref(), wish.language.as_deref()), (Some("tiny"), Some("en")));
    assert_eq!((wish.prompt.as_deref(), wish.temperature, wish.shape), (Some("names"), 0.5, Shape::Verbose));
    assert_eq!((wish.grain, wish.streamed), (Grain { segments: false, words: true }, false));
    assert!(read(&[FILE, ("stream", "True")]).expect("a wish").streamed);
    // What it does not say stands in the address, or is as usual.
    let wish = read(&[FILE]).expect("a wish");
    assert_eq!((wish.model.as_deref(), wish.language.as_deref()), (Some("base"), Some("de")));
    assert_eq!((wish.shape, wish.grain, wish.streamed), (Shape::Json, Grain::default(), false));
}

#[test]
fn json_says_it_as_well_on_our_own_routes() {
    let body =
        json!({ "audio": "UklGRg==", "model": "tiny", "language": null, "temperature": 0.25, "x": [1] });
    let body = Bytes::from(body.to_string());
    let wish = Wish::read(NATIVE, Sent::of(Some(b"application/json"), "", &body)).expect("a wish");
    assert_eq!(wish.audio, Film::Text("UklGRg==".into()));
    assert_eq!((wish.model.as_deref(), wish.language, wish.temperature), (Some("tiny"), None, 0.25));
    assert!(wish.hearing.translate);
    let refused = Wish::read(OPENAI, Sent::of(Some(b"application/json"), "", &body)).expect_err("no form");
    assert_eq!(refused.kind, Kind::BadRequest);
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    for (parts, why) in [
        (vec![("model", "tiny")], "there is no recording"),
        (vec![FILE, FILE], "two recordings"),
        (vec![FILE, ("temperature", "2")], "temperature"),
        (vec![FILE, ("temperature", "NaN")], "temperature"),
        (vec![FILE, ("response_format", "xml")], "response_format"),
        (vec![FILE, ("stream", "maybe")], "stream"),
        (vec![FILE, ("stream", "true"), ("response_format", "srt")], "stream"),
        (vec![FILE, ("timestamp_granularities[]", "letter")], "timestamp_granularities"),
        (vec![FILE, ("timestamp_granularities[]", "word")], "verbose_json"),
        (vec![FILE, ("model", "a"), ("model", "b")], "twice"),
    ] {
        let said = read(&parts).expect_err("refused");
        assert!(said.contains(why), "{parts:?}: {said}");
    }
    for body in ["", "[]", "{\"audio\":1}", "{\"audio\":[\"UklGRg==\"]}", "{}", "\u{1}"] {
        let refused = Wish::read(NATIVE, Sent::of(None, "", &Bytes::from(body))).expect_err("refused");
        assert_eq!(refused.kind, Kind::BadRequest, "{body}");
    }
}

#[test]
fn the_model_is_found_whatever_else_there_is() {
    let kind = Some(&b"multipart/form-data; boundary=x"[..]);
    let body = form(&[FILE, ("model", "gemma"), ("temperature", "9")]);
    assert_eq!(Sent::of(kind, "", &body).model().as_deref(), Some("gemma"));
    assert_eq!(Sent::of(kind, "x=1&%6Dodel=ll+a", &body).model().as_deref(), Some("ll a"));
    for none in [form(&[FILE]), Bytes::from_static(b"--x"), Bytes::new()] {
        assert_eq!(Sent::of(kind, "", &none).model(), None);
    }
}
