//! `pannier usage` and `pannier costs`, which find the house and its key by themselves.

use super::*;

/// What `pannier` with these arguments says, with the settings of `pannier`.
async fn command(pannier: &Pannier, arguments: &[&str]) -> (i32, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_pannier"));
    command.env_clear().args(arguments).args(["--admin-listen", &pannier.admin.to_string()]);
    command.arg("--data-dir").arg(&pannier.data_dir);
    let output = within("the command's end", command.output()).await.expect("run pannier");
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
