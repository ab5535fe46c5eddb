//! `pannier usage` and `pannier costs`, which find the house and its key by themselves.

use super::*;

use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// `pannier` with these arguments, and the settings of `pannier`.
fn ready(pannier: &Pannier, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pannier"));
    command.env_clear().args(arguments).args(["--admin-listen", &pannier.admin.to_string()]);
    command.args(["--listen", &pannier.addr.to_string()]).arg("--data-dir").arg(&pannier.data_dir);
    command
}

/// What it says.
async fn command(pannier: &Pannier, arguments: &[&str]) -> (i32, String) {
    let output = within("the command's end", ready(pannier, arguments).output()).await.expect("run pannier");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code().expect("an exit code"), text.into_owned())
}

#[tokio::test]
async fn the_bill_is_printed_as_a_table_and_as_csv_and_as_json() {
    let shop = Shop::open().await;
    let ids = shop.trade().await;
    let pannier = &shop.pannier;
    let (code, table) = command(pannier, &["costs"]).await;
    assert_eq!(code, 0, "{table}");
    let rows: Vec<Vec<&str>> = table.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..3], ["key", "model", "requests"], "{table}");
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), ["key", "+1-2", "ann", "total"]);
    let (code, csv) =
        command(pannier, &["usage", "--by", "team,month", "--format", "csv", "--from", "1d"]).await;
    assert_eq!(code, 0, "{csv}");
    assert!(csv.starts_with("month,team,requests,hits,"), "{csv}");
    let (_, json) = command(pannier, &["costs", "--by", "day", "--period", "year", "--format", "json"]).await;
    let told: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(told["total"]["cost"], json!(0.00253));
    let (_, rows) = command(pannier, &["usage", "--requests", "--key", "ann", "--format", "csv"]).await;
    assert_eq!(rows.lines().count(), ids.len() + 1, "{rows}");
    let (code, why) = command(pannier, &["usage", "--by", "colour"]).await;
    assert_eq!(code, 1);
    assert!(why.contains("by is any of"), "{why}");
    let (code, _) = command(pannier, &["costs", "--admin-key", "not-the-admin-key-of-this-house"]).await;
    assert_eq!(code, 5);
}

#[tokio::test]
async fn the_owner_of_a_key_sees_its_own_bill() {
    let shop = Shop::open().await;
    let ids = shop.trade().await;
    let pannier = &shop.pannier;
    let own = ["usage", "--by", "key", "--format", "csv"];
    let (code, csv) = command(pannier, &[&own[..], &["--api-key", &shop.ann]].concat()).await;
    assert_eq!(code, 0, "{csv}");
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines.len() == 2 && lines[1].starts_with(&format!("ann,{},", ids.len())), "{csv}");
    let whole = ["costs", "--by", "", "--format", "json", "--api-key", &shop.ann];
    let (code, json) = command(pannier, &whole).await;
    let told: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((code, &told["total"]["cost"]), (0, &json!(0.001518)));
    let (code, _) = command(pannier, &["costs", "--key", "+1-2", "--api-key", &shop.ann]).await;
    assert_eq!(code, 5, "another's");
    let (code, _) = command(pannier, &["costs", "--api-key", "no-key-of-this-house"]).await;
    assert_eq!(code, 5);
}

#[tokio::test]
async fn a_watch_shows_what_comes() {
    let shop = Shop::open().await;
    let arguments = ["usage", "--watch", "--by", "", "--format", "csv", "--period", "year"];
    let mut command = ready(&shop.pannier, &arguments);
    let mut watch = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("run pannier");
    let mut lines = BufReader::new(watch.stdout.take().expect("its output")).lines();
    let mut requests = async || loop {
        let line = within("a line", lines.next_line()).await.expect("output").expect("it goes on");
        let first = line.split(',').next().unwrap_or_default();
        if let Ok(requests) = first.parse::<u64>() {
            return requests;
        }
    };
    for number in 1..=2 {
        shop.chat(&shop.ann, number).await;
        while requests().await != number as u64 {}
    }
    assert!(watch.try_wait().expect("asked").is_none(), "it goes on until it is stopped");
}
