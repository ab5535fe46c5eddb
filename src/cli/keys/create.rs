//! `pannier keys create`, `change` and `rotate`

use super::when::{Moment, seconds};
use super::{Format, Which, show};
use crate::cli::house::House;
use bytes::Bytes;
use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};
use std::io::Write;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// What to call it
    #[arg(long)]
    name: String,
    #[command(flatten)]
    terms: Terms,
    /// It opens Pannier's own locked routes as well
    #[arg(long)]
    admin: bool,
}

#[derive(Debug, Args)]
pub(super) struct Changes {
    #[command(flatten)]
    pub(super) which: Which,
    #[command(flatten)]
    terms: Terms,
}

#[derive(Debug, Args)]
struct Terms {
    /// Whose it is; without, that of all who name none: default
    #[arg(long)]
    team: Option<String>,
    /// Models that it may use, as in 'llama3*,qwen2:0.5b'; '' for all
    #[arg(long, value_name = "PATTERNS")]
    models: Option<String>,
    /// Routes that it may use, as in '/api/chat,/v1/*'; '' for all
    #[arg(long, value_name = "PATTERNS")]
    routes: Option<String>,
    /// From when on it is refused: in a while (30d, 12h), on a day (2027-01-31), at a moment
    /// (2027-01-31T12:00:00Z), or never
    #[arg(long, value_name = "WHEN")]
    expires: Option<Moment>,
}

#[derive(Debug, Args)]
pub(super) struct Rotation {
    #[command(flatten)]
    which: Which,
    /// For how long the old key is good yet, as in 24h; without, it is refused at once
    #[arg(long, value_name = "DURATION", value_parser = seconds, default_value = "0s")]
    grace: u64,
}

impl Options {
    pub(super) async fn run(self, house: &House, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut body = self.terms.body();
        body.insert("name".to_owned(), json!(self.name));
        body.insert("admin".to_owned(), json!(self.admin));
        let body = Bytes::from(Value::Object(body).to_string());
        let told = house.ask(Method::POST, "/admin/keys", body).await?.json().await?;
        show::new(&told, format, out)
    }
}

impl Changes {
    pub(super) fn body(&self) -> Value {
        Value::Object(self.terms.body())
    }
}

impl Terms {
    fn body(&self) -> Map<String, Value> {
        let team = self.team.as_ref().map(|team| ("team".to_owned(), json!(team)));
        let expires = self.expires.map(|Moment(at)| ("expires".to_owned(), json!(at)));
        let patterns = [("models", &self.models), ("routes", &self.routes)];
        let patterns = patterns.into_iter().filter_map(|(name, patterns)| {
            let patterns = patterns.as_ref()?.split(',').map(str::trim).filter(|pattern| !pattern.is_empty());
            Some((name.to_owned(), json!(patterns.collect::<Vec<_>>())))
        });
        team.into_iter().chain(expires).chain(patterns).collect()
    }
}

impl Rotation {
    pub(super) async fn run(self, house: &House, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
        let target = format!("{}/rotate", self.which.target());
        let body = Bytes::from(json!({ "grace": self.grace }).to_string());
        show::new(&house.ask(Method::POST, &target, body).await?.json().await?, format, out)
    }
}
