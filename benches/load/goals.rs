//! The goals, each held against what was measured.

use crate::contender::Kind;
use crate::footprint;
use crate::results::{Behind, Results, Sample, Stampede, Table, Tier, added_us, median};

/// A figure that must be reached, or not be exceeded.
#[derive(Debug, Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// One row of the table of goals.
pub struct Goal {
    pub what: String,
    pub bound: String,
    pub measured: String,
    pub verdict: String,
}

const MEGABYTE: f64 = 1e6;
/// What still counts as flat: the noise between two samples, and some cache misses.
const FLAT: f64 = 1.25;

/// All goals in their order. What was not measured is said to be so.
pub fn all(results: &Results) -> Vec<Goal> {
    let mut goals = throughput(results);
    goals.extend(latency(results));
    goals.extend(herd(results));
    goals.extend(footprint(results));
    goals.push(growth(results));
    goals.extend(tiers(results));
    goals.extend(texts(results));
    goals.extend(books(results));
    goals.extend(shelves(results));
    goals.extend(crowd(results));
    goals.extend(month(results));
    goals.extend(speech(results));
    goals
}

fn throughput(results: &Results) -> Vec<Goal> {
    let hit = |size: &str, over: &str| format!("memory hit, {size}: requests/s on one core over {over}");
    use Kind::{Bare, NginxCache, PassThrough};
    let misses = |kind| results.misses.as_ref().and_then(|it| it.ratio(Sample::cpu_us, kind, PassThrough));
    let miss = |behind: &str| format!("answered miss, {behind}: CPU of a request over plain Pingora");
    vec![
        rate(hit("250 B answer", "nginx's cache"), 1.5, &results.small, NginxCache),
        rate(hit("250 B answer", "bare hyper"), 1.0, &results.small, Bare),
        rate(hit("768 numbers", "nginx's cache"), 2.0, &results.embedding, NginxCache),
        rate(hit("8 KiB request", "nginx's cache"), 2.7, &results.long, NginxCache),
        rate(
            "forwarded route: requests/s over plain Pingora".to_owned(),
            1.0,
            &results.forwarded,
            PassThrough,
        ),
        times(miss("memory alone"), Bound::AtMost(2.0), misses(Kind::PannierMemory)),
        times(miss("SQLite behind it"), Bound::AtMost(2.0), misses(Kind::Pannier)),
    ]
}

/// Requests a second over a rival's; in brackets what the CPU of a request alone would make of it.
fn rate(what: String, limit: f64, table: &Option<Table>, over: Kind) -> Goal {
    rate_of(Kind::Pannier, what, limit, table, over)
}

fn rate_of(kind: Kind, what: String, limit: f64, table: &Option<Table>, over: Kind) -> Goal {
    let ratio = |figure, one, other| table.as_ref()?.ratio(figure, one, other);
    let by_rate = ratio(Sample::requests_per_second, kind, over);
    let by_cpu = ratio(Sample::cpu_us, over, kind);
    let mut goal = times(what, Bound::AtLeast(limit), by_rate);
    if let Some(by_cpu) = by_cpu {
        goal.measured += &format!(" (by CPU {by_cpu:.2} ×)");
    }
    goal
}

fn latency(results: &Results) -> Vec<Goal> {
    let ways = [(Kind::PannierMemory, "memory alone"), (Kind::Pannier, "SQLite behind it")];
    let goals = ways.map(|(kind, behind)| {
        let added = |series, part| added_us(series, kind, Kind::Direct, part);
        let micros = |what: String, limit, measured| goal(what, Bound::AtMost(limit), measured, " µs", 0);
        let miss = |part: &str| format!("added latency, one client, miss, {behind}: {part} over direct");
        let token = format!("first streamed token, {behind}, added: p50");
        [
            micros(miss("p50"), 70.0, added(&results.answers, 0.5)),
            micros(miss("p99"), 150.0, added(&results.answers, 0.99)),
            micros(token, 200.0, added(&results.first_tokens, 0.5)),
        ]
    });
    goals.into_iter().flatten().collect()
}

