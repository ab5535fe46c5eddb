//! The key of a call: reading a request's body and making its fingerprint.

use bytes::Bytes;
use divan::counter::BytesCount;
use pannier::dialect::{Form, decode};

fn main() {
    divan::main();
}

/// A chat whose history has about `bytes` bytes, in messages of the size that people write.
fn chat(bytes: usize) -> Bytes {
    let message = |n: usize| {
        let role = if n.is_multiple_of(2) { "user" } else { "assistant" };
        let text =
            "It was a \\\"bright\\\" cold day in April, and the clocks were striking thirteen.\\n".repeat(3);
        format!(r#"{{"role":"{role}","content":"{text}"}}"#)
    };
    let messages: Vec<String> = (0..bytes.div_ceil(message(0).len())).map(message).collect();
    let options = r#"{"temperature":0,"seed":7,"num_ctx":4096}"#;
    let body = format!(r#"{{"model":"m","messages":[{}],"options":{options}}}"#, messages.join(","));
    body.into()
}

#[divan::bench(args = [200, 8 << 10, 1 << 20])]
fn key_of_a_chat(bencher: divan::Bencher<'_, '_>, bytes: usize) {
    let body = chat(bytes);
    let count = BytesCount::new(body.len());
    bencher.counter(count).bench_local(|| decode(Form::Chat, divan::black_box(body.clone())));
}

#[divan::bench]
fn key_of_a_thousand_texts(bencher: divan::Bencher<'_, '_>) {
    let texts = vec![r#""The quick brown fox jumps over the lazy dog.""#; 1000].join(",");
    let body = Bytes::from(format!(r#"{{"model":"m","input":[{texts}]}}"#));
    let count = BytesCount::new(body.len());
    bencher.counter(count).bench_local(|| decode(Form::Embed, divan::black_box(body.clone())));
}
