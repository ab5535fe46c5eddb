//! Opens request bodies that are compressed the way Ollama accepts them.

use super::Form;
use crate::domain::{Budget, Error, Kind};
use bytes::Bytes;
use std::io::Read;

/// Ollama reads no more than this of a compressed body.
const MAX_PLAIN: usize = 20 << 20;

/// Ollama's decoder takes no window above 2^23 bytes, 8 MiB.
const MAX_WINDOW_LOG: u32 = 23;

/// A body that can be read, and the way back to how it came.
#[derive(Debug)]
pub struct Opened {
    /// What `decode` reads.
    pub plain: Bytes,
    /// The body as it came, where it was compressed.
    packed: Option<Bytes>,
    /// What can be read is no longer what came.
    is_amended: bool,
}

/// Makes a body readable. `content_encoding` is the request's header, `None` where it has none.
///
/// # Errors
/// `Unsupported` for an encoding that Ollama could not read on this form either; `TooLarge` for more
/// than 20 MiB when unpacked; `BadRequest` for what is no zstd, or has a window above 8 MiB; `Overloaded` where `budget`
/// has no room for what comes of it beside what came.
pub fn open(
    form: Form,
    content_encoding: Option<&str>,
    body: &Bytes,
    budget: &Budget,
) -> Result<Opened, Error> {
    let encoding = content_encoding.map(str::trim).unwrap_or_default();
    if encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") {
        return Ok(Opened { plain: body.clone(), packed: None, is_amended: false });
    }
    if encoding != "zstd" || !form.path().starts_with("/v1/") {
        let readable = "no request body may be encoded, but for zstd on /v1/ routes";
        return Err(Error::new(Kind::Unsupported, readable));
    }
    Ok(Opened { plain: budget.hold(unpack(body)?)?, packed: Some(body.clone()), is_amended: false })
}

impl Opened {
    /// The same with another body.
    pub fn amended(self, plain: Bytes) -> Self {
        Opened { plain, is_amended: true, ..self }
    }

    /// The bytes that go upstream for a call whose body is `body`: as they came where nothing was
    /// amended, else encoded as they came.
    ///
    /// # Errors
    /// `Internal` where zstd has no memory to compress.
    pub fn seal(&self, body: &Bytes) -> Result<Bytes, Error> {
        match &self.packed {
            None => Ok(body.clone()),
            Some(packed) if *body == self.plain && !self.is_amended => Ok(packed.clone()),
            Some(_) => match zstd::bulk::compress(body, zstd::DEFAULT_COMPRESSION_LEVEL) {
                Ok(packed) => Ok(Bytes::from(packed)),
                Err(_) => Err(Error::new(Kind::Internal, "the body could not be compressed again")),
            },
        }
    }
}

