//! The settings of `[log]`.

use serde::Deserialize;

/// What is written to standard output, and how.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// A level, or a filter such as `info,pannier::cache=debug`.
    pub level: String,
    pub format: Format,
    /// Whether requests get a line each.
    pub access: bool,
    /// The part of cache hits that get such a line, from 0 to 1.
    pub hit_sample: f64,
}

/// The shape of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object.
    Json,
    /// Words for people: time, level, message, then `key=value`.
    Text,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_does_not_exist_is_an_error() {
        let known = "level = 'info'\nformat = 'text'\naccess = true\nhit_sample = 0.5\n";
        let config: LogConfig = toml::from_str(known).unwrap();
        assert_eq!((config.format, config.hit_sample), (Format::Text, 0.5));
        assert!(toml::from_str::<LogConfig>(&format!("{known}colour = true")).is_err());
    }
}
