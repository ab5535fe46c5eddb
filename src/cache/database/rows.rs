//! Parcels as rows of the database, and rows as what a tier answers.

use crate::cache::{CacheKey, Label, Listing, Parcel, Prefix, Selection, Tally};
use crate::domain::Operation;
use crate::store::entries::{Amount, Filter, Kind, KnownEntry, NewEntry};
use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Since 1970; what was before is 0.
pub(super) fn milliseconds(moment: SystemTime) -> i64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn new_entry(parcel: &Parcel) -> NewEntry<'_> {
    let Parcel { key, label, sealed, stored, expires } = parcel;
    let Label { prefix, operation, model, digest, team } = label;
    NewEntry {
        key: &key.0,
        kind: Kind {
            prefix: Cow::Borrowed(prefix.label()),
            operation: Cow::Borrowed(operation.label()),
            model: Cow::Borrowed(model),
            digest: Cow::Borrowed(digest),
            team: Cow::Borrowed(team),
        },
        stored: milliseconds(*stored),
        expires: milliseconds(*expires),
        sealed,
    }
}

pub(super) fn filter(selection: &Selection, now: i64) -> Filter<'_> {
    let Selection { key, prefix, model, team, expired } = selection;
    Filter {
        key: key.as_ref().map(|key| &key.0),
        prefix: prefix.map(Prefix::label),
        model: model.as_deref(),
        team: team.as_deref(),
        ended: expired.then_some(now),
        after: None,
    }
}

/// `None` for what only a newer Pannier knows.
pub(super) fn tally((kind, amount): (Kind<'static>, Amount)) -> Option<Tally> {
    let Amount { entries, bytes } = amount;
    let Label { prefix, operation, model, team, .. } = label(kind)?;
    Some(Tally { prefix, operation, model, team, entries, bytes })
}

/// `None` for what only a newer Pannier knows.
pub(super) fn listing(entry: KnownEntry) -> Option<Listing> {
    let KnownEntry { key, kind, bytes, hits, stored, expires, used } = entry;
    Some(Listing {
        key: CacheKey(key),
        label: label(kind)?,
        bytes,
        hits,
        stored: moment(stored),
        expires: moment(expires),
        last_used: moment(used),
    })
}

fn label(kind: Kind<'static>) -> Option<Label> {
    let Kind { prefix, operation, model, digest, team } = kind;
    Some(Label {
        prefix: Prefix::named(&prefix)?,
        operation: Operation::named(&operation)?,
        model: model.into(),
        digest: digest.into(),
        team: team.into(),
    })
}

fn moment(milliseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default())
}
