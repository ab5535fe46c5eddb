//! Values that can be read, and make sense or none.

use super::{loaded, problems, sources};
use std::time::Duration;

#[test]
fn values_that_make_no_sense_are_found() {
    for (variable, value, expected) in [
        ("SERVER__MAX_BODY", "0", "more than 0"),
        ("SERVER__THREADS", "5000", "at most 1024"),
        ("SERVER__ADMIN_LISTEN", "127.0.0.1:8000", "another port"),
        ("SERVER__ADMIN_LISTEN", "0.0.0.0:8000", "another port"),
        ("SERVER__DATA_DIR", "", "directory"),
        ("ACCESS__ALLOWED_HOSTS", "['http://a.example']", "no host name"),
        ("ACCESS__ALLOWED_HOSTS", "['a.example:8000']", "no host name"),
        ("ACCESS__ALLOWED_HOSTS", "['a.*.example']", "no host name"),
        ("AUTH__KEYS", "[{ name = '', key = 'k' }]", "no name"),
        ("AUTH__KEYS", "[{ name = 'anonymous', key = 'k' }]", "without a key"),
        ("AUTH__KEYS", "[{ name = 'a', key = '' }]", "not empty"),
        ("AUTH__KEYS", "[{ name = 'a', key = 'k' }, { name = 'a', key = 'l' }]", "two keys"),
        ("AUTH__KEYS", "[{ name = 'a', key = 'k' }, { name = 'b', key = 'k' }]", "the key of another"),
        ("UPSTREAM__URL", "ftp://example.com", "unknown scheme"),
        ("UPSTREAM__INVENTORY_REFRESH", "0", "more than 0"),
        ("MEMORY__CAPACITY", "0", "more than 0"),
        ("CACHE__RULES", "[{ model = 'llama3*' }]", "rule 1: changes nothing"),
        ("CACHE__RULES", "[{ model = 'llama[23]', ttl = 5 }]", "brackets"),
        ("CACHE__RULES", "[{ ttl = 5 }, { model = '', ttl = 5 }]", "rule 2: an empty model"),
        ("FLIGHT__MAX_FLIGHTS", "0", "more than 0"),
        ("LOG__LEVEL", "verbose", "unknown level"),
        ("LOG__LEVEL", "inf", "did you mean `info`?"),
        ("LOG__LEVEL", "info,pannier=loud", ""),
        ("LOG__HIT_SAMPLE", "1.5", "from 0 to 1"),
        ("LOG__HIT_SAMPLE", "nan", "from 0 to 1"),
    ] {
        let variable = format!("PANNIER__{variable}");
        let found = problems(sources(&[(&variable, value)]).load());
        assert_eq!(found.len(), 1, "{variable}={value}: {found:?}");
        assert!(
            found[0].starts_with(&variable) && found[0].contains(expected),
            "{variable}={value}: {found:?}"
        );
    }
}

#[test]
fn a_default_that_no_longer_fits_is_named() {
    let found = problems(sources(&[("PANNIER__SERVER__LISTEN", "127.0.0.1:8001")]).load());
    assert_eq!(found, ["default: server.admin_listen: must be another port than that of server.listen"]);
}

#[test]
fn who_is_exempt_is_an_address_or_a_network() {
    let loaded = loaded(&[("PANNIER__SERVER__PER_IP_EXEMPT", "[\"10.0.0.0/8\", \"2001:db8::7\"]")]);
    assert!(loaded.config.server.per_ip_exempt[0].holds("10.9.8.7".parse().unwrap()));
    let found = problems(sources(&[("PANNIER__SERVER__PER_IP_EXEMPT", "[\"localhost\"]")]).load());
    assert!(found[0].contains("`localhost` is neither an IP address nor a network"), "{found:?}");
}

#[test]
fn the_largest_body_must_fit_in() {
    let found = problems(sources(&[("PANNIER__SERVER__MAX_BUFFERED", "63MiB")]).load());
    assert_eq!(
        found,
        ["PANNIER__SERVER__MAX_BUFFERED: server.max_buffered: must be at least server.max_body"]
    );
}

#[test]
fn values_that_make_sense_are_let_pass() {
    let loaded = loaded(&[
        ("PANNIER__ACCESS__ALLOWED_HOSTS", "['a.example', '*.b.example', '*', '::1', '10.0.0.1']"),
        ("PANNIER__LOG__LEVEL", "info,pannier::cache=debug"),
        ("PANNIER__SERVER__LISTEN", "127.0.0.1:0"),
        ("PANNIER__SERVER__ADMIN_LISTEN", "127.0.0.1:0"),
        ("PANNIER__UPSTREAM__FIRST_BYTE_TIMEOUT", "0"),
        ("PANNIER__CACHE__RULES", "[{ model = 'llama3:*', operation = 'embeddings', completions = 'off' }]"),
    ]);
    assert_eq!(loaded.config.cache.rules[0].operation, Some(crate::domain::Operation::Embed));
    assert_eq!(loaded.config.upstream.first_byte_timeout, Duration::ZERO);
}

#[test]
fn a_port_that_ollama_would_ignore_is_a_warning() {
    let loaded = loaded(&[("OLLAMA_HOST", "example.com:66000")]);
    assert_eq!(loaded.config.upstream.url.port, 11434);
    assert_eq!(
        loaded.warnings[0].to_string(),
        "OLLAMA_HOST: upstream.url: `66000` is no port; 11434 is used, as Ollama does"
    );
}

#[test]
fn a_limit_that_fits_no_route_is_a_warning() {
    let teams = r#"[{ name = "lab", routes = ["/api/*", "/api/cat", "other"] }]"#;
    let loaded = loaded(&[("PANNIER__AUTH__TEAMS", teams)]);
    let said: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["PANNIER__AUTH__TEAMS: auth.teams: `lab`: no route fits `/api/cat`: did you mean `/api/chat`?"]
    );
}

/// Whoever points clients at Pannier by `OLLAMA_HOST` has that in the environment of its own commands as well.
#[test]
fn only_serving_is_refused_where_the_upstream_is_pannier_itself() {
    for (variable, value, expected) in [
        ("OLLAMA_HOST", "localhost:8000", "OLLAMA_HOST: upstream.url: localhost:8000 is where"),
        ("PANNIER__UPSTREAM__URL", "http://127.0.0.1:8001", "itself listens (server.admin_listen)"),
        ("PANNIER__UPSTREAM__EMBEDDING_URLS", "['10.0.0.1', '127.0.0.1:8000']", "upstream.embedding_urls: "),
    ] {
        let found = problems(loaded(&[(variable, value)]).fit_to_serve());
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
    }
    assert!(loaded(&[]).fit_to_serve().is_ok());
}
