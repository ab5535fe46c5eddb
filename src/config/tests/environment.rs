//! The environment and the flags.

use super::{File, loaded, origin, problems, sources};
use crate::cache;
use crate::config::{ALIASES, DEFAULT, Flag, Sources, defaults, sections};
use std::path::PathBuf;
use std::time::Duration;

#[test]
fn the_tiers_are_set_by_the_names_that_their_users_know() {
    let loaded = loaded(&[
        ("REDIS_URL", "redis://user:sesame@cache.lan:6379/1"),
        ("L3_CACHE_ENABLED", "false"),
        ("L3_CACHE_TTL", "86400"),
        ("L3_CACHE_TABLE", "query_cache"),
        ("PANNIER__CACHE__REDIS__TIMEOUT", "30ms"),
    ]);
    let cache = &loaded.config.cache;
    assert_eq!(cache.redis.url.expose(), "redis://user:sesame@cache.lan:6379/1");
    assert_eq!(cache.redis.timeout, Duration::from_millis(30));
    let database = &cache.database;
    assert_eq!((database.enabled, &*database.table), (false, "query_cache"));
    assert_eq!(database.embedding_ttl, Duration::from_secs(86_400));
    assert_eq!(database.completion_ttl, Duration::from_secs(86_400));
}

#[test]
fn every_key_has_a_variable_that_takes_its_default() {
    for key in sections().iter().flat_map(|section| &section.keys) {
        let variable = key.variable();
        let loaded = loaded(&[(&variable, key.default)]);
        assert_eq!(origin(&loaded, &key.path()), format!("env {variable}"));
        assert_eq!(loaded.config, toml::from_str(DEFAULT).unwrap(), "{variable}");
    }
}

#[test]
fn a_variable_is_toml_where_that_fits_and_else_a_text() {
    let config = loaded(&[
        ("PANNIER__SERVER__LISTEN", "0.0.0.0:80"),
        ("PANNIER__SERVER__BODY_GRACE", "0.5"),
        ("PANNIER__UPSTREAM__CONNECT_TIMEOUT", "250ms"),
        ("PANNIER__CACHE__EPOCH", "7"),
        ("PANNIER__CACHE__ENABLED", "False"),
        ("PANNIER__CACHE__COMPLETIONS", "off"),
        ("PANNIER__ACCESS__ALLOWED_HOSTS", "[\"*.example.com\"]"),
        ("PANNIER__AUTH__KEYS", "[{ name = \"alice\", team = \"lab\", key = \"sk-1\" }]"),
        ("PANNIER__LOG__LEVEL", "\"debug\""),
        ("HOME", "/nowhere"),
        ("PANNIER_SERVICE_HOST", "10.0.0.1"),
    ])
    .config;
    assert_eq!(config.server.listen, "0.0.0.0:80".parse().unwrap());
    assert_eq!(config.server.body_grace, Duration::from_millis(500));
    assert_eq!(config.upstream.connect_timeout, Duration::from_millis(250));
    assert_eq!(config.cache.epoch, "7");
    assert!(!config.cache.enabled);
    assert_eq!(config.cache.completions, cache::Completions::Off);
    assert_eq!(config.access.allowed_hosts, ["*.example.com"]);
    assert_eq!(config.auth.keys[0].team.as_deref(), Some("lab"));
    assert_eq!(config.log.level, "debug");
}

#[test]
fn a_bad_variable_is_named_with_what_was_perhaps_meant() {
    let environment = [
        ("PANNIER__MEMORY__CAPACTIY", "1GiB"),
        ("PANNIER__LOG__ACCESS", "maybe"),
        ("PANNIER__QQQQQQQQ", "1"),
        ("PANNIER__SERVER__MAX_HEADERS", "-3"),
    ];
    assert_eq!(
        problems(sources(&environment).load()),
        [
            "PANNIER__LOG__ACCESS: log.access: invalid type: string \"maybe\", expected a boolean",
            "PANNIER__MEMORY__CAPACTIY: no setting has this name; did you mean `PANNIER__MEMORY__CAPACITY`?",
            "PANNIER__QQQQQQQQ: no setting has this name",
            "PANNIER__SERVER__MAX_HEADERS: server.max_headers: invalid value: integer `-3`, expected usize",
        ]
    );
}

