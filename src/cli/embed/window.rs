//! One window of texts, asked for in one request, or in several where that is too much for one.

use crate::cli::house::{Answer, House, TooMuch};
use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::VecDeque;

/// A text of the input, or why it is none.
pub(super) struct Row {
    pub line: u64,
    /// As it was written: JSON.
    pub id: Option<String>,
    pub text: Result<String, String>,
}

/// What became of a text.
pub(super) enum Fate {
    /// A JSON array, as it came.
    Numbers(Box<RawValue>),
    /// Its numbers' bytes.
    Bytes(Vec<u8>),
    Failed {
        code: String,
        message: String,
    },
}

/// What is asked of all texts alike.
#[derive(Serialize)]
pub(super) struct Question<'a> {
    pub model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<&'a str>,
    #[serde(skip)]
    pub base64: bool,
}

#[derive(Serialize)]
struct Request<'a> {
    #[serde(flatten)]
    question: &'a Question<'a>,
    encoding_format: &'static str,
    stream: bool,
    texts: Vec<&'a str>,
}

/// One line of an answer.
#[derive(Deserialize)]
struct Line<'a> {
    digest: Option<String>,
    index: Option<usize>,
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
    error: Option<String>,
    code: Option<String>,
    done: Option<bool>,
    known: Option<u64>,
    stale: Option<bool>,
}

pub(super) struct Window {
    /// Those that are still to be told, in their order.
    rows: VecDeque<Row>,
    /// The answer that is being read, and how many of its texts are still to come.
    answer: Option<(Answer, usize)>,
    /// Texts in a request, at the most.
    most: usize,
    digest: Option<String>,
    known: u64,
    stale: u64,
}

impl Window {
    pub fn new(rows: Vec<Row>) -> Self {
        Window { most: rows.len(), rows: rows.into(), answer: None, digest: None, known: 0, stale: 0 }
    }

    /// Of the model that made the vectors, where Pannier knows it.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// How many were known before.
    pub fn known(&self) -> u64 {
        self.known
    }

    /// How many have a vector that is over, for the upstream is down.
    pub fn stale(&self) -> u64 {
        self.stale
    }

    /// What became of the next text; `None` at the end.
    pub async fn next(
        &mut self,
        house: &House,
        question: &Question<'_>,
    ) -> anyhow::Result<Option<(Row, Fate)>> {
        loop {
            if let Some((answer, left)) = &mut self.answer {
                let line = answer.raw_line().await?.context("the answer broke off")?;
                let line: Line =
                    serde_json::from_slice(&line).context("a line of the answer cannot be read")?;
                if line.done == Some(true) {
                    self.known += line.known.unwrap_or(0);
                    self.answer = None;
                } else if line.index.is_some() {
                    let Some(row) = self.rows.pop_front().filter(|_| *left > 0) else {
                        bail!("the answer tells of more texts than were asked for");
                    };
                    *left -= 1;
                    self.stale += u64::from(line.stale == Some(true));
                    return Ok(Some((row, line.fate()?)));
                } else {
                    self.digest = line.digest.or(self.digest.take());
                }
                continue;
            }
            match self.rows.front().map(|row| row.text.clone().err()) {
                None => return Ok(None),
                Some(Some(message)) => {
                    let fate = Fate::Failed { code: "bad_text".into(), message };
                    return Ok(self.rows.pop_front().map(|row| (row, fate)));
                }
                Some(None) => {
                    if let Some(message) = self.ask(house, question).await? {
                        let fate = Fate::Failed { code: "too_large".into(), message };
                        return Ok(self.rows.pop_front().map(|row| (row, fate)));
                    }
                }
            }
        }
    }

    /// Asks for the next texts, up to one that is none. Says why not where a single one is too much.
    async fn ask(&mut self, house: &House, question: &Question<'_>) -> anyhow::Result<Option<String>> {
        loop {
            let texts = self.rows.iter().map_while(|row| row.text.as_deref().ok()).take(self.most);
            let texts: Vec<&str> = texts.collect();
            let count = texts.len();
            let encoding_format = if question.base64 { "base64" } else { "float" };
            let request = Request { question, encoding_format, stream: true, texts };
            let body = Bytes::from(serde_json::to_vec(&request)?);
            match house.ask(Method::POST, "/embeddings/batch", body).await {
                Ok(answer) => {
                    self.answer = Some((answer, count));
                    return Ok(None);
                }
                // It takes fewer texts at once.
                Err(error) if error.is::<TooMuch>() && count > 1 => self.most = count.div_ceil(2),
                Err(error) if error.is::<TooMuch>() => return Ok(Some(format!("{error:#}"))),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Line<'_> {
    fn fate(self) -> anyhow::Result<Fate> {
        match (self.embedding, self.error) {
            (Some(array), _) if array.get().starts_with('[') => Ok(Fate::Numbers(array.to_owned())),
            (Some(base64), _) => {
                let text: &str = serde_json::from_str(base64.get()).context("a vector cannot be read")?;
                Ok(Fate::Bytes(STANDARD.decode(text).context("a vector cannot be read")?))
            }
            (None, Some(message)) => Ok(Fate::Failed { code: self.code.unwrap_or_default(), message }),
            (None, None) => bail!("a line of the answer tells neither a vector nor an error"),
        }
    }
}
