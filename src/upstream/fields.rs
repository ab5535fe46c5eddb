//! Which fields of a head go on, and which end here.

use http::{HeaderMap, HeaderName, header};

/// The fields that present an API key.
pub const CREDENTIALS: [HeaderName; 2] = [header::AUTHORIZATION, HeaderName::from_static("x-api-key")];

/// The fields that speak of one connection only (RFC 9110 §7.6.1).
pub const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Whether a head's transfer coding is none, or `chunked` said once: what was packed otherwise for this hop only
/// would have to be unpacked here.
pub fn is_framed_plainly(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    }
}

/// `headers` without those that speak of one connection only, and those that `Connection` names.
pub fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(headers);
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !HOP_BY_HOP.contains(name) && !named.contains(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// The fields that `Connection` names as its own.
pub fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.eq_ignore_ascii_case("close") && !name.eq_ignore_ascii_case("keep-alive"))
        .filter_map(|name| HeaderName::try_from(name).ok())
        // Nobody may have a credential dropped on the way by naming it there.
        .filter(|name| !CREDENTIALS.contains(name))
        .collect()
}

/// A field meant for Pannier: the upstream does not see it.
pub fn is_ours(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-pannier-")
}

/// The fields of a client's request that go on to the upstream in a request of our own: end-to-end
/// ones, less those that are written anew, answered here (`Expect`, `Origin`), or meant for Pannier.
/// `own_key`: the presented key is Pannier's, not the upstream's.
pub fn outgoing(headers: &HeaderMap, own_key: bool) -> HeaderMap {
    const ANEW: [HeaderName; 4] = [header::HOST, header::CONTENT_LENGTH, header::EXPECT, header::ORIGIN];
    let stays =
        |name: &HeaderName| ANEW.contains(name) || (own_key && CREDENTIALS.contains(name)) || is_ours(name);
    let mut kept = end_to_end(headers);
    let dropped: Vec<HeaderName> = kept.keys().filter(|name| stays(name)).cloned().collect();
    for name in dropped {
        kept.remove(name);
    }
    kept
}
