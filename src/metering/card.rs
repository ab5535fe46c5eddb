//! The rate card: prices that are set while Pannier runs, over those of the settings. They stand in a database that
//! other replicas may share; what has changed there is in force here a moment later, and while it is away what was
//! known last stays in force.

use super::config::{PriceConfig, PriceEntry};
use super::prices::{InvalidPrices, Origin, Price, Prices};
use super::reprice::Repricing;
use crate::domain::{Error, Kind};
use crate::store::prices::{Change, MOST, PriceRow, PriceTable};
use crate::store::{self, Trouble};
use arc_swap::ArcSwap;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// The prices of a database and of the settings, and what is in force of them.
pub struct RateCard {
    table: PriceTable,
    in_force: Arc<ArcSwap<Prices>>,
    sources: Mutex<Sources>,
    /// One reads at a time: nobody puts in force what is older than what is.
    reading: tokio::sync::Mutex<()>,
    /// Of what was read last; none before that.
    version: AtomicI64,
}

/// What the prices in force are made of.
#[derive(Clone)]
struct Sources {
    config: PriceConfig,
    stored: Vec<PriceRow>,
}

/// No book has it.
const UNREAD: i64 = -1;
/// How often it is looked whether another replica has changed something.
const LOOK: Duration = Duration::from_secs(2);
/// How long the database may take over a question.
const PATIENCE: Duration = Duration::from_secs(3);
/// What one replica has changed is in force at the others within 5 s, where the database answers at all.
const _: () = assert!(LOOK.as_secs() + PATIENCE.as_secs() <= 5);
/// How long it may take over a change, which can be of all prices that there may be.
const CHANGE: Duration = Duration::from_secs(30);

impl RateCard {
    /// # Errors
    /// What is wrong with the prices of the settings.
    pub fn new(table: PriceTable, config: &PriceConfig) -> Result<Self, InvalidPrices> {
        Ok(RateCard {
            table,
            in_force: Arc::new(ArcSwap::from_pointee(Prices::new(config)?)),
            sources: Mutex::new(Sources { config: config.clone(), stored: Vec::new() }),
            reading: tokio::sync::Mutex::default(),
            version: AtomicI64::new(UNREAD),
        })
    }

    /// What is in force, at any time.
    pub fn in_force(&self) -> Arc<ArcSwap<Prices>> {
        self.in_force.clone()
    }

