//! The default file.

use super::loaded;
use crate::config::defaults::{key, key_of_variable};
use crate::config::{DEFAULT, Origin, document, sections};

#[test]
fn the_defaults_are_good_and_nothing_is_odd_about_them() {
    let loaded = loaded(&[]);
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config, toml::from_str(DEFAULT).unwrap());
    assert!(loaded.settings.iter().all(|setting| setting.origin == Origin::Default));
}

#[test]
fn the_reference_page_is_fresh() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap();
    assert!(page == document(), "stale: run `cargo run -- config --docs > docs/configuration.md`");
}

/// What the pages for operators call a setting is one, as a path and as a variable.
#[test]
fn every_setting_that_is_written_about_is_there() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let pages = std::fs::read_dir(format!("{root}docs")).unwrap().map(|page| page.unwrap().path());
    let pages: Vec<_> =
        pages.chain([format!("{root}README.md").into(), format!("{root}Dockerfile").into()]).collect();
    let is_section = |name: &str| sections().iter().any(|section| section.name == name);
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && !"_.".contains(letter));
        for word in words.map(|word| word.trim_matches('.')) {
            if word.starts_with("PANNIER__") && word != "PANNIER__SECTION__KEY" && word != "PANNIER__" {
                assert!(key_of_variable(word).is_some(), "{word} in {}", page.display());
            }
            let Some((section, name)) = word.rsplit_once('.') else { continue };
            let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            if is_section(section) && is_plain && !["md", "csv", "json"].contains(&name) {
                let is_known = is_section(word) || key(word).is_some();
                assert!(is_known, "{word} in {}", page.display());
            }
        }
    }
}
