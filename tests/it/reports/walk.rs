//! The walk of docs/usage.md: its commands run as they stand there, and what they print has the shape that it shows.

use super::*;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const PAGE: &str = include_str!("../../../docs/usage.md");
const SERVE: &str = "pannier serve --config pannier.toml &";
const SETTINGS: &str = "cat pannier.toml";
/// All that is asked in it.
const REQUESTS: u64 = 8;
const NAMES: [&str; 3] = ["smollm2:135m", "all-minilm:latest", "toycolour:latest"];

/// A shell in which the variables and functions of earlier commands live on.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Shell {
    fn open(pannier: &Pannier) -> Shell {
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_pannier"));
        let folder = program.parent().expect("its folder").display();
        let mut command = Command::new("sh");
        command.env_clear().env("PATH", format!("{folder}:/usr/bin:/bin")).current_dir(&pannier.data_dir);
        for (name, value) in [
            ("LISTEN", pannier.addr.to_string()),
            ("ADMIN_LISTEN", pannier.admin.to_string()),
            ("DATA_DIR", pannier.data_dir.display().to_string()),
        ] {
            command.env(format!("PANNIER__SERVER__{name}"), value);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("a shell");
        let input = child.stdin.take().expect("its input");
        let output = BufReader::new(child.stdout.take().expect("its output")).lines();
        Shell { child, input, output }
    }

    /// What it prints, where it succeeds.
    async fn run(&mut self, command: &str) -> Vec<String> {
        const END: &str = "=== ";
        let line = format!("{{ {command}\n}} 2>&1; echo \"{END}$?\"\n");
        self.input.write_all(line.as_bytes()).await.expect("write");
        let mut printed = Vec::new();
        loop {
            let line = within("the command's end", self.output.next_line()).await.expect("read");
            let line = line.expect("the shell goes on");
            match line.strip_prefix(END) {
                Some(code) => {
                    assert_eq!(code, "0", "{command}: {printed:?}");
                    return printed;
                }
                None => printed.push(line),
            }
        }
    }

    async fn end(mut self) {
        drop(self.input);
        assert!(within("the shell's end", self.child.wait()).await.expect("wait").success());
    }
}

/// The commands of the page's first section; what is asked again in it is so after several others, long after its
/// first answer was kept. Each with what is printed.
fn commands() -> Vec<(String, Vec<String>)> {
    let section = PAGE.split("\n## ").nth(1).expect("a section");
    let blocks = section.split("```console\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().expect("its end").lines());
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    for line in lines {
        match line.strip_prefix("$ ") {
            Some(command) => commands.push((command.to_owned(), Vec::new())),
            None => commands.last_mut().expect("a command").1.push(line.to_owned()),
        }
    }
    commands
}

/// Words and columns, whatever the numbers are; over midnight there is a line more, that is like another.
fn shape(lines: &[String]) -> Vec<Vec<String>> {
    let is_number = |word: &str| {
        word.contains(|letter: char| letter.is_ascii_digit())
            && word.chars().all(|letter| letter.is_ascii_digit() || ".-:".contains(letter))
    };
    let word = |word: &str| if is_number(word) { "0".to_owned() } else { word.to_owned() };
    let mut shape: Vec<Vec<String>> = lines
        .iter()
        .map(|line| line.split([' ', ',']).filter(|word| !word.is_empty()).map(word).collect())
        .collect();
    shape.dedup();
    shape
}

/// An Ollama that takes some time for everything, and has read a part of each question before.
async fn ollama() -> Upstream {
    let upstream = Upstream::start().await;
    let digests = ["1", "2", "3"].map(|digit| digit.repeat(64));
    let models: Vec<_> = NAMES.into_iter().zip(digests.iter().map(String::as_str)).collect();
    upstream.models(&models);
    upstream.on("/api/embed", |visit| embedder::embeds(visit, "of all-minilm"));
    upstream.on(CHAT, |visit| {
        let model = embedder::body(visit)["model"].clone();
        let answer = json!({
            "model": model, "created_at": "2026-11-20T21:04:43.000000Z",
            "message": { "role": "assistant", "content": "all of it" }, "done": true, "done_reason": "length",
            "total_duration": 700_000_000, "load_duration": 50_000_000, "prompt_eval_count": 14,
            "prompt_eval_cached_count": 3, "prompt_eval_duration": 100_000_000, "eval_count": 60,
            "eval_duration": 500_000_000,
        });
        json(200, &answer.to_string())
    });
    upstream
}

#[tokio::test]
async fn the_walk_of_the_page_is_as_it_is_told() {
    let commands = commands();
    let (_, settings) = commands.iter().find(|(command, _)| command == SETTINGS).expect("its settings");
    assert!(commands.iter().any(|(command, _)| command == SERVE));
    let upstream = ollama().await;
    let pannier = Launch::before(&upstream).file(&settings.join("\n")).start().await;
    let mut shell = Shell::open(&pannier);
    let mut seen = 0;
    for (command, told) in commands.iter().filter(|(command, _)| command != SETTINGS && command != SERVE) {
        if command.starts_with("pannier costs") || command.starts_with("pannier usage") {
            is_in_the_books(&pannier).await;
            seen += 1;
        }
        let command = command.replace("127.0.0.1:8000", &pannier.addr.to_string());
        let printed = shell.run(&command).await;
        assert_eq!(shape(&printed), shape(told), "{command}\n{}", printed.join("\n"));
    }
    assert!(seen >= 3, "the bill is shown as a table, as CSV, and by key");
    shell.end().await;
    assert_eq!(
        (upstream.count(CHAT), upstream.count("/api/embed")),
        (5, 3),
        "one question was a hit, and one text"
    );
}

async fn is_in_the_books(pannier: &Pannier) {
    eventually("all of it is in the books", || async {
        let told = pannier.administer(Ask::get("/usage?by=")).await.fine().json();
        (told["total"]["requests"] == REQUESTS).then_some(())
    })
    .await;
}
