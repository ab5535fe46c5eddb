//! Sums and rows say the same: after whatever has come in, after ratings, and after the rows have gone.

use crate::ledger::{grounds, options};
use crate::stage::{Ground, PATIENCE};
use pannier::analytics::Audit;
use pannier::domain::{
    CacheOutcome, CallFacts, Consumer, Durations, Ending, Kind, Money, Observed, Operation, Payer, RequestId,
    Rights, Route, Scope, Source, Trip, Usage,
};
use pannier::metering::spool::{Bounds, Spool, Told};
use pannier::metering::{Drain, PriceConfig, PriceEntry, RateCard, Sync, Unknown};
use pannier::store::ledger::{
    self, By, Column, Cut, Figure, Filter, Line, Odd, Period, Piece, Row, RowLine, Stretch, Sums,
};
use pannier::store::prices::{self, PriceTable};
use pannier::store::{Shared, Statement, Store};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

const DAY: i64 = 86_400;
/// Requests come in the three days from here on, where nothing else is said.
pub const FIRST: i64 = 20_000 * DAY;
const ROUTES: [Route; 2] = [
    Route { template: "/api/chat", dialect: "ollama" },
    Route { template: "/v1/chat/completions", dialect: "openai" },
];
const CACHES: [CacheOutcome; 4] =
    [CacheOutcome::Miss, CacheOutcome::Hit, CacheOutcome::HitBelow, CacheOutcome::Joined];

/// What happens to requests by chance, and the books of it.
pub struct Chance {
    random: fastrand::Rng,
    spool: Arc<Spool>,
    drain: Drain,
    card: Arc<RateCard>,
    database: Arc<Shared>,
    keys: Vec<Arc<Consumer>>,
    /// From when on its requests come.
    pub first: i64,
    /// How many requests there were.
    told: i64,
}

/// Whose sums these are, and when.
type Sorted = BTreeMap<(i64, Vec<String>), Sums>;

impl Chance {
    pub fn new(folder: &std::path::Path, database: &Arc<Shared>, hit_rows: u32, seed: u64) -> Self {
        let spool = Arc::new(Spool::open(folder, Bounds::of(4 << 20), Sync::Each).expect("a spool"));
        let models = vec![
            model(
                "model = \"a\"\nprompt = \"0.15\"\ncompletion = \"0.6\"\ngpu_second = \"0.001\"\n\
                 audio_second = \"0.000100003\"\nimage = \"0.000000007\"",
            ),
            model("model = \"b\"\nprompt = \"0.07\""),
        ];
        let hit = Money::from_nanos(7);
        let prices =
            PriceConfig { currency: "USD".into(), builtin: false, unknown: Unknown::Unpriced, hit, models };
        let card = RateCard::new(PriceTable::new(database.clone()), &prices).expect("prices");
        let card = Arc::new(card);
        let key = |name: &str, team: &str| {
            let (name, team, scope) = (name.into(), team.into(), Scope([0; 32]));
            Arc::new(Consumer { name, team, scope, rights: Rights::default() })
        };
        Chance {
            random: fastrand::Rng::with_seed(seed),
            drain: Drain::new(spool.clone(), card.clone(), database.clone(), hit_rows),
            card,
            database: database.clone(),
            spool,
            keys: vec![key("ann", "lab"), key("bob", "lab"), key("cat", "shop")],
            first: FIRST,
            told: 0,
        }
    }

