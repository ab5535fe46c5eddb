use super::*;
use std::path::PathBuf;
use std::time::Duration;

/// A directory with one settings file in it.
struct File {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn with(text: &str) -> File {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pannier.toml");
        std::fs::write(&path, text).unwrap();
        File { _directory: directory, path }
    }

    fn load(&self) -> Result<Loaded, Problems> {
        Sources::new(Some(self.path.clone()), [], Vec::new()).load()
    }
}

fn sources(environment: &[(&str, &str)]) -> Sources {
    let owned = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Sources::new(None, owned, Vec::new())
}

fn loaded(environment: &[(&str, &str)]) -> Loaded {
    match sources(environment).load() {
        Ok(loaded) => loaded,
        Err(problems) => panic!("{problems}"),
    }
}

/// What is wrong, a problem an item, the directory taken off.
fn problems(result: Result<Loaded, Problems>) -> Vec<String> {
    let Err(Problems(problems)) = result else { panic!("nothing was found wrong") };
    let short = |problem: &Problem| match problem.to_string().rsplit_once("/pannier.toml") {
        Some((_, rest)) => format!("pannier.toml{rest}"),
        None => problem.to_string(),
    };
    problems.iter().map(short).collect()
}

fn origin(loaded: &Loaded, path: &str) -> String {
    loaded.settings.iter().find(|setting| setting.key.path() == path).unwrap().origin.to_string()
}

// === the default file ===

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

// === sections within sections ===

#[test]
fn a_section_within_a_section_is_read_and_its_faults_have_their_lines() {
    let file = File::with("[cache]\nenabled = false\n[cache.redis]\nprefix = \"p:\"\ntimeout = \"20ms\"\n");
    let loaded = file.load().ok().unwrap();
    assert_eq!((loaded.config.cache.enabled, &*loaded.config.cache.redis.prefix), (false, "p:"));
    assert!(origin(&loaded, "cache.redis.timeout").ends_with("/pannier.toml:5"));
    assert_eq!(loaded.config.cache.redis.max_entry, 4 << 20);

    let file = File::with("[cache.redis]\nprefex = 1\n[cache.rediss]\n[cache]\ndatabase = 3\n");
    assert_eq!(
        problems(file.load()),
        [
            "pannier.toml:2:1: unknown key `cache.redis.prefex`; did you mean `prefix`?",
            "pannier.toml:3:8: unknown key `cache.rediss`; did you mean `redis`?",
            "pannier.toml:5:1: `cache.database` is a section, not a value",
        ]
    );
}

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

// === the file ===

#[test]
fn a_file_wins_over_the_defaults_and_its_lines_are_known() {
    let file = File::with("[memory]\ncapacity = \"1GiB\"\n\n[upstream]\n  first_byte_timeout = 90\n");
    let loaded = file.load().ok().unwrap();
    assert_eq!(loaded.config.memory.capacity, 1 << 30);
    assert_eq!(loaded.config.upstream.first_byte_timeout, Duration::from_secs(90));
    assert_eq!(loaded.config.cache.max_entry, 16 << 20);
    assert!(origin(&loaded, "memory.capacity").ends_with("/pannier.toml:2"));
    assert!(origin(&loaded, "upstream.first_byte_timeout").ends_with("/pannier.toml:5"));
    assert_eq!(origin(&loaded, "cache.max_entry"), "default");
}

#[test]
fn everything_wrong_in_a_file_is_said_at_once_with_line_and_column() {
    let file = File::with(
        "\
[server]
listen = \"here\"
max_heders = 5
[cache]
enabled = \"yes\"
  completion_tll = 5
embedding_ttl = \"soon\"
completions = \"al\"
listen = \"127.0.0.1:1\"
[upstrem]
url = \"x\"
",
    );
    assert_eq!(
        problems(file.load()),
        [
            "pannier.toml:2:10: server.listen: invalid value: string \"here\", expected an IP address and a port, \
             like \"127.0.0.1:8000\" or \"0.0.0.0:8000\"",
            "pannier.toml:3:1: unknown key `server.max_heders`; did you mean `max_headers`?",
            "pannier.toml:5:11: cache.enabled: invalid type: string \"yes\", expected a boolean",
            "pannier.toml:6:3: unknown key `cache.completion_tll`; did you mean `completion_ttl`?",
            "pannier.toml:7:17: cache.embedding_ttl: invalid value: string \"soon\", expected a duration: \
             a number of seconds, or a text like \"10s\" or \"5m\"",
            "pannier.toml:8:15: cache.completions: unknown variant `al`, expected one of `all`, `deterministic`, \
             `off`; did you mean `all`?",
            "pannier.toml:9:1: unknown key `cache.listen`; did you mean `listen` in [server]?",
            "pannier.toml:10:2: unknown section `upstrem`; did you mean `upstream`?",
        ]
    );
}

