//! A thousand texts to be embedded: what is known of them saves on a real Ollama, what several upstreams save, and
//! what the vectors take of memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::client::{Parsed, Reading, read_answer};
use crate::contender::{self, Contender, Kind};
use crate::ground::Ground;
use crate::process::{Launch, Process, free_port};
use crate::results::{Results, Texts, Vectors};

const TEXTS: u64 = 1_000;
/// The model that is asked on a real Ollama.
const MODEL: &str = "all-minilm";
/// Upstreams, and what each of them takes for a text.
const UPSTREAMS: usize = 8;
const ITEM: Duration = Duration::from_millis(25);
/// Vectors that fill the memory, and the bytes of one's numbers.
const VECTORS: u64 = 1_000_000;
const RAW: u64 = 384 * 4;
/// Texts in a request that fills it.
const FILLING: u64 = 500;
/// Until what was answered is in memory.
const SETTLED: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(600);

pub fn measure(ground: &Ground, results: &mut Results) -> anyhow::Result<()> {
    let mut texts = Texts { many: scaled(ground), ..Texts::default() };
    if let Err(error) = on_ollama(ground, &mut texts) {
        results.fail("texts on a real Ollama", &error);
    }
    if let Err(error) = spread(ground, &mut texts) {
        results.fail("texts over several upstreams", &error);
    }
    results.texts = Some(texts);
    match vectors(ground) {
        Ok(vectors) => results.vectors = Some(vectors),
        Err(error) => results.fail("what vectors take of memory", &error),
    }
    Ok(())
}

fn scaled(ground: &Ground) -> u64 {
    ground.options.scaled(TEXTS as usize) as u64
}

/// Asks a real Ollama and Pannier in front of it, in turn, each for texts that it has never seen.
fn on_ollama(ground: &Ground, texts: &mut Texts) -> anyhow::Result<()> {
    let given = std::env::var("OLLAMA_HOST").unwrap_or_else(|_| "127.0.0.1:11434".to_owned());
    let ollama = given.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let ollama = if ollama.contains(':') { ollama } else { format!("{ollama}:11434") };
    let away =
        || format!("SKIPPED: no real Ollama answers at {ollama} with the model {MODEL} (`make ollama`)");
    exchange(&ollama, &question(MODEL, ground.fresh(1), 1)).with_context(away)?;
    let pannier = start(ground, &format!("http://{ollama}"), &[])?;
    let address = format!("127.0.0.1:{}", pannier.port);
    let many = texts.many;
    for round in 0..ground.options.rounds() {
        let (direct, first) = (ground.fresh(many), ground.fresh(many));
        // A model that has just been loaded is no slower for one of them.
        exchange(&ollama, &question(MODEL, ground.fresh(1), 1))?;
        let alone = exchange(&ollama, &question(MODEL, direct, many))?;
        exchange(&address, &question(MODEL, first, many / 2))?;
        std::thread::sleep(SETTLED);
        let half = exchange(&address, &question(MODEL, first, many))?;
        std::thread::sleep(SETTLED);
        // In another order, so that nothing is known as a whole.
        let known = exchange(&address, &backwards(MODEL, first, many))?;
        eprintln!(
            "  real Ollama, round {round}: {alone:.1?} directly, {half:.1?} half known, {known:.1?} known"
        );
        texts.direct.push(alone);
        texts.half.push(half);
        texts.known.push(known);
    }
    Ok(())
}

/// The same texts by one upstream, and by several.
fn spread(ground: &Ground, texts: &mut Texts) -> anyhow::Result<()> {
    let stubs: Vec<(u16, Process)> = (0..UPSTREAMS).map(|_| start_stub(ground)).collect::<Result<_, _>>()?;
    let url = |(port, _): &(u16, Process)| format!("http://127.0.0.1:{port}");
    let others: Vec<String> = stubs[1..].iter().map(|stub| format!("\"{}\"", url(stub))).collect();
    let others = format!("[{}]", others.join(","));
    for (several, settings) in [(false, &[][..]), (true, &[("PANNIER__UPSTREAM__EMBEDDING_URLS", &*others)])]
    {
        let pannier = start(ground, &url(&stubs[0]), settings)?;
        let address = format!("127.0.0.1:{}", pannier.port);
        exchange(&address, &question("embedder", ground.fresh(1), 1))?;
        let took = exchange(&address, &question("embedder", ground.fresh(texts.many), texts.many))?;
        eprintln!("  {} upstreams: {took:.2?}", if several { UPSTREAMS } else { 1 });
        match several {
            true => texts.spread = Some(took),
            false => texts.one = Some(took),
        }
    }
    Ok(())
}

