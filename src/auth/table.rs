//! The keys of the database, by their digests: immutable, replaced as a whole when one has changed.

use super::Terms;
use crate::domain::{Consumer, Error, Kind, Limits};
use crate::store::keys::{Changed, Digest, KeyRow};
use hashbrown::HashTable;
use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// All of them. What has not changed is shared with the table before.
#[derive(Default)]
pub struct Table {
    keys: HashTable<Arc<StoredKey>>,
    /// Those that were replaced, by their digests, and until when each is good yet.
    old: HashMap<Digest, (Arc<StoredKey>, i64)>,
    /// Which the database has given it; 0 while it has not been read.
    pub version: i64,
}

/// What is known of a key.
pub struct StoredKey {
    digest: Digest,
    id: Box<str>,
    consumer: Arc<Consumer>,
    /// The consumer's first limits are its own, not its team's.
    is_limited: bool,
    is_admin: bool,
    is_disabled: bool,
    /// A key of the settings has its name by now.
    is_shadowed: bool,
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
    /// Whoever has not changed is taken over as a whole.
    before: &'t Table,
    /// The same in the order of ids: only where some have other digests now.
    by_id: Option<Vec<&'t Arc<StoredKey>>>,
    /// Many keys have the same.
    teams: HashSet<Arc<str>>,
    limits: HashSet<Arc<Limits>>,
    table: Table,
}

impl<'t> Drawing<'t> {
    /// `before` was drawn on the same terms, and knows of uses that the database has not been told yet.
    /// There will be about `number` keys: with room for them from the beginning, none is left behind by growing.
    pub fn new(terms: &'t Terms, before: &'t Table, number: usize) -> Self {
        let table = Table { keys: HashTable::with_capacity(number), ..Table::default() };
        Drawing { terms, before, by_id: None, teams: HashSet::new(), limits: HashSet::new(), table }
    }

    /// The table with what has `changed`, and the rest of it as it was.
    pub fn of_changed(terms: &'t Terms, before: &'t Table, changed: &Changed) -> Table {
        let is_same = |key: &StoredKey| !changed.ids.contains(&*key.id);
        let mut drawing = Drawing::new(terms, before, before.keys.len());
        drawing.table.keys.clone_from(&before.keys);
        drawing.table.keys.retain(|key| is_same(key));
        drawing.by_id = Some(by_id(before.keys.iter().filter(|key| !is_same(key))));
        let old = before.old.iter().filter(|(_, (key, _))| is_same(key));
        drawing.table.old = old.map(|(digest, old)| (*digest, old.clone())).collect();
        changed.rows.iter().for_each(|row| drawing.add(row));
        drawing.done(changed.version)
    }

    pub fn add(&mut self, row: &KeyRow) {
        let known = self.known(row);
        let key = match known.filter(|key| key.is_still(row)) {
            Some(key) => key.clone(),
            None => self.key(row, known.map(|key| &key.uses)),
        };
        if let Some((digest, until)) = row.old {
            self.table.old.insert(digest, (key.clone(), until));
        }
        self.table.put(key);
    }

    pub fn done(mut self, version: i64) -> Table {
        self.table.keys.shrink_to_fit(|key| hash(&key.digest));
        Table { version, ..self.table }
    }

    /// What was known of the key of this row. One that was never rotated has the digest that it always had.
    fn known(&mut self, row: &KeyRow) -> Option<&'t Arc<StoredKey>> {
        let found = self.before.current(&row.digest).filter(|key| *key.id == *row.id);
        if found.is_some() || row.rotated == 0 {
            return found;
        }
        let by_id = self.by_id.get_or_insert_with(|| by_id(self.before.keys.iter()));
        let at = by_id.binary_search_by_key(&row.id.as_str(), |key| &key.id).ok()?;
        Some(by_id[at])
    }

    fn key(&mut self, row: &KeyRow, uses: Option<&Arc<Uses>>) -> Arc<StoredKey> {
        let team = shared(&mut self.teams, row.team.as_str());
        let limits = Limits { models: row.models.clone(), routes: row.routes.clone() };
        let limits = (!limits.are_none()).then(|| shared(&mut self.limits, limits));
        Arc::new(StoredKey {
            digest: row.digest,
            id: row.id.as_str().into(),
            consumer: Arc::new(self.terms.consumer(row.name.as_str().into(), team, limits.as_ref())),
            is_limited: limits.is_some(),
            is_admin: row.is_admin,
            is_disabled: row.is_disabled,
            is_shadowed: self.terms.has(&row.name),
            expires: row.expires,
            uses: uses.cloned().unwrap_or_else(|| Uses::of(row.used)),
        })
    }
}

fn by_id<'t>(keys: impl Iterator<Item = &'t Arc<StoredKey>>) -> Vec<&'t Arc<StoredKey>> {
    let mut keys: Vec<_> = keys.collect();
    keys.sort_unstable_by_key(|key| &key.id);
    keys
}

