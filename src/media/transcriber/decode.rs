//! From a file in any format to the samples that are listened to.

use super::allowance::Allowance;
use super::resample::Resampler;
use super::{RATE, length};
use crate::media::voice::Flaw;
use std::io::Cursor;
use std::sync::LazyLock;
use std::time::Duration;
use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::codecs::registry::CodecRegistry;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use symphonia_adapter_libopus::OpusDecoder;

/// What speech is recorded in, and more.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=384_000;
const MOST_CHANNELS: usize = 8;
/// Packets that may be broken before the rest is given up.
const MOST_BROKEN: usize = 64;

/// What some files begin with that are no recordings, or none that are listened to.
const OTHERS: [(usize, &[u8], &str); 14] = [
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"),
    (0, b"#!AMR", "AMR"),
    (0, b"FORM", "AIFF"),
    (0, b"caff", "CAF"),
    (0, b"MThd", "MIDI"),
    (0, b".snd", "AU"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"wvpk", "WavPack"),
    (8, b"AVI ", "AVI"),
    (0, b"\x89PNG", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"GIF8", "GIF"),
    (0, b"%PDF", "PDF"),
    (0, b"PK\x03\x04", "ZIP"),
];

static CODECS: LazyLock<CodecRegistry> = LazyLock::new(|| {
    let mut codecs = CodecRegistry::new();
    symphonia::default::register_enabled_codecs(&mut codecs);
    codecs.register_audio_decoder::<OpusDecoder>();
    codecs
});

/// The samples of a recording of at most so long, of one channel, at [`RATE`].
///
/// # Errors
/// Why there are none.
pub fn decode(mut audio: Vec<u8>, longest: Duration, allowance: &Allowance) -> Result<Vec<f32>, Flaw> {
    if audio.is_empty() {
        return Err(Flaw::Empty);
    }
    measure_wav(&mut audio);
    let other =
        OTHERS.iter().find(|(at, magic, _)| audio.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
    let opened = probe(&audio).and_then(|mut format| {
        let is_too_long = length::exceeds(&mut *format, longest, allowance);
        // What was read is read again, from its begin.
        let track = Track::of(probe(&audio)?, longest, allowance)?;
        Ok(if is_too_long { Err(track.too_long()) } else { Ok(track) })
    });
    match (opened, other) {
        (Ok(track), _) => track?.samples(),
        (Err(_), Some((_, _, name))) => Err(Flaw::Format((*name).to_owned())),
        (Err(Error::Unsupported(_)), None) => Err(Flaw::Format("what is in this file".to_owned())),
        (Err(error), None) => Err(Flaw::broken(error)),
    }
}

fn probe(audio: &[u8]) -> Result<Box<dyn FormatReader + '_>, Error> {
    let stream = MediaSourceStream::new(Box::new(Cursor::new(audio)), Default::default());
    let (formats, tags) = (FormatOptions::default(), MetadataOptions::default());
    symphonia::default::get_probe().probe(&Hint::new(), stream, formats, tags)
}

/// A WAV that was written as it came, or broke off, says of itself that it is longer than it is, or has no length at
/// all. Has it say what is there.
fn measure_wav(audio: &mut [u8]) {
    let Ok(end) = u32::try_from(audio.len()) else { return };
    if !audio.starts_with(b"RIFF") || audio.get(8..12) != Some(b"WAVE") {
        return;
    }
    let said = |head: &[u8]| u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    let is_unmeasured = said(audio) == 0 || said(audio) > end - 8;
    if is_unmeasured {
        audio[4..8].copy_from_slice(&(end - 8).to_le_bytes());
    }
    let mut at = 12;
    while let Some((head, content)) = audio[at..].split_first_chunk_mut::<8>() {
        let (length, there) = (said(head) as usize, content.len());
        if head.starts_with(b"data") {
            if length > there || length == 0 && is_unmeasured {
                head[4..].copy_from_slice(&(there as u32).to_le_bytes());
            }
            return;
        }
        // A piece of odd length has a byte behind it.
        at = match at.checked_add(8 + length + length % 2) {
            Some(next) if next <= audio.len() => next,
            _ => return,
        };
    }
}

/// One track of a file.
struct Track<'a> {
    format: Box<dyn FormatReader + 'a>,
    id: u32,
    decoder: Box<dyn AudioDecoder>,
    /// Samples at the most.
    longest: usize,
    allowance: &'a Allowance,
    broken: usize,
}

impl<'a> Track<'a> {
    fn of(
        format: Box<dyn FormatReader + 'a>,
        longest: Duration,
        allowance: &'a Allowance,
    ) -> Result<Self, Error> {
        let (id, decoder) = decoder(&*format)?;
        let longest = (longest.as_secs_f64() * f64::from(RATE)) as usize;
        Ok(Track { format, id, decoder, longest, allowance, broken: 0 })
    }

