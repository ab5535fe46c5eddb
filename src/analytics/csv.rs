//! CSV (RFC 4180, with plain line ends) that no spreadsheet takes for a formula.

/// A line of texts.
pub fn record<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    line(texts, [])
}

/// A line of texts, and of numbers that were written here.
pub fn line<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    numbers: impl IntoIterator<Item = String>,
) -> String {
    let cells: Vec<String> = texts.into_iter().map(cell).chain(numbers).collect();
    cells.join(",") + "\n"
}

/// What a spreadsheet would execute begins with an apostrophe, which makes it a text there.
fn cell(text: &str) -> String {
    const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];
    let is_formula = text.trim_start().starts_with(FORMULA) || text.starts_with(['\t', '\r', '\n']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    match text.contains([',', ';', '"', '\t', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_texts() {
        for (text, written) in [
            ("alice", "alice"),
            ("", ""),
            ("llama3:8b", "llama3:8b"),
            ("a,b", "\"a,b\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("  =1+1", "'  =1+1"),
            ("\t=1", "\"'\t=1\""),
            ("＝1", "'＝1"),
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""),
            ("a;=1+1", "\"a;=1+1\""),
        ] {
            assert_eq!(cell(text), written, "{text}");
        }
        assert_eq!(line(["=x"], ["-0.5".to_owned()]), "'=x,-0.5\n");
    }
}
