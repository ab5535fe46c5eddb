//! How pictures are looked at.

use serde::Deserialize;

/// `[vision]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The model that is asked where a request names none.
    pub model: String,
    /// Pixels of the longer side, at the most; 0 for any number.
    pub max_side: u32,
    /// Pixels of a picture, at the most. Never zero.
    pub max_pixels: usize,
    /// Pictures in one request, at the most. Never zero.
    pub max_images: usize,
    /// Pictures that are worked on at a time. Never zero.
    pub workers: usize,
    /// Whether pictures in calls of other routes are made readable, too.
    pub transcode_native: bool,
}
