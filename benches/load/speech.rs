//! Speech: how long Pannier takes to write down what is said, beside whisper.cpp with the same weights by another
//! binding; what of it is opening the recording; and what those notice who ask for something else meanwhile.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::client::Connection;
use crate::contender::{API_KEY, Contender, Kind};
use crate::ground::Ground;
use crate::heard::{Beside, Heard, Opened, Speech};
use crate::nuisance;
use crate::results::{Results, quantile};
use crate::rival::Rival;
use crate::throughput::ASKED;
use crate::workload::Workload;
use crate::wrk::{self, Picking};

pub const ROUTE: &str = "/v1/audio/transcriptions";
/// The sentence of 11 s, and how often it is said in a clip.
const SENTENCE: &str = "jfk.wav";
const CLIPS: [usize; 2] = [1, 4];
const THREADS: [usize; 2] = [1, 2];
/// The same sentence in forms that have to be opened first.
const FORMS: [&str; 5] = ["jfk.wav", "jfk_44k_stereo.wav", "jfk.mp3", "jfk.opus", "jfk.m4a"];
/// Recordings whose text is known, each time.
const KNOWN: u32 = 20;
/// Of which the text is asked for again, and how often each time.
const KNOWN_FILE: &str = "jfk.mp3";
const HITS: u32 = 400;
/// Until a text is in memory.
const SETTLED: Duration = Duration::from_millis(300);
const EDGE: &str = "edge-of-the-bench";

pub fn measure(ground: &Ground, results: &mut Results) -> anyhow::Result<()> {
    let assets = assets()?;
    let mut speech = Speech::default();
    for model in ["tiny", "base"] {
        let Some(weights) = weights(&assets, model) else {
            let missing = anyhow::anyhow!("SKIPPED: no whisper/ggml-{model}*.bin in PANNIER_TEST_ASSETS");
            results.fail(&format!("speech by {model}"), &missing);
            continue;
        };
        for threads in THREADS {
            hear(ground, &assets, &weights, (model, threads), &mut speech)?;
        }
    }
    if let Err(error) = open(ground, &assets, &mut speech) {
        results.fail("opening recordings", &error);
    }
    if let Err(error) = beside(ground, &assets, &mut speech) {
        results.fail("hits while somebody listens", &error);
    }
    if let Err(error) = hit(ground, &assets, &mut speech) {
        results.fail("hits of a transcript", &error);
    }
    results.speech = Some(speech);
    if let Err(error) = nuisance::beside(ground, &assets, results) {
        results.fail("hits beside bad recordings and pictures", &error);
    }
    Ok(())
}

/// What a hit costs of a transcript, and one of a chat that is as long: both bodies are read to be known.
fn hit(ground: &Ground, assets: &Path, speech: &mut Speech) -> anyhow::Result<()> {
    let pannier = start(ground, assets, "tiny", 1)?;
    let file = std::fs::read(assets.join("audio").join(KNOWN_FILE))?;
    let fields = [("model", "tiny"), ("language", "en")];
    let transcript = posted(ROUTE, &file, &fields, "");
    let chat = Workload::as_long_as(transcript.len()).request(pannier.kind, pannier.port, 0);
    let mut connection = Connection::open(pannier.port)?;
    for request in [&transcript, &chat] {
        connection.exchange(request)?;
        std::thread::sleep(SETTLED);
        connection.exchange(request)?;
    }
    let mut cost = |request: &[u8]| -> anyhow::Result<f64> {
        let cpu = pannier.process.precise_time()?;
        for _ in 0..HITS {
            let answer = connection.exchange(request)?;
            ensure!(answer.status == 200, "status {}", answer.status);
        }
        Ok((pannier.process.precise_time()?.saturating_sub(cpu)).as_secs_f64() * 1e6 / f64::from(HITS))
    };
    for _ in 0..ground.options.rounds() {
        let (transcript, chat) = (cost(&transcript)?, cost(&chat)?);
        eprintln!("  a hit: {transcript:.0} µs of a transcript, {chat:.0} µs of a chat as long");
        speech.hits.push((transcript, chat));
    }
    Ok(())
}

