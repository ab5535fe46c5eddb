//! The house rule: a room imports only from the floors below its own, and each framework stays in its rooms.

mod source;

use source::SourceFile;

/// Every room from the top floor to the bottom, and the rooms that it may import besides `domain`.
/// Rooms of one floor are strangers to each other.
const ROOMS: &[(&str, &[&str])] = &[
    // assembly: knows everybody
    ("main", &["cli"]),
    ("cli", &["app", "config", "auth", "metering", "analytics", "cache", "media", "telemetry"]),
    ("app", ALL_BELOW),
    ("config", ALL_BELOW),
    // faces: each knows a framework
    ("proxy", &["gateway", "dialect", "upstream", "telemetry"]),
    ("admin", &["auth", "metering", "analytics", "cache", "upstream", "store", "telemetry"]),
    // the conductor
    (
        "gateway",
        &["auth", "metering", "cache", "flight", "batch", "upstream", "media", "dialect", "telemetry"],
    ),
    // capabilities: strangers to each other
    ("auth", &["store"]),
    ("metering", &["store", "telemetry"]),
    ("cache", &["store", "telemetry"]),
    ("flight", &[]),
    ("batch", &[]),
    ("media", &[]),
    ("upstream", &["telemetry"]),
    ("analytics", &["store", "telemetry"]),
    // formats, tables, instruments
    ("dialect", &[]),
    ("store", &[]),
    ("telemetry", &[]),
    // the nouns
    ("domain", &[]),
];

/// Every room that stands lower in the table.
const ALL_BELOW: &[&str] = &["*"];

/// A crate, and the only places below `src/` that may name it.
const FRAMEWORKS: &[(&str, &[&str])] = &[
    ("pingora", &["proxy/", "upstream/client.rs", "upstream/target.rs", "app/"]),
    ("axum", &["admin/"]),
    ("hyper", &["admin/", "cli/house.rs", "upstream/client.rs", "upstream/link.rs"]),
    ("sqlx", &["store/"]),
    ("image", &["media/"]),
    ("rubato", &["media/transcriber/"]),
    ("rustix", &["media/transcriber/"]),
    ("symphonia", &["media/transcriber/"]),
    ("whisper_rs", &["media/transcriber/"]),
    ("anyhow", &["main.rs", "cli/", "app/", "config/"]),
];

#[test]
fn rooms_import_only_from_the_floors_below() {
    report(source::house().iter().flat_map(broken_floors).collect());
}

#[test]
fn frameworks_stay_in_their_rooms() {
    report(source::house().iter().flat_map(strayed_frameworks).collect());
}

#[test]
fn the_table_itself_only_points_down() {
    for (floor, (room, allowed)) in ROOMS.iter().enumerate() {
        for below in allowed.iter().filter(|below| **below != "*") {
            let lower = ROOMS[floor + 1..].iter().any(|(name, _)| name == below);
            assert!(lower, "`{room}` may import `{below}`, which does not stand below it");
        }
    }
}

#[test]
fn an_import_that_points_up_is_found_wherever_it_hides() {
    let text = "\
        //! Not in a comment: crate::proxy.\n\
        use crate::{domain::Call, gateway::{self, Policy}};\n\
        const NAME: &str = \"crate::app\";\n\
        fn key() { crate::config::load(); super::super::admin::open(); super::tier(); self::x(); }\n\
        fn unknown() { crate::attic::x(); }\n\
        #[cfg(test)]\n\
        fn only_tests(x: [u8; 3]) { crate::app::run(); }\n";
    let file = SourceFile::parse("cache/key/blake.rs", text);
    let found = broken_floors(&file);
    let names = ["gateway", "config", "attic"];
    assert_eq!(found.len(), names.len(), "{found:?}");
    for (finding, name) in found.iter().zip(names) {
        assert!(finding.contains("`cache`") && finding.contains(&format!("`{name}`")), "{finding}");
    }
    assert!(found[1].starts_with("src/cache/key/blake.rs:4: "), "{}", found[1]);

    let shallow = SourceFile::parse("cache/key.rs", "fn key() { super::super::admin::open(); }");
    assert_eq!(broken_floors(&shallow).len(), 1);
}

