//! What somebody thinks of an answer.

use super::{Figure, Row, Shifts, Sums};
use crate::store::{Error, Statement, Store};

/// What no rating is.
const NONE: i64 = 9;

/// Keeps `rating` (1, 0 or -1) of the request `id`, if it is in the books, and that of the key `owner` where one is
/// named. Whether it was.
///
/// # Errors
/// When the database fails.
pub async fn rate(store: &Store, id: &[u8; 16], owner: Option<&str>, rating: i64) -> Result<bool, Error> {
    let [head, tail] = Row::halves(id);
    let mut work = store.write().await?;
    let wanted = Statement::new(format!(
        "SELECT CAST(r.account AS BIGINT), CAST(r.subject AS BIGINT), \
         COALESCE(CAST(r.rating AS BIGINT), {NONE}), a.name \
         FROM ledger_row AS r JOIN ledger_account AS a ON a.id = r.account WHERE r.id_head = "
    ));
    let wanted = wanted.value(head).text(" AND r.id_tail = ").value(tail);
    let lock = if store.is_postgres() { " FOR UPDATE OF r" } else { "" };
    let found = work.rows(wanted.text(lock)).await?;
    let Some(row) = found.first() else { return work.done().await.map(|()| false) };
    if owner.is_some_and(|owner| row.text(3).is_ok_and(|name| name != owner)) {
        return work.done().await.map(|()| false);
    }
    let (account, subject, before) = (row.number(0)?, row.number(1)?, row.number(2)?);
    let change = Statement::new("UPDATE ledger_row SET rating = ").value(rating);
    work.change(change.text(" WHERE id_head = ").value(head).text(" AND id_tail = ").value(tail)).await?;
    let (new, old) = (figures(rating), figures(before));
    let mut shifts = Shifts::default();
    shifts.add(head, account, subject, &std::array::from_fn(|at| new[at] - old[at]));
    shifts.apply(&mut work).await?;
    work.done().await.map(|()| true)
}

fn figures(rating: i64) -> Sums {
    let mut sums = [0; Figure::COUNT];
    sums[Figure::Rated as usize] = (rating != NONE).into();
    sums[Figure::Liked as usize] = (rating == 1).into();
    sums[Figure::Disliked as usize] = (rating == -1).into();
    sums
}
