//! What Pannier makes of a request's body, beside what Go's own reader makes of it, which is the upstream's: bodies that
//! are odd in every way, and what came of mutating them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use pannier::dialect::{Form, decode};
use pannier::domain::{Certainty, Fingerprint, Reason, Storable};
use serde::Deserialize;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const BODIES: usize = 30_000;

/// Names of fields, as they may be written: of each the first is the usual one.
const NAMES: [&[&str]; 10] = [
    &["model", "Model", "MODEL", "mod\\u0065l", "m\\u006Fdel", "model ", "models", "mod\u{200b}el"],
    &["stream", "Stream", "\u{17f}tream", "\\u017ftream", "STREAM", "streams"],
    &["keep_alive", "KEEP_ALIVE", "\u{212a}eep_alive", "\\u212aeep_alive", "Keep_Alive", "keepalive"],
    &["prompt", "Prompt", "PROMPT", "prompt\\u0000", "\\u0070rompt"],
    &["options", "Options", "OPTION\u{17f}", "OPTIONS"],
    &["system", "SYSTEM", "\u{17f}y\u{17f}tem"],
    &["raw", "RAW"],
    &["format", "Format"],
    &["suffix", "images", "Images", "template", "context"],
    &["unknown", "", "\\ud800", "\u{1F980}", "think"],
];
const VALUES: [&str; 44] = [
    "\"llama3\"",
    "\"llama3:latest\"",
    "\"gemma\"",
    "\"\"",
    "\"a\\u0062c\"",
    "\"a\\ud83e\\udd80\"",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "\"a\\/b\"",
    "\"tab\\t\"",
    "\"5m\"",
    "\"-1\"",
    "\"0s\"",
    "\"1h30m\"",
    "\"0.5s\"",
    "\"-1ns\"",
    "\"+5m\"",
    "\".5s\"",
    "\"5\u{b5}s\"",
    "true",
    "false",
    "null",
    "0",
    "-0",
    "1",
    "-1",
    "0.0",
    "1.0",
    "1e0",
    "1E2",
    "1e400",
    "0.9999999999999999",
    "9007199254740993",
    "01",
    "+1",
    ".5",
    "NaN",
    "[]",
    "[1,2]",
    "{}",
    "[\"aGk=\"]",
    "{\"temperature\":0,\"seed\":7,\"num_predict\":5}",
    "{\"temperature\":0.7,\"Temperature\":0,\"top_k\":1,\"seed\":-1}",
    "{\"temperature\":1,\"temperature\":0}",
];
const SPACES: [&str; 6] = ["", " ", "\n\t", "\r\n", "\u{a0}", "/**/"];
const AFTER: [&str; 7] = ["", "\n", "{}", " {\"model\":\"other\"}", "]", "\0", "garbage"];
const BEFORE: [&str; 5] = ["", " ", "\u{feff}", "\n", "\u{0c}"];

/// What Go makes of it.
#[derive(Debug, Deserialize)]
struct Verdict {
    fine: bool,
    model: String,
    stream: Option<bool>,
    /// Nanoseconds.
    stay: Option<i64>,
    /// Temperature, top_k and seed.
    numbers: [Option<f64>; 3],
    question: String,
}

fn one<'a, T: ?Sized>(random: &mut fastrand::Rng, of: &[&'a T]) -> &'a T {
    of[random.usize(..of.len())]
}

