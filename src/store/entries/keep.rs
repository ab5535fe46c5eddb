//! How entries come in, and what is learned of them later.

use super::{Entries, Key, Kind, NewEntry, Use, kind};
use crate::store::{Error, Statement, Value, Work};
use std::collections::{BTreeMap, BTreeSet};

/// Entries in one statement. Always a power of two: seven statements are prepared for any number of them.
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
        let kinds = self.kinds(&mut work, new.iter().map(|entry| &entry.kind).collect()).await?;
        let mut rest = &new[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(at_once(rest));
            work.change(self.keep_statement(now, &kinds)?).await?;
            rest = later;
        }
        work.done().await
    }

    fn keep_statement<'a>(
        &self,
        new: &[&NewEntry<'a>],
        kinds: &BTreeMap<Kind<'static>, i64>,
    ) -> Result<Statement<'a>, Error> {
        let row = |entry: &&NewEntry<'a>| -> Result<[Value<'a>; 8], Error> {
            let kind = kinds.get(&entry.kind).ok_or_else(|| Error::nonsense("a kind without a number"))?;
            let bytes = entry.sealed.len() as i64;
            let (stored, expires) = (entry.stored.into(), entry.expires.into());
            let sealed = Value::Bytes(entry.sealed);
            Ok([
                entry.key[..].into(),
                (*kind).into(),
                bytes.into(),
                0.into(),
                stored,
                expires,
                stored,
                sealed,
            ])
        };
        let rows = new.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        let Entries { table, .. } = self;
        Ok(Statement::new(format!(
            "INSERT INTO \"{table}\" (key, kind, bytes, hits, stored, expires, used, sealed) VALUES "
        ))
        .tuples(rows)
        .text(
            " ON CONFLICT (key) DO UPDATE SET kind = excluded.kind, bytes = excluded.bytes, \
             stored = excluded.stored, expires = excluded.expires, used = excluded.used, \
             sealed = excluded.sealed",
        ))
    }

    /// The number of each kind; those that are new get one.
    async fn kinds(
        &self,
        work: &mut Work,
        wanted: BTreeSet<&Kind<'_>>,
    ) -> Result<BTreeMap<Kind<'static>, i64>, Error> {
        let mut known = BTreeMap::new();
        for wanted in Vec::from_iter(wanted).chunks(ENTRIES_AT_ONCE) {
            known.extend(self.known_kinds(work, wanted).await?);
            let new: Vec<_> = wanted.iter().filter(|kind| !known.contains_key(**kind)).copied().collect();
            if new.is_empty() {
                continue;
            }
            let Entries { table, .. } = self;
            let statement = Statement::new(format!(
                "INSERT INTO \"{table}_kind\" (prefix, operation, model, digest, team) VALUES "
            ));
            let statement = statement.tuples(new.iter().map(|kind| kind.values()));
            work.change(statement.text(" ON CONFLICT DO NOTHING")).await?;
            known.extend(self.known_kinds(work, &new).await?);
        }
        Ok(known)
    }

    async fn known_kinds(
        &self,
        work: &mut Work,
        wanted: &[&Kind<'_>],
    ) -> Result<Vec<(Kind<'static>, i64)>, Error> {
        let Entries { table, .. } = self;
        let statement = Statement::new(format!(
            "SELECT id, prefix, operation, model, digest, team FROM \"{table}_kind\" \
             WHERE (prefix, operation, model, digest, team) IN (VALUES "
        ));
        let statement = statement.tuples(wanted.iter().map(|kind| kind.values())).text(")");
        work.rows(statement).await?.iter().map(|row| Ok((kind(row, 1)?, row.number(0)?))).collect()
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

/// How many of the first go into one statement.
fn at_once(new: &[&NewEntry<'_>]) -> usize {
    let fits = |count: &usize| {
        *count <= new.len()
            && new[..*count].iter().map(|entry| entry.sealed.len()).sum::<usize>() <= BYTES_AT_ONCE
    };
    let sizes = std::iter::successors(Some(ENTRIES_AT_ONCE), |count| Some(count / 2));
    sizes.take_while(|count| *count > 1).find(fits).unwrap_or(1)
}
