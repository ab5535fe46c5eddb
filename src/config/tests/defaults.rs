//! The default file.

use super::loaded;
use crate::config::{DEFAULT, Origin, document};

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
