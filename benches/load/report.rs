//! The report: docs/benchmarks.md, written whole from what was measured.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;

use crate::chart::{bars, thousands};
use crate::contender::Kind;
use crate::goals;
use crate::ground::Ground;
use crate::heard::Opened;
use crate::machine;
use crate::profile;
use crate::results::{Behind, Results, Sample, Series, Shelf, Table, Toll, added_us, median};
use crate::wrk::CONNECTIONS;

const HEAD: &str = "# Benchmarks\n\n\
    Written by `make bench`; do not edit. Compare figures only within one run: the ratios carry over to \
    another machine, the absolute figures do not.\n\n";

const METHOD: &str = include_str!("method.md");

/// Prints the goals, and writes the page if this was a whole run or a place for it was named.
pub fn publish(ground: &Ground, results: &Results) -> anyhow::Result<()> {
    let page = page(ground, results);
    let place = match &ground.options.out {
        Some(place) => place.clone(),
        None if ground.options.is_complete() => {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join("benchmarks.md")
        }
        None => {
            println!("{page}\nnot written: this was not a whole run");
            return Ok(());
        }
    };
    write(&place, &page)?;
    println!("\n{}", goal_table(ground, results));
    println!("written: {}", place.display());
    Ok(())
}

fn write(place: &PathBuf, page: &str) -> anyhow::Result<()> {
    if let Some(dir) = place.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(place, page).with_context(|| format!("cannot write {}", place.display()))
}

fn page(ground: &Ground, results: &Results) -> String {
    let mut page = HEAD.to_owned();
    page += "## Goals\n\n";
    page += &goal_table(ground, results);
    page += "\n## Memory hits\n\nRequests a second on one core, median of the rounds.\n\n";
    let hits = [&results.small, &results.embedding, &results.long];
    for table in hits.into_iter().flatten() {
        page += &chart(table);
        page += &standings(table, &[Kind::NginxCache, Kind::Bare]);
    }
    page += "## Forwarded routes and answered misses\n\n";
    page += "Every request is new, and every one of them goes upstream. Load generator and stub share a core, \
             so the server is not always the limit: the CPU of a request is the figure to read.\n\n";
    if let Some(table) = &results.forwarded {
        page += "### Forwarded: POST /api/show\n\n";
        page += &standings(table, &[Kind::PassThrough, Kind::NginxProxy]);
    }
    if let Some(table) = &results.misses {
        page += "### Answered: POST /api/chat, never seen before\n\n";
        page += &standings(table, &[Kind::PassThrough, Kind::NginxProxy]);
    }
    page += "## Added latency\n\nOne client, one connection, every request new, contenders in turn.\n\n";
    page += &latencies("whole answer", &results.answers);
    page += &latencies("first streamed token", &results.first_tokens);
    page += &herd(results);
    page += &footprints(results);
    page += &growth(results);
    page += &tiers(results);
    page += &texts(results);
    page += &books(results);
    page += &speech(results);
    page += &profile::tables(&results.profiles);
    page += &failures(results);
    page += METHOD;
    page += &circumstances(ground);
    page
}

fn goal_table(ground: &Ground, results: &Results) -> String {
    let mut table = "| what | goal | measured | verdict |\n|---|---|---|---|\n".to_owned();
    for goal in goals::all(results) {
        let _ = writeln!(table, "| {} | {} | {} | {} |", goal.what, goal.bound, goal.measured, goal.verdict);
    }
    let (disturbed, taken) = (ground.quiet.disturbed.get(), ground.quiet.taken.get());
    if disturbed > 0 {
        let _ = writeln!(
            table,
            "\n{disturbed} of {taken} samples were disturbed by others on this machine: trust the CPU more than \
             requests a second and latencies."
        );
    }
    table
}

fn chart(table: &Table) -> String {
    let rows: Vec<(&str, f64)> = table
        .standings
        .iter()
        .filter_map(|standing| Some((standing.kind.label(), standing.median(Sample::requests_per_second)?)))
        .collect();
    format!("### {}\n\n```text\n{}```\n\n", capitalised(table.title), bars(&rows))
}

