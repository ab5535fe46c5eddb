//! What a million vectors of 384 numbers take of real memory, and how fast they are found; fails where they
//! take more than 1.2 times their own size.

use pannier::cache::{CacheKey, Tag, Vectors};
use pannier::domain::Embedding;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const COUNT: u64 = 1_000_000;
const LENGTH: usize = 384;
const MOST: f64 = 1.2;

fn main() -> ExitCode {
    let raw = COUNT * LENGTH as u64 * 4;
    let vectors = Vectors::new(raw as usize * 2, Arc::default());
    let keys: Vec<CacheKey> =
        (0..COUNT).map(|number| CacheKey(*blake3::hash(&number.to_le_bytes()).as_bytes())).collect();
    let before = resident();
    let begun = Instant::now();
    for (number, key) in keys.iter().enumerate() {
        vectors.put(*key, &embedding(number), begun, Duration::from_secs(3600), Tag::default());
    }
    let (kept, took) = (vectors.entries(), begun.elapsed());
    let taken = resident() - before;
    let begun = Instant::now();
    let found = keys.iter().filter(|key| vectors.get(key, begun, Duration::ZERO).is_some()).count();
    let each = begun.elapsed() / COUNT as u32;
    let ratio = taken as f64 / raw as f64;
    println!(
        "{kept} vectors of {LENGTH}: {ratio:.3} times their own size ({} bytes each; by its own account {:.3}); \
         kept in {:?} each, found in {each:?} each",
        taken / COUNT,
        vectors.bytes() as f64 / raw as f64,
        took / COUNT as u32,
    );
    let fine = kept == COUNT && found as u64 == COUNT && ratio <= MOST;
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn embedding(number: usize) -> Embedding {
    Embedding {
        numbers: (0..LENGTH).map(|at| (number + at) as f32).collect(),
        tokens: 5,
        estimated: false,
        total: Duration::from_millis(10),
        load: Duration::from_millis(1),
    }
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("read the status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