#[test]
fn the_names_of_ollama_and_the_predecessors_are_understood() {
    let loaded = loaded(&[
        ("OLLAMA_HOST", "0.0.0.0:11500"),
        ("LLM_REQUEST_TIMEOUT", "30.0"),
        ("CACHE_ENABLED", "true"),
        ("CACHE_EMBEDDING_TTL", "86400"),
        ("CACHE_TTL", "3600"),
        ("DEFAULT_VISION_MODEL", "bakllava"),
        ("DEFAULT_AUDIO_MODEL", "small"),
    ]);
    let config = &loaded.config;
    assert_eq!((&*config.vision.model, &*config.audio.model), ("bakllava", "small"));
    assert_eq!(config.upstream.url.to_string(), "http://127.0.0.1:11500");
    assert_eq!(config.upstream.first_byte_timeout, Duration::from_secs(30));
    assert_eq!(config.cache.embedding_ttl, Duration::from_secs(86400));
    assert_eq!(config.cache.completion_ttl, Duration::from_secs(3600));
    assert_eq!(origin(&loaded, "cache.completion_ttl"), "env CACHE_TTL");
    assert_eq!(origin(&loaded, "upstream.url"), "env OLLAMA_HOST");
}

#[test]
fn every_alias_stands_for_a_setting() {
    for (name, path) in ALIASES.iter().chain(defaults::SYNONYMS) {
        assert!(defaults::key(path).is_some(), "{name}: {path}");
    }
}

#[test]
fn a_setting_has_a_second_name() {
    let hit = |environment: &[(&str, &str)]| loaded(environment).config.prices.hit.nanos();
    assert_eq!(hit(&[("PANNIER__CACHE__HIT_PRICE", "0.000000007")]), 7);
    let both = [("PANNIER__CACHE__HIT_PRICE", "0.000000007"), ("PANNIER__PRICES__HIT", "0.000000008")];
    assert_eq!(hit(&both), 8, "its own name wins");
    let file = File::with("[cache]\nhit_price = \"0.000000009\"\nhit_prize = 1\n");
    assert_eq!(
        problems(file.load()),
        ["pannier.toml:3:1: unknown key `cache.hit_prize`; did you mean `hit_price`?"]
    );
    let file = File::with("[cache]\nhit_price = \"0.000000009\"\n");
    let loaded = file.load().ok().unwrap();
    assert_eq!(loaded.config.prices.hit.nanos(), 9);
    assert!(origin(&loaded, "prices.hit").ends_with("/pannier.toml:2"));
}

#[test]
fn hours_are_hours() {
    let kept = |environment: &[(&str, &str)]| loaded(environment).config.retention.rows;
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    assert_eq!(kept(&[("METRICS_RETENTION_HOURS", "168")]), hours(168));
    assert_eq!(kept(&[("METRICS_RETENTION_HOURS", "168"), ("METRICS_TTL_HOURS", "24")]), hours(24));
    assert_eq!(kept(&[("METRICS_TTL_HOURS", "24"), ("PANNIER__RETENTION__ROWS", "2days")]), hours(48));
    assert_eq!(loaded(&[("METRICS_MAX_ENTRIES", "1000")]).config.retention.max_rows, 1_000);
    assert_eq!(
        problems(sources(&[("METRICS_TTL_HOURS", "soon")]).load()).len(),
        1,
        "what is no number is no number of hours"
    );
}

#[test]
fn the_nearer_name_wins() {
    let mut environment = vec![("CACHE_TTL", "1"), ("CACHE_INFERENCE_TTL", "2")];
    let ttl = |environment: &[(&str, &str)]| loaded(environment).config.cache.completion_ttl.as_secs();
    assert_eq!(ttl(&environment), 2);
    environment.push(("PANNIER__CACHE__COMPLETION_TTL", "3"));
    assert_eq!(ttl(&environment), 3);
    assert_eq!(ttl(&[("CACHE_TTL", "1"), ("CACHE_INFERENCE_TTL", "")]), 1);
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = File::with("[server]\nlisten = \"127.0.0.1:1\"\nthreads = 1\ndata_dir = \"a\"\n");
    let environment = [("PANNIER__SERVER__LISTEN", "127.0.0.1:2"), ("PANNIER__SERVER__THREADS", "2")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let flag = Flag { name: "--listen", path: "server.listen", value: "127.0.0.1:3".to_owned() };
    let loaded = Sources::new(Some(file.path.clone()), environment, vec![flag]).load().ok().unwrap();
    assert_eq!(loaded.config.server.listen.port(), 3);
    assert_eq!(loaded.config.server.threads, 2);
    assert_eq!(loaded.config.server.data_dir, PathBuf::from("a"));
    assert_eq!(origin(&loaded, "server.listen"), "flag --listen");
    assert_eq!(origin(&loaded, "server.threads"), "env PANNIER__SERVER__THREADS");
}
