//! What is asked: bodies that differ in one number of fixed width, so that any of them can be asked again
//! or asked for the first time.

use crate::answers::prose;
use crate::contender::{API_KEY, Kind};

/// Digits of the number in each body.
pub const DIGITS: usize = 12;

pub struct Workload {
    pub title: &'static str,
    pub path: &'static str,
    /// What stands before the number in the body.
    pub before: String,
    /// What stands behind it.
    pub after: String,
}

// === impl Workload ===

impl Workload {
    /// A chat of about 190 bytes with an answer of about 250.
    pub fn small() -> Workload {
        Workload::chat("small answer (250 B)", "quick", 0, false)
    }

    /// An embedding: 2 KiB of text in, 768 numbers (7 KB) out.
    pub fn embedding() -> Workload {
        Workload {
            title: "embedding of 768 numbers (7 KB)",
            path: "/api/embed",
            before: "{\"model\":\"embedder\",\"input\":\"passage ".to_owned(),
            after: format!(" {}\"}}", prose(2_000)),
        }
    }

    /// A chat of 8 KiB with an answer of 7 KB.
    pub fn long() -> Workload {
        Workload::chat("chat request of 8 KiB", "long", 8_030, false)
    }

    /// A small chat that takes the stub a while.
    pub fn slow() -> Workload {
        Workload::chat("slow answer", "slow", 0, false)
    }

    /// A small chat whose answer is streamed.
    pub fn paced() -> Workload {
        Workload::chat("stream", "paced", 0, true)
    }

    /// A small chat whose answer stops after one token, and stays open.
    pub fn held() -> Workload {
        Workload::chat("idle stream", "held", 0, true)
    }

    /// A chat whose request has about so many bytes.
    pub fn as_long_as(bytes: usize) -> Workload {
        Workload::chat("a chat that is as long", "quick", bytes, false)
    }

    /// A route that no proxy looks into.
    pub fn show() -> Workload {
        Workload {
            title: "POST /api/show",
            path: "/api/show",
            before: "{\"model\":\"quick\",\"system\":\"".to_owned(),
            after: "\"}".to_owned(),
        }
    }

    fn chat(title: &'static str, model: &str, padding: usize, streamed: bool) -> Workload {
        let story = prose(padding);
        Workload {
            title,
            path: "/api/chat",
            before: format!(
                "{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"{story}What colour is \
                 the sky on day "
            ),
            after: format!(
                "? One word.\"}}],\"stream\":{streamed},\"options\":{{\"temperature\":0,\"seed\":1,\
                 \"num_predict\":16}}}}"
            ),
        }
    }

    /// The whole request that carries `number`, as wrk would send it.
    pub fn request(&self, kind: Kind, port: u16, number: u64) -> Vec<u8> {
        let Workload { path, before, after, .. } = self;
        let length = before.len() + DIGITS + after.len();
        let extra =
            kind.extra_field().map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
        format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {API_KEY}\r\n\
             Content-Type: application/json\r\n{extra}Content-Length: {length}\r\n\r\n\
             {before}{number:0width$}{after}",
            width = DIGITS
        )
        .into_bytes()
    }
}
