//! The numbers by which rows and sums call their names.

use super::write::powers_of_two;
use crate::store::{Error, Statement, Trouble, Value, Work};
use std::collections::BTreeMap;

/// Names in one statement.
const AT_ONCE: usize = 64;

/// The number of each of `names`; those that are new get one.
pub(super) async fn ids<const N: usize>(
    work: &mut Work,
    table: &str,
    columns: [&str; N],
    names: &[[String; N]],
) -> Result<Vec<i64>, Error> {
    let columns = columns.join(", ");
    let mut known = BTreeMap::new();
    for names in names.chunks(AT_ONCE) {
        known.extend(known_ids(work, table, &columns, names.iter()).await?);
        let mut new: Vec<&[String; N]> = names.iter().filter(|name| !known.contains_key(&name[..])).collect();
        if new.is_empty() {
            continue;
        }
        new.sort();
        let statement = Statement::new(format!("INSERT INTO {table} ({columns}) VALUES "));
        let statement = statement.tuples(new.iter().map(|name| values(name)));
        work.change(statement.text(" ON CONFLICT DO NOTHING")).await?;
        known.extend(known_ids(work, table, &columns, new.into_iter()).await?);
    }
    if work.is_remote() {
        attest(work, table, &columns, &known).await?;
    }
    let id = |name: &[String; N]| known.get(&name[..]).copied();
    names.iter().map(|name| id(name).ok_or_else(|| Error::nonsense("a name without a number"))).collect()
}

/// Sees to it that nothing is written where the database itself has other numbers for these names: one that came over
/// the wire as another would put what one consumer took into another's books, and no sum would tell.
async fn attest(
    work: &mut Work,
    table: &str,
    columns: &str,
    known: &BTreeMap<Vec<String>, i64>,
) -> Result<(), Error> {
    let known: Vec<_> = known.iter().collect();
    for known in powers_of_two(&known) {
        // To divide by zero ends the transaction, whatever comes back of that.
        let mut statement = Statement::new(format!(
            "SELECT 1 / CASE count(*) WHEN {} THEN 1 ELSE 0 END FROM {table} WHERE (id, {columns}) IN (VALUES ",
            known.len()
        ));
        for (n, (name, id)) in known.iter().enumerate() {
            let name = name.iter().map(|part| Value::Text(part));
            let separated = statement.text(if n > 0 { ", " } else { "" });
            statement = separated.list([Value::Number(**id)].into_iter().chain(name));
        }
        let attested = work.rows(statement.text(")")).await;
        attested.map_err(|error| match error.trouble {
            Trouble::Refused => Error::nonsense("names whose numbers came back as others"),
            _ => error,
        })?;
    }
    Ok(())
}

async fn known_ids<'a, const N: usize>(
    work: &mut Work,
    table: &str,
    columns: &str,
    names: impl Iterator<Item = &'a [String; N]>,
) -> Result<Vec<(Vec<String>, i64)>, Error> {
    let statement =
        Statement::new(format!("SELECT id, {columns} FROM {table} WHERE ({columns}) IN (VALUES "));
    let rows = work.rows(statement.tuples(names.map(values)).text(")")).await?;
    let read = |row: &crate::store::Row| {
        let name = (1..=N).map(|column| row.text(column)).collect::<Result<Vec<_>, _>>()?;
        Ok((name, row.number(0)?))
    };
    rows.iter().map(read).collect()
}

fn values<const N: usize>(name: &[String; N]) -> [Value<'_>; N] {
    std::array::from_fn(|at| Value::Text(&name[at]))
}
