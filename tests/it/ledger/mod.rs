//! The books against an upstream that writes down what it served (RELIABILITY.md L-01 to L-15, I1, I2).

pub mod books;
mod currency;
mod disk;
mod errors;
mod given;
mod gone;
mod keyed;
mod killed;
mod left;
mod lines;
mod mid_life;
mod migrated;
mod mixed;
mod named;
mod refused;
mod repriced;
mod sweep;
mod texts;
mod trouble;
mod unheard;

use crate::stage::*;
use books::{Book, Row};
use serde_json::json;
use servers::Postgres;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

const CHAT: &str = "/api/chat";
const PRICES: &str = "[prices]\nmodels = [{ model = \"smollm2\", prompt = \"0.15\", completion = \"0.60\", \
                      gpu_second = \"0.001\" }]\n";

/// Where the books are kept.
enum Ground {
    File(TempDir),
    Server(Box<Postgres>, TempDir),
}

/// What an answer to a question takes, and comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Figures {
    prompt: i64,
    completion: i64,
    prompt_ns: i64,
    eval_ns: i64,
}

/// The questions that were answered, in the order in which they came.
type Served = Arc<Mutex<Vec<u64>>>;

impl Ground {
    /// Those that can be had here.
    fn all() -> Vec<Ground> {
        let folder = || TempDir::new().expect("a folder");
        let server = Postgres::start().map(|server| Ground::Server(Box::new(server), folder()));
        [Some(Ground::File(folder())), server].into_iter().flatten().collect()
    }

    fn server(&mut self) -> &mut Postgres {
        match self {
            Ground::File(_) => panic!("there is no server"),
            Ground::Server(server, _) => server,
        }
    }

    fn folder(&self) -> &Path {
        match self {
            Ground::File(folder) | Ground::Server(_, folder) => folder.path(),
        }
    }

    /// What is killed and what follows it have the same.
    fn launch(&self, upstream: &Upstream) -> Launch {
        self.launch_under(PRICES, upstream)
    }

    /// The same under other settings.
    fn launch_under(&self, settings: &str, upstream: &Upstream) -> Launch {
        let launch = Launch::before(upstream).data_dir(self.folder()).file(settings);
        let launch =
            launch.set("cache.database.enabled", "false").set("ledger.hit_rows_per_second", "1000000");
        match self {
            Ground::File(_) => launch,
            Ground::Server(server, _) => launch.set("store.database", &server.url()),
        }
    }

    /// Files of the spool.
    fn spools(&self) -> usize {
        spools(self.folder())
    }

    /// All that is in the books, once Pannier has ended.
    async fn book(&self) -> Book {
        match self {
            Ground::File(folder) => Book::read(&folder.path().join("pannier.db").to_string_lossy()).await,
            Ground::Server(server, _) => Book::read(&server.url()).await,
        }
    }
}

impl Figures {
    /// Of a question's number.
    fn of(number: u64) -> Figures {
        let number = number as i64;
        Figures {
            prompt: 20 + number % 13,
            completion: 3 + number % 5,
            prompt_ns: (1 + number % 97) * 1_234_567,
            eval_ns: number % 89 * 2_345_678,
        }
    }

    fn gpu_us(&self) -> i64 {
        self.prompt_ns / 1_000 + self.eval_ns / 1_000
    }

    /// In exact parts of a billionth of a billionth, rounded once.
    fn cost(&self) -> i64 {
        let tokens = i128::from(self.prompt) * 150_000 + i128::from(self.completion) * 600_000;
        let sum = tokens * 1_000_000 + i128::from(self.gpu_us()) * 1_000 * 1_000_000;
        i64::try_from((sum + 500_000_000) / 1_000_000_000).expect("an amount")
    }

    /// The answer, in frames or as a whole.
    fn acts(&self, streamed: bool) -> Vec<Act> {
        let Figures { prompt, completion, prompt_ns, eval_ns } = self;
        let word = |done: bool, text: &str| {
            json!({
                "model": "smollm2:135m", "created_at": "2026-11-20T21:04:43.000000Z",
                "message": { "role": "assistant", "content": text }, "done": done,
            })
        };
        let mut last = word(true, if streamed { "" } else { "all of it" });
        for (name, value) in [
            ("done_reason", json!("stop")),
            ("total_duration", json!(prompt_ns + eval_ns + 5_000_000)),
            ("load_duration", json!(0)),
            ("prompt_eval_count", json!(prompt)),
            ("prompt_eval_duration", json!(prompt_ns)),
            ("eval_count", json!(completion)),
            ("eval_duration", json!(eval_ns)),
        ] {
            last[name] = value;
        }
        if !streamed {
            return json(200, &last.to_string());
        }
        let line = |value: serde_json::Value| format!("{value}\n").into_bytes();
        let words = (0..*completion).map(|_| line(word(false, "word ")));
        ndjson(&words.chain([line(last)]).collect::<Vec<_>>())
    }
}

fn spools(data_dir: &Path) -> usize {
    let files = std::fs::read_dir(data_dir.join("spool")).expect("a spool");
    let names = files.map(|file| file.expect("a file").file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".spool")).count()
}

/// Asks question `number`; one that is asked again is answered by the cache.
fn ask(number: u64, streamed: bool) -> Ask {
    Ask::post(CHAT, &question(number, streamed))
}

fn question(number: u64, streamed: bool) -> serde_json::Value {
    json!({
        "model": "smollm2:135m", "stream": streamed, "options": { "temperature": 0 },
        "messages": [{ "role": "user", "content": format!("question {number}.") }],
    })
}

/// An upstream that answers questions, and writes down which.
async fn upstream() -> (Upstream, Served) {
    let upstream = Upstream::start().await;
    let served: Served = Arc::default();
    let written = served.clone();
    upstream.on(CHAT, move |visit| {
        let (number, streamed) = asked(visit);
        written.lock().expect("served").push(number);
        Figures::of(number).acts(streamed)
    });
    (upstream, served)
}

fn asked(visit: &Visit) -> (u64, bool) {
    let body: serde_json::Value = serde_json::from_slice(&visit.body()).expect("JSON");
    let text = body["messages"][0]["content"].as_str().expect("a question");
    let number = text.trim_start_matches("question ").trim_end_matches('.').parse().expect("a number");
    (number, body["stream"] == true)
}

/// The request that this answers.
fn id(reply: &Reply) -> String {
    reply.field("x-request-id").expect("a request id").replace('-', "")
}

/// The same of an answer of which only the head is there.
fn id_of(fields: &[(String, String)]) -> String {
    let field = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-request-id"));
    field.expect("a request id").1.replace('-', "")
}

/// Whose upstream has begun to stream the answer to `number`, and goes on when it is let.
async fn halfway(number: u64) -> (Ground, Upstream, Gate) {
    let (upstream, gate) = (Upstream::start().await, Gate::closed());
    let mut acts = Figures::of(number).acts(true);
    acts.insert(2, Act::Wait(gate.clone()));
    upstream.always(CHAT, acts);
    (Ground::File(TempDir::new().expect("a folder")), upstream, gate)
}

/// Ends it in peace: all that is in its spool is in the database then.
async fn end(mut pannier: Pannier) {
    pannier.signal("TERM");
    pannier.ended().await;
}
