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

/// What became of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordingOutcome {
    Decoded,
    /// It had come before, so that nobody had to open it again.
    Known,
    /// It is none, or none that is wanted.
    Refused,
}

impl Metrics {
    /// Somebody has opened a recording.
    pub fn recording(&self, outcome: RecordingOutcome) {
        self.families.media_decodes.with_label_values(&["recording", outcome.label()]).inc();
    }

    /// A process that listened had to be ended, or has ended by itself.
    pub fn transcriber_lost(&self) {
        self.families.media_worker_restarts.inc();
    }

    /// Somebody has looked at a picture.
    pub fn picture(&self, outcome: PictureOutcome) {
        self.families.media_decodes.with_label_values(&["picture", outcome.label()]).inc();
    }
}

impl RecordingOutcome {
    pub(super) const ALL: [RecordingOutcome; 3] =
        [RecordingOutcome::Decoded, RecordingOutcome::Known, RecordingOutcome::Refused];

    pub(super) fn label(self) -> &'static str {
        match self {
            RecordingOutcome::Decoded => "decoded",
            RecordingOutcome::Known => "known",
            RecordingOutcome::Refused => "refused",
        }
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
