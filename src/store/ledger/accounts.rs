//! Whose figures are in the books, by the names of keys.

use super::Account;
use super::names::ids;
use crate::store::{Error, Statement, Work};

/// Whether there are figures of a key of this name.
pub(in crate::store) async fn knows(work: &mut Work, name: &str) -> Result<bool, Error> {
    let found = Statement::new("SELECT team FROM ledger_account WHERE name = ").value(name);
    Ok(!work.rows(found.text(" LIMIT 1")).await?.is_empty())
}

/// Has this name known from now on, also while what its key has used is still on its way here.
pub(in crate::store) async fn note(work: &mut Work, account: Account) -> Result<(), Error> {
    ids(work, "ledger_account", ["name", "team"], &[account]).await.map(drop)
}
