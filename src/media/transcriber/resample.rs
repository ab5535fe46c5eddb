//! From any sample rate to the one that is listened to, piece by piece.

use super::RATE;
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, FixedAsync, Indexing, Resampler as _, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

/// Samples that are taken at a time.
const CHUNK: usize = 4_096;

const FILTER: SincInterpolationParameters = SincInterpolationParameters {
    sinc_len: 256,
    f_cutoff: None,
    oversampling_factor: 256,
    interpolation: SincInterpolationType::Linear,
    window: WindowFunction::BlackmanHarris2,
};

/// Of one channel.
pub struct Resampler(Option<Conversion>);

struct Conversion {
    inner: Async<f32>,
    ratio: f64,
    /// What has not been taken yet.
    pending: Vec<f32>,
    /// Room for what comes of one piece.
    room: Vec<f32>,
    taken: usize,
    given: usize,
    /// What comes first is the filter's own.
    late: usize,
}

impl Resampler {
    /// `None` where there is no such rate.
    pub fn new(rate: u32) -> Option<Self> {
        if rate == RATE {
            return Some(Resampler(None));
        }
        let ratio = f64::from(RATE) / f64::from(rate);
        let inner = Async::new_sinc(ratio, 1.1, &FILTER, CHUNK, 1, FixedAsync::Input).ok()?;
        let room = vec![0.0; inner.output_frames_max()];
        // The first sample stands one step behind the filter's middle, which the resampler's own figure leaves out.
        let late = (FILTER.sinc_len as f64 / 2.0 * ratio - 1.0).round().max(0.0) as usize;
        Some(Resampler(Some(Conversion {
            inner,
            ratio,
            pending: Vec::new(),
            room,
            taken: 0,
            given: 0,
            late,
        })))
    }

    /// Appends what comes of `samples`.
    pub fn pass(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        match &mut self.0 {
            None => out.extend_from_slice(samples),
            Some(conversion) => {
                conversion.taken += samples.len();
                conversion.pending.extend_from_slice(samples);
                conversion.convert(out);
            }
        }
    }

    /// Appends the rest, so that all of it lasts as long as what was taken.
    pub fn finish(self, out: &mut Vec<f32>) {
        let Some(mut conversion) = self.0 else { return };
        let wanted = (conversion.taken as f64 * conversion.ratio).round() as usize;
        while conversion.given < wanted {
            conversion.pending.resize(conversion.pending.len().next_multiple_of(CHUNK).max(CHUNK), 0.0);
            let before = conversion.given;
            conversion.convert(out);
            if conversion.given == before && conversion.late == 0 {
                break;
            }
        }
        out.truncate(out.len() - conversion.given.saturating_sub(wanted));
    }
}

impl Conversion {
    /// Takes what is there, as far as it fills pieces.
    fn convert(&mut self, out: &mut Vec<f32>) {
        let Conversion { inner, pending, room, given, late, .. } = self;
        let whole = pending.len() - pending.len() % CHUNK;
        for piece in pending[..whole].chunks_exact(CHUNK) {
            let frames = room.len();
            let (Ok(from), Ok(mut to)) =
                (InterleavedSlice::new(piece, 1, CHUNK), InterleavedSlice::new_mut(room, 1, frames))
            else {
                break;
            };
            let Ok((_, made)) = inner.process_into_buffer(&from, &mut to, None::<&Indexing>) else { break };
            let skipped = made.min(*late);
            *late -= skipped;
            *given += made - skipped;
            out.extend_from_slice(&room[skipped..made]);
        }
        pending.drain(..whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::TAU;

    /// A tone of 440 Hz, for a second.
    fn tone(rate: u32) -> Vec<f32> {
        shifted_tone(rate, 0.0)
    }

    /// The same, so many samples later.
    fn shifted_tone(rate: u32, shift: f32) -> Vec<f32> {
        (0..rate).map(|at| (TAU * 440.0 * (at as f32 - shift) / rate as f32).sin()).collect()
    }

    fn resampled(rate: u32, step: usize) -> Vec<f32> {
        let (mut resampler, mut out) = (Resampler::new(rate).expect("a rate"), Vec::new());
        tone(rate).chunks(step).for_each(|piece| resampler.pass(piece, &mut out));
        resampler.finish(&mut out);
        out
    }

    #[test]
    fn a_tone_stays_the_same_tone_for_as_long() {
        for rate in [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000] {
            let made = resampled(rate, 1_000);
            assert_eq!(made.len(), RATE as usize, "{rate}");
            // No sample stands further than half a sample from its place.
            let shifts = (-10..=10).map(|twentieths| twentieths as f32 / 20.0);
            let worst = |shift| {
                let wanted = shifted_tone(RATE, shift);
                let middle = 1_000..wanted.len() - 1_000;
                middle.map(|at| (made[at] - wanted[at]).abs()).fold(0.0, f32::max)
            };
            let best = shifts.map(worst).fold(f32::INFINITY, f32::min);
            assert!(best < 0.01, "{rate}: {best}");
        }
    }

    #[test]
    fn however_it_is_cut_the_same_comes_of_it() {
        let whole = resampled(44_100, usize::MAX);
        for step in [1, 999, 4_096] {
            assert_eq!(resampled(44_100, step), whole, "{step}");
        }
    }
}
