//! Any bytes may be an answer: however they are cut into pieces, the same is read in them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pannier::dialect::{Form, Scanner};
use pannier::domain::Observed;

fn read(form: Form, streamed: bool, answer: &[u8], size: usize) -> Observed {
    let mut scanner = Scanner::new(form, streamed);
    for piece in answer.chunks(size) {
        scanner.feed(piece);
    }
    scanner.finish(None)
}

fuzz_target!(|input: &[u8]| {
    let Some((size, answer)) = input.split_first() else { return };
    for form in Form::ALL {
        for streamed in [false, true] {
            let whole = read(form, streamed, answer, answer.len().max(1));
            assert_eq!(read(form, streamed, answer, usize::from(*size).max(1)), whole, "{form:?}");
        }
    }
});
