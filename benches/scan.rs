//! What reading a long stream costs, beside its way to the client: 10,000 chunks of each dialect.

use bytes::Bytes;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use pannier::dialect::frame::{self, Framing};
use pannier::dialect::openai::UsageStrip;
use pannier::dialect::{Form, Scanner, cut};
use std::time::SystemTime;

const CHUNKS: usize = 10_000;

fn main() {
    divan::main();
}

/// A stream as Ollama 0.34 writes it.
fn stream(form: Form) -> Vec<Bytes> {
    let (first, chunk, last) = match form {
        Form::Chat => (
            "",
            r#"{"model":"smollm2:135m","created_at":"2026-11-21T05:08:22.124292964Z","message":{"role":"assistant","content":" glad"},"done":false}"#,
            r#"{"model":"smollm2:135m","created_at":"2026-11-21T05:08:22.138315829Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","total_duration":24537565,"load_duration":1368203,"prompt_eval_count":11,"prompt_eval_duration":6840000,"eval_count":10000,"eval_duration":13804000}"#,
        ),
        Form::OpenAiChat => (
            "",
            r#"data: {"id":"chatcmpl-71","object":"chat.completion.chunk","created":1795237702,"model":"smollm2:135m","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"content":" glad"},"finish_reason":null}]}"#,
            concat!(
                r#"data: {"id":"chatcmpl-71","object":"chat.completion.chunk","created":1795237702,"model":"smollm2:135m","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
                "\n\n",
                r#"data: {"id":"chatcmpl-71","object":"chat.completion.chunk","created":1795237702,"model":"smollm2:135m","system_fingerprint":"fp_ollama","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":10000,"total_tokens":10011}}"#,
                "\n\ndata: [DONE]",
            ),
        ),
        _ => (
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_ad593884a4cb9497f1daa8a1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"smollm2:135m\",\"content\":[],\"usage\":{\"input_tokens\":2,\"output_tokens\":0}}}\n\n",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" glad\"}}",
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":11,\"output_tokens\":10000}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}",
        ),
    };
    let framing = Framing::of(form);
    let end = if framing == Framing::Lines { "\n" } else { "\n\n" };
    let body = format!("{first}{}{last}{end}", format!("{chunk}{end}").repeat(CHUNKS));
    frame::split(framing, &Bytes::from(body))
}

const FORMS: [Form; 3] = [Form::Chat, Form::OpenAiChat, Form::Messages];

fn bytes_of(frames: &[Bytes]) -> BytesCount {
    BytesCount::new(frames.iter().map(Bytes::len).sum::<usize>())
}

/// A piece a frame, as they come while the model is at work.
#[divan::bench(args = FORMS)]
fn scan(bencher: Bencher, form: Form) {
    let frames = stream(form);
    bencher.counter(ItemsCount::new(CHUNKS)).counter(bytes_of(&frames)).bench(|| {
        let mut scanner = Scanner::new(form, true);
        frames.iter().for_each(|frame| assert!(scanner.feed(frame) || form == Form::Messages));
        let observed = scanner.finish(None);
        assert!(observed.complete && observed.content_frames == CHUNKS as u64);
        observed
    });
}

/// Pieces of 1,400 bytes, which end anywhere.
#[divan::bench(args = FORMS)]
fn scan_packets(bencher: Bencher, form: Form) {
    let frames = stream(form);
    let body = frames.concat();
    bencher.counter(ItemsCount::new(CHUNKS)).counter(bytes_of(&frames)).bench(|| {
        let mut scanner = Scanner::new(form, true);
        body.chunks(1400).for_each(|piece| {
            scanner.feed(piece);
        });
        scanner.finish(None)
    });
}

#[divan::bench]
fn strip(bencher: Bencher) {
    let frames = stream(Form::OpenAiChat);
    bencher.counter(ItemsCount::new(CHUNKS)).counter(bytes_of(&frames)).bench(|| {
        let mut strip = UsageStrip::new(Form::OpenAiChat);
        frames.iter().filter_map(|frame| strip.pass(frame.clone())).map(|sent| sent.len()).sum::<usize>()
    });
}

/// Once an answer, when it is kept.
#[divan::bench(args = FORMS)]
fn cut_template(bencher: Bencher, form: Form) {
    let frames = stream(form);
    bencher.counter(bytes_of(&frames)).bench(|| cut(form, true, &frames, "smollm2:135m"));
}

/// Once a hit.
#[divan::bench(args = FORMS)]
fn fill_template(bencher: Bencher, form: Form) {
    let template = cut(form, true, &stream(form), "smollm2:135m").expect("a stream of known shape");
    let mut out = template.body.to_vec();
    bencher.bench_local(|| template.fill(&mut out, SystemTime::now(), 7));
}
