use crate::domain::{Call, Error};
use bytes::Bytes;
pub fn decode(body: Bytes) -> Result<Call, Error> {
    let _ = body;
    todo!()
}