    fn samples(mut self) -> Result<Vec<f32>, Flaw> {
        let mut mix: Vec<f32> = Vec::new();
        let mut resampler: Option<(u32, Resampler)> = None;
        let mut samples = Vec::new();
        // Of what is asked for, the system gives what is used: growing would take twice as much for a moment.
        let _ = samples.try_reserve_exact(self.longest);
        while let Some(rate) = self.next(&mut mix)? {
            // Of several files one behind the other each may have another.
            if let Some((_, other)) = resampler.take_if(|(first, _)| *first != rate) {
                other.finish(&mut samples);
            }
            if resampler.is_none() {
                let new = Resampler::new(rate).ok_or_else(|| Flaw::broken("its rate is none"))?;
                resampler = Some((rate, new));
            }
            if let Some((_, resampler)) = &mut resampler {
                resampler.pass(&mix, &mut samples);
            }
            self.allowance.sound(samples.len());
            self.check(samples.len())?;
        }
        if let Some((_, resampler)) = resampler {
            resampler.finish(&mut samples);
        }
        match samples.is_empty() {
            true => Err(Flaw::broken("there is no sound in it")),
            false => Ok(samples),
        }
    }

    /// The next samples, of all channels together, and their rate; `None` at the end. What breaks off is read as far
    /// as it goes.
    fn next(&mut self, mix: &mut Vec<f32>) -> Result<Option<u32>, Flaw> {
        while self.broken < MOST_BROKEN {
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) | Err(Error::IoError(_)) => return Ok(None),
                // Several files one behind the other, as OGG may be.
                Err(Error::ResetRequired) => {
                    (self.id, self.decoder) = decoder(&*self.format).map_err(Flaw::broken)?;
                    self.check(0)?;
                    continue;
                }
                Err(Error::DecodeError(_)) => {
                    self.broken += 1;
                    self.check(0)?;
                    continue;
                }
                Err(error) => return Err(Flaw::broken(error)),
            };
            if packet.track_id != self.id {
                self.check(0)?;
                continue;
            }
            match self.decoder.decode(&packet) {
                Ok(buffer) => {
                    let rate = mix_down(&buffer, mix)?;
                    return Ok(Some(rate));
                }
                Err(Error::DecodeError(_) | Error::IoError(_)) => self.broken += 1,
                Err(error) => return Err(Flaw::broken(error)),
            }
            self.check(0)?;
        }
        Ok(None)
    }

    fn check(&self, samples: usize) -> Result<(), Flaw> {
        if samples > self.longest {
            return Err(self.too_long());
        }
        match self.allowance.is_used_up() {
            true => Err(Flaw::broken("it takes too much work for what comes of it")),
            false => Ok(()),
        }
    }

    fn too_long(&self) -> Flaw {
        Flaw::TooLong((self.longest / RATE as usize) as u64)
    }
}

/// The track that is listened to, and what opens it.
fn decoder(format: &dyn FormatReader) -> Result<(u32, Box<dyn AudioDecoder>), Error> {
    let known = format.first_track_known_codec(TrackType::Audio);
    let track = format.default_track(TrackType::Audio).or(known).ok_or(Error::Unsupported("no sound"))?;
    let audio = track.codec_params.as_ref().and_then(|params| params.audio());
    let audio = audio.ok_or(Error::Unsupported("an unknown codec"))?;
    Ok((track.id, CODECS.make_audio_decoder(audio, &AudioDecoderOptions::default())?))
}

/// All channels as one. What is no number is silence.
fn mix_down(buffer: &GenericAudioBufferRef<'_>, mix: &mut Vec<f32>) -> Result<u32, Flaw> {
    let (rate, channels) = (buffer.spec().rate(), buffer.spec().channels().count());
    if !RATES.contains(&rate) {
        return Err(Flaw::broken(format!("a sample rate of {rate} Hz")));
    }
    if !(1..=MOST_CHANNELS).contains(&channels) {
        return Err(Flaw::broken(format!(
            "it has {channels} channels, and 1 to {MOST_CHANNELS} are listened to"
        )));
    }
    let mut all: Vec<f32> = Vec::new();
    buffer.copy_to_vec_interleaved(&mut all);
    let share = 1.0 / channels as f32;
    let sane = |sample: f32| if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
    mix.clear();
    mix.extend(all.chunks_exact(channels).map(|all| all.iter().copied().map(sane).sum::<f32>() * share));
    Ok(rate)
}

#[cfg(test)]
mod tests;
