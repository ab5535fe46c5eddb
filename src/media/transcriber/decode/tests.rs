//! Every format that is listened to, and what is none.

use super::*;
use std::path::{Path, PathBuf};

const LONGEST: Duration = Duration::from_secs(60);

fn decode(audio: Vec<u8>, longest: Duration) -> Result<Vec<f32>, Flaw> {
    super::decode(audio, longest, &Allowance::default())
}

/// Real recordings are no part of the repository: where there are none, that is said.
fn recordings() -> Option<PathBuf> {
    let given = std::env::var_os("PANNIER_TEST_ASSETS").map(PathBuf::from);
    let folder = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/assets"));
    let folder = folder.join("audio");
    if !folder.join("jfk.wav").is_file() {
        eprintln!("SKIPPED: no audio/jfk.wav in PANNIER_TEST_ASSETS");
        return None;
    }
    Some(folder)
}

/// How loud it is, a hundred times a second.
fn loudness(samples: &[f32]) -> Vec<f32> {
    samples.chunks(160).map(|part| part.iter().map(|sample| sample.abs()).sum::<f32>()).collect()
}

/// 1 where two go up and down together, with one up to 80 ms behind the other.
fn likeness(one: &[f32], other: &[f32]) -> f32 {
    let at = |late: usize| {
        let pairs = || one.iter().zip(&other[late.min(other.len())..]);
        let product: f32 = pairs().map(|(one, other)| one * other).sum();
        let squares = |of: fn((&f32, &f32)) -> f32| pairs().map(of).map(|value| value * value).sum::<f32>();
        product / (squares(|pair| *pair.0) * squares(|pair| *pair.1)).sqrt()
    };
    (0..8).map(at).fold(0.0, f32::max)
}

#[test]
fn the_same_is_heard_in_every_format() {
    let Some(folder) = recordings() else { return };
    let open = |name: &str| {
        let file = std::fs::read(folder.join(name)).expect("a recording");
        decode(file, LONGEST).unwrap_or_else(|flaw| panic!("{name}: {flaw}"))
    };
    let plain = open("jfk.wav");
    assert_eq!(plain.len(), 11 * RATE as usize);
    let loud = loudness(&plain);
    for name in [
        "jfk.flac",
        "jfk.mp3",
        "jfk_48k.mp3",
        "jfk.m4a",
        "jfk.ogg",
        "jfk.opus",
        "jfk.webm",
        "jfk_44k_stereo.wav",
    ] {
        let samples = open(name);
        let seconds = samples.len() as f32 / RATE as f32;
        assert!((10.9..11.2).contains(&seconds), "{name} lasts {seconds} s");
        let alike = likeness(&loud, &loudness(&samples));
        assert!(alike > 0.95, "{name} is like the first by {alike}");
    }
    assert_eq!(open("jfk.flac"), plain);
}

/// All of them are heard.
#[test]
fn many_channels_become_one() {
    let Some(folder) = recordings() else { return };
    let file = std::fs::read(folder.join("jfk.wav")).expect("a recording");
    let plain = decode(file, LONGEST).expect("samples");
    let loud = loudness(&plain);
    for channels in 1..=8u16 {
        // Somebody speaks into one of them.
        for speaks in [0, channels - 1] {
            let sample = |sample: f32| ((sample * 32_767.0) as i16).to_le_bytes();
            let all = |one: f32| (0..channels).map(move |at| if at == speaks { one } else { 0.0 });
            let data: Vec<u8> = plain.iter().copied().flat_map(all).flat_map(sample).collect();
            let length = u32::try_from(data.len()).expect("a short one");
            let mut wav =
                [b"RIFF", &(length + 36).to_le_bytes()[..], b"WAVEfmt ", &16u32.to_le_bytes()].concat();
            wav.extend([1u16, channels].iter().flat_map(|number| number.to_le_bytes()));
            wav.extend([RATE, RATE * 2 * u32::from(channels)].iter().flat_map(|number| number.to_le_bytes()));
            wav.extend([channels * 2, 16].iter().flat_map(|number| number.to_le_bytes()));
            wav.extend([b"data", &length.to_le_bytes()[..], &data].concat());
            let heard = decode(wav, LONGEST).unwrap_or_else(|flaw| panic!("{channels}: {flaw}"));
            assert_eq!(heard.len(), plain.len(), "{channels}");
            let alike = likeness(&loud, &loudness(&heard));
            assert!(alike > 0.99, "of {channels} the {speaks}. is like it by {alike}");
        }
    }
}

