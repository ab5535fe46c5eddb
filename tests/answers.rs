//! Real answers of Ollama 0.33 and 0.34, read and cut: what is observed in each, whatever the pieces
//! it came in, and what a replay changes of it.

use bytes::Bytes;
use pannier::dialect::frame::{self, Framing};
use pannier::dialect::openai::UsageStrip;
use pannier::dialect::{Form, Scanner, cut};
use pannier::domain::{Complaint, FinishReason, Observed, SlotKind, Source, Template, Usage};
use proptest::prelude::*;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// Form, file, and what is observed: finish, prompt, cached prompt, completion, frames with content.
type Case = (Form, &'static str, FinishReason, [u64; 3], u64);

#[rustfmt::skip]
const COMPLETE: [Case; 29] = {
    use FinishReason::{Length, Stop, ToolCalls, Unknown};
    [
        (Form::Chat, "ollama-0.33/chat_stream.ndjson", Length, [11, 0, 24], 24),
        (Form::Chat, "ollama-0.33/chat_nostream.json", Length, [11, 0, 24], 0),
        (Form::Chat, "ollama-0.34/chat_stream.ndjson", Length, [11, 10, 3], 3),
        (Form::Chat, "ollama-0.34/chat_stream_logprobs.ndjson", Length, [11, 10, 3], 3),
        (Form::Chat, "ollama-0.34/chat_stream_thinking.ndjson", Length, [14, 13, 4], 2),
        (Form::Chat, "ollama-0.34/chat_stream_tools.ndjson", Stop, [77, 0, 25], 1),
        (Form::Generate, "ollama-0.33/generate_stream.ndjson", Length, [11, 0, 24], 24),
        (Form::Generate, "ollama-0.33/generate_nostream.json", Length, [11, 0, 24], 0),
        (Form::Embed, "ollama-0.33/embed.json", Unknown, [6, 0, 0], 0),
        (Form::OpenAiChat, "ollama-0.33/v1_chat.json", Length, [11, 0, 16], 0),
        (Form::OpenAiChat, "ollama-0.33/v1_chat_stream_usage.sse", Length, [11, 0, 16], 16),
        (Form::OpenAiChat, "ollama-0.34/v1_chat_stream_usage.sse", Length, [11, 10, 4], 4),
        (Form::OpenAiChat, "ollama-0.34/v1_chat_stream_tools.sse", ToolCalls, [77, 76, 25], 1),
        (Form::OpenAiText, "ollama-0.33/v1_completions.json", Length, [11, 0, 16], 0),
        (Form::OpenAiText, "ollama-0.34/v1_completions_stream_usage.sse", Length, [11, 0, 6], 6),
        (Form::OpenAiEmbed, "ollama-0.33/v1_embeddings.json", Unknown, [6, 0, 0], 0),
        (Form::OpenAiEmbed, "ollama-0.33/v1_embeddings_b64.json", Unknown, [3, 0, 0], 0),
        (Form::Responses, "ollama-0.33/v1_responses.json", Stop, [11, 0, 16], 0),
        (Form::Responses, "ollama-0.34/v1_responses_reasoning.json", Stop, [14, 13, 4], 0),
        (Form::Responses, "ollama-0.34/v1_responses_tools.json", ToolCalls, [77, 76, 25], 0),
        (Form::Responses, "ollama-0.34/v1_responses_stream.sse", Stop, [11, 10, 6], 6),
        (Form::Responses, "ollama-0.34/v1_responses_stream_reasoning.sse", Stop, [14, 11, 4], 2),
        (Form::Responses, "ollama-0.34/v1_responses_stream_tools.sse", ToolCalls, [77, 76, 25], 1),
        (Form::Messages, "ollama-0.33/v1_messages.json", Length, [11, 0, 16], 0),
        (Form::Messages, "ollama-0.34/v1_messages_stream.sse", Length, [11, 10, 6], 6),
        (Form::Messages, "ollama-0.34/v1_messages_stream_thinking.sse", Length, [14, 13, 3], 1),
        // No usage anywhere: counted in frames.
        (Form::OpenAiChat, "ollama-0.33/v1_chat_stream.sse", Length, [0, 0, 16], 16),
        (Form::OpenAiChat, "ollama-0.34/v1_chat_stream_reasoning.sse", Length, [0, 0, 1], 1),
        (Form::OpenAiText, "ollama-0.34/v1_completions_stream.sse", Length, [0, 0, 6], 6),
    ]
};

const SILENT_ABOUT_USAGE: usize = 3;

fn answer(file: &str) -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/answers").join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

fn streamed(file: &str) -> bool {
    !file.ends_with(".json")
}

/// Reads an answer in pieces of `len` bytes.
fn observe(form: Form, streamed: bool, body: &[u8], len: usize, kept: bool) -> Observed {
    let mut scanner = Scanner::new(form, streamed);
    for piece in body.chunks(len) {
        scanner.feed(piece);
    }
    scanner.finish(kept.then_some(body))
}

fn frames_of(form: Form, file: &str) -> Vec<Bytes> {
    let body = answer(file);
    if streamed(file) { frame::split(Framing::of(form), &body) } else { vec![body] }
}

fn replayed(template: &Template, seed: u64) -> String {
    let mut out = template.body.to_vec();
    template.fill(&mut out, UNIX_EPOCH + Duration::new(1_900_000_000, 987_654_321), seed);
    String::from_utf8(out).expect("an answer is UTF-8")
}

/// Every JSON value of an answer, in order.
fn values_of(form: Form, streamed: bool, body: &str) -> Vec<serde_json::Value> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let frames = if streamed { frame::split(Framing::of(form), &body) } else { vec![body] };
    let json = |frame: &Bytes| match frame::event(frame).data {
        Some(b"[DONE]") => None,
        Some(data) => Some(serde_json::from_slice(data).expect("an event's data is JSON")),
        None => Some(serde_json::from_slice(frame).expect("a line is JSON")),
    };
    frames.iter().filter_map(json).collect()
}

