//! An embedding model that anybody can check: a text's vector is a function of the text and of the model's
//! digest, made and written here without a line of Pannier's.

use super::answers::{json, whole};
use super::upstream::{Act, Gate, Upstream, Visit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Numbers of a whole vector.
pub const LENGTH: usize = 12;

/// The vector of `text`, of which `dimensions` numbers are wanted.
pub fn vector(text: &str, digest: &str, dimensions: Option<u64>) -> Vec<f32> {
    let number = |at: usize| {
        let mut hasher = DefaultHasher::new();
        (text, digest, at).hash(&mut hasher);
        (hasher.finish() % 4096) as f32 / 16.0 - 128.0
    };
    let vector: Vec<f32> = (0..LENGTH).map(number).collect();
    match dimensions.map(|wanted| wanted as usize) {
        Some(wanted) if (1..LENGTH).contains(&wanted) => {
            let sum = vector[..wanted].iter().fold(0f32, |sum, number| sum + number * number);
            let norm = (1.0 / f64::from(sum).sqrt().max(1e-12)) as f32;
            vector[..wanted].iter().map(|number| number * norm).collect()
        }
        _ => vector,
    }
}

/// A token for each three bytes, and two around them.
pub fn tokens(text: &str) -> u64 {
    text.len() as u64 / 3 + 2
}

/// A request's body, unpacked where it is packed.
pub fn body(visit: &Visit) -> Value {
    let body = match visit.field("content-encoding") {
        Some("zstd") => zstd::decode_all(&visit.body()[..]).expect("zstd"),
        _ => visit.body().to_vec(),
    };
    serde_json::from_slice(&body).expect("JSON")
}

/// The texts that a request's body asks for.
pub fn texts(body: &Value) -> Vec<String> {
    match &body["input"] {
        Value::Array(texts) => texts.iter().map(|text| text.as_str().expect("a text").to_owned()).collect(),
        text => vec![text.as_str().expect("a text").to_owned()],
    }
}

/// What Ollama would answer to `/api/embed` or `/v1/embeddings`.
pub fn embeds(visit: &Visit, digest: &str) -> Vec<Act> {
    let body = body(visit);
    let texts = texts(&body);
    let vectors: Vec<_> =
        texts.iter().map(|text| vector(text, digest, body["dimensions"].as_u64())).collect();
    let sum: u64 = texts.iter().map(|text| tokens(text)).sum();
    let array = |vector: &Vec<f32>| {
        // Where two shortest texts are equally near, Go and ryu take the even one, and the library the larger.
        let text = |number: &f32| ryu::Buffer::new().format_finite(*number).trim_end_matches(".0").to_owned();
        let numbers: Vec<_> = vector.iter().map(text).collect();
        format!("[{}]", numbers.join(","))
    };
    let model = &body["model"];
    if visit.path() == "/api/embed" {
        let arrays: Vec<_> = vectors.iter().map(array).collect();
        let took = 1_000_000 * texts.len();
        let answer = format!(
            "{{\"model\":{model},\"embeddings\":[{}],\"total_duration\":{took},\"load_duration\":900,\
             \"prompt_eval_count\":{sum}}}",
            arrays.join(",")
        );
        return json(200, &answer);
    }
    let encoded = |vector: &Vec<f32>| match body["encoding_format"].as_str() {
        Some("base64") => {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            format!("\"{}\"", STANDARD.encode(bytes))
        }
        _ => array(vector),
    };
    let datum = |(index, vector): (usize, &Vec<f32>)| {
        format!("{{\"object\":\"embedding\",\"embedding\":{},\"index\":{index}}}", encoded(vector))
    };
    let data: Vec<_> = vectors.iter().enumerate().map(datum).collect();
    let answer = format!(
        "{{\"object\":\"list\",\"data\":[{}],\"model\":{model},\"usage\":{{\"prompt_tokens\":{sum},\
         \"total_tokens\":{sum}}}}}\n",
        data.join(",")
    );
    whole(200, "application/json", answer)
}

/// The same; a text in which `late` stands waits for the gate to open.
pub fn embeds_late(upstream: &Upstream, digest: &'static str) -> Gate {
    let gate = Gate::closed();
    let held = gate.clone();
    upstream.on("/api/embed", move |visit| {
        let late = String::from_utf8_lossy(&visit.body()).contains("late");
        let wait = late.then(|| Act::Wait(held.clone()));
        wait.into_iter().chain(embeds(visit, digest)).collect()
    });
    gate
}

/// A vector in either encoding.
pub fn numbers(value: &Value) -> Vec<f32> {
    match value {
        Value::String(text) => {
            let bytes = STANDARD.decode(text).expect("base64");
            bytes.chunks(4).map(|word| f32::from_le_bytes(word.try_into().expect("a word"))).collect()
        }
        // As text, for a detour by 64 bits would round twice.
        Value::Array(numbers) => {
            numbers.iter().map(|number| number.to_string().parse().expect("a number")).collect()
        }
        other => panic!("no vector: {other}"),
    }
}

/// The vectors of an answer of either route, in either encoding.
pub fn read(answer: &Value) -> Vec<Vec<f32>> {
    match (&answer["embeddings"], &answer["data"]) {
        (Value::Array(vectors), _) => vectors.iter().map(numbers).collect(),
        (_, Value::Array(data)) => {
            for (at, datum) in data.iter().enumerate() {
                assert_eq!(datum["index"], json!(at));
            }
            data.iter().map(|datum| numbers(&datum["embedding"])).collect()
        }
        _ => panic!("no answer full of vectors: {answer}"),
    }
}

/// The tokens that an answer of either route tells.
pub fn told_tokens(answer: &Value) -> u64 {
    let told = answer["prompt_eval_count"].as_u64().or(answer["usage"]["prompt_tokens"].as_u64());
    told.expect("a count of tokens")
}
