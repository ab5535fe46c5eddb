//! One line for each request, written by a thread of its own.
//!
//! Never makes a request wait: when the writer cannot keep up, lines are dropped, and counted.

use super::counting::finish;
use super::line::Line;
use super::queue::Queue;
use super::{Format, LogConfig, RecordSink};
use crate::domain::{CacheOutcome, Ending, Kind, Record, Trip};
use prometheus::IntCounter;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

/// The access log. Lines that were taken are written before `close` (or the drop) returns, unless the
/// output takes nothing for two seconds.
pub struct AccessLog {
    queue: Queue<Record>,
    hits: Sampler,
}

/// Picks a fixed part of many, evenly: one atomic addition each.
struct Sampler {
    /// The part, in 2⁻³².
    step: u64,
    sum: AtomicU64,
}

/// Records that may wait for the writer.
const WAITING: usize = 4096;
/// Bytes that are gathered into one write while more records wait.
const BATCH: usize = 64 * 1024;
/// The writer sleeps so long after each batch: waking it for every line would cost the requests more
/// than the lines do.
const NAP: Duration = Duration::from_millis(10);

impl AccessLog {
    /// Starts the writer. `out` gets whole lines only; `dropped` counts those that are lost. Whether there
    /// is to be an access log at all (`config.access`) is asked by whoever starts it.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(config: &LogConfig, out: Box<dyn Write + Send>, dropped: IntCounter) -> io::Result<Self> {
        let (format, lost) = (config.format, dropped.clone());
        let write = move |records| write_all(records, out, format, &lost);
        let queue = Queue::start("access-log", WAITING, dropped, write)?;
        Ok(AccessLog { queue, hits: Sampler::new(config.hit_sample) })
    }

    /// Whether the next answered request with this outcome gets a line: each call is one draw of the
    /// sample. Whoever asks here passes the record to [`write`](Self::write), which does not ask again.
    pub fn wants(&self, cache: CacheOutcome) -> bool {
        cache != CacheOutcome::Hit || self.hits.next()
    }

    /// Hands a record to the writer, sampled or not. Does not wait.
    pub fn write(&self, record: &Record) {
        self.queue.push(record.clone());
    }

    /// Takes no more, and waits until all that was taken is written, for two seconds at most. Blocks the
    /// thread. Records that come later are dropped, and counted.
    pub fn close(&self) {
        self.queue.close();
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl RecordSink for AccessLog {
    fn record(&self, record: &Record) {
        let broken = record.ending != Ending::Complete;
        // Probes and scrapes come every few seconds for ever.
        let house = record.route.dialect == "house" && record.status < 400;
        if broken || (!house && (record.why.is_some() || self.wants(record.cache))) {
            self.write(record);
        }
    }

    /// A trip has no line: each of its readers has one.
    fn trip(&self, _: &Trip) {}
}

impl Sampler {
    fn new(part: f64) -> Self {
        let one = (1u64 << 32) as f64;
        Sampler { step: (part.clamp(0.0, 1.0) * one) as u64, sum: AtomicU64::new(0) }
    }

    fn next(&self) -> bool {
        let before = self.sum.fetch_add(self.step, Ordering::Relaxed);
        before >> 32 != before.wrapping_add(self.step) >> 32
    }
}

/// Writes what comes, in batches, until the end has come and the queue is empty.
fn write_all(
    records: Receiver<Option<Record>>,
    mut out: Box<dyn Write + Send>,
    format: Format,
    lost: &IntCounter,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut ended = false;
    loop {
        let mut next = if ended { records.try_recv().ok() } else { records.recv().ok() };
        if next.is_none() {
            return;
        }
        let mut lines = 0;
        while let Some(message) = next {
            match message {
                Some(record) => {
                    write_line(&mut batch, format, &record);
                    lines += 1;
                }
                None => ended = true,
            }
            next = if batch.len() < BATCH { records.try_recv().ok() } else { None };
        }
        let full = batch.len() >= BATCH;
        // With nothing to say, nobody waits for whoever else may write to the same output.
        if !batch.is_empty() && out.write_all(&batch).and_then(|()| out.flush()).is_err() {
            lost.inc_by(lines);
        }
        batch.clear();
        if !ended && !full {
            thread::sleep(NAP);
        }
    }
}

/// Milliseconds, to a microsecond.
fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

fn write_line(out: &mut Vec<u8>, format: Format, record: &Record) {
    let error = match record.ending {
        Ending::Complete => None,
        Ending::Refused(kind) | Ending::Broken(kind) => Some(kind),
    };
    let level = match error {
        Some(Kind::Internal) => "error",
        Some(kind) if kind.status() >= 500 => "warn",
        _ => "info",
    };
    let mut line = Line::begin(out, format, record.at, level, "request", "pannier::access");
    let id = record.id.hyphenated();
    line.field("request_id", String::from_utf8_lossy(&id));
    line.field("method", record.method);
    line.field("route", record.route.template);
    line.field("dialect", record.route.dialect);
    line.field("status", record.status);
    line.field("duration_ms", millis(record.total));
    line.field("bytes_in", record.bytes_in);
    line.field("bytes_out", record.bytes_out);
    if let Some(consumer) = &record.consumer {
        line.field("key_id", &*consumer.name);
    }
    line.field("cache", record.cache.label());
    if let Some(why) = record.why {
        line.field("cache_reason", why.label());
    }
    write_call(&mut line, record);
    if let Some(kind) = error {
        line.field("error_code", kind.code());
    }
    line.end();
}

fn write_call(line: &mut Line<'_>, record: &Record) {
    let Some(call) = &record.call else { return };
    line.field("operation", call.operation.label());
    line.field("model", &*call.model);
    line.field("stream", call.streamed);
    if let Some(first) = record.first_byte {
        line.field("ttft_ms", millis(first));
    }
    if let Some(observed) = &record.observed {
        line.field("tokens_in", observed.usage.prompt);
        line.field("tokens_out", observed.usage.completion);
        line.field("tokens_source", observed.usage.source.label());
    }
    let finish = finish(record.status, record.ending, record.observed.as_ref());
    line.field("finish_reason", finish.label());
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use serde_json::{Value, json};
    use std::sync::{Arc, Condvar, Mutex};

    /// An output that keeps what it is given, and takes nothing while it is shut.
    #[derive(Clone, Default)]
    struct Output(Arc<(Mutex<State>, Condvar)>);

    #[derive(Default)]
    struct State {
        written: Vec<u8>,
        shut: bool,
        broken: bool,
    }

    impl Output {
        fn shut(&self, shut: bool) {
            self.0.0.lock().unwrap().shut = shut;
            self.0.1.notify_all();
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().unwrap().written.clone()).unwrap()
        }

        fn lines(&self) -> Vec<Value> {
            self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let state = self.0.0.lock().unwrap();
            let mut state = self.0.1.wait_while(state, |state| state.shut).unwrap();
            if state.broken {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            state.written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(format: Format, hit_sample: f64, out: &Output) -> (AccessLog, IntCounter) {
        let config = LogConfig { level: "info".into(), format, access: true, hit_sample };
        let dropped = crate::telemetry::Metrics::new().access_log_dropped();
        (AccessLog::start(&config, Box::new(out.clone()), dropped.clone()).unwrap(), dropped)
    }

    #[test]
    fn a_line_has_every_field_of_its_record() {
        let out = Output::default();
        let (log, _) = log(Format::Json, 0.0, &out);
        log.record(&samples::record(CacheOutcome::Miss));
        log.close();
        let expected = json!({
            "ts": "2025-11-21T04:40:00.123456Z", "level": "info", "msg": "request",
            "target": "pannier::access", "request_id": "07070707-0707-0707-0707-070707070707",
            "method": "POST", "route": "/api/chat", "dialect": "ollama", "status": 200,
            "duration_ms": 61.5, "ttft_ms": 0.04, "bytes_in": 180, "bytes_out": 2300,
            "key_id": "alice", "cache": "miss", "operation": "chat", "model": "llama3:latest",
            "stream": true, "tokens_in": 26, "tokens_out": 11, "tokens_source": "upstream",
            "finish_reason": "stop",
        });
        assert_eq!(out.lines(), [expected]);
    }

    #[test]
    fn an_error_is_told_by_its_code() {
        let out = Output::default();
        let (log, _) = log(Format::Json, 0.0, &out);
        log.record(&samples::refused(Kind::UpstreamTimeout));
        log.record(&samples::refused(Kind::ClientGone));
        log.close();
        let told: Vec<_> =
            out.lines().iter().map(|line| (line["level"].clone(), line["error_code"].clone())).collect();
        let expected = [("warn", "upstream_timeout"), ("info", "client_gone")];
        assert_eq!(told, expected.map(|(level, code)| (json!(level), json!(code))));
    }

    #[test]
    fn a_line_for_people_has_the_same_fields() {
        let out = Output::default();
        let (log, _) = log(Format::Text, 0.0, &out);
        log.record(&samples::forwarded());
        log.close();
        assert_eq!(
            out.text(),
            "2025-11-21T04:40:00.123456Z INFO  pannier::access: request \
             request_id=07070707-0707-0707-0707-070707070707 method=GET route=/api/tags dialect=ollama \
             status=200 duration_ms=61.5 bytes_in=180 bytes_out=2300 cache=bypass\n"
        );
    }

    #[test]
    fn hits_are_sampled_and_nothing_else_is() {
        let out = Output::default();
        let (log, dropped) = log(Format::Json, 0.25, &out);
        for _ in 0..400 {
            log.record(&samples::record(CacheOutcome::Hit));
            log.record(&samples::record(CacheOutcome::Miss));
        }
        let mut broken = samples::record(CacheOutcome::Hit);
        broken.ending = Ending::Broken(Kind::ClientGone);
        log.record(&broken);
        log.close();
        let lines = out.lines();
        let hits = lines.iter().filter(|line| line["cache"] == "hit").count();
        assert_eq!((hits, lines.len()), (101, 501));
        assert_eq!(dropped.get(), 0);
    }

    #[test]
    fn every_part_is_drawn_exactly() {
        for (part, expected) in [(0.0, 0), (0.01, 100), (0.3, 3000), (1.0, 10_000), (7.0, 10_000)] {
            let sampler = Sampler::new(part);
            let drawn = (0..10_000).filter(|_| sampler.next()).count();
            assert!(drawn.abs_diff(expected) <= 1, "{part}: {drawn}");
        }
    }

    #[test]
    fn probes_have_lines_only_when_they_fail() {
        let out = Output::default();
        let (log, _) = log(Format::Json, 0.0, &out);
        let mut probe = samples::forwarded();
        probe.route = crate::domain::Route { template: "house", dialect: "house" };
        log.record(&probe);
        probe.status = 503;
        log.record(&probe);
        log.close();
        assert_eq!(out.lines().len(), 1);
    }

    #[test]
    fn an_output_that_takes_nothing_stops_nobody() {
        let out = Output::default();
        let (log, dropped) = log(Format::Json, 0.0, &out);
        out.shut(true);
        let record = samples::record(CacheOutcome::Miss);
        for _ in 0..10_000 {
            log.record(&record);
        }
        assert!(dropped.get() > 0);
        out.shut(false);
        log.close();
        assert_eq!(out.lines().len() as u64 + dropped.get(), 10_000);
    }

    #[test]
    fn closing_loses_nothing_of_what_was_taken() {
        let out = Output::default();
        let (log, dropped) = log(Format::Json, 0.0, &out);
        let record = samples::record(CacheOutcome::Miss);
        for _ in 0..WAITING {
            log.record(&record);
        }
        drop(log);
        assert_eq!(out.lines().len() as u64 + dropped.get(), WAITING as u64);
        assert_eq!(dropped.get(), 0);
    }

    #[test]
    fn after_the_end_records_are_counted_as_lost() {
        let out = Output::default();
        let (log, dropped) = log(Format::Json, 0.0, &out);
        log.close();
        log.record(&samples::record(CacheOutcome::Miss));
        log.close();
        assert_eq!(dropped.get(), 1);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_as_lost() {
        let out = Output::default();
        out.0.0.lock().unwrap().broken = true;
        let (log, dropped) = log(Format::Json, 0.0, &out);
        for _ in 0..3 {
            log.record(&samples::record(CacheOutcome::Miss));
        }
        log.close();
        assert_eq!(dropped.get(), 3);
    }
}
