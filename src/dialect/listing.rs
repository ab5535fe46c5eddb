//! Lists of models, less those that somebody must not know.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// How models are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// `{"models": [{"name": …, "model": …}]}`
    Ollama,
    /// `{"object": "list", "data": [{"id": …}]}`
    OpenAi,
}

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow, alias = "data")]
    models: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Entry {
    name: Option<String>,
    model: Option<String>,
    id: Option<String>,
}

impl Listing {
    /// `body` with those entries alone all of whose names are wanted, byte for byte. `None` where it is no such list.
    pub fn only(self, body: &[u8], is_wanted: impl Fn(&str) -> bool) -> Option<Bytes> {
        let whole: Whole<'_> = serde_json::from_slice(body).ok()?;
        let mut kept = Vec::new();
        for entry in whole.models.unwrap_or_default() {
            let Entry { name, model, id } = serde_json::from_str(entry.get()).ok()?;
            let mut names = [name, model, id].into_iter().flatten().peekable();
            if names.peek().is_some() && names.all(|name| is_wanted(&name)) {
                kept.push(entry.get());
            }
        }
        let kept = kept.join(",");
        Some(Bytes::from(match self {
            Listing::Ollama => format!("{{\"models\":[{kept}]}}"),
            Listing::OpenAi => format!("{{\"object\":\"list\",\"data\":[{kept}]}}\n"),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_wanted_is_left_out_and_the_rest_stays_as_it_is() {
        let only = |listing: Listing, body: &str| {
            let kept = listing.only(body.as_bytes(), |name| name.starts_with('a'))?;
            Some(String::from_utf8(kept.to_vec()).unwrap())
        };
        let tags = r#"{"models":[{"name":"a:1","model":"a:1","size": 1.0e3},{"name":"b","model":"b"}]}"#;
        let kept = r#"{"models":[{"name":"a:1","model":"a:1","size": 1.0e3}]}"#;
        assert_eq!(only(Listing::Ollama, tags).as_deref(), Some(kept));
        let two = r#"{"models":[{"name":"a","model":"b"},{"size":1}]}"#;
        assert_eq!(only(Listing::Ollama, two).as_deref(), Some(r#"{"models":[]}"#));
        assert_eq!(only(Listing::Ollama, r#"{"models":null}"#).as_deref(), Some(r#"{"models":[]}"#));
        let models = r#"{"object":"list","data":[{"id":"b"},{"id":"a"}]}"#;
        let kept = "{\"object\":\"list\",\"data\":[{\"id\":\"a\"}]}\n";
        assert_eq!(only(Listing::OpenAi, models).as_deref(), Some(kept));
        for broken in ["", "[]", r#"{"models":[1]}"#, r#"{"models":[{"name":1}]}"#] {
            assert_eq!(only(Listing::Ollama, broken), None, "{broken}");
        }
    }
}
