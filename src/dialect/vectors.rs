//! Answers full of vectors: rendered from embeddings as Ollama renders them, and read back where nothing of
//! what came would be lost by that.

use super::Form;
use super::escaped::json_text;
use super::{ollama, openai};
use crate::domain::Embedding;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// An answer's vectors, in the order of the texts, and what they cost together.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    pub each: Vec<Arc<[f32]>>,
    /// Of all texts.
    pub tokens: u64,
    /// Zero on `/v1/embeddings`, which does not tell.
    pub total: Duration,
    pub load: Duration,
}

/// The looks of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Looks<'a> {
    pub form: Form,
    /// Vectors as base64; on `/v1/embeddings` only.
    pub base64: bool,
    /// The model's name as the client wrote it.
    pub model: &'a str,
}

/// The whole answer that Ollama would give, had it made `embeddings` in one go: number for number, and with
/// the sum of what they cost.
pub fn render_embeddings(looks: Looks<'_>, embeddings: &[Embedding]) -> Bytes {
    let vectors = Vectors {
        each: embeddings.iter().map(|embedding| embedding.numbers.clone()).collect(),
        tokens: embeddings.iter().map(|embedding| u64::from(embedding.tokens)).sum(),
        total: embeddings.iter().map(|embedding| embedding.total).sum(),
        load: embeddings.iter().map(|embedding| embedding.load).max().unwrap_or_default(),
    };
    render(looks, &vectors)
}

/// Reads a whole answer. `None` unless it can be rendered again to the very bytes that it came in: what is
/// not understood to the last byte must not be kept.
pub fn read_embeddings(looks: Looks<'_>, body: &[u8]) -> Option<Vectors> {
    read_embeddings_at_all(looks, body).filter(|vectors| *render(looks, vectors) == *body)
}

/// The same, for whoever wants nothing but the vectors: what else stands in the answer is lost.
pub fn read_embeddings_at_all(looks: Looks<'_>, body: &[u8]) -> Option<Vectors> {
    let vectors = match looks.form {
        Form::OpenAiEmbed => openai::read_vectors(body),
        _ => ollama::read_vectors(body),
    };
    vectors.filter(|vectors| !vectors.each.is_empty())
}

