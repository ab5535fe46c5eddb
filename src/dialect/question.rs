//! A request's body, read by its form's table of fields: what is asked, and its fingerprint.
//!
//! Knows no form: the tables, and what their fields mean, are the dialects'.

use super::Form;
use super::canon::{Canon, Numbers};
use super::fields::{self, Field, MAX_MEMBERS, Object, Text};
use crate::domain::{Call, Certainty, Error, Fingerprint, Kind, Reason, Storable};
use bytes::Bytes;
use std::borrow::Cow;

/// What a known field does to the fingerprint. A field in no table is fingerprinted under the key and
/// with the numbers that were written, for a newer Ollama may honour it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nothing: the answer does not depend on it.
    Unkeyed,
    /// Its value counts; `null` is the same as absent.
    Keyed,
    /// The same, and `""` is absent too.
    KeyedUnlessEmpty,
    /// The same, and numbers count as written: the upstream passes the text on.
    Verbatim,
    /// Its value counts, and `null` is a value of its own.
    Tristate,
    /// A flat map, whose order does not count.
    Sorted,
}

/// One row of a form's table: the name that Go knows the field by.
pub type Known = (&'static str, Role);

/// The fields that Pannier acts on, wherever a form knows them. Given twice, they are refused: which
/// of the two counts must not be a matter of opinion.
const ACTED_ON: [&str; 13] = [
    "model",
    "stream",
    "stream_options",
    "keep_alive",
    "options",
    "prompt",
    "messages",
    "input",
    "tools",
    "temperature",
    "top_k",
    "seed",
    "_debug_render_only",
];

/// The same within two of them.
const ACTED_ON_WITHIN: [(&str, &[&str]); 2] =
    [("options", &["temperature", "top_k", "seed"]), ("stream_options", &["include_usage"])];

/// One readable body.
pub struct Question<'a> {
    /// In the order of their names, known ones under Go's.
    members: Vec<Member<'a>>,
    /// Readers may differ about this body: it is passed on as it is, and past the cache.
    pub odd: bool,
    fingerprint: Fingerprint,
    text_bytes: u64,
}

struct Member<'a> {
    name: Cow<'a, str>,
    role: Option<Role>,
    value: &'a str,
}

/// What a dialect found in a question.
pub struct Reading {
    pub streamed: bool,
    pub certainty: Certainty,
    /// Why the answer must not be kept, where the form has a reason of its own.
    pub obstacle: Option<Reason>,
}

impl<'a> Question<'a> {
    /// Reads a body. `None` where it is no JSON object.
    ///
    /// # Errors
    /// `BadRequest` for a field acted on that is given twice, and for a nesting beyond 128.
    pub fn read(form: Form, known: &[Known], text: &'a Text<'_>) -> Result<Option<Self>, Error> {
        let Some(object) = Object::read(text.as_str()) else { return Ok(None) };
        let acted_on = ACTED_ON.iter().copied().filter(|name| known.iter().any(|(other, _)| other == name));
        refuse_twin(&object, &acted_on.collect::<Vec<_>>())?;
        let mut odd = !text.is_exact() || object.trailing || object.lossy_keys;
        let mut members: Vec<_> = object.fields.into_iter().map(|field| Member::new(field, known)).collect();
        for (outer, within) in ACTED_ON_WITHIN {
            let outer = members.iter().find(|member| member.role.is_some() && member.name == outer);
            if let Some(object) = outer.and_then(|member| Object::read(member.value)) {
                refuse_twin(&object, within)?;
            }
        }
        members.sort_by(|one, other| one.name.cmp(&other.name));
        odd |= members.windows(2).any(|pair| pair[0].name == pair[1].name);
        let mut keyed = Canon::new(form.path());
        // What does not count is walked all the same: for its depth, and for what is odd in it.
        let mut unkeyed = Canon::new("unkeyed");
        for member in &members {
            let canon = if member.role == Some(Role::Unkeyed) { &mut unkeyed } else { &mut keyed };
            member.write(canon)?;
        }
        odd |= keyed.odd || unkeyed.odd;
        odd |= members.iter().any(|member| member.role == Some(Role::Unkeyed) && member.is_mistyped());
        let text_bytes = keyed.text_bytes;
        Ok(Some(Question { members, odd, fingerprint: Fingerprint(keyed.finish()), text_bytes }))
    }

