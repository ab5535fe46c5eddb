//! `pannier prices`: the real program as the client of a running one.

use super::*;
use std::fs;
use tempfile::TempDir;

/// The cells of the row of a table that begins with `name`.
fn row(table: &str, name: &str) -> Vec<String> {
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name} in\n{table}")).split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn prices_are_set_listed_and_removed() {
    let (_upstream, pannier) = launched("[prices]\n").await;
    told(
        &pannier,
        &[
            "set",
            "gemma*",
            "--prompt",
            "0.0001",
            "--completion",
            "0.0002",
            "--per",
            "1k",
            "--from",
            "2026-01-31",
        ],
    )
    .await;
    told(&pannier, &["set", "gemma*", "--gpu-second", "0.5"]).await;
    let table = told(&pannier, &["list"]).await;
    let second = row(&table, "gemma*");
    assert_eq!(
        second[1..8],
        ["0.00", "-", "0.00", "-", "-", "-", "0.50"],
        "the latest stands first: {table}"
    );
    let rest = table.lines().filter(|line| line.starts_with("gemma*")).nth(1).expect("the other");
    assert!(rest.contains("0.10") && rest.contains("2026-01-31T00:00:00Z"), "{table}");
    assert_eq!(row(&table, "llama3")[8..], ["USD", "ever", "builtin"], "{table}");
    let csv = told(&pannier, &["list", "--format", "csv"]).await;
    assert!(csv.starts_with("model,per,prompt,") && csv.contains("\ngemma*,1M,0.10,,0.20,"), "{csv}");
    let json: Value =
        serde_json::from_str(&told(&pannier, &["list", "--format", "json"]).await).expect("JSON");
    assert_eq!(json, pricing(&pannier).await);

    assert!(
        told(&pannier, &["remove", "gemma*", "--from", "2026-01-31"]).await.starts_with("1 price removed")
    );
    assert_eq!(stored(&pannier).await.len(), 1);
    assert!(
        refused(&pannier, &["remove", "gemma"]).await.contains("no such price"),
        "a pattern is a name here"
    );
    told(&pannier, &["remove", "gemma*"]).await;
    assert!(stored(&pannier).await.is_empty());
}

#[tokio::test]
async fn what_makes_no_sense_is_bad_usage() {
    let (_upstream, pannier) = launched("[prices]\n").await;
    for (arguments, said) in [
        (&["set", "gemma"][..], "required"),
        (&["set", "gemma", "--prompt", "1e-3"], "not an amount"),
        (&["set", "gemma", "--prompt", "-1"], "-1"),
        (&["set", "gemma", "--prompt", "1", "--per", "12"], "1M"),
        (&["set", "gemma", "--prompt", "1", "--from", "soon"], "expected a day"),
        (&["reprice"], "--from"),
    ] {
        let (code, _, told) = command(&pannier, &[&["prices"], arguments].concat()).await;
        assert!(code == 2 && told.contains(said), "{arguments:?} {code}: {told}");
    }
    let said = refused(&pannier, &["set", "gemma", "--prompt", "1", "--currency", "EUR"]).await;
    assert!(said.contains("EUR"), "{said}");
    assert!(stored(&pannier).await.is_empty());
}

#[tokio::test]
async fn what_is_exported_is_imported_again_to_the_last_digit() {
    let (_upstream, pannier) = launched("[prices]\n").await;
    let folder = TempDir::new().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    fs::write(
        file("own.csv"),
        "model,per,prompt,cached_prompt,completion,embedding,image,audio_second,gpu_second,currency,from\n\
         gemma*,1K,0.000000001,0,9223372.036854775,0.1,1,2,3,USD,2026-01-31\n\
         \"hf.co/x/y:Q4_K_M\",,0.15,,0.60,,,,,,\n",
    )
    .expect("write");
    assert!(told(&pannier, &["import", &file("own.csv"), "--dry-run"]).await.starts_with("2 prices"));
    assert!(stored(&pannier).await.is_empty());
    told(&pannier, &["import", &file("own.csv")]).await;
    let first = stored(&pannier).await;
    assert_eq!(first.len(), 2);
    assert_eq!(
        first.iter().filter(|price| price["completion"] == "9223372036.854775").count(),
        1,
        "{first:?}"
    );
    for name in ["again.csv", "again.json"] {
        told(&pannier, &["export", &file(name)]).await;
        let text = fs::read_to_string(file(name)).expect("read");
        let shown =
            told(&pannier, &["export", "--format", if name.ends_with("csv") { "csv" } else { "json" }]).await;
        assert_eq!(text, shown);
        told(&pannier, &["set", "other", "--prompt", "1"]).await;
        told(&pannier, &["import", &file(name), "--replace"]).await;
        assert_eq!(stored(&pannier).await, first, "{name}");
    }
    let all = told(&pannier, &["export", "--all", "--format", "csv"]).await;
    assert!(all.contains("\nmistral,1M,0.10,,0.20,"), "{all}");
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_said_with_its_line_and_nothing_is_set() {
    let (_upstream, pannier) = launched("[prices]\n").await;
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("prices").display().to_string();
    for (text, lines) in [
        ("model,prompt\ngood,1\nbad,x\nworse,-1\n", &[":3: not an amount", ":4: not an amount"][..]),
        ("model,prompt\ngood,1\ngood,2\n", &[":3: the same model and moment stand on line 2"]),
        ("model,prompt\ngood,1\n\"two words\",2\n", &[":3: \"two words\" is no model's name"]),
        ("model,currency\ngood,USD\nbad,EUR\n", &[":3: the price of \"bad\" is in EUR"]),
        ("model,prompt\ngood,1,1\n", &[":2: "]),
        (
            "{\"prices\": [\n{\"model\": \"good\"},\n{\"model\": \"bad\", \"prompt\": 1}]}",
            &[":3: invalid type"],
        ),
        ("{\"prices\": [\n{\"model\": \"good\"}\n", &[":3: EOF"]),
    ] {
        fs::write(&file, text).expect("write");
        let said = refused(&pannier, &["import", &file, "--replace"]).await;
        for line in lines {
            assert!(said.contains(&format!("{file}{line}")), "{text}: {said}");
        }
        assert!(stored(&pannier).await.is_empty(), "{text}");
    }
    assert!(
        refused(&pannier, &["import", &folder.path().join("none").display().to_string()])
            .await
            .contains("cannot read")
    );
}
