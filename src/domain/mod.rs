//! The nouns: what passes through Pannier, free of any wire format, socket or framework.
//!
//! Imports nothing of the house. Everybody may import it.

mod budget;
mod call;
mod complaint;
mod consumer;
mod credential;
mod embedding;
mod error;
mod film;
pub mod hex;
mod hidden;
pub mod moment;
mod money;
mod nearest;
mod numbered;
mod reason;
mod record;
mod rights;
mod template;
mod transcript;
pub mod units;
mod usage;

pub use budget::{Budget, Share};
pub use call::{Call, Certainty, Fingerprint, Operation, Storable};
pub use complaint::{Complaint, LONGEST_COMPLAINT};
pub use consumer::{Consumer, Scope};
pub use credential::bearer;
pub use embedding::{Embedding, Item, Texts};
pub use error::{Error, Kind};
pub use film::Film;
pub use hidden::Hidden;
pub use money::{InvalidMoney, Money};
pub use nearest::nearest;
pub use reason::Reason;
pub use record::{CacheOutcome, CallFacts, Ended, Ending, Payer, Record, RequestId, Route, Settled, Trip};
pub use rights::{Limits, Rights, unfit_route};
pub use template::{Pour, Slot, SlotKind, Template};
pub use transcript::{Close, Passage, Segment, Word};
pub use usage::{Durations, FinishReason, Observed, Source, Usage};
