//! Heads that are passed on as they came: field by field, in their own order and spelling, less those that speak
//! of one connection only.

use super::desk::is_same_site;
use super::head::{Framing, Head, MOST_FIELDS, length, origin_form, words};
use super::visit::REQUEST_ID;
use http::StatusCode;
use httparse::{Header, Status};
use std::mem::MaybeUninit;

/// An answer's head is no larger than this.
const LARGEST: usize = 64 << 10;

/// The fields that speak of one connection only (RFC 9110 §7.6.1).
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields without which a message is another one; nobody may have them dropped by naming them in `Connection`.
const KEPT: [&str; 4] = ["authorization", "x-api-key", "content-length", "host"];

/// What a request's head gets on its way up.
pub struct Upwards<'a> {
    /// Stands before the target.
    pub base_path: &'a str,
    pub host: &'a [u8],
    pub via: &'a [u8],
    /// The presented key is Pannier's: it stays here.
    pub own_key: bool,
}

/// An answer's head.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    /// Bytes up to and including the empty line.
    pub len: usize,
    /// Where the body ends; `None` with the connection.
    pub framing: Option<Framing>,
    /// The connection may bear another exchange.
    pub keeps: bool,
}

/// It is no head, or means two things, or was not asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfit;

// === the way up ===

/// Appends `head`, which `read` begins with, as it goes up. `None` where it is no head.
pub fn write_up(out: &mut Vec<u8>, head: &Head<'_>, read: &[u8], up: &Upwards<'_>) -> Option<()> {
    let mut room = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    request.parse_with_uninit_headers(read.get(..head.len)?, &mut room).ok()?;
    let named = named_by_connection(request.headers);
    for part in [head.method, " ", up.base_path, origin_form(head.target), " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for field in request.headers.iter() {
        let is = |other: &str| field.name.eq_ignore_ascii_case(other);
        let stays = (up.own_key && (is("authorization") || is("x-api-key")))
            || (is("origin") && is_same_site(field.value, head.host))
            || field.name.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("x-pannier-"));
        if !stays && passes(field.name, &named) {
            write_field(out, field.name, if is("host") { up.host } else { field.value });
        }
    }
    write_field(out, "Via", up.via);
    out.extend_from_slice(b"\r\n");
    Some(())
}

// === the way down ===

impl Answer {
    /// The head that `bytes` begins with, when all of it is there; status line and fields, as they go down, are
    /// appended to `out` without the empty line. `seen`: so many bytes have been looked at in vain. `is_head`: it
    /// answers a `HEAD`.
    pub fn read(
        bytes: &[u8],
        seen: &mut usize,
        is_head: bool,
        out: &mut Vec<u8>,
    ) -> Result<Option<Self>, Unfit> {
        const START: &[u8] = b"HTTP/1.";
        let begun = bytes.len().min(START.len());
        let end = end_of_head(bytes, *seen);
        if bytes[..begun] != START[..begun] || end.unwrap_or(bytes.len()) > LARGEST {
            return Err(Unfit);
        }
        let Some(len) = end else {
            *seen = bytes.len().saturating_sub(2);
            return Ok(None);
        };
        let mut room = [const { MaybeUninit::uninit() }; MOST_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            &bytes[..len],
            &mut room,
        );
        if parsed != Ok(Status::Complete(len)) {
            return Err(Unfit);
        }
        Self::judge(len, &response, is_head, out).map(Some)
    }

