//! Whether the time in which a wrong key is refused tells how much of it is right: two kinds of wrong keys, drawn at
//! random, and Welch's t between their times (RELIABILITY.md K-02). Beyond 4.5 it would.

use arc_swap::ArcSwap;
use pannier::auth::{Config, Directory, Pepper, Table};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

const SAMPLES: usize = 20_000;
const LIMIT: f64 = 4.5;
const KEY: &str = "sk-0123456789abcdef-0123456789abcde";
/// Of so many samples, the slowest one is another's doing.
const CROP: usize = 20;

fn main() {
    let config: Config = toml::from_str(&format!(
        "mode = \"required\"\nscope = \"team\"\nadmin_key = \"\"\nmanagement = []\nteams = []\n\
         keys = [{{ name = \"ann\", key = \"{KEY}\" }}]"
    ))
    .expect("settings");
    let stored = Arc::new(ArcSwap::from_pointee(Table::default()));
    let directory = Directory::new(&config, None, Pepper::of([7; 32]), stored);
    assert!(directory.identify(Some(KEY.as_bytes())).is_some());
    for shared in [1, KEY.len() / 2, KEY.len() - 1] {
        let t = welch(&directory, &wrong(0), &wrong(shared));
        let verdict = if t.abs() < LIMIT { "cannot be told from" } else { "CAN BE TOLD FROM" };
        println!("a wrong key whose first {shared} bytes are right {verdict} one with none: t = {t:.2}");
    }
}

/// A key whose first `shared` bytes are right, and no other.
fn wrong(shared: usize) -> Vec<u8> {
    KEY.bytes().enumerate().map(|(at, byte)| if at < shared { byte } else { byte ^ 1 }).collect()
}

/// Between the times of either.
fn welch(directory: &Directory, one: &[u8], other: &[u8]) -> f64 {
    let mut times = [Vec::new(), Vec::new()];
    while times.iter().any(|times| times.len() < SAMPLES) {
        let which = fastrand::usize(..2);
        let key = [one, other][which];
        let began = Instant::now();
        black_box(directory.identify(Some(black_box(key))));
        times[which].push(began.elapsed().as_nanos() as f64);
    }
    let [(mean, error), (other_mean, other_error)] = times.map(moments);
    (mean - other_mean) / (error + other_error).sqrt()
}

/// The mean, and the square of its standard error.
fn moments(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    times.truncate(times.len() - times.len() / CROP);
    let number = times.len() as f64;
    let mean = times.iter().sum::<f64>() / number;
    let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (number - 1.0);
    (mean, variance / number)
}
