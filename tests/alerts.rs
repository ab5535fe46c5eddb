//! The alert rules that are shipped: what they watch is what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const RULES: &str = include_str!("../deploy/prometheus/alerts.yml");

/// What stands in `text` behind each `before`, as far as it is letters, digits and underscores.
fn words<'a>(text: &'a str, before: &str) -> BTreeSet<&'a str> {
    let word = |text: &'a str| {
        let end = text.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        &text[..end.unwrap_or(text.len())]
    };
    text.split(before).skip(1).map(word).collect()
}

/// All that stands in the Rust of a folder.
fn code(folder: &Path) -> String {
    let files = fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
    let texts = files.filter_map(|path| match path.extension() {
        _ if path.is_dir() => Some(code(&path)),
        Some(kind) if kind == "rs" => Some(fs::read_to_string(&path).expect("a text")),
        _ => None,
    });
    texts.collect()
}

#[test]
fn every_figure_that_a_rule_watches_is_shown() {
    let rules = RULES.lines().filter(|line| !line.trim_start().starts_with('#'));
    let rules: String = rules.map(|line| format!("{line}\n")).collect();
    let code = code(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    for (before, least, shown) in [
        ("pannier_", 3, "\"pannier_{}\""),
        ("what=\"", 5, "Size(\"{}\")"),
        ("dep=\"", 1, "DependencyUp(\"{}\")"),
    ] {
        let words = words(&rules, before);
        assert!(words.len() >= least, "{before}: {words:?}");
        for word in words {
            assert!(code.contains(&shown.replace("{}", word)), "{before}{word} is nowhere");
        }
    }
}

#[test]
fn every_rule_says_what_is_wrong_and_how_much_that_matters() {
    let rules: Vec<&str> = RULES.split("- alert: ").skip(1).collect();
    assert!(rules.len() >= 6);
    for rule in rules {
        for part in ["expr: ", "severity: ", "summary: ", "description: "] {
            assert_eq!(rule.matches(part).count(), 1, "{part}in {rule}");
        }
    }
}

/// By the evaluator of Prometheus itself.
#[test]
fn rules_fire_when_they_should() {
    for (action, file) in [("check", "deploy/prometheus/alerts.yml"), ("test", "tests/alerts.yml")] {
        let mut promtool = Command::new("promtool");
        match promtool.args([action, "rules", file]).current_dir(env!("CARGO_MANIFEST_DIR")).output() {
            Ok(said) => {
                let [out, err] = [&said.stdout, &said.stderr].map(|said| String::from_utf8_lossy(said));
                assert!(said.status.success(), "{out}{err}");
            }
            Err(error) => {
                eprintln!("SKIPPED: promtool cannot be run ({error}); install it to try the alert rules")
            }
        }
    }
}