#[test]
fn several_files_one_behind_the_other_are_heard_to_the_end() {
    let Some(folder) = recordings() else { return };
    for name in ["jfk.ogg", "jfk.opus"] {
        let file = std::fs::read(folder.join(name)).expect("a recording");
        let length = |file: Vec<u8>| decode(file, LONGEST).expect("samples").len() as f64;
        let (once, twice) = (length(file.clone()), length(file.repeat(2)));
        assert!((twice / once - 2.0).abs() < 0.02, "{name}: {once} samples, and {twice} in two");
    }
}

#[test]
fn of_files_one_behind_the_other_each_may_have_a_rate_of_its_own() {
    let Some(folder) = recordings() else { return };
    let read = |name: &str| std::fs::read(folder.join(name)).expect("a recording");
    let one = |file: Vec<u8>| decode(file, LONGEST).expect("samples").len();
    // 16 and 48 kHz, by what their heads say.
    let (vorbis, opus) = (read("jfk.ogg"), read("jfk.opus"));
    let both = one([vorbis.clone(), opus.clone()].concat());
    assert!(both.abs_diff(one(vorbis) + one(opus)) < RATE as usize / 10, "{both} samples");
}

#[test]
fn half_a_file_is_heard_as_far_as_it_goes_or_is_said_to_be_broken() {
    let Some(folder) = recordings() else { return };
    for name in ["jfk.wav", "jfk.flac", "jfk.mp3", "jfk.ogg", "jfk.opus", "jfk.webm", "jfk.m4a"] {
        let mut file = std::fs::read(folder.join(name)).expect("a recording");
        file.truncate(file.len() / 2);
        if let Ok(samples) = decode(file, LONGEST) {
            assert!(samples.len() < 8 * RATE as usize, "{name}");
        }
    }
}

/// A cheap stand-in for a fuzzer: no change of a byte makes it panic, or hang.
#[test]
fn no_byte_of_a_head_makes_it_panic() {
    let Some(folder) = recordings() else { return };
    for name in ["jfk.wav", "jfk.flac", "jfk.mp3", "jfk.ogg", "jfk.opus", "jfk.webm", "jfk.m4a"] {
        let file = std::fs::read(folder.join(name)).expect("a recording");
        let file = &file[..file.len().min(6_000)];
        for at in (0..file.len()).step_by(97) {
            let mut file = file.to_vec();
            file[at] = !file[at];
            let opened = std::panic::catch_unwind(|| decode(file, LONGEST).map(|samples| samples.len()));
            assert!(opened.is_ok(), "{name} with its byte {at} turned");
        }
    }
}

/// By its packets, before any of them is opened.
#[test]
fn what_is_too_long_is_refused_at_once() {
    let Some(folder) = recordings() else { return };
    for name in ["jfk.wav", "jfk.flac", "jfk.mp3", "jfk.ogg", "jfk.opus", "jfk.webm", "jfk.m4a"] {
        let file = std::fs::read(folder.join(name)).expect("a recording");
        for (seconds, is_too_long) in [(5, true), (9, true), (11, false)] {
            let longest = Duration::from_secs(seconds);
            let mut format = probe(&file).expect("a recording");
            assert_eq!(length::exceeds(&mut *format, longest, &Allowance::default()), is_too_long, "{name}");
        }
        assert_eq!(decode(file, Duration::from_secs(5)), Err(Flaw::TooLong(5)), "{name}");
    }
}

/// What its packets keep to themselves is noticed while they are opened.
#[test]
fn what_is_a_little_too_long_is_refused_by_what_is_there() {
    let Some(folder) = recordings() else { return };
    let file = std::fs::read(folder.join("jfk.wav")).expect("a recording");
    assert_eq!(decode(file, Duration::from_millis(10_500)), Err(Flaw::TooLong(10)));
}

#[test]
fn what_is_no_recording_is_called_by_its_name() {
    for (file, name) in [(&b"\x89PNG\r\n\x1a\n"[..], "PNG"), (b"%PDF-1.7", "PDF"), (b"#!AMR\n", "AMR")] {
        assert_eq!(decode(file.to_vec(), LONGEST), Err(Flaw::Format(name.to_owned())));
    }
    assert_eq!(decode(Vec::new(), LONGEST), Err(Flaw::Empty));
    assert!(decode(vec![7; 10_000], LONGEST).is_err());
}
