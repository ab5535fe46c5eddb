//! What this process may take, and when it ends by itself.

use super::allowance::Allowance;
use rlimit::Resource;
use rustix::process;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, thread};

/// Between two looks at what has been taken, and at whether the parent is still there.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Whoever serves requests comes first.
const NICER: i32 = 5;
/// Bytes of a file: enough for the weights that it hands to its engine.
const LARGEST_FILE: u64 = 1 << 20;
/// Bytes that the engine asks for, and never uses.
const UNUSED: u64 = 1 << 30;
/// The exit codes of one that has taken too much memory, and of one that does not come back from its work.
const TOO_MUCH: i32 = 9;
const HOPELESS: i32 = 10;

/// No more than so many bytes of memory, no large file, and others come first.
pub fn lower(memory: u64) {
    // What is asked for at once is bounded by the system, what grows by looking.
    let _ = Resource::DATA.set(memory.saturating_add(UNUSED), memory.saturating_add(UNUSED));
    let _ = Resource::CORE.set(0, 0);
    let _ = Resource::FSIZE.set(LARGEST_FILE, LARGEST_FILE);
    let _ = process::nice(NICER);
    let page = rustix::param::page_size() as u64;
    watch(move || match resident_pages() {
        Some(pages) if pages.saturating_mul(page) > memory => std::process::exit(TOO_MUCH),
        _ => {}
    });
}

/// A parent that was killed has closed the pipe, which nobody notices who is listening to a recording.
pub fn leave_with_the_parent() {
    let parent = process::getppid();
    watch(move || {
        if process::getppid() != parent {
            std::process::exit(0);
        }
    });
}

/// A decoder that goes round in circles is not to be stopped otherwise.
pub fn leave_what_is_hopeless(allowance: Arc<Allowance>) {
    watch(move || {
        if allowance.is_hopeless() {
            std::process::exit(HOPELESS);
        }
    });
}

/// Weights are large, and all of them are used: unlike whoever serves, this takes pages as large as the system gives.
pub fn take_large_pages() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_thp_disable(false);
}

fn watch(look: impl Fn() + Send + 'static) {
    thread::spawn(move || {
        loop {
            look();
            thread::sleep(LOOK_EVERY);
        }
    });
}

/// `None` where the system does not say.
fn resident_pages() -> Option<u64> {
    let figures = fs::read_to_string("/proc/self/statm").ok()?;
    figures.split(' ').nth(1)?.parse().ok()
}
