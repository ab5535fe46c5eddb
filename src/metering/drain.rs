//! From the spool into the database, in batches, each exactly once.
//!
//! Whatever is wrong with the database, requests do not hear of it: the spool grows within its bound, and is
//! taken over when the database is back.

use super::batch::{Making, Names};
use super::card::RateCard;
use super::hit_rows::HitRows;
use super::spool::{Entry, Reel, Spool, Stretch};
use super::unpriced::Unpriced;
use crate::store::ledger::{self, Figure, Period};
use crate::store::{Error, Shared};
use crate::telemetry::{KeyUse, Keyed};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What takes the spool over.
pub struct Drain {
    spool: Arc<Spool>,
    card: Arc<RateCard>,
    database: Arc<Shared>,
    hit_rows: u32,
    keyed: Option<Arc<Keyed>>,
    unpriced: Option<Arc<Unpriced>>,
    state: Arc<State>,
}

/// How it goes, for others to see.
#[derive(Debug, Default)]
pub struct State {
    behind: AtomicBool,
    rows: AtomicU64,
}

/// What is being read.
struct Hand {
    /// What dead processes left.
    orphans: VecDeque<Reading>,
    own: Option<Reading>,
    hits: HitRows,
    /// When there was last a look for orphans.
    looked: Option<Instant>,
}

/// A file that is being read.
struct Reading {
    reel: Reel,
    /// Up to here it is in the database; not known before that was asked.
    place: Option<u64>,
    /// What the database says of that; not all that is read is written.
    written: u64,
    names: Names,
}

/// Why it does not go on.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the database: {0}")]
    Database(#[from] Error),
    #[error("the spool: {0}")]
    Spool(#[from] io::Error),
    #[error("the database does not answer")]
    Late,
}

/// What there is to be taken over.
enum Look {
    Entries(Stretch),
    Nothing(Step),
}

/// What one step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// There may be more.
    On,
    /// All of the file is in the database, and no more will come.
    Over,
    /// All that is there is in the database.
    CaughtUp,
}

/// How often there is a look for what has come.
const PAUSE: Duration = Duration::from_millis(200);
/// The same while it does not go on, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How often there is a look for what dead processes left.
const ADOPT: Duration = Duration::from_secs(10);
/// A batch that takes longer is late, and one that takes longer still is given up.
const LATE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// Entries that are read before others on this thread have their turn.
const AT_ONCE: usize = 256;
/// How long the last of it may take when Pannier ends; what is left is taken over at the next start.
const LAST: Duration = Duration::from_secs(3);

impl Drain {
    pub fn new(spool: Arc<Spool>, card: Arc<RateCard>, database: Arc<Shared>, hit_rows: u32) -> Self {
        Drain { spool, card, database, hit_rows, keyed: None, unpriced: None, state: Arc::default() }
    }

    /// What comes into the database is told here as well.
    pub fn tell(self, keyed: Arc<Keyed>, unpriced: Arc<Unpriced>) -> Self {
        Drain { keyed: Some(keyed), unpriced: Some(unpriced), ..self }
    }

    pub fn state(&self) -> Arc<State> {
        self.state.clone()
    }

