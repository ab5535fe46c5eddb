//! The books, told: who sees what of them, in which shapes, and that the figures are those of the upstream.

mod command;
mod full;
mod hostile;
mod lines;
mod seen;
mod shapes;
mod walk;

use crate::stage::*;
use serde_json::{Value, json};

const CHAT: &str = "/api/chat";
/// A trip costs 3 000 billionths for its 20 tokens of a question, as much for 5 of an answer, and 500 000 for half
/// a second.
const SETTINGS: &str = "[prices]\nmodels = [{ model = \"smollm2\", prompt = \"0.15\", completion = \"0.60\", \
                        gpu_second = \"0.001\" }]\n[reports]\ntime_zone = \"UTC\"\n";

/// A Pannier with the keys `ann`, of the team `lab`, and `+1-2`, which a spreadsheet would add up.
struct Shop {
    pannier: Pannier,
    ann: String,
    sum: String,
    upstream: Upstream,
}

impl Shop {
    async fn open() -> Shop {
        Shop::open_under(|launch| launch).await
    }

    /// Under further settings.
    async fn open_under(more: impl FnOnce(Launch) -> Launch) -> Shop {
        let upstream = Upstream::start().await;
        let answer = json!({
            "model": "smollm2:135m", "created_at": "2026-11-20T21:04:43.000000Z",
            "message": { "role": "assistant", "content": "all of it" }, "done": true, "done_reason": "stop",
            "total_duration": 600_000_000, "load_duration": 0, "prompt_eval_count": 20,
            "prompt_eval_duration": 100_000_000, "eval_count": 5, "eval_duration": 400_000_000,
        });
        upstream.always(CHAT, json(200, &answer.to_string()));
        let launch = Launch::before(&upstream).file(SETTINGS);
        let pannier = more(launch.set("ledger.hit_rows_per_second", "1000000")).start().await;
        let ann = make(&pannier, "ann", "lab").await;
        let sum = make(&pannier, "+1-2", "shop").await;
        Shop { pannier, ann, sum, upstream }
    }

    /// Asks question `number` with `key`.
    async fn chat(&self, key: &str, number: usize) -> Reply {
        let body = json!({
            "model": "smollm2:135m", "stream": false, "options": { "temperature": 0 },
            "messages": [{ "role": "user", "content": format!("question {number}.") }],
        });
        self.pannier.ask(&of(Ask::post(CHAT, &body), key)).await.fine()
    }

    /// `ann` makes three trips and comes for one of them until it is a hit, `+1-2` makes two trips; returns the ids of ann's.
    async fn trade(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for number in 0..3 {
            ids.push(id(&self.chat(&self.ann, number).await));
        }
        // One that comes too early joins the trip yet.
        loop {
            let reply = self.chat(&self.ann, 0).await;
            ids.push(id(&reply));
            if reply.is_hit() {
                break;
            }
        }
        for number in 0..2 {
            self.chat(&self.sum, number).await;
        }
        eventually("all of it is in the books", || async {
            let told = self.admin("/usage?by=").await.json();
            (told["total"]["requests"].as_u64()? == ids.len() as u64 + 2).then_some(())
        })
        .await;
        ids
    }

    async fn get(&self, target: &str, key: &str) -> Reply {
        self.house(of(Ask::get(target), key)).await
    }

    async fn admin(&self, target: &str) -> Reply {
        self.get(target, &self.pannier.admin_key()).await.fine()
    }

    async fn house(&self, ask: Ask) -> Reply {
        Wire::open(self.pannier.admin).await.exchange(&ask).await
    }
}

async fn make(pannier: &Pannier, name: &str, team: &str) -> String {
    let ask = Ask::post("/admin/keys", &json!({ "name": name, "team": team }));
    let made = Wire::open(pannier.admin).await.exchange(&of(ask, &pannier.admin_key())).await;
    assert_eq!(made.status(), 201, "{}", made.text());
    made.json()["key"].as_str().expect("a key").to_owned()
}

/// Of the request.
fn id(reply: &Reply) -> String {
    reply.field("x-request-id").expect("an id").to_owned()
}

fn of(ask: Ask, key: &str) -> Ask {
    ask.with("Authorization", &format!("Bearer {key}"))
}

/// The members of an object, in alphabetical order.
fn members(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}
