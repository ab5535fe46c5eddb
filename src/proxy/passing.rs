//! What may pass of the head of a forwarded answer.

use crate::upstream::{HOP_BY_HOP, is_framed_plainly, named_by_connection};
use http::header;
use pingora::ErrorType;
use pingora::http::ResponseHeader;

/// Refuses a head that means two things, or that was not asked for.
pub fn judge(response: &mut ResponseHeader) -> pingora::Result<()> {
    if !is_framed_plainly(&response.headers) || response.status.as_u16() == 101 {
        return Err(pingora::Error::new_up(ErrorType::InvalidHTTPHeader));
    }
    let mut lengths = response.headers.get_all(header::CONTENT_LENGTH).iter();
    if let (Some(length), Some(_)) = (lengths.next().cloned(), lengths.next()) {
        // Different ones did not come so far.
        response.insert_header(header::CONTENT_LENGTH, length)?;
    }
    Ok(())
}

/// Takes the fields out of an answer that speak of one connection only; its framing stays.
pub fn strip_hop_by_hop(answer: &mut ResponseHeader) {
    for name in named_by_connection(&answer.headers) {
        answer.remove_header(&name);
    }
    for name in HOP_BY_HOP.iter().filter(|name| **name != header::TRANSFER_ENCODING) {
        answer.remove_header(name);
    }
}