fn herd(results: &Results) -> Vec<Goal> {
    let rounds: Vec<&Stampede> =
        results.herd.iter().filter(|stampede| stampede.kind == Kind::Pannier).collect();
    // The worst round counts: one second call is one too many.
    let calls = rounds.iter().map(|stampede| stampede.upstream_calls as f64).reduce(f64::max);
    let unequal = rounds.iter().filter(|stampede| !stampede.equal).count() as f64;
    let unequal = (!rounds.is_empty()).then_some(unequal);
    let behind = median(rounds.iter().map(|stampede| stampede.p99_ms - stampede.leader_ms));
    vec![
        goal("1,000 identical at once: upstream calls".to_owned(), Bound::AtMost(1.0), calls, "", 0),
        goal(
            "1,000 identical at once: rounds with unequal answers".to_owned(),
            Bound::AtMost(0.0),
            unequal,
            "",
            0,
        ),
        goal(
            "1,000 identical at once: p99 behind the leader".to_owned(),
            Bound::AtMost(20.0),
            behind,
            " ms",
            1,
        ),
    ]
}

fn footprint(results: &Results) -> Vec<Goal> {
    let pannier = results.footprints.iter().find(|footprint| footprint.kind == Kind::Pannier);
    let idle = pannier.map(|it| it.idle_bytes as f64 / MEGABYTE);
    let streams = pannier.map(|it| (it.with_streams_bytes as f64 - it.idle_bytes as f64) / MEGABYTE);
    let start = pannier.and_then(|it| median(it.first_answers.iter().map(|took| took.as_secs_f64() * 1e3)));
    vec![
        goal("idle memory".to_owned(), Bound::AtMost(40.0), idle, " MB", 1),
        goal(
            format!("{} idle streams, in addition", footprint::STREAMS),
            Bound::AtMost(45.0),
            streams,
            " MB",
            1,
        ),
        goal("start to first answer".to_owned(), Bound::AtMost(100.0), start, " ms", 1),
    ]
}

fn growth(results: &Results) -> Goal {
    let steps: Vec<_> =
        results.growth.iter().filter(|step| step.standing.kind == Kind::PannierMemory).collect();
    let grown = match (steps.first(), steps.last()) {
        (Some(few), Some(many)) if few.entries < many.entries => few
            .standing
            .median(Sample::cpu_us)
            .zip(many.standing.median(Sample::cpu_us))
            .map(|(few, many)| many / few),
        _ => None,
    };
    let many = steps.last().map_or_else(|| "many".to_owned(), |step| step.entries.to_string());
    times(format!("CPU of a hit among {many} entries over one among 1000"), Bound::AtMost(FLAT), grown)
}

fn tiers(results: &Results) -> Vec<Goal> {
    let memory = "memory hit, 250 B answer, all tiers behind it: requests/s over memory alone".to_owned();
    let hit = |tier: Tier, name: &str, part, limit| {
        let hits = results.tier_hits.iter().find(|hits| hits.tier == tier);
        let entries = hits.map_or_else(|| "many".to_owned(), |hits| hits.entries.to_string());
        let measured = hits.and_then(|hits| hits.series.quantile_us(part)).map(|micros| micros / 1e3);
        let what = format!("hit in {} among {entries} entries: {name}", tier.label());
        goal(what, Bound::AtMost(limit), measured, " ms", 2)
    };
    let cpu = |behind| results.tolls.iter().find(|toll| toll.behind == behind)?.cpu.quantile_us(0.5);
    let kept = cpu(Behind::All).zip(cpu(Behind::AllUnkept)).map(|(kept, unkept)| kept - unkept);
    let storing =
        "miss kept in all tiers: CPU before the answer's end over one only looked up there".to_owned();
    vec![
        rate_of(Kind::PannierTiers, memory, 1.0, &results.with_tiers, Kind::PannierMemory),
        hit(Tier::Redis, "p50", 0.5, 0.4),
        hit(Tier::Redis, "p99", 0.99, 1.0),
        hit(Tier::Sqlite, "p99", 0.99, 2.0),
        hit(Tier::Postgres, "p99", 0.99, 5.0),
        goal(storing, Bound::AtMost(50.0), kept, " µs", 0),
    ]
}

