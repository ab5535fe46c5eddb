//! From what came to a picture's own bytes.

use super::Flaw;
use crate::domain::Film;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

/// Takes what any encoder writes: whether it fills up the end is nothing that a picture depends on.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// In base64 there is no colon: one that stands so early is an address's.
const SCHEME: usize = 16;

/// # Errors
/// `NoBase64`, or `Address` for what would have to be fetched.
pub fn open(film: Film) -> Result<Bytes, Flaw> {
    match film {
        Film::Bytes(bytes) => Ok(bytes),
        Film::Text(text) => decode(text.trim()),
    }
}

fn decode(text: &str) -> Result<Bytes, Flaw> {
    let bytes = text.as_bytes();
    let data = match bytes.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"data:")) {
        true => of_address(bytes)?,
        false if bytes[..bytes.len().min(SCHEME)].contains(&b':') => return Err(Flaw::Address),
        false => bytes,
    };
    // Line breaks, and the alphabet that is fit for addresses.
    let letters = data.iter().filter(|byte| !byte.is_ascii_whitespace());
    let letters: Vec<u8> = letters.map(|byte| standard(*byte)).collect();
    let end = letters.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    if letters.len() - end > 2 {
        return Err(Flaw::NoBase64);
    }
    LENIENT.decode(&letters[..end]).map(Bytes::from).map_err(|_| Flaw::NoBase64)
}

/// What stands in `data:image/png;base64,…`. Which type is written there says nothing.
fn of_address(address: &[u8]) -> Result<&[u8], Flaw> {
    let comma = memchr::memchr(b',', address).ok_or(Flaw::NoBase64)?;
    let (head, data) = address.split_at(comma);
    let is_base64 = head.len() >= 7 && head[head.len() - 7..].eq_ignore_ascii_case(b";base64");
    is_base64.then_some(&data[1..]).ok_or(Flaw::NoBase64)
}

fn standard(byte: u8) -> u8 {
    match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<u8>, Flaw> {
        open(Film::Text(text.to_owned())).map(|bytes| bytes.to_vec())
    }

    #[test]
    fn base64_is_read_however_it_is_written() {
        let bytes = Ok(vec![0xfb, 0xff, 0xfe, 1]);
        for text in [
            "+//+AQ==",
            "+//+AQ",
            "-__-AQ==",
            " +/\r\n/+\tA Q==\n",
            "data:image/png;base64,+//+AQ==",
            "DATA:;charset=x;BASE64,+//+AQ",
            // The last letter has bits that mean nothing.
            "+//+AR==",
        ] {
            assert_eq!(read(text), bytes, "{text}");
        }
        assert_eq!(open(Film::Bytes(Bytes::from_static(b"as it is"))), Ok(Bytes::from_static(b"as it is")));
        assert_eq!(
            (read(""), read("data:,"), read("data:;base64,")),
            (Ok(vec![]), Err(Flaw::NoBase64), Ok(vec![]))
        );
    }

    #[test]
    fn what_is_no_base64_is_said_to_be_none() {
        for text in
            ["a", "++++=+++", "AQ===", "A\u{e9}==", "!!!!", "data:image/png;base64", "data:image/png,+//+"]
        {
            assert_eq!(read(text), Err(Flaw::NoBase64), "{text}");
        }
    }

    #[test]
    fn no_address_is_fetched() {
        for text in
            ["http://a/b.png", "https://[::1]/", "file:///etc/passwd", " gopher:x", "javascript:alert(1)"]
        {
            assert_eq!(read(text), Err(Flaw::Address), "{text}");
        }
    }
}
