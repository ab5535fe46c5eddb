//! What is no speech is left out: a model that hears none invents words.

use super::RATE;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use whisper_rs::{WhisperVadContext, WhisperVadContextParams, WhisperVadParams};

/// Silero's voice-activity model, version 6.2, in ggml's form; silero.LICENSE is its licence.
const WEIGHTS: &[u8] = include_bytes!("silero-v6.2.0.bin");

/// Around what is speech, so that no word loses its beginning.
const MARGIN: usize = RATE as usize / 5;
/// A pause that is no longer than this belongs to what is said.
const PAUSE: usize = 2 * RATE as usize;
/// What stands for a longer one.
const GAP: usize = RATE as usize / 10;

/// Somebody who tells speech from what is none.
pub struct Silence(WhisperVadContext);

/// A recording without its long pauses.
pub struct Speech {
    /// Of the recording.
    parts: Vec<Range<usize>>,
    /// In which there are the parts, with gaps between them.
    pub samples: Vec<f32>,
}

impl Silence {
    /// # Errors
    /// When there is no room for the model.
    pub fn new() -> io::Result<Self> {
        let file = in_memory()?;
        let mut params = WhisperVadContextParams::new();
        params.set_n_threads(1);
        // The engine reads nothing but what has a path.
        let path = format!("/dev/fd/{}", file.as_raw_fd());
        WhisperVadContext::new(&path, params).map(Silence).map_err(io::Error::other)
    }

    /// Where somebody speaks in `samples`.
    ///
    /// # Errors
    /// When it cannot be told: that is no silence.
    pub fn leave_out(&mut self, samples: Vec<f32>) -> io::Result<Speech> {
        let segments = self.0.segments_from_samples(WhisperVadParams::default(), &samples);
        let found = segments.map_err(io::Error::other)?.map(|part| at(part.start)..at(part.end));
        Ok(Speech::of(samples, found))
    }
}

#[cfg(target_os = "linux")]
fn in_memory() -> io::Result<File> {
    let descriptor = rustix::fs::memfd_create("silero", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(descriptor);
    file.write_all(WEIGHTS)?;
    file.rewind()?;
    Ok(file)
}

#[cfg(not(target_os = "linux"))]
fn in_memory() -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("pannier-silero-{}", std::process::id()));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
    // It is there for as long as it is open.
    std::fs::remove_file(&path)?;
    file.write_all(WEIGHTS)?;
    file.rewind()?;
    Ok(file)
}

/// Sample number, of a time in hundredths of a second.
fn at(time: f32) -> usize {
    (f64::from(time) * f64::from(RATE) / 100.0).max(0.0) as usize
}

impl Speech {
    /// All of it.
    pub fn whole(samples: Vec<f32>) -> Self {
        Speech { parts: vec![Range { start: 0, end: samples.len() }], samples }
    }

    /// In place: there may be room for one recording only.
    fn of(mut samples: Vec<f32>, found: impl Iterator<Item = Range<usize>>) -> Self {
        let mut parts: Vec<Range<usize>> = Vec::new();
        for part in found {
            let part = part.start.saturating_sub(MARGIN)..(part.end + MARGIN).min(samples.len());
            match parts.last_mut() {
                Some(last) if part.start <= last.end + PAUSE => last.end = part.end.max(last.end),
                _ if part.start < part.end => parts.push(part),
                _ => {}
            }
        }
        let mut end = 0;
        for part in &parts {
            // A gap is shorter than any pause that it stands for: what comes is never written over.
            let start = if end == 0 { 0 } else { end + GAP };
            samples[end..start].fill(0.0);
            samples.copy_within(part.clone(), start);
            end = start + part.len();
        }
        samples.truncate(end);
        Speech { parts, samples }
    }

    /// Milliseconds of the recording, of a time in hundredths of a second of what is left of it.
    pub fn time(&self, time: i64) -> u64 {
        let mut left = usize::try_from(time).unwrap_or(0) * (RATE as usize / 100);
        for part in &self.parts {
            if left <= part.len() {
                return milliseconds(part.start + left);
            }
            left = left.saturating_sub(part.len() + GAP);
        }
        milliseconds(self.parts.last().map_or(0, |part| part.end))
    }
}

fn milliseconds(samples: usize) -> u64 {
    (samples / (RATE as usize / 1000)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_pauses_are_left_out_and_times_stay_those_of_the_recording() {
        let second = RATE as usize;
        let samples: Vec<f32> = (0..20 * second).map(|at| at as f32).collect();
        let spoken = [2 * second..3 * second, 4 * second..5 * second, 15 * second..16 * second];
        let speech = Speech::of(samples.clone(), spoken.into_iter());
        assert_eq!(
            speech.parts,
            [2 * second - MARGIN..5 * second + MARGIN, 15 * second - MARGIN..16 * second + MARGIN]
        );
        assert_eq!(speech.samples[0], samples[2 * second - MARGIN]);
        // 3.4 s of the first part, then the gap.
        for (time, milliseconds) in [(0, 1800), (340, 5200), (350, 14_800), (360, 14_900), (9999, 16_200)] {
            assert_eq!(speech.time(time), milliseconds, "{time}");
        }
        assert!(Speech::of(samples, std::iter::empty()).samples.is_empty());
    }

    #[test]
    fn nobody_speaks_in_silence_or_in_a_tone() {
        let mut silence = Silence::new().expect("the model");
        let tone = |at: usize| (at as f32 * 0.17).sin() * 0.3;
        for samples in [vec![0.0; 5 * RATE as usize], (0..5 * RATE as usize).map(tone).collect()] {
            assert!(silence.leave_out(samples).expect("an opinion").samples.is_empty());
        }
    }
}
