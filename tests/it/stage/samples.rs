//! What `/metrics` says, read.

/// One line of the exposition format.
#[derive(Debug, Clone)]
pub struct Sample {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

/// All of them.
#[derive(Debug, Clone)]
pub struct Samples {
    pub text: String,
    samples: Vec<Sample>,
}

impl Samples {
    pub fn parse(text: String) -> Samples {
        let samples = sample_lines(&text).map(parse_line).collect();
        Samples { text, samples }
    }

    /// The sum over all samples called `name` that carry these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// All samples called `name` that carry these labels.
    pub fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        let carries = |sample: &Sample, label: &(&str, &str)| {
            sample.labels.iter().any(|(name, value)| name == label.0 && value == label.1)
        };
        self.samples
            .iter()
            .filter(move |sample| sample.name == name && labels.iter().all(|label| carries(sample, label)))
    }

    pub fn has_family(&self, name: &str) -> bool {
        self.text
            .lines()
            .any(|line| line.strip_prefix("# TYPE ").is_some_and(|rest| rest.split(' ').next() == Some(name)))
    }

    /// The different values that a label takes, over all families.
    pub fn values(&self, label: &str) -> Vec<String> {
        let labels = self.samples.iter().flat_map(|sample| &sample.labels);
        let mut values: Vec<_> = labels.filter(|(name, _)| name == label).map(|(_, v)| v.clone()).collect();
        values.sort();
        values.dedup();
        values
    }
}

/// The lines that are samples.
pub fn sample_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn parse_line(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value in {line:?}"));
    let value = value.parse().unwrap_or_else(|_| panic!("no number in {line:?}"));
    let Some((name, rest)) = series.split_once('{') else {
        return Sample { name: series.into(), labels: Vec::new(), value };
    };
    let mut labels = Vec::new();
    let mut rest = rest.strip_suffix('}').unwrap_or_else(|| panic!("open labels in {line:?}"));
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next() {
                Some((_, '\\')) => value.extend(letters.next().map(|(_, c)| if c == 'n' { '\n' } else { c })),
                Some((at, '"')) => break at,
                Some((_, letter)) => value.push(letter),
                None => panic!("open label in {line:?}"),
            }
        };
        labels.push((name.trim_start_matches(',').to_owned(), value));
        rest = &after[end + 1..];
    }
    Sample { name: name.into(), labels, value }
}
