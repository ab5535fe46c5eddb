//! An upstream that writes down what it served, on all routes, and clients that ask for all of it in every way.
//!
//! The tokens of a question are the number of the answer that was served: by them a row says which one it is of.

use super::*;
use pannier::store::ledger::Column;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const ROUTES: [&str; 9] = [
    "/api/chat",
    "/api/generate",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/embeddings",
    "/api/embeddings",
    "/api/embed",
];
/// Of this one the upstream tells no time.
const TIMELESS: &str = "/v1/embeddings";
/// A batch of one text, which goes up to the last of them.
const BATCH: &str = "/embeddings/batch";
/// Questions that many ask.
const SHARED: u64 = 24;
/// No recorded answer has so many tokens.
const FIRST: i64 = 1_000;
const TOKENS: [&str; 3] = ["prompt_eval_count", "prompt_tokens", "input_tokens"];

/// What was served, by number.
#[derive(Default)]
pub struct Truth {
    served: Mutex<HashMap<i64, Answer>>,
    last: AtomicI64,
}

/// One answer, and what it took.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub completion: i64,
    pub load_us: i64,
    pub prompt_us: i64,
    pub eval_us: i64,
    /// Nobody has told how long it took: for those who were given it, how long the call took counts.
    pub timeless: bool,
}

/// What one client had of one answer.
pub struct Had {
    pub id: String,
    /// Of the answer, where it was told.
    pub number: Option<i64>,
    /// To the last byte.
    pub whole: bool,
    /// It was told that the upstream had broken off.
    pub broken: bool,
}

/// In billionths, for a million tokens and for a second.
#[derive(Debug, Clone, Copy)]
pub struct Price {
    /// In seconds since 1970, as all moments here.
    pub from: u64,
    /// When Pannier had heard of it; on a busy machine that may be after it holds.
    pub heard: u64,
    pub prompt: i64,
    pub completion: i64,
    pub gpu: i64,
}

impl Truth {
    pub fn served(&self, number: i64) -> Option<Answer> {
        self.served.lock().expect("served").get(&number).copied()
    }

    pub fn count(&self) -> usize {
        self.served.lock().expect("served").len()
    }

    fn serve(&self, path: &str) -> (i64, Answer) {
        let number = FIRST + self.last.fetch_add(1, Ordering::SeqCst);
        let embeds = path.contains("/embed");
        let native = path.starts_with("/api/");
        // Some time at all: where none is told, how long the call took counts for those who share it.
        let times = if native { [1 + number % 7, number % 97, number % 89] } else { [0; 3] };
        let [load_us, prompt_us, eval_us] = times.map(|time| time * 1_234);
        let completion = if embeds { 0 } else { 3 + number % 5 };
        let eval_us = if embeds { 0 } else { eval_us };
        let timeless = path == TIMELESS;
        let answer = Answer { completion, load_us, prompt_us, eval_us, timeless };
        self.served.lock().expect("served").insert(number, answer);
        (number, answer)
    }
}

impl Answer {
    pub fn gpu_us(&self) -> i64 {
        self.load_us + self.prompt_us + self.eval_us
    }

    /// Of answer `number` under `price`: exact, and rounded once.
    pub fn cost(&self, number: i64, price: &Price) -> i64 {
        let prompt = i128::from(number) * i128::from(price.prompt);
        let tokens = prompt + i128::from(self.completion) * i128::from(price.completion);
        let sum = tokens + i128::from(self.gpu_us()) * i128::from(price.gpu);
        i64::try_from((sum + 500_000).div_euclid(1_000_000)).expect("an amount")
    }

    /// The same with the times of `row`, where nobody else has told any.
    pub fn as_given(self, row: &Row) -> Answer {
        let [load_us, prompt_us, eval_us] = times(row);
        match self.timeless && row.is_given() {
            true => Answer { load_us, prompt_us, eval_us, ..self },
            false => self,
        }
    }

    /// Whether `row` says so of what it took.
    pub fn is_in(&self, row: &Row) -> bool {
        let of = |column| row.get(column).unwrap_or(0);
        let times = times(row);
        of(Column::Completion) == self.completion && times == [self.load_us, self.prompt_us, self.eval_us]
    }
}

fn times(row: &Row) -> [i64; 3] {
    [Column::Load, Column::PromptTime, Column::CompletionTime].map(|column| row.get(column).unwrap_or(0))
}

impl Price {
    /// As it stands in the settings.
    pub fn written(&self) -> String {
        let fields = self.fields().map(|(name, value)| format!("{name} = \"{value}\""));
        format!("{{ {} }}", fields.join(", "))
    }

    /// As it is set while Pannier runs.
    pub fn told(&self) -> serde_json::Value {
        self.fields().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
    }

    fn fields(&self) -> [(&'static str, String); 5] {
        let from = humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + Duration::from_secs(self.from));
        let money = |nanos: i64| format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
        [
            ("model", "*".to_owned()),
            ("prompt", money(self.prompt)),
            ("completion", money(self.completion)),
            ("gpu_second", money(self.gpu)),
            ("from", from.to_string()),
        ]
    }
}

/// An upstream that serves `truth`.
pub async fn upstream(truth: &Arc<Truth>) -> Upstream {
    let upstream = Upstream::start().await;
    for path in ROUTES {
        let truth = truth.clone();
        upstream.on(path, move |visit| serve(&truth, visit));
    }
    upstream
}

