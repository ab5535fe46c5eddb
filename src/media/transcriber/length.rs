//! How long a recording is, by all of its packets and before any of them is opened: what is too long is told so at
//! once.

use super::allowance::Allowance;
use std::time::Duration;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::packet::Packet;
use symphonia::core::units::TimeBase;

/// What a packet's own figures may be beside what comes of it.
const MARGIN: Duration = Duration::from_secs(1);

/// Whether it is longer than that by what its packets say, as far as they can be read.
pub fn exceeds(format: &mut dyn FormatReader, longest: Duration, allowance: &Allowance) -> bool {
    let mut sound = Duration::ZERO;
    let mut track = track(format);
    while let Some((id, base, is_opus)) = track
        && !allowance.is_used_up()
    {
        match format.next_packet() {
            Ok(Some(packet)) if packet.track_id == id => {
                sound += duration(&packet, base, is_opus);
                if sound > longest + MARGIN {
                    return true;
                }
            }
            Ok(Some(_)) => {}
            // Several files one behind the other.
            Err(Error::ResetRequired) => track = self::track(format),
            Err(Error::DecodeError(_)) => {}
            Ok(None) | Err(_) => return false,
        }
    }
    false
}

/// The one that is listened to, the unit of its times, and whether it is Opus.
fn track(format: &dyn FormatReader) -> Option<(u32, Option<TimeBase>, bool)> {
    let known = format.first_track_known_codec(TrackType::Audio);
    let track = format.default_track(TrackType::Audio).or(known)?;
    let audio = track.codec_params.as_ref().and_then(|params| params.audio());
    Some((track.id, track.time_base, audio.is_some_and(|audio| audio.codec == CODEC_ID_OPUS)))
}

fn duration(packet: &Packet, base: Option<TimeBase>, is_opus: bool) -> Duration {
    let said = base.and_then(|base| base.calc_duration(packet.dur));
    let said = said.and_then(|said| u64::try_from(said.as_nanos()).ok()).map(Duration::from_nanos);
    match said {
        // WebM need not say it.
        None | Some(Duration::ZERO) if is_opus => opus(&packet.data),
        said => said.unwrap_or_default(),
    }
}

/// By the first byte or two of an Opus packet: <https://datatracker.ietf.org/doc/html/rfc6716#section-3.1>
fn opus(packet: &[u8]) -> Duration {
    let Some(first) = packet.first() else { return Duration::ZERO };
    let frame = match first >> 3 {
        config @ 0..12 => [10_000, 20_000, 40_000, 60_000][usize::from(config % 4)],
        config @ 12..16 => [10_000, 20_000][usize::from(config % 2)],
        config => [2_500, 5_000, 10_000, 20_000][usize::from(config % 4)],
    };
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(packet.get(1).map_or(0, |count| count & 0x3f)),
    };
    Duration::from_micros(frame * frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opus_packet_says_how_long_it_is() {
        for (packet, micros) in [
            (&[][..], 0),
            (&[0x00], 10_000),
            (&[0x18], 60_000),
            (&[0x60], 10_000),
            (&[0x78], 20_000),
            (&[0x80], 2_500),
            (&[0xf8], 20_000),
            (&[0xf9], 40_000),
            (&[0xfb, 0x83], 60_000),
            (&[0xfb], 0),
        ] {
            assert_eq!(opus(packet), Duration::from_micros(micros), "{packet:?}");
        }
    }
}
