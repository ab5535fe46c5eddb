//! How a key is presented.

/// The key in an `Authorization` field: `Bearer` in any case, spaces or tabs, the key. `None` for another scheme,
/// and where nothing follows.
pub fn bearer(field: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = field.split_at_checked(6)?;
    let is_apart = key.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
    let key = key.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer") && is_apart && !key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rule() {
        for (field, key) in [
            ("Bearer k", Some("k")),
            ("bearer k", Some("k")),
            ("BEARER  k ", Some("k")),
            ("Bearer\tk", Some("k")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearerk", None),
            ("Basic k", None),
            ("k", None),
            ("", None),
        ] {
            assert_eq!(bearer(field.as_bytes()), key.map(str::as_bytes), "{field:?}");
        }
    }
}
