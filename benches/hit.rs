//! The hot path: one remembered answer after the other over one kept connection, by the fast lane and by
//! the ordinary road, against the real program. Round trips, so compare them with each other and over time.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const ANSWER: &str = r#"{"model":"m","created_at":"2026-11-20T21:04:43.778813018Z","message":{"role":"assistant","content":"Paris."},"done":true,"done_reason":"stop","prompt_eval_count":11,"eval_count":2}"#;
const QUESTION: &str =
    r#"{"model":"m","messages":[{"role":"user","content":"The capital of France?"}],"stream":false}"#;

fn main() {
    divan::main();
}

/// A running Pannier in front of an upstream of three answers.
struct Stage {
    pannier: Child,
    _folder: TempDir,
    wire: RefCell<TcpStream>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.pannier.kill();
        let _ = self.pannier.wait();
    }
}

impl Stage {
    fn new() -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = upstream.local_addr().expect("its address").to_string();
        std::thread::spawn(move || {
            upstream.incoming().flatten().for_each(|io| drop(std::thread::spawn(|| serve(io))))
        });
        let folder = TempDir::new().expect("a folder");
        let mut pannier = Command::new(env!("CARGO_BIN_EXE_pannier"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
                "--upstream",
                &address,
            ])
            .arg("--data-dir")
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start pannier");
        let mut said = String::new();
        BufReader::new(pannier.stderr.take().expect("piped")).read_line(&mut said).expect("its addresses");
        let listen =
            said.split("http://").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
        let wire = RefCell::new(TcpStream::connect(listen).expect("connect"));
        let stage = Stage { pannier, _folder: folder, wire };
        while !stage.ask("").contains("pannier; hit") {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        stage
    }

    /// One question with `fields` more, and its answer.
    fn ask(&self, fields: &str) -> String {
        let mut wire = self.wire.borrow_mut();
        let length = QUESTION.len();
        let head =
            format!("POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{fields}\r\n");
        wire.write_all([head.as_bytes(), QUESTION.as_bytes()].concat().as_slice()).expect("ask");
        let mut answer = vec![0; 4096];
        let mut have = 0;
        while !answer[..have].ends_with(b"}") {
            have += wire.read(&mut answer[have..]).expect("an answer");
        }
        String::from_utf8_lossy(&answer[..have]).into_owned()
    }
}

fn serve(mut io: TcpStream) {
    let mut read = [0; 4096];
    while let Ok(have @ 1..) = io.read(&mut read) {
        let body = match &read[..have] {
            request if request.starts_with(b"GET /api/tags") => {
                r#"{"models":[{"name":"m:latest","digest":"d"}]}"#
            }
            request if request.starts_with(b"GET /api/version") => r#"{"version":"1"}"#,
            _ => ANSWER,
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if io.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).is_err() {
            return;
        }
    }
}

#[divan::bench]
fn by_the_lane(bencher: divan::Bencher<'_, '_>) {
    let stage = Stage::new();
    bencher.bench_local(|| stage.ask(""));
}

#[divan::bench]
fn by_the_road(bencher: divan::Bencher<'_, '_>) {
    let stage = Stage::new();
    bencher.bench_local(|| stage.ask("Cache-Control: max-age=9999\r\n"));
}
