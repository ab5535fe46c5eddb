//! A request's head, judged before anybody acts on it: what Pannier takes the request for must be what
//! the upstream will take it for, or there is no request.

use crate::domain::{Error, Kind, bearer};
use http::{HeaderMap, HeaderName, HeaderValue};
use httparse::{Header, Status};
use std::mem::MaybeUninit;

/// The most fields that a head may ever have, whatever the settings say.
pub const MOST_FIELDS: usize = 256;
/// `Content-Length` beyond this is nobody's.
const LONGEST_DIGITS: usize = 18;

/// How large a head may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub bytes: usize,
    pub fields: usize,
}

/// Where a request's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Nothing,
    Length(u64),
    Chunked,
}

/// What a head says of how the exchange goes on.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    pub framing: Framing,
    pub is_http_11: bool,
    /// The client waits to be told to send its body.
    pub expects: bool,
    /// The client wants the connection to end with the answer.
    pub closes: bool,
}

/// A head that was read to its end and found unambiguous.
#[derive(Debug)]
pub struct Head<'b> {
    /// Bytes up to and including the empty line.
    pub len: usize,
    pub method: &'b str,
    /// Path and query, or an absolute URI, as it came.
    pub target: &'b str,
    pub terms: Terms,
    pub host: &'b [u8],
    /// The presented API key; of several the last.
    pub key: Option<&'b [u8]>,
    /// Those before it.
    pub earlier_keys: Vec<&'b [u8]>,
    /// What stands in `Authorization` and is not presented as a key is.
    pub odd_credentials: Vec<&'b [u8]>,
    /// The client's own name for the request.
    pub request_id: Option<&'b [u8]>,
    pub has_origin: bool,
    /// Nothing in it asks for more than the plain answer: HTTP/1.1, a length, no field that changes what
    /// is to be done (PINGORA.md calls it spotless).
    pub plain: bool,
}

/// What reading a head came to.
pub enum Reading<'b> {
    /// More bytes are wanted.
    Partial,
    Head(Head<'b>),
}

impl<'b> Head<'b> {
    /// Reads the head that `bytes` begins with. `from`: everything before has been looked at already.
    ///
    /// # Errors
    /// What is to be said before the connection is closed.
    pub fn read(bytes: &'b [u8], from: usize, limits: Limits) -> Result<Reading<'b>, Error> {
        let Some(len) = end_of_head(bytes, from)? else {
            return match bytes.len() {
                0 => Ok(Reading::Partial),
                _ if !is_token(bytes[0]) => Err(bad("this is not HTTP")),
                len if len > limits.bytes => Err(too_large()),
                _ => Ok(Reading::Partial),
            };
        };
        if len > limits.bytes {
            return Err(too_large());
        }
        let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(&bytes[..len], &mut fields) {
            Ok(Status::Complete(_)) => {}
            Ok(Status::Partial) => return Err(bad("the head is incomplete")),
            Err(httparse::Error::TooManyHeaders) => return Err(too_large()),
            Err(_) => return Err(bad("the head is not valid HTTP")),
        }
        if request.headers.len() > limits.fields {
            return Err(too_large());
        }
        Self::judge(len, &request).map(Reading::Head)
    }

    fn judge(len: usize, request: &httparse::Request<'_, 'b>) -> Result<Self, Error> {
        let version = request.version.unwrap_or_default();
        let method = request.method.unwrap_or_default();
        let target = request.path.unwrap_or_default();
        if matches!(method, "TRACE" | "CONNECT") {
            return Err(Error::new(Kind::MethodNotAllowed, "this method is not served"));
        }
        let is_target = target.starts_with('/')
            || target.starts_with("http://")
            || (target == "*" && method == "OPTIONS");
        if !is_target || target.contains("%00") || target.contains('#') {
            return Err(bad("the request's target is not valid"));
        }
        let mut fields = Fields::default();
        for field in request.headers.iter() {
            fields.note(field)?;
        }
        fields.judge(version)?;
        if let Some(rest) = target.strip_prefix("http://") {
            let authority = rest.split(['/', '?']).next().unwrap_or_default();
            if !fields.host.is_some_and(|host| host.eq_ignore_ascii_case(authority.as_bytes())) {
                return Err(bad("the target and Host name two servers"));
            }
        }
        let framing = fields.framing();
        Ok(Head {
            len,
            method,
            target,
            terms: Terms {
                framing,
                is_http_11: version == 1,
                expects: fields.expects,
                closes: fields.closes,
            },
            host: fields.host.unwrap_or_default(),
            key: fields.key,
            earlier_keys: fields.earlier_keys,
            odd_credentials: fields.odd_credentials,
            request_id: fields.request_id,
            has_origin: fields.has_origin,
            plain: !fields.special && version == 1 && matches!(framing, Framing::Length(_)),
        })
    }

    /// All fields of the head, which `bytes` begins with.
    pub fn fields(&self, bytes: &[u8]) -> Option<HeaderMap> {
        let mut room = [const { MaybeUninit::uninit() }; MOST_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        request.parse_with_uninit_headers(&bytes[..self.len], &mut room).ok()?;
        let mut fields = HeaderMap::with_capacity(request.headers.len());
        for field in request.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            fields.append(name, HeaderValue::from_bytes(field.value).ok()?);
        }
        Some(fields)
    }

    /// Every API key that is presented.
    pub fn keys(&self) -> impl Iterator<Item = &'b [u8]> {
        self.earlier_keys.iter().copied().chain(self.key)
    }