    fn judge(
        len: usize,
        response: &httparse::Response<'_, '_>,
        is_head: bool,
        out: &mut Vec<u8>,
    ) -> Result<Self, Unfit> {
        let is_http_11 = response.version == Some(1);
        let status = StatusCode::from_u16(response.code.unwrap_or_default()).map_err(|_| Unfit)?;
        let frame = Frame::read(response.headers)?;
        if status == StatusCode::SWITCHING_PROTOCOLS || (frame.is_chunked && !is_http_11) {
            return Err(Unfit);
        }
        let is_bare = is_head || status.is_informational() || matches!(status.as_u16(), 204 | 304);
        let framing = match (is_bare, frame.is_chunked, frame.length) {
            (true, ..) => Some(Framing::Nothing),
            (false, true, _) => Some(Framing::Chunked),
            (false, false, length) => length.map(Framing::Length),
        };
        for part in ["HTTP/1.1 ", status.as_str(), " ", response.reason.unwrap_or_default(), "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        frame.write_fields(response.headers, out);
        Ok(Answer { status, len, framing, keeps: is_http_11 && !frame.closes && framing.is_some() })
    }
}

/// What the fields of an answer say of its framing.
#[derive(Default)]
struct Frame {
    length: Option<u64>,
    is_chunked: bool,
    closes: bool,
}

impl Frame {
    fn read(fields: &[Header<'_>]) -> Result<Self, Unfit> {
        let mut frame = Frame::default();
        for field in fields {
            let is = |other: &str| field.name.eq_ignore_ascii_case(other);
            if is("content-length") {
                let length = length(field.value).map_err(|_| Unfit)?;
                if frame.length.replace(length).is_some_and(|other| other != length) {
                    return Err(Unfit);
                }
            } else if is("transfer-encoding") {
                // What was packed for this hop only would have to be unpacked here.
                if frame.is_chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Unfit);
                }
                frame.is_chunked = true;
            } else if is("connection") {
                frame.closes |= words(field.value).any(|word| word.eq_ignore_ascii_case(b"close"));
            }
        }
        Ok(frame)
    }