/// `new`, or what is the same.
fn shared<K: ?Sized + Eq + Hash, T: Into<Arc<K>> + Borrow<K>>(known: &mut HashSet<Arc<K>>, new: T) -> Arc<K> {
    known.get(new.borrow()).cloned().unwrap_or_else(|| {
        let new = new.into();
        known.insert(new.clone());
        new
    })
}

/// A digest is as good as any hash.
fn hash(digest: &Digest) -> u64 {
    digest.first_chunk().map_or(0, |start| u64::from_le_bytes(*start))
}

impl Table {
    /// The same keys, where other terms hold.
    pub fn under(&self, terms: &Terms) -> Self {
        let again = |old: &StoredKey| {
            let Consumer { name, team, .. } = &*old.consumer;
            Arc::new(StoredKey {
                digest: old.digest,
                id: old.id.clone(),
                consumer: Arc::new(terms.consumer(name.clone(), team.clone(), old.limits())),
                is_limited: old.is_limited,
                is_admin: old.is_admin,
                is_disabled: old.is_disabled,
                is_shadowed: terms.has(name),
                expires: old.expires,
                uses: old.uses.clone(),
            })
        };
        let keys = HashTable::with_capacity(self.keys.len());
        let mut table = Table { keys, old: HashMap::new(), version: self.version };
        self.keys.iter().for_each(|key| table.put(again(key)));
        let old = self.old.iter().filter_map(|(digest, (key, until))| {
            Some((*digest, (table.current(&key.digest)?.clone(), *until)))
        });
        table.old = old.collect();
        table
    }

    fn put(&mut self, key: Arc<StoredKey>) {
        let digest = key.digest;
        self.keys
            .entry(hash(&digest), |other| other.digest == digest, |other| hash(&other.digest))
            .insert(key);
    }

    /// The key of this digest, unless it was replaced.
    fn current(&self, digest: &Digest) -> Option<&Arc<StoredKey>> {
        self.keys.find(hash(digest), |key| key.digest == *digest)
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn len(&self) -> usize {
        self.keys.len() + self.old.len()
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
        let key = self.current(digest).or_else(|| {
            let (key, until) = self.old.get(digest)?;
            (now < *until).then_some(key)
        })?;
        Some(key.judge(now).map(|()| key))
    }

    /// Names of keys that are of no use while keys of the settings have them.
    pub fn shadowed(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter(|key| key.is_shadowed).map(|key| &*key.consumer.name)
    }

    pub fn consumers(&self) -> impl Iterator<Item = &Arc<Consumer>> {
        self.keys.iter().map(|key| &key.consumer)
    }

    /// Keys that were used since that was written down last, and when.
    pub fn unwritten_uses(&self) -> Vec<(&StoredKey, i64)> {
        self.keys.iter().filter_map(|key| Some((&**key, key.uses.unwritten()?))).collect()
    }

    /// When the key of this row was used last.
    pub fn last_use(&self, row: &KeyRow) -> i64 {
        let known = self.current(&row.digest).filter(|key| *key.id == *row.id);
        known.map_or(row.used, |key| row.used.max(key.uses.last.load(Ordering::Relaxed)))
    }
}

impl StoredKey {
    /// Whether it is as `row` says.
    fn is_still(&self, row: &KeyRow) -> bool {
        let Consumer { name, team, .. } = &*self.consumer;
        let (models, routes): (&[String], &[String]) =
            self.limits().map_or((&[], &[]), |limits| (&limits.models, &limits.routes));
        self.digest == row.digest
            && (&**name, &**team, models, routes) == (&*row.name, &*row.team, &*row.models, &*row.routes)
            && (self.is_admin, self.is_disabled, self.expires) == (row.is_admin, row.is_disabled, row.expires)
    }

    /// Its own.
    fn limits(&self) -> Option<&Arc<Limits>> {
        self.consumer.rights.limits().next().filter(|_| self.is_limited)
    }

    pub fn consumer(&self) -> &Arc<Consumer> {
        &self.consumer
    }

