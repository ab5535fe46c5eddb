//! What changed between two loads, and whether it may.

use super::layers::assemble;
use super::{Loaded, Mark};

/// Paths of the keys whose meaning changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// These take a new start: while there are any, a reload is refused.
    pub boot: Vec<String>,
    pub live: Vec<String>,
}

/// Compares by meaning: `"60s"` and `"1m"` are the same.
pub fn difference(old: &Loaded, new: &Loaded) -> Difference {
    let mut changed = Difference::default();
    for (index, setting) in new.settings.iter().enumerate() {
        if setting.value == old.settings[index].value {
            continue;
        }
        let mut mixed = old.settings.clone();
        mixed[index] = setting.clone();
        if assemble(&mixed).is_ok_and(|config| config == old.config) {
            continue;
        }
        match setting.key.mark {
            Mark::Boot => changed.boot.push(setting.key.path()),
            Mark::Live => changed.live.push(setting.key.path()),
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn loaded(environment: &[(&str, &str)]) -> Loaded {
        let owned = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Sources::new(None, owned, Vec::new()).load().unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn a_difference_is_one_of_meaning() {
        let old = loaded(&[]);
        let same = loaded(&[
            ("PANNIER__SERVER__WRITE_TIMEOUT", "1m"),
            ("OLLAMA_HOST", "localhost"),
            ("PANNIER__UPSTREAM__URL", "127.0.0.1"),
        ]);
        assert_eq!(difference(&old, &same), Difference::default());
        let other = loaded(&[
            ("PANNIER__SERVER__LISTEN", "127.0.0.1:9"),
            ("PANNIER__FLIGHT__WINDOW", "2MiB"),
            ("PANNIER__CACHE__MAX_ENTRY", "2MiB"),
            ("PANNIER__AUTH__KEYS", "[{ name = 'a', key = 'k' }]"),
        ]);
        let changed = difference(&old, &other);
        assert_eq!(changed.boot, ["server.listen", "flight.window"]);
        assert_eq!(changed.live, ["auth.keys", "cache.max_entry"]);
    }
}
