//! The metrics as text, in the two formats that Prometheus reads.

use super::metrics::Metrics;
use prometheus::proto::{Histogram, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};
use std::fmt::Write;

/// A format of the metrics page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus' own text format 0.0.4: what everybody gets who asks for nothing else.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Exposition {
    /// The format that an `Accept` field prefers; `Text` where it names neither.
    pub fn negotiate(accept: &str) -> Self {
        let (mut text, mut open) = (0.0_f32, 0.0_f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1.0, None);
            for part in parts {
                match part.split_once('=') {
                    Some(("q", q)) => quality = q.parse().unwrap_or(0.0),
                    Some(("version", v)) => version = Some(v.trim_matches('"')),
                    _ => {}
                }
            }
            match media.as_str() {
                "application/openmetrics-text" if version.is_none_or(|v| v == "1.0.0") => {
                    open = open.max(quality)
                }
                "text/plain" | "text/*" | "*/*" => text = text.max(quality),
                _ => {}
            }
        }
        if open > 0.0 && open >= text { Exposition::OpenMetrics } else { Exposition::Text }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Exposition::Text => "text/plain; version=0.0.4; charset=utf-8",
            Exposition::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Metrics {
    /// The page's content type and its bytes, with all gauges read anew: what everybody may see.
    pub fn render(&self, exposition: Exposition) -> (&'static str, Vec<u8>) {
        self.sample();
        write(&self.registry.gather(), exposition)
    }

    /// The same, and what single keys use.
    pub fn render_with_keys(&self, exposition: Exposition) -> (&'static str, Vec<u8>) {
        self.sample();
        write(&[self.registry.gather(), self.of_keys.gather()].concat(), exposition)
    }
}

fn write(families: &[MetricFamily], exposition: Exposition) -> (&'static str, Vec<u8>) {
    let page = match exposition {
        Exposition::Text => {
            let mut page = Vec::new();
            TextEncoder::new().encode(families, &mut page).expect("gathered families are well formed");
            page
        }
        Exposition::OpenMetrics => open_metrics(families).into_bytes(),
    };
    (exposition.content_type(), page)
}

fn open_metrics(families: &[MetricFamily]) -> String {
    let mut page = String::new();
    for family in families {
        write_family(&mut page, family);
    }
    page.push_str("# EOF\n");
    page
}

fn write_family(page: &mut String, family: &MetricFamily) {
    let kind = family.get_field_type();
    // Here a counter's family goes without the suffix that its samples have.
    let (name, kind_name) = match kind {
        MetricType::COUNTER => (family.name().strip_suffix("_total").unwrap_or(family.name()), "counter"),
        MetricType::HISTOGRAM => (family.name(), "histogram"),
        _ => (family.name(), "gauge"),
    };
    page.push_str("# HELP ");
    page.push_str(name);
    page.push(' ');
    escape(page, family.help());
    page.push_str("\n# TYPE ");
    page.push_str(name);
    page.push(' ');
    page.push_str(kind_name);
    page.push('\n');
    for metric in family.get_metric() {
        match kind {
            MetricType::COUNTER => {
                write_sample(page, name, "_total", metric, None, metric.get_counter().get_value())
            }
            MetricType::HISTOGRAM => write_histogram(page, name, metric, metric.get_histogram()),
            _ => write_sample(page, name, "", metric, None, metric.get_gauge().get_value()),
        }
    }
}

fn write_histogram(page: &mut String, name: &str, metric: &Metric, histogram: &Histogram) {
    for bucket in histogram.get_bucket() {
        let bound = number(bucket.upper_bound());
        write_sample(page, name, "_bucket", metric, Some(&bound), bucket.cumulative_count() as f64);
    }
    let count = histogram.get_sample_count() as f64;
    write_sample(page, name, "_bucket", metric, Some("+Inf"), count);
    write_sample(page, name, "_sum", metric, None, histogram.get_sample_sum());
    write_sample(page, name, "_count", metric, None, count);
}

fn write_sample(page: &mut String, name: &str, suffix: &str, metric: &Metric, le: Option<&str>, value: f64) {
    page.push_str(name);
    page.push_str(suffix);
    let labels = metric.get_label().iter().map(|label| (label.name(), label.value()));
    let mut separator = '{';
    for (label, text) in labels.chain(le.map(|bound| ("le", bound))) {
        page.push(separator);
        page.push_str(label);
        page.push_str("=\"");
        escape(page, text);
        page.push('"');
        separator = ',';
    }
    if separator == ',' {
        page.push('}');
    }
    writeln!(page, " {value}").expect("a string takes all");
}

