//! Answers that a real Ollama 0.33 gave (`tests/it/recorded/*.resp`: head, empty line, body without its
//! chunk framing), and the nine routes that Pannier reads, each with a question and its answer.

use super::answers::{chunked, whole};
use super::client::find;
use super::upstream::Act;
use super::{Ask, Visit};
use bytes::Bytes;
use serde_json::{Value, json};

/// Names and digests of the models that exist on the stage.
pub const MODELS: [(&str, &str); 2] = [
    ("smollm2:135m", "9077fe9d2ae1a4a41a868836b56b8163731a8fe16621397028c2c76f838c6907"),
    ("all-minilm:l6-v2", "1b226e2802dbb772b5fc32a58f103ca1804ef7501331012de126ab22f67475ef"),
];

/// One recorded answer.
pub struct Recording {
    pub content_type: String,
    pub body: Bytes,
}

/// One of the nine routes that are answered rather than forwarded.
#[derive(Clone)]
pub struct Route {
    pub path: &'static str,
    /// `ollama`, `openai` or `anthropic`.
    pub dialect: &'static str,
    /// The question, for one whole answer.
    pub question: Value,
    /// The answer, and its content type.
    pub answer: Bytes,
    pub content_type: &'static str,
    /// The frames of the same answer as a stream; none where there are no streams.
    pub frames: Vec<Vec<u8>>,
    /// Tokens that the upstream reports for it (0 where it reports none).
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
}

macro_rules! recording {
    ($name:literal) => {
        recorded(include_bytes!(concat!("../recorded/", $name, ".resp")))
    };
}

/// Takes a recorded answer apart.
pub fn recorded(raw: &[u8]) -> Recording {
    let end = find(raw, b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&raw[..end]).into_owned();
    let content_type = head.lines().find_map(|line| line.strip_prefix("Content-Type: ")).unwrap_or_default();
    Recording { content_type: content_type.to_owned(), body: Bytes::copy_from_slice(&raw[end + 4..]) }
}

impl Recording {
    pub fn chat_stream() -> Recording {
        recording!("chat_stream")
    }

    pub fn openai_stream() -> Recording {
        recording!("v1_chat_stream")
    }

    pub fn openai_stream_with_usage() -> Recording {
        recording!("v1_chat_stream_usage")
    }

    pub fn missing_model() -> Recording {
        recording!("chat_missing_model")
    }

    pub fn missing_model_openai() -> Recording {
        recording!("v1_missing")
    }

    pub fn load() -> Recording {
        recording!("chat_empty_load")
    }

    /// Of the native answer to "a" and "b", which took three tokens each, what answers "a" alone.
    fn first_alone(self) -> Recording {
        let text = String::from_utf8(self.body.to_vec()).expect("JSON");
        let (first, _) = text.split_once("],[").expect("two vectors");
        let (_, figures) = text.split_once("]],").expect("what follows them");
        let figures = figures.replace(":6", ":3");
        Recording { body: format!("{first}]],{figures}").into(), ..self }
    }

    /// Of OpenAI's answer to the same, what answers "b" alone.
    fn second_alone(self) -> Recording {
        let text = String::from_utf8(self.body.to_vec()).expect("JSON");
        let (first, second) = text.split_once("},{").expect("two vectors");
        let (list, _) = first.split_once("[{").expect("what stands before them");
        let second = second.replace("\"index\":1", "\"index\":0").replace(":6", ":3");
        Recording { body: format!("{list}[{{{second}").into(), ..self }
    }

    /// The frames of a stream: lines of NDJSON, or blocks of SSE.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        let end: &[u8] = if self.content_type == "text/event-stream" { b"\n\n" } else { b"\n" };
        let mut rest = &self.body[..];
        let mut frames = Vec::new();
        while let Some(at) = find(rest, end) {
            let (frame, after) = rest.split_at(at + end.len());
            frames.push(frame.to_vec());
            rest = after;
        }
        assert!(rest.iter().all(u8::is_ascii_whitespace), "half a frame at the end");
        frames
    }
}

impl Route {
    pub fn streams(&self) -> bool {
        !self.frames.is_empty()
    }

