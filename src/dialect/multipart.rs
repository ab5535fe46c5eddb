//! Forms with files in them: `multipart/form-data`.

use crate::domain::{Error, Kind};
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use multer::Multipart;
use std::convert::Infallible;

/// One field of a form.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    /// It was given with a file's name, which says nothing.
    pub is_file: bool,
    pub content: Bytes,
}

/// What separates the parts, where the content is such a form.
pub fn boundary(content_type: Option<&[u8]>) -> Option<String> {
    multer::parse_boundary(std::str::from_utf8(content_type?).ok()?).ok()
}

/// Whether the content is said to be such a form, well or badly.
pub fn is_form(content_type: Option<&[u8]>) -> bool {
    const KIND: &[u8] = b"multipart/";
    content_type
        .is_some_and(|kind| kind.get(..KIND.len()).is_some_and(|start| start.eq_ignore_ascii_case(KIND)))
}

/// Whether it is said to be one with files in it, and no other.
pub fn is_form_data(content_type: Option<&[u8]>) -> bool {
    const KIND: &[u8] = b"multipart/form-data";
    content_type
        .is_some_and(|kind| kind.get(..KIND.len()).is_some_and(|start| start.eq_ignore_ascii_case(KIND)))
}

/// The parts of a form that lies here whole.
///
/// # Errors
/// `BadRequest` for what is no form; `TooLarge` for one of more than `most` parts.
pub fn read(body: &Bytes, boundary: &str, most: usize) -> Result<Vec<Part>, Error> {
    let whole = stream::once(std::future::ready(Ok::<Bytes, Infallible>(body.clone())));
    let parts = read_all(Multipart::new(whole, boundary), most);
    // All of it is there: nothing is waited for.
    parts.now_or_never().unwrap_or_else(|| Err(bad("it has no end")))
}

async fn read_all(mut form: Multipart<'_>, most: usize) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    while let Some(field) = form.next_field().await.map_err(bad)? {
        if parts.len() == most {
            return Err(Error::new(Kind::TooLarge, format!("a form has at most {most} parts here")));
        }
        let (name, is_file) = (field.name().unwrap_or_default().to_owned(), field.file_name().is_some());
        let content = field.bytes().await.map_err(bad)?;
        parts.push(Part { name, is_file, content });
    }
    Ok(parts)
}

fn bad(why: impl ToString) -> Error {
    Error::new(Kind::BadRequest, format!("the body is no multipart form: {}", why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(body: &str) -> Result<Vec<(String, bool, String)>, Kind> {
        let parts = read(&Bytes::copy_from_slice(body.as_bytes()), "x", 3).map_err(|error| error.kind)?;
        let text = |content: &[u8]| String::from_utf8_lossy(content).into_owned();
        Ok(parts.into_iter().map(|part| (part.name, part.is_file, text(&part.content))).collect())
    }

    fn part(head: &str, content: &str) -> String {
        format!("--x\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n")
    }

    #[test]
    fn fields_and_files_are_told_apart() {
        let form =
            [part("name=\"prompt\"", "a\r\n--y"), part("name=\"file\"; filename=\"../../etc/passwd\"", "")];
        let read = parts(&format!("{}--x--\r\n", form.concat())).expect("a form");
        assert_eq!(read, [("prompt".into(), false, "a\r\n--y".into()), ("file".into(), true, String::new())]);
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let one = part("name=\"a\"", "b");
        for body in ["", "--x", "{}", &one, &one[..20], "--x\r\nno head\r\n--x--\r\n"] {
            assert_eq!(parts(body), Err(Kind::BadRequest), "{body}");
        }
        assert_eq!(parts(&one.repeat(10_000)), Err(Kind::TooLarge));
    }

    #[test]
    fn a_form_says_what_separates_its_parts() {
        assert_eq!(boundary(Some(b"Multipart/Form-Data; boundary=\"a b\"")).as_deref(), Some("a b"));
        for kind in [None, Some(&b"application/json"[..]), Some(b"multipart/form-data"), Some(b"\xff")] {
            assert_eq!(boundary(kind), None);
        }
        assert!(is_form(Some(b"MULTIPART/mixed")) && !is_form(Some(b"application/json")) && !is_form(None));
    }
}