    /// The raw value of a field that the form knows; `None` where it is absent.
    pub fn value_or_null(&self, name: &str) -> Option<&'a str> {
        let place = self.members.binary_search_by(|member| member.name.as_ref().cmp(name)).ok()?;
        let member = &self.members[place];
        member.role.is_some().then_some(member.value)
    }

    /// The same, and `None` for `null` too.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.value_or_null(name).filter(|value| *value != "null")
    }

    pub fn flag(&self, name: &str) -> Option<bool> {
        fields::flag(self.value(name)?)
    }

    pub fn number(&self, name: &str) -> Option<f64> {
        fields::number(self.value(name)?)
    }

    /// The members of a field that is an object.
    pub fn object(&self, name: &str) -> Option<Object<'a>> {
        Object::read(self.value(name)?)
    }

    /// Whether a field is absent, `null`, `""` or `[]`.
    pub fn lacks(&self, name: &str) -> bool {
        self.value(name).is_none_or(fields::is_empty)
    }

    /// Whether the upstream would search the web by itself: one of `tools` has such a `type`.
    pub fn searches_web(&self) -> bool {
        let Some(tools) = self.value("tools").filter(|tools| tools.starts_with('[')) else { return false };
        // What is too much to be read may be anything.
        let Some(tools) = fields::elements(tools, MAX_MEMBERS) else { return true };
        tools.into_iter().filter_map(Object::read).any(|tool| {
            tool.fields
                .iter()
                .filter(|field| field.folded() == "type")
                .filter_map(|field| fields::string(field.value))
                .any(|kind| kind.starts_with("web_search"))
        })
    }

    /// The call that this question is, with `body` as it goes upstream.
    pub fn call(&self, form: Form, body: Bytes, reading: Reading) -> Call {
        let model = self.value("model").and_then(fields::string).unwrap_or_default();
        let obstacle = if self.odd { Some(Reason::Odd) } else { reading.obstacle };
        let obstacle = obstacle.or_else(|| is_cloud(&model).then_some(Reason::Cloud));
        Call {
            model,
            operation: form.operation(),
            streamed: reading.streamed,
            body,
            strip_usage: false,
            offers_tools: !self.lacks("tools"),
            fingerprint: self.fingerprint,
            certainty: reading.certainty,
            storable: obstacle.map_or(Storable::Yes, Storable::No),
            estimated_prompt_tokens: self.text_bytes.div_ceil(4),
            texts: None,
        }
    }
}

/// Whether Go reads `text` as a duration: `5m`, `-1h30m`, `0`.
fn is_duration(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut rest = text;
    while !rest.is_empty() && rest != "0" {
        let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let units = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
        let Some(after) = units.iter().find_map(|name| unit.strip_prefix(name)) else { return false };
        if !rest[..rest.len() - unit.len()].bytes().any(|byte| byte.is_ascii_digit()) {
            return false;
        }
        rest = after;
    }
    !text.is_empty()
}

impl<'a> Member<'a> {
    /// Whether Go would refuse this value for a field that is not fingerprinted. Such a body must not
    /// share the answer of one that Go takes.
    fn is_mistyped(&self) -> bool {
        let value = self.value;
        let fits = match self.name.as_ref() {
            "model" => value.starts_with('"'),
            "stream" => fields::flag(value).is_some(),
            "stream_options" => Object::read(value).is_some_and(|options| {
                let mut asked = options.fields.iter().filter(|field| field.folded() == "include_usage");
                asked.all(|field| field.value == "null" || fields::flag(field.value).is_some())
            }),
            "keep_alive" => match fields::string(value) {
                Some(text) => is_duration(&text),
                None => fields::number(value).is_some(),
            },
            _ => return false,
        };
        !fits && value != "null"
    }