    /// How many there are, of all origins.
    pub fn len(&self) -> usize {
        self.in_force.load().iter().count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The settings are others now; they have been checked.
    pub fn heed(&self, config: &PriceConfig) {
        self.make_anew(|sources| sources.config = config.clone());
    }

    /// Reads what is there, for as long as a start may wait for it. A database that is away is waited for later.
    ///
    /// # Errors
    /// Where the books are kept in another currency.
    pub async fn begin(&self, patience: Duration) -> Result<(), store::Error> {
        match timeout(patience, self.refresh()).await {
            Ok(Err(error)) if error.trouble == Trouble::Currency => Err(error),
            _ => Ok(()),
        }
    }

    /// Keeps up with other replicas until `stop`.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                _ = looks.tick() => {}
            }
            let _ = timeout(PATIENCE, self.refresh()).await;
        }
    }

    /// Puts in force what the database says now.
    ///
    /// # Errors
    /// When it says nothing, or amounts are in another currency there.
    pub async fn refresh(&self) -> Result<(), store::Error> {
        match self.stored_version().await? == self.version.load(Ordering::Relaxed) {
            true => Ok(()),
            false => self.read_anew().await,
        }
    }

    async fn stored_version(&self) -> Result<i64, store::Error> {
        let currency = self.in_force.load().currency.clone();
        self.table.version(&currency).await
    }

    // === changes ===

    /// Sets all of these, or none; `instead` of all that the database has. They are in force when this returns, or a
    /// moment later if the database went away right behind it.
    ///
    /// # Errors
    /// `BadRequest` for what cannot be, with its place among them; `Overloaded` while the database is away.
    pub async fn set(&self, entries: &[PriceEntry], instead: bool) -> Result<(), Error> {
        let rows = self.rows(entries)?;
        let setting = async {
            self.stored_version().await?;
            self.table.set(&rows, instead).await
        };
        match asked(setting).await? {
            Change::Done => {}
            Change::TooMany => return Err(bad(format!("no more than {MOST} prices are kept"))),
        }
        let _ = asked(self.refresh()).await;
        Ok(())
    }

    /// Forgets what the database has of this very pattern, or what holds from this second on. Returns how many.
    ///
    /// # Errors
    /// `NotFound` where there is none, `Overloaded` while the database is away.
    pub async fn remove(&self, model: &str, since: Option<u64>) -> Result<u64, Error> {
        let since = since.map(|since| i64::try_from(since).unwrap_or(i64::MAX));
        let gone = asked(self.table.remove(model, since)).await?;
        if gone == 0 {
            return Err(Error::new(Kind::NotFound, "the database has no such price"));
        }
        let _ = asked(self.refresh()).await;
        Ok(gone)
    }

    /// What would be in force with these in place of what the database has of the same patterns; or with these
    /// `alone`.
    ///
    /// # Errors
    /// As of [`RateCard::set`].
    pub fn as_if(&self, entries: &[PriceEntry], alone: bool) -> Result<Prices, Error> {
        let rows = self.rows(entries)?;
        let Sources { mut config, mut stored } = self.sources().clone();
        if alone {
            (config.builtin, config.models, stored) = (false, Vec::new(), Vec::new());
        }
        stored.retain(|old| rows.iter().all(|new| new.model != old.model));
        stored.extend(rows);
        Prices::with(&config, &stored).map_err(|error| bad(error.to_string()))
    }

    /// Requests that came from the second `from` until before `until`, under `prices`; `only_look`: nothing changes.
    pub fn repricing(&self, prices: Arc<Prices>, span: (u64, u64), only_look: bool) -> Repricing {
        Repricing::new(self.table.database(), prices, span, only_look)
    }

    /// Each as it is kept; no two of them may be of the same pattern and moment.
    fn rows(&self, entries: &[PriceEntry]) -> Result<Vec<PriceRow>, Error> {
        let currency = self.in_force.load().currency.clone();
        let changed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let changed = i64::try_from(changed.as_millis()).unwrap_or(i64::MAX);
        let mut known = BTreeSet::new();
        let row = |(place, entry): (usize, &PriceEntry)| {
            let wrong = |what: String| bad(format!("prices[{place}]: {what}"));
            let price =
                Price::read(entry, &currency, Origin::Store).map_err(|error| wrong(error.to_string()))?;
            match known.insert((price.model.clone(), price.since())) {
                true => Ok(price.row(changed)),
                false => {
                    Err(wrong(format!("\"{}\" stands there twice from the same moment on", price.model)))
                }
            }
        };
        entries.iter().enumerate().map(row).collect()
    }

    async fn read_anew(&self) -> Result<(), store::Error> {
        let _turn = self.reading.lock().await;
        // Before the prices: what changes meanwhile is found by the next look.
        let version = self.stored_version().await?;
        let stored = self.table.all().await?;
        self.make_anew(|sources| sources.stored = stored);
        self.version.store(version, Ordering::Relaxed);
        Ok(())
    }

    fn make_anew(&self, change: impl FnOnce(&mut Sources)) {
        let mut sources = self.sources();
        change(&mut sources);
        match Prices::with(&sources.config, &sources.stored) {
            Ok(prices) => self.in_force.store(Arc::new(prices)),
            Err(error) => tracing::error!(%error, "the prices stay as they were"),
        }
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the database says of a change, if it does so in time.
async fn asked<T>(asking: impl Future<Output = Result<T, store::Error>>) -> Result<T, Error> {
    store::in_time("prices", CHANGE, asking).await
}

fn bad(why: impl Into<String>) -> Error {
    Error::new(Kind::BadRequest, why)
}

#[cfg(test)]
mod tests {
    use super::super::config::Unknown;
    use super::*;
    use crate::domain::Money;
    use crate::store::{Damaged, Options, Place, Shared, Start, prices};
    use std::path::Path;

    const EVER: SystemTime = UNIX_EPOCH;

    fn config(currency: &str, models: Vec<PriceEntry>) -> PriceConfig {
        let (unknown, hit) = (Unknown::Unpriced, Money::ZERO);
        PriceConfig { currency: currency.into(), builtin: false, unknown, hit, models }
    }

    fn shared(path: &Path) -> Arc<Shared> {
        let options = Options {
            readers: 1,
            patience: Duration::from_secs(10),
            durable: false,
            largest_file: None,
            start: Start::AsItIs,
            damaged: Damaged::Refuse,
        };
        Arc::new(Shared::new(Place::File(path.into()), options, vec![prices::migrations()]))
    }

    fn card(shared: &Arc<Shared>, currency: &str) -> RateCard {
        RateCard::new(PriceTable::new(shared.clone()), &config(currency, Vec::new())).unwrap()
    }

    fn entry(model: &str, prompt: &str) -> PriceEntry {
        toml::from_str(&format!("model = \"{model}\"\nprompt = \"{prompt}\"")).unwrap()
    }

    fn prompt(card: &RateCard, model: &str) -> Option<String> {
        card.in_force().load().find(model, EVER).map(|price| price.rates.prompt.to_string())
    }

    #[tokio::test]
    async fn what_one_sets_is_in_force_there_at_once_and_elsewhere_after_a_look() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(&folder.path().join("prices.db"));
        let (one, other) = (card(&shared, "USD"), card(&shared, "USD"));
        other.refresh().await.unwrap();
        one.set(&[entry("a", "1"), entry("b", "2")], false).await.unwrap();
        assert_eq!((prompt(&one, "a"), prompt(&other, "a")), (Some("1.00".into()), None));
        other.refresh().await.unwrap();
        assert_eq!(prompt(&other, "b"), Some("2.00".into()));
        other.set(&[entry("a", "3")], false).await.unwrap();
        one.refresh().await.unwrap();
        assert_eq!((prompt(&one, "a"), prompt(&one, "b")), (Some("3.00".into()), Some("2.00".into())));
        other.set(&[entry("c", "4")], true).await.unwrap();
        assert_eq!((prompt(&other, "a"), prompt(&other, "c")), (None, Some("4.00".into())));
        assert_eq!(other.remove("c", Some(1)).await.unwrap_err().kind, Kind::NotFound);
        assert_eq!(other.remove("c", Some(0)).await.unwrap(), 1);
        assert_eq!((prompt(&other, "c"), other.len()), (None, 0));
        shared.close().await;
    }

    #[tokio::test]
    async fn what_is_wrong_with_one_leaves_all_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(&folder.path().join("prices.db"));
        let card = card(&shared, "USD");
        card.set(&[entry("a", "1")], false).await.unwrap();
        let euro = PriceEntry { currency: Some("EUR".into()), ..entry("c", "1") };
        for (wrong, said) in [
            (entry("two words", "1"), "prices[1]: \"two words\" is no model's name"),
            (entry("b", "7"), "prices[1]: \"b\" stands there twice"),
            (euro, "prices[1]: the price of \"c\" is in EUR"),
        ] {
            let error = card.set(&[entry("b", "2"), wrong], true).await.unwrap_err();
            assert!(error.kind == Kind::BadRequest && error.message.starts_with(said), "{}", error.message);
        }
        let many: Vec<_> = (0..=MOST).map(|n| entry(&format!("m{n}"), "1")).collect();
        assert_eq!(card.set(&many, true).await.unwrap_err().kind, Kind::BadRequest);
        assert_eq!(card.set(&many[..MOST], false).await.unwrap_err().kind, Kind::BadRequest);
        assert_eq!((prompt(&card, "a"), card.len()), (Some("1.00".into()), 1));
        card.set(&many[..MOST], true).await.unwrap();
        assert_eq!((prompt(&card, "m9999"), card.len()), (Some("1.00".into()), MOST));
        shared.close().await;
    }

    #[tokio::test]
    async fn settings_that_change_leave_what_is_stored() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(&folder.path().join("prices.db"));
        let card = card(&shared, "USD");
        card.set(&[entry("a", "1")], false).await.unwrap();
        card.heed(&config("USD", vec![entry("a", "5"), entry("b", "6")]));
        assert_eq!((prompt(&card, "a"), prompt(&card, "b")), (Some("1.00".into()), Some("6.00".into())));
        card.heed(&config("USD", Vec::new()));
        assert_eq!(prompt(&card, "a"), Some("1.00".into()));
        shared.close().await;
    }

    #[tokio::test]
    async fn books_in_another_currency_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(&folder.path().join("prices.db"));
        let (first, other) = (card(&shared, "EUR"), card(&shared, "USD"));
        first.set(&[entry("a", "1")], false).await.unwrap();
        assert_eq!(other.refresh().await.unwrap_err().trouble, Trouble::Currency);
        let said = other.begin(Duration::from_secs(10)).await.unwrap_err().to_string();
        assert!(said.contains("set prices.currency = \"EUR\""), "{said}");
        assert_eq!(other.set(&[entry("a", "2")], false).await.unwrap_err().kind, Kind::Overloaded);
        first.refresh().await.unwrap();
        assert_eq!((prompt(&first, "a"), prompt(&other, "a")), (Some("1.00".into()), None));
        shared.close().await;
    }

    #[tokio::test]
    async fn while_the_database_is_away_the_settings_hold() {
        let shared = shared(Path::new("/dev/null/nowhere"));
        let table = PriceTable::new(shared);
        let card = RateCard::new(table, &config("USD", vec![entry("a", "5")])).unwrap();
        assert!(card.refresh().await.is_err());
        card.begin(Duration::from_secs(10)).await.unwrap();
        assert_eq!(card.set(&[entry("a", "1")], false).await.unwrap_err().kind, Kind::Overloaded);
        assert_eq!(prompt(&card, "a"), Some("5.00".into()));
    }
}
