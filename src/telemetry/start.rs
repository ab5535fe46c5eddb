//! The log of Pannier's own doings: where its lines go and what they look like.

use super::line::Line;
use super::queue::Queue;
use super::{Format, LogConfig};
use prometheus::IntCounter;
use serde_json::{Map, Value};
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::SystemTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, filter};

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("log.level is neither a level nor a filter: {0}")]
    Filter(#[from] filter::ParseError),
    #[error("the system has no thread for it: {0}")]
    Thread(#[from] io::Error),
}

/// The log that has begun. Lines that were taken are written before the drop returns, unless the output takes
/// nothing for two seconds; what is said later is lost.
#[must_use]
pub struct Log(Lines);

/// Pingora reports each failed request itself, and so does our record of it: once is enough. Whoever wants
/// to see more of it names it in `log.level`.
const QUIET: &str = "pingora_proxy=off,pingora_core=error,pingora_core::connectors=off";

/// Begins to log to standard output, for the whole process. `dropped` counts the lines that are lost. The
/// first one to begin decides: when logging has begun already, nothing changes.
///
/// # Errors
/// When `config.level` cannot be read, or the system has no thread to give.
pub fn start(config: &LogConfig, dropped: IntCounter) -> Result<Log, StartError> {
    let lines = Lines(Arc::new(Queue::start("log", WAITING, dropped, write_all)?));
    let subscriber = subscriber(config, lines.clone())?;
    let _begun_already = subscriber.try_init().is_err();
    Ok(Log(lines))
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.0.close();
    }
}

/// Lines on their way to standard output: a reader who takes nothing must not hold up whoever has something
/// to say.
#[derive(Clone)]
struct Lines(Arc<Queue<Vec<u8>>>);

/// Lines that may wait.
const WAITING: usize = 1024;

/// Each line in one write: those of this log and of the access log never run into each other.
fn write_all(lines: Receiver<Option<Vec<u8>>>) {
    let write = |line: Vec<u8>| drop(io::stdout().write_all(&line));
    while let Ok(Some(line)) = lines.recv() {
        write(line);
    }
    lines.try_iter().flatten().for_each(write);
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Lines;

    fn make_writer(&self) -> Lines {
        self.clone()
    }
}

fn subscriber<W>(config: &LogConfig, out: W) -> Result<impl Subscriber, StartError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(format!("{QUIET},{}", config.level))?;
    Ok(tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .event_format(Shape { format: config.format })
        .with_writer(out)
        .finish())
}

/// Writes an event as one line of the house's shape.
struct Shape {
    format: Format,
}

impl<S, N> FormatEvent<S, N> for Shape
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        let target = fields.target.as_deref().unwrap_or(event.metadata().target());
        let mut text = Vec::new();
        let mut line =
            Line::begin(&mut text, self.format, SystemTime::now(), &level, &fields.message, target);
        for (name, value) in &fields.rest {
            line.field(name, value);
        }
        line.end();
        out.write_str(&String::from_utf8_lossy(&text))
    }
}

/// The fields of one event. Those of the `log` crate's records come under names that begin with `log.`.
#[derive(Default)]
struct Fields {
    message: String,
    target: Option<String>,
    rest: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("log.target", Value::String(text)) => self.target = Some(text),
            (name, _) if name.starts_with("log.") => {}
            (name, value) => {
                self.rest.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::{Arc, Mutex};

    fn config(level: &str, format: Format) -> LogConfig {
        LogConfig { level: level.into(), format, access: true, hit_sample: 0.0 }
    }

    /// What `act` logs.
    fn logged(config: &LogConfig, act: impl FnOnce()) -> String {
        let written = Arc::new(Mutex::new(Vec::new()));
        let out = Shared(written.clone());
        tracing::subscriber::with_default(subscriber(config, move || out.clone()).unwrap(), act);
        String::from_utf8(written.lock().unwrap().clone()).unwrap()
    }

    #[derive(Clone)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_json_object() {
        let text = logged(&config("info", Format::Json), || {
            tracing::warn!(model = "a\r\nb", tries = 3, well = false, "model is away");
            tracing::debug!("unheard");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        let mut line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let ts = line.as_object_mut().unwrap().remove("ts").unwrap();
        assert!(humantime::parse_rfc3339(ts.as_str().unwrap()).is_ok() && ts.as_str().unwrap().len() == 27);
        let expected = json!({
            "level": "warn", "msg": "model is away", "target": "pannier::telemetry::start::tests",
            "model": "a\r\nb", "tries": 3, "well": false,
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn an_event_for_people_is_one_line_without_colours() {
        let text = logged(&config("debug", Format::Text), || {
            tracing::debug!(path = "a b", "\x1b[31mred");
        });
        assert!(
            text.ends_with("DEBUG pannier::telemetry::start::tests:  [31mred path=\"a b\"\n"),
            "{text:?}"
        );
    }

    #[test]
    fn pingora_is_quiet_unless_it_is_named() {
        let act = || {
            tracing::error!(target: "pingora_proxy", "each failed request");
            tracing::warn!(target: "pingora_core::server", "each closed socket");
            tracing::error!(target: "pingora_core::server", "cannot bind");
        };
        let quiet = logged(&config("debug", Format::Json), act);
        assert!(quiet.lines().count() == 1 && quiet.contains("cannot bind"), "{quiet}");
        let loud = logged(&config("info,pingora_proxy=error,pingora_core=info", Format::Json), act);
        assert_eq!(loud.lines().count(), 3, "{loud}");
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_an_error() {
        let dropped = crate::telemetry::Metrics::new().log_dropped();
        let refused = start(&config("pannier=loud", Format::Json), dropped).err().unwrap();
        assert!(refused.to_string().starts_with("log.level"), "{refused}");
    }
}