fn unpack(packed: &[u8]) -> Result<Bytes, Error> {
    let broken =
        |_| Error::new(Kind::BadRequest, "the body is not valid zstd, or its window is larger than 8 MiB");
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(broken)?;
    decoder.window_log_max(MAX_WINDOW_LOG).map_err(broken)?;
    let mut plain = Vec::new();
    decoder.take(MAX_PLAIN as u64 + 1).read_to_end(&mut plain).map_err(broken)?;
    if plain.len() > MAX_PLAIN {
        return Err(Error::new(Kind::TooLarge, "the body is larger than 20 MiB when unpacked"));
    }
    Ok(Bytes::from(plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::decode;

    /// With room for anything.
    fn open(form: Form, encoding: Option<&str>, body: &Bytes) -> Result<Opened, Error> {
        super::open(form, encoding, body, &Budget::new(usize::MAX))
    }

    #[test]
    fn what_it_becomes_has_its_share_of_what_all_may_hold() {
        let (packed, budget) = (pack(&vec![b' '; 1 << 20]), Budget::new(3 << 20));
        let open = || super::open(Form::OpenAiChat, Some("zstd"), &packed, &budget);
        let held: Vec<Bytes> = (0..3).map(|_| open().expect("room").plain).collect();
        assert_eq!(open().expect_err("no room").kind, Kind::Overloaded);
        let plain = super::open(Form::OpenAiChat, None, &packed, &budget).expect("it takes none");
        drop((held, plain));
        assert_eq!(budget.held(), 0);
    }

    fn pack(plain: &[u8]) -> Bytes {
        Bytes::from(zstd::bulk::compress(plain, 3).expect("zstd compresses"))
    }

    #[test]
    fn identity_shares_the_bytes() {
        let body = Bytes::from_static(b"{}");
        for encoding in [None, Some(""), Some("identity"), Some("Identity ")] {
            let opened = open(Form::Chat, encoding, &body).expect("readable");
            assert_eq!(opened.plain.as_ptr(), body.as_ptr());
            assert_eq!(opened.seal(&opened.plain).expect("sealed").as_ptr(), body.as_ptr());
        }
    }

    #[test]
    fn other_encodings_are_refused() {
        let body = pack(b"{}");
        for encoding in ["gzip", "br", "deflate", "zstd, gzip", "gzip, gzip", "x"] {
            let refused = open(Form::OpenAiChat, Some(encoding), &body).expect_err("unsupported");
            assert_eq!(refused.kind, Kind::Unsupported, "{encoding}");
        }
        for form in [Form::Generate, Form::Chat, Form::Embed, Form::Embeddings] {
            assert_eq!(open(form, Some("zstd"), &body).expect_err("native").kind, Kind::Unsupported);
        }
    }

    #[test]
    fn a_packed_call_is_the_plain_call() {
        let plain = Bytes::from_static(br#"{"model":"m","input":"a"}"#);
        let packed = pack(&plain);
        let opened = open(Form::OpenAiEmbed, Some("zstd"), &packed).expect("readable");
        let call = decode(Form::OpenAiEmbed, opened.plain.clone()).expect("a call");
        assert_eq!(call.fingerprint, decode(Form::OpenAiEmbed, plain).expect("a call").fingerprint);
        assert_eq!(opened.seal(&call.body).expect("sealed").as_ptr(), packed.as_ptr());
    }

    #[test]
    fn an_amended_body_is_packed_again() {
        let packed = pack(br#"{"model":"m","stream":true,"messages":[{"role":"user","content":"a"}]}"#);
        let opened = open(Form::OpenAiChat, Some("zstd"), &packed).expect("readable");
        let call = decode(Form::OpenAiChat, opened.plain.clone()).expect("a call");
        assert!(call.strip_usage);
        let sealed = opened.seal(&call.body).expect("sealed");
        assert_eq!(zstd::bulk::decompress(&sealed, 1 << 20).expect("zstd"), call.body);
    }

    #[test]
    fn another_body_is_packed_in_place_of_what_came() {
        let packed = pack(b"{}");
        let opened = open(Form::OpenAiChat, Some("zstd"), &packed)
            .expect("readable")
            .amended(Bytes::from_static(b"{ }"));
        let sealed = opened.seal(&opened.plain).expect("sealed");
        assert_eq!(zstd::bulk::decompress(&sealed, 100).expect("zstd"), b"{ }");
        let plain = open(Form::Chat, None, &packed).expect("readable").amended(Bytes::from_static(b"{ }"));
        assert_eq!(plain.seal(&plain.plain).expect("sealed"), "{ }");
    }

    #[test]
    fn bombs_are_stopped() {
        let exact = pack(&vec![b' '; MAX_PLAIN]);
        assert_eq!(open(Form::Responses, Some("zstd"), &exact).expect("fits").plain.len(), MAX_PLAIN);
        let bomb = pack(&vec![b' '; MAX_PLAIN + 1]);
        assert!(bomb.len() < 10_000);
        assert_eq!(open(Form::Responses, Some("zstd"), &bomb).expect_err("too large").kind, Kind::TooLarge);
    }

    #[test]
    fn what_is_no_zstd_is_refused() {
        let packed = pack(&[b'a'; 1000]);
        for body in [
            Bytes::from_static(b"{}"),
            packed.slice(..packed.len() - 1),
            Bytes::from_static(b"\x28\xb5\x2f\xfd"),
        ] {
            assert_eq!(open(Form::Messages, Some("zstd"), &body).expect_err("broken").kind, Kind::BadRequest);
        }
    }

    #[test]
    fn a_window_above_8_mib_is_refused() {
        // A frame header alone: no single segment, no content size, window descriptor 2^24.
        let head = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (24 - 10) << 3, 0x01, 0x00, 0x00];
        let body = Bytes::copy_from_slice(&head);
        assert_eq!(open(Form::Messages, Some("zstd"), &body).expect_err("window").kind, Kind::BadRequest);
        let smaller = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (23 - 10) << 3, 0x01, 0x00, 0x00];
        let body = Bytes::copy_from_slice(&smaller);
        assert_eq!(open(Form::Messages, Some("zstd"), &body).expect("an empty body").plain.len(), 0);
    }
}
