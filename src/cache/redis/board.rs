//! Notices on Redis: a stream that is cut short, and over by itself.

use super::super::board::{Board, KEPT, MOST};
use super::super::tier::Fault;
use super::Redis;
use async_trait::async_trait;

/// Of an item of the stream.
const FIELD: &str = "notice";
/// An item: its name, and its fields and their values.
type Item = (String, Vec<String>);

#[async_trait]
impl Board for Redis {
    async fn post(&self, notice: &str) -> Result<(), Fault> {
        let mut add = redis::cmd("XADD");
        add.arg(self.board_name()).arg("MAXLEN").arg("~").arg(MOST).arg("*").arg(FIELD).arg(notice);
        self.link.ask(&add).await?;
        let lasts = redis::cmd("EXPIRE").arg(self.board_name()).arg(KEPT.as_secs()).to_owned();
        self.link.ask(&lasts).await.map(drop)
    }

    async fn read(&self, last: &str) -> Result<Vec<(String, String)>, Fault> {
        let from = if last.is_empty() { "-" } else { last };
        let mut range = redis::cmd("XRANGE");
        range.arg(self.board_name()).arg(from).arg("+").arg("COUNT").arg(MOST);
        let items: Vec<Item> =
            redis::from_redis_value(self.link.ask(&range).await?).map_err(|_| Fault::Corrupt)?;
        let notice = |(name, fields): Item| Some((name, fields.into_iter().nth(1)?));
        Ok(items.into_iter().filter(|(name, _)| name != last).filter_map(notice).collect())
    }
}

impl Redis {
    fn board_name(&self) -> String {
        format!("{}notices", self.prefix)
    }
}
