//! Reads a batch: many texts of one model, each to be answered by itself.

use crate::dialect::escaped::json_text;
use crate::dialect::fields::{self, Object, unescape};
use crate::dialect::ollama;
use crate::domain::{Call, Error, Kind};
use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::sync::Arc;

/// Many texts, as one call of `/api/embed` would ask for them.
#[derive(Debug)]
pub struct Batch {
    /// For all that are texts; `texts` is none only where nothing is.
    pub call: Call,
    /// For each that was given, the how-manieth text of the call it is; `None` for what is no text.
    pub places: Vec<Option<usize>>,
    /// Vectors are to be base64 rather than numbers.
    pub base64: bool,
}

/// Reads the body. `streamed`: whether the request's head asks for lines; the body has the last word.
///
/// # Errors
/// `BadRequest` for what is no batch, `TooLarge` for more than `most` texts.
pub fn decode(body: &[u8], most: usize, mut streamed: bool) -> Result<Batch, Error> {
    let text = std::str::from_utf8(body).map_err(|_| bad("the body is not UTF-8"))?;
    let object = Object::read(text).filter(|object| !object.trailing && !object.lossy_keys);
    let object = object.ok_or_else(|| bad("the body is not a JSON object"))?;
    let (mut given, mut base64, mut rest) = (None, false, Vec::new());
    for field in &object.fields {
        match (field.folded(), field.value) {
            ("texts" | "input", value) => {
                if given.replace(tokens(value, most)?).is_some() {
                    return Err(bad("the texts are given twice"));
                }
            }
            ("stream", "null") | ("encoding_format", "null") => {}
            ("stream", value) => {
                streamed = fields::flag(value).ok_or_else(|| bad("stream is true or false"))?;
            }
            ("encoding_format", value) => {
                base64 = match fields::string(value).as_deref() {
                    Some("float") => false,
                    Some("base64") => true,
                    _ => return Err(bad("encoding_format is float or base64")),
                }
            }
            ("keep_alive", value) if value != "null" && ollama::ends_stay(value) => {
                return Err(bad("a batch neither unloads a model nor pins it: keep_alive is more than 0"));
            }
            (_, value) => rest.push(format!("{}:{value}", json_text(&field.key))),
        }
    }
    let given = given.ok_or_else(|| bad("texts is missing: a list of texts"))?;
    let is_text = |token: &&str| token.starts_with('"') && std::str::from_utf8(&unescape(token)).is_ok();
    let good: Vec<&str> = given.iter().copied().filter(is_text).collect();
    let mut numbers = 0..;
    let places = given.iter().map(|token| is_text(token).then(|| numbers.next()).flatten()).collect();
    rest.insert(0, format!("\"input\":[{}]", good.join(",")));
    let (mut call, texts) = ollama::decode_texts(Bytes::from(format!("{{{}}}", rest.join(","))), good.len())?;
    if call.model.is_empty() {
        return Err(bad("model is missing"));
    }
    if texts.is_none() && !good.is_empty() {
        return Err(bad("dimensions is a whole number, and truncate true or false"));
    }
    (call.texts, call.streamed) = (texts.map(Arc::new), streamed);
    Ok(Batch { call, places, base64 })
}

/// Whether `Accept` asks for lines.
pub fn wants_lines(accept: &[u8]) -> bool {
    memchr::memmem::find(&accept.to_ascii_lowercase(), b"application/x-ndjson").is_some()
}

/// The raw values of a list, or the one that is given by itself.
fn tokens(value: &str, most: usize) -> Result<Vec<&str>, Error> {
    if value.starts_with('"') {
        return Ok(vec![value]);
    }
    let mut json = serde_json::Deserializer::from_str(value);
    match Bounded(most).deserialize(&mut json) {
        Ok(Some(tokens)) => Ok(tokens),
        Ok(None) => Err(Error::new(Kind::TooLarge, format!("a batch has at most {most} texts"))),
        Err(_) => Err(bad("the texts are not a list")),
    }
}

/// A list of so many at the most; `None` for a longer one, of which no more is kept than that.
struct Bounded(usize);

impl<'de> DeserializeSeed<'de> for Bounded {
    type Value = Option<Vec<&'de str>>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Bounded {
    type Value = Option<Vec<&'de str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let (mut tokens, mut count) = (Vec::new(), 0usize);
        while let Some(token) = list.next_element::<&RawValue>()? {
            count = count.checked_add(1).ok_or_else(|| A::Error::custom("too many"))?;
            if count <= self.0 {
                tokens.push(token.get());
            }
        }
        Ok((count <= self.0).then_some(tokens))
    }
}

