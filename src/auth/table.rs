//! The keys of the database, by their digests: immutable, replaced as a whole when one has changed.

use super::Terms;
use crate::domain::{Consumer, Error, Kind, Limits};
use crate::store::keys::{Digest, KeyRow};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// All of them.
#[derive(Default)]
pub struct Table {
    slots: HashMap<Digest, Slot>,
    /// Which the database has given it; 0 while it has not been read.
    pub version: i64,
}

/// A key, or the one that it has replaced, which is good until then. 0 is no end.
struct Slot {
    key: Arc<StoredKey>,
    until: i64,
}

/// What is known of a key.
pub struct StoredKey {
    id: Box<str>,
    consumer: Arc<Consumer>,
    limits: Option<Arc<Limits>>,
    is_admin: bool,
    is_disabled: bool,
    expires: i64,
    uses: Arc<Uses>,
}

/// When a key was used last, and what of that has been written down.
#[derive(Default)]
struct Uses {
    last: AtomicI64,
    written: AtomicI64,
}

/// A table that is being put together, row by row.
pub struct Drawing<'t> {
    terms: &'t Terms,
    /// By their ids. Whoever has not changed is taken over as a whole.
    before: HashMap<&'t str, &'t Arc<StoredKey>>,
    teams: HashSet<Arc<str>>,
    slots: HashMap<Digest, Slot>,
}

impl<'t> Drawing<'t> {
    /// `before` was drawn on the same terms, and knows of uses that the database has not been told yet.
    pub fn new(terms: &'t Terms, before: &'t Table) -> Self {
        let keys = before.slots.values().map(|slot| (&*slot.key.id, &slot.key));
        let slots = HashMap::with_capacity(before.slots.len());
        Drawing { terms, before: keys.collect(), teams: HashSet::new(), slots }
    }

    pub fn add(&mut self, row: &KeyRow) {
        let known = self.before.get(row.id.as_str()).copied();
        let key = match known.filter(|key| key.is_still(row)) {
            Some(key) => key.clone(),
            None => self.key(row, known.map(|key| &key.uses)),
        };
        if let Some((digest, until)) = row.old {
            self.slots.insert(digest, Slot { key: key.clone(), until });
        }
        self.slots.insert(row.digest, Slot { key, until: 0 });
    }

    pub fn done(mut self, version: i64) -> Table {
        self.slots.shrink_to_fit();
        Table { slots: self.slots, version }
    }

    fn key(&mut self, row: &KeyRow, uses: Option<&Arc<Uses>>) -> Arc<StoredKey> {
        let team = self.teams.get(row.team.as_str()).cloned().unwrap_or_else(|| {
            let team: Arc<str> = row.team.as_str().into();
            self.teams.insert(team.clone());
            team
        });
        let limits = Limits { models: row.models.clone(), routes: row.routes.clone() };
        let limits = (!limits.are_none()).then(|| Arc::new(limits));
        Arc::new(StoredKey {
            id: row.id.as_str().into(),
            consumer: Arc::new(self.terms.consumer(row.name.as_str().into(), team, limits.as_ref())),
            limits,
            is_admin: row.is_admin,
            is_disabled: row.is_disabled,
            expires: row.expires,
            uses: uses.cloned().unwrap_or_else(|| Uses::of(row.used)),
        })
    }
}

