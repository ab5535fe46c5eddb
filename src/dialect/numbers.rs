//! Numbers of 32 bits as Go's `encoding/json` writes them (OLLAMA.md §11.5), and back.

/// Appends `number`, which is finite: the fewest digits that mean it, without an exponent unless it is very
/// small or very large.
pub fn write(out: &mut Vec<u8>, number: f32) {
    let mut buffer = ryu::Buffer::new();
    let shortest = buffer.format_finite(number).as_bytes();
    let plain = number == 0.0 || (1e-6..1e21).contains(&number.abs());
    if !plain || shortest.contains(&b'e') {
        return write_anew(out, shortest, !plain);
    }
    out.extend_from_slice(shortest.strip_suffix(b".0").unwrap_or(shortest));
}

/// Appends them all as a JSON array.
pub fn write_array(out: &mut Vec<u8>, numbers: &[f32]) {
    out.push(b'[');
    for (nth, number) in numbers.iter().enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        write(out, *number);
    }
    out.push(b']');
}

/// The digits of `shortest`, laid out as Go does it.
fn write_anew(out: &mut Vec<u8>, shortest: &[u8], exponential: bool) {
    let unsigned = shortest.strip_prefix(b"-").unwrap_or(shortest);
    if unsigned.len() < shortest.len() {
        out.push(b'-');
    }
    let (digits, point) = take_apart(unsigned);
    if exponential {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        // One digit of an exponent is enough for Go when it is negative, and so it is when it has two.
        out.extend_from_slice(format!("e{}{}", if point > 0 { "+" } else { "" }, point - 1).as_bytes());
    } else if point <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + point.unsigned_abs() as usize, b'0');
        out.extend_from_slice(&digits);
    } else {
        let whole = digits.len().min(point as usize);
        out.extend_from_slice(&digits[..whole]);
        out.resize(out.len() + point as usize - whole, b'0');
        if whole < digits.len() {
            out.push(b'.');
            out.extend_from_slice(&digits[whole..]);
        }
    }
}

/// The digits without zeros at either end, and where the point stands: `0.` before them is 0.
fn take_apart(unsigned: &[u8]) -> (Vec<u8>, i32) {
    let mut halves = unsigned.split(|byte| *byte == b'e');
    let mantissa = halves.next().unwrap_or_default();
    let exponent: i32 =
        halves.next().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(0);
    let whole = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
    let mut digits: Vec<u8> = mantissa.iter().copied().filter(u8::is_ascii_digit).collect();
    while digits.len() > 1 && digits.last() == Some(&b'0') {
        digits.pop();
    }
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count().min(digits.len() - 1);
    digits.drain(..zeros);
    match digits[..] {
        [b'0'] => (digits, 1),
        _ => (digits, whole as i32 - zeros as i32 + exponent),
    }
}

/// The numbers of a JSON array, whoever has written it. `None` where one is not finite, or none is there.
pub fn read(array: &str) -> Option<Vec<f32>> {
    let inside = array.strip_prefix('[')?.strip_suffix(']')?;
    let number = |text: &str| text.trim_ascii().parse().ok().filter(|number: &f32| number.is_finite());
    inside.split(',').map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(number: f32) -> String {
        let mut out = Vec::new();
        write(&mut out, number);
        String::from_utf8(out).expect("text")
    }

    /// Written by Go 1.26: each line the bits in hex, and what `encoding/json` makes of them.
    #[test]
    fn numbers_are_written_as_go_writes_them() {
        let golden = include_str!("../../tests/golden/float32.txt");
        let mut count = 0;
        for line in golden.lines() {
            let (bits, expected) = line.split_once(' ').expect("two words");
            let number = f32::from_bits(u32::from_str_radix(bits, 16).expect("bits"));
            assert_eq!(written(number), expected, "{bits}");
            assert_eq!(read(&format!("[{expected}]")).expect("a number")[0].to_bits(), number.to_bits());
            count += 1;
        }
        assert!(count > 1000, "{count}");
    }

    #[test]
    fn arrays_of_numbers_are_read_and_nothing_else() {
        for (array, numbers) in [
            ("[1,-0.5,2e-9]", vec![1.0, -0.5, 2e-9]),
            ("[ 1,\n\t-5E-1 ,\r\n 0.2e+1]", vec![1.0, -0.5, 2.0]),
            ("[1.00000000000000000001,-0.0,1e-60]", vec![1.0, -0.0, 0.0]),
        ] {
            assert_eq!(read(array), Some(numbers), "{array}");
        }
        for other in
            ["", "[]", "[ ]", "1", "[1,]", "[1 2]", "[1e39]", "[\"1\"]", "[null]", "[[1]]", "[inf]", "[NaN]"]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