/// Puts `null` where a replay may differ: by key.
fn without_fresh(value: &mut serde_json::Value) {
    const FRESH: [&str; 6] = ["model", "created_at", "created", "completed_at", "id", "item_id"];
    match value {
        serde_json::Value::Object(members) => {
            for (key, member) in members {
                if FRESH.contains(&key.as_str()) && !member.is_null() {
                    *member = serde_json::Value::Null;
                } else {
                    without_fresh(member);
                }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(without_fresh),
        _ => {}
    }
}

#[test]
fn a_complete_answer_says_what_it_cost() {
    for (number, (form, file, finish, [prompt, cached_prompt, completion], content_frames)) in
        COMPLETE.into_iter().enumerate()
    {
        let silent = number >= COMPLETE.len() - SILENT_ABOUT_USAGE;
        let source = if silent { Source::Estimated } else { Source::Upstream };
        let usage = Usage { source, prompt, cached_prompt, completion, ..Usage::default() };
        let body = answer(file);
        for len in [1, 7, 100, 4096, body.len()] {
            let observed = observe(form, streamed(file), &body, len, true);
            let expected = Observed {
                usage,
                durations: observed.durations,
                finish,
                complete: true,
                failed: false,
                complaint: Complaint::default(),
                content_frames,
            };
            assert_eq!(observed, expected, "{file} in pieces of {len}");
        }
    }
}

#[test]
fn durations_are_ollamas_own() {
    let observed = observe(Form::Chat, true, &answer("ollama-0.33/chat_stream.ndjson"), 100, false);
    let nanos = [
        observed.durations.total,
        observed.durations.load,
        observed.durations.prompt_eval,
        observed.durations.eval,
    ]
    .map(|duration| duration.as_nanos());
    assert_eq!(nanos, [216_834_498, 1_240_954, 8_742_000, 204_095_000]);
}

#[test]
fn a_vector_of_the_old_route_is_complete_and_says_nothing() {
    let body = answer("ollama-0.33/embeddings_legacy.json");
    for kept in [true, false] {
        let observed = observe(Form::Embeddings, false, &body, 1000, kept);
        assert_eq!(observed, Observed { complete: true, ..Observed::default() });
    }
}

#[test]
fn loading_a_model_is_no_answer() {
    for (form, file) in
        [(Form::Chat, "ollama-0.33/chat_empty_load.json"), (Form::Generate, "ollama-0.33/unload.json")]
    {
        let observed = observe(form, false, &answer(file), 50, true);
        assert_eq!(observed, Observed { finish: FinishReason::Load, ..Observed::default() }, "{file}");
    }
}

#[test]
fn a_stream_that_breaks_off_is_never_complete() {
    for (form, file, ..) in COMPLETE.into_iter().filter(|(_, file, ..)| streamed(file)) {
        let frames = frames_of(form, file);
        for kept in 0..frames.len() {
            let body = frames[..kept].concat();
            let observed = observe(form, true, &body, 64, false);
            assert!(!observed.complete, "{file} without its last {} frames", frames.len() - kept);
            assert_eq!(observed.finish, FinishReason::Error);
            if observed.usage.source == Source::Estimated {
                assert_eq!(observed.usage.completion, observed.content_frames);
            }
        }
    }
}

#[test]
fn content_is_reported_with_the_frame_that_brings_it() {
    for (form, file, _, _, content_frames) in COMPLETE.into_iter().filter(|(_, file, ..)| streamed(file)) {
        let mut scanner = Scanner::new(form, true);
        let seen: Vec<bool> = frames_of(form, file).iter().map(|frame| scanner.feed(frame)).collect();
        assert!(seen.is_sorted(), "{file}");
        assert_eq!(seen.last(), Some(&(content_frames > 0)), "{file}");
        let before = seen.iter().filter(|&&seen| !seen).count();
        let expected = match form {
            Form::Responses if file.contains("reasoning") || file.contains("tools") => 3,
            Form::Responses => 4,
            Form::Messages => 2,
            _ => 0,
        };
        assert_eq!(before, expected, "{file}");
    }
}

#[test]
fn a_replay_differs_in_nothing_but_the_fresh_places() {
    for (form, file, ..) in COMPLETE {
        let frames = frames_of(form, file);
        let streamed = streamed(file);
        let stored = String::from_utf8(frames.concat()).expect("an answer is UTF-8");
        let template = cut(form, streamed, &frames, "an<other> \"one\"").unwrap_or_else(|| panic!("{file}"));

        assert_eq!(template.frames.len(), frames.len(), "{file}");
        assert_eq!(template.frames.last().copied(), Some(template.body.len() as u32), "{file}");
        let replay = replayed(&template, 99);
        let mut ends = template.frames.iter().map(|&end| end as usize).scan(0, |from, end| {
            let frame = &replay[*from..end];
            *from = end;
            Some(frame)
        });
        assert!(ends.all(|frame| !streamed || frame.ends_with('\n')), "{file}");
        assert!(replay.contains(r#""model":"an\u003cother\u003e \"one\"""#), "{file}");

        let mut before = values_of(form, streamed, &stored);
        let mut after = values_of(form, streamed, &replay);
        assert_ne!(before, after, "{file}");
        before.iter_mut().chain(&mut after).for_each(without_fresh);
        assert_eq!(before, after, "{file}");
    }
}

#[test]
fn an_answer_that_keeps_its_model_keeps_its_bytes() {
    let frames = frames_of(Form::Chat, "ollama-0.33/chat_nostream.json");
    let template = cut(Form::Chat, false, &frames, "smollm2:135m").expect("a chat's answer");
    assert_eq!(template.body.as_ptr(), frames[0].as_ptr());
    let [slot] = template.slots[..] else { panic!("{:?}", template.slots) };
    assert_eq!((slot.kind, slot.len), (SlotKind::Rfc3339, 30));
    assert!(replayed(&template, 1).contains(r#","created_at":"2030-03-17T17:46:40.987654321Z","message":"#));

    let embed = frames_of(Form::Embed, "ollama-0.33/embed.json");
    let template = cut(Form::Embed, false, &embed, "all-minilm:l6-v2").expect("vectors");
    assert_eq!((template.body.as_ptr(), template.slots.len()), (embed[0].as_ptr(), 0));
}

#[test]
fn times_of_a_stream_do_not_run_backwards() {
    // Go trims zeros: the widths differ from line to line.
    let frames = frames_of(Form::Chat, "ollama-0.33/chat_stream.ndjson");
    let template = cut(Form::Chat, true, &frames, "smollm2:135m").expect("a chat's stream");
    let replay = replayed(&template, 1);
    let times: Vec<String> = values_of(Form::Chat, true, &replay)
        .iter()
        .map(|line| line["created_at"].as_str().expect("a time").trim_end_matches('Z').to_owned())
        .collect();
    assert_eq!(times.len(), 25);
    assert!(times.iter().any(|time| time.len() != times[0].len()));
    let padded: Vec<String> = times.iter().map(|time| format!("{time:0<29}")).collect();
    assert!(padded.is_sorted(), "{padded:?}");
    assert_eq!(template.body.len(), frames.concat().len());
}

#[test]
fn ids_of_a_response_agree_with_each_other() {
    let ids = |file: &str| {
        let frames = frames_of(Form::Responses, file);
        let template = cut(Form::Responses, streamed(file), &frames, "tools").expect(file);
        let replay = replayed(&template, 5);
        let mut ids: Vec<String> = Vec::new();
        for id in replay
            .split('"')
            .filter(|text| ["resp_", "rs_", "fc_", "msg_"].iter().any(|p| text.starts_with(p)))
        {
            if !ids.iter().any(|known| known == id) {
                ids.push(id.to_owned());
            }
        }
        ids
    };
    let number = |id: &str| id.split('_').find(|part| part.parse::<u64>().is_ok()).map(str::to_owned);

    let whole = ids("ollama-0.34/v1_responses_tools.json");
    assert_eq!(whole.len(), 2);
    assert_eq!(whole[1], format!("fc_{}_0", whole[0]));
    assert_ne!(whole[0], "resp_102493");

    let reasoning = ids("ollama-0.34/v1_responses_reasoning.json");
    assert_eq!(reasoning.len(), 3);
    assert_eq!(reasoning[1], format!("rs_{}", reasoning[0]));
    assert_ne!(number(&reasoning[0]), number(&reasoning[2]));

    for (file, prefixes) in [
        ("ollama-0.34/v1_responses_stream.sse", ["resp_", "msg_"]),
        ("ollama-0.34/v1_responses_stream_tools.sse", ["resp_", "fc_"]),
        ("ollama-0.34/v1_responses_stream_reasoning.sse", ["resp_", "rs_"]),
    ] {
        let ids = ids(file);
        assert_eq!(ids.len(), 2, "{file}: {ids:?}");
        assert!(ids.iter().zip(prefixes).all(|(id, prefix)| id.starts_with(prefix)), "{file}: {ids:?}");
    }
}

#[test]
fn usage_that_nobody_asked_for_is_taken_out() {
    let strip = |form: Form, body: &[u8], len: usize| {
        let mut strip = UsageStrip::new(form);
        let mut sent = Vec::new();
        for piece in body.chunks(len) {
            let passed = strip.pass(Bytes::copy_from_slice(piece));
            assert!(passed.as_ref().is_none_or(|bytes| !bytes.is_empty()));
            sent.extend(passed);
        }
        sent.extend(strip.finish());
        String::from_utf8(sent.concat()).expect("a stream is UTF-8")
    };
    for file in ["ollama-0.33/v1_chat_stream_usage.sse", "ollama-0.34/v1_chat_stream_usage.sse"] {
        let body = answer(file);
        let kept: Vec<Bytes> = frames_of(Form::OpenAiChat, file)
            .into_iter()
            .filter(|frame| !frame.windows(12).any(|window| window == b"\"choices\":[]"))
            .collect();
        for len in [1, 33, body.len()] {
            assert_eq!(strip(Form::OpenAiChat, &body, len).into_bytes(), kept.concat(), "{file}");
        }
    }
    // As the server itself writes it when nobody asked: equal but for the id and the time.
    let asked = answer("ollama-0.34/v1_completions_stream_usage.sse");
    let plain = String::from_utf8(answer("ollama-0.34/v1_completions_stream.sse").to_vec()).expect("UTF-8");
    for len in [1, 33, asked.len()] {
        let stripped = strip(Form::OpenAiText, &asked, len).replace("cmpl-101", "cmpl-469");
        assert_eq!(stripped, plain);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever stands in an answer: nothing panics, and a template that comes of it holds together.
    #[test]
    fn a_damaged_answer_hurts_nobody(
        case in proptest::sample::select(COMPLETE.to_vec()),
        form in proptest::sample::select(Form::ALL.to_vec()),
        keep_form in any::<bool>(),
        cut_from in any::<proptest::sample::Index>(),
        cut_len in 0usize..20,
        put in proptest::sample::select(vec![&b""[..], b"-", b"1e999", b"\"", b"}", b"\n\n", b"null", b"[", b"\xff", b"9999999999"]),
        len in 1usize..500,
    ) {
        let form = if keep_form { case.0 } else { form };
        let mut body = answer(case.1).to_vec();
        let from = cut_from.index(body.len());
        let to = (from + cut_len).min(body.len());
        body.splice(from..to, put.iter().copied());

        for streamed in [true, false] {
            let kept = observe(form, streamed, &body, len, true);
            let passed = observe(form, streamed, &body, len, false);
            prop_assert!(kept.usage.cached_prompt <= kept.usage.prompt);
            prop_assert!(!(kept.complete && kept.failed));
            prop_assert!(!streamed || kept == passed);

            let body = Bytes::from(body.clone());
            let frames = if streamed { frame::split(Framing::of(form), &body) } else { vec![body] };
            if let Some(template) = cut(form, streamed, &frames, "another") {
                let mut end = 0;
                for slot in &template.slots {
                    prop_assert!(slot.at >= end);
                    end = slot.at + u32::from(slot.len);
                }
                prop_assert!(end as usize <= template.body.len());
                prop_assert!(template.frames.is_sorted());
                let mut out = template.body.to_vec();
                template.fill(&mut out, UNIX_EPOCH, 1);
            }
        }

        let mut strip = UsageStrip::new(form);
        let mut sent: Vec<Bytes> = body.chunks(len).filter_map(|p| strip.pass(Bytes::copy_from_slice(p))).collect();
        sent.extend(strip.finish());
        let mut whole = UsageStrip::new(form);
        let mut at_once: Vec<Bytes> = whole.pass(Bytes::from(body)).into_iter().collect();
        at_once.extend(whole.finish());
        prop_assert_eq!(sent.concat(), at_once.concat());
    }
}