/// Each contender's figures, and how it compares to each of `rivals`.
fn standings(table: &Table, rivals: &[Kind]) -> String {
    let mut text = "| server | requests/s | p50 µs | p99 µs | CPU µs a request | cores used |".to_owned();
    for rival in rivals {
        let _ = write!(text, " × {}: requests/s | CPU |", rival.label());
    }
    text += "\n|---|--:|--:|--:|--:|--:|";
    text += &"--:|--:|".repeat(rivals.len());
    text.push('\n');
    for standing in &table.standings {
        let figure = |figure| standing.median(figure).unwrap_or(f64::NAN);
        let _ = write!(
            text,
            "| {} | {} | {:.0} | {:.0} | {:.2} | {:.2} |",
            standing.kind.label(),
            thousands(figure(Sample::requests_per_second)),
            figure(Sample::p50_us),
            figure(Sample::p99_us),
            figure(Sample::cpu_us),
            figure(Sample::cores),
        );
        for rival in rivals {
            let ratio = |figure| {
                let ratio = table.ratio(figure, standing.kind, *rival);
                ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"))
            };
            let _ = write!(text, " {} | {} |", ratio(Sample::requests_per_second), ratio(Sample::cpu_us));
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

fn latencies(title: &str, all: &[Series]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let requests = all.iter().map(|series| series.latencies.len()).max().unwrap_or(0);
    let mut text = format!(
        "| {title}, {} requests each | p50 µs | p90 µs | p99 µs | added p50 | added p99 |\n\
         |---|--:|--:|--:|--:|--:|\n",
        thousands(requests as f64)
    );
    for series in all {
        let at = |part| series.quantile_us(part).unwrap_or(f64::NAN);
        let added = |part| added_us(all, series.kind, Kind::Direct, part).unwrap_or(f64::NAN);
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
            series.kind.label(),
            at(0.5),
            at(0.9),
            at(0.99),
            added(0.5),
            added(0.99)
        );
    }
    text.push('\n');
    text
}

fn herd(results: &Results) -> String {
    let mut text = "## 1,000 identical requests at once\n\nThe upstream takes 200 ms. The leader is the client \
                    that asked first.\n\n| server | upstream calls | leader ms | p50 ms | p99 ms | all equal |\n\
                    |---|--:|--:|--:|--:|---|\n"
        .to_owned();
    for stampede in &results.herd {
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} | {:.1} | {:.1} | {} |",
            stampede.kind.label(),
            stampede.upstream_calls,
            stampede.leader_ms,
            stampede.p50_ms,
            stampede.p99_ms,
            if stampede.equal { "yes" } else { "no" }
        );
    }
    text.push('\n');
    text
}

fn footprints(results: &Results) -> String {
    let mut text = "## Memory and start\n\n| server | idle MB | with 1,000 idle streams MB | start to first \
                    answer ms |\n|---|--:|--:|--:|\n"
        .to_owned();
    for footprint in &results.footprints {
        let start = median(footprint.first_answers.iter().map(|took| took.as_secs_f64() * 1e3));
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.1} | {:.1} |",
            footprint.kind.label(),
            footprint.idle_bytes as f64 / 1e6,
            footprint.with_streams_bytes as f64 / 1e6,
            start.unwrap_or(f64::NAN)
        );
    }
    text.push('\n');
    text
}

fn growth(results: &Results) -> String {
    let mut text = "## A hit among many entries\n\nSmall answers, any entry as likely as any other.\n\n\
                    | entries | server | requests/s | CPU µs a request | resident MB |\n|--:|---|--:|--:|--:|\n"
        .to_owned();
    for step in &results.growth {
        let figure = |figure| step.standing.median(figure).unwrap_or(f64::NAN);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.2} | {:.0} |",
            thousands(step.entries as f64),
            step.standing.kind.label(),
            thousands(figure(Sample::requests_per_second)),
            figure(Sample::cpu_us),
            step.resident_bytes as f64 / 1e6
        );
    }
    text.push('\n');
    text
}

fn tiers(results: &Results) -> String {
    let mut text = "## The tiers behind the memory\n\n".to_owned();
    if let Some(table) = &results.with_tiers {
        text += "A hit in memory, with nothing behind it, and with Redis and SQLite behind it.\n\n";
        text += &standings(table, &[Kind::PannierMemory]);
    }
    text += "A hit in a tier: one client, whole answers, each entry once, by a Pannier whose memory is empty.\n\n\
             | tier | entries | p50 µs | p90 µs | p99 µs |\n|---|--:|--:|--:|--:|\n";
    for hits in &results.tier_hits {
        let at = |part| hits.series.quantile_us(part).unwrap_or(f64::NAN);
        let (tier, entries) = (hits.tier.label(), thousands(hits.entries as f64));
        let _ = writeln!(text, "| {tier} | {entries} | {:.0} | {:.0} | {:.0} |", at(0.5), at(0.9), at(0.99));
    }
    text += &tolls(results);
    text
}

fn tolls(results: &Results) -> String {
    let mut text = "\nA miss, up to its answer's last byte: one client, every request new.\n\n\
                    | behind the memory | p50 µs | p99 µs | added p50 | CPU µs | added CPU |\n\
                    |---|--:|--:|--:|--:|--:|\n"
        .to_owned();
    let at = |series: &Series, part| series.quantile_us(part).unwrap_or(f64::NAN);
    let alone = results.tolls.iter().find(|toll| toll.behind == Behind::Nothing);
    for toll in &results.tolls {
        let (p50, cpu) = (at(&toll.series, 0.5), at(&toll.cpu, 0.5));
        let added =
            |figure: f64, of: fn(&Toll) -> &Series| figure - alone.map_or(f64::NAN, |it| at(of(it), 0.5));
        let _ = writeln!(
            text,
            "| {} | {p50:.0} | {:.0} | {:.0} | {cpu:.0} | {:.0} |",
            toll.behind.label(),
            at(&toll.series, 0.99),
            added(p50, |toll| &toll.series),
            added(cpu, |toll| &toll.cpu)
        );
    }
    text.push('\n');
    text
}