fn escape(page: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => page.push_str("\\\\"),
            '"' => page.push_str("\\\""),
            '\n' => page.push_str("\\n"),
            _ => page.push(c),
        }
    }
}

/// A bucket's bound in the one spelling that OpenMetrics wants, which is Go's: `0.005`, `1.0`, `1e+06`.
fn number(bound: f64) -> String {
    if bound < 1e6 {
        return format!("{bound:?}");
    }
    let text = format!("{bound:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => format!("{digits}e+{exponent:0>2}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::domain::{CacheOutcome, Kind};
    use crate::telemetry::{RecordSink, Sampled};
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    /// Metrics with something in every family, names included that want escaping.
    fn populated() -> Metrics {
        let metrics = Metrics::new();
        for cache in CacheOutcome::ALL {
            metrics.record(&samples::record(cache));
        }
        for kind in Kind::ALL {
            metrics.record(&samples::refused(kind));
        }
        metrics.record(&samples::forwarded());
        for model in ["llama3:latest", "quote\"line\nback\\slash", "nul\0", "größe"] {
            metrics.trip(&samples::trip(model));
        }
        metrics.gauge_source(Sampled::Size("flights"), || 4);
        metrics.gauge_source(Sampled::UpstreamUp, || 1);
        drop(metrics.in_flight(samples::CHAT));
        metrics
    }

    #[test]
    fn promtool_has_nothing_to_say() {
        let mut promtool = match Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
        {
            Ok(promtool) => promtool,
            Err(error) => {
                eprintln!(
                    "SKIPPED: promtool cannot be run ({error}); install it to check the metrics' names"
                );
                return;
            }
        };
        let (_, page) = populated().render(Exposition::Text);
        promtool.stdin.take().unwrap().write_all(&page).unwrap();
        let said = promtool.wait_with_output().unwrap();
        let words = [said.stdout, said.stderr].concat();
        assert!(said.status.success() && words.is_empty(), "{}", String::from_utf8_lossy(&words));
    }

    #[test]
    fn both_formats_show_the_same_samples() {
        let metrics = populated();
        let samples = |exposition| {
            let page = String::from_utf8(metrics.render(exposition).1).unwrap();
            let own = page.lines().filter(|line| line.starts_with("pannier_"));
            let mut samples: Vec<String> = own.map(plain_bound).collect();
            samples.sort();
            samples
        };
        let (text, open) = (samples(Exposition::Text), samples(Exposition::OpenMetrics));
        assert!(text.len() > 300, "{}", text.len());
        assert_eq!(text, open);
    }

    /// A sample whose `le` is spelled as Rust spells numbers.
    fn plain_bound(sample: &str) -> String {
        let Some((before, rest)) = sample.split_once("le=\"") else { return sample.to_owned() };
        let (bound, after) = rest.split_once('"').unwrap();
        format!("{before}le=\"{}\"{after}", bound.parse::<f64>().unwrap())
    }

    #[test]
    fn open_metrics_has_its_own_spellings() {
        let page = String::from_utf8(populated().render(Exposition::OpenMetrics).1).unwrap();
        assert!(page.ends_with("\n# EOF\n"));
        assert!(page.contains("# TYPE pannier_http_requests counter\n"), "{page}");
        assert!(!page.contains("# TYPE pannier_http_requests_total"));
        for bound in ["le=\"0.005\"", "le=\"1.0\"", "le=\"1e+06\"", "le=\"1.048576e+06\"", "le=\"+Inf\""] {
            assert!(page.contains(bound), "{bound} in\n{page}");
        }
        assert!(page.contains(r#"model="quote\"line\nback\\slash""#), "{page}");
    }

    #[test]
    fn the_format_is_what_is_asked_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.3";
        let newest = "application/openmetrics-text;version=2.0.0,text/plain;q=0.1";
        let open = Exposition::OpenMetrics;
        for (accept, expected) in [
            (prometheus, open),
            (prometheus_3, open),
            ("application/openmetrics-text", open),
            ("Application/OpenMetrics-Text; version=\"1.0.0\"", open),
            (newest, Exposition::Text),
            ("application/openmetrics-text;q=0", Exposition::Text),
            ("application/openmetrics-text;q=0.1, text/plain", Exposition::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Exposition::Text),
            ("", Exposition::Text),
            (";;q==,=,", Exposition::Text),
        ] {
            assert_eq!(Exposition::negotiate(accept), expected, "{accept}");
        }
    }
}