/// Mostly a body that might be meant.
fn body(random: &mut fastrand::Rng) -> Vec<u8> {
    let rarely = |random: &mut fastrand::Rng, of: &[&'static str]| match random.u8(..12) {
        0 => one(random, of),
        _ => of[0],
    };
    let mut fields = Vec::new();
    if random.u8(..10) > 0 {
        fields.push(format!("\"model\":{}", VALUES[random.usize(..3)]));
    }
    if random.u8(..10) > 2 {
        fields.push(format!("\"prompt\":{}", one(random, &["\"a\"", "\"b\"", "\"a\\u0062c\""])));
    }
    for _ in 0..random.usize(..4) {
        let names = NAMES[random.usize(..NAMES.len())];
        let name = if random.bool() { names[0] } else { one(random, names) };
        let (value, space) = (one(random, &VALUES), rarely(random, &SPACES));
        let place = random.usize(..=fields.len());
        fields.insert(place, format!("{space}\"{name}\"{space}:{space}{value}{space}"));
    }
    let joined = fields.join(if random.u8(..40) == 0 { ",," } else { "," });
    let text = format!("{}{{{joined}}}{}", rarely(random, &BEFORE), rarely(random, &AFTER));
    let mut bytes = text.into_bytes();
    if random.u8(..5) == 0 {
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len().max(1));
            match random.u8(..4) {
                _ if bytes.is_empty() => {}
                0 => bytes[at] = random.u8(..),
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, *b"\"\\{}[],:0u \xff\xc3".get(random.usize(..13)).unwrap_or(&b'"')),
                _ => bytes.truncate(at.max(1)),
            }
        }
    }
    bytes
}

/// `None` where there is no Go.
fn verdicts(bodies: &[Vec<u8>]) -> Option<Vec<Verdict>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = folder.join("read");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go/read.go");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(source).env("GO111MODULE", "off");
    match build.env("GOCACHE", folder.join("go")).env("GOFLAGS", "").output() {
        Ok(built) => assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr)),
        Err(error) => {
            let why = format!("SKIPPED: bodies are not compared with Go's reader: there is no Go ({error})");
            // Not as a test's own words, which are told of failures alone.
            let _ = writeln!(std::io::stderr(), "{why}");
            return None;
        }
    }
    let mut reader =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
    let mut input = reader.stdin.take().expect("a pipe");
    let lines: String = bodies.iter().map(|body| STANDARD.encode(body) + "\n").collect();
    let writing = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let told = reader.wait_with_output().expect("its answers");
    writing.join().expect("written").expect("written");
    assert!(told.status.success());
    let lines = told.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Some(lines.map(|line| serde_json::from_slice(line).expect("a verdict")).collect())
}

/// No model is asked in another's name, nothing is streamed that was not to be, nothing is remembered that has another
/// effect, and no two questions that Go takes for different ones share an answer.
#[test]
fn what_go_reads_is_what_is_acted_upon() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let mut random = fastrand::Rng::with_seed(seed);
    let bodies: Vec<Vec<u8>> = (0..BODIES).map(|_| body(&mut random)).collect();
    let Some(verdicts) = verdicts(&bodies) else { return };
    assert_eq!(verdicts.len(), bodies.len());
    let mut questions: HashMap<Fingerprint, (String, String)> = HashMap::new();
    let (mut read, mut stored) = (0, 0);
    for (body, go) in bodies.iter().zip(&verdicts) {
        let shown = String::from_utf8_lossy(body);
        let Ok(call) = decode(Form::Generate, Bytes::copy_from_slice(body)) else { continue };
        if !go.fine {
            // The upstream will say so, to this client alone.
            continue;
        }
        if call.storable == Storable::No(Reason::Unreadable) {
            // Nothing is known of it, and nothing is acted upon: whoever may not use every model may not send it.
            assert_eq!(call.model, "", "{shown}");
            continue;
        }
        read += 1;
        assert_eq!(call.model, go.model, "{shown}");
        assert_eq!(call.streamed, go.stream.unwrap_or(true), "{shown}");
        if call.storable != Storable::Yes {
            continue;
        }
        stored += 1;
        assert!(go.stay.is_none_or(|stay| stay > 0), "{shown}: {go:?}");
        let [temperature, top_k, seed] = go.numbers;
        match call.certainty {
            Certainty::Greedy => assert!(temperature == Some(0.0) || top_k == Some(1.0), "{shown}: {go:?}"),
            Certainty::Seeded => assert!(seed.is_some_and(|seed| seed >= 0.0), "{shown}: {go:?}"),
            Certainty::Sampled | Certainty::Exact => {}
        }
        let question = (go.question.clone(), shown.clone().into_owned());
        let (known, first) = questions.entry(call.fingerprint).or_insert(question);
        assert_eq!(*known, go.question, "{first} and {shown} would share an answer");
    }
    assert!(read > BODIES / 4 && stored > BODIES / 20, "{read} were read, {stored} may be stored");
}
