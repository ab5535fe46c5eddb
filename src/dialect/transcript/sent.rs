//! What was sent to be written down, before anybody knows whose it is to read: a form is taken apart once.

use super::wish::pairs;
use crate::dialect::multipart::{self, Part};
use crate::domain::{Error, Kind};
use bytes::Bytes;

/// Fields of a form, its file included.
const MOST_FIELDS: usize = 32;

/// A request's content, and what its address says.
pub struct Sent<'a> {
    content_type: Option<&'a [u8]>,
    pub(super) query: &'a str,
    pub(super) body: &'a Bytes,
    /// Where it is a form, or is said to be one.
    pub(super) parts: Option<Result<Vec<Part>, Error>>,
}

impl<'a> Sent<'a> {
    pub fn of(content_type: Option<&'a [u8]>, query: &'a str, body: &'a Bytes) -> Self {
        let parts = || {
            let boundary = multipart::boundary(content_type);
            let none = || Error::new(Kind::BadRequest, "the content type says no boundary of a form");
            multipart::read(body, &boundary.ok_or_else(none)?, MOST_FIELDS)
        };
        let parts = multipart::is_form(content_type).then(parts);
        Sent { content_type, query, body, parts }
    }

    /// Whether it is said to be what these routes take.
    pub fn is_form(&self) -> bool {
        multipart::is_form_data(self.content_type)
    }

    /// Whether it is said to be what many of other routes are, or nothing at all: that is told so.
    pub fn is_json(&self) -> bool {
        const JSON: &[u8] = b"application/json";
        let starts =
            |kind: &[u8]| kind.get(..JSON.len()).is_some_and(|start| start.eq_ignore_ascii_case(JSON));
        self.content_type.is_none_or(starts)
    }

    /// The model alone, where the rest is somebody else's to read; `None` where nobody can read it. As Go's server
    /// finds it: in the address first.
    pub fn model(&self) -> Option<String> {
        let asked = pairs(self.query).find_map(|(name, value)| (name == "model").then_some(value)?);
        asked.or_else(|| {
            let part = self.fields()?.iter().find(|part| part.name == "model" && !part.is_file)?;
            String::from_utf8(part.content.to_vec()).ok()
        })
    }

    /// Whether any server finds the same model in it as [`model`](Self::model): forms can be written so that one reader
    /// sees what another does not.
    pub fn is_plain(&self) -> bool {
        let (Some(boundary), Some(parts)) = (multipart::boundary(self.content_type), self.fields()) else {
            return false;
        };
        let models = parts.iter().filter(|part| part.name == "model");
        let begins = self.body.starts_with(format!("--{boundary}\r\n").as_bytes());
        self.query.is_empty()
            && begins
            && models.map(|part| part.is_file).eq([false])
            && parts.iter().all(|part| !part.name.is_empty())
            && times(self.body, b"content-disposition") == parts.len()
            && times(self.body, b"content-transfer-encoding") == 0
    }

    fn fields(&self) -> Option<&[Part]> {
        self.parts.as_ref()?.as_deref().ok()
    }
}

/// How often `what`, in small letters, stands in `body`, in letters of any size.
fn times(body: &[u8], what: &[u8]) -> usize {
    let begins = memchr::memchr2_iter(what[0], what[0].to_ascii_uppercase(), body);
    begins
        .filter(|at| body[*at..].get(..what.len()).is_some_and(|found| found.eq_ignore_ascii_case(what)))
        .count()
}
