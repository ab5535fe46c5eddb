//! `/v1/embeddings`' answer, written and read.

use crate::dialect::numbers;
use crate::dialect::vectors::Vectors;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    data: Vec<Datum<'a>>,
    usage: Usage,
}

#[derive(Deserialize)]
struct Datum<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u64,
}

/// `model` is JSON text.
pub fn write_vectors(out: &mut Vec<u8>, model: &str, base64: bool, vectors: &Vectors) {
    out.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
    for (nth, vector) in vectors.each.iter().enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"object\":\"embedding\",\"embedding\":");
        match base64 {
            true => write_base64(out, vector),
            false => numbers::write_array(out, vector),
        }
        out.extend_from_slice(format!(",\"index\":{nth}}}").as_bytes());
    }
    let tokens = vectors.tokens;
    let usage =
        format!("],\"model\":{model},\"usage\":{{\"prompt_tokens\":{tokens},\"total_tokens\":{tokens}}}}}\n");
    out.extend_from_slice(usage.as_bytes());
}

/// `None` for what is no such answer.
pub fn read_vectors(body: &[u8]) -> Option<Vectors> {
    let list: List = serde_json::from_slice(body).ok()?;
    let each = list.data.iter().map(|datum| read_vector(datum.embedding.get()));
    Some(Vectors {
        each: each.collect::<Option<_>>()?,
        tokens: list.usage.prompt_tokens,
        total: Duration::ZERO,
        load: Duration::ZERO,
    })
}

/// An array of numbers, or a string of base64.
fn read_vector(json: &str) -> Option<Arc<[f32]>> {
    let Some(text) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Some(numbers::read(json)?.into());
    };
    let bytes = STANDARD.decode(text).ok()?;
    let (words, rest) = bytes.as_chunks::<4>();
    let vector: Arc<[f32]> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    (rest.is_empty() && !vector.is_empty() && vector.iter().all(|number| number.is_finite()))
        .then_some(vector)
}

/// A string with the numbers' bytes.
pub fn write_base64(out: &mut Vec<u8>, vector: &[f32]) {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    out.push(b'"');
    let from = out.len();
    out.resize(from + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(&bytes, &mut out[from..]).unwrap_or(0);
    out.truncate(from + written);
    out.push(b'"');
}