    /// One request that comes to an end, in whatever way.
    pub fn request(&mut self) {
        self.told += 1;
        let random = &mut self.random;
        let at =
            UNIX_EPOCH + Duration::from_millis(random.u64(0..3 * 86_400_000) + self.first as u64 * 1_000);
        let request = RequestId::new(at);
        let consumer = self.keys[random.usize(..self.keys.len())].clone();
        let route = ROUTES[random.usize(..2)];
        let model = ["a", "b", "without a price"][random.usize(..3)];
        let listens = random.u8(..4) == 0;
        let call = CallFacts {
            operation: if listens { Operation::Transcribe } else { Operation::Chat },
            streamed: true,
            model: model.into(),
            digest: "d".into(),
            unlisted: None,
        };
        let usage = Usage {
            source: Source::Upstream,
            prompt: random.u64(1..3_000),
            completion: random.u64(..500),
            images: if listens { 0 } else { random.u64(..4) },
            audio: Duration::from_millis(if listens { random.u64(..90_000) } else { 0 }),
            ..Usage::default()
        };
        let micros = |random: &mut fastrand::Rng| Duration::from_micros(random.u64(1..5_000_000));
        let (prompt_eval, eval) = (micros(random), micros(random));
        let durations = Durations { prompt_eval, eval, ..Durations::default() };
        let observed = Observed { usage, durations, ..Observed::default() };
        let cache = CACHES[random.usize(..4)];
        let ending = match random.u8(..6) {
            0 => Ending::Broken(Kind::ClientGone),
            1 => Ending::Broken(Kind::UpstreamAborted),
            _ => Ending::Complete,
        };
        let (total, is_late) = (micros(random), random.u8(..8) == 0 && ending != Ending::Complete);
        let amends = is_late.then_some((200, total));
        let subject = self.spool.symbols().subject(route, Some(&call));
        if cache == CacheOutcome::Miss {
            let trip = Trip {
                payer: Payer { request, consumer: consumer.clone() },
                route,
                call,
                status: 200,
                observed,
                first_byte: None,
                first_token: None,
                total,
                error: None,
                settled: false,
                implausible: false,
            };
            self.spool.trip(&trip);
        }
        let told = |ending, amends| {
            let told = Told::hit(request, total, Some(&observed));
            Told { ending, cache, first_byte: None, message: "why", amends, ..told }
        };
        if is_late {
            self.spool.answer(&told(Ending::Complete, None), &consumer, &subject);
        }
        self.spool.answer(&told(ending, amends), &consumer, &subject);
    }

    /// Until all that is in the spool is in the database.
    pub async fn drain(&self) {
        let (stop, stopped) = watch::channel(false);
        tokio::join!(self.drain.run(stopped), async {
            self.all_told().await;
            stop.send_replace(true);
        });
    }

