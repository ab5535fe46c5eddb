//! `pannier prices set`

use super::{PRICING, say};
use crate::cli::house::House;
use crate::domain::Money;
use crate::metering::instant;
use bytes::Bytes;
use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// A name, or a pattern with `*` and `?`; without a tag it fits a model under any tag
    model: String,
    #[command(flatten)]
    amounts: Amounts,
    /// How many tokens the prices of tokens are for: 1M or 1K
    #[arg(long, value_name = "TOKENS", value_parser = ["1M", "1K"], default_value = "1M", ignore_case = true)]
    per: String,
    /// Of the amounts; without, that of the books
    #[arg(long)]
    currency: Option<String>,
    /// From when on it holds: a day (2027-01-31), a moment (2027-01-31T12:00:00Z), now, or ever
    #[arg(long, value_name = "WHEN", value_parser = moment, default_value = "now")]
    from: String,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Amounts {
    /// Tokens of the question
    #[arg(long, value_name = "AMOUNT", value_parser = amount)]
    prompt: Option<String>,
    /// ... that the model server had cached; without, as --prompt
    #[arg(long, value_name = "AMOUNT", value_parser = amount)]
    cached_prompt: Option<String>,
    /// Tokens of the answer
    #[arg(long, value_name = "AMOUNT", value_parser = amount)]
    completion: Option<String>,
    /// Tokens of texts that are embedded; without, as --prompt
    #[arg(long, value_name = "AMOUNT", value_parser = amount)]
    embedding: Option<String>,
    /// An image
    #[arg(long, value_name = "AMOUNT", value_parser = amount)]
    image: Option<String>,
    /// A second of audio
    #[arg(long, value_name = "AMOUNT", value_parser = amount)]
    audio_second: Option<String>,
    /// A second of the model's hardware
    #[arg(long, value_name = "AMOUNT", value_parser = amount)]
    gpu_second: Option<String>,
}

impl Options {
    pub(super) async fn run(self, house: &House, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut price = self.amounts.written();
        let rest = [("model", Some(self.model)), ("per", Some(self.per.to_uppercase()))];
        let rest = rest.into_iter().chain([("currency", self.currency), ("from", Some(self.from))]);
        price.extend(rest.filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))));
        let body = json!({ "prices": [price] });
        say(&house.ask(Method::PUT, PRICING, Bytes::from(body.to_string())).await?.json().await?, out)
    }
}

impl Amounts {
    fn written(self) -> Map<String, Value> {
        let amounts = [
            ("prompt", self.prompt),
            ("cached_prompt", self.cached_prompt),
            ("completion", self.completion),
            ("embedding", self.embedding),
            ("image", self.image),
            ("audio_second", self.audio_second),
            ("gpu_second", self.gpu_second),
        ];
        amounts.into_iter().filter_map(|(name, amount)| Some((name.to_owned(), json!(amount?)))).collect()
    }
}

fn amount(text: &str) -> Result<String, String> {
    text.parse::<Money>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// As a price list has it.
pub(super) fn moment(text: &str) -> Result<String, String> {
    let at = match text {
        "now" => SystemTime::now(),
        "ever" => UNIX_EPOCH,
        _ => instant(text)
            .ok_or("expected a day like 2027-01-31, a moment like 2027-01-31T12:00:00Z, now, or ever")?,
    };
    Ok(humantime::format_rfc3339_seconds(at).to_string())
}
