//! What no type can tell: values that are well formed and still make no sense.

use super::Config;
use super::nearest::suggestion;
use crate::batch::Places;
use crate::domain::unfit_route;
use crate::{analytics, auth, cache, dialect, metering, proxy, store, telemetry};
use std::collections::HashSet;
use std::time::Duration;

/// A setting's path, and what is wrong with its value.
pub(super) type Finding = (&'static str, String);

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// More threads than any machine has cores.
const MOST_THREADS: usize = 1024;

/// Bytes: two of its files.
const SMALLEST_SPOOL: usize = 128 << 10;

/// Bytes: a word that can be guessed must not open everything.
const SHORTEST_ADMIN_KEY: usize = 24;

/// What Pannier cannot be run with.
pub(super) fn wrong(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    check_server(&config.server, &mut found);
    check_access(&config.access, &mut found);
    check_auth(&config.auth, &mut found);
    check_rights(&config.auth, &mut found);
    check_store(&config.store, &mut found);
    if config.upstream.inventory_refresh.is_zero() {
        found.push(("upstream.inventory_refresh", "must be more than 0".to_owned()));
    }
    if config.upstream.embedding_urls.len() >= Places::MOST {
        let most = Places::MOST - 1;
        found.push(("upstream.embedding_urls", format!("must be at most {most}")));
    }
    check_cache(&config.cache, &mut found);
    check_tiers(&config.cache, &mut found);
    check_counts(config, &mut found);
    if let Err(error) = metering::Prices::new(&config.prices) {
        found.push(("prices.models", error.to_string()));
    }
    if config.ledger.max_spool < SMALLEST_SPOOL {
        found.push(("ledger.max_spool", format!("must be at least {SMALLEST_SPOOL} bytes")));
    }
    let pace = config.replay.tokens_per_second;
    if !pace.is_finite() || pace < 0.0 {
        found.push(("replay.tokens_per_second", "must be a number, and not below 0".to_owned()));
    }
    check_reports(config, &mut found);
    check_log(&config.log, &mut found);
    found
}

/// Of which there must be some.
fn check_counts(config: &Config, found: &mut Vec<Finding>) {
    check_positive(
        &[
            ("memory.capacity", config.memory.capacity),
            ("memory.vectors", config.memory.vectors),
            ("flight.max_recording", config.flight.max_recording),
            ("flight.max_recorded", config.flight.max_recorded),
            ("flight.window", config.flight.window),
            ("flight.max_flights", config.flight.max_flights),
            ("embeddings.workers", config.embeddings.workers),
            ("embeddings.batch", config.embeddings.batch),
            ("embeddings.max_texts", config.embeddings.max_texts),
            ("vision.max_pixels", config.vision.max_pixels),
            ("vision.max_images", config.vision.max_images),
            ("vision.workers", config.vision.workers),
            ("audio.workers", config.audio.workers),
            ("audio.max_waiting", config.audio.max_waiting),
            ("audio.max_memory", config.audio.max_memory),
        ],
        found,
    );
}

fn check_reports(config: &Config, found: &mut Vec<Finding>) {
    if analytics::Zone::named(&config.reports.time_zone).is_none() {
        found.push(("reports.time_zone", "must be the name of a time zone, as in Europe/Berlin".to_owned()));
    }
    let analytics::RetentionConfig { minutes, hours, days, .. } = config.retention;
    let is_longer = |one: Duration, other: Duration| one.is_zero() || (!other.is_zero() && one >= other);
    if !is_longer(hours, minutes) {
        found.push(("retention.hours", "must not be less than retention.minutes".to_owned()));
    }
    if !is_longer(days, hours) {
        found.push(("retention.days", "must not be less than retention.hours".to_owned()));
    }
}

/// What Pannier cannot serve with, though its other commands can work with it: whoever points clients here by
/// `OLLAMA_HOST` has it in the environment of those, too.
pub(super) fn looped(config: &Config) -> Option<Finding> {
    let (server, upstream) = (&config.server, &config.upstream);
    let listens = [("server.listen", server.listen), ("server.admin_listen", server.admin_listen)];
    let urls = std::iter::once(("upstream.url", &upstream.url))
        .chain(upstream.embedding_urls.iter().map(|url| ("upstream.embedding_urls", url)));
    urls.flat_map(|url| listens.map(|listen| (url, listen)))
        .find(|((_, url), (_, listen))| url.reaches(*listen))
        .map(|((path, url), (name, _))| {
            (path, format!("{} is where Pannier itself listens ({name})", url.authority()))
        })
}

/// What does no harm, but is hardly what somebody wanted.
pub(super) fn odd(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    let url = &config.upstream.url;
    if let Some(port) = &url.unreadable_port {
        found.push(("upstream.url", format!("`{port}` is no port; {} is used, as Ollama does", url.port)));
    }
    let known = dialect::templates();
    for (path, name, [_, routes]) in limits(&config.auth) {
        let unfit = routes.iter().filter_map(|pattern| unfit_route(pattern, &known));
        found.extend(unfit.map(|why| (path, format!("`{name}`: {why}"))));
    }
    if config.cache.enabled && config.cache.max_entry > config.flight.max_recording {
        let message =
            "answers larger than flight.max_recording are not kept, so more than that has no effect";
        found.push(("cache.max_entry", message.to_owned()));
    }
    found
}

fn check_positive(values: &[(&'static str, usize)], found: &mut Vec<Finding>) {
    for (path, value) in values {
        if *value == 0 {
            found.push((path, "must be more than 0".to_owned()));
        }
    }
}

fn check_server(server: &proxy::Config, found: &mut Vec<Finding>) {
    check_positive(
        &[
            ("server.max_connections", server.max_connections),
            ("server.max_admin_connections", server.max_admin_connections),
            ("server.max_header_bytes", server.max_header_bytes),
            ("server.max_headers", server.max_headers),
            ("server.max_body", server.max_body),
        ],
        found,
    );
    if server.max_buffered < server.max_body {
        found.push(("server.max_buffered", "must be at least server.max_body".to_owned()));
    }
    if server.threads > MOST_THREADS {
        found.push(("server.threads", format!("must be at most {MOST_THREADS}; 0 means one for each core")));
    }
    let (main, admin) = (server.listen, server.admin_listen);
    let meet = main.ip() == admin.ip() || main.ip().is_unspecified() || admin.ip().is_unspecified();
    if main.port() != 0 && main.port() == admin.port() && meet {
        found.push(("server.admin_listen", "must be another port than that of server.listen".to_owned()));
    }
    if server.data_dir.as_os_str().is_empty() {
        found.push(("server.data_dir", "must name a directory".to_owned()));
    }
}

fn check_access(access: &proxy::Access, found: &mut Vec<Finding>) {
    for host in &access.allowed_hosts {
        let name = host.strip_prefix("*.").unwrap_or(host);
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let is_address = name.parse::<std::net::IpAddr>().is_ok();
        if host != "*" && (name.is_empty() || !(plain || is_address)) {
            let message = format!(
                "`{host}` is no host name: expected `name`, `*.name` or `*`, without scheme and port"
            );
            found.push(("access.allowed_hosts", message));
        }
    }
}

fn check_auth(auth: &auth::Config, found: &mut Vec<Finding>) {
    let (mut names, mut secrets) = (HashSet::new(), HashSet::new());
    for (index, key) in auth.keys.iter().enumerate() {
        let mut fault = |message: String| found.push(("auth.keys", message));
        let name = &key.name;
        if name.is_empty() {
            fault(format!("key {} has no name", index + 1));
        } else if name == "anonymous" {
            fault("`anonymous` is the name of those without a key".to_owned());
        } else if !names.insert(name) {
            fault(format!("two keys are named `{name}`"));
        }
        if key.team.as_deref() == Some("") {
            fault(format!("the team of `{name}` is empty; leave it out for the team `default`"));
        }
        let secret = key.key.expose();
        if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            fault(format!("the key of `{name}` must be of visible ASCII characters, and not empty"));
        } else if !secrets.insert(secret) {
            fault(format!("`{name}` has the key of another"));
        }
    }
    let admin = auth.admin_key.expose();
    let mut fault = |message: String| found.push(("auth.admin_key", message));
    let is_fit = admin.len() >= SHORTEST_ADMIN_KEY && admin.bytes().all(|byte| byte.is_ascii_graphic());
    if !admin.is_empty() && !is_fit {
        fault(format!("must be of at least {SHORTEST_ADMIN_KEY} visible ASCII characters"));
    } else if secrets.contains(admin) {
        fault("must be none of auth.keys".to_owned());
    }
}

fn check_rights(auth: &auth::Config, found: &mut Vec<Finding>) {
    let mut names = HashSet::new();
    for team in &auth.teams {
        if team.name.is_empty() || !names.insert(&team.name) {
            found
                .push(("auth.teams", format!("`{}` must be the name of one team, and not empty", team.name)));
        }
    }
    for (path, name, patterns) in limits(auth) {
        if let Some(wrong) = patterns.into_iter().flatten().find(|pattern| !auth::is_pattern(pattern)) {
            found.push((path, format!("`{wrong}` of `{name}` is no pattern of models or routes")));
        }
    }
}

/// Whose they are, and patterns of models and of routes.
fn limits(auth: &auth::Config) -> impl Iterator<Item = (&'static str, &String, [&Vec<String>; 2])> {
    let keys = auth.keys.iter().map(|key| ("auth.keys", &key.name, [&key.models, &key.routes]));
    let teams = auth.teams.iter().map(|team| ("auth.teams", &team.name, [&team.models, &team.routes]));
    keys.chain(teams)
}

fn check_store(store: &store::Config, found: &mut Vec<Finding>) {
    let (database, pepper) = (store.database.expose(), store.pepper.expose());
    if !database.is_empty()
        && let Err(error) = store::Place::parse(database)
    {
        found.push(("store.database", error.to_string()));
    }
    if !pepper.is_empty() && auth::Pepper::from_hex(pepper).is_none() {
        let message = "must be 64 hexadecimal digits: `openssl rand -hex 32` makes some";
        found.push(("store.pepper", message.to_owned()));
    }
}

fn check_cache(cache: &cache::Config, found: &mut Vec<Finding>) {
    check_positive(&[("cache.max_entry", cache.max_entry)], found);
    for (index, rule) in cache.rules.iter().enumerate() {
        let mut fault = |message: &str| found.push(("cache.rules", format!("rule {}: {message}", index + 1)));
        if let Some(model) = &rule.model {
            if model.is_empty() {
                fault("an empty model matches nothing; leave it out to match all");
            }
            if model.contains(|letter: char| letter.is_whitespace() || "[]{}\\".contains(letter)) {
                fault(
                    "in a model only `*` and `?` have a meaning, and no model has spaces, brackets or backslashes",
                );
            }
        }
        let changes_time = rule.ttl.is_some() || rule.completions.is_some();
        if !changes_time && rule.enabled.is_none() && rule.max_entry.is_none() {
            fault("changes nothing: give it `enabled`, `ttl`, `completions` or `max_entry`");
        }
    }
}

fn check_tiers(cache: &cache::Config, found: &mut Vec<Finding>) {
    let (redis, database) = (&cache.redis, &cache.database);
    let mut fault = |path, message: &str| found.push((path, message.to_owned()));
    let secret = cache.tiers.secret.expose();
    if !secret.is_empty() && cache::Secret::from_hex(secret).is_none() {
        fault("cache.tiers.secret", "must be 64 hexadecimal digits: `openssl rand -hex 32` makes some");
    }
    if !redis.url.expose().is_empty()
        && let Err(error) = cache::Redis::new(redis)
    {
        fault("cache.redis.url", &error.to_string());
    }
    if redis.prefix.is_empty() || redis.prefix.contains(['{', '}']) {
        fault(
            "cache.redis.prefix",
            "must not be empty, and without braces: they decide a key's place in a Cluster",
        );
    }
    let table = &database.table;
    let plain = table.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !plain || table.len() > 48 || !table.starts_with(|first: char| first.is_ascii_alphabetic()) {
        fault("cache.database.table", "must be a letter and then letters, digits and `_`, at most 48 in all");
    }
    for (path, timeout) in
        [("cache.redis.timeout", redis.timeout), ("cache.database.timeout", database.timeout)]
    {
        if timeout.is_zero() {
            fault(path, "must be more than 0");
        }
    }
    check_positive(
        &[
            ("cache.tiers.queue", cache.tiers.queue),
            ("cache.redis.max_entry", redis.max_entry),
            ("cache.database.max_entry", database.max_entry),
            ("cache.database.max_bytes", database.max_bytes),
        ],
        found,
    );
}

/// A lone word in a filter is a level here: the filter's own syntax would take a misspelt one for the name
/// of a module, and write down everything.
fn check_log(log: &telemetry::LogConfig, found: &mut Vec<Finding>) {
    for directive in log.level.split(',').map(str::trim) {
        let lone = !directive.contains(['=', '[', '{']);
        if lone && !LEVELS.contains(&directive.to_ascii_lowercase().as_str()) {
            let message = format!("unknown level `{directive}`; {}", suggestion(directive, &LEVELS));
            found.push(("log.level", message));
            return;
        }
    }
    if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&log.level) {
        found.push(("log.level", error.to_string()));
    }
    if !(0.0..=1.0).contains(&log.hit_sample) {
        found.push(("log.hit_sample", "must be from 0 to 1".to_owned()));
    }
}
