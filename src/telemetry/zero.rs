//! Where metrics begin.

use super::media::{PictureOutcome, RecordingOutcome};
use super::metrics::{Eviction, Families, Listener, MEMORY};
use super::tier::{TouchOutcome, TurnOutcome, WriteLoss};
use crate::domain::{Kind, Operation, Reason};

impl Families {
    /// Lets every series exist that is known beforehand, so that a rate sees its first.
    pub(super) fn begin_at_zero(&self) {
        let revision = option_env!("PANNIER_REVISION").unwrap_or("unknown");
        let rustc = env!("CARGO_PKG_RUST_VERSION");
        self.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), revision, rustc]).set(1);
        for kind in Kind::ALL {
            self.errors.with_label_values(&[kind.code()]);
        }
        for operation in Operation::ALL {
            for result in ["hit", "miss", "bypass"] {
                self.cache_requests.with_label_values(&[MEMORY, result, operation.label()]);
            }
            self.cache_saved_tokens.with_label_values(&[operation.label()]);
            for reason in Reason::ALL {
                self.cache_reasons.with_label_values(&[reason.label(), operation.label()]);
            }
        }
        for cause in Eviction::ALL {
            self.cache_evictions.with_label_values(&[MEMORY, cause.label()]);
        }
        for outcome in TurnOutcome::ALL {
            self.turns.with_label_values(&[outcome.label()]);
        }
        for outcome in TouchOutcome::ALL {
            self.touches.with_label_values(&[outcome.label()]);
        }
        for outcome in PictureOutcome::ALL {
            self.media_decodes.with_label_values(&["picture", outcome.label()]);
        }
        for outcome in RecordingOutcome::ALL {
            self.media_decodes.with_label_values(&["recording", outcome.label()]);
        }
        for cause in WriteLoss::ALL {
            self.cache_writes_lost.with_label_values(&[cause.label()]);
        }
        for phase in ["load", "prompt_eval", "eval", "total"] {
            self.upstream_duration.with_label_values(&[phase]);
        }
        for code in ["200", "none"] {
            self.upstream_requests.with_label_values(&[code]);
        }
        for listener in [Listener::Data, Listener::Admin] {
            self.connections.with_label_values(&[listener.label()]);
        }
        for reason in ["connections", "heads"] {
            self.connections_refused.with_label_values(&[reason]);
        }
        self.cache_entries.with_label_values(&[MEMORY]);
        self.cache_bytes.with_label_values(&[MEMORY]);
    }
}
