//! Frames: a length in four bytes, little endian, and so many bytes.

use std::io::{self, Read, Write};

/// The longest that is read; a recording is bounded by `server.max_body` before.
pub const LONGEST: usize = 1 << 30;

/// The next frame; `None` at the end.
///
/// # Errors
/// When the other end breaks off in its middle, or says that it is longer than may be.
pub fn read_frame(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; length];
    from.read_exact(&mut frame)?;
    Ok(Some(frame))
}

/// # Errors
/// When the other end takes nothing any more.
pub fn write_frame(to: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(frame)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_as_they_went() {
        let mut pipe = Vec::new();
        for frame in [&b"one"[..], b"", b"\0\xff"] {
            write_frame(&mut pipe, frame).expect("room");
        }
        let mut from = &pipe[..];
        let mut next = || read_frame(&mut from).expect("whole");
        assert_eq!(next().as_deref(), Some(&b"one"[..]));
        assert_eq!(next().as_deref(), Some(&b""[..]));
        assert_eq!(next().as_deref(), Some(&b"\0\xff"[..]));
        assert_eq!(next(), None);
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        for pipe in [&b"\x05\0\0\0abcd"[..], b"\xff\xff\xff\xff"] {
            assert!(read_frame(&mut &pipe[..]).is_err(), "{pipe:?}");
        }
    }
}
