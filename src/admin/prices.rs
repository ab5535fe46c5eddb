//! Prices, for those who set them. Amounts come and go as they are written: never through a float.

use super::asked::Asked;
use super::problem::bad;
use super::{Parts, answer};
use crate::domain::{Error, InvalidMoney, Money};
use crate::metering::{Origin, Price, PriceEntry, Prices, Rates, instant};
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is to be set: one price by thousands of tokens, as of now, or any number of prices.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    model: Option<String>,
    input_cost: Option<Box<RawValue>>,
    output_cost: Option<Box<RawValue>>,
    prices: Option<Vec<PriceEntry>>,
    /// They take the place of all that the database has.
    #[serde(default)]
    replace: bool,
}

/// All prices: `models`, `currency` and `unit` say what holds now.
#[derive(Serialize)]
struct Shown<'a> {
    models: BTreeMap<&'a str, InAndOut>,
    currency: &'a str,
    unit: &'static str,
    prices: Vec<Value>,
}

#[derive(Serialize)]
struct InAndOut {
    input: Box<RawValue>,
    output: Box<RawValue>,
}

/// Of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// `GET /api/admin/costs/pricing`
pub async fn show(State(parts): State<Parts>) -> Response {
    let prices = parts.prices.in_force().load_full();
    let now = SystemTime::now();
    let shown = Shown {
        models: prices.iter().filter_map(|price| of_thousand(&prices, price, now)).collect(),
        currency: &prices.currency,
        unit: "per 1K tokens",
        prices: prices.iter().map(written).collect(),
    };
    answer(Ok(shown))
}

/// `PUT /api/admin/costs/pricing`
pub async fn set(State(parts): State<Parts>, body: Bytes) -> Response {
    let set = async {
        let Wanted { model, input_cost, output_cost, prices, replace } = read(&body)?;
        match (model, input_cost, output_cost, prices) {
            (Some(model), Some(input), Some(output), None) if !replace => {
                let entry = by_thousand(&model, &input, &output)?;
                parts.prices.set(&[entry], false).await?;
                Ok(json!({ "message": format!("Pricing updated for {model}"), "set": 1 }))
            }
            (None, None, None, Some(prices)) => {
                parts.prices.set(&prices, replace).await?;
                let message = format!("{} set", counted(prices.len() as u64));
                Ok(json!({ "message": message, "set": prices.len() }))
            }
            _ => Err(bad("model, input_cost and output_cost are wanted, or prices")),
        }
    };
    answer(set.await)
}

/// `DELETE /api/admin/costs/pricing?model=…&from=…`; without `from`, all of the model's.
pub async fn remove(State(parts): State<Parts>, asked: Asked) -> Response {
    let removed = async {
        let (model, from) = which(&asked)?;
        let gone = parts.prices.remove(model, from).await?;
        Ok(json!({ "message": format!("{} removed", counted(gone)), "removed": gone }))
    };
    answer(removed.await)
}

/// The model, and the second since 1970 from which its price holds.
fn which(asked: &Asked) -> Result<(&str, Option<u64>), Error> {
    asked.only(&["model", "from"])?;
    let second = |text: &str| -> Result<u64, Error> {
        let at = instant(text).ok_or_else(|| bad("from: expected a date like 2026-01-31"))?;
        Ok(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    };
    let from = asked.value("from").map(second).transpose()?;
    Ok((asked.value("model").ok_or_else(|| bad("a model is wanted"))?, from))
}

fn counted(prices: u64) -> String {
    if prices == 1 { "1 price".to_owned() } else { format!("{prices} prices") }
}

/// One price, as it can be set again, and where it stands.
fn written(price: &Price) -> Value {
    let Rates { prompt, cached_prompt, completion, embedding, image, audio, gpu } = price.rates;
    let unless_zero = |price: Money| (price != Money::ZERO).then_some(price);
    let amounts = [
        ("prompt", Some(prompt)),
        ("cached_prompt", cached_prompt),
        ("completion", Some(completion)),
        ("embedding", embedding),
        ("image", unless_zero(image)),
        ("audio_second", unless_zero(audio)),
        ("gpu_second", unless_zero(gpu)),
    ];
    let amounts = amounts.into_iter().filter_map(|(name, price)| Some((name, json!(price?.to_string()))));
    // What has more digits of a year has no such form.
    let since = Duration::from_secs(price.since().min(LAST_SECOND));
    let from = humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string();
    let origin = match price.origin {
        Origin::Builtin => "builtin",
        Origin::Settings => "settings",
        Origin::Store => "store",
    };
    let rest = [
        ("model", json!(price.model)),
        ("per", json!("1M")),
        ("currency", json!(*price.currency)),
        ("from", json!(from)),
        ("origin", json!(origin)),
    ];
    let all: Map<String, Value> = amounts.chain(rest).map(|(name, value)| (name.to_owned(), value)).collect();
    Value::Object(all)
}

/// What a thousand tokens cost now of the model that `price` is for, or of those that its pattern fits.
fn of_thousand<'a>(prices: &'a Prices, price: &'a Price, now: SystemTime) -> Option<(&'a str, InAndOut)> {
    let is_pattern = price.model.contains(['*', '?']);
    let same = |other: &&Price| other.model == price.model && other.from <= now;
    let holds = if is_pattern { prices.iter().find(same) } else { prices.find(&price.model, now) }?;
    let Rates { prompt, completion, .. } = holds.rates;
    Some((&price.model, InAndOut { input: thousandth(prompt)?, output: thousandth(completion)? }))
}

/// As a number of JSON with all its digits.
fn thousandth(million: Money) -> Option<Box<RawValue>> {
    const UNIT: i64 = 1_000_000_000_000;
    let (whole, parts) = (million.nanos() / UNIT, (million.nanos() % UNIT).unsigned_abs());
    let fraction = format!("{parts:012}");
    let fraction = fraction.trim_end_matches('0');
    let number = format!("{whole}.{}", if fraction.is_empty() { "0" } else { fraction });
    RawValue::from_string(number).ok()
}

/// From this second on.
fn by_thousand(model: &str, input: &RawValue, output: &RawValue) -> Result<PriceEntry, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(PriceEntry {
        prompt: million("input_cost", input)?,
        completion: million("output_cost", output)?,
        from: UNIX_EPOCH + Duration::from_secs(now),
        ..PriceEntry::free(model)
    })
}

/// A number, or a text with one in it.
fn million(name: &str, thousand: &RawValue) -> Result<Money, Error> {
    let text = thousand.get();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    Money::from_number(text, 3).map_err(|error| match error {
        InvalidMoney::Unreadable => bad(format!("{name}: {error}")),
        InvalidMoney::TooFine | InvalidMoney::TooLarge => {
            bad(format!("{name}, for a million tokens: {error}"))
        }
    })
}

fn read(body: &[u8]) -> Result<Wanted, Error> {
    serde_json::from_slice(body).map_err(|error| bad(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_thousandth_is_read_again_to_the_last_digit(nanos in 0..=i64::MAX) {
            let price = Money::from_nanos(nanos);
            let shown = thousandth(price).unwrap();
            prop_assert_eq!(million("x", &shown).ok(), Some(price));
        }
    }

    #[test]
    fn predecessors_prices_are_shown_as_they_were() {
        let shown = |million: &str| thousandth(million.parse().unwrap()).unwrap().get().to_owned();
        assert_eq!(shown("0.15"), "0.00015");
        assert_eq!(shown("0"), "0.0");
        assert_eq!(shown("2500"), "2.5");
    }
}