impl Table {
    /// The same keys, where other terms hold.
    pub fn under(&self, terms: &Terms) -> Self {
        let again = |slot: &Slot| {
            let old = &slot.key;
            let Consumer { name, team, .. } = &*old.consumer;
            let key = Arc::new(StoredKey {
                id: old.id.clone(),
                consumer: Arc::new(terms.consumer(name.clone(), team.clone(), old.limits.as_ref())),
                limits: old.limits.clone(),
                is_admin: old.is_admin,
                is_disabled: old.is_disabled,
                expires: old.expires,
                uses: old.uses.clone(),
            });
            Slot { key, until: slot.until }
        };
        let slots = self.slots.iter().map(|(digest, slot)| (*digest, again(slot))).collect();
        Table { slots, version: self.version }
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the database has been read.
    pub fn is_read(&self) -> bool {
        self.version > 0
    }

    /// Whose key it is whose digest this is. The key of one that is of no more use is `None`, too, where it was
    /// replaced: nobody can tell it from one that never was.
    ///
    /// # Errors
    /// Why a known key is not good at `now`, milliseconds since 1970.
    pub fn find(&self, digest: &Digest, now: i64) -> Option<Result<&Arc<StoredKey>, Error>> {
        let Slot { key, until } = self.slots.get(digest)?;
        if *until != 0 && now >= *until {
            return None;
        }
        Some(key.judge(now).map(|()| key))
    }

    pub fn consumers(&self) -> impl Iterator<Item = &Arc<Consumer>> {
        self.slots.values().filter(|slot| slot.until == 0).map(|slot| &slot.key.consumer)
    }

    /// Ids of keys that were used since that was written down last, and when.
    pub fn unwritten_uses(&self) -> Vec<(&str, i64)> {
        let current = self.slots.values().filter(|slot| slot.until == 0);
        current.filter_map(|slot| Some((&*slot.key.id, slot.key.uses.unwritten()?))).collect()
    }

    /// What [`Table::unwritten_uses`] told has been written down.
    pub fn uses_are_written(&self, written: &[(&str, i64)]) {
        let written: HashMap<&str, i64> = written.iter().copied().collect();
        for Slot { key, .. } in self.slots.values() {
            if let Some(at) = written.get(&*key.id) {
                key.uses.written.fetch_max(*at, Ordering::Relaxed);
            }
        }
    }

    /// When keys were used last, by their ids.
    pub fn uses(&self) -> HashMap<&str, i64> {
        let last = |slot: &Slot| slot.key.uses.last.load(Ordering::Relaxed);
        self.slots.values().map(|slot| (&*slot.key.id, last(slot))).collect()
    }
}

impl StoredKey {
    /// Whether it is as `row` says.
    fn is_still(&self, row: &KeyRow) -> bool {
        let Consumer { name, team, .. } = &*self.consumer;
        let (models, routes): (&[String], &[String]) =
            self.limits.as_ref().map_or((&[], &[]), |limits| (&limits.models, &limits.routes));
        (&**name, &**team, models, routes) == (&*row.name, &*row.team, &*row.models, &*row.routes)
            && (self.is_admin, self.is_disabled, self.expires) == (row.is_admin, row.is_disabled, row.expires)
    }

    pub fn consumer(&self) -> &Arc<Consumer> {
        &self.consumer
    }

    pub fn is_admin(&self) -> bool {
        self.is_admin
    }

    /// It is being used.
    pub fn note_use(&self, now: i64) {
        // Most uses fall into a second that is known already: what many read is not written then.
        if now - self.uses.last.load(Ordering::Relaxed) >= 1000 {
            self.uses.last.fetch_max(now, Ordering::Relaxed);
        }
    }

    fn judge(&self, now: i64) -> Result<(), Error> {
        if self.is_disabled {
            return Err(Error::new(Kind::KeyDisabled, "this API key is disabled"));
        }
        if self.expires != 0 && now >= self.expires {
            return Err(Error::new(Kind::KeyExpired, "this API key has expired"));
        }
        Ok(())
    }
}

impl Uses {
    fn of(used: i64) -> Arc<Self> {
        Arc::new(Uses { last: AtomicI64::new(used), written: AtomicI64::new(used) })
    }

    fn unwritten(&self) -> Option<i64> {
        let last = self.last.load(Ordering::Relaxed);
        (last > self.written.load(Ordering::Relaxed)).then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Config, Mode, Sharing};
    use crate::domain::Hidden;

    fn row(number: u8) -> KeyRow {
        KeyRow {
            id: format!("key_{number}"),
            name: format!("name-{number}"),
            team: "lab".into(),
            start: "pannier_abcdef".into(),
            is_admin: false,
            digest: [number; 32],
            old: None,
            expires: 0,
            is_disabled: false,
            created: 1,
            rotated: 0,
            used: 0,
            models: Vec::new(),
            routes: Vec::new(),
        }
    }

