//! Counts what becomes of what is not text.

use super::metrics::Metrics;

/// What became of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureOutcome {
    /// It stayed as it was.
    AsIs,
    /// It was written anew.
    Converted,
    /// It had come before, so that nobody had to look at it again.
    Known,
    /// It is none, or none that is wanted.
    Refused,
}

impl Metrics {
    /// Somebody has looked at a picture.
    pub fn picture(&self, outcome: PictureOutcome) {
        self.families.media_decodes.with_label_values(&["picture", outcome.label()]).inc();
    }
}

impl PictureOutcome {
    pub(super) const ALL: [PictureOutcome; 4] =
        [PictureOutcome::AsIs, PictureOutcome::Converted, PictureOutcome::Known, PictureOutcome::Refused];

    pub(super) fn label(self) -> &'static str {
        match self {
            PictureOutcome::AsIs => "as_is",
            PictureOutcome::Converted => "converted",
            PictureOutcome::Known => "known",
            PictureOutcome::Refused => "refused",
        }
    }
}
