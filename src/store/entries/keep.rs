//! How entries come in, and what is learned of them later.

use super::{Entries, Key, Kind, NewEntry, Use};
use crate::store::{Error, Statement, Value, Work};
use std::collections::{BTreeMap, BTreeSet};

/// Entries in one statement. Always a power of two, as the kinds of one are: few statements are prepared for any number
/// of them.
const ENTRIES_AT_ONCE: usize = 64;
/// Bytes in one statement, beyond which it takes fewer entries.
const BYTES_AT_ONCE: usize = 4 << 20;
/// Uses in one statement.
const USES_AT_ONCE: usize = 512;

impl Entries {
    /// Keeps all of `new` or none; of two under one key the later one. What was kept under a key before is
    /// replaced, and only its hits stay.
    pub async fn keep(&self, new: &[NewEntry<'_>]) -> Result<(), Error> {
        // By key: two who write the same entries at the same time must not lock them crosswise.
        let new: BTreeMap<&Key, &NewEntry<'_>> = new.iter().map(|entry| (entry.key, entry)).collect();
        let new: Vec<&NewEntry<'_>> = new.into_values().collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut work = self.store.write().await?;
        self.number_kinds(&mut work, &new).await?;
        let mut rest = &new[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(at_once(rest));
            work.change(self.keep_statement(now)).await?;
            rest = later;
        }
        work.done().await
    }

    /// The number of a kind never leaves the database: one that came over a wire and was another would put an
    /// entry where nobody counts or removes it.
    fn keep_statement<'a>(&self, new: &[&'a NewEntry<'a>]) -> Statement<'a> {
        let kinds = kinds(new);
        let place = |kind: &Kind<'_>| kinds.partition_point(|known| *known < kind) as i64;
        let entry = |entry: &&'a NewEntry<'a>| -> [Value<'a>; 6] {
            let NewEntry { key, kind, stored, expires, sealed } = *entry;
            let (key, place, bytes) = (key[..].into(), place(kind).into(), (sealed.len() as i64).into());
            [key, place, bytes, (*stored).into(), (*expires).into(), Value::Bytes(sealed)]
        };
        // Filled up to a power of two with the last, under numbers that nobody asks for, as in `find`.
        let last = kinds[kinds.len() - 1];
        let filled =
            kinds.iter().copied().chain(std::iter::repeat(last)).take(kinds.len().next_power_of_two());
        let kind = |(place, kind): (usize, &'a Kind<'a>)| {
            let [prefix, operation, model, digest, team] = kind.values();
            [(place as i64).into(), prefix, operation, model, digest, team]
        };
        let Entries { table, .. } = self;
        // No join: the rows come in the order in which they stand here.
        Statement::new("WITH kinds (place, prefix, operation, model, digest, team) AS (VALUES ")
            .tuples(filled.enumerate().map(kind))
            .text(&format!(
                "), numbers AS MATERIALIZED (SELECT kinds.place, k.id FROM kinds JOIN \"{table}_kind\" AS k \
                 ON (k.prefix, k.operation, k.model, k.digest, k.team) \
                 = (kinds.prefix, kinds.operation, kinds.model, kinds.digest, kinds.team)), \
                 new (key, place, bytes, stored, expires, sealed) AS (VALUES "
            ))
            .tuples(new.iter().map(entry))
            .text(&format!(
                ") INSERT INTO \"{table}\" (key, kind, bytes, hits, stored, expires, used, sealed) \
                 SELECT key, (SELECT id FROM numbers WHERE numbers.place = new.place), bytes, 0, stored, \
                 expires, stored, sealed FROM new WHERE true \
                 ON CONFLICT (key) DO UPDATE SET kind = excluded.kind, bytes = excluded.bytes, \
                 stored = excluded.stored, expires = excluded.expires, used = excluded.used, \
                 sealed = excluded.sealed"
            ))
    }

    /// Gives each kind of these a number that has none.
    async fn number_kinds(&self, work: &mut Work, new: &[&NewEntry<'_>]) -> Result<(), Error> {
        let Entries { table, .. } = self;
        let columns = "prefix, operation, model, digest, team";
        for kinds in kinds(new).chunks(ENTRIES_AT_ONCE) {
            let known = Statement::new(format!(
                "SELECT count(*) FROM \"{table}_kind\" WHERE ({columns}) IN (VALUES "
            ));
            let known = known.tuples(kinds.iter().map(|kind| kind.values())).text(")");
            let known = work.rows(known).await?;
            if known.first().map(|row| row.count(0)).transpose()? == Some(kinds.len() as u64) {
                continue;
            }
            let new = Statement::new(format!("INSERT INTO \"{table}_kind\" ({columns}) VALUES "));
            let new = new.tuples(kinds.iter().map(|kind| kind.values()));
            work.change(new.text(" ON CONFLICT DO NOTHING")).await?;
        }
        Ok(())
    }

    /// Adds to the hits of those of `uses` that are still there, all or none.
    pub async fn note(&self, uses: &BTreeMap<Key, Use>) -> Result<(), Error> {
        if uses.is_empty() {
            return Ok(());
        }
        let uses: Vec<_> = uses.iter().collect();
        let mut work = self.store.write().await?;
        for uses in uses.chunks(USES_AT_ONCE) {
            work.change(self.note_statement(uses)).await?;
        }
        work.done().await
    }

    fn note_statement<'a>(&self, uses: &[(&'a Key, &Use)]) -> Statement<'a> {
        let row = |(key, Use { hits, last }): &(&'a Key, &Use)| {
            [key[..].into(), i64::from(*hits).into(), (*last).into()]
        };
        let Entries { table, .. } = self;
        // In the order in which others lock them that keep; a join alone takes them in any.
        let lock = if self.store.is_postgres() { " ORDER BY e.key FOR NO KEY UPDATE OF e" } else { "" };
        Statement::new("WITH uses (key, hits, last) AS (VALUES ").tuples(uses.iter().map(row)).text(&format!(
            "), met AS MATERIALIZED (SELECT e.id, uses.hits, uses.last FROM \"{table}\" AS e \
                 JOIN uses ON uses.key = e.key{lock}) \
             UPDATE \"{table}\" SET hits = \"{table}\".hits + met.hits, \
                 used = CASE WHEN met.last > used THEN met.last ELSE used END \
             FROM met WHERE \"{table}\".id = met.id"
        ))
    }
}

/// Of which kinds these are, each once and in order.
fn kinds<'a>(new: &[&'a NewEntry<'a>]) -> Vec<&'a Kind<'a>> {
    let kinds: BTreeSet<_> = new.iter().map(|entry| &entry.kind).collect();
    kinds.into_iter().collect()
}

/// How many of the first go into one statement.
fn at_once(new: &[&NewEntry<'_>]) -> usize {
    let fits = |count: &usize| {
        *count <= new.len()
            && new[..*count].iter().map(|entry| entry.sealed.len()).sum::<usize>() <= BYTES_AT_ONCE
    };
    let sizes = std::iter::successors(Some(ENTRIES_AT_ONCE), |count| Some(count / 2));
    sizes.take_while(|count| *count > 1).find(fits).unwrap_or(1)
}