    /// What follows the question mark.
    pub fn query(&self) -> &'b str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Without the query, and without the authority that an absolute target begins with.
    pub fn path(&self) -> &'b str {
        let target = origin_form(self.target);
        target.split_once('?').map_or(target, |(path, _)| path)
    }
}

/// Path and query of a target that may be an absolute URI (RFC 9112 §3.2.2).
pub fn origin_form(target: &str) -> &str {
    match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => target,
    }
}

/// Whether a client's own name for its request may be repeated to it.
pub fn is_fit_id(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(|&b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// What the fields say, gathered in one pass.
#[derive(Default)]
struct Fields<'b> {
    host: Option<&'b [u8]>,
    length: Option<u64>,
    chunked: bool,
    key: Option<&'b [u8]>,
    earlier_keys: Vec<&'b [u8]>,
    odd_credentials: Vec<&'b [u8]>,
    request_id: Option<&'b [u8]>,
    has_origin: bool,
    expects: bool,
    closes: bool,
    /// A field stands there that the shortest way does not understand.
    special: bool,
}

impl<'b> Fields<'b> {
    fn note(&mut self, field: &Header<'b>) -> Result<(), Error> {
        let (name, value) = (field.name, field.value);
        if value.contains(&0) || value.contains(&b'\r') {
            return Err(bad("a field has a byte that no field may have"));
        }
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            3 if is("via") => self.special = true,
            4 if is("host") && self.host.replace(value).is_some() => {
                return Err(bad("Host is given twice"));
            }
            6 if is("origin") => {
                self.has_origin = true;
                self.special = true;
            }
            6 if is("expect") => self.note_expect(value)?,
            6 if is("pragma") => self.special = true,
            7 if is("upgrade") => self.special = true,
            9 if is("x-api-key") && !value.is_empty() => self.note_key(value),
            10 if is("connection") => {
                self.special |= !value.eq_ignore_ascii_case(b"keep-alive");
                self.closes |= words(value).any(|word| word.eq_ignore_ascii_case(b"close"));
            }
            13 if is("authorization") => match bearer(value) {
                Some(key) => self.note_key(key),
                None => self.note_odd(value),
            },
            13 if is("cache-control") => self.special = true,
            14 if is("content-length") && self.length.replace(length(value)?).is_some() => {
                return Err(bad("Content-Length is given twice"));
            }
            _ if starts_with(name, "x-pannier-") => self.special = true,
            12 if is("x-request-id") => {
                self.request_id = Some(value);
                self.special = true;
            }
            16 if is("content-encoding") => self.special = true,
            17 if is("transfer-encoding") => {
                self.special = true;
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(bad("the only transfer coding of a request is chunked"));
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn note_expect(&mut self, value: &[u8]) -> Result<(), Error> {
        (self.special, self.expects) = (true, true);
        match value.eq_ignore_ascii_case(b"100-continue") {
            true => Ok(()),
            false => Err(Error::new(Kind::ExpectationFailed, "only 100-continue can be expected")),
        }
    }

    fn note_key(&mut self, key: &'b [u8]) {
        if let Some(earlier) = self.key.replace(key) {
            self.earlier_keys.push(earlier);
            self.special = true;
        }
    }

    fn note_odd(&mut self, credential: &'b [u8]) {
        self.odd_credentials.push(credential);
        self.special = true;
    }

    fn judge(&self, version: u8) -> Result<(), Error> {
        match (self.chunked, self.length, version) {
            (true, Some(_), _) => Err(bad("Content-Length and Transfer-Encoding contradict each other")),
            (true, None, 0) => Err(bad("HTTP/1.0 knows no Transfer-Encoding")),
            _ if version == 1 && self.host.is_none() => Err(bad("Host is missing")),
            _ => Ok(()),
        }
    }

    fn framing(&self) -> Framing {
        match (self.chunked, self.length) {
            (true, _) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::Nothing,
        }
    }
}

/// Past the empty line that ends the head, when it is there. Every line must end in CR LF.
fn end_of_head(bytes: &[u8], from: usize) -> Result<Option<usize>, Error> {
    for at in memchr::memchr_iter(b'\n', &bytes[from..]).map(|at| at + from) {
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(bad("a line of the head does not end in CR LF"));
        }
        if at >= 3 && bytes[at - 2] == b'\n' {
            return Ok(Some(at + 1));
        }
    }
    Ok(None)
}

/// The members of a list.
pub fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// The number that a `Content-Length` is.
///
/// # Errors
/// `BadRequest` where it is none, or may be read as another.
pub fn length(value: &[u8]) -> Result<u64, Error> {
    let is_plain = !value.is_empty() && value.len() <= LONGEST_DIGITS && value.iter().all(u8::is_ascii_digit);
    let digits = std::str::from_utf8(value).ok().filter(|_| is_plain);
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| bad("Content-Length is not a number"))
}

fn starts_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// What a method may begin with, or the empty line that may stand before a request line.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'\r'
}

