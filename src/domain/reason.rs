//! Why an answer did not simply come from what is kept.

/// The closed list of reasons. Each has one stable label, which stands in `Cache-Status`, in the record, in the
/// access log and in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    // --- by the settings ---
    /// Nothing is kept, or nothing of this kind.
    Off,
    /// Only what is certain is kept, and this call lets the model choose.
    Temperature,
    /// Such answers may be used for no time at all.
    Ttl,

    // --- by the call ---
    /// Readers may differ about what is asked.
    Odd,
    /// The body cannot be read.
    Unreadable,
    /// It asks how its prompt would look.
    Debug,
    /// It only loads the model, or unloads it.
    Load,
    /// It unloads the model or pins it, which no kept answer would do.
    KeepAlive,
    /// The model server would search the web for it.
    WebSearch,
    /// The model runs elsewhere.
    Cloud,
    /// What the model's name means is not known.
    Model,

    // --- by the request's head ---
    /// `Cache-Control: no-store`.
    NoStore,
    /// `Cache-Control: no-cache` and its like.
    Request,
    /// `X-Pannier-Cache: bypass`.
    Bypass,
    /// `X-Pannier-Cache: refresh`.
    Refresh,
    /// What is kept is older than `max-age` allows.
    TooOld,
    /// What is kept lasts less long than `min-fresh` wants.
    EndsSoon,

    // --- by what is kept ---
    /// Its time is over.
    Expired,
    /// It cannot be told in the other mode without a doubt.
    Mode,
    /// Its time may be over, but the upstream is down.
    Stale,
    /// A tier has something under this name that cannot be opened.
    Unopened,
    /// A tier that may have it could not be asked, or did not say in time.
    TierDown,
}

impl Reason {
    pub const ALL: [Reason; 22] = [
        Reason::Off,
        Reason::Temperature,
        Reason::Ttl,
        Reason::Odd,
        Reason::Unreadable,
        Reason::Debug,
        Reason::Load,
        Reason::KeepAlive,
        Reason::WebSearch,
        Reason::Cloud,
        Reason::Model,
        Reason::NoStore,
        Reason::Request,
        Reason::Bypass,
        Reason::Refresh,
        Reason::TooOld,
        Reason::EndsSoon,
        Reason::Expired,
        Reason::Mode,
        Reason::Stale,
        Reason::Unopened,
        Reason::TierDown,
    ];

    /// Of two reasons why the same was not found the one that tells more, and of equals the later one: a tier that
    /// is in trouble says least of what is kept.
    pub fn telling(earlier: Option<Reason>, later: Option<Reason>) -> Option<Reason> {
        let weight = |reason: &Reason| match reason {
            Reason::TierDown => 0,
            Reason::Unopened => 1,
            _ => 2,
        };
        earlier.into_iter().chain(later).max_by_key(weight)
    }

    pub fn label(self) -> &'static str {
        match self {
            Reason::Off => "OFF",
            Reason::Temperature => "TEMPERATURE",
            Reason::Ttl => "TTL",
            Reason::Odd => "ODD",
            Reason::Unreadable => "UNREADABLE",
            Reason::Debug => "DEBUG",
            Reason::Load => "LOAD",
            Reason::KeepAlive => "KEEP-ALIVE",
            Reason::WebSearch => "WEB-SEARCH",
            Reason::Cloud => "CLOUD",
            Reason::Model => "MODEL",
            Reason::NoStore => "NO-STORE",
            Reason::Request => "REQUEST",
            Reason::Bypass => "BYPASS",
            Reason::Refresh => "REFRESH",
            Reason::TooOld => "TOO-OLD",
            Reason::EndsSoon => "ENDS-SOON",
            Reason::Expired => "EXPIRED",
            Reason::Mode => "MODE",
            Reason::Stale => "STALE",
            Reason::Unopened => "UNOPENED",
            Reason::TierDown => "TIER-DOWN",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_explained_to_operators() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cache.md");
        let page = std::fs::read_to_string(page).unwrap();
        for reason in Reason::ALL {
            assert!(page.contains(&format!("`{}`", reason.label())), "{reason:?} is not in docs/cache.md");
        }
    }

    #[test]
    fn what_is_known_of_the_kept_tells_more_than_trouble() {
        use Reason::{Expired, TierDown, TooOld, Unopened};
        let rising = [None, Some(TierDown), Some(Unopened), Some(Expired)];
        for (at, less) in rising.iter().enumerate() {
            for more in &rising[at..] {
                assert_eq!(Reason::telling(*less, *more), *more);
                assert_eq!(Reason::telling(*more, *less), *more);
            }
        }
        assert_eq!(Reason::telling(Some(Expired), Some(TooOld)), Some(TooOld));
    }

    #[test]
    fn each_has_a_label_of_its_own_that_is_a_token() {
        for (at, reason) in Reason::ALL.iter().enumerate() {
            let label = reason.label();
            assert!(label.starts_with(|first: char| first.is_ascii_uppercase()), "{label}");
            assert!(label.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-'), "{label}");
            assert!(Reason::ALL[..at].iter().all(|other| other.label() != label), "{label} twice");
        }
    }
}