/// Pannier and its rival hear every clip, in turn.
fn hear(
    ground: &Ground,
    assets: &Path,
    weights: &Path,
    (model, threads): (&str, usize),
    speech: &mut Speech,
) -> anyhow::Result<()> {
    let pannier = start(ground, assets, model, threads)?;
    spread(ground, pannier.process.id())?;
    let cores = cores(ground);
    let mut rival = Rival::newest(ground, &cores, weights, threads)?;
    let mut engine = Rival::engine(&cores, weights, threads)?;
    for times in CLIPS {
        let clip = said_often(&std::fs::read(assets.join("audio").join(SENTENCE))?, times)?;
        let file = ground.dir().join(format!("{times}.wav"));
        std::fs::write(&file, &clip)?;
        let mut heard = Heard { model: model.to_owned(), threads, seconds: 11 * times, ..Heard::default() };
        // The first time, weights are read.
        listen(&pannier, &clip, model, false)?;
        rival.hear(&file)?;
        engine.hear(&file)?;
        for _ in 0..ground.options.many_rounds() {
            let cpu = pannier.process.family_time();
            heard.wall.push(listen(&pannier, &clip, model, false)?);
            heard.cpu.push(pannier.process.family_time().saturating_sub(cpu));
            let (wall, cpu) = rival.hear(&file)?;
            heard.rivals_wall.push(wall);
            heard.rivals_cpu.push(cpu);
            let (wall, cpu) = engine.hear(&file)?;
            heard.engines_wall.push(wall);
            heard.engines_cpu.push(cpu);
        }
        let ((wall, cpu), (own, own_cpu)) = (heard.over_rival(), heard.over_engine());
        eprintln!(
            "  {model}, {threads} threads, {} s: {wall:.2?} wall, {cpu:.2?} CPU; of the engine {own:.2?}, {own_cpu:.2?}",
            heard.seconds
        );
        speech.heard.push(heard);
    }
    Ok(())
}

/// What a recording costs whose text is known, though it stands in another file: it is opened, and not listened to.
fn open(ground: &Ground, assets: &Path, speech: &mut Speech) -> anyhow::Result<()> {
    let pannier = start(ground, assets, "tiny", 1)?;
    spread(ground, pannier.process.id())?;
    let read = |name: &str| std::fs::read(assets.join("audio").join(name));
    listen(&pannier, &read(SENTENCE)?, "tiny", false)?;
    let mut heard = Vec::new();
    for form in FORMS {
        let (file, cpu) = (read(form)?, pannier.process.family_time());
        listen(&pannier, &file, "tiny", true)?;
        heard.push((form, file, pannier.process.family_time().saturating_sub(cpu)));
    }
    // Whatever it needs to take in a recording it has by now.
    let kept = pannier.process.kept();
    for (form, file, heard) in heard {
        let cpu = pannier.process.family_time();
        let mut known = Vec::new();
        for number in 0..KNOWN {
            known.push(listen(&pannier, &marked(&file, form, number), "tiny", true)?);
        }
        let opened = pannier.process.family_time().saturating_sub(cpu) / KNOWN;
        known.sort_unstable();
        let known = quantile(&known, 0.5).context("nothing was asked")?;
        ensure!(known < heard, "{form}: the text was not known");
        eprintln!("  {form}: {heard:.2?} CPU, of it {opened:.2?} to open it; known in {known:.2?}");
        speech.opened.push(Opened { form, heard, opened, known });
    }
    speech.grown = Some(pannier.process.kept().saturating_sub(kept));
    Ok(())
}

/// The same sound in another file: with something behind it that nobody plays.
fn marked(file: &[u8], form: &str, number: u32) -> Vec<u8> {
    let mark = match form.ends_with(".m4a") {
        true => [&12u32.to_be_bytes()[..], b"free", &number.to_be_bytes()].concat(),
        false => [&b"junk"[..], &4u32.to_le_bytes(), &number.to_le_bytes()].concat(),
    };
    [file, &mark].concat()
}

/// What a hit costs while nobody listens, while the engine alone does so on the other core, and while Pannier does.
/// Whoever asks shares the server's core, so that whoever listens has the other to himself.
fn beside(ground: &Ground, assets: &Path, speech: &mut Speech) -> anyhow::Result<()> {
    let pannier = start(ground, assets, "tiny", 1)?;
    let other_core = ground.options.load_core.to_string();
    let clip = said_often(&std::fs::read(assets.join("audio").join(SENTENCE))?, 4)?;
    let file = ground.dir().join("beside.wav");
    std::fs::write(&file, &clip)?;
    listen(&pannier, &clip, "tiny", false)?;
    for worker in pannier.process.workers()? {
        pin(worker, &other_core)?;
    }
    let weights = weights(assets, "tiny").context("no weights of tiny")?;
    let mut engine = Rival::engine(&other_core, &weights, 1)?;
    engine.hear(&file)?;
    let small = Workload::small();
    let mut connection = Connection::open(pannier.port)?;
    for number in (0..ASKED).chain(0..ASKED) {
        connection.exchange(&small.request(pannier.kind, pannier.port, number))?;
    }
    let core = ground.options.server_core;
    let hit = || -> anyhow::Result<f64> {
        pannier.process.trim_log()?;
        let cpu = pannier.process.precise_time()?;
        let tally = wrk::run_on(core, ground, &pannier, &small, Picking::Rotate(ASKED))?;
        let cpu = pannier.process.precise_time()?.saturating_sub(cpu);
        Ok(cpu.as_secs_f64() * 1e6 / tally.requests)
    };
    for _ in 0..ground.options.rounds() {
        let beside = Beside {
            alone: hit()?,
            engine: meanwhile(hit, || engine.hear(&file).map(drop))?,
            pannier: meanwhile(hit, || listen(&pannier, &clip, "tiny", false).map(drop))?,
        };
        eprintln!("  a hit, µs: {beside:.2?}");
        speech.beside.push(beside);
    }
    Ok(())
}