    fn stream_type(&self) -> &'static str {
        if self.dialect == "ollama" { "application/x-ndjson" } else { "text/event-stream" }
    }

    /// The question in one mode; routes without streams know only the other.
    pub fn body(&self, streamed: bool) -> Value {
        let mut body = self.question.clone();
        if self.streams() {
            body["stream"] = streamed.into();
        }
        body
    }

    pub fn ask(&self, streamed: bool) -> Ask {
        Ask::post(self.path, &self.body(streamed))
    }

    /// The same, in words that no request of the other mode has: what one was told cannot answer the other.
    pub fn ask_apart(&self, streamed: bool) -> Ask {
        let mut body = self.body(streamed);
        body["apart"] = streamed.into();
        Ask::post(self.path, &body)
    }

    /// The answer's script in one mode.
    pub fn acts(&self, streamed: bool) -> Vec<Act> {
        if streamed {
            chunked(self.stream_type(), &self.frames)
        } else if self.answer.len() <= 2048 {
            whole(200, self.content_type, &self.answer)
        } else {
            chunked(self.content_type, &[self.answer.to_vec()])
        }
    }

    /// The answer in the mode that a request asks for.
    pub fn reply_to(&self, visit: &Visit) -> Vec<Act> {
        let asked: Value = serde_json::from_slice(&visit.body()).unwrap_or_default();
        let by_default = self.dialect == "ollama";
        self.acts(self.streams() && asked["stream"].as_bool().unwrap_or(by_default))
    }

    /// The answer's body in one mode.
    pub fn bytes(&self, streamed: bool) -> Bytes {
        if streamed { self.frames.concat().into() } else { self.answer.clone() }
    }

    /// The modes that this route knows.
    pub fn modes(&self) -> &'static [bool] {
        if self.streams() { &[false, true] } else { &[false] }
    }
}

/// One entry of `/api/tags`.
pub fn model_entry(name: &str, digest: &str, made: usize) -> String {
    json!({
        "name": name, "model": name, "modified_at": format!("2026-11-20T20:37:16.{made:09}Z"), "size": 253113180,
        "digest": digest,
        "details": { "parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"],
            "parameter_size": "135M", "quantization_level": "Q4_K_M" },
        "capabilities": ["completion"],
    })
    .to_string()
}

/// All nine.
pub fn routes() -> Vec<Route> {
    let say_hi = json!([{ "role": "user", "content": "Say hi" }]);
    let route = |path, dialect, question, recording: Recording, content_type, frames, tokens: (u64, u64)| {
        assert_eq!(recording.content_type, content_type);
        Route {
            path,
            dialect,
            question,
            answer: recording.body,
            content_type,
            frames,
            prompt_tokens: tokens.0,
            completion_tokens: tokens.1,
        }
    };
    let native = "application/json; charset=utf-8";
    let plain = "application/json";
    vec![
        route(
            "/api/chat",
            "ollama",
            json!({ "model": "smollm2:135m", "messages": say_hi, "options": { "seed": 1, "temperature": 0 } }),
            recording!("chat_nostream"),
            native,
            Recording::chat_stream().frames(),
            (11, 24),
        ),
        route(
            "/api/generate",
            "ollama",
            json!({ "model": "smollm2:135m", "prompt": "Say hi", "options": { "seed": 1, "temperature": 0 } }),
            recording!("generate_nostream"),
            native,
            recording!("generate_stream").frames(),
            (11, 24),
        ),
        route(
            "/api/embed",
            "ollama",
            json!({ "model": "all-minilm:l6-v2", "input": "a" }),
            recording!("embed").first_alone(),
            native,
            Vec::new(),
            (3, 0),
        ),
        route(
            "/api/embeddings",
            "ollama",
            json!({ "model": "all-minilm:l6-v2", "prompt": "a" }),
            recording!("embeddings_legacy"),
            native,
            Vec::new(),
            (0, 0),
        ),
        route(
            "/v1/chat/completions",
            "openai",
            json!({ "model": "smollm2:135m", "messages": say_hi, "seed": 1, "temperature": 0,
                "stream_options": { "include_usage": true } }),
            recording!("v1_chat"),
            plain,
            Recording::openai_stream_with_usage().frames(),
            (11, 16),
        ),
        route(
            "/v1/completions",
            "openai",
            json!({ "model": "smollm2:135m", "prompt": "Say hi", "seed": 1, "temperature": 0,
                "stream_options": { "include_usage": true } }),
            recording!("v1_completions"),
            plain,
            text_frames(true),
            (11, 16),
        ),
        route(
            "/v1/embeddings",
            "openai",
            json!({ "model": "all-minilm:l6-v2", "input": "b" }),
            recording!("v1_embeddings").second_alone(),
            plain,
            Vec::new(),
            (3, 0),
        ),
        route(
            "/v1/responses",
            "openai",
            json!({ "model": "smollm2:135m", "input": "Say hi", "max_output_tokens": 16, "temperature": 0 }),
            recording!("v1_responses"),
            plain,
            responses_frames(),
            (11, 16),
        ),
        route(
            "/v1/messages",
            "anthropic",
            json!({ "model": "smollm2:135m", "max_tokens": 16, "messages": say_hi, "temperature": 0 }),
            recording!("v1_messages"),
            plain,
            messages_frames(),
            (11, 16),
        ),
    ]
}

