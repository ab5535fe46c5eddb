//! Who used how much, and what it cost: for whoever asks with a key of their own, and for admins.

use super::asked::Asked;
use super::guard::Viewer;
use super::listener::Lasting;
use super::problem::bad;
use super::{Parts, problem, why};
use crate::analytics::{By, COSTS, Column, Filter, Format, Grain, Question, Stay, USAGE, Zone, now};
use crate::domain::{Error, Kind};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;

/// Lines are told apart by these, where nothing else is wanted.
const USUAL: [By; 2] = [By::Key, By::Model];
/// The stretch that is meant where none is named.
const PERIOD: &str = "month";

/// The time that is told of, where sums have gone that another one takes: `2026-11-01T00:00:00Z/2026-12-01T00:00:00Z`.
const TOLD: HeaderName = HeaderName::from_static("x-pannier-told");

/// `GET /usage`
pub async fn usage(
    State(parts): State<Parts>,
    Extension(viewer): Extension<Viewer>,
    lasting: Option<Extension<Lasting>>,
    headers: HeaderMap,
    asked: Asked,
) -> Response {
    told(&parts, &viewer, lasting, &headers, &asked, USAGE).await
}

/// `GET /costs`
pub async fn costs(
    State(parts): State<Parts>,
    Extension(viewer): Extension<Viewer>,
    lasting: Option<Extension<Lasting>>,
    headers: HeaderMap,
    asked: Asked,
) -> Response {
    told(&parts, &viewer, lasting, &headers, &asked, COSTS).await
}

/// `GET /usage/requests`: one line a request.
pub async fn requests(
    State(parts): State<Parts>,
    Extension(viewer): Extension<Viewer>,
    lasting: Option<Extension<Lasting>>,
    headers: HeaderMap,
    asked: Asked,
) -> Response {
    let (question, format) = match read(&parts, &viewer, &headers, &asked, Format::Csv) {
        Ok(read) => read,
        Err(error) => return problem::response(&error),
    };
    let content_type = if format == Format::Json { why::NDJSON } else { Format::Csv.content_type() };
    let reports = parts.reports.clone();
    why::lines(lasting, content_type, |told| {
        Box::pin(async move { reports.tell_requests(&question, format, told).await })
    })
    .await
}

async fn told(
    parts: &Parts,
    viewer: &Viewer,
    lasting: Option<Extension<Lasting>>,
    headers: &HeaderMap,
    asked: &Asked,
    columns: &'static [Column],
) -> Response {
    let reports = parts.reports.clone();
    let tellable = async {
        let (question, format) = read(parts, viewer, headers, asked, Format::Json)?;
        Ok((reports.tellable(question).await?, format))
    };
    let (tellable, format) = match tellable.await {
        Ok(read) => read,
        Err(error) => return problem::response(&error),
    };
    let other = tellable.other();
    let mut response = why::lines(lasting, format.content_type(), |told| {
        Box::pin(async move { reports.tell(&tellable, columns, format, told).await })
    })
    .await;
    // CSV has no other place for it.
    if let Some(Ok(other)) = other.map(|other| HeaderValue::try_from(other.interval())) {
        response.headers_mut().insert(TOLD, other);
    }
    response
}

/// What is asked, and in which form it is to be told: that which the query names, else the first that is accepted.
fn read(
    parts: &Parts,
    viewer: &Viewer,
    headers: &HeaderMap,
    asked: &Asked,
    usual: Format,
) -> Result<(Question, Format), Error> {
    const KNOWN: [&str; 10] =
        ["by", "period", "from", "to", "zone", "format", "key", "team", "model", "endpoint"];
    asked.only(&KNOWN)?;
    let value = |name: &str| asked.value(name);
    let zone = match value("zone") {
        Some(name) => Zone::named(name).ok_or_else(|| bad("zone is a name like Europe/Berlin"))?,
        None => parts.reports.terms().zone.clone(),
    };
    let (grain, by) = value("by").map_or(Ok((None, USUAL.to_vec())), read_by)?;
    let stay = read_stay(&zone, value("period"), value("from"), value("to"))?;
    let text = |name: &str| value(name).map(str::to_owned);
    let (key, team, model, endpoint) = (text("key"), text("team"), text("model"), text("endpoint"));
    let filter = seen(viewer, Filter { key, team, model, endpoint })?;
    let format = match value("format") {
        Some(name) => Format::named(name).ok_or_else(|| bad("format is table, csv or json"))?,
        None => accepted(headers).unwrap_or(usual),
    };
    Ok((Question { stay, zone, grain, by, filter }, format))
}

/// What a viewer may see of what is asked for.
///
/// # Errors
/// When that is another's.
pub fn seen(viewer: &Viewer, filter: Filter) -> Result<Filter, Error> {
    match viewer {
        Viewer::Admin => Ok(filter),
        Viewer::Key(own) if filter.key.as_deref().is_some_and(|key| key != &**own) => {
            Err(Error::new(Kind::Forbidden, "the figures of another key take the admin key"))
        }
        Viewer::Key(own) => Ok(Filter { key: Some(own.to_string()), ..filter }),
    }
}

/// `key,model,day`; nothing for all in one line.
fn read_by(text: &str) -> Result<(Option<Grain>, Vec<By>), Error> {
    let (mut grain, mut by) = (None, Vec::new());
    for name in text.split(',').filter(|name| !name.is_empty()) {
        let found = By::ALL.into_iter().find(|by| by.name() == name);
        let time = Grain::ALL.into_iter().find(|grain| grain.name() == name);
        match (found, time) {
            (Some(one), _) if !by.contains(&one) => by.push(one),
            (None, Some(time)) if grain.is_none() => grain = Some(time),
            _ => {
                return Err(bad(
                    "by is any of key, team, model, endpoint, and one of hour, day, week, month, with commas between",
                ));
            }
        }
    }
    Ok((grain, by))
}

fn read_stay(zone: &Zone, period: Option<&str>, from: Option<&str>, to: Option<&str>) -> Result<Stay, Error> {
    let now = now();
    let moment = |text: &str, ends| {
        zone.moment(text, now, ends).ok_or_else(|| {
            bad("from and to are a day (2026-11-30), a moment (2026-11-30T12:00:00Z), or how long ago (7d)")
        })
    };
    let stay = match (period, from, to) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
            return Err(bad("either period is named, or from and to"));
        }
        (period, None, None) => {
            return zone.stay(period.unwrap_or(PERIOD), now).ok_or_else(|| {
                bad("period is today, yesterday, week, month, quarter or year, or last-week and so on")
            });
        }
        (None, from, to) => {
            let from = from.map_or(Ok(0), |text| moment(text, false))?;
            let to = to.map_or(Ok(now.saturating_add(1)), |text| moment(text, true))?;
            Stay::new(from, to)
        }
    };
    stay.ok_or_else(|| bad("from must be before to"))
}

fn accepted(headers: &HeaderMap) -> Option<Format> {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|field| field.to_str().ok());
    let mut types = accept
        .flat_map(|field| field.split(','))
        .map(|part| part.split_once(';').map_or(part, |(name, _)| name).trim().to_ascii_lowercase());
    types.find_map(|name| match name.as_str() {
        "text/csv" => Some(Format::Csv),
        "application/json" => Some(Format::Json),
        "text/plain" => Some(Format::Table),
        _ => None,
    })
}