fn bad(message: &str) -> Error {
    Error::new(Kind::BadRequest, message)
}

fn too_large() -> Error {
    Error::new(Kind::HeadTooLarge, "the request's head is too large")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { bytes: 1024, fields: 10 };

    fn read(head: &str) -> Result<Option<Head<'_>>, Kind> {
        match Head::read(head.as_bytes(), 0, LIMITS) {
            Ok(Reading::Head(head)) => Ok(Some(head)),
            Ok(Reading::Partial) => Ok(None),
            Err(error) => Err(error.kind),
        }
    }

    #[test]
    fn a_plain_call_is_plain() {
        let head = read(
            "POST /api/chat HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nAuthorization: Bearer k\r\n\r\n{}",
        );
        let head = head.unwrap().unwrap();
        assert!(head.plain);
        assert_eq!((head.method, head.path(), head.terms.framing), ("POST", "/api/chat", Framing::Length(2)));
        assert_eq!((head.host, head.key), (&b"a"[..], Some(&b"k"[..])));
    }

    #[test]
    fn what_asks_for_more_is_not_plain() {
        for field in [
            "Cache-Control: no-cache",
            "Pragma: no-cache",
            "Origin: http://a",
            "Content-Encoding: zstd",
            "Expect: 100-continue",
            "Connection: close",
            "X-Api-Key: a\r\nAuthorization: Bearer b",
            "X-Pannier-Cache: bypass",
            "X-Request-Id: mine",
            "Via: 1.1 x",
            "Upgrade: h2c",
        ] {
            let head = format!("POST /api/chat HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{field}\r\n\r\n");
            assert!(!read(&head).unwrap().unwrap().plain, "{field}");
        }
        assert!(!read("POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\n").unwrap().unwrap().plain);
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let after = |fields: &str| format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n");
        for fields in [
            "Host: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked",
            "Host: a\r\nContent-Length: 2\r\nContent-Length: 2",
            "Host: a\r\nContent-Length: 2, 2",
            "Host: a\r\nContent-Length: +2",
            "Host: a\r\nContent-Length: ",
            "Host: a\r\nContent-Length: 0x2",
            "Host: a\r\nContent-Length: 99999999999999999999",
            "Host: a\r\nTransfer-Encoding: gzip, chunked",
            "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Host: a\r\nTransfer-Encoding : chunked",
            "Host: a\r\nHost: b",
            "Host: a\nX: b",
            "Host: a\r\nX: b\r\n c",
            "Host: a\r\nX: b\0c",
            "X: no host",
        ] {
            assert_eq!(read(&after(fields)).err(), Some(Kind::BadRequest), "{fields:?}");
        }
        assert_eq!(
            read("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").err(),
            Some(Kind::BadRequest)
        );
        assert_eq!(read("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n").err(), Some(Kind::BadRequest));
        assert_eq!(read("\x16\x03\x01").err(), Some(Kind::BadRequest));
        assert_eq!(read("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n").err(), Some(Kind::MethodNotAllowed));
        assert_eq!(read(&after("Host: a\r\nExpect: 200-ok")).err(), Some(Kind::ExpectationFailed));
    }

    #[test]
    fn a_head_has_a_largest_size() {
        assert!(read("GET / HTTP/1.1\r\nHost: a").unwrap().is_none());
        assert_eq!(read(&"X".repeat(1025)).err(), Some(Kind::HeadTooLarge));
        let many = "X: y\r\n".repeat(10);
        assert_eq!(read(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")).err(), Some(Kind::HeadTooLarge));
    }
}
