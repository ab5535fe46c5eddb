//! The house's own Rust files as the house tests read them: comments and texts blanked, tests left out.
//!
//! Knows the shape of Rust's tokens, not its grammar.

use std::{fs, path::Path};

/// A file below `src/`, without its test items.
pub struct SourceFile {
    /// Below `src/`, with forward slashes: `cache/key.rs`.
    pub path: String,
    /// What is left, in order.
    pub lines: Vec<Line>,
}

/// A line with its comments and the contents of its texts blanked.
pub struct Line {
    /// Counted from 1, in the file as it stands on disk.
    pub number: usize,
    pub code: String,
}

/// The path of a file below `src/`, and all that stands in it.
pub type Text = (String, String);

// === impl SourceFile ===

impl SourceFile {
    /// `text` as if it stood in the file `path`.
    pub fn parse(path: &str, text: &str) -> Self {
        let masked = mask(text);
        let tests = test_items(&masked);
        let mut start = 0;
        let mut lines = Vec::new();
        for (index, code) in masked.split_inclusive('\n').enumerate() {
            if !tests.iter().any(|item| item.contains(&start)) {
                lines.push(Line { number: index + 1, code: code.trim_end().to_owned() });
            }
            start += code.len();
        }
        Self { path: path.to_owned(), lines }
    }

    /// The lines in one text; an offset into it becomes a line number with `line_at`.
    pub fn code(&self) -> String {
        self.lines.iter().map(|line| format!("{}\n", line.code)).collect()
    }

    /// The number on disk of the line that holds byte `offset` of `code`.
    pub fn line_at(&self, code: &str, offset: usize) -> usize {
        self.lines[code[..offset].matches('\n').count()].number
    }
}

/// Every file below `src/` that is not itself a test, sorted by path.
pub fn house() -> Vec<SourceFile> {
    let (_, house) = tests_and_house();
    house.iter().map(|(path, text)| SourceFile::parse(path, text)).collect()
}

/// Every file below `src/`, sorted by path: those that are themselves tests, and those that are not.
pub fn tests_and_house() -> (Vec<Text>, Vec<Text>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut texts = Vec::new();
    collect(&root, &root, &mut texts);
    texts.sort();
    let tests: Vec<String> = texts.iter().flat_map(|(path, text)| test_files(path, text)).collect();
    texts.into_iter().partition(|(path, _)| tests.iter().any(|test| is_or_is_below(path, test)))
}

/// The byte of the `{` that opens the body of the item at `start`, or of the `;` that ends it without one.
pub fn body_or_end(code: &str, start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (offset, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            // The `;` of `[u8; 32]` ends nothing.
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'{' | b';' if depth == 0 => return Some(offset),
            _ => {}
        }
    }
    None
}

/// The byte after the brace that closes the one at `open`, or the end.
pub fn closing_brace(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return offset + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

fn collect(root: &Path, folder: &Path, texts: &mut Vec<Text>) {
    for entry in fs::read_dir(folder).expect("src/ can be read") {
        let path = entry.expect("src/ can be listed").path();
        if path.is_dir() {
            collect(root, &path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file is UTF-8");
            let below = path.strip_prefix(root).expect("it was found there");
            texts.push((below.to_string_lossy().replace('\\', "/"), text));
        }
    }
}

/// The modules that `#[cfg(test)] mod name;` in this file puts into files of their own, without `.rs`.
fn test_files(path: &str, text: &str) -> Vec<String> {
    let folder = match path.rsplit_once('/') {
        Some((folder, "mod.rs")) => format!("{folder}/"),
        None if path == "lib.rs" || path == "main.rs" => String::new(),
        _ => format!("{}/", path.trim_end_matches(".rs")),
    };
    let masked = mask(text);
    test_items(&masked)
        .into_iter()
        .filter_map(|item| {
            let (_, declared) = masked[item].trim_end().strip_suffix(';')?.rsplit_once("mod ")?;
            Some(format!("{folder}{}", declared.trim()))
        })
        .collect()
}

fn is_or_is_below(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// The byte ranges of the items that only a test build has, each from its line's first byte to its last.
fn test_items(masked: &str) -> Vec<std::ops::Range<usize>> {
    if masked.contains("#![cfg(test)]") {
        return std::iter::once(0..masked.len()).collect();
    }
    let mut items: Vec<std::ops::Range<usize>> = Vec::new();
    for attribute in ["#[cfg(test)]", "#[cfg(all(test"] {
        for (at, _) in masked.match_indices(attribute) {
            let end = match body_or_end(masked, at) {
                Some(body) if masked.as_bytes()[body] == b'{' => closing_brace(masked, body),
                Some(semicolon) => semicolon + 1,
                None => masked.len(),
            };
            let start = masked[..at].rfind('\n').map_or(0, |newline| newline + 1);
            items.push(start..end);
        }
    }
    items
}

/// Blanks comments and the contents of texts and characters; newlines and code stay where they are.
fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    let mut after_word = false;
    while let Some(first) = rest.chars().next() {
        let length = if after_word { None } else { raw_text(rest) }.or_else(|| blank_length(rest));
        let (taken, blank) = length.map_or((first.len_utf8(), false), |length| (length, true));
        for c in rest[..taken].chars() {
            masked.push(if blank && c != '\n' { ' ' } else { c });
        }
        after_word = !blank && (first.is_alphanumeric() || first == '_');
        rest = &rest[taken..];
    }
    masked
}

/// The bytes of the comment, text or character that `rest` starts with.
fn blank_length(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    if rest.starts_with('"') {
        return Some(until_quote(rest, '"'));
    }
    // A lifetime has no closing quote behind its first character.
    let mut chars = rest.strip_prefix('\'')?.chars();
    let (first, second) = (chars.next()?, chars.next());
    (first == '\\' || second == Some('\'')).then(|| until_quote(rest, '\''))
}

/// The bytes of the raw text that `rest` starts with: `r"…"`, `r##"…"##`, `br"…"`.
fn raw_text(rest: &str) -> Option<usize> {
    let opened = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = opened.len() - opened.trim_start_matches('#').len();
    let body = opened[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close).map_or(body.len(), |at| at + close.len());
    Some(rest.len() - body.len() + end)
}

fn until_quote(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (offset, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return offset + 1,
            _ => {}
        }
    }
    rest.len()
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut offset = 0;
    while offset < rest.len() {
        match rest.as_bytes()[offset..] {
            [b'/', b'*', ..] => (depth, offset) = (depth + 1, offset + 2),
            [b'*', b'/', ..] if depth == 1 => return offset + 2,
            [b'*', b'/', ..] => (depth, offset) = (depth - 1, offset + 2),
            _ => offset += 1,
        }
    }
    rest.len()
}
