//! What the stub upstream says: constant answers in the shapes that a real Ollama 0.33 gave.
//!
//! Knows no socket. The model's name chooses the behaviour, as a scripted upstream would.

use std::sync::LazyLock;

use bytes::Bytes;

/// The models of the stub. What they do is [`Manner`].
pub const MODELS: [&str; 6] = ["quick", "long", "slow", "paced", "held", "embedder"];

/// How a model of the stub answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// At once, about 250 bytes.
    Quick,
    /// At once, about 7 KB.
    Long,
    /// As `Quick`, after [`crate::stub::SLOW`].
    Slow,
    /// A stream with the configured interval between its tokens.
    Paced,
    /// A stream of one token that then waits until the client leaves.
    Held,
}

pub static SMALL_CHAT: LazyLock<Bytes> = LazyLock::new(|| chat("quick", "Blue.").into());
pub static LONG_CHAT: LazyLock<Bytes> = LazyLock::new(|| chat("long", &prose(6_800)).into());
pub static EMBEDDING: LazyLock<Bytes> = LazyLock::new(|| embedding().into());
pub static TEXT: LazyLock<Bytes> = LazyLock::new(|| text().into());
pub static OPENAI_CHAT: LazyLock<Bytes> = LazyLock::new(|| openai_chat().into());
pub static SHOW: LazyLock<Bytes> = LazyLock::new(|| show().into());
pub static TAGS: LazyLock<Bytes> = LazyLock::new(|| tags().into());
pub const VERSION: &str = r#"{"version":"0.33.0"}"#;
pub const ROOT: &str = "Ollama is running";

const AT: &str = "2026-11-20T21:04:52.669412517Z";
const TOKENS: [&str; 5] = ["The", " sky", " is", " blue", "."];

/// The manner of the model that `body` names. Looks at the bytes only: a stub that parsed would be slower
/// than the servers before it.
pub fn manner(body: &[u8]) -> Manner {
    const FIELD: &[u8] = b"\"model\":\"";
    let Some(at) = memchr::memmem::find(body, FIELD) else { return Manner::Quick };
    match &body[at + FIELD.len()..] {
        [b'l', b'o', b'n', b'g', b'"', ..] => Manner::Long,
        [b's', b'l', b'o', b'w', b'"', ..] => Manner::Slow,
        [b'p', b'a', b'c', b'e', b'd', b'"', ..] => Manner::Paced,
        [b'h', b'e', b'l', b'd', b'"', ..] => Manner::Held,
        _ => Manner::Quick,
    }
}

/// The NDJSON lines of a streamed `/api/chat`, one a token, then the one with the counts.
pub fn chat_stream() -> Vec<Bytes> {
    let mut lines: Vec<Bytes> = TOKENS
        .iter()
        .map(|token| {
            format!(
                "{{\"model\":\"paced\",\"created_at\":\"{AT}\",\
                 \"message\":{{\"role\":\"assistant\",\"content\":\"{token}\"}},\"done\":false}}\n"
            )
            .into()
        })
        .collect();
    lines.push(format!("{}\n", chat("paced", "")).into());
    lines
}

/// The events of a streamed `/v1/chat/completions`.
pub fn openai_stream() -> Vec<Bytes> {
    let event = |delta: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-313\",\"object\":\"chat.completion.chunk\",\"created\":1795208692,\
             \"model\":\"paced\",\"system_fingerprint\":\"fp_ollama\",\"choices\":[{{\"index\":0,\
             \"delta\":{{\"role\":\"assistant\",\"content\":\"{delta}\"}},\"finish_reason\":{finish}}}]}}\n\n"
        )
        .into()
    };
    let mut events: Vec<Bytes> = TOKENS.iter().map(|token| event(token, "null")).collect();
    events.push(event("", "\"stop\""));
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}

/// `length` bytes of plain words: no quotes, no backslashes, nothing that JSON would escape.
pub fn prose(length: usize) -> String {
    const WORDS: &str = "light from the sun meets the air and the short waves are turned aside more often \
                         than the long ones so that from every side the eye is met by blue ";
    WORDS.chars().cycle().take(length).collect()
}

fn chat(model: &str, content: &str) -> String {
    format!(
        "{{\"model\":\"{model}\",\"created_at\":\"{AT}\",\
         \"message\":{{\"role\":\"assistant\",\"content\":\"{content}\"}},\"done\":true,\
         \"done_reason\":\"stop\",\"total_duration\":216834498,\"prompt_eval_count\":11,\
         \"eval_count\":24,\"eval_duration\":204095000}}"
    )
}

/// 768 numbers, as many digits each as Go prints of a 32-bit float: about 7 KB together.
fn embedding() -> String {
    let numbers: Vec<String> =
        (0..768).map(|n: i32| format!("{:.6}", f64::from(n * 37 % 601 - 300) / 4096.0)).collect();
    format!(
        "{{\"model\":\"embedder\",\"embeddings\":[[{}]],\"total_duration\":14143917,\
         \"load_duration\":1019500,\"prompt_eval_count\":8}}",
        numbers.join(",")
    )
}

/// One text's vector, of 384 numbers as Go prints them.
fn text() -> String {
    let numbers: Vec<String> =
        (0..384u16).map(|n| (f32::from(n * 37 % 601) / 64.0 - 4.0).to_string()).collect();
    format!(
        "{{\"model\":\"embedder\",\"embeddings\":[[{}]],\"total_duration\":14143917,\
         \"load_duration\":1019500,\"prompt_eval_count\":8}}",
        numbers.join(",")
    )
}

fn openai_chat() -> String {
    "{\"id\":\"chatcmpl-313\",\"object\":\"chat.completion\",\"created\":1795208692,\"model\":\"quick\",\
     \"system_fingerprint\":\"fp_ollama\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\
     \"content\":\"Blue.\"},\"finish_reason\":\"stop\"}],\
     \"usage\":{\"prompt_tokens\":11,\"completion_tokens\":24,\"total_tokens\":35}}"
        .to_owned()
}

fn show() -> String {
    format!("{{\"modified_at\":\"{AT}\",\"details\":{},\"capabilities\":[\"completion\"]}}", details("quick"))
}

fn details(model: &str) -> String {
    let family = if model == "embedder" { "bert" } else { "llama" };
    format!(
        "{{\"parent_model\":\"\",\"format\":\"gguf\",\"family\":\"{family}\",\"families\":[\"{family}\"],\
         \"parameter_size\":\"268.10M\",\"quantization_level\":\"Q4_K_M\"}}"
    )
}

fn tags() -> String {
    let models: Vec<String> = MODELS
        .iter()
        .map(|model| {
            let digest = blake3::hash(model.as_bytes()).to_hex();
            let capability = if *model == "embedder" { "embedding" } else { "completion" };
            format!(
                "{{\"name\":\"{model}:latest\",\"model\":\"{model}:latest\",\"modified_at\":\"{AT}\",\
                 \"size\":253113180,\"digest\":\"{digest}\",\"details\":{},\"capabilities\":[\"{capability}\"]}}",
                details(model)
            )
        })
        .collect();
    format!("{{\"models\":[{}]}}", models.join(","))
}
