//! `pannier`: parse, dispatch, exit code.

use clap::Parser;
use pannier::cli::{Cli, Out};
use std::process::ExitCode;
use std::time::Duration;

/// Many small allocations of many sizes on many threads: the system's allocator would hold on to more
/// memory, and be slower at it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often memory that nobody needs any more is given back to the system: the allocator by itself does so only while
/// it is asked for more, and after a burst of recordings nobody may ask for long.
const GIVEN_BACK: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let environment = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
    let cli = Cli::parse();
    // Without it memory is given back later: no reason not to begin.
    let _ = std::thread::Builder::new().name("memory".to_owned()).spawn(give_back);
    match cli.run(environment, &mut Out::open()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(pannier::cli::exit_code(&error))
        }
    }
}

fn give_back() {
    loop {
        std::thread::sleep(GIVEN_BACK);
        // SAFETY: may be called at any time, by any thread.
        #[allow(unsafe_code)]
        unsafe {
            libmimalloc_sys::mi_collect(false);
        }
    }
}
