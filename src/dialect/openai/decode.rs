use crate::domain::{Call, Error};
use bytes::Bytes;
pub fn decode(form: crate::dialect::Form, body: Bytes) -> Result<Call, Error> {
    let _ = body;
    todo!()
}