fn bad(why: &str) -> Error {
    Error::new(Kind::BadRequest, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Form, decode as decode_one};

    fn read(body: &str) -> Result<Batch, Error> {
        decode(body.as_bytes(), 4, false)
    }

    /// Its texts are those of `/api/embed`, and so are their vectors.
    #[test]
    fn a_batch_asks_as_embed_does() {
        let rest =
            r#""model":"m","options":{"num_ctx":512},"dimensions":5,"truncate":false,"keep_alive":"5m""#;
        let embed = format!(r#"{{{rest},"input":["a","b","a"]}}"#);
        let embed = decode_one(Form::Embed, Bytes::from(embed)).expect("a call").texts.expect("texts");
        for body in [
            format!(r#"{{{rest},"texts":["a","b","a"],"stream":true}}"#),
            format!(r#"{{"Input":["\u0061","b" ,"a"],"encoding_format":"base64",{rest}}}"#),
        ] {
            let batch = read(&body).expect("a batch");
            let texts = batch.call.texts.clone().expect("texts");
            assert_eq!((texts.manner, texts.shortened), (embed.manner, embed.shortened), "{body}");
            let prints =
                |items: &[crate::domain::Item]| items.iter().map(|item| item.text).collect::<Vec<_>>();
            assert_eq!(prints(&texts.items), prints(&embed.items));
            assert_eq!(batch.places, [Some(0), Some(1), Some(2)]);
            assert_eq!(batch.call.streamed, body.contains("stream"));
            assert_eq!(batch.base64, body.contains("base64"));
        }
    }

    #[test]
    fn what_is_no_text_is_left_out() {
        let batch = read(r#"{"model":"m","texts":[1,"a","\ud800",""]}"#).expect("a batch");
        assert_eq!(batch.places, [None, Some(0), None, Some(1)]);
        assert_eq!(batch.call.body, r#"{"input":["a",""],"model":"m"}"#);
        let none = read(r#"{"model":"m","texts":[null]}"#).expect("a batch");
        assert!(none.call.texts.is_none() && none.places == [None]);
        assert_eq!(read(r#"{"model":"m","texts":"alone"}"#).expect("a batch").places, [Some(0)]);
        assert_eq!(read(r#"{"model":"m","texts":[]}"#).expect("a batch").places, []);
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        for (body, kind) in [
            ("", Kind::BadRequest),
            ("[]", Kind::BadRequest),
            (r#"{"model":"m","texts":["a"]} x"#, Kind::BadRequest),
            (r#"{"texts":["a"]}"#, Kind::BadRequest),
            (r#"{"model":"m"}"#, Kind::BadRequest),
            (r#"{"model":"m","texts":{"a":1}}"#, Kind::BadRequest),
            (r#"{"model":"m","texts":["a"],"input":["a"]}"#, Kind::BadRequest),
            (r#"{"model":"m","model":"n","texts":["a"]}"#, Kind::BadRequest),
            (r#"{"model":"m","texts":["a"],"stream":"yes"}"#, Kind::BadRequest),
            (r#"{"model":"m","texts":["a"],"encoding_format":"hex"}"#, Kind::BadRequest),
            (r#"{"model":"m","texts":["a"],"dimensions":"five"}"#, Kind::BadRequest),
            (r#"{"model":"m","texts":["a"],"keep_alive":0}"#, Kind::BadRequest),
            (r#"{"model":"m","texts":["a"],"keep_alive":"-1m"}"#, Kind::BadRequest),
            (r#"{"model":"m","texts":["a","b","c","d","e"]}"#, Kind::TooLarge),
        ] {
            assert_eq!(read(body).expect_err(body).kind, kind, "{body}");
        }
        assert_eq!(decode(b"{\"model\":\"\xff\"}", 4, false).expect_err("no UTF-8").kind, Kind::BadRequest);
    }

    #[test]
    fn the_body_has_the_last_word_on_lines() {
        let read = |body: &str, head| decode(body.as_bytes(), 4, head).expect("a batch").call.streamed;
        assert!(read(r#"{"model":"m","texts":["a"]}"#, true));
        assert!(!read(r#"{"model":"m","texts":["a"],"stream":false}"#, true));
        assert!(read(r#"{"model":"m","texts":["a"],"stream":null}"#, true));
        assert!(wants_lines(b"text/html, Application/X-NDJSON;q=0.5") && !wants_lines(b"*/*"));
    }
}
