//! What a key looks like: `pannier_`, 32 random letters and digits, and six that are their checksum. A slip of the
//! pen is told from a key without asking anybody, and whoever searches for lost secrets knows it for what it is.

use crate::domain::Hidden;
use ring::rand::{SecureRandom, SystemRandom};

/// How every key begins that was made here, the admin key of the data directory among them.
pub const MARK: &str = "pannier_";
/// 190 bits.
const RANDOM: usize = 32;
const CHECK: usize = 6;
/// Of the random ones, those that are kept beside the digest: enough to tell one's own keys apart by, and 154
/// bits are left.
const SHOWN: usize = 6;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The system gives no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomness;

/// A new key.
pub fn make() -> Result<Hidden, NoRandomness> {
    let random = random_digits(RANDOM)?;
    let check = checksum(random.as_bytes()).map(char::from);
    Ok(Hidden::new([MARK, &random, &String::from_iter(check)].concat()))
}

/// A new name for a key, which no operator's own name can be: theirs has no `key_` in front.
pub fn make_id() -> Result<String, NoRandomness> {
    Ok(["key_", &random_digits(12)?].concat())
}

/// How `key` begins; safe to show.
pub fn start(key: &Hidden) -> String {
    key.expose().chars().take(MARK.len() + SHOWN).collect()
}

/// Whether `text` says of itself that it is one of Pannier's keys.
pub fn is_marked(text: &[u8]) -> bool {
    text.starts_with(MARK.as_bytes())
}

/// Whether it is one, as far as can be told by looking at it.
pub fn is_sound(text: &[u8]) -> bool {
    let Some(digits) = text.strip_prefix(MARK.as_bytes()) else { return false };
    let Some((random, check)) = digits.split_at_checked(RANDOM) else { return false };
    random.iter().all(u8::is_ascii_alphanumeric) && check == checksum(random)
}

/// Whether a key stands anywhere in `text`.
pub fn is_in(text: &[u8]) -> bool {
    let length = MARK.len() + RANDOM + CHECK;
    memchr::memmem::find_iter(text, MARK).any(|at| text.get(at..at + length).is_some_and(is_sound))
}

/// CRC-32 of the random digits, in as many of these digits as it takes.
fn checksum(random: &[u8]) -> [u8; CHECK] {
    let mut rest = crc32fast::hash(random);
    let mut digits = [b'0'; CHECK];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

fn random_digits(count: usize) -> Result<String, NoRandomness> {
    let mut digits = String::with_capacity(count);
    while digits.len() < count {
        let mut bytes = [0; 64];
        SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
        // Those beyond the last whole round of digits would make the first ones likelier.
        let fair = bytes.iter().filter(|&&byte| byte < 4 * 62).take(count - digits.len());
        digits.extend(fair.map(|&byte| char::from(DIGITS[usize::from(byte % 62)])));
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_for_one_and_a_slip_of_the_pen_is_not() {
        let key = make().unwrap();
        let key = key.expose().as_bytes();
        assert_eq!(key.len(), 46);
        assert!(is_sound(key) && is_marked(key));
        for at in 0..key.len() {
            let mut wrong = key.to_vec();
            wrong[at] = if wrong[at] == b'x' { b'y' } else { b'x' };
            assert!(!is_sound(&wrong), "{}", String::from_utf8_lossy(&wrong));
        }
        assert!(!is_sound(&key[..45]) && !is_sound(&[key, b"0"].concat()) && !is_sound(b"pannier_"));
        let mut swapped = key.to_vec();
        swapped.swap(10, 11);
        assert!(swapped == key || !is_sound(&swapped));
    }

    /// As long as there are keys that were made with it, it must not change.
    #[test]
    fn the_checksum_stays_as_it_is() {
        assert!(is_sound(b"pannier_000000000000000000000000000000002wjyrI"));
    }

    #[test]
    fn one_is_found_wherever_it_stands() {
        let key = make().unwrap();
        let key = key.expose();
        for text in [format!("/a?key={key}"), format!("pannier_{key}&x"), key.to_owned()] {
            assert!(is_in(text.as_bytes()), "{text}");
        }
        for text in ["", "/a?key=pannier_", "pannier_pannier_", &key[1..], &format!("?k={}", &key[..45])] {
            assert!(!is_in(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn no_two_are_the_same_and_all_digits_are_as_likely() {
        let mut counts = [0u32; 128];
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let key = make().unwrap();
            let random = &key.expose()[MARK.len()..MARK.len() + RANDOM];
            random.bytes().for_each(|digit| counts[usize::from(digit)] += 1);
            assert!(seen.insert(random.to_owned()));
        }
        // 516 each; six deviations are 136.
        for &digit in DIGITS {
            let count = counts[usize::from(digit)];
            assert!((380..652).contains(&count), "{}: {count}", char::from(digit));
        }
    }
}