    pub fn id(&self) -> &str {
        &self.id
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

    /// Of its uses, those until then have been written down.
    pub fn uses_are_written(&self, until: i64) {
        self.uses.written.fetch_max(until, Ordering::Relaxed);
    }

    fn judge(&self, now: i64) -> Result<(), Error> {
        if self.is_disabled {
            return Err(Error::new(Kind::KeyDisabled, "this API key is disabled"));
        }
        if self.is_shadowed {
            let why = "this API key is disabled: another one has its name, in the settings";
            return Err(Error::new(Kind::KeyDisabled, why));
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
    use crate::auth::{Config, Key, Mode, Sharing};
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

    /// A key of the settings has this name.
    fn with_a_key(name: &str) -> Terms {
        let key = Key {
            name: name.into(),
            team: None,
            key: Hidden::new("sk-x"),
            models: Vec::new(),
            routes: Vec::new(),
        };
        let (mode, scope, teams, management) = (Mode::Open, Sharing::Team, Vec::new(), Vec::new());
        let admin_key = Hidden::default();
        Terms::of(&Config { mode, scope, keys: vec![key], teams, management, admin_key })
    }

    #[test]
    fn a_name_is_the_settings_before_it_is_anybody_elses() {
        let table = table(&[row(1), row(2)]);
        let shadowed = table.under(&with_a_key("name-2"));
        assert_eq!(found(&shadowed, 1, 0), Some(Ok("name-1")));
        assert_eq!(found(&shadowed, 2, 0), Some(Err(Kind::KeyDisabled)));
        assert_eq!(shadowed.shadowed().collect::<Vec<_>>(), ["name-2"]);
        let others = with_a_key("name-1");
        let mut drawing = Drawing::new(&others, &shadowed, 2);
        drawing.add(&KeyRow { team: "shop".into(), ..row(1) });
        assert_eq!(found(&drawing.done(2), 1, 0), Some(Err(Kind::KeyDisabled)));
        let again = shadowed.under(&terms(Sharing::Team));
        assert_eq!(found(&again, 2, 0), Some(Ok("name-2")));
    }

    fn drawn(version: i64, rows: &[KeyRow], before: &Table) -> Table {
        let terms = terms(Sharing::Team);
        let mut drawing = Drawing::new(&terms, before, rows.len());
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

    fn unwritten(table: &Table) -> Vec<(&str, i64)> {
        let mut uses: Vec<_> = table.unwritten_uses().into_iter().map(|(key, at)| (key.id(), at)).collect();
        uses.sort_unstable();
        uses
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
        let is_taken_over =
            |digest| Arc::ptr_eq(new.current(&[digest; 32]).unwrap(), old.current(&[digest; 32]).unwrap());
        assert!(is_taken_over(1) && !is_taken_over(2), "only one has changed");
        assert_eq!(unwritten(&new), [("key_1", 5_000), ("key_2", 6_000)]);
        new.unwritten_uses().into_iter().for_each(|(key, at)| key.uses_are_written(at));
        assert_eq!(unwritten(&new), []);
        use_at(&new, 1, 5_500);
        assert_eq!(unwritten(&new), [], "no sooner than a second later");
        use_at(&new, 1, 6_100);
        assert_eq!(unwritten(&new), [("key_1", 6_100)]);
    }

    #[test]
    fn what_has_not_changed_is_as_it_was() {
        let old = table(&[row(1), KeyRow { old: Some(([9; 32], 50)), ..row(2) }, row(3), row(4)]);
        old.find(&[3; 32], 0).unwrap().unwrap().note_use(5_000);
        let rotated = KeyRow { digest: [7; 32], rotated: 2, old: Some(([3; 32], 50)), ..row(3) };
        let (terms, ids) = (terms(Sharing::Team), ["key_2", "key_3", "key_5", "key_6"]);
        let ids = ids.into_iter().map(str::to_owned).collect();
        let changed = Changed { version: 8, ids, rows: vec![rotated, row(5)] };
        let new = Drawing::of_changed(&terms, &old, &changed);
        let is_found = |digest| found(&new, digest, 0).is_some();
        let all: Vec<u8> = (0..10).filter(|digest| is_found(*digest)).collect();
        assert_eq!((all, new.len(), new.version), (vec![1, 3, 4, 5, 7], 5, 8));
        assert_eq!(found(&new, 3, 50), None, "its time of grace is over");
        assert_eq!(unwritten(&new), [("key_3", 5_000)]);
        for same in [1, 4] {
            assert!(Arc::ptr_eq(new.current(&[same; 32]).unwrap(), old.current(&[same; 32]).unwrap()));
        }
    }

    #[test]
    fn nor_when_a_key_is_rotated() {
        let old = table(&[row(1), row(2), row(3)]);
        old.find(&[1; 32], 0).unwrap().unwrap().note_use(5_000);
        let rotated = KeyRow { digest: [7; 32], rotated: 2, ..row(1) };
        let new = drawn(2, &[rotated, row(2), row(3)], &old);
        assert_eq!(unwritten(&new), [("key_1", 5_000)]);
        assert_eq!((found(&new, 1, 0), found(&new, 7, 0)), (None, Some(Ok("name-1"))));
        // One of the same name that is another.
        let another = KeyRow { id: "key_9".into(), digest: [7; 32], rotated: 2, ..row(1) };
        assert_eq!(unwritten(&drawn(2, &[another, row(2)], &old)), []);
    }

    #[test]
    fn what_is_the_same_of_many_is_held_once() {
        let limited = |number| KeyRow { models: vec!["llama3*".into()], ..row(number) };
        let table = table(&[limited(1), limited(2), row(3)]);
        let key = |digest| table.current(&[digest; 32]).unwrap();
        assert!(Arc::ptr_eq(&key(1).consumer.team, &key(3).consumer.team));
        assert!(Arc::ptr_eq(key(1).limits().unwrap(), key(2).limits().unwrap()));
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
