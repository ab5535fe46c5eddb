//! The texts of an embedding call, where each can be answered by itself.

use super::{Question, Role};
use crate::dialect::Form;
use crate::dialect::canon::Canon;
use crate::dialect::fields::{self, string, unescape};
use crate::domain::{Error, Fingerprint, Item, Texts};
use std::ops::Range;

impl Question<'_> {
    /// The texts of this question, which was read from `whole`. `None` where the call has none, or has
    /// something in it that Ollama would refuse: it is then answered as a whole, or refused, by the upstream.
    ///
    /// `/api/embed` and `/v1/embeddings` are one thing to Ollama, so texts that are asked for in the same
    /// manner are the same on both routes; what only one of them reads keeps them apart.
    ///
    /// Nor are more than `most` answered each by itself.
    ///
    /// # Errors
    /// `BadRequest` for a nesting beyond 128.
    pub fn texts(&self, form: Form, whole: &str, most: usize) -> Result<Option<Texts>, Error> {
        let Some(shape) = self.shape() else { return Ok(None) };
        let within = |value: &str| {
            let start = value.as_ptr() as usize - whole.as_ptr() as usize;
            start..start + value.len()
        };
        let Some((input, items)) = self.items(within, most) else { return Ok(None) };
        let manner = self.manner(form, shape.dimensions.is_some())?;
        let shortened = match shape.dimensions {
            Some(dimensions) => Some((dimensions, self.manner(form, false)?)),
            None => None,
        };
        Ok(Some(Texts { manner, shortened, base64: shape.base64, input, items }))
    }

    /// `None` where a field has a value that Ollama takes for an error.
    fn shape(&self) -> Option<Shape> {
        if !matches!(self.value("truncate"), None | Some("true" | "false")) {
            return None;
        }
        let base64 = match self.value("encoding_format") {
            None => false,
            Some(format) => match string(format)?.to_ascii_lowercase().as_str() {
                "" | "float" => false,
                "base64" => true,
                _ => return None,
            },
        };
        let dimensions = match self.value("dimensions") {
            None => None,
            // Nothing and less is no limit to Ollama.
            Some(number) => usize::try_from(number.parse::<i64>().ok()?).ok().filter(|number| *number > 0),
        };
        Some(Shape { base64, dimensions })
    }

    fn items(&self, within: impl Fn(&str) -> Range<usize>, most: usize) -> Option<(Range<usize>, Vec<Item>)> {
        let input = self.value("input")?;
        let tokens: Vec<&str> = match input.starts_with('[') {
            false => vec![input],
            true => fields::elements(input, most)?,
        };
        let item = |token: &str| {
            let text = token.starts_with('"').then(|| unescape(token))?;
            Some(Item { text: Fingerprint(*blake3::hash(&text).as_bytes()), place: within(token) })
        };
        let items: Vec<Item> = tokens.into_iter().map(item).collect::<Option<_>>()?;
        (!items.is_empty()).then(|| (within(input), items))
    }

    /// Over everything but the texts that decides a vector.
    fn manner(&self, form: Form, with_dimensions: bool) -> Result<Fingerprint, Error> {
        let mut canon = Canon::new("embedding");
        let mut particular = false;
        for member in &self.members {
            match (member.name.as_ref(), member.role) {
                ("input" | "encoding_format", Some(_)) | (_, Some(Role::Unkeyed)) => {}
                // Unless it is forbidden, Ollama cuts a text that is too long.
                ("truncate", Some(_)) if member.value != "false" => {}
                ("truncate", Some(_)) => member.write(&mut canon)?,
                ("dimensions", Some(_)) if !with_dimensions => {}
                ("dimensions", Some(_)) => member.write(&mut canon)?,
                _ if member.role.is_some() && member.value == "null" => {}
                _ => {
                    particular = true;
                    member.write(&mut canon)?;
                }
            }
        }
        if particular {
            canon.string(form.path().as_bytes());
        }
        Ok(Fingerprint(canon.finish()))
    }
}

/// What a call says of the vectors that it wants.
struct Shape {
    base64: bool,
    dimensions: Option<usize>,
}
