//! What `decode` makes of a body, for all nine forms.

mod fingerprints;
mod oddities;
mod texts;
mod wishes;

use crate::dialect::{Form, decode};
use crate::domain::{Call, Kind};
use bytes::Bytes;

fn call(form: Form, body: &str) -> Call {
    decode(form, Bytes::copy_from_slice(body.as_bytes())).unwrap_or_else(|error| panic!("{error}: {body}"))
}

fn refusal(form: Form, body: &str) -> String {
    let error = decode(form, Bytes::copy_from_slice(body.as_bytes())).expect_err(body);
    assert_eq!(error.kind, Kind::BadRequest);
    error.message
}
