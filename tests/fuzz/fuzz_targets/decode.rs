//! Any bytes are read or refused by every form, and only a stream asked for usage is changed.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pannier::dialect::{Form, decode};

fuzz_target!(|body: &[u8]| {
    for form in Form::ALL {
        if let Ok(call) = decode(form, Bytes::copy_from_slice(body)) {
            assert!(call.strip_usage || call.body == body);
        }
    }
});
