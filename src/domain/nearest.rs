//! Which known name somebody may have meant.

/// Below this likeness (0 to 1) a name is no typing error of another.
const LIKE: f64 = 0.5;

/// The known name that is most like `written`, if any is like it at all.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(written, name), name))
        .filter(|(likeness, _)| *likeness >= LIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}
