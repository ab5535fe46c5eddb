//! Whisper's engine by itself, the very one that Pannier has, with the weights that Pannier gives it, called as its own
//! examples call it: opens and hears each file that it is told, and says how long that took. What Pannier takes more is
//! what Pannier adds.

use std::path::Path;

#[cfg(feature = "audio")]
pub fn run(weights: &Path, threads: usize) -> anyhow::Result<()> {
    use std::io::{BufRead, Write};
    use std::time::{Duration, Instant};

    use anyhow::{Context, ensure};
    use nix::time::{ClockId, clock_gettime};
    use whisper_rs::{FullParams, SamplingStrategy};

    whisper_rs::install_logging_hooks();
    let busy =
        || -> anyhow::Result<Duration> { Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into()) };
    let context = pannier::media::transcriber::load(weights, true).map_err(anyhow::Error::msg)?;
    let mut state = context.create_state()?;
    for path in std::io::stdin().lock().lines() {
        let (begun, cpu) = (Instant::now(), busy()?);
        let wav = std::fs::read(path?)?;
        let at = wav.windows(4).position(|name| name == b"data").context("a WAV without samples")?;
        let samples = wav[at + 8..].chunks_exact(2);
        let samples: Vec<f32> =
            samples.map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0).collect();
        let mut wishes = FullParams::new(SamplingStrategy::Greedy { best_of: 5 });
        wishes.set_n_threads(i32::try_from(threads)?);
        wishes.set_language(Some("en"));
        wishes.set_print_progress(false);
        state.full(wishes, &samples)?;
        ensure!(state.full_n_segments() > 0, "nothing was heard");
        println!("heard {} {}", begun.elapsed().as_secs_f64(), (busy()? - cpu).as_secs_f64());
        std::io::stdout().flush()?;
    }
    Ok(())
}

#[cfg(not(feature = "audio"))]
pub fn run(_weights: &Path, _threads: usize) -> anyhow::Result<()> {
    anyhow::bail!("this bench was built without an engine")
}