    fn terms(scope: Sharing) -> Terms {
        let (keys, teams, management) = (Vec::new(), Vec::new(), Vec::new());
        Terms::of(&Config { mode: Mode::Open, scope, keys, teams, management, admin_key: Hidden::default() })
    }

    fn drawn(version: i64, rows: &[KeyRow], before: &Table) -> Table {
        let terms = terms(Sharing::Team);
        let mut drawing = Drawing::new(&terms, before);
        rows.iter().for_each(|row| drawing.add(row));
        drawing.done(version)
    }

    fn table(rows: &[KeyRow]) -> Table {
        drawn(1, rows, &Table::default())
    }

    fn found(table: &Table, digest: u8, now: i64) -> Option<Result<&str, Kind>> {
        let found = table.find(&[digest; 32], now)?;
        Some(found.map(|key| &*key.consumer.name).map_err(|error| error.kind))
    }

    #[test]
    fn a_key_has_its_time() {
        let table = table(&[
            KeyRow { expires: 100, ..row(1) },
            KeyRow { is_disabled: true, expires: 100, ..row(2) },
            KeyRow { old: Some(([9; 32], 50)), ..row(3) },
        ]);
        assert_eq!(found(&table, 1, 99), Some(Ok("name-1")));
        assert_eq!(found(&table, 1, 100), Some(Err(Kind::KeyExpired)));
        assert_eq!(found(&table, 2, 500), Some(Err(Kind::KeyDisabled)));
        assert_eq!(found(&table, 3, 500), Some(Ok("name-3")));
        assert_eq!(found(&table, 9, 49), Some(Ok("name-3")), "the old one has its grace");
        assert_eq!(found(&table, 9, 50), None, "and then it is as if it had never been");
        assert_eq!(found(&table, 4, 0), None);
        assert_eq!(table.consumers().count(), 3);
    }

    #[test]
    fn uses_are_not_lost_when_the_table_is_replaced() {
        let old = table(&[row(1), row(2)]);
        let use_at = |table: &Table, digest: u8, now| {
            table.find(&[digest; 32], now).unwrap().unwrap().note_use(now);
        };
        use_at(&old, 1, 5_000);
        let new = drawn(2, &[row(1), KeyRow { expires: 100_000, ..row(2) }], &old);
        // Whoever still has the old table counts as well.
        use_at(&old, 2, 6_000);
        assert!(Arc::ptr_eq(&new.slots[&[1; 32]].key, &old.slots[&[1; 32]].key), "taken over");
        assert!(!Arc::ptr_eq(&new.slots[&[2; 32]].key, &old.slots[&[2; 32]].key), "changed");
        let mut uses = new.unwritten_uses();
        uses.sort_unstable();
        assert_eq!(uses, [("key_1", 5_000), ("key_2", 6_000)]);
        new.uses_are_written(&uses);
        assert_eq!(new.unwritten_uses(), []);
        use_at(&new, 1, 5_500);
        assert_eq!(new.unwritten_uses(), [], "no sooner than a second later");
        use_at(&new, 1, 6_100);
        assert_eq!(new.unwritten_uses(), [("key_1", 6_100)]);
    }

    #[test]
    fn who_shares_answers_can_change() {
        let team = table(&[row(1), KeyRow { old: Some(([9; 32], 50)), ..row(2) }]);
        let scopes = |table: &Table| -> HashSet<_> { table.consumers().map(|one| one.scope.0).collect() };
        assert_eq!(scopes(&team).len(), 1);
        let each = team.under(&terms(Sharing::Key));
        assert_eq!(scopes(&each).len(), 2);
        assert_eq!(found(&each, 9, 49), Some(Ok("name-2")));
        assert_eq!(scopes(&each.under(&terms(Sharing::Team))), scopes(&team));
    }
}