    fn new(field: Field<'a>, known: &[Known]) -> Self {
        match known.iter().find(|(name, _)| *name == field.folded()) {
            Some((name, role)) => Member { name: Cow::Borrowed(name), role: Some(*role), value: field.value },
            None => Member { name: field.key, role: None, value: field.value },
        }
    }

    /// Whether its value is the same as no value.
    fn is_absent(&self) -> bool {
        match self.role {
            Some(Role::Tristate) | None => false,
            Some(Role::Keyed | Role::Unkeyed | Role::Sorted) => self.value == "null",
            Some(Role::KeyedUnlessEmpty | Role::Verbatim) => matches!(self.value, "null" | "\"\""),
        }
    }

    /// When two numbers in it are the same.
    fn numbers(&self) -> Numbers {
        match self.role {
            Some(Role::Verbatim) | None => Numbers::AsWritten,
            Some(_) => Numbers::ByValue,
        }
    }

    fn write(&self, canon: &mut Canon) -> Result<(), Error> {
        if self.is_absent() {
            return Ok(());
        }
        canon.string(self.name.as_bytes());
        match self.role {
            Some(Role::Sorted) => write_sorted(canon, self.value),
            _ => canon.value(self.value, self.numbers(), 1),
        }
    }
}

/// Writes a map in the order of its keys.
fn write_sorted(canon: &mut Canon, value: &str) -> Result<(), Error> {
    let Some(mut object) = Object::read(value) else { return canon.value(value, Numbers::ByValue, 1) };
    object.fields.sort_by(|one, other| one.key.cmp(&other.key));
    canon.odd |= object.lossy_keys || object.fields.windows(2).any(|pair| pair[0].key == pair[1].key);
    canon.open();
    for field in &object.fields {
        canon.string(field.key.as_bytes());
        canon.value(field.value, Numbers::ByValue, 2)?;
    }
    canon.close();
    Ok(())
}

fn refuse_twin(object: &Object<'_>, names: &[&'static str]) -> Result<(), Error> {
    match object.twin(names) {
        Some(name) => Err(Error::new(Kind::BadRequest, format!("the field {name} is given twice"))),
        None => Ok(()),
    }
}

/// The call for a body that nobody here can read. The upstream will say what is wrong with it.
pub fn unreadable(form: Form, body: Bytes, streamed: bool) -> Call {
    let mut canon = Canon::new("unreadable");
    canon.string(form.path().as_bytes());
    canon.string(&body);
    Call {
        model: String::new(),
        operation: form.operation(),
        streamed,
        body,
        strip_usage: false,
        offers_tools: false,
        fingerprint: Fingerprint(canon.finish()),
        certainty: Certainty::Sampled,
        storable: Storable::No(Reason::Unreadable),
        estimated_prompt_tokens: 0,
        texts: None,
    }
}

/// How sure a completion is, by what the call itself asks for. What a model's own parameters say is
/// not known here, so an absent temperature is a sampled one.
pub fn certainty(temperature: Option<f64>, top_k: Option<f64>, seed: Option<f64>) -> Certainty {
    if temperature == Some(0.0) || top_k == Some(1.0) {
        Certainty::Greedy
    } else if seed.is_some_and(|seed| seed >= 0.0) {
        Certainty::Seeded
    } else {
        Certainty::Sampled
    }
}

/// Whether a name sends the call to Ollama's cloud: its tag is `cloud` or ends in `-cloud`.
fn is_cloud(model: &str) -> bool {
    let tag = model.rsplit(':').next().unwrap_or(model).trim().to_ascii_lowercase();
    tag.ends_with("-cloud") || (tag == "cloud" && model.contains(':'))
}

mod outline;
mod texts;

pub use outline::{Counted, Difference, Outline, Part};

#[cfg(test)]
mod tests;
