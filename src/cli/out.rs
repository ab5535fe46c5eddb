//! Standard output, whose reader may have had enough: `pannier cache top | head`.

use std::io::{self, ErrorKind, Stdout, Write};

/// Ends the process, and well, when nobody reads any more: nothing is left to be said, and to nobody.
pub struct Out(Stdout);

impl Out {
    pub fn open() -> Out {
        Out(io::stdout())
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).inspect_err(leave)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().inspect_err(leave)
    }
}

fn leave(error: &io::Error) {
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
}
