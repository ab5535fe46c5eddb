//! A picture as it came.

use bytes::Bytes;

/// A picture that nobody has looked at yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Film {
    /// Its own bytes.
    Bytes(Bytes),
    /// Base64, perhaps within a `data:` address.
    Text(String),
}
