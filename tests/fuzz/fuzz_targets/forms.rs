//! Any bytes are read or refused as a form, or as JSON, with pictures or a recording in it.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pannier::dialect::native::{Look, View};
use pannier::dialect::transcript::{Hearing, Manner, Sent, Wish};

const FORM: &[u8] = b"multipart/form-data; boundary=x";
const JSON: &[u8] = b"application/json";

fuzz_target!(|body: &[u8]| {
    let body = Bytes::copy_from_slice(body);
    for kind in [Some(FORM), Some(JSON), None] {
        for view in [View::Analyze, View::Caption, View::Ocr] {
            let _ = Look::read(view, kind, "model=m", &body, 4);
        }
        for manner in [Manner::OpenAi, Manner::Native] {
            let _ = Wish::read(Hearing { translate: false, manner }, Sent::of(kind, "", &body));
        }
        // What any server finds, this one does.
        let sent = Sent::of(kind, "", &body);
        let is_text = |text: &[u8]| std::str::from_utf8(text).is_ok();
        assert!(!sent.is_plain() || sent.model().is_some() || !is_text(&body));
    }
});