    /// Takes over what comes until `stop`, and then what is there.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        let hits = HitRows::new(self.hit_rows);
        let mut hand = Hand { orphans: VecDeque::new(), own: None, hits, looked: None };
        let mut wait = RETRY.0;
        while !*stop.borrow() {
            let pause = match self.pass(&mut hand).await {
                Ok(()) => {
                    wait = RETRY.0;
                    PAUSE
                }
                Err(trouble) => {
                    self.stumble(&mut hand, &trouble);
                    let pause = wait;
                    wait = (wait * 2).min(RETRY.1);
                    pause
                }
            };
            let _ = tokio::time::timeout(pause, stop.wait_for(|stop| *stop)).await;
        }
        match tokio::time::timeout(LAST, self.pass(&mut hand)).await {
            Ok(Ok(())) => {}
            Ok(Err(trouble)) => tracing::warn!(%trouble, "the rest of the ledger waits for the next start"),
            Err(_) => tracing::warn!("the rest of the ledger waits for the next start"),
        }
    }

    fn stumble(&self, hand: &mut Hand, trouble: &Trouble) {
        self.fall_behind(trouble);
        // What the database has of it is to be asked again: the last answer may have been lost.
        hand.orphans.iter_mut().chain(&mut hand.own).for_each(|reading| reading.place = None);
    }

    fn fall_behind(&self, trouble: &Trouble) {
        if !self.state.behind.swap(true, Ordering::Relaxed) {
            tracing::warn!(%trouble, "the ledger waits in its spool");
        }
    }

    /// What `step` comes to, unless it takes for ever: a server that has been stopped says nothing at all.
    async fn in_time(&self, step: impl Future<Output = Result<Step, Trouble>>) -> Result<Step, Trouble> {
        let mut step = std::pin::pin!(step);
        if let Ok(done) = tokio::time::timeout(LATE.0, &mut step).await {
            return done;
        }
        self.fall_behind(&Trouble::Late);
        tokio::time::timeout(LATE.1, step).await.unwrap_or(Err(Trouble::Late))
    }

    /// Until all that is there is in the database.
    async fn pass(&self, hand: &mut Hand) -> Result<(), Trouble> {
        if hand.looked.is_none_or(|at| at.elapsed() > ADOPT) {
            hand.looked = Some(Instant::now());
            let orphans = self.spool.adopt()?.0;
            hand.orphans.extend(orphans.into_iter().map(Reading::new));
        }
        loop {
            let is_orphan = !hand.orphans.is_empty();
            let reading = match hand.orphans.front_mut() {
                Some(orphan) => orphan,
                None => hand.own.get_or_insert_with(|| Reading::new(self.spool.oldest())),
            };
            match self.in_time(self.step(reading, &mut hand.hits)).await? {
                Step::On => {}
                Step::CaughtUp => break,
                Step::Over => {
                    let over = if is_orphan { hand.orphans.pop_front() } else { hand.own.take() };
                    if let Some(over) = over {
                        self.put_away(over.reel).await;
                    }
                }
            }
        }
        if self.state.behind.swap(false, Ordering::Relaxed) {
            tracing::info!("the ledger has caught up");
        }
        Ok(())
    }

    /// All of `reel` is in the database. How far it was taken over is of no use once the file can never come
    /// back; where that is not certain, it stays written there.
    async fn put_away(&self, reel: Reel) {
        let name = *reel.name();
        if !tokio::task::block_in_place(|| self.spool.remove(reel)) {
            return;
        }
        let forgotten = async { ledger::forget(&*self.database.store().await?, &name).await };
        if let Err(error) = forgotten.await {
            tracing::debug!(%error, "the place in a file that is gone stays in the database");
        }
    }

    /// One stretch of a file.
    async fn step(&self, reading: &mut Reading, hits: &mut HitRows) -> Result<Step, Trouble> {
        let place = match reading.place {
            Some(place) => place,
            None => self.resume(reading).await?,
        };
        let stretch = match look(reading, place)? {
            Look::Entries(stretch) => stretch,
            Look::Nothing(step) => return Ok(step),
        };
        // What happened after a price was set is billed under it, whichever replica it was set at.
        self.card.refresh().await?;
        let batch = self.make(reading, &stretch, hits).await;
        let (end, rows) = (batch.to as u64, batch.rows.len() as u64);
        let store = self.database.store().await?;
        match batch.write(&store).await {
            Ok(true) => {
                reading.place = Some(end);
                reading.written = end;
                self.state.rows.fetch_add(rows, Ordering::Relaxed);
                self.keyed.iter().for_each(|keyed| show(keyed, &batch));
                self.unpriced.iter().for_each(|unpriced| unpriced.heed(&batch));
            }
            // It is in already: how far, is to be asked.
            Ok(false) => reading.place = None,
            Err(error) => {
                self.database.heed(&store, &error);
                return Err(error.into());
            }
        }
        Ok(Step::On)
    }

    async fn make(&self, reading: &mut Reading, stretch: &Stretch, hits: &mut HitRows) -> ledger::Batch {
        let prices = self.card.in_force().load_full();
        let mut making = Making::new(&mut reading.names, &prices, hits);
        for (number, body) in stretch.bodies().enumerate() {
            if number % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            Entry::read(body).iter().for_each(|entry| making.take(entry));
        }
        making.done(*reading.reel.name(), reading.written, stretch.end)
    }

    /// Finds out how far a file has been taken over, and what its numbers mean up to there.
    async fn resume(&self, reading: &mut Reading) -> Result<u64, Trouble> {
        let store = self.database.store().await?;
        let place = ledger::position(&store, reading.reel.name()).await;
        let place = place.inspect_err(|error| self.database.heed(&store, error))? as u64;
        let mut at = 0;
        while at < place {
            let (stretch, _) = reading.reel.read(at)?;
            stretch.bodies().filter_map(Entry::read).for_each(|entry| reading.names.learn(&entry));
            if stretch.end <= at {
                break;
            }
            at = stretch.end;
        }
        reading.written = place;
        reading.place = Some(place);
        Ok(place)
    }
}

/// What there is from `place` on.
fn look(reading: &mut Reading, place: u64) -> io::Result<Look> {
    let (stretch, is_end) = reading.reel.read(place)?;
    if is_end {
        return Ok(Look::Nothing(Step::Over));
    }
    if stretch.is_empty() {
        reading.place = Some(stretch.end);
        let step = if stretch.end > place { Step::On } else { Step::CaughtUp };
        return Ok(Look::Nothing(step));
    }
    Ok(Look::Entries(stretch))
}

