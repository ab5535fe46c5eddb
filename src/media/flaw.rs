//! What can be wrong with a picture.

use image::ImageError;
use image::error::LimitErrorKind;

/// Why there is no picture. What it says is for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("the picture is empty")]
    Empty,
    #[error("the picture is not base64")]
    NoBase64,
    #[error("the picture is an address, and none is fetched: send its bytes as base64")]
    Address,
    #[error("{0} cannot be read: send PNG, JPEG, GIF, WebP or BMP")]
    Format(String),
    #[error("the picture cannot be read: {0}")]
    Broken(String),
    #[error("the picture is too large: {0}")]
    TooLarge(String),
    #[error("too many pictures wait to be looked at")]
    Busy,
}

impl Flaw {
    /// Breaks off the words of those who read formats: of more nobody learns anything.
    pub fn broken(why: impl ToString) -> Self {
        const LONGEST: usize = 120;
        Flaw::Broken(why.to_string().replace(char::is_control, " ").chars().take(LONGEST).collect())
    }
}

impl From<ImageError> for Flaw {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Limits(limit) => match limit.kind() {
                LimitErrorKind::DimensionError => Flaw::TooLarge("its sides are too long".to_owned()),
                _ => Flaw::TooLarge("it takes too much memory".to_owned()),
            },
            ImageError::Unsupported(kind) => Flaw::Format(format!("this kind of picture ({kind})")),
            error => Flaw::broken(error),
        }
    }
}
