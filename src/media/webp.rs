//! What the chunks of a WebP say, which its decoder believes before it looks: that they lie within the file, and that
//! no picture in it is larger than the whole.

/// How it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Frames {
    /// The longest width and the longest height of all pictures in it.
    pub largest: (u32, u32),
    pub is_animated: bool,
}

const HEAD: usize = 12;
/// What stands before the chunks of an animation's frame.
const FRAME_HEAD: usize = 16;

/// What they say; `None` where a chunk ends behind the file, or its picture has no size.
pub fn frames(bytes: &[u8]) -> Option<Frames> {
    let said = usize::try_from(u32_at(bytes, 4)?).ok()?.checked_add(8)?;
    let mut frames = Frames::default();
    walk(bytes.get(HEAD..said)?, &mut frames).map(|()| frames)
}

fn walk(mut chunks: &[u8], frames: &mut Frames) -> Option<()> {
    // What is left over is the padding of the last.
    while chunks.len() > 1 {
        let (name, length) = (chunks.get(..4)?, usize::try_from(u32_at(chunks, 4)?).ok()?);
        let data = chunks.get(8..8_usize.checked_add(length)?)?;
        match name {
            b"VP8 " => frames.see(lossy(data)?),
            b"VP8L" => frames.see(lossless(data)?),
            b"ANMF" => {
                frames.is_animated = true;
                frames.see((u24_at(data, 6)? + 1, u24_at(data, 9)? + 1));
                walk(data.get(FRAME_HEAD..)?, frames)?;
            }
            _ => {}
        }
        chunks = chunks.get(8 + length + length % 2..).unwrap_or_default();
    }
    Some(())
}

/// <https://datatracker.ietf.org/doc/html/rfc6386#section-9.1>
fn lossy(data: &[u8]) -> Option<(u32, u32)> {
    let side =
        |at: usize| Some(u32::from(u16::from_le_bytes(data.get(at..at + 2)?.try_into().ok()?) & 0x3fff));
    Some((side(6)?, side(8)?))
}

/// <https://developers.google.com/speed/webp/docs/webp_lossless_bitstream_specification#3_riff_header>
fn lossless(data: &[u8]) -> Option<(u32, u32)> {
    let sides = u32_at(data, 1)?;
    Some(((sides & 0x3fff) + 1, (sides >> 14 & 0x3fff) + 1))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u24_at(bytes: &[u8], at: usize) -> Option<u32> {
    let [a, b, c] = bytes.get(at..at + 3)?.try_into().ok()?;
    Some(u32::from_le_bytes([a, b, c, 0]))
}

impl Frames {
    fn see(&mut self, (width, height): (u32, u32)) {
        self.largest = (self.largest.0.max(width), self.largest.1.max(height));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(name: &[u8; 4], length: u32, data: &[u8]) -> Vec<u8> {
        [&name[..], &length.to_le_bytes(), data].concat()
    }

    fn file(chunks: &[u8]) -> Vec<u8> {
        [b"RIFF", &(chunks.len() as u32 + 4).to_le_bytes()[..], b"WEBP", chunks].concat()
    }

    #[test]
    fn each_kind_says_how_large_it_is() {
        let large = [0x9d, 0x01, 0x2a, 0xff, 0x3f, 0x02, 0x40];
        let lossy = chunk(b"VP8 ", 10, &[&[0; 3], &large[..]].concat());
        let lossless = chunk(b"VP8L", 5, &[0x2f, 0xff, 0x3f, 0, 0, 0]);
        let frame = [&[0; 6][..], &[9, 0, 0, 4, 0, 0], &[0; 4], &lossless].concat();
        let animated = chunk(b"ANMF", frame.len() as u32, &frame);
        for (bytes, largest, is_animated) in [
            (&lossy, (16_383, 2), false),
            (&lossless, (16_384, 1), false),
            (&animated, (16_384, 5), true),
            (&[chunk(b"EXIF", 2, b"II"), lossy.clone()].concat(), (16_383, 2), false),
        ] {
            assert_eq!(frames(&file(bytes)), Some(Frames { largest, is_animated }));
        }
        assert_eq!(frames(&[&file(&lossy)[..], b"what stands behind"].concat()), frames(&file(&lossy)));
    }

    #[test]
    fn a_chunk_that_ends_behind_the_file_is_none() {
        for length in [u32::MAX, 1 << 31, 3] {
            assert_eq!(frames(&file(&chunk(b"EXIF", length, b"II"))), None, "{length}");
        }
        let whole = file(&chunk(b"VP8L", 5, &[0x2f, 0, 0, 0, 0, 0]));
        assert!(frames(&whole).is_some());
        for cut in 0..whole.len() {
            assert_eq!(frames(&whole[..cut]), None, "{cut}");
        }
    }
}