/// Tells what a batch came to, by key.
fn show(keyed: &Keyed, batch: &ledger::Batch) {
    for (bucket, sums) in batch.sums.iter().filter(|(bucket, _)| bucket.period == Period::Day) {
        let Some([key, _]) = batch.accounts.get(bucket.account) else { continue };
        let sum = |figure: Figure| sums[figure as usize];
        let used = KeyUse {
            requests: sum(Figure::Requests),
            input: sum(Figure::Prompt),
            output: sum(Figure::Completion),
            gpu: sum(Figure::Gpu),
            cost: sum(Figure::Cost),
            saved_tokens: sum(Figure::SavedPrompt).saturating_add(sum(Figure::SavedCompletion)),
            saved_gpu: sum(Figure::SavedGpu),
            saved_cost: sum(Figure::SavedCost),
        };
        keyed.add(key, used);
    }
}

impl Reading {
    fn new(reel: Reel) -> Self {
        Reading { reel, place: None, names: Names::default(), written: 0 }
    }
}

impl State {
    /// Whether the database does not take over what comes.
    pub fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    /// How many rows were written, parts of the same row included.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{PriceConfig, PriceEntry, Sync, Unknown};
    use super::super::spool::{Bounds, Told};
    use super::*;
    use crate::domain::{
        CacheOutcome, Consumer, Ending, Money, Observed, RequestId, Rights, Route, Scope, Source, Usage,
    };
    use crate::store::prices::{self, PriceTable};
    use crate::store::{Damaged, Options, Place, Start};
    use std::path::Path;
    use std::time::SystemTime;

    fn database(path: &Path) -> Arc<Shared> {
        let options = Options {
            readers: 1,
            patience: Duration::from_secs(10),
            durable: true,
            largest_file: None,
            start: Start::AsItIs,
            damaged: Damaged::Refuse,
        };
        Arc::new(Shared::new(
            Place::File(path.into()),
            options,
            vec![ledger::migrations(), prices::migrations()],
        ))
    }

    fn spool(folder: &Path) -> Arc<Spool> {
        Arc::new(Spool::open(folder, Bounds::of(1 << 20), Sync::Each).unwrap())
    }

    fn drain(spool: &Arc<Spool>, database: &Arc<Shared>) -> Drain {
        let models: Vec<PriceEntry> = Vec::new();
        let (unknown, hit) = (Unknown::Unpriced, Money::ZERO);
        let prices = PriceConfig { currency: "USD".into(), builtin: false, unknown, hit, models };
        let card = RateCard::new(PriceTable::new(database.clone()), &prices).unwrap();
        Drain::new(spool.clone(), Arc::new(card), database.clone(), 9)
    }

    fn answer(spool: &Spool, times: usize) {
        let scope = Scope([0; 32]);
        let consumer =
            Consumer { name: "alice".into(), team: "lab".into(), scope, rights: Rights::default() };
        let consumer = Arc::new(consumer);
        let subject = spool.symbols().subject(Route { template: "/api/chat", dialect: "ollama" }, None);
        let usage = Usage { source: Source::Upstream, prompt: 3, ..Usage::default() };
        let observed = Observed { usage, ..Observed::default() };
        for _ in 0..times {
            let told = Told {
                request: RequestId::new(SystemTime::now()),
                status: 200,
                ending: Ending::Complete,
                cache: CacheOutcome::Hit,
                total: Duration::from_micros(12),
                first_byte: None,
                observed: Some(&observed),
                message: "",
                amends: None,
            };
            spool.answer(&told, &consumer, &subject);
        }
    }

    /// Takes over what is there, as at the end of Pannier.
    async fn run(drain: &Drain) {
        let (_stop, stopped) = watch::channel(true);
        drain.run(stopped).await;
    }

    async fn hits(database: &Shared) -> [i64; 2] {
        let store = database.store().await.unwrap();
        let sums = ledger::sums(&store, Period::Day, 0, i64::MAX).await.unwrap();
        [Figure::Hits, Figure::SavedPrompt]
            .map(|figure| sums.iter().map(|(_, sums)| sums[figure as usize]).sum())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_in_the_spool_comes_over_once() {
        let folder = tempfile::tempdir().unwrap();
        let database = database(&folder.path().join("books.db"));
        let spool = spool(&folder.path().join("spool"));
        // Over more than one file.
        answer(&spool, 3_000);
        let first = drain(&spool, &database);
        run(&first).await;
        assert_eq!(hits(&database).await, [3_000, 9_000]);
        run(&first).await;
        answer(&spool, 1);
        run(&drain(&spool, &database)).await;
        assert_eq!(hits(&database).await, [3_001, 9_003], "another drain asks how far it was");
        assert_eq!(spool.lost(), 0);
        database.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_dead_process_left_comes_over_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let database = database(&folder.path().join("books.db"));
        let place = folder.path().join("spool");
        let dead = spool(&place);
        answer(&dead, 20);
        run(&drain(&dead, &database)).await;
        answer(&dead, 5);
        let name = *dead.oldest().name();
        drop(dead);
        let spool = spool(&place);
        run(&drain(&spool, &database)).await;
        assert_eq!(hits(&database).await, [25, 75]);
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 1, "only the living one's is there");
        let store = database.store().await.unwrap();
        assert_eq!(ledger::position(&store, &name).await.unwrap(), 0, "nor is its place in it");
        database.close().await;
    }
}
