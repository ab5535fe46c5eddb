//! The container is built of what its Dockerfile takes along.
//!
//! Builds nothing: what is let through and taken must be a package that cargo can read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// What the Dockerfile copies out of the repository.
fn taken() -> BTreeSet<String> {
    let dockerfile = read("Dockerfile");
    let copies = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY "));
    let ours = copies.filter(|words| !words.starts_with("--from="));
    let sources = |words: &str| {
        let words: Vec<&str> = words.split_whitespace().collect();
        words[..words.len() - 1].iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()
    };
    ours.flat_map(sources).collect()
}

/// What `.dockerignore` lets through.
fn let_through() -> BTreeSet<String> {
    let patterns = read(".dockerignore");
    let mut patterns = patterns.lines();
    assert_eq!(patterns.next(), Some("*"), "everything is kept out that is not named");
    patterns.map(|pattern| pattern.strip_prefix('!').expect("an exception").to_owned()).collect()
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
        return;
    }
    for entry in std::fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name();
        copy(&from.join(&name), &to.join(&name));
    }
}

#[test]
fn what_is_taken_is_let_through() {
    assert_eq!(taken(), let_through());
}

#[test]
fn what_is_taken_is_a_whole_package() {
    let context = tempfile::tempdir().unwrap();
    for name in taken() {
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join(&name), &context.path().join(&name));
    }
    let cargo = std::env::var_os("CARGO").map_or(PathBuf::from("cargo"), PathBuf::from);
    let read = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline", "--manifest-path"])
        .arg(context.path().join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
}
