//! The file, and what is said about one that is wrong.

use super::{File, origin, problems, sources};
use crate::config::{FILE_VARIABLE, Sources};
use std::path::PathBuf;
use std::time::Duration;

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