/// What a Pannier grows by that is given very many vectors.
fn vectors(ground: &Ground) -> anyhow::Result<Vectors> {
    let many = match (ground.options.quick, ground.options.full) {
        (true, _) => VECTORS / 100,
        (false, false) => VECTORS / 10,
        (false, true) => VECTORS,
    };
    let (port, _stub) = start_stub_with(ground, Duration::ZERO)?;
    let room = format!("{}", many * RAW * 2);
    let settings = [("PANNIER__MEMORY__VECTORS", &*room), ("PANNIER__CACHE__DATABASE__ENABLED", "false")];
    let pannier = start(ground, &format!("http://127.0.0.1:{port}"), &settings)?;
    let address = format!("127.0.0.1:{}", pannier.port);
    let fill = |count: u64| -> anyhow::Result<()> {
        for _ in 0..count / FILLING {
            exchange(&address, &question("embedder", ground.fresh(FILLING), FILLING))?;
        }
        std::thread::sleep(SETTLED);
        Ok(())
    };
    // What it needs to do this at all is not the vectors'.
    fill(FILLING * 4)?;
    let before = pannier.process.resident();
    fill(many)?;
    let taken = pannier.process.resident().saturating_sub(before);
    eprintln!("  {many} vectors of 384: {taken} bytes");
    Ok(Vectors { many, taken, raw: many * RAW })
}

fn start_stub(ground: &Ground) -> anyhow::Result<(u16, Process)> {
    start_stub_with(ground, ITEM)
}

/// A stub that takes `item` for each text, one after the other.
fn start_stub_with(ground: &Ground, item: Duration) -> anyhow::Result<(u16, Process)> {
    let port = free_port()?;
    let args = ["--stub", &port.to_string(), "--item-ms", &item.as_millis().to_string()];
    let process = Process::start(Launch {
        name: "the stub for texts",
        program: &std::env::current_exe()?,
        args: args.map(Into::into).to_vec(),
        env: Vec::new(),
        core: ground.options.load_core,
        port,
        ready: "/api/version",
        dir: ground.dir(),
        end: "KILL",
    })?;
    Ok((port, process))
}

/// Pannier in front of another upstream than the usual one.
fn start(ground: &Ground, upstream: &str, settings: &[(&str, &str)]) -> anyhow::Result<Contender> {
    let port = free_port()?;
    let dir = ground.dir().join(format!("texts-{port}"));
    std::fs::create_dir_all(&dir)?;
    let (listen, admin) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", free_port()?));
    let mut args: Vec<std::ffi::OsString> =
        ["serve", "--listen", &listen, "--admin-listen", &admin, "--upstream", upstream]
            .map(Into::into)
            .to_vec();
    args.extend(["--data-dir".into(), dir.join("data").into()]);
    let process = Process::start(Launch {
        name: "Pannier for texts",
        program: &std::path::absolute(&ground.options.pannier)?,
        args,
        env: contender::pannier_env(Kind::Pannier, settings),
        core: ground.options.server_core,
        port,
        ready: "/livez",
        dir: &dir,
        end: "KILL",
    })?;
    Ok(Contender { kind: Kind::Pannier, port, process })
}

fn question(model: &str, first: u64, many: u64) -> String {
    body(model, first..first + many)
}

fn backwards(model: &str, first: u64, many: u64) -> String {
    body(model, (first..first + many).rev())
}

fn body(model: &str, numbers: impl Iterator<Item = u64>) -> String {
    let texts: Vec<String> =
        numbers.map(|number| format!("\"{number} llamas carry their baskets over the hills\"")).collect();
    format!("{{\"model\":\"{model}\",\"input\":[{}]}}", texts.join(","))
}

/// How long `/api/embed` takes for `body`, from the request's first byte to the answer's last.
fn exchange(address: &str, body: &str) -> anyhow::Result<Duration> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!(
        "POST /api/embed HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let begun = Instant::now();
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let took = begun.elapsed();
    let Reading::Done(Parsed { status, body }) = read_answer(&answer)? else {
        anyhow::bail!("the answer broke off");
    };
    ensure!(status == 200, "status {status}: {}", String::from_utf8_lossy(&body[..body.len().min(200)]));
    Ok(took)
}
