//! Reads what somebody wants to know of a picture, or of several: from JSON, or from a form with files in it.

use crate::dialect::escaped::json_text;
use crate::dialect::fields::{self, Object, unescape};
use crate::dialect::multipart::{self, Part};
use crate::domain::{Error, Film, Kind};
use bytes::Bytes;
use std::borrow::Cow;

/// What is to be told of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Whatever is asked.
    Analyze,
    /// What is to be seen.
    Caption,
    /// The text in it.
    Ocr,
}

/// How much a caption tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    Brief,
    Normal,
    Detailed,
}

/// A request for what is to be seen.
#[derive(Debug)]
pub struct Look {
    pub model: Option<String>,
    pub streamed: bool,
    pub films: Vec<Film>,
    /// They came as a list, and so are they answered.
    pub is_list: bool,
    /// What is asked of each, and how: members of a call, as they stand in JSON.
    question: String,
}

/// What has been read of it so far.
#[derive(Default)]
struct Sheet {
    model: Option<String>,
    prompt: Option<String>,
    detail: Option<Detail>,
    temperature: Option<f64>,
    most_tokens: Option<i64>,
    streamed: Option<bool>,
    films: Vec<Film>,
    is_list: bool,
}

/// A value as JSON has it, or as the text of a form.
#[derive(Clone, Copy)]
enum Value<'a> {
    Json(&'a str),
    Text(&'a str),
}

/// Fields of a form beside its pictures.
const MOST_FIELDS: usize = 16;

const ANALYZE: &str = "Describe what is to be seen in this picture.";
const BRIEF: &str = "Write a caption for this picture: one short sentence, and nothing else.";
const NORMAL: &str = "Describe this picture in two or three sentences.";
const DETAILED: &str = "Describe this picture in detail: what is to be seen and where, colours, people and what they do, \
                        text, background and mood.";
const OCR: &str = "Write down all text that stands in this picture, word for word and line by line. Write nothing but \
                   that text.";

impl Look {
    /// Reads a request of at most so many pictures.
    ///
    /// # Errors
    /// `BadRequest` for what is none, `TooLarge` for too many pictures.
    pub fn read(
        view: View,
        content_type: Option<&[u8]>,
        query: &str,
        body: &Bytes,
        most: usize,
    ) -> Result<Look, Error> {
        let mut sheet = Sheet::default();
        if multipart::is_form(content_type) {
            let boundary = multipart::boundary(content_type);
            let boundary = boundary.ok_or_else(|| bad("the content type says no boundary of a form"))?;
            for part in multipart::read(body, &boundary, most.saturating_add(MOST_FIELDS))? {
                sheet.take_part(&part)?;
            }
            sheet.take_query(query)?;
            sheet.is_list = sheet.films.len() > 1;
        } else {
            sheet.read_json(body, most)?;
        }
        sheet.finish(view, most)
    }

    /// The body of a call of `/api/generate` that asks `model` about one picture, which is base64.
    pub fn call(&self, model: &str, picture: &str) -> Bytes {
        let (model, streamed, question) = (json_text(model), self.streamed, &self.question);
        format!("{{\"model\":{model},\"images\":[\"{picture}\"],\"stream\":{streamed},{question}}}").into()
    }
}

impl Sheet {
    fn read_json(&mut self, body: &[u8], most: usize) -> Result<(), Error> {
        let text = std::str::from_utf8(body).map_err(|_| bad("the body is not UTF-8"))?;
        let object = Object::read(text).filter(|object| !object.trailing && !object.lossy_keys);
        let object = object.ok_or_else(|| bad("the body is not a JSON object"))?;
        let mut is_given = false;
        for field in object.fields.iter().filter(|field| field.value != "null") {
            match field.folded() {
                "image" | "images" if std::mem::replace(&mut is_given, true) => {
                    return Err(bad("the pictures are given twice"));
                }
                "image" => self.films = vec![film(field.value)?],
                "images" => {
                    let each =
                        fields::elements(field.value, most).ok_or_else(|| match field.value.as_bytes() {
                            [b'[', ..] => too_many(most),
                            _ => bad("images is a list of base64"),
                        })?;
                    self.films = each.into_iter().map(film).collect::<Result<_, _>>()?;
                    self.is_list = true;
                }
                name => self.take(name, Value::Json(field.value))?,
            }
        }
        Ok(())
    }

    fn take_part(&mut self, part: &Part) -> Result<(), Error> {
        let is_picture =
            matches!(part.name.as_str(), "file" | "files" | "image" | "images" | "file[]" | "files[]");
        let text = || std::str::from_utf8(&part.content).map_err(|_| bad("a field is not UTF-8"));
        if is_picture && (part.is_file || part.name.starts_with("file")) {
            self.films.push(Film::Bytes(part.content.clone()));
        } else if is_picture {
            self.films.push(Film::Text(text()?.to_owned()));
        } else if !part.is_file {
            self.take(&part.name, Value::Text(text()?))?;
        }
        Ok(())
    }

    /// What stands in the address, where the form does not say it.
    fn take_query(&mut self, query: &str) -> Result<(), Error> {
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = value.replace('+', " ");
            let value = percent_encoding::percent_decode_str(&value);
            let value = value.decode_utf8().map_err(|_| bad("the address is not UTF-8"))?;
            match name {
                "prompt" if self.prompt.is_none() => self.take(name, Value::Text(&value))?,
                "model" if self.model.is_none() => self.take(name, Value::Text(&value))?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A field that means nothing here is passed over.
    fn take(&mut self, name: &str, value: Value<'_>) -> Result<(), Error> {
        match name {
            "model" => once(&mut self.model, value.text(), "model is a text"),
            "prompt" => once(&mut self.prompt, value.text(), "prompt is a text"),
            "detail_level" => {
                let detail = value.text().and_then(|name| Detail::named(&name));
                once(&mut self.detail, detail, "detail_level is brief, normal or detailed")
            }
            "temperature" => {
                let number = value.number().filter(|number| *number >= 0.0);
                once(&mut self.temperature, number, "temperature is a number, and not below 0")
            }
            "max_tokens" => {
                let whole =
                    value.number().filter(|number| number.fract() == 0.0 && (1.0..=1e9).contains(number));
                let wrong = "max_tokens is a whole number above 0";
                once(&mut self.most_tokens, whole.map(|number| number as i64), wrong)
            }
            "stream" => once(&mut self.streamed, value.flag(), "stream is true or false"),
            _ => Ok(()),
        }
    }

    fn finish(self, view: View, most: usize) -> Result<Look, Error> {
        let Sheet { model, prompt, detail, temperature, most_tokens, streamed, films, is_list } = self;
        if films.is_empty() {
            return Err(bad(
                "there is no picture: image is base64, images a list of it, file a file of a form",
            ));
        }
        if films.len() > most {
            return Err(too_many(most));
        }
        let streamed = streamed.unwrap_or(false);
        if is_list && streamed {
            return Err(bad(
                "a list of pictures is answered as a whole: ask for one at a time to have a stream",
            ));
        }
        let prompt = match (view, prompt.filter(|prompt| !prompt.trim().is_empty())) {
            (View::Analyze, prompt) => prompt.map_or(Cow::Borrowed(ANALYZE), Cow::Owned),
            (View::Caption, _) => Cow::Borrowed(detail.unwrap_or(Detail::Normal).prompt()),
            (View::Ocr, _) => Cow::Borrowed(OCR),
        };
        // Who wants to have text read does not want it made up.
        let temperature = temperature.or((view == View::Ocr).then_some(0.0));
        let temperature = temperature.map(|temperature| format!("\"temperature\":{temperature}"));
        let most_tokens = most_tokens.map(|tokens| format!("\"num_predict\":{tokens}"));
        let options: Vec<String> = temperature.into_iter().chain(most_tokens).collect();
        let question = format!("\"prompt\":{},\"options\":{{{}}}", json_text(&prompt), options.join(","));
        let model = model.filter(|model| !model.trim().is_empty());
        Ok(Look { model, streamed, films, is_list, question })
    }
}

impl Detail {
    fn named(name: &str) -> Option<Self> {
        match name {
            "brief" => Some(Detail::Brief),
            "normal" => Some(Detail::Normal),
            "detailed" => Some(Detail::Detailed),
            _ => None,
        }
    }

    fn prompt(self) -> &'static str {
        match self {
            Detail::Brief => BRIEF,
            Detail::Normal => NORMAL,
            Detail::Detailed => DETAILED,
        }
    }
}

impl Value<'_> {
    fn text(self) -> Option<String> {
        match self {
            Value::Json(value) => fields::string(value),
            Value::Text(text) => Some(text.to_owned()),
        }
    }

    fn number(self) -> Option<f64> {
        let (Value::Json(text) | Value::Text(text)) = self;
        fields::number(text.trim()).filter(|number| number.is_finite())
    }

    fn flag(self) -> Option<bool> {
        let (Value::Json(text) | Value::Text(text)) = self;
        fields::flag(text.trim())
    }
}

/// A value that may be given once, and must be what it is said to be.
fn once<T>(place: &mut Option<T>, value: Option<T>, wrong: &str) -> Result<(), Error> {
    let value = value.ok_or_else(|| bad(wrong))?;
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(bad("a field is given twice")),
    }
}

fn film(value: &str) -> Result<Film, Error> {
    let is_text = value.starts_with('"');
    let text = is_text.then(|| String::from_utf8(unescape(value).into_owned()).ok()).flatten();
    text.map(Film::Text).ok_or_else(|| bad("a picture is base64, as a text"))
}

fn bad(why: &str) -> Error {
    Error::new(Kind::BadRequest, why)
}

fn too_many(most: usize) -> Error {
    Error::new(Kind::TooLarge, format!("at most {most} pictures in one request"))
}

#[cfg(test)]
mod tests;