    /// What goes down of `fields`: framed once, in their own order and spelling.
    fn write_fields(&self, fields: &[Header<'_>], out: &mut Vec<u8>) {
        let named = named_by_connection(fields);
        let mut has_length = self.is_chunked;
        for field in fields {
            let is = |other: &str| field.name.eq_ignore_ascii_case(other);
            let goes = match () {
                () if is("content-length") => !std::mem::replace(&mut has_length, true),
                () if is("transfer-encoding") => true,
                () if is(REQUEST_ID.as_str()) => false,
                () => passes(field.name, &named),
            };
            if goes {
                write_field(out, field.name, field.value);
            }
        }
    }
}

// === both ways ===

fn passes(name: &str, named: &[&[u8]]) -> bool {
    let is_one_of = |names: &[&str]| names.iter().any(|other| name.eq_ignore_ascii_case(other));
    let is_named = || named.iter().any(|other| other.eq_ignore_ascii_case(name.as_bytes()));
    !is_one_of(&HOP_BY_HOP) && (!is_named() || is_one_of(&KEPT))
}

/// What `Connection` names as its own.
fn named_by_connection<'b>(fields: &[Header<'b>]) -> Vec<&'b [u8]> {
    let connections = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("connection"));
    connections.flat_map(|field| words(field.value)).collect()
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Past the empty line that ends a head, when it is there.
fn end_of_head(bytes: &[u8], seen: usize) -> Option<usize> {
    memchr::memchr_iter(b'\n', &bytes[seen..]).map(|at| seen + at).find_map(|at| match bytes[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::head::{Limits, Reading};
    use super::*;
    use proptest::prelude::*;

    fn down(head: &str, is_head: bool) -> Result<(Option<Framing>, bool, String), Unfit> {
        let mut out = Vec::new();
        let answer = Answer::read(head.as_bytes(), &mut 0, is_head, &mut out)?.ok_or(Unfit)?;
        assert_eq!(answer.len, head.len());
        Ok((answer.framing, answer.keeps, String::from_utf8(out).unwrap()))
    }

    fn up(head: &str, own_key: bool) -> String {
        let limits = Limits { bytes: 4096, fields: 50 };
        let Ok(Reading::Head(read)) = Head::read(head.as_bytes(), 0, limits) else { panic!("{head:?}") };
        let upwards = Upwards { base_path: "/base", host: b"up:1", via: b"1.1 me", own_key };
        let mut out = Vec::new();
        write_up(&mut out, &read, head.as_bytes(), &upwards).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_goes_up_in_its_own_spelling_and_order() {
        let head = "POST /a%2Fb?x=1 HTTP/1.1\r\nx-ONE: 1\r\nhOsT: down:2\r\nConnection: keep-alive, X-Hop, \
                    Authorization, Content-Length\r\nX-Hop: 1\r\nAuthorization: Bearer k\r\ntE: trailers\r\n\
                    Origin: http://down:2\r\nX-Pannier-Cache: only\r\nx-One:  2 \r\ncontent-length: 2\r\n\r\n";
        let rest = "x-One: 2\r\ncontent-length: 2\r\nVia: 1.1 me\r\n\r\n";
        let start = "POST /base/a%2Fb?x=1 HTTP/1.1\r\nx-ONE: 1\r\nhOsT: up:1\r\n";
        assert_eq!(up(head, false), format!("{start}Authorization: Bearer k\r\n{rest}"));
        assert_eq!(up(head, true), format!("{start}{rest}"));
        let foreign = up("GET http://a/b HTTP/1.1\r\nHost: a\r\nOrigin: http://c\r\n\r\n", false);
        assert_eq!(foreign, "GET /base/b HTTP/1.1\r\nHost: up:1\r\nOrigin: http://c\r\nVia: 1.1 me\r\n\r\n");
    }

    #[test]
    fn an_answer_goes_down_in_its_own_spelling_and_order() {
        let head = "HTTP/1.1 299 My Own Reason\r\nb: 1\r\nA: 2\r\nB: 3\r\nConnection: X-Hop\r\nx-hop: 1\r\n\
                    Keep-Alive: 5\r\nX-Request-Id: theirs\r\nCONTENT-length: 2\r\ncontent-Length: 2\r\n\r\n";
        let told = "HTTP/1.1 299 My Own Reason\r\nb: 1\r\nA: 2\r\nB: 3\r\nCONTENT-length: 2\r\n";
        assert_eq!(down(head, false), Ok((Some(Framing::Length(2)), true, told.into())));
        assert_eq!(down(head, true).unwrap().0, Some(Framing::Nothing));
    }

    #[test]
    fn the_end_of_an_answer_is_known_or_is_the_connections() {
        let framing = |head: &str| down(head, false).map(|(framing, keeps, _)| (framing, keeps));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 2\r\n\r\n";
        assert_eq!(framing(chunked), Ok((Some(Framing::Chunked), true)));
        assert!(!down(chunked, false).unwrap().2.contains("Length"), "framed once");
        assert_eq!(framing("HTTP/1.1 204 Gone\r\n\r\n"), Ok((Some(Framing::Nothing), true)));
        assert_eq!(
            framing("HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n"),
            Ok((Some(Framing::Nothing), true))
        );
        assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n"), Ok((None, false)));
        assert_eq!(
            framing("HTTP/1.1 200 OK\nConnection: a, Close\nContent-Length: 0\n\n"),
            Ok((Some(Framing::Length(0)), false))
        );
        assert!(!framing("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n").unwrap().1);
    }

    #[test]
    fn what_two_readers_could_read_differently_is_no_answer() {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 101 Switching\r\n\r\n",
            "HTTP/1.1 99 Low\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "SSH-2.0",
        ] {
            assert_eq!(down(head, false), Err(Unfit), "{head:?}");
        }
    }

    #[test]
    fn a_head_is_found_however_it_is_cut() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
        let (mut seen, mut out) = (0, Vec::new());
        for len in 0..head.len() {
            assert_eq!(Answer::read(&head[..len], &mut seen, false, &mut out), Ok(None), "{len}");
        }
        assert!(matches!(Answer::read(head, &mut seen, false, &mut out), Ok(Some(_))));
        let endless = [b"HTTP/1.1 200 OK\r\nA: ".to_vec(), vec![b'a'; LARGEST]].concat();
        assert_eq!(Answer::read(&endless, &mut 0, false, &mut out), Err(Unfit));
    }

    const LINES: [&str; 6] = [
        "GET /a HTTP/1.1",
        "POST /api/show?x=%2F HTTP/1.1",
        "PUT http://down:2/a HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "HEAD / HTTP/1.0",
        "DELETE //a;b\\c HTTP/1.1",
    ];
    const FIELDS: [&str; 26] = [
        "Content-Length: 2",
        "content-length:2",
        "Content-Length: 02",
        "Content-Length: 2, 2",
        "Content-Length : 2",
        "Transfer-Encoding: chunked",
        "transfer-encoding:\tCHUNKED ",
        "Transfer-Encoding: chunked, identity",
        "Host: down:2",
        "HOST:",
        "Connection: close",
        "Connection: keep-alive, Content-Length, Transfer-Encoding, Host",
        "connection: X-A ,, x-pannier-cache",
        "X-A: 1",
        "X-A:",
        "X-A: a\tb \u{e9}",
        " X-A: folded",
        "X A: 1",
        "X-A 1",
        "X-A: a\rTransfer-Encoding: chunked",
        "X-A: a\nContent-Length: 7",
        "X-Pannier-Cache: only",
        "Upgrade: websocket",
        "Keep-Alive: timeout=5",
        "Authorization: Bearer k",
        "Expect: 100-continue",
    ];

    /// The lines of a head, told apart by nothing but their ends; each but the first as a name in small letters, and a
    /// value.
    fn taken_apart(head: &str) -> (&str, Vec<(String, &str)>) {
        let head = head.strip_suffix("\r\n\r\n").expect("an end");
        assert!(!head.replace("\r\n", "").contains(['\r', '\n', '\0']), "{head:?}");
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap();
        let fields = lines.map(|line| line.split_once(':').unwrap_or_else(|| panic!("no colon in {line:?}")));
        (line, fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim())).collect())
    }

    proptest! {
        /// Whatever head is taken: what goes up means the same to whoever reads it line by line (RELIABILITY.md H-09).
        #[test]
        fn what_goes_up_means_what_was_read(
            line in prop::sample::select(&LINES[..]),
            fields in prop::collection::vec(prop::sample::select(&FIELDS[..]), 0..7),
        ) {
            let head = format!("{line}\r\nHost: down:2\r\n{}\r\n", fields.iter().map(|field| format!("{field}\r\n")).collect::<String>());
            let limits = Limits { bytes: 4096, fields: 50 };
            let Ok(Reading::Head(read)) = Head::read(head.as_bytes(), 0, limits) else { return Ok(()) };
            prop_assert_eq!(read.len, head.len());
            let up = up(&head, false);
            let (first, fields) = taken_apart(&up);
            let all = |name: &str| fields.iter().filter(|field| field.0 == name).map(|field| field.1).collect::<Vec<_>>();
            prop_assert_eq!(first, format!("{} /base{} HTTP/1.1", read.method, origin_form(read.target)));
            prop_assert_eq!(all("host"), ["up:1"]);
            let framing = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
                ([], []) => Framing::Nothing,
                ([length], []) => Framing::Length(length.parse().expect("a number")),
                ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
                (lengths, codings) => panic!("{lengths:?} and {codings:?} of {head:?}"),
            };
            // What has no length that is known takes the other road.
            prop_assert!(framing == read.terms.framing || read.terms.framing == Framing::Chunked, "{head:?} as {up:?}");
            for (name, _) in &fields {
                prop_assert!(!name.starts_with("x-pannier-") && name != "connection" && name != "upgrade", "{up:?}");
            }
        }
    }
}
