//! `/api/embed`'s answer, written and read.

use crate::dialect::numbers;
use crate::dialect::vectors::Vectors;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

/// What stands in it. What is zero is left out.
#[derive(Deserialize)]
struct Embeddings<'a> {
    #[serde(borrow)]
    embeddings: Vec<&'a RawValue>,
    #[serde(default)]
    total_duration: u64,
    #[serde(default)]
    load_duration: u64,
    #[serde(default)]
    prompt_eval_count: u64,
}

/// `model` is JSON text.
pub fn write_vectors(out: &mut Vec<u8>, model: &str, vectors: &Vectors) {
    out.extend_from_slice(b"{\"model\":");
    out.extend_from_slice(model.as_bytes());
    out.extend_from_slice(b",\"embeddings\":[");
    for (nth, vector) in vectors.each.iter().enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        numbers::write_array(out, vector);
    }
    out.push(b']');
    let figures = [
        ("total_duration", nanoseconds(vectors.total)),
        ("load_duration", nanoseconds(vectors.load)),
        ("prompt_eval_count", vectors.tokens),
    ];
    for (name, figure) in figures.into_iter().filter(|(_, figure)| *figure > 0) {
        out.extend_from_slice(format!(",\"{name}\":{figure}").as_bytes());
    }
    out.push(b'}');
}

/// `None` for what is no such answer.
pub fn read_vectors(body: &[u8]) -> Option<Vectors> {
    let answer: Embeddings = serde_json::from_slice(body).ok()?;
    let each = answer.embeddings.iter().map(|array| Some(numbers::read(array.get())?.into()));
    Some(Vectors {
        each: each.collect::<Option<_>>()?,
        tokens: answer.prompt_eval_count,
        total: Duration::from_nanos(answer.total_duration),
        load: Duration::from_nanos(answer.load_duration),
    })
}

/// The first `dimensions` numbers of a vector, brought to length 1 as Ollama does it: a whole vector has been
/// through the same arithmetic once already, so this is what it would answer, bit for bit, on a machine that
/// does not fuse multiplication and addition. Go fuses them on arm64, and not on amd64 (OLLAMA.md §11.2).
pub fn shorten(vector: &[f32], dimensions: usize) -> Arc<[f32]> {
    if dimensions >= vector.len() {
        return vector.into();
    }
    let beginning = &vector[..dimensions];
    let squares = beginning.iter().fold(0f32, |sum, number| sum + number * number);
    let factor = (1.0 / f64::from(squares).sqrt().max(1e-12)) as f32;
    beginning.iter().map(|number| number * factor).collect()
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    /// Vectors of Ollama 0.34.4 on amd64: each line how many numbers were asked for, and their bytes.
    #[test]
    fn a_shortened_vector_is_the_one_that_ollama_makes() {
        let path = std::env::var("SHORTENED").unwrap_or_else(|_| "tests/golden/shortened.txt".to_owned());
        let (mut whole, mut count) = (Vec::new(), 0);
        for line in std::fs::read_to_string(path).expect("the golden file").lines() {
            let (dimensions, base64) = line.split_once(' ').expect("two words");
            let bytes = STANDARD.decode(base64).expect("base64");
            let bits: Vec<u32> =
                bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
            if dimensions == "384" {
                whole = bits.iter().map(|bits| f32::from_bits(*bits)).collect();
            }
            let made = shorten(&whole, dimensions.parse().expect("a number"));
            if dimensions != "384" {
                assert_eq!(
                    made.iter().map(|number| number.to_bits()).collect::<Vec<_>>(),
                    bits,
                    "{dimensions}"
                );
                count += 1;
            }
        }
        assert!(count > 0);
    }
}
