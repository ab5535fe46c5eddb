//! Where a request's body ends in a stream of bytes, so that nobody reads into the next request; and
//! whether its chunks are framed as strictly as a second reader might want them.

use super::head::Framing;
use bytes::BytesMut;

/// Trailers beyond this are refused.
const LONGEST_TRAILERS: u32 = 8 << 10;
/// A chunk's extension beyond this is refused.
const LONGEST_EXTENSION: u32 = 1 << 10;

/// A body's framing, read byte by byte.
#[derive(Debug, Clone, Copy)]
pub struct Edge {
    state: State,
}

/// The framing is not what RFC 9112 §7.1 says.
#[derive(Debug, PartialEq, Eq)]
pub struct Misframed;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Done,
    /// So many bytes of a body of known length are to come.
    Length(u64),
    /// In a chunk's size, with the digits so far.
    Size {
        size: u64,
        digits: u8,
    },
    /// In a chunk's extension.
    Extension {
        size: u64,
        seen: u32,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// At the start of a trailer line, in its name, behind its colon.
    TrailerStart {
        seen: u32,
    },
    TrailerName {
        seen: u32,
    },
    TrailerValue {
        seen: u32,
    },
    TrailerLf {
        seen: u32,
    },
    LastLf,
}

impl Edge {
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Nothing | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { size: 0, digits: 0 },
        };
        Edge { state }
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads on; returns how many of `bytes` belong to this body.
    pub fn pass(&mut self, bytes: &[u8]) -> Result<usize, Misframed> {
        self.read(bytes, |_| {})
    }

    /// Reads on, and appends what is framed to `body`.
    pub fn unwrap(&mut self, bytes: &[u8], body: &mut BytesMut) -> Result<usize, Misframed> {
        self.read(bytes, |framed| body.extend_from_slice(framed))
    }

    /// Reads on; returns how many of `bytes` belong to this body, and how many of those are framed.
    pub fn measure(&mut self, bytes: &[u8]) -> Result<(usize, usize), Misframed> {
        let mut framed = 0;
        let own = self.read(bytes, |piece| framed += piece.len())?;
        Ok((own, framed))
    }

    fn read(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) -> Result<usize, Misframed> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            let rest = &bytes[at..];
            match &mut self.state {
                State::Length(left) | State::Data { left } => {
                    let taken = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    *left -= taken as u64;
                    take(&rest[..taken]);
                    at += taken;
                }
                _ => {
                    self.state = self.state.next(rest[0])?;
                    at += 1;
                }
            }
            self.state = match self.state {
                State::Length(0) => State::Done,
                State::Data { left: 0 } => State::DataCr,
                state => state,
            };
        }
        Ok(at)
    }
}

impl State {
    fn next(self, byte: u8) -> Result<State, Misframed> {
        let in_trailer = |seen: u32, next: fn(u32) -> State| match seen < LONGEST_TRAILERS {
            true => Ok(next(seen + 1)),
            false => Err(Misframed),
        };
        match (self, byte) {
            (State::Size { size, digits }, byte) if byte.is_ascii_hexdigit() && digits < 15 => {
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                Ok(State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
            }
            (State::Size { size, digits: 1.. }, b';') => Ok(State::Extension { size, seen: 0 }),
            (State::Size { size, digits: 1.. } | State::Extension { size, .. }, b'\r') => {
                Ok(State::SizeLf { size })
            }
            (State::Extension { size, seen }, byte)
                if seen < LONGEST_EXTENSION && (byte == b'\t' || byte >= b' ') && byte != 0x7f =>
            {
                Ok(State::Extension { size, seen: seen + 1 })
            }
            (State::SizeLf { size: 0 }, b'\n') => Ok(State::TrailerStart { seen: 0 }),
            (State::SizeLf { size }, b'\n') => Ok(State::Data { left: size }),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size { size: 0, digits: 0 }),
            (State::TrailerStart { .. }, b'\r') => Ok(State::LastLf),
            (State::LastLf, b'\n') => Ok(State::Done),
            (State::TrailerStart { seen } | State::TrailerName { seen }, byte) if is_of_name(byte) => {
                in_trailer(seen, |seen| State::TrailerName { seen })
            }
            (State::TrailerName { seen }, b':') => in_trailer(seen, |seen| State::TrailerValue { seen }),
            (State::TrailerValue { seen }, b'\r') => in_trailer(seen, |seen| State::TrailerLf { seen }),
            (State::TrailerValue { seen }, byte) if byte == b'\t' || byte >= b' ' && byte != 0x7f => {
                in_trailer(seen, |seen| State::TrailerValue { seen })
            }
            (State::TrailerLf { seen }, b'\n') => in_trailer(seen, |seen| State::TrailerStart { seen }),
            _ => Err(Misframed),
        }
    }
}

/// Whether a field's name may hold this byte (RFC 9110 §5.6.2).
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(framing: Framing, bytes: &[u8], step: usize) -> Result<(usize, bool), Misframed> {
        let mut edge = Edge::new(framing);
        let mut taken = 0;
        for piece in bytes.chunks(step) {
            let n = edge.pass(piece)?;
            taken += n;
            if n < piece.len() {
                break;
            }
        }
        Ok((taken, edge.is_done()))
    }

    #[test]
    fn a_body_ends_where_it_says_however_it_is_cut() {
        let chunked = b"5;a=b\r\nhello\r\n0\r\nT: v\r\nX-Empty:\r\n\r\nGET /";
        for step in 1..=chunked.len() {
            assert_eq!(pass(Framing::Chunked, chunked, step), Ok((chunked.len() - 5, true)), "{step}");
            assert_eq!(pass(Framing::Length(3), b"abcdef", step), Ok((3, true)));
        }
        let mut body = BytesMut::new();
        assert_eq!(Edge::new(Framing::Chunked).unwrap(chunked, &mut body), Ok(chunked.len() - 5));
        assert_eq!(&body[..], b"hello");
        assert_eq!(pass(Framing::Length(7), b"abcdef", 2), Ok((6, false)));
        assert_eq!(pass(Framing::Nothing, b"GET", 1), Ok((0, true)));
    }

    #[test]
    fn loose_framing_is_refused() {
        for bytes in [
            &b"2;\nxx\r\n0\r\n\r\n"[..],
            b"0x2\r\nab\r\n",
            b"+2\r\nab\r\n",
            b" 2\r\nab\r\n",
            b"2\nab\r\n",
            b"2\r\nabc\r\n",
            b"2\r\nab\n",
            b"\r\n",
            b"ffffffffffffffff\r\n",
            b"0\r\nT: v\n\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\nT\r\n\r\n",
            b"0\r\n: no name\r\n\r\n",
            b"0\r\nT : v\r\n\r\n",
            b"0\r\nT: v\r\n folded\r\n\r\n",
            b"0\r\nGET / HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(
                pass(Framing::Chunked, bytes, 3),
                Err(Misframed),
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}
