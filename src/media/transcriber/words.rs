//! From the tokens of a segment to its words.

use crate::domain::Word;

/// Takes tokens, which may end amidst a letter, and gives words.
#[derive(Default)]
pub struct Words {
    done: Vec<Word>,
    /// A letter that is not whole yet.
    torn: Vec<u8>,
    /// When it began.
    since: u64,
}

impl Words {
    /// The next token, with its times in milliseconds.
    pub fn push(&mut self, bytes: &[u8], start: u64, end: u64) {
        if self.torn.is_empty() {
            self.since = start;
        }
        self.torn.extend_from_slice(bytes);
        let Ok(text) = std::str::from_utf8(&self.torn) else { return };
        let (text, start) = (text.to_owned(), self.since);
        self.torn.clear();
        let goes_on = !text.starts_with(' ') && !text.chars().next().is_some_and(is_word_by_itself);
        match self.done.last_mut() {
            Some(last) if goes_on => {
                last.word.push_str(&text);
                last.end = end.max(last.end);
            }
            _ if text.trim().is_empty() => {}
            _ => self.done.push(Word { word: text.trim_start().to_owned(), start, end: end.max(start) }),
        }
    }

    pub fn finish(mut self) -> Vec<Word> {
        self.done.retain_mut(|word| {
            word.word.truncate(word.word.trim_end().len());
            !word.word.is_empty()
        });
        self.done
    }
}

/// Of the scripts that are written without spaces.
fn is_word_by_itself(letter: char) -> bool {
    matches!(letter, '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(tokens: &[&[u8]]) -> Vec<(String, u64, u64)> {
        let mut words = Words::default();
        for (at, token) in (0..).zip(tokens) {
            words.push(token, at * 10, at * 10 + 10);
        }
        words.finish().into_iter().map(|word| (word.word, word.start, word.end)).collect()
    }

    #[test]
    fn tokens_make_words() {
        let made = words(&[b" And", b" so", b",", b" f", b"ellow", b" "]);
        let expected = [("And", 0, 10), ("so,", 10, 30), ("fellow", 30, 50)];
        assert_eq!(made, expected.map(|(word, start, end)| (word.to_owned(), start, end)));
    }

    #[test]
    fn letters_are_never_torn() {
        let made = words(&[b" Gr\xc3", b"\xbc\xc3", b"\x9fe", "\u{4f60}".as_bytes(), "\u{597d}".as_bytes()]);
        let expected = [("Gr\u{fc}\u{df}e", 0, 30), ("\u{4f60}", 30, 40), ("\u{597d}", 40, 50)];
        assert_eq!(made, expected.map(|(word, start, end)| (word.to_owned(), start, end)));
        assert_eq!(words(&[b"\xff\xfe"]), []);
    }
}