    async fn all_told(&self) {
        let begun = Instant::now();
        let store = self.database.store().await.expect("a store");
        let whole = all(Period::Day, Cut::Whole { start: 0 });
        loop {
            let lines = ledger::lines(&store, &whole, &[], &Filter::default(), None, 9).await.expect("lines");
            let requests: i64 = lines.iter().map(|line| line.sums[Figure::Requests as usize]).sum();
            if requests == self.told {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{requests} of {} requests are in the books", self.told);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All that is in the books comes under the prices that are in force.
    async fn reprice(&self) {
        let prices = self.card.in_force().load_full();
        let mut repricing = self.card.repricing(prices, (0, u64::MAX), false);
        while repricing.step().await.expect("a step") {}
    }
}

/// They hold for all that is asked for.
fn others() -> [PriceEntry; 2] {
    [
        model("model = \"a\"\nprompt = \"0.210000001\"\ncompletion = \"0.31\"\ngpu_second = \"0.7\""),
        model(
            "model = \"*\"\nprompt = \"0.07\"\ncached_prompt = \"0.01\"\ncompletion = \"0.000000001\"\n\
             audio_second = \"0.0000007\"\nimage = \"0.03\"",
        ),
    ]
}

fn model(text: &str) -> PriceEntry {
    toml::from_str(text).expect("a price")
}

/// What the sums must be by key, team, model and endpoint, and by a period, as far as rows tell.
fn of_rows(rows: &[RowLine], cut: impl Fn(i64) -> i64) -> Sorted {
    let mut sorted = Sorted::new();
    for row in rows {
        let second = Row::second(Row::halves(&row.id)[0]);
        let [key, team, model, _, endpoint, ..] = row.names.clone();
        let sums =
            sorted.entry((cut(second), vec![key, team, model, endpoint])).or_insert([0; Figure::COUNT]);
        let value = |column: Column| row.values[column as usize].unwrap_or(0);
        let cache = row.values[Column::Cache as usize].and_then(CacheOutcome::numbered).expect("an end");
        let is_given = cache.is_given();
        let (is_hit, is_gone) = (cache.is_hit(), row.failure[0] == "client_gone");
        let is_saved = row.values[Column::SavedCost as usize].is_some();
        let gpu = value(Column::Load) + value(Column::PromptTime) + value(Column::CompletionTime);
        let rating = row.values[Column::Rating as usize];
        for (figure, amount) in [
            (Figure::Requests, 1),
            (Figure::Hits, is_hit.into()),
            (Figure::Joined, (cache == CacheOutcome::Joined).into()),
            (Figure::Failed, (!is_gone && value(Column::Ending) != 1).into()),
            (Figure::Cancelled, is_gone.into()),
            (Figure::Trips, (!is_given).into()),
            (Figure::Total, value(Column::Total)),
            (Figure::Cost, value(Column::Cost)),
            (Figure::SavedCost, value(Column::SavedCost)),
            (Figure::Unpriced, (!is_given && row.price == "unpriced").into()),
            (Figure::Rated, rating.is_some().into()),
            (Figure::Liked, (rating == Some(1)).into()),
            (Figure::Disliked, (rating == Some(-1)).into()),
        ] {
            sums[figure as usize] += amount;
        }
        let [prompt, completion, spent] = match (is_given, is_saved) {
            (true, true) => [Figure::SavedPrompt, Figure::SavedCompletion, Figure::SavedGpu],
            (true, false) => continue,
            (false, _) => {
                sums[Figure::CompletionTime as usize] += value(Column::CompletionTime);
                sums[Figure::Audio as usize] += value(Column::Audio);
                sums[Figure::Images as usize] += value(Column::Images);
                [Figure::Prompt, Figure::Completion, Figure::Gpu]
            }
        };
        sums[prompt as usize] += value(Column::Prompt);
        sums[completion as usize] += value(Column::Completion);
        sums[spent as usize] += gpu;
    }
    sorted
}

/// What no row tells.
fn without_shares(mut sums: Sums) -> Sums {
    let shares = [Figure::PromptCost, Figure::CompletionCost, Figure::GpuCost].map(|share| share as usize);
    let whole: i64 = shares.iter().map(|share| sums[*share]).sum();
    assert!(whole <= sums[Figure::Cost as usize], "hits cost something besides");
    shares.into_iter().for_each(|share| sums[share] = 0);
    sums
}

async fn rows(store: &Store, filter: &Filter) -> Vec<RowLine> {
    let mut all: Vec<RowLine> = Vec::new();
    loop {
        let after = all.last().map(|row| row.id);
        let page = ledger::page(store, (0, i64::MAX), after.as_ref(), filter, 100).await.expect("a page");
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

async fn sums(store: &Store, stretch: &Stretch, by: &[By], filter: &Filter) -> Sorted {
    let lines = lines(store, stretch, by, filter, usize::MAX).await;
    for most in [lines.len() / 3 + 1, lines.len().max(1)] {
        assert_eq!(self::lines(store, stretch, by, filter, most).await, lines, "{most} at once");
    }
    assert!(lines.is_sorted_by_key(|line| (line.start, line.names.clone())));
    let sorted = |Line { start, names, sums }| ((start, names), without_shares(sums));
    lines.into_iter().map(sorted).collect()
}

/// All lines, so many at once.
async fn lines(store: &Store, stretch: &Stretch, by: &[By], filter: &Filter, most: usize) -> Vec<Line> {
    let mut all: Vec<Line> = Vec::new();
    loop {
        let lines = ledger::lines(store, stretch, by, filter, all.last(), most).await.expect("lines");
        assert!(lines.len() <= most);
        let is_last = lines.len() < most;
        all.extend(lines);
        if is_last {
            return all;
        }
    }
}

fn all(period: Period, cut: Cut) -> Stretch {
    Stretch { pieces: vec![Piece { period, from: 0, until: 1 << 40 }], cut }
}

/// Rows, and sums in every cut, agree.
async fn agree(store: &Store) {
    let none = Filter::default();
    let rows = rows(store, &none).await;
    for period in Period::ALL {
        let seconds = period.seconds();
        let cut = Cut::Each { seconds, offset: 0 };
        let expected = of_rows(&rows, |second| second - second % seconds);
        assert_eq!(sums(store, &all(period, cut), &By::ALL, &none).await, expected, "{period:?}");
    }
    for (period, offset) in [(Period::Hour, -5 * 3_600), (Period::Hour, 3_600), (Period::Minute, 19_800)] {
        let cut = Cut::Each { seconds: DAY, offset };
        let expected = of_rows(&rows, |second| second - (second + offset) % DAY);
        assert_eq!(sums(store, &all(period, cut), &By::ALL, &none).await, expected, "{offset}");
    }
    // Put together of minutes, hours and days; seen by less; and only some of it.
    let [from, until] = [FIRST + 5_520, FIRST + 2 * DAY + 10_980];
    let piece = |period, from, until| Piece { period, from, until };
    let pieces = vec![
        piece(Period::Minute, from, FIRST + 7_200),
        piece(Period::Hour, FIRST + 7_200, FIRST + DAY),
        piece(Period::Day, FIRST + DAY, FIRST + 2 * DAY),
        piece(Period::Hour, FIRST + 2 * DAY, FIRST + 2 * DAY + 10_800),
        piece(Period::Minute, FIRST + 2 * DAY + 10_800, until),
    ];
    let stretch = Stretch { pieces, cut: Cut::Whole { start: 5 } };
    let filter = Filter { team: Some("lab".into()), model: Some("a".into()), ..Filter::default() };
    let within: Vec<RowLine> = rows
        .into_iter()
        .filter(|row| (from..until).contains(&Row::second(Row::halves(&row.id)[0])))
        .filter(|row| row.names[1] == "lab" && row.names[2] == "a")
        .collect();
    let mut expected = Sorted::new();
    for ((start, names), sums) in of_rows(&within, |_| 5) {
        let less =
            expected.entry((start, vec![names[3].clone(), names[0].clone()])).or_insert([0; Figure::COUNT]);
        less.iter_mut().zip(sums).for_each(|(less, sum)| *less += sum);
    }
    assert_eq!(sums(store, &stretch, &[By::Endpoint, By::Key], &filter).await, expected);
}

pub fn database(ground: &Ground) -> Arc<Shared> {
    Arc::new(Shared::new(ground.place(), options(), vec![ledger::migrations(), prices::migrations()]))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_sums_agree_after_whatever_comes_in_and_after_ratings() {
    for ground in grounds() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = database(&ground);
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut chance = Chance::new(folder.path(), &database, u32::MAX, seed);
        let store = database.store().await.expect("a store");
        for _ in 0..6 {
            (0..chance.random.usize(1..80)).for_each(|_| chance.request());
            chance.drain().await;
            agree(&store).await;
        }
        for row in rows(&store, &Filter::default()).await {
            let rating = chance.random.i64(-1..=1);
            let key = Some(row.names[0].as_str());
            assert!(!ledger::rate(&store, &row.id, Some("dan"), rating).await.expect("rate"), "another's");
            assert!(ledger::rate(&store, &row.id, key, chance.random.i64(-1..=1)).await.expect("rate"));
            assert!(ledger::rate(&store, &row.id, None, rating).await.expect("rate"));
        }
        assert!(!ledger::rate(&store, &[1; 16], None, 1).await.expect("rate"), "no such request");
        agree(&store).await;
        for prices in [&others()[..], &[]] {
            chance.card.set(prices, true).await.expect("set");
            chance.reprice().await;
            agree(&store).await;
        }
        let key = Filter { key: Some("ann".into()), ..Filter::default() };
        let own = rows(&store, &key).await;
        assert!(!own.is_empty() && own.iter().all(|row| row.names[0] == "ann"));
        database.close().await;
    }
}

/// L-17: what somebody has changed is found; also among hits that have no row of their own.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_has_changed_is_found() {
    for hit_rows in [u32::MAX, 1] {
        for ground in grounds() {
            let folder = tempfile::tempdir().expect("a folder");
            let database = database(&ground);
            let mut chance = Chance::new(folder.path(), &database, hit_rows, 11);
            (0..400).for_each(|_| chance.request());
            chance.drain().await;
            let store = database.store().await.expect("a store");
            let audit = Audit::new(database.clone());
            let first = ledger::first_whole_hour(&store).await.expect("it is told").expect("rows");
            let hours: Vec<i64> = (first..chance.first + 3 * DAY).step_by(3_600).collect();
            for hour in &hours {
                assert_eq!(ledger::odd(&store, *hour).await.expect("it is told"), [], "{hour}");
                audit.step().await.expect("a look");
            }
            assert_eq!(audit.odd(), 0);

            let row = "(SELECT MAX(id_head) FROM ledger_row WHERE completion > 0 AND cache = 3)";
            let change = format!("UPDATE ledger_row SET completion = completion + 1 WHERE id_head = {row}");
            let mut work = store.write().await.expect("write");
            assert!(work.change(Statement::new(change)).await.expect("changed") >= 1);
            work.done().await.expect("done");
            let mut found = Vec::new();
            for hour in &hours {
                found.extend(ledger::odd(&store, *hour).await.expect("it is told"));
            }
            let [Odd { figure: Figure::Completion, rows, sums }] = found[..] else { panic!("{found:?}") };
            assert_eq!(rows, sums + 1);
            // It begins with the first of them.
            let again = Audit::new(database.clone());
            for _ in &hours {
                again.step().await.expect("a look");
            }
            assert_eq!(again.odd(), 1);
            database.close().await;
        }
    }
}

/// What is taken back is what was said, whatever it would come to now.
#[tokio::test(flavor = "multi_thread")]
async fn a_hit_that_was_left_takes_nothing_with_it_that_it_had_not_brought() {
    for ground in grounds() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = database(&ground);
        let mut chance = Chance::new(folder.path(), &database, u32::MAX, 3);
        let call = CallFacts {
            operation: Operation::Chat,
            streamed: true,
            model: "a".into(),
            digest: "d".into(),
            unlisted: None,
        };
        let subject = chance.spool.symbols().subject(ROUTES[0], Some(&call));
        let usage = Usage { source: Source::Upstream, prompt: 1_000, completion: 1_000, ..Usage::default() };
        let observed = Observed { usage, ..Observed::default() };
        let request = RequestId::new(UNIX_EPOCH + Duration::from_secs(FIRST as u64));
        chance.told = 1;
        let store = database.store().await.expect("a store");
        for ending in [Ending::Complete, Ending::Broken(Kind::ClientGone)] {
            let is_left = ending != Ending::Complete;
            let told = Told {
                request,
                status: 200,
                ending,
                cache: CacheOutcome::Hit,
                total: Duration::from_micros(12),
                first_byte: None,
                observed: Some(&observed),
                message: "",
                amends: is_left.then_some((200, Duration::from_micros(12))),
            };
            chance.spool.answer(&told, &chance.keys[0], &subject);
            chance.drain().await;
            agree(&store).await;
            let days = all(Period::Day, Cut::Whole { start: 0 });
            let sums = sums(&store, &days, &[], &Filter::default()).await.into_values().next().expect("sums");
            assert_eq!(
                (sums[Figure::Cost as usize] == 0, sums[Figure::SavedCost as usize] == 0),
                (is_left, is_left)
            );
            chance.card.set(&others(), true).await.expect("set");
        }
        database.close().await;
    }
}

/// Billed at once or anew, it comes to the same: in every minute, for every figure, its shares among them.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_billed_anew_is_as_if_it_had_been_billed_so_at_once() {
    for (ground, other) in grounds().iter().zip(grounds()) {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut told: Vec<Vec<_>> = Vec::new();
        for (ground, at_once) in [(ground, true), (&other, false)] {
            let folder = tempfile::tempdir().expect("a folder");
            let database = database(ground);
            let mut chance = Chance::new(folder.path(), &database, u32::MAX, seed);
            if at_once {
                chance.card.set(&others(), true).await.expect("set");
            }
            (0..700).for_each(|_| chance.request());
            chance.drain().await;
            if !at_once {
                chance.card.set(&others(), true).await.expect("set");
                chance.reprice().await;
            }
            let store = database.store().await.expect("a store");
            let minutes = all(Period::Minute, Cut::Each { seconds: 60, offset: 0 });
            let lines = ledger::lines(&store, &minutes, &By::ALL, &Filter::default(), None, usize::MAX)
                .await
                .expect("lines");
            told.push(lines.into_iter().map(|Line { start, names, sums }| (start, names, sums)).collect());
            database.close().await;
        }
        assert!(told[0].len() > 100);
        assert_eq!(told[0], told[1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_without_rows_are_in_the_sums() {
    for ground in grounds() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = database(&ground);
        let mut chance = Chance::new(folder.path(), &database, 10, 1);
        chance.told = 500;
        let subject = chance.spool.symbols().subject(ROUTES[0], None);
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(FIRST as u64);
        let usage = Usage { source: Source::Upstream, prompt: 3, ..Usage::default() };
        let observed = Observed { usage, ..Observed::default() };
        for _ in 0..500 {
            let told = Told {
                request: RequestId::new(at),
                status: 200,
                ending: Ending::Complete,
                cache: CacheOutcome::Hit,
                total: Duration::from_micros(12),
                first_byte: None,
                observed: Some(&observed),
                message: "",
                amends: None,
            };
            chance.spool.answer(&told, &chance.keys[0], &subject);
        }
        chance.drain().await;
        let store = database.store().await.expect("a store");
        assert_eq!(ledger::count(&store).await.expect("a number"), 10);
        for period in Period::ALL {
            let whole = all(period, Cut::Whole { start: 0 });
            let lines = ledger::lines(&store, &whole, &[], &Filter::default(), None, 9).await.expect("lines");
            let [Line { sums, .. }] = &lines[..] else { panic!("{lines:?}") };
            let figures = [Figure::Requests, Figure::Hits, Figure::SavedPrompt, Figure::Cost, Figure::Total];
            assert_eq!(figures.map(|figure| sums[figure as usize]), [500, 500, 1_500, 3_500, 6_000]);
        }
        database.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_and_their_sums_stay() {
    for ground in grounds() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = database(&ground);
        let mut chance = Chance::new(folder.path(), &database, u32::MAX, 2);
        (0..300).for_each(|_| chance.request());
        chance.drain().await;
        let store = database.store().await.expect("a store");
        let (none, days) = (Filter::default(), all(Period::Day, Cut::Each { seconds: DAY, offset: 0 }));
        let before = sums(&store, &days, &By::ALL, &none).await;
        let rows_before = rows(&store, &none).await;
        let count = ledger::count(&store).await.expect("a number");
        assert_eq!(count, rows_before.len() as i64);

        let first_kept = ledger::first_kept(&store, 200).await.expect("asked").expect("a row");
        assert_eq!(first_kept, rows_before[200].id);
        let mut steps = Vec::new();
        while steps.last() != Some(&0) {
            steps.push(ledger::remove_rows(&store, &first_kept, 64).await.expect("remove"));
        }
        assert_eq!(steps, [64, 64, 64, 8, 0]);
        assert_eq!(rows(&store, &none).await, rows_before[200..]);
        assert_eq!(ledger::first_kept(&store, 1_000).await.expect("asked"), None);
        assert_eq!(sums(&store, &days, &By::ALL, &none).await, before);

        while ledger::remove_sums(&store, Period::Minute, FIRST + 3 * DAY, 100).await.expect("remove") > 0 {}
        ledger::give_back(&store).await.expect("give back");
        assert!(sums(&store, &all(Period::Minute, Cut::Whole { start: 0 }), &[], &none).await.is_empty());
        // A sum that has gone does not come again when what it was of is rated.
        assert!(ledger::rate(&store, &first_kept, None, 1).await.expect("rate"));
        assert!(sums(&store, &all(Period::Minute, Cut::Whole { start: 0 }), &[], &none).await.is_empty());
        let after = sums(&store, &days, &[], &none).await;
        let [sums] = [after.values().map(|sums| sums[Figure::Liked as usize]).sum::<i64>()];
        assert_eq!(sums, 1);
        let told = ledger::performance(&store, 2_000_000).await.expect("told");
        let totals = rows_before[200..].iter().map(|row| row.values[Column::Total as usize].expect("a time"));
        assert_eq!(told.requests, count - 200);
        assert_eq!(Some(told.slowest), totals.clone().max());
        assert_eq!(told.slow, totals.filter(|total| *total > 2_000_000).count() as i64);
        database.close().await;
    }
}
