//! From the spool into the database, in batches, each exactly once.
//!
//! Whatever is wrong with the database, requests do not hear of it: the spool grows within its bound, and is
//! taken over when the database is back.

use super::batch::Making;
use super::card::RateCard;
use super::hit_rows::HitRows;
use super::pile::Pile;
use super::reading::{Look, Reading, Step, Verdict};
use super::spool::{Entry, Spool, Stretch};
use super::unpriced::Unpriced;
use crate::store::ledger::{self, Figure, Period};
use crate::store::{self, Error, Shared, Store};
use crate::telemetry::{KeyUse, Keyed};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
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
    troubled: AtomicU64,
    aside: AtomicU64,
    crowded: AtomicBool,
}

/// What is being read.
struct Hand {
    pile: Pile,
    hits: HitRows,
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
    #[error("what the database refuses cannot be put aside: {0}")]
    Aside(io::Error),
    #[error("the database refuses more than the {MOST_ASIDE} entries that are put aside already")]
    Crowded,
}

/// How often there is a look for what has come; and where that was much: more is let come together, because a
/// transaction costs as much as thousands of hits.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
/// So many bytes are much, as long as the spool has room for many times of them.
const MUCH: u64 = 4 << 10;
const ROOM: u64 = 8;
/// The same while it does not go on, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// A batch that takes longer is late, and one that takes longer still is given up.
const LATE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// Entries that are read before others on this thread have their turn.
const AT_ONCE: usize = 256;
/// Entries that are put aside before the rest waits in the spool: where so many are refused it is not for theirs.
const MOST_ASIDE: u64 = 1_000;
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
        let mut hand = Hand::new(self.hit_rows);
        let mut wait = RETRY.0;
        while !*stop.borrow() {
            let pause = match self.pass(&mut hand).await {
                Ok(taken) => {
                    wait = RETRY.0;
                    self.pause(taken)
                }
                Err(trouble) => {
                    self.stumble(&mut hand, &trouble);
                    let pause = wait;
                    if !trouble.is_refusal() {
                        wait = (wait * 2).min(RETRY.1);
                    }
                    pause
                }
            };
            let _ = tokio::time::timeout(pause, stop.wait_for(|stop| *stop)).await;
        }
        match tokio::time::timeout(LAST, self.pass(&mut hand)).await {
            Ok(Ok(_)) => {}
            Ok(Err(trouble)) => tracing::warn!(%trouble, "the rest of the ledger waits for the next start"),
            Err(_) => tracing::warn!("the rest of the ledger waits for the next start"),
        }
    }

    fn stumble(&self, hand: &mut Hand, trouble: &Trouble) {
        self.fall_behind(trouble);
        // What the database has of it is to be asked again: the last answer may have been lost.
        hand.pile.doubt();
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

    fn pause(&self, taken: u64) -> Duration {
        let is_much = taken > MUCH && taken * ROOM < self.spool.bounds().most;
        if is_much { PAUSE.1 } else { PAUSE.0 }
    }

    /// Until all that was there is in the database; returns how many bytes that were.
    async fn pass(&self, hand: &mut Hand) -> Result<u64, Trouble> {
        let Hand { pile, hits } = hand;
        if let Some(aside) = pile.look(&self.spool) {
            self.state.aside.store(aside, Ordering::Relaxed);
        }
        let mut taken = 0;
        let mut goal = ([0; 16], 0);
        while let Some(reading) = pile.next(&self.spool) {
            let (is_over, before) = (reading.reel.is_over(), reading.written);
            if goal.0 != *reading.reel.name() {
                goal = (*reading.reel.name(), reading.reel.end());
            }
            let is_enough = !is_over && reading.place.is_some_and(|place| place >= goal.1);
            // What comes meanwhile waits for the next pass: something always does.
            if is_enough {
                break;
            }
            match self.in_time(self.step(reading, hits)).await {
                Ok(Step::On) => taken += reading.written - before,
                Ok(Step::CaughtUp) => break,
                Ok(Step::Over) => self.put_away(pile).await,
                // Others need not wait for it.
                Err(Trouble::Spool(error)) if is_over => pile.cannot_read(&self.spool, &error),
                Err(trouble) => return Err(trouble),
            }
        }
        self.state.troubled.store(pile.troubled(), Ordering::Relaxed);
        if self.state.behind.swap(false, Ordering::Relaxed) {
            tracing::info!("the ledger has caught up");
        }
        Ok(taken)
    }

    /// All of the next file is in the database. How far it was taken over is of no use once the file can never
    /// come back; where that is not certain, it stays written there. Until then the file stays claimed.
    async fn put_away(&self, pile: &mut Pile) {
        let Some(over) = pile.take() else { return };
        if let Err(error) = tokio::task::block_in_place(|| self.spool.remove(&over.reel)) {
            return pile.cannot_remove(over, &error);
        }
        let forgotten = async { ledger::forget(&*self.database.store().await?, over.reel.name()).await };
        if let Err(error) = forgotten.await {
            tracing::debug!(%error, "the place in a file that is gone stays in the database");
        }
    }

    /// One stretch of a file.
    async fn step(&self, reading: &mut Reading, hits: &HitRows) -> Result<Step, Trouble> {
        let place = match reading.place {
            Some(place) => place,
            None => self.resume(reading).await?,
        };
        let stretch = match reading.look(place)? {
            Look::Entries(stretch) => stretch,
            Look::Nothing(step) => return Ok(step),
        };
        // What happened after a price was set is billed under it, whichever replica it was set at.
        self.card.refresh().await?;
        let batch = self.make(reading, &stretch, hits).await;
        let store = self.database.store().await?;
        match batch.write(&store).await {
            Ok(true) => {
                reading.pass_by(stretch);
                self.keyed.iter().for_each(|keyed| show(keyed, &batch));
                self.unpriced.iter().for_each(|unpriced| unpriced.heed(&batch));
            }
            // It is in already: how far, is to be asked.
            Ok(false) => reading.place = None,
            Err(error) => {
                self.database.heed(&store, &error);
                let is_refused = error.trouble == store::Trouble::Refused;
                match is_refused.then(|| reading.doubt.judge(&stretch)) {
                    None | Some(Verdict::Wait) => return Err(error.into()),
                    Some(Verdict::Narrow) => {}
                    Some(Verdict::Guilty) => self.put_aside(reading, &stretch, &store, &error).await?,
                }
            }
        }
        Ok(Step::On)
    }

    /// Goes on behind the one entry in `stretch`, which the database refuses for what `error` says.
    async fn put_aside(
        &self,
        reading: &mut Reading,
        stretch: &Stretch,
        store: &Store,
        error: &Error,
    ) -> Result<(), Trouble> {
        if self.state.aside() >= MOST_ASIDE {
            if !self.state.crowded.swap(true, Ordering::Relaxed) {
                tracing::error!(entries = MOST_ASIDE, %error,
                    "the database refuses more and more of the ledger: no more of it is put aside, and all waits");
            }
            return Err(Trouble::Crowded);
        }
        self.state.crowded.store(false, Ordering::Relaxed);
        let path = tokio::task::block_in_place(|| reading.put_aside(stretch)).map_err(Trouble::Aside)?;
        let (spool, from, to) = (*reading.reel.name(), reading.written as i64, stretch.end as i64);
        let nothing = ledger::Batch { spool, from, to, ..ledger::Batch::default() };
        if !nothing.write(store).await? {
            reading.place = None;
            return Ok(());
        }
        reading.pass(stretch.end);
        self.state.aside.fetch_add(1, Ordering::Relaxed);
        tracing::error!(path = %path.display(), %error, "the database refuses an entry of the ledger: it is put aside");
        Ok(())
    }

    async fn make(&self, reading: &mut Reading, stretch: &Stretch, hits: &HitRows) -> ledger::Batch {
        let prices = self.card.in_force().load_full();
        let mut making = Making::new(&mut reading.names, &prices, hits);
        let mut unread = 0;
        for (number, body) in stretch.bodies().enumerate() {
            if number % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            match Entry::read(body) {
                Some(entry) => making.take(&entry),
                None => unread += 1,
            }
        }
        if unread > 0 {
            let path = reading.reel.path().display();
            tracing::error!(%path, entries = unread, "the ledger's spool has entries of a later version: left out");
        }
        making.done(*reading.reel.name(), reading.written, stretch.end)
    }

    /// Finds out how far a file has been taken over, and what its numbers mean up to there.
    async fn resume(&self, reading: &mut Reading) -> Result<u64, Trouble> {
        let store = self.database.store().await?;
        let place = ledger::position(&store, reading.reel.name()).await;
        let place = place.inspect_err(|error| self.database.heed(&store, error))? as u64;
        reading.resume(place)?;
        Ok(place)
    }
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

impl Trouble {
    /// The database has answered at once, and refuses what it was given.
    fn is_refusal(&self) -> bool {
        matches!(self, Trouble::Database(error) if error.trouble == store::Trouble::Refused)
    }
}

impl Hand {
    fn new(hit_rows: u32) -> Self {
        Hand { pile: Pile::default(), hits: HitRows::new(hit_rows) }
    }
}

impl State {
    /// Whether the database does not take over what comes.
    pub fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    /// How many files of the spool cannot be read, or not be removed.
    pub fn troubled(&self) -> u64 {
        self.troubled.load(Ordering::Relaxed)
    }

    /// How many entries the database has refused that are put aside.
    pub fn aside(&self) -> u64 {
        self.aside.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{PriceConfig, PriceEntry, Sync, Unknown};
    use super::super::spool::{Bounds, Recurring, Reel, Symbol, Told};
    use super::*;
    use crate::domain::{Consumer, Money, Observed, RequestId, Rights, Route, Scope, Source, Usage};
    use crate::store::ledger::{Cut, Piece};
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
        (0..times).for_each(|_| hit(spool, 3));
    }

    fn hit(spool: &Spool, prompt: u64) {
        let usage = Usage { source: Source::Upstream, prompt, ..Usage::default() };
        let observed = Observed { usage, ..Observed::default() };
        let request = RequestId::new(SystemTime::now());
        let told = Told::hit(request, Duration::from_micros(12), Some(&observed));
        spool.answer(&told, &alice(), &subject(spool));
    }

    /// One of those that have no row.
    fn counted(spool: &Spool) {
        let request = RequestId::new(SystemTime::now());
        let answer = Recurring::new(subject(spool));
        spool.hit(&Told::hit(request, Duration::from_micros(12), None), &alice(), &answer);
    }

    fn alice() -> Arc<Consumer> {
        let (name, team, scope) = ("alice".into(), "lab".into(), Scope([0; 32]));
        Arc::new(Consumer { name, team, scope, rights: Rights::default() })
    }

    fn subject(spool: &Spool) -> Arc<Symbol> {
        spool.symbols().subject(Route { template: "/api/chat", dialect: "ollama" }, None)
    }

    /// Takes over what is there, as at the end of Pannier.
    async fn run(drain: &Drain) {
        let (_stop, stopped) = watch::channel(true);
        drain.run(stopped).await;
    }

    async fn hits(database: &Shared) -> [i64; 2] {
        let store = database.store().await.unwrap();
        let pieces = vec![Piece { period: Period::Day, from: 0, until: i64::MAX }];
        let stretch = ledger::Stretch { pieces, cut: Cut::Whole { start: 0 } };
        let lines =
            ledger::lines(&store, &stretch, &[], &ledger::Filter::default(), None, usize::MAX).await.unwrap();
        [Figure::Hits, Figure::SavedPrompt]
            .map(|figure| lines.iter().map(|line| line.sums[figure as usize]).sum())
    }

    const REFUSE_13: &str = "CREATE TRIGGER refuse BEFORE INSERT ON ledger_row WHEN NEW.prompt = 13 \
                             BEGIN SELECT RAISE(ABORT, 'nobody asks 13'); END";

    async fn script(database: &Shared, text: &str) {
        let store = database.store().await.unwrap();
        let mut work = store.write().await.unwrap();
        work.script(text).await.unwrap();
        work.done().await.unwrap();
    }

    /// How often that had to be waited for.
    async fn pass_in_the_end(drain: &Drain, hand: &mut Hand) -> u32 {
        let mut waits = 0;
        while let Err(trouble) = drain.pass(hand).await {
            waits += 1;
            drain.stumble(hand, &trouble);
            assert!(trouble.is_refusal() && waits < 9, "{trouble}");
        }
        waits
    }

    /// Books that refuse what asks 13, and a spool beside them.
    async fn refusing(folder: &Path) -> (Arc<Shared>, Arc<Spool>) {
        let (database, spool) = (database(&folder.join("books.db")), spool(&folder.join("spool")));
        script(&database, REFUSE_13).await;
        (database, spool)
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
    async fn hits_that_go_on_do_not_keep_a_pass_going() {
        let folder = tempfile::tempdir().unwrap();
        let database = database(&folder.path().join("books.db"));
        let spool = Spool::open(folder.path(), Bounds::of(1 << 20), Sync::Every(Duration::from_secs(1)));
        let spool = Arc::new(spool.unwrap());
        let (drain, mut hand, is_over) = (drain(&spool, &database), Hand::new(0), AtomicBool::new(false));
        let mut passes = 0;
        let count = std::thread::scope(|threads| {
            let asking = threads.spawn(|| {
                let mut count = 0;
                while !is_over.load(Ordering::Relaxed) {
                    counted(&spool);
                    count += 1;
                }
                count
            });
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async {
                    while passes < 5 {
                        passes += u64::from(drain.pass(&mut hand).await.unwrap() > 0);
                    }
                });
            });
            is_over.store(true, Ordering::Relaxed);
            asking.join().unwrap()
        });
        run(&drain).await;
        assert_eq!((hits(&database).await, spool.lost()), ([count, 0], 0));
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
        let name = *dead.oldest().unwrap().name();
        drop(dead);
        let spool = spool(&place);
        run(&drain(&spool, &database)).await;
        assert_eq!(hits(&database).await, [25, 75]);
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 1, "only the living one's is there");
        let store = database.store().await.unwrap();
        assert_eq!(ledger::position(&store, &name).await.unwrap(), 0, "nor is its place in it");
        database.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_read_keeps_nothing_else_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let database = database(&folder.path().join("books.db"));
        let place = folder.path().join("spool");
        // Of one not even the head can be read; from the other nothing behind that.
        std::fs::create_dir_all(place.join("0.spool")).unwrap();
        let dead = spool(&place);
        answer(&dead, 20);
        drop(dead);
        let living = spool(&place);
        answer(&living, 5);
        let mut hand = Hand::new(9);
        let path = folder.path().join("1.spool");
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(&path).unwrap();
        hand.pile.find(Reel::unreadable([7; 16], path, file));
        let drain = drain(&living, &database);
        for _ in 0..2 {
            hand.pile.look_soon();
            drain.pass(&mut hand).await.unwrap();
            assert_eq!(hits(&database).await, [25, 75]);
            assert!(!drain.state().is_behind());
            assert_eq!(drain.state().troubled(), 2, "they are tried again, and kept");
        }
        database.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_database_refuses_for_ever_is_put_aside_and_can_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let (database, spool) = refusing(folder.path()).await;
        let place = spool.folder().to_owned();
        for prompt in [1, 1, 13, 1, 1, 1, 13, 1] {
            hit(&spool, prompt);
        }
        let drain = drain(&spool, &database);
        let mut hand = Hand::new(100);
        pass_in_the_end(&drain, &mut hand).await;
        assert_eq!(hits(&database).await, [6, 6]);
        assert_eq!(drain.state().aside(), 2);

        script(&database, "DROP TRIGGER refuse").await;
        for file in std::fs::read_dir(&place).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "refused") {
                std::fs::rename(&path, path.with_extension("spool")).unwrap();
            }
        }
        hand.pile.look_soon();
        drain.pass(&mut hand).await.unwrap();
        assert_eq!(hits(&database).await, [8, 32], "with all that they said");
        assert_eq!((drain.state().aside(), std::fs::read_dir(&place).unwrap().count()), (0, 1));
        database.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_many_that_the_database_refuses_only_the_first_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (database, spool) = refusing(folder.path()).await;
        for prompt in [1; 40].into_iter().chain([13; 12]).chain([13, 1, 1].repeat(6)).chain([1; 40]) {
            hit(&spool, prompt);
        }
        let drain = drain(&spool, &database);
        assert_eq!(pass_in_the_end(&drain, &mut Hand::new(1_000)).await, 2);
        assert_eq!((hits(&database).await, drain.state().aside()), ([92, 92], 18));
        database.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn where_very_much_is_refused_the_rest_waits_in_the_spool() {
        let folder = tempfile::tempdir().unwrap();
        let (database, spool) = refusing(folder.path()).await;
        let place = spool.folder().to_owned();
        for number in 1..MOST_ASIDE {
            std::fs::write(place.join(format!("{number}.refused")), "").unwrap();
        }
        [1, 13, 13, 1].into_iter().for_each(|prompt| hit(&spool, prompt));
        let (drain, mut hand) = (drain(&spool, &database), Hand::new(100));
        for _ in 0..2 {
            let trouble = drain.pass(&mut hand).await.unwrap_err();
            assert!(trouble.is_refusal());
        }
        for _ in 0..2 {
            let trouble = drain.pass(&mut hand).await.unwrap_err();
            assert!(matches!(trouble, Trouble::Crowded), "{trouble}");
            assert_eq!((hits(&database).await, drain.state().aside()), ([1, 1], MOST_ASIDE));
        }
        // Somebody has looked at some of them.
        std::fs::remove_file(place.join("1.refused")).unwrap();
        hand.pile.look_soon();
        drain.pass(&mut hand).await.unwrap();
        assert_eq!((hits(&database).await, drain.state().aside()), ([2, 2], MOST_ASIDE));
        database.close().await;
    }
}
