//! Weights: where they are missing, where they are not what they should be, and how they come.

use super::*;
use std::process::Stdio;
use tokio::process::Command;

/// `pannier models …`: exit code, and what it printed and said.
async fn models(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pannier"));
    command.env_clear().env("HOME", folder).env("PANNIER__AUDIO__MODELS_DIR", folder);
    command.arg("models").args(arguments).stdin(Stdio::null()).current_dir(folder);
    let output = within("the command", command.output()).await.expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().expect("an exit code"), String::from_utf8_lossy(&said).into_owned())
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_model_that_is_not_there_is_named_with_what_to_do() {
    let lobby = Lobby::open().await;
    let reply = lobby.pannier.ask(&form(TRANSCRIPTIONS, b"x", &[("model", "base.en")])).await;
    assert_eq!((reply.status(), reply.code()), (404, Some("not_found")));
    assert!(reply.text().contains("pannier models pull base.en"), "{}", reply.text());
    std::fs::write(lobby.models.path().join("ggml-small.bin"), "these are no weights").expect("room");
    let reply = lobby.pannier.ask(&form(TRANSCRIPTIONS, b"x", &[("model", "small")])).await;
    assert_eq!(reply.status(), 500);
    assert!(reply.text().contains("no ggml weights"), "{}", reply.text());
}

#[tokio::test]
async fn one_that_is_asked_for_first_is_fetched_and_says_so() {
    let mirror = Upstream::start().await;
    let address = format!("http://{}/mirror", mirror.addr);
    let settings = |launch: Launch| launch.set("audio.download", "true").set("audio.mirror", &address);
    let lobby = Lobby::open_with(settings).await;
    let ask = form(TRANSCRIPTIONS, b"x", &[("model", "base")]);
    let reply = lobby.pannier.ask(&ask).await;
    assert_eq!((reply.status(), reply.code()), (503, Some("overloaded")));
    assert!(
        reply.text().contains("being fetched") && reply.field("retry-after").is_some(),
        "{}",
        reply.text()
    );
    let said = eventually("it cannot be had", || async {
        let reply = lobby.pannier.ask(&ask).await;
        (reply.status() == 404).then(|| reply.text())
    })
    .await;
    assert!(said.contains("the answer is 404") && said.contains("ggml-base-q8_0.bin"), "{said}");
    assert_eq!(mirror.count("/mirror/ggml-base-q8_0.bin"), 1);
}

#[tokio::test]
async fn models_are_fetched_one_by_one() {
    let mirror = Upstream::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    mirror.on("/ggml-base-q8_0.bin", move |_| [vec![Act::Wait(held.clone())], json(404, "{}")].concat());
    let address = format!("http://{}", mirror.addr);
    let settings = |launch: Launch| launch.set("audio.download", "true").set("audio.mirror", &address);
    let lobby = Lobby::open_with(settings).await;
    let ask = async |model| lobby.pannier.ask(&form(TRANSCRIPTIONS, b"x", &[("model", model)])).await;
    for model in ["base", "small", "medium"] {
        let reply = ask(model).await;
        assert_eq!((reply.status(), reply.code()), (503, Some("overloaded")), "{model}");
        assert!(reply.text().contains("base-q8_0 is being fetched"), "{model}: {}", reply.text());
    }
    gate.open();
    eventually("it is another's turn", || async {
        let said = ask("small").await.text();
        (said.contains("small-q8_0 is being fetched") || said.contains("cannot be fetched")).then_some(())
    })
    .await;
    assert_eq!(mirror.count("/ggml-medium-q8_0.bin"), 0);
}

#[tokio::test]
async fn a_download_that_is_cut_off_goes_on_and_what_is_something_else_is_thrown_away() {
    const FILE: &str = "/ggml-tiny-q8_0.bin";
    let mirror = Upstream::start().await;
    mirror.on(FILE, |visit| match visit.field("range") {
        None => vec![Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf ".to_vec()), Act::Rst],
        Some("bytes=5-") => vec![Act::Send(
            b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\nthere"
                .to_vec(),
        )],
        Some(_) => json(416, "{}"),
    });
    let folder = TempDir::new().expect("a folder");
    let address = format!("http://{}", mirror.addr);
    let pull = ["pull", "tiny", "--from", &address];
    let (code, said) = models(folder.path(), &pull).await;
    assert!(code == 1 && said.contains("to go on"), "{code} {said}");
    assert_eq!(files(folder.path()), ["ggml-tiny-q8_0.bin.part"]);
    assert_eq!(std::fs::read(folder.path().join("ggml-tiny-q8_0.bin.part")).expect("a part"), b"half ");
    // All of it is there, and it is not what whisper.cpp publishes.
    let (code, said) = models(folder.path(), &pull).await;
    assert!(code == 1 && said.contains("thrown away"), "{code} {said}");
    assert_eq!(files(folder.path()), [""; 0]);
    assert_eq!(mirror.count(FILE), 2);
}

#[tokio::test]
async fn models_are_listed_and_removed() {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("ggml-mine.bin"), vec![0; 3 << 20]).expect("room");
    let (code, said) = models(folder.path(), &["list"]).await;
    assert_eq!(code, 0, "{said}");
    let mine = said.lines().find(|line| line.starts_with("mine ")).expect("mine is listed");
    assert!(mine.contains("3 MiB") && said.contains("large-v3-turbo-q5_0"), "{said}");
    assert_eq!(models(folder.path(), &["remove", "mine"]).await.0, 0);
    assert_eq!(files(folder.path()), [""; 0]);
    for wrong in [&["remove", "mine"][..], &["remove", "../x"], &["pull", "gemma4"]] {
        assert_eq!(models(folder.path(), wrong).await.0, 1, "{wrong:?}");
    }
    for form in ["", "-q5_1", ".en-q8_0"] {
        std::fs::write(folder.path().join(format!("ggml-tiny{form}.bin")), "weights").expect("room");
    }
    let (code, said) = models(folder.path(), &["remove", "tiny.en"]).await;
    assert!(code == 0 && said.contains("ggml-tiny.en-q8_0.bin"), "what `pull tiny.en` has brought: {said}");
    assert_eq!(models(folder.path(), &["remove", "whisper:tiny"]).await.0, 0);
    assert_eq!(files(folder.path()), ["ggml-tiny-q5_1.bin"], "the one that is called so");
    std::fs::write(folder.path().join("ggml-tiny-q8_0.bin"), "weights").expect("room");
    let (code, said) = models(folder.path(), &["remove", "tiny"]).await;
    assert!(code == 1 && said.contains("say which") && said.contains("ggml-tiny-q5_1.bin"), "{said}");
    assert_eq!(files(folder.path()).len(), 2);
    let nowhere = ["pull", "base", "--from", "/nowhere"];
    let (code, said) = models(folder.path(), &nowhere).await;
    assert!(code == 1 && said.contains("No such file"), "{code} {said}");
}
