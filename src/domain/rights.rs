//! What somebody may use.

use super::nearest;
use std::sync::Arc;
use wildmatch::WildMatch;

/// Patterns in which `*` and `?` have a meaning. Where there are none, nothing is limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Limits {
    pub models: Vec<String>,
    /// Templates of routes, such as `/api/chat`; `other` is whatever has none.
    pub routes: Vec<String>,
}

/// All limits that hold for somebody; what any of them does not allow is forbidden.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights(Box<[Arc<Limits>]>);

impl Limits {
    pub fn are_none(&self) -> bool {
        self.models.is_empty() && self.routes.is_empty()
    }
}

/// What is wrong with a pattern of routes that fits none of those that there are.
pub fn unfit_route(pattern: &str, routes: &[&'static str]) -> Option<String> {
    let wild = WildMatch::new(pattern);
    if routes.iter().any(|template| wild.matches(template)) {
        return None;
    }
    let meant = nearest(pattern, routes.iter().copied());
    let meant = meant.map_or_else(String::new, |meant| format!(": did you mean `{meant}`?"));
    Some(format!("no route fits `{pattern}`{meant}"))
}

impl Rights {
    pub fn within(limits: impl IntoIterator<Item = Arc<Limits>>) -> Self {
        Rights(limits.into_iter().filter(|limits| !limits.are_none()).collect())
    }

    /// In the order in which they were given.
    pub fn limits(&self) -> impl Iterator<Item = &Arc<Limits>> {
        self.0.iter()
    }

    /// Nothing is forbidden.
    pub fn are_whole(&self) -> bool {
        self.0.is_empty()
    }

    /// Some models are forbidden, or may be.
    pub fn limit_models(&self) -> bool {
        self.0.iter().any(|limits| !limits.models.is_empty())
    }

    /// `template` as in a [`Route`](super::Route).
    pub fn allow_route(&self, template: &str) -> bool {
        let fits = |pattern: &String| WildMatch::new(pattern).matches(template);
        self.0.iter().all(|limits| limits.routes.is_empty() || limits.routes.iter().any(fits))
    }

    /// `model` by its full name, as in `llama3:latest`; a pattern may leave `:latest` out.
    pub fn allow_model(&self, model: &str) -> bool {
        let short = model.strip_suffix(":latest").unwrap_or(model);
        let fits = |pattern: &String| {
            let pattern = WildMatch::new_case_insensitive(pattern);
            pattern.matches(model) || pattern.matches(short)
        };
        self.0.iter().all(|limits| limits.models.is_empty() || limits.models.iter().any(fits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(models: &[&str], routes: &[&str]) -> Arc<Limits> {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Arc::new(Limits { models: own(models), routes: own(routes) })
    }

    #[test]
    fn without_limits_all_is_allowed() {
        let whole = Rights::within([limits(&[], &[])]);
        assert!(whole.are_whole() && !whole.limit_models() && whole == Rights::default());
        assert!(whole.allow_model("") && whole.allow_route("other"));
    }

    #[test]
    fn models_are_meant_by_pattern() {
        for (pattern, model, allowed) in [
            ("llama3", "llama3:latest", true),
            ("LLAMA3", "llama3:latest", true),
            ("llama3:latest", "llama3:latest", true),
            ("llama3", "llama3:8b", false),
            ("llama3:*", "llama3:8b", true),
            ("llama3*", "llama3.2:1b", true),
            ("llama3:?b", "llama3:70b", false),
            ("*", "", true),
            ("llama3", "", false),
            ("llama3", "evil/llama3:latest", false),
            ("*/llama3", "evil/llama3:latest", true),
        ] {
            assert_eq!(
                Rights::within([limits(&[pattern], &[])]).allow_model(model),
                allowed,
                "{pattern} {model}"
            );
        }
    }

    #[test]
    fn whoever_has_two_limits_has_the_narrower_of_both() {
        let rights =
            Rights::within([limits(&["a*", "b"], &["/api/*"]), limits(&["*b"], &["/api/chat", "/v1/*"])]);
        let models =
            ["a:latest", "ab:latest", "b:latest", "cb:latest"].map(|model| rights.allow_model(model));
        assert_eq!(models, [false, true, true, false]);
        let routes = ["/api/chat", "/api/tags", "/v1/models", "other"].map(|route| rights.allow_route(route));
        assert_eq!(routes, [true, false, false, false]);
    }
}