/// What `hit` comes to while somebody hears, over and over.
fn meanwhile(
    hit: impl Fn() -> anyhow::Result<f64>,
    mut hear: impl FnMut() -> anyhow::Result<()> + Send,
) -> anyhow::Result<f64> {
    let over = AtomicBool::new(false);
    let (busy, heard) = std::thread::scope(|scope| {
        let listening = scope.spawn(|| -> anyhow::Result<()> {
            while !over.load(Ordering::Relaxed) {
                hear()?;
            }
            Ok(())
        });
        std::thread::sleep(SETTLED);
        let busy = hit();
        over.store(true, Ordering::Relaxed);
        (busy, listening.join())
    });
    heard.map_err(|_| anyhow::anyhow!("whoever listened was gone"))??;
    busy
}

pub fn start(ground: &Ground, assets: &Path, model: &str, threads: usize) -> anyhow::Result<Contender> {
    let (folder, threads) = (assets.join("whisper"), threads.to_string());
    let settings = [
        ("PANNIER__AUDIO__MODEL", model),
        ("PANNIER__AUDIO__MODELS_DIR", &*folder.to_string_lossy()),
        ("PANNIER__AUDIO__DOWNLOAD", "false"),
        ("PANNIER__AUDIO__THREADS", &*threads),
    ];
    Contender::start(ground, Kind::PannierMemory, &settings)
}

/// How long Pannier takes for a recording; a text that it `knows` will do, or it is to listen anew.
fn listen(pannier: &Contender, clip: &[u8], model: &str, knows: bool) -> anyhow::Result<Duration> {
    let more = if knows { "" } else { "X-Pannier-Cache: bypass\r\n" };
    let request = posted(ROUTE, clip, &[("model", model), ("language", "en")], more);
    let begun = Instant::now();
    let answer = Connection::open(pannier.port)?.exchange(&request)?;
    let took = begun.elapsed();
    let said = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == 200 && said.contains("your country"), "status {}: {said}", answer.status);
    Ok(took)
}

/// A form with a file; `more`: lines of its head.
pub fn posted(route: &str, file: &[u8], fields: &[(&str, &str)], more: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(file.len() + 1024);
    for (name, value) in fields {
        let field = format!("--{EDGE}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend(field.as_bytes());
    }
    let begin =
        format!("--{EDGE}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"clip\"\r\n\r\n");
    body.extend(begin.as_bytes());
    body.extend(file);
    body.extend(format!("\r\n--{EDGE}--\r\n").as_bytes());
    let head = format!(
        "POST {route} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {API_KEY}\r\n\
         Content-Type: multipart/form-data; boundary={EDGE}\r\n{more}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

fn assets() -> anyhow::Result<PathBuf> {
    let given = std::env::var_os("PANNIER_TEST_ASSETS").map(PathBuf::from);
    let folder = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/assets"));
    ensure!(
        folder.join("audio").join(SENTENCE).is_file(),
        "SKIPPED: no audio/{SENTENCE} in PANNIER_TEST_ASSETS"
    );
    Ok(std::path::absolute(folder)?)
}

/// The weights that Pannier takes for `model`.
fn weights(assets: &Path, model: &str) -> Option<PathBuf> {
    let folder = assets.join("whisper");
    let names = [format!("ggml-{model}-q5_1.bin"), format!("ggml-{model}.bin")];
    names.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// A WAV of 16-bit samples at 16 kHz, said `times` over.
fn said_often(wav: &[u8], times: usize) -> anyhow::Result<Vec<u8>> {
    let at = wav.windows(4).position(|name| name == b"data").context("a WAV without samples")?;
    let samples = wav[at + 8..].repeat(times);
    let length = u32::try_from(samples.len())?;
    let mut clip = wav[..at + 4].to_vec();
    clip.extend(length.to_le_bytes());
    clip.extend(&samples);
    let whole = u32::try_from(clip.len() - 8)?;
    clip[4..8].copy_from_slice(&whole.to_le_bytes());
    Ok(clip)
}

fn cores(ground: &Ground) -> String {
    format!("{},{}", ground.options.server_core, ground.options.load_core)
}

/// Lets a process use both cores: two threads want them.
pub fn spread(ground: &Ground, process: u32) -> anyhow::Result<()> {
    pin(process, &cores(ground))
}

fn pin(process: u32, cores: &str) -> anyhow::Result<()> {
    let pinned = Command::new("taskset").args(["-a", "-c", "-p", cores, &process.to_string()]).output()?;
    ensure!(pinned.status.success(), "cannot use {cores}: {}", String::from_utf8_lossy(&pinned.stderr));
    Ok(())
}