fn texts(results: &Results) -> Vec<Goal> {
    let texts = results.texts.as_ref();
    let (half, known) = texts.map_or((None, None), |texts| texts.saved());
    let many = texts.map_or(1_000, |texts| texts.many);
    let vectors = results.vectors.as_ref();
    let count = vectors.map_or(1_000_000, |vectors| vectors.many);
    let size = vectors.map(|vectors| vectors.taken as f64 / vectors.raw as f64);
    let over = |name: &str| format!("{many} texts on a real Ollama, {name}: times as fast as directly");
    vec![
        times(over("half of them known"), Bound::AtLeast(1.9), half),
        times(over("all known"), Bound::AtLeast(100.0), known),
        times(
            format!("{many} texts over 8 upstreams that take 25 ms each: times as fast as one"),
            Bound::AtLeast(7.5),
            texts.and_then(|texts| texts.spread()),
        ),
        times(format!("memory of {count} vectors of 384 over their raw size"), Bound::AtMost(1.2), size),
    ]
}

fn books(results: &Results) -> Vec<Goal> {
    use Kind::{NginxCache, PannierBooks, PannierUnbooked};
    let hit = |over: &str| format!("memory hit, keys wanted and books kept: requests/s over {over}");
    let rate = |over: &str, limit, kind| rate_of(PannierBooks, hit(over), limit, &results.booked_hits, kind);
    let misses = results.booked_misses.as_ref();
    let added = misses.and_then(|table| table.added(Sample::cpu_us, PannierBooks, PannierUnbooked));
    vec![
        rate("neither", 0.97, PannierUnbooked),
        rate("nginx's cache", 1.0, NginxCache),
        goal(
            "answered miss, keys wanted and books kept: CPU over neither".to_owned(),
            Bound::AtMost(15.0),
            added,
            " µs",
            1,
        ),
    ]
}

fn shelves(results: &Results) -> Vec<Goal> {
    let of = |name: &str| results.shelves.iter().find(|shelf| shelf.database == name).map(|shelf| shelf.row);
    let row = |name: &str| {
        goal(format!("a row of the books on disk, {name}"), Bound::AtMost(120.0), of(name), " B", 0)
    };
    vec![row("SQLite"), row("PostgreSQL")]
}

fn crowd(results: &Results) -> Vec<Goal> {
    let crowd = results.crowd.as_ref();
    let (few, many) = crowd.map_or((10, 100_000), |crowd| (crowd.few, crowd.many));
    let grown = crowd.map(|crowd| crowd.grown as f64 / MEGABYTE);
    vec![
        times(
            format!("CPU of a hit with a key, among {many} keys over among {few}"),
            Bound::AtMost(FLAT),
            crowd.map(|crowd| crowd.cpu_us[1] / crowd.cpu_us[0]),
        ),
        goal(format!("memory of {many} keys"), Bound::AtMost(40.0), grown, " MB", 1),
    ]
}

fn month(results: &Results) -> Vec<Goal> {
    let month = results.month.as_ref();
    let rows = month.map_or_else(|| "many".to_owned(), |month| month.rows.to_string());
    let slowest = month.and_then(|month| month.reports.iter().max().copied());
    let millis = |what: &str, limit, took: Option<std::time::Duration>| {
        let took = took.map(|took| took.as_secs_f64() * 1e3);
        goal(format!("{what} over {rows} requests"), Bound::AtMost(limit), took, " ms", 0)
    };
    vec![
        millis("a month by key and model", 1_000.0, slowest),
        millis("first byte of a CSV list", 1_000.0, month.map(|month| month.first_byte)),
        goal(
            "growth of the server while the list is read".to_owned(),
            Bound::AtMost(16.0),
            month.map(|month| month.grown as f64 / MEGABYTE),
            " MB",
            1,
        ),
    ]
}

