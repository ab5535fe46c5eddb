//! Real requests, and what is read from each: `tests/golden/<dialect>/<operation>/<case>/request.json`
//! beside `decoded.txt`. With `GOLDEN=write` in the environment the latter are written anew; a changed
//! fingerprint there means that every stored answer is forgotten.

use bytes::Bytes;
use pannier::dialect::{DIALECTS, Form, decode, native};
use pannier::domain::{Call, Error, Kind, RequestId, Route};
use pannier::gateway::{self, Body, Reply};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The folder of each form's cases.
fn folder(form: Form) -> &'static str {
    match form {
        Form::Generate => "ollama/generate",
        Form::Chat => "ollama/chat",
        Form::Embed => "ollama/embed",
        Form::Embeddings => "ollama/embeddings",
        Form::OpenAiChat => "openai/chat_completions",
        Form::OpenAiText => "openai/completions",
        Form::OpenAiEmbed => "openai/embeddings",
        Form::Transcription => "openai/transcriptions",
        Form::Responses => "openai/responses",
        Form::Messages => "anthropic/messages",
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// What `decode` says.
fn decoded(form: Form, request: &[u8]) -> String {
    match decode(form, Bytes::copy_from_slice(request)) {
        Ok(call) => shown(&call, request),
        Err(error) => format!("refused {error}\n"),
    }
}

/// One line a field. A body is shown only where it is not the client's own.
fn shown(call: &Call, request: &[u8]) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Debug| {
        writeln!(text, "{name} {value:?}").expect("a string takes all");
    };
    line("model", &call.model);
    line("operation", &call.operation);
    line("streamed", &call.streamed);
    line("certainty", &call.certainty);
    line("storable", &call.storable);
    line("strip_usage", &call.strip_usage);
    line("estimated_prompt_tokens", &call.estimated_prompt_tokens);
    let fingerprint: String = call.fingerprint.0.iter().map(|byte| format!("{byte:02x}")).collect();
    line("fingerprint", &format_args!("{fingerprint}"));
    if let Some(texts) = &call.texts {
        let manner: String = texts.manner.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let tokens = texts.items.iter().map(|item| String::from_utf8_lossy(&call.body[item.place.clone()]));
        line("texts", &tokens.collect::<Vec<_>>());
        line("manner", &format_args!("{manner}"));
    }
    if call.body != request {
        line("body", &format_args!("{}", String::from_utf8_lossy(&call.body)));
    }
    text
}

#[test]
fn requests_are_read_as_written_down() {
    for form in Form::ALL {
        check(folder(form), |request| decoded(form, request));
    }
    check("native/embeddings_batch", |request| {
        let batch = native::decode(request, 10, false).expect("a batch");
        format!("places {:?}\nbase64 {}\n{}", batch.places, batch.base64, shown(&batch.call, request))
    });
}

/// What a client is told of each kind of error, by itself and within a stream that has begun:
/// `tests/golden/<dialect>/errors.txt`.
#[test]
fn errors_are_told_as_written_down() {
    for dialect in DIALECTS {
        let mut all = String::new();
        for kind in Kind::ALL {
            let error = Error::new(kind, "it said: \"no\"\n").retry_after(Duration::from_millis(2_500));
            writeln!(all, "{}", told(&error, dialect.name())).expect("a string takes all");
        }
        compare(&all, &golden().join(dialect.name()).join("errors.txt"));
    }
}

/// Each code has a row of the page that explains them, with its status, and nothing else has.
#[test]
fn every_code_is_explained() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
    let page = std::fs::read_to_string(page).expect("the page of errors");
    let mut rows: Vec<_> =
        page.lines().filter(|line| line.starts_with("| `") && line.contains("` | ")).collect();
    rows.retain(|row| row.split('|').nth(2).is_some_and(|cell| cell.trim().parse::<u16>().is_ok()));
    for kind in Kind::ALL {
        let row = format!("| `{}` | {} | ", kind.code(), kind.status());
        assert_eq!(rows.iter().filter(|line| line.starts_with(&row)).count(), 1, "{row}");
    }
    assert_eq!(rows.len(), Kind::ALL.len());
}

fn told(error: &Error, dialect: &'static str) -> String {
    let (route, id) = (Route { template: "other", dialect }, RequestId([7; 16]));
    let Reply { status, headers, body } = gateway::refuse(error, route, id);
    let Body::Whole(body) = body else { panic!("an error is told whole") };
    let mut fields: Vec<String> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
    fields.sort();
    let frame = gateway::frame(error, route, id);
    let [body, frame] = [body, frame].map(|bytes| String::from_utf8(bytes.to_vec()).expect("text"));
    format!(
        "{} {}\n{}\n{body}\nin a stream: {frame:?}\n",
        error.kind.code(),
        status.as_u16(),
        fields.join("\n")
    )
}

fn compare(read: &str, expected: &Path) {
    if std::env::var("GOLDEN").is_ok_and(|wish| wish == "write") {
        std::fs::write(expected, read).expect("written");
    } else {
        let written = std::fs::read_to_string(expected).unwrap_or_default();
        assert_eq!(read, written, "{}", expected.display());
    }
}

fn check(folder: &str, read: impl Fn(&[u8]) -> String) {
    let cases = std::fs::read_dir(golden().join(folder)).expect("a folder for every form");
    let mut count = 0;
    for case in cases {
        let case = case.expect("a case").path();
        let Ok(request) = std::fs::read(case.join("request.json")) else { continue };
        count += 1;
        compare(&read(&request), &case.join("decoded.txt"));
    }
    assert!(count > 0, "{folder} has no case");
}

#[test]
fn every_dialect_has_a_folder() {
    for dialect in DIALECTS {
        assert!(golden().join(dialect.name()).is_dir(), "{}", dialect.name());
    }
}