fn serve(truth: &Truth, visit: &Visit) -> Vec<Act> {
    let body = String::from_utf8_lossy(&visit.body()).into_owned();
    let route = route(visit.path());
    let streamed = body.contains("\"stream\":true");
    let question = question_of(&body);
    // It refuses, or fails: nothing is served, and nobody pays.
    if question >= SHARED && question % 17 == 3 {
        let status = [400, 404, 429, 500, 503][(question / 17 % 5) as usize];
        return json(status, r#"{"error":"not this one"}"#);
    }
    let (number, answer) = truth.serve(visit.path());
    let tell = |bytes: &[u8]| told(bytes, &route, number, &answer);
    let pause = Act::Pause(Duration::from_millis(1 + question % 4));
    if !streamed {
        let acts = whole(200, route.content_type, tell(&route.answer));
        return [vec![pause], acts].concat();
    }
    let frames: Vec<_> = route.frames.iter().map(|frame| tell(frame)).collect();
    let kind = if route.dialect == "ollama" { "application/x-ndjson" } else { "text/event-stream" };
    let mut acts = chunked(kind, &frames);
    if question >= SHARED && question % 13 == 5 {
        // The head and a few frames, but never the last.
        acts.truncate(acts.len() - 3);
        acts.extend([Act::Pause(Duration::from_millis(5)), Act::Fin]);
    }
    acts.insert(2, pause);
    acts
}

/// A recorded answer with other figures.
fn told(bytes: &[u8], route: &Route, number: i64, answer: &Answer) -> Vec<u8> {
    let mut text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let (prompt, completion) = (route.prompt_tokens as i64, route.completion_tokens as i64);
    for key in TOKENS {
        text = text.replace(&format!("\"{key}\":{prompt}"), &format!("\"{key}\":{number}"));
    }
    for key in ["eval_count", "completion_tokens", "output_tokens"] {
        text = text.replace(&format!("\"{key}\":{completion}"), &format!("\"{key}\":{}", answer.completion));
    }
    let Answer { load_us, prompt_us, eval_us, .. } = *answer;
    let total = load_us + prompt_us + eval_us;
    for (key, micros) in [
        ("total_duration", total),
        ("load_duration", load_us),
        ("prompt_eval_duration", prompt_us),
        ("eval_duration", eval_us),
    ] {
        text = renumbered(&text, key, micros * 1_000);
    }
    text.into_bytes()
}

fn renumbered(text: &str, key: &str, number: i64) -> String {
    let key = format!("\"{key}\":");
    let Some(at) = text.find(&key).map(|at| at + key.len()) else { return text.to_owned() };
    let digits = text[at..].bytes().take_while(u8::is_ascii_digit).count();
    format!("{}{number}{}", &text[..at], &text[at + digits..])
}

fn question_of(body: &str) -> u64 {
    let (_, rest) = body.split_once("question ").expect("a question");
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("its number")
}

/// Question `number`: on which route, and how, its number says.
fn asked_for(number: u64) -> Ask {
    let text = format!("question {number}.");
    let ways = ROUTES.len() as u64 + 1;
    let streamed = (number / ways).is_multiple_of(2);
    let Some(path) = ROUTES.get((number % ways) as usize) else {
        let model = &route("/api/embed").question["model"];
        let batch = json!({ "model": model, "texts": [text], "stream": streamed });
        return Ask::post(BATCH, &batch);
    };
    let route = route(path);
    let mut body = route.body(streamed);
    for key in ["prompt", "input"] {
        if body.get(key).is_some() {
            body[key] = text.as_str().into();
        }
    }
    if body.get("messages").is_some() {
        body["messages"][0]["content"] = text.as_str().into();
    }
    Ask::post(route.path, &body)
}

/// Asks on one connection after another until nobody answers any more.
pub async fn client(pannier: std::net::SocketAddr, first: u64, seed: u64) -> Vec<Had> {
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut had = Vec::new();
    let mut unique = first;
    while let Some(mut wire) = Wire::try_open(pannier).await {
        loop {
            let number = if chance.bool() { chance.u64(..SHARED) } else { unique };
            unique += 1;
            if wire.try_send(&asked_for(number).raw(&pannier.to_string())).await.is_err() {
                return had;
            }
            let leaves_after = (chance.u8(..8) == 0).then(|| chance.usize(..4));
            let Some(one) = take(&mut wire, leaves_after).await else { return had };
            let is_over = !one.whole;
            had.push(one);
            if is_over {
                break;
            }
        }
    }
    had
}

/// Takes an answer, or so many pieces of it.
async fn take(wire: &mut Wire, leaves_after: Option<usize>) -> Option<Had> {
    let head = wire.try_head("POST").await?;
    let (id, status) = (id_of(&head.fields), head.status);
    let mut body = Vec::new();
    let mut pieces = 0;
    let ending = loop {
        if leaves_after == Some(pieces) {
            return Some(Had { id, number: None, whole: false, broken: false });
        }
        match wire.piece().await {
            Ok(piece) => body.extend(piece),
            Err(ending) => break ending,
        }
        pieces += 1;
    };
    let text = String::from_utf8_lossy(&body);
    let number = TOKENS.iter().find_map(|key| told_number(&text, key));
    let broken = text.contains("\"error\":{") || text.contains("\"error\":\"");
    Some(Had { id, number, whole: status == 200 && ending == Ending::Complete && !broken, broken })
}

fn told_number(text: &str, key: &str) -> Option<i64> {
    let key = format!("\"{key}\":");
    let numbers = text.match_indices(&key).filter_map(|(at, key)| {
        let digits: String = text[at + key.len()..].chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    });
    numbers.filter(|number| *number >= FIRST).last()
}
