//! Reads what somebody wants to have written down: from a form with a file in it, or from JSON.

use super::{Grain, Manner, Sent, Shape};
use crate::dialect::fields::{self, Object};
use crate::dialect::multipart::Part;
use crate::domain::{Error, Film, Kind};

/// Which route it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hearing {
    /// Into English.
    pub translate: bool,
    pub manner: Manner,
}

/// A request for what is said in a recording.
#[derive(Debug)]
pub struct Wish {
    pub hearing: Hearing,
    pub model: Option<String>,
    pub audio: Film,
    pub language: Option<String>,
    pub prompt: Option<String>,
    pub temperature: f32,
    pub shape: Shape,
    pub grain: Grain,
    pub streamed: bool,
}

/// What has been read of it so far.
#[derive(Default)]
struct Sheet {
    model: Option<String>,
    audio: Option<Film>,
    language: Option<String>,
    prompt: Option<String>,
    temperature: Option<f32>,
    shape: Option<Shape>,
    grain: Option<Grain>,
    streamed: Option<bool>,
}

/// Bytes of a prompt: no model heeds more than a few hundred words.
const LONGEST_PROMPT: usize = 16 << 10;

impl Wish {
    /// # Errors
    /// `BadRequest` for what is none.
    pub fn read(hearing: Hearing, sent: Sent<'_>) -> Result<Wish, Error> {
        let mut sheet = Sheet::default();
        match sent.parts {
            Some(parts) => {
                for part in parts? {
                    sheet.take_part(part)?;
                }
                sheet.take_query(sent.query)?;
            }
            None if hearing.manner == Manner::OpenAi => {
                return Err(bad("this route takes a form (multipart/form-data) with a file in it"));
            }
            None => sheet.read_json(sent.body)?,
        }
        sheet.finish(hearing)
    }
}

/// What an address says behind its question mark; no value where it is no UTF-8.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = (String, Option<String>)> {
    let decoded = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8().ok().map(|text| text.into_owned())
    };
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter_map(move |(name, value)| Some((decoded(name)?, decoded(value))))
}

impl Sheet {
    fn read_json(&mut self, body: &[u8]) -> Result<(), Error> {
        let text = std::str::from_utf8(body).map_err(|_| bad("the body is not UTF-8"))?;
        let object = Object::read(text).filter(|object| !object.trailing && !object.lossy_keys);
        let object = object.ok_or_else(|| bad("the body is neither a JSON object nor a form"))?;
        for field in object.fields.iter().filter(|field| field.value != "null") {
            let value = match field.value.starts_with(['{', '[']) {
                true => None,
                false => Some(fields::string(field.value).unwrap_or_else(|| field.value.to_owned())),
            };
            match (field.folded(), value) {
                ("audio" | "file", Some(value)) if field.value.starts_with('"') => {
                    self.take_audio(Film::Text(value))?;
                }
                ("audio" | "file", _) => return Err(bad("the recording is base64, as a text")),
                (name, Some(value)) => self.take(name, &value)?,
                (_, None) => {}
            }
        }
        Ok(())
    }

    fn take_part(&mut self, part: Part) -> Result<(), Error> {
        match part.name.as_str() {
            "file" | "audio" if part.is_file || part.name == "file" => {
                self.take_audio(Film::Bytes(part.content))
            }
            _ if part.is_file => Ok(()),
            name => {
                let text = std::str::from_utf8(&part.content).map_err(|_| bad("a field is not UTF-8"))?;
                match name {
                    "audio" => self.take_audio(Film::Text(text.to_owned())),
                    name => self.take(name, text),
                }
            }
        }
    }

    /// What stands in the address, where the form does not say it.
    fn take_query(&mut self, query: &str) -> Result<(), Error> {
        for (name, value) in pairs(query) {
            let value = value.ok_or_else(|| bad("the address is not UTF-8"))?;
            match name.as_str() {
                "model" if self.model.is_none() => self.take("model", &value)?,
                "language" if self.language.is_none() => self.take("language", &value)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn take_audio(&mut self, audio: Film) -> Result<(), Error> {
        once(&mut self.audio, Some(audio), "", "there are two recordings, and one is listened to at a time")
    }

    /// A field that means nothing here is passed over.
    fn take(&mut self, name: &str, text: &str) -> Result<(), Error> {
        const TWICE: &str = "a field is given twice";
        let named = text.trim();
        match name {
            "model" => once(&mut self.model, Some(named.to_owned()), "", TWICE),
            "language" => once(&mut self.language, Some(named.to_owned()), "", TWICE),
            "prompt" | "initial_prompt" => {
                let prompt = Some(text.to_owned()).filter(|text| text.len() <= LONGEST_PROMPT);
                once(&mut self.prompt, prompt, "the prompt is too long", TWICE)
            }
            "temperature" => {
                let number = fields::number(named).filter(|number| (0.0..=1.0).contains(number));
                let number = number.map(|number| number as f32);
                once(&mut self.temperature, number, "temperature is a number from 0 to 1", TWICE)
            }
            "response_format" => {
                let wrong = "response_format is json, text, srt, vtt or verbose_json";
                once(&mut self.shape, Shape::named(named), wrong, TWICE)
            }
            "stream" => once(
                &mut self.streamed,
                fields::flag(&named.to_lowercase()),
                "stream is true or false",
                TWICE,
            ),
            "timestamp_granularities" | "timestamp_granularities[]" => {
                let grain = self.grain.get_or_insert(Grain { segments: false, words: false });
                match named {
                    "segment" => grain.segments = true,
                    "word" => grain.words = true,
                    _ => return Err(bad("timestamp_granularities are segment and word")),
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(self, hearing: Hearing) -> Result<Wish, Error> {
        let Sheet { model, audio, language, prompt, temperature, shape, grain, streamed } = self;
        let audio = audio.ok_or_else(|| match hearing.manner {
            Manner::OpenAi => bad("there is no recording: file is a file of a form"),
            Manner::Native => bad("there is no recording: audio is base64, file a file of a form"),
        })?;
        let is_said = |text: &String| !text.trim().is_empty();
        let shape = shape.unwrap_or_default();
        if grain.is_some() && shape != Shape::Verbose && hearing.manner == Manner::OpenAi {
            return Err(bad("timestamp_granularities need response_format=verbose_json"));
        }
        let streamed = streamed.unwrap_or(false) && hearing.manner == Manner::OpenAi;
        if streamed && !matches!(shape, Shape::Json | Shape::Text) {
            return Err(bad("a stream is told with response_format json or text alone"));
        }
        Ok(Wish {
            hearing,
            model: model.filter(is_said),
            audio,
            language: language.filter(is_said).filter(|language| language != "auto"),
            prompt: prompt.filter(is_said),
            temperature: temperature.unwrap_or(0.0),
            shape,
            grain: grain.unwrap_or_default(),
            streamed,
        })
    }
}

/// A value that may be given once, and must be what it is said to be.
fn once<T>(place: &mut Option<T>, value: Option<T>, wrong: &str, twice: &str) -> Result<(), Error> {
    let value = value.ok_or_else(|| bad(wrong))?;
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(bad(twice)),
    }
}

fn bad(why: &str) -> Error {
    Error::new(Kind::BadRequest, why)
}

#[cfg(test)]
mod tests;