fn texts(results: &Results) -> String {
    let Some(texts) = &results.texts else { return String::new() };
    let middle = |all: &[std::time::Duration]| median(all.iter().map(std::time::Duration::as_secs_f64));
    let rows = [
        ("a real Ollama, directly", middle(&texts.direct)),
        ("a real Ollama, half of them known", middle(&texts.half)),
        ("a real Ollama, all known", middle(&texts.known)),
        ("one upstream that takes 25 ms a text", texts.one.map(|took| took.as_secs_f64())),
        ("eight of them", texts.spread.map(|took| took.as_secs_f64())),
    ];
    let mut text =
        format!("## {} texts in one request\n\n| | seconds |\n|---|--:|\n", thousands(texts.many as f64));
    for (what, seconds) in rows {
        let seconds = seconds.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.3}"));
        let _ = writeln!(text, "| {what} | {seconds} |");
    }
    text.push('\n');
    text
}

fn books(results: &Results) -> String {
    let mut text = String::new();
    let tables = [("A hit", &results.booked_hits), ("A miss", &results.booked_misses)];
    for (what, table) in tables {
        if let Some(table) = table {
            let _ = writeln!(text, "### {what}: {}\n", table.title);
            text += &standings(table, &[Kind::PannierUnbooked]);
        }
    }
    text += &shelves(results);
    match text.is_empty() {
        true => text,
        false => format!("## Keys wanted and books kept\n\n{text}"),
    }
}

fn shelves(results: &Results) -> String {
    if results.shelves.is_empty() {
        return String::new();
    }
    let mut text = "### On the disk, bytes\n\n| | a row | its index | a line of sums, with its index |\n\
                    |---|--:|--:|--:|\n"
        .to_owned();
    for Shelf { database, row, row_index, line } in &results.shelves {
        let _ = writeln!(text, "| {database} | {row:.0} | {row_index:.0} | {line:.0} |");
    }
    text.push('\n');
    text
}

fn speech(results: &Results) -> String {
    let Some(speech) = &results.speech else { return String::new() };
    let mut text =
        "## Speech\n\n| clip | model | threads | seconds | CPU | its engine alone, seconds | CPU | newest \
                    whisper.cpp, seconds | CPU |\n|--:|---|--:|--:|--:|--:|--:|--:|--:|\n"
            .to_owned();
    let middle = |all: &[std::time::Duration]| {
        median(all.iter().map(std::time::Duration::as_secs_f64)).unwrap_or(f64::NAN)
    };
    for heard in &speech.heard {
        let (seconds, model, threads) = (heard.seconds, &heard.model, heard.threads);
        let (engines, rivals) =
            ([&heard.engines_wall, &heard.engines_cpu], [&heard.rivals_wall, &heard.rivals_cpu]);
        let _ = write!(text, "| {seconds} s | {model} | {threads} |");
        for figures in [&heard.wall, &heard.cpu].into_iter().chain(engines).chain(rivals) {
            let _ = write!(text, " {:.2} |", middle(figures));
        }
        text.push('\n');
    }
    text += "\nA recording of 11 s whose text is known, in a file that is not: it is opened, and not listened to.\n\n\
             | recording | to listen, CPU ms | to open, CPU ms | answered within ms |\n|---|--:|--:|--:|\n";
    for Opened { form, heard, opened, known } in &speech.opened {
        let [heard, opened, known] = [heard, opened, known].map(|it| it.as_secs_f64() * 1e3);
        let _ = writeln!(text, "| {form} | {heard:.0} | {opened:.1} | {known:.1} |");
    }
    text.push('\n');
    text
}

fn failures(results: &Results) -> String {
    if results.failures.is_empty() {
        return String::new();
    }
    let mut text = "## Not measured\n\n".to_owned();
    for (what, why) in &results.failures {
        let _ = writeln!(text, "- {what}: {why}");
    }
    text.push('\n');
    text
}

/// This run: the machine, its quiet, its size.
fn circumstances(ground: &Ground) -> String {
    let (options, quiet) = (&ground.options, &ground.quiet);
    let mut text = "## This run\n\n| | |\n|---|---|\n".to_owned();
    for (name, fact) in machine::describe() {
        let _ = writeln!(text, "| {name} | {fact} |");
    }
    let _ = writeln!(text, "| finished | {} |", httpdate::fmt_http_date(SystemTime::now()));
    let _ = writeln!(
        text,
        "| rounds | {} of {} s, {CONNECTIONS} connections |",
        options.rounds(),
        options.seconds()
    );
    let _ = writeln!(text, "| cores | server {}, load and stub {} |", options.server_core, options.load_core);
    let _ = writeln!(
        text,
        "| samples | {} kept; {} disturbed ones taken again; {} of those kept were disturbed |",
        quiet.taken.get(),
        quiet.thrown.get(),
        quiet.disturbed.get()
    );
    text
}

fn capitalised(title: &str) -> String {
    let mut letters = title.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