fn speech(results: &Results) -> Vec<Goal> {
    let speech = results.speech.as_ref();
    let mut goals = Vec::new();
    for heard in speech.map_or(&[][..], |speech| &speech.heard) {
        let ((wall, cpu), (own, own_cpu)) = (heard.over_rival(), heard.over_engine());
        let (model, threads, seconds) = (&heard.model, heard.threads, heard.seconds);
        let what = |of: &str| format!("{seconds} s of speech, {model}, {threads} threads: {of}");
        goals.push(times(what("time over its own engine alone"), Bound::AtMost(1.05), own));
        goals.push(times(what("CPU over its own engine alone"), Bound::AtMost(1.05), own_cpu));
        goals.push(times(what("time over the newest whisper.cpp"), Bound::AtMost(1.05), wall));
        goals.push(times(what("CPU over the newest whisper.cpp"), Bound::AtMost(1.05), cpu));
    }
    let percent = speech.and_then(|speech| speech.opening()).map(|part| part * 100.0);
    let grown = speech.and_then(|speech| speech.grown).map(|bytes| bytes as f64 / MEGABYTE);
    goals.push(goal("opening a recording, of all CPU".to_owned(), Bound::AtMost(5.0), percent, " %", 1));
    goals.push(times(
        "memory hit while somebody listens on the other core: throughput by CPU over alone".to_owned(),
        Bound::AtLeast(0.9),
        speech.and_then(|speech| speech.left()),
    ));
    goals.push(times(
        "the same over that while its engine alone listens there".to_owned(),
        Bound::AtLeast(0.9),
        speech.and_then(|speech| speech.left_of_busy()),
    ));
    goals.push(times(
        "hit of a transcript: CPU over one of a chat that is as long".to_owned(),
        Bound::AtMost(1.5),
        speech.and_then(|speech| speech.hit()),
    ));
    let held_up = speech.and_then(|speech| speech.held_up());
    let what = "hit beside bad recordings and pictures: p99 over alone".to_owned();
    goals.push(goal(what, Bound::AtMost(20.0), held_up, " ms more", 2));
    goals.push(goal("growth of the server by recordings".to_owned(), Bound::AtMost(4.0), grown, " MB", 1));
    goals
}

fn times(what: String, bound: Bound, measured: Option<f64>) -> Goal {
    goal(what, bound, measured, " ×", 2)
}

fn goal(what: String, bound: Bound, measured: Option<f64>, unit: &str, digits: usize) -> Goal {
    let (sign, limit) = match bound {
        Bound::AtLeast(limit) => ("≥", limit),
        Bound::AtMost(limit) => ("≤", limit),
    };
    Goal {
        what,
        bound: format!("{sign} {limit}{unit}"),
        measured: measured.map_or_else(|| "–".to_owned(), |figure| format!("{figure:.digits$}{unit}")),
        verdict: measured.map_or_else(|| "not measured".to_owned(), |figure| verdict(bound, figure)),
    }
}

fn verdict(bound: Bound, figure: f64) -> String {
    match bound {
        Bound::AtLeast(limit) if figure < limit => {
            format!("**short by {:.0} %**", (1.0 - figure / limit) * 100.0)
        }
        Bound::AtMost(limit) if figure > limit && limit > 0.0 => {
            format!("**over by {:.0} %**", (figure / limit - 1.0) * 100.0)
        }
        Bound::AtMost(limit) if figure > limit => "**missed**".to_owned(),
        Bound::AtLeast(_) | Bound::AtMost(_) => "met".to_owned(),
    }
}
