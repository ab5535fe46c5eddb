//! What the markers of a JPEG say, which its decoder keeps to itself.

/// The start of a scan, and the end of the image.
const SCAN: [u8; 2] = [0xff, 0xda];
const END: [u8; 2] = [0xff, 0xd9];

/// How it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Of how many colours: one is grey, three are usual, four are for printing.
    pub components: u8,
    /// In several scans, between which a decoder has to keep what it knows: two bytes for each colour of a pixel.
    pub is_progressive: bool,
}

/// What its frame says.
pub fn frame(bytes: &[u8]) -> Option<Frame> {
    let mut at = 2;
    loop {
        let (marker, rest) = (*bytes.get(at + 1)?, bytes.get(at + 2..)?);
        if bytes[at] != 0xff {
            return None;
        }
        match marker {
            // Filled up, and markers without anything behind them.
            0xff => at += 1,
            0x01 | 0xd0..=0xd8 => at += 2,
            // The start of a frame, of whichever kind; those between are tables.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                let is_progressive = matches!(marker, 0xc2 | 0xc6 | 0xca | 0xce);
                return rest.get(7).map(|components| Frame { components: *components, is_progressive });
            }
            _ => at += 2 + usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])),
        }
    }
}

/// How many scans there are, those of a thumbnail counted as well: within a scan the mark cannot stand.
pub fn scans(bytes: &[u8]) -> usize {
    memchr::memmem::find_iter(bytes, &SCAN).count()
}

/// Whether its last scan has an end. Decoders fill up what is missing with grey; within a scan neither of the two
/// marks can stand.
pub fn is_whole(bytes: &[u8]) -> bool {
    memchr::memmem::rfind(bytes, &SCAN)
        .is_some_and(|scan| memchr::memmem::find(&bytes[scan..], &END).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_found_behind_whatever_comes_before() {
        let frame = [0xff, 0xc2, 0, 20, 8, 0, 1, 0, 1, 4];
        let start = [0xff, 0xd8, 0xff, 0xe1, 0, 4, 0xff, 0xc0, 0xff, 0xff, 0xc4, 0, 2];
        let found = Frame { components: 4, is_progressive: true };
        assert_eq!(super::frame(&[&start[..], &frame].concat()), Some(found));
        for cut in 0..start.len() + frame.len() {
            assert_eq!(super::frame(&[&start[..], &frame].concat()[..cut]), None, "{cut}");
        }
        assert_eq!(super::frame(&[0xff, 0xd8, 0, 0, 0, 0]), None, "no marker");
        assert_eq!(super::frame(&[&[0xff, 0xd8][..], &[0xff, 0xe0, 0, 0].repeat(40_000)].concat()), None);
    }

    #[test]
    fn a_thumbnails_end_is_not_the_pictures() {
        let thumbnail = [SCAN, [1, 2], END].concat();
        assert!(is_whole(&thumbnail));
        assert!(!is_whole(&[&thumbnail[..], &SCAN, &[3, 4]].concat()));
        assert!(is_whole(&[&thumbnail[..], &SCAN, &[3, 4], &END, b"PK\x03\x04"].concat()));
        assert!(!is_whole(&END));
    }
}
