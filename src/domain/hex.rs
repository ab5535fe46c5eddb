//! Bytes as people read and write them: two hexadecimal digits each, 64 for 256 bits.

/// In lower case.
pub fn write(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// In either case; `None` where `text` is anything else.
pub fn read(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let bytes: [u8; 32] = std::array::from_fn(|at| (at * 41) as u8);
        let text = write(&bytes);
        assert_eq!((read(&text), read(&text.to_uppercase())), (Some(bytes), Some(bytes)));
        for wrong in [&text[1..], &text.replace('a', "+"), &format!("{text}0"), &"ä".repeat(32), ""] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
