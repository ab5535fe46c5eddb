//! `pannier`: parse, dispatch, exit code.

use clap::Parser;
use pannier::cli::{Cli, Out};
use std::process::ExitCode;

/// Many small allocations of many sizes on many threads: the system's allocator would hold on to more
/// memory, and be slower at it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let environment = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
    let cli = Cli::parse();
    match cli.run(environment, &mut Out::open()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(pannier::cli::exit_code(&error))
        }
    }
}
