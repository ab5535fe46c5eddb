//! API keys: how they are made and end, on which roads they are asked for, and that they stay here.

mod database;
mod life;
mod rights;
mod roads;
mod secrets;

use crate::stage::*;
use serde_json::Value;

const KEYS: &str = "/admin/keys";

/// One that answers on every route that is read.
async fn upstream() -> Upstream {
    let upstream = Upstream::start().await;
    for route in routes() {
        upstream.on(route.path, move |visit| route.reply_to(visit));
    }
    upstream
}

/// Asks a house route with the admin key, in the body's own words.
async fn house(pannier: &Pannier, method: &str, target: &str, body: Value) -> Reply {
    let ask = Ask::new(method, target).with("X-API-Key", &pannier.admin_key());
    let ask = if body.is_null() { ask } else { ask.bytes(body.to_string()) };
    Wire::open(pannier.admin).await.exchange(&ask).await
}

/// A new key of this name, with more that is wanted of it.
async fn make(pannier: &Pannier, name: &str, mut more: Value) -> String {
    if more.is_null() {
        more = serde_json::json!({});
    }
    more["name"] = name.into();
    let made = house(pannier, "POST", KEYS, more).await;
    assert_eq!(made.status(), 201, "{}", made.text());
    made.json()["key"].as_str().expect("a key").to_owned()
}

fn of(ask: &Ask, key: &str) -> Ask {
    ask.clone().with("Authorization", &format!("Bearer {key}"))
}

/// What `pannier` with these arguments says, and its exit code, with the settings of `pannier`.
async fn command(pannier: &Pannier, arguments: &[&str]) -> (i32, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_pannier"));
    command.env_clear().args(arguments).args(["--admin-listen", &pannier.admin.to_string()]);
    command.arg("--data-dir").arg(&pannier.data_dir);
    let output = within("the command's end", command.output()).await.expect("run pannier");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("an exit code"), text(&output.stdout), text(&output.stderr))
}