#[test]
fn what_is_wrong_inside_a_list_has_its_own_line() {
    let file = File::with(
        "\
[[auth.keys]]
name = \"alice\"
key = \"sk-alice\"

[[auth.keys]]
nam = \"bob\"
key = \"sk-bob\"

[cache]
rules = [
  { model = \"llama3*\", operation = \"chat\", ttl = \"10m\" },
  { operation = \"embed\", ttl = \"10m\" },
]
",
    );
    assert_eq!(
        problems(file.load()),
        [
            "pannier.toml:6:1: auth.keys: unknown field `nam`, expected one of `name`, `team`, `key`, `models`, `routes`; \
             did you mean `name`?",
            "pannier.toml:12:17: cache.rules: unknown variant `embed`, expected one of `chat`, `text_completion`, \
             `embeddings`; did you mean `embeddings`?",
        ]
    );
}

#[test]
fn keys_outside_of_sections_are_sent_where_they_belong() {
    let file = File::with("listen = \"127.0.0.1:1\"\nlog = 5\n");
    assert_eq!(
        problems(file.load()),
        [
            "pannier.toml:1:1: unknown section `listen`; did you mean `listen` in [server]?",
            "pannier.toml:2:1: `log` is a section, not a value",
        ]
    );
}

#[test]
fn half_a_file_is_a_problem_with_a_place() {
    for (text, place) in [("[cache]\nmax_entry = ", "pannier.toml:2:"), ("[cach", "pannier.toml:1:")] {
        let found = problems(File::with(text).load());
        assert!(found[0].starts_with(place), "{found:?}");
    }
}

#[test]
fn a_file_that_is_not_there_is_a_problem() {
    let missing = Sources::new(Some(PathBuf::from("/nowhere/pannier.toml")), [], Vec::new());
    let found = problems(missing.load());
    assert!(found[0].starts_with("pannier.toml: cannot be read: "), "{found:?}");
}

#[test]
fn the_file_is_named_by_flag_or_variable() {
    let (named, other) = (File::with("[log]\nlevel = \"warn\"\n"), File::with("[log]\nlevel = \"debug\"\n"));
    let variable = (FILE_VARIABLE.to_owned(), named.path.display().to_string());
    let by_variable = Sources::new(None, [variable.clone()], Vec::new());
    assert_eq!(by_variable.load().ok().unwrap().config.log.level, "warn");
    let by_flag = Sources::new(Some(other.path.clone()), [variable], Vec::new());
    assert_eq!(by_flag.load().ok().unwrap().config.log.level, "debug");
    assert_eq!(sources(&[(FILE_VARIABLE, "")]).file(), None);
}

// === the environment and the flags ===

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
    ]);
    let config = &loaded.config;
    assert_eq!(config.upstream.url.to_string(), "http://127.0.0.1:11500");
    assert_eq!(config.upstream.first_byte_timeout, Duration::from_secs(30));
    assert_eq!(config.cache.embedding_ttl, Duration::from_secs(86400));
    assert_eq!(config.cache.completion_ttl, Duration::from_secs(3600));
    assert_eq!(origin(&loaded, "cache.completion_ttl"), "env CACHE_TTL");
    assert_eq!(origin(&loaded, "upstream.url"), "env OLLAMA_HOST");
}

#[test]
fn every_alias_stands_for_a_setting() {
    for (name, path) in ALIASES {
        assert!(defaults::key(path).is_some(), "{name}: {path}");
    }
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

// === sense ===

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

// === showing ===

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
