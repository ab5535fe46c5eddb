//! The house's measure: a file and a function that a reader can hold in the head.

mod source;

use source::SourceFile;

/// Lines a file may have as it stands, without its tests, by where it is; the first match counts.
const FILE_LIMITS: &[(&str, usize)] = &[
    // The conductor conducts: what it needs more lines for belongs to a capability.
    ("gateway/", 250),
    ("", 400),
];

/// Lines a file may have that is itself a test: a `tests.rs`, or one in the folder `tests/` that takes its place.
const TEST_FILE_LIMIT: usize = 400;

/// Lines of code a function may have, from its name to its closing brace; comments and empty lines are free.
const FUNCTION_LIMIT: usize = 50;

#[test]
fn no_file_is_too_long() {
    let long: Vec<String> = source::house().iter().filter_map(too_long).collect();
    assert!(long.is_empty(), "\n{}\n", long.join("\n"));
}

#[test]
fn no_test_file_is_too_long() {
    let (tests, _) = source::tests_and_house();
    let has = |path| tests.iter().any(|(test, _)| test == path);
    assert!(has("flight/tests/mod.rs") && has("flight/tests/seats.rs") && !has("flight/mod.rs"));
    let long: Vec<String> =
        tests.iter().filter_map(|(path, text)| longer(path, text.lines().count(), TEST_FILE_LIMIT)).collect();
    assert!(long.is_empty(), "\n{}\n", long.join("\n"));
}

#[test]
fn no_function_is_too_long() {
    let long: Vec<String> =
        source::house().iter().flat_map(|file| long_functions(file, FUNCTION_LIMIT)).collect();
    assert!(long.is_empty(), "\n{}\n", long.join("\n"));
}

#[test]
fn tests_are_not_counted_and_comments_are() {
    let body = "// why\n".repeat(399);
    let tests = "#[cfg(test)]\nmod tests {\n    fn long() {}\n}\n";
    assert_eq!(too_long(&SourceFile::parse("cache/key.rs", &format!("{body}{tests}"))), None);
    assert!(too_long(&SourceFile::parse("cache/key.rs", &format!("{body}fn one_more() {{}}\n"))).is_some());
    assert!(too_long(&SourceFile::parse("gateway/mod.rs", &body)).is_some());
}

#[test]
fn a_function_is_counted_by_its_code() {
    let text = "trait Way {\n    fn declared(&self);\n}\nfn brief() {\n\n    // {\n    one();\n}\n\
                const fn long<'a>(x: &'a [u8; 2]) -> char\nwhere\n    str: Sized,\n{\n    let c = '{';\n    c\n}\n";
    let file = SourceFile::parse("cache/key.rs", text);
    assert_eq!(
        long_functions(&file, 4),
        ["src/cache/key.rs:9: the function `long` has 7 lines of code, of at most 3"]
    );
}

fn too_long(file: &SourceFile) -> Option<String> {
    let (_, limit) = FILE_LIMITS.iter().find(|(place, _)| file.path.starts_with(place))?;
    longer(&file.path, file.lines.len(), *limit)
}

fn longer(path: &str, lines: usize, limit: usize) -> Option<String> {
    (lines >= limit).then(|| format!("src/{path}: {lines} lines, of fewer than {limit}"))
}

fn long_functions(file: &SourceFile, limit: usize) -> Vec<String> {
    let code = file.code();
    let mut findings = Vec::new();
    for (offset, _) in code.match_indices("fn ") {
        let name: String =
            code[offset + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let stands_alone = !code[..offset].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let Some(body) = source::body_or_end(&code, offset) else { continue };
        if name.is_empty() || !stands_alone || code[body..].starts_with(';') {
            continue;
        }
        let whole = &code[offset..source::closing_brace(&code, body)];
        let lines = whole.lines().filter(|line| !line.trim().is_empty()).count();
        if lines >= limit {
            let line = file.line_at(&code, offset);
            findings.push(format!(
                "src/{}:{line}: the function `{name}` has {lines} lines of code, of at most {}",
                file.path,
                limit - 1
            ));
        }
    }
    findings
}