#[test]
fn a_framework_in_the_wrong_room_is_found() {
    let text = "use pingora_core::Error;\nfn pingora() { let axum = 1; axum::serve(); }\n";
    let strayed = |path| strayed_frameworks(&SourceFile::parse(path, text)).len();
    assert_eq!((strayed("cache/mod.rs"), strayed("proxy/mod.rs"), strayed("admin/mod.rs")), (2, 1, 1));
}

fn report(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// Each import of the file that the table does not allow: file, line and the two rooms.
fn broken_floors(file: &SourceFile) -> Vec<String> {
    let room = room_of(&file.path);
    // The map of the house is above all floors: it names every room and uses none.
    if room == "lib" {
        return Vec::new();
    }
    let code = file.code();
    let Some(floor) = ROOMS.iter().position(|(name, _)| *name == room) else {
        return vec![format!("src/{}:1: the room `{room}` stands on no floor of the table", file.path)];
    };
    imports(file, &code)
        .into_iter()
        .filter(|(_, import)| *import != room && *import != "domain" && !allowed(floor, import))
        .map(|(offset, import)| {
            let line = file.line_at(&code, offset);
            format!("src/{}:{line}: the room `{room}` must not import `{import}`", file.path)
        })
        .collect()
}

fn allowed(floor: usize, import: &str) -> bool {
    let (_, allowed) = ROOMS[floor];
    let below = ROOMS[floor + 1..].iter().any(|(name, _)| *name == import);
    allowed.contains(&import) || (allowed == ALL_BELOW && below)
}

fn strayed_frameworks(file: &SourceFile) -> Vec<String> {
    let code = file.code();
    let mut findings = Vec::new();
    for (framework, places) in FRAMEWORKS {
        if places.iter().any(|place| file.path.starts_with(place)) {
            continue;
        }
        for offset in words(&code, framework) {
            // `pingora_core` is Pingora as well.
            let path = code[offset..].trim_start_matches(is_word);
            if path.starts_with("::") || path.starts_with(" as ") {
                let line = file.line_at(&code, offset);
                findings.push(format!(
                    "src/{}:{line}: names `{framework}`, which stays in {places:?}",
                    file.path
                ));
            }
        }
    }
    findings
}

/// Every room that the file names, by `crate::room`, `crate::{room, …}`, `pannier::room` in the binary, or
/// a chain of `super::` that climbs out of its own room; with the byte where the name stands.
fn imports<'a>(file: &SourceFile, code: &'a str) -> Vec<(usize, &'a str)> {
    let root = if file.path == "main.rs" { "pannier" } else { "crate" };
    let mut found = Vec::new();
    for offset in words(code, root).filter(|&offset| code[offset + root.len()..].starts_with("::")) {
        found.extend(heads(code, offset + root.len() + 2));
    }
    let depth = depth_of(&file.path);
    for offset in words(code, "super").filter(|&offset| !code[..offset].ends_with("super::")) {
        let tail = code[offset..].trim_start_matches("super::");
        let climbed = (code.len() - offset - tail.len()) / "super::".len();
        if climbed >= depth {
            found.extend(heads(code, code.len() - tail.len()));
        }
    }
    found.sort_unstable();
    found
}

/// The first names of the path or the `{group}` of paths at `offset`.
fn heads(code: &str, offset: usize) -> Vec<(usize, &str)> {
    let name = |at: usize| {
        let at = code.len() - code[at..].trim_start().len();
        let length = code[at..].find(|c| !is_word(c)).unwrap_or(code.len() - at);
        (at, &code[at..at + length])
    };
    if !code[offset..].starts_with('{') {
        return vec![name(offset)];
    }
    let mut depth = 0;
    let mut starts = Vec::new();
    for (at, byte) in code.bytes().enumerate().take(source::closing_brace(code, offset)).skip(offset) {
        depth += i32::from(byte == b'{') - i32::from(byte == b'}');
        if depth == 1 && matches!(byte, b'{' | b',') {
            starts.push(at + 1);
        }
    }
    starts.into_iter().map(name).filter(|(_, head)| !head.is_empty()).collect()
}

/// The bytes where a word starts with `prefix`; for a word that must match whole, look at what follows.
fn words<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(prefix).map(|(offset, _)| offset).filter(|&offset| !code[..offset].ends_with(is_word))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn room_of(path: &str) -> &str {
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

/// How many modules deep the file's own module is: `cache/mod.rs` 1, `cache/key.rs` 2.
fn depth_of(path: &str) -> usize {
    path.split('/').filter(|part| *part != "mod.rs").count()
}
