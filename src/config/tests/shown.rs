//! What is shown of the settings, and what never is.

use super::{File, loaded, problems, sources};
use crate::config::Config;

#[test]
fn no_secret_of_a_tier_is_shown() {
    let digits = "5e5a".repeat(16);
    let loaded = loaded(&[
        ("REDIS_URL", "redis://user:sesame@cache.lan:6379/1"),
        ("PANNIER__CACHE__DATABASE__URL", "postgres://user:sesame@db.lan/x"),
        ("PANNIER__CACHE__TIERS__SECRET", &digits),
    ]);
    let shown = format!("{}{}{:?}", loaded.as_text(), loaded.as_json(), loaded.config);
    assert!(!shown.contains("sesame") && !shown.contains(&digits), "{shown}");
    assert!(shown.contains("redis://***@cache.lan:6379/1") && shown.contains("postgres://***@db.lan/x"));
    let wrong = problems(
        sources(&[
            ("REDIS_URL", "redis+cluster://:sesame@a,:other@b"),
            ("PANNIER__CACHE__TIERS__SECRET", "sesame"),
            ("PANNIER__CACHE__REDIS__PREFIX", ""),
            ("PANNIER__CACHE__DATABASE__TABLE", "x; DROP TABLE y"),
            ("PANNIER__CACHE__DATABASE__TIMEOUT", "0"),
        ])
        .load(),
    );
    assert_eq!(wrong.len(), 5, "{wrong:?}");
    assert!(!wrong.concat().contains("sesame"), "{wrong:?}");
    for url in ["redis://a:sesame@x,redis://b:sesame@y", "sesame"] {
        let loaded = sources(&[("PANNIER__CACHE__DATABASE__URL", url)]).load().ok().unwrap();
        assert!(!loaded.as_text().contains("sesame"), "{}", loaded.as_text());
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let keys = "[{ name = \"alice\", key = \"hunter2\" }, { name = \"bob\", key = \"hunter2-bob\" }]";
    let loaded = loaded(&[("PANNIER__AUTH__KEYS", keys)]);
    assert_eq!(loaded.config.auth.keys[0].key.expose(), "hunter2");
    for shown in [loaded.as_text(), loaded.as_json().to_string(), format!("{:?}", loaded.config)] {
        assert!(shown.contains("alice") && shown.contains("***") && !shown.contains("hunter2"), "{shown}");
    }
    for wrong in ["hunter2", "[\"hunter2\"]", "[{ name = \"a\", key = [\"hunter2\"] }]", "[{ name = 'hunter2"]
    {
        let found = problems(sources(&[("PANNIER__AUTH__KEYS", wrong)]).load());
        assert!(found[0].contains("expected") && !found[0].contains("hunter2"), "{found:?}");
    }
    let file = File::with("[auth]\nkeys = [{ name = \"a\", key = \"hunter2\" \"hunter2\" }]\n");
    let found = problems(file.load());
    assert!(found.iter().all(|problem| !problem.contains("hunter2")), "{found:?}");
}

#[test]
fn what_is_shown_can_be_read_again() {
    let file = File::with("[cache]\nrules = [{ model = \"llama3*\", ttl = \"10m\" }]\nmax_entry = 1048576\n");
    let loaded = file.load().ok().unwrap();
    let shown = loaded.as_text();
    assert_eq!(toml::from_str::<Config>(&shown).unwrap(), loaded.config, "{shown}");
    assert_eq!(shown.lines().count(), loaded.settings.len());
    let line = shown.lines().find(|line| line.starts_with("cache.max_entry")).unwrap();
    assert!(line.starts_with("cache.max_entry = 1048576  ") && line.ends_with("/pannier.toml:3"), "{line}");
    assert_eq!(loaded.as_json()["cache.rules"]["value"][0]["ttl"], "10m");
}