/// One of the nine.
pub fn route(path: &str) -> Route {
    routes().into_iter().find(|route| route.path == path).expect("one of the nine routes")
}

/// A stream of `/v1/completions`: with `include_usage` every chunk carries zeros, and one more the numbers.
pub fn text_frames(with_usage: bool) -> Vec<Vec<u8>> {
    let zeros = r#","usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#;
    let frame = |choices: &str, usage: &str| {
        let head = r#"{"id":"cmpl-644","object":"text_completion","created":1795208693,"choices":["#;
        let tail = r#"],"model":"smollm2:135m","system_fingerprint":"fp_ollama""#;
        format!("data: {head}{choices}{tail}{usage}}}\n\n").into_bytes()
    };
    let usage = if with_usage { zeros } else { "" };
    let mut frames = vec![
        frame(r#"{"text":"I'm","index":0,"finish_reason":null}"#, usage),
        frame(r#"{"text":" glad","index":0,"finish_reason":"length"}"#, usage),
    ];
    if with_usage {
        let numbers = r#","usage":{"prompt_tokens":11,"completion_tokens":16,"total_tokens":27}"#;
        frames.push(frame("", numbers));
    }
    frames.push(b"data: [DONE]\n\n".to_vec());
    frames
}

/// Named events, each with its type inside as well.
fn events(events: &[Value]) -> Vec<Vec<u8>> {
    let named =
        |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type"));
    events.iter().map(|event| named(event).into_bytes()).collect()
}

fn responses_frames() -> Vec<Vec<u8>> {
    let response = |status: &str, output: Value, usage: Value| {
        json!({ "id": "resp_312503", "object": "response", "created_at": 1795208693u64, "status": status,
            "model": "smollm2:135m", "output": output, "usage": usage })
    };
    let message = |status: &str, content: Value| {
        json!({ "id": "msg_99446", "type": "message", "status": status, "role": "assistant",
            "content": content })
    };
    let text = |text: &str| json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] });
    let usage = json!({ "input_tokens": 11, "output_tokens": 16, "total_tokens": 27,
        "input_tokens_details": { "cached_tokens": 0 }, "output_tokens_details": { "reasoning_tokens": 0 } });
    let done = message("completed", json!([text("It's Sarah!")]));
    let at = json!({ "item_id": "msg_99446", "output_index": 0, "content_index": 0 });
    let mut all = vec![
        json!({ "type": "response.created", "response": response("in_progress", json!([]), Value::Null) }),
        json!({ "type": "response.in_progress", "response": response("in_progress", json!([]), Value::Null) }),
        json!({ "type": "response.output_item.added", "output_index": 0,
            "item": message("in_progress", json!([])) }),
        json!({ "type": "response.content_part.added", "part": text("") }),
        json!({ "type": "response.output_text.delta", "delta": "It's", "logprobs": [] }),
        json!({ "type": "response.output_text.delta", "delta": " Sarah!", "logprobs": [] }),
        json!({ "type": "response.output_text.done", "text": "It's Sarah!" }),
        json!({ "type": "response.content_part.done", "part": text("It's Sarah!") }),
        json!({ "type": "response.output_item.done", "output_index": 0, "item": done }),
        json!({ "type": "response.completed", "response": response("completed", json!([done]), usage) }),
    ];
    for (number, event) in all.iter_mut().enumerate() {
        event["sequence_number"] = number.into();
        if (3..8).contains(&number) {
            let places = at.as_object().expect("an object").clone();
            event.as_object_mut().expect("an object").extend(places);
        }
    }
    events(&all)
}

fn messages_frames() -> Vec<Vec<u8>> {
    let delta = |text: &str| {
        json!({ "type": "content_block_delta", "index": 0,
        "delta": { "type": "text_delta", "text": text } })
    };
    events(&[
        json!({ "type": "message_start", "message": { "id": "msg_db8fb24bcf24af99e885371c", "type": "message",
            "role": "assistant", "model": "smollm2:135m", "content": [],
            "usage": { "input_tokens": 2, "output_tokens": 0 } } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        delta("I'm"),
        delta(" glad"),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "max_tokens" },
            "usage": { "input_tokens": 11, "output_tokens": 16 } }),
        json!({ "type": "message_stop" }),
    ])
}
