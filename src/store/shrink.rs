//! A file that gives back what it does not need, without anybody having to stop.

use super::{Error, Statement, Work};
use std::time::{Duration, Instant};

/// Pages that a file gives back in one statement ...
const PAGES: i64 = 128;
/// ... and how long that goes on before others may write.
const GIVING_BACK: Duration = Duration::from_millis(100);

/// Gives pages of a file back to the system while an eighth of it is free.
pub(super) async fn give_back(mut work: Work) -> Result<(), Error> {
    let begun = Instant::now();
    let mut given = false;
    while is_mostly_free(&mut work).await? {
        if begun.elapsed() > GIVING_BACK {
            return work.done().await;
        }
        work.script(format!("PRAGMA incremental_vacuum({PAGES})")).await?;
        given = true;
    }
    if given {
        // The file itself shrinks once the log has been taken up.
        work.script("PRAGMA wal_checkpoint(PASSIVE)").await?;
    }
    work.done().await
}

/// Takes the write-ahead log up into the file, and cuts it off where all of it could be.
pub(super) async fn take_up(mut work: Work) -> Result<(), Error> {
    let rows = work.rows(Statement::new("PRAGMA wal_checkpoint(PASSIVE)")).await?;
    if let Some(row) = rows.first()
        && row.number(1)? == row.number(2)?
    {
        // Whoever still reads from it is waited for; whoever comes meanwhile reads from the file.
        work.script("PRAGMA wal_checkpoint(TRUNCATE)").await?;
    }
    work.done().await
}

async fn is_mostly_free(work: &mut Work) -> Result<bool, Error> {
    let pages = Statement::new(
        "SELECT f.freelist_count, p.page_count FROM pragma_freelist_count AS f, pragma_page_count AS p",
    );
    let rows = work.rows(pages).await?;
    let Some(row) = rows.first() else { return Ok(false) };
    let (free, all) = (row.number(0)?, row.number(1)?);
    Ok(free > PAGES && free * 8 > all)
}
