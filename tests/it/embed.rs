//! `pannier embed`, the real command in front of a real Pannier.

use crate::stage::*;
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

const MODEL: &str = MODELS[1].0;
const DIGEST: &str = MODELS[1].1;

/// Embeds, but for texts in which `bad` stands.
async fn embedding_upstream() -> Upstream {
    let upstream = Upstream::start().await;
    upstream.on("/api/embed", |visit| match String::from_utf8_lossy(&visit.body()).contains("bad") {
        true => json(400, r#"{"error":"too long, it says"}"#),
        false => embedder::embeds(visit, DIGEST),
    });
    upstream
}

fn command(pannier: &Pannier, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pannier"));
    command.env_clear().args(["embed", "--model", MODEL]).args(arguments);
    command.args(["--listen", &pannier.addr.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Its exit code, and what it said on standard output and on standard error.
async fn ended(child: Child) -> (i32, String, String) {
    let output = within("the command's end", child.wait_with_output()).await.expect("run pannier");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("an exit code"), text(&output.stdout), text(&output.stderr))
}

async fn embed(pannier: &Pannier, arguments: &[&str]) -> (i32, String, String) {
    ended(command(pannier, arguments).spawn().expect("start pannier")).await
}

/// The same, with `text` on standard input.
async fn embed_from(pannier: &Pannier, text: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut child = command(pannier, arguments).stdin(Stdio::piped()).spawn().expect("start pannier");
    let mut input = child.stdin.take().expect("standard input");
    input.write_all(text.as_bytes()).await.expect("write");
    drop(input);
    ended(child).await
}

fn file(dir: &TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, text).expect("write");
    path.to_string_lossy().into_owned()
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn lines_become_json_lines_in_their_order() {
    let upstream = embedding_upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let dir = TempDir::new().expect("a directory");
    let texts: Vec<_> = (0..50).map(|number| format!("text {}", number % 40)).collect();
    let path = file(&dir, "texts.txt", &format!("{}\n\n日本\r\n", texts.join("\n")));
    let (code, told, said) = embed(&pannier, &[&path, "--window", "7"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("51 texts in ") && said.contains("embeddings/s"), "{said}");
    let rows = json_lines(&told);
    let texts: Vec<_> = texts.iter().map(String::as_str).chain(["日本"]).collect();
    assert_eq!(rows.len(), texts.len());
    for (number, (row, text)) in rows.iter().zip(&texts).enumerate() {
        assert_eq!(row["line"], json!(if number < 50 { number + 1 } else { 52 }));
        assert_eq!(embedder::numbers(&row["embedding"]), embedder::vector(text, DIGEST, None), "{text}");
    }
    assert_eq!(upstream.count("/api/embed"), 41, "each text once");

    // Whoever begins again goes on where it was: nobody is asked.
    let (code, again, said) = embed(&pannier, &[&path]).await;
    assert_eq!((code, again), (0, told));
    assert!(said.contains("51 known before, 0 failed"), "{said}");
    assert_eq!(upstream.count("/api/embed"), 41);
    // The same from standard input, into a file.
    let out = dir.path().join("out.jsonl");
    let (code, told, said) = embed_from(&pannier, "text 1\ntext 2\n", &["-o", &out.to_string_lossy()]).await;
    assert_eq!((code, told.as_str()), (0, ""), "{said}");
    assert_eq!(json_lines(&std::fs::read_to_string(out).expect("a file")).len(), 2);
}

#[tokio::test]
async fn what_is_over_is_given_while_the_upstream_is_down_and_that_is_said() {
    let mut upstream = embedding_upstream().await;
    let settings = "[cache]\nstale_if_error = \"1h\"\nembedding_ttl = \"3s\"\n";
    let pannier = Launch::before(&upstream).file(settings).start().await;
    let (code, fresh, said) = embed_from(&pannier, "a\nb\n", &[]).await;
    assert!(code == 0 && said.contains("0 known before, 0 failed"), "{said}");
    let both = Ask::post("/api/embed", &json!({ "model": MODEL, "input": ["a", "b"] }));
    pannier.remembered(&both).await;
    let only = both.with("Cache-Control", "only-if-cached");
    eventually("it is over", || async { (pannier.ask(&only).await.status() == 504).then_some(()) }).await;
    upstream.stop().await;
    let (code, stale, said) = embed_from(&pannier, "a\nb\n", &[]).await;
    assert_eq!((code, stale), (0, fresh), "{said}");
    assert!(said.contains("2 known before (2 of them over: the upstream is down), 0 failed"), "{said}");
}

#[tokio::test]
async fn a_bad_text_is_named_by_its_line_and_loses_nothing_else() {
    let upstream = embedding_upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let text =
        "{\"text\":\"a\",\"id\":\"one, two\"}\n{\"input\":\"bad\",\"id\":7}\nnothing\n{\"text\":\"b\"}\n";
    let (code, told, said) = embed_from(&pannier, text, &[]).await;
    assert_eq!(code, 6, "{said}");
    assert!(said.contains("line 2: too long, it says (refused)"), "{said}");
    assert!(said.contains("line 3: it is no JSON object"), "{said}");
    assert!(said.ends_with("2 of 4 texts have no vector\n"), "{said}");
    let rows = json_lines(&told);
    assert_eq!((&rows[0]["id"], &rows[1]["id"], rows[3].get("id")), (&json!("one, two"), &json!(7), None));
    assert_eq!(rows[1]["code"], "refused");
    assert_eq!(rows[2]["code"], "bad_text");
    for (row, text) in [(&rows[0], "a"), (&rows[3], "b")] {
        assert_eq!(embedder::numbers(&row["embedding"]), embedder::vector(text, DIGEST, None));
    }
    let (code, table, _) = embed_from(&pannier, text, &["--format", "csv"]).await;
    assert_eq!(code, 6);
    let rows: Vec<_> = table.split("\r\n").collect();
    assert_eq!(rows[0], "line,id,error,0,1,2,3,4,5,6,7,8,9,10,11");
    assert!(rows[1].starts_with("1,\"one, two\",,"), "{}", rows[1]);
    assert_eq!(rows[2], format!("2,7,\"refused: too long, it says\"{}", ",".repeat(12)));
    let numbers: Vec<f32> =
        rows[4].split(',').skip(3).map(|number| number.parse().expect("a number")).collect();
    assert_eq!(numbers, embedder::vector("b", DIGEST, None));
}

#[tokio::test]
async fn an_npy_is_a_table_of_float32() {
    let upstream = embedding_upstream().await;
    let pannier = Launch::before(&upstream).set("embeddings.max_texts", "2").start().await;
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("vectors.npy").to_string_lossy().into_owned();
    let arguments = ["--format", "npy", "--output", &path, "--dimensions", "5"];
    // More at once than it takes: it is asked for fewer.
    let (code, _, said) = embed_from(&pannier, "bad\na\nb\nc\nd\n", &arguments).await;
    assert_eq!(code, 6, "{said}");
    let bytes = std::fs::read(&path).expect("the file");
    let (head, body) = bytes.split_at(128);
    let shape = "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 5), }";
    assert!(head.starts_with(b"\x93NUMPY\x01\x00") && find(head, shape.as_bytes()) == Some(10));
    let numbers: Vec<f32> =
        body.chunks(4).map(|word| f32::from_le_bytes(word.try_into().expect("a word"))).collect();
    assert!(numbers[..5].iter().all(|number| number.is_nan()));
    let expected = ["a", "b", "c", "d"].map(|text| embedder::vector(text, DIGEST, Some(5)));
    assert_eq!(numbers[5..], expected.concat());
    // numpy itself, where it is installed.
    let script = "import numpy, sys; a = numpy.load(sys.argv[1]); print(a.shape, a.dtype)";
    let numpy = std::process::Command::new("python3").args(["-c", script]).arg(&path).output();
    if let Ok(numpy) = numpy.as_ref().map(|done| String::from_utf8_lossy(&done.stdout))
        && !numpy.is_empty()
    {
        assert_eq!(numpy, "(5, 5) float32\n");
    }
}

#[tokio::test]
async fn the_texts_are_not_written_over() {
    let upstream = embedding_upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let dir = TempDir::new().expect("a directory");
    let texts = file(&dir, "texts.txt", "one\ntwo\n");
    let link = dir.path().join("vectors").to_string_lossy().into_owned();
    std::os::unix::fs::symlink(&texts, &link).expect("a link");
    for output in [&texts, &link] {
        let redirected = || Stdio::from(std::fs::File::open(&texts).expect("open"));
        for arguments in [vec!["--output", output, &texts], vec!["--output", output]] {
            let child = command(&pannier, &arguments).stdin(redirected()).spawn().expect("start pannier");
            let (code, _, said) = ended(child).await;
            assert!(code == 1 && said.contains("what is read"), "{arguments:?}: {code} {said}");
            assert_eq!(std::fs::read_to_string(&texts).expect("read"), "one\ntwo\n");
        }
    }
}

#[tokio::test]
async fn it_says_why_it_cannot() {
    let upstream = embedding_upstream().await;
    let settings = "[auth]\nkeys = [{ name = \"ann\", key = \"k-ann\" }]\n";
    let mut pannier = Launch::before(&upstream).file(settings).start().await;
    let (code, _, said) = embed(&pannier, &["--format", "npy"]).await;
    assert!(code == 2 && said.contains("--output"), "{code} {said}");
    let (code, _, said) = embed(&pannier, &["/nowhere/texts.txt"]).await;
    assert!(code == 1 && said.contains("/nowhere/texts.txt"), "{code} {said}");
    let (code, _, said) = embed_from(&pannier, "a\n", &["--keep-alive", "0"]).await;
    assert!(code == 1 && said.contains("keep_alive"), "{code} {said}");
    let (code, told, said) = embed_from(&pannier, "", &[]).await;
    assert!(code == 0 && told.is_empty() && said.starts_with("0 texts"), "{code} {said}");
    let (code, ..) = embed_from(&pannier, "a\n", &["--api-key", "k-ann"]).await;
    assert_eq!(code, 0);
    let (code, ..) = embed_from(&pannier, "a\n", &[]).await;
    assert_eq!(code, 0);
    let address = pannier.addr.to_string();
    pannier.signal("KILL");
    pannier.ended().await;
    let (code, _, said) = embed_from(&pannier, "a\n", &[]).await;
    assert!(code == 4 && said.contains(&address), "{code} {said}");
}

#[tokio::test]
async fn control_c_leaves_a_whole_file_and_what_was_made_is_kept() {
    let upstream = Upstream::start().await;
    let gate = embedder::embeds_late(&upstream, DIGEST);
    let pannier = Pannier::start(&upstream).await;
    let dir = TempDir::new().expect("a directory");
    let path = file(&dir, "texts.txt", "a\nb\nlate\nc\n");
    let out = dir.path().join("vectors.npy").to_string_lossy().into_owned();
    let arguments = [path.as_str(), "--format", "npy", "--output", &out];
    let child = command(&pannier, &arguments).spawn().expect("start pannier");
    let late = {
        upstream.visit("/api/embed", 3).await;
        let visits = upstream.visits("/api/embed");
        visits.iter().find(|visit| String::from_utf8_lossy(&visit.body()).contains("late")).cloned()
    };
    // The first two have come, and the third does not.
    eventually("the others are known", || async {
        let only = Ask::post("/api/embed", &json!({ "model": MODEL, "input": ["a", "b", "c"] }));
        (pannier.ask(&only.with("Cache-Control", "only-if-cached")).await.status() == 200).then_some(())
    })
    .await;
    pause(100).await;
    let id = child.id().expect("it runs").to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
    let (code, _, said) = ended(child).await;
    assert_eq!(code, 130, "{said}");
    assert!(said.contains("2 texts in ") && said.contains("the same command goes on from there"), "{said}");
    late.expect("it was asked for").hung_up().await;
    let bytes = std::fs::read(&out).expect("the file");
    assert!(find(&bytes, b"'shape': (2, 12)").is_some() && bytes.len() == 128 + 2 * 12 * 4);
    gate.open();
    let (code, _, said) = embed(&pannier, &arguments).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("3 known before, 0 failed"), "{said}");
    assert_eq!(upstream.count("/api/embed"), 5);
}

#[tokio::test]
async fn control_c_is_heard_while_nothing_comes() {
    let upstream = embedding_upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let mut child =
        command(&pannier, &["--window", "1"]).stdin(Stdio::piped()).spawn().expect("start pannier");
    let mut input = child.stdin.take().expect("standard input");
    input.write_all(b"a\n").await.expect("write");
    upstream.visit("/api/embed", 0).await;
    let id = child.id().expect("it runs").to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
    let (code, _, said) = ended(child).await;
    assert_eq!(code, 130, "{said}");
    drop(input);
}

/// However long the input is, the command does not hold it.
#[tokio::test]
async fn memory_is_flat_over_a_long_input() {
    let upstream = Upstream::start().await;
    upstream.on("/api/embed", |visit| embedder::embeds(visit, DIGEST));
    let pannier = Launch::before(&upstream).set("memory.vectors", "1MiB").start().await;
    // What the same input takes differs by some megabytes as well.
    let (short, long) = (held_twice(&pannier, 15_000).await, held_twice(&pannier, 60_000).await);
    let (short, long) = (short.into_iter().max().unwrap_or(0), long.into_iter().min().unwrap_or(0));
    // The files have 30 and 120 MB.
    assert!(short > 0 && short.max(long) < 36_000, "{short} kB, {long} kB");
    assert!(long < short + 4_000, "{short} kB, {long} kB");
}

async fn held_twice(pannier: &Pannier, lines: usize) -> [u64; 2] {
    [held_for(pannier, lines).await, held_for(pannier, lines).await]
}

/// Embeds so many lines of 2 kB: the most memory that the command had of its own meanwhile, in kB. What it shares
/// with others, such as the program's own pages, says nothing of its input.
async fn held_for(pannier: &Pannier, lines: usize) -> u64 {
    let dir = TempDir::new().expect("a directory");
    // Few different ones, so that it does not take long.
    let text: String = (0..lines).map(|number| format!("{:0>2000}\n", number % 50)).collect();
    let path = file(&dir, "texts.txt", &text);
    let out = dir.path().join("vectors.csv").to_string_lossy().into_owned();
    let arguments = [path.as_str(), "--format", "csv", "--output", &out];
    let child = command(pannier, &arguments).spawn().expect("start pannier");
    let status = format!("/proc/{}/status", child.id().expect("it runs"));
    let watching = async {
        let mut most = 0;
        loop {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let Some(held) = text.lines().find_map(|line| line.strip_prefix("RssAnon:")) else { return most };
            most = most.max(held.trim().trim_end_matches(" kB").parse::<u64>().expect("a number"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waiting = tokio::time::timeout(Duration::from_secs(120), child.wait_with_output());
    let (output, most) = tokio::join!(waiting, watching);
    let output = output.expect("in time").expect("run pannier");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = std::fs::read_to_string(out).expect("the file");
    assert_eq!(written.lines().count(), lines + 1);
    most
}