fn render(looks: Looks<'_>, vectors: &Vectors) -> Bytes {
    let numbers: usize = vectors.each.iter().map(|vector| vector.len()).sum();
    // A number takes about twelve characters, and its comma.
    let mut out = Vec::with_capacity(numbers * 13 + vectors.each.len() * 48 + 256);
    let model = json_text(looks.model);
    match looks.form {
        Form::OpenAiEmbed => openai::write_vectors(&mut out, &model, looks.base64, vectors),
        _ => ollama::write_vectors(&mut out, &model, vectors),
    }
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NATIVE: Looks = Looks { form: Form::Embed, base64: false, model: "all-minilm" };
    const OPENAI: Looks = Looks { form: Form::OpenAiEmbed, base64: false, model: "all-minilm" };
    const BASE64: Looks = Looks { form: Form::OpenAiEmbed, base64: true, model: "all-minilm" };

    fn embedding(numbers: &[f32], tokens: u32) -> Embedding {
        Embedding {
            numbers: numbers.into(),
            tokens,
            estimated: false,
            total: Duration::from_nanos(1_500),
            load: Duration::from_nanos(40),
        }
    }

    /// What Ollama 0.34.4 gave for `["a","b"]` and three dimensions, but for the durations.
    #[test]
    fn answers_are_rendered_as_ollama_renders_them() {
        let (a, b) = ([-0.5338747, 0.508169, -0.67582697], [-0.45458075, 0.287735, -0.84295017]);
        let two = [embedding(&a, 3), embedding(&b, 3)];
        let rendered = |looks| String::from_utf8(render_embeddings(looks, &two).to_vec()).expect("text");
        assert_eq!(
            rendered(NATIVE),
            "{\"model\":\"all-minilm\",\"embeddings\":[[-0.5338747,0.508169,-0.67582697],\
             [-0.45458075,0.287735,-0.84295017]],\"total_duration\":3000,\"load_duration\":40,\
             \"prompt_eval_count\":6}"
        );
        assert_eq!(
            rendered(OPENAI),
            "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"embedding\":\
             [-0.5338747,0.508169,-0.67582697],\"index\":0},{\"object\":\"embedding\",\"embedding\":\
             [-0.45458075,0.287735,-0.84295017],\"index\":1}],\"model\":\"all-minilm\",\
             \"usage\":{\"prompt_tokens\":6,\"total_tokens\":6}}\n"
        );
        assert_eq!(
            rendered(BASE64),
            "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"embedding\":\"A6wIv10XAj//Ai2/\",\
             \"index\":0},{\"object\":\"embedding\",\"embedding\":\"z77ovgBSkz6Vy1e/\",\"index\":1}],\
             \"model\":\"all-minilm\",\"usage\":{\"prompt_tokens\":6,\"total_tokens\":6}}\n"
        );
    }

    #[test]
    fn recorded_answers_are_read_and_rendered_to_the_byte() {
        for (looks, recorded) in [
            (NATIVE, include_bytes!("../../tests/it/recorded/embed.resp") as &[u8]),
            (OPENAI, include_bytes!("../../tests/it/recorded/v1_embeddings.resp")),
        ] {
            let head = recorded.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
            let looks = Looks { model: "all-minilm:l6-v2", ..looks };
            let vectors = read_embeddings(looks, &recorded[head + 4..]).expect("readable");
            assert_eq!((vectors.each[0].len(), vectors.tokens), (384, 3 * vectors.each.len() as u64));
        }
    }

    #[test]
    fn what_would_lose_something_is_not_read() {
        let fine =
            r#"{"model":"all-minilm","embeddings":[[0.5,-1]],"total_duration":7,"prompt_eval_count":2}"#;
        let vectors = read_embeddings(NATIVE, fine.as_bytes()).expect("readable");
        assert_eq!((&*vectors.each[0], vectors.tokens), (&[0.5, -1.0][..], 2));
        for odd in [
            r#"{"model":"all-minilm","embeddings":[[0.5,-1]],"total_duration":7,"prompt_eval_count":2,"new":1}"#,
            r#"{"model":"all-minilm","embeddings":[[0.5,-1.0]]}"#,
            r#"{"model":"all-minilm","embeddings":[[0.123456789]]}"#,
            r#"{"model":"all-minilm","embeddings":[[0.5],[]]}"#,
            r#"{"model":"all-minilm","embeddings":[[]]}"#,
            r#"{"model":"all-minilm","embeddings":[]}"#,
            r#"{"model":"another","embeddings":[[0.5]]}"#,
            r#"{"model":"all-minilm","embeddings":[[0.5]],"prompt_eval_count":0}"#,
            r#"{"model":"all-minilm","embeddings":[[0.5]],"prompt_eval_count":-1}"#,
            r#"{"model":"all-minilm","embeddings":[[1e39]]}"#,
            "{\"model\":\"all-minilm\",\"embeddings\":[[0.5]]}\n",
            r#"{"model":"all-minilm","embeddings":[[0.5, -1]]}"#,
            r#"{"error":"no"}"#,
            "",
        ] {
            assert_eq!(read_embeddings(NATIVE, odd.as_bytes()), None, "{odd}");
        }
    }

    #[test]
    fn whoever_wants_but_the_vectors_reads_any_rendering_of_them() {
        let native = "{ \"new\": 1, \"embeddings\" : [ [ 5E-1,\n -1.0 ],\t[0.250, 1e0] ],\n\"prompt_eval_count\": 4 }\n";
        let openai = "{\"data\": [ {\"embedding\": [ 5E-1,\n -1.0 ]}, {\"embedding\": \"AACAPgAAgD8=\"} ], \
                      \"usage\": {\"prompt_tokens\": 4} }";
        for (looks, body) in [(NATIVE, native), (OPENAI, openai)] {
            let vectors = read_embeddings_at_all(looks, body.as_bytes()).expect("readable");
            let each: Vec<&[f32]> = vectors.each.iter().map(|vector| &**vector).collect();
            assert_eq!((each, vectors.tokens), (vec![&[0.5, -1.0][..], &[0.25, 1.0][..]], 4), "{body}");
            assert_eq!(read_embeddings(looks, body.as_bytes()), None, "not to the byte");
        }
    }

    proptest! {
        #[test]
        fn any_vectors_come_back(
            each in prop::collection::vec(prop::collection::vec(any::<u32>(), 1..20), 1..5),
            tokens in 0u32..9_999,
        ) {
            let finite = |bits: &u32| Some(f32::from_bits(*bits)).filter(|number| number.is_finite());
            let each: Vec<Vec<f32>> = each.iter().map(|bits| bits.iter().filter_map(finite).collect()).collect();
            prop_assume!(each.iter().all(|numbers: &Vec<f32>| !numbers.is_empty()));
            let embeddings: Vec<_> = each.iter().map(|numbers| embedding(numbers, tokens)).collect();
            for looks in [NATIVE, OPENAI, BASE64] {
                let body = render_embeddings(looks, &embeddings);
                let read = read_embeddings(looks, &body).expect("readable");
                let bits = |numbers: &[f32]| numbers.iter().map(|n| n.to_bits()).collect::<Vec<_>>();
                for (read, made) in read.each.iter().zip(&embeddings) {
                    prop_assert_eq!(bits(read), bits(&made.numbers));
                }
                prop_assert_eq!(read.tokens, u64::from(tokens) * embeddings.len() as u64);
            }
        }
    }
}
