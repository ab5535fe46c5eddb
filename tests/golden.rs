//! Real requests, and what is read from each: `tests/golden/<dialect>/<operation>/<case>/request.json`
//! beside `decoded.txt`. With `GOLDEN=write` in the environment the latter are written anew; a changed
//! fingerprint there means that every stored answer is forgotten.

use bytes::Bytes;
use pannier::dialect::{DIALECTS, Form, decode, native};
use pannier::domain::Call;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

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

fn check(folder: &str, read: impl Fn(&[u8]) -> String) {
    let cases = std::fs::read_dir(golden().join(folder)).expect("a folder for every form");
    let mut count = 0;
    for case in cases {
        let case = case.expect("a case").path();
        let Ok(request) = std::fs::read(case.join("request.json")) else { continue };
        count += 1;
        let (read, expected) = (read(&request), case.join("decoded.txt"));
        if std::env::var("GOLDEN").is_ok_and(|wish| wish == "write") {
            std::fs::write(&expected, read).expect("written");
        } else {
            let expected = std::fs::read_to_string(&expected).expect("decoded.txt");
            assert_eq!(read, expected, "{}", case.display());
        }
    }
    assert!(count > 0, "{folder} has no case");
}

#[test]
fn every_dialect_has_a_folder() {
    for dialect in DIALECTS {
        assert!(golden().join(dialect.name()).is_dir(), "{}", dialect.name());
    }
}
