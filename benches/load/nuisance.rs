//! What those notice who ask for something else while somebody sends nothing but bad recordings and pictures.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::client::Connection;
use crate::contender::Contender;
use crate::ground::Ground;
use crate::results::{Results, quantile};
use crate::speech::{self, posted};
use crate::throughput::ASKED;
use crate::workload::Workload;

/// Hits while nobody asks for anything else.
const HITS: usize = 20_000;
/// How often all that is bad is sent meanwhile.
const TIMES: usize = 4;
/// Bytes of what is large.
const LARGE: usize = 10 << 20;

/// p99 of a hit, alone and meanwhile.
pub fn beside(ground: &Ground, assets: &Path, results: &mut Results) -> anyhow::Result<()> {
    let pannier = speech::start(ground, assets, "tiny", 1)?;
    speech::spread(ground, pannier.process.id())?;
    let bad = bad(assets)?;
    let small = Workload::small();
    let mut connection = Connection::open(pannier.port)?;
    // As long as `more` of so many says.
    let mut hits = |more: &dyn Fn(usize) -> bool| -> anyhow::Result<(Duration, usize)> {
        let mut took = Vec::new();
        for number in (0..ASKED).cycle() {
            let request = small.request(pannier.kind, pannier.port, number);
            took.push(connection.exchange(&request)?.whole);
            if !more(took.len()) {
                break;
            }
        }
        took.sort_unstable();
        let slow = quantile(&took, 0.99).context("nothing was asked")?;
        Ok((slow, took.len()))
    };
    let (warm, enough) = (2 * ASKED as usize, ground.options.scaled(HITS));
    hits(&|asked| asked < warm)?;
    for _ in 0..ground.options.rounds() {
        let (alone, _) = hits(&|asked| asked < enough)?;
        let (busy, refused) = std::thread::scope(|scope| {
            let sending = scope.spawn(|| send(&pannier, &bad));
            let busy = hits(&|_| !sending.is_finished());
            (busy, sending.join())
        });
        let refused = refused.map_err(|_| anyhow::anyhow!("whoever sent it was gone"))??;
        let (busy, asked) = busy?;
        eprintln!(
            "  p99 of a hit: {alone:.0?} alone, {busy:.0?} of {asked} beside {refused} bad recordings and pictures"
        );
        if let Some(speech) = &mut results.speech {
            speech.nuisance.push((alone, busy));
        }
    }
    Ok(())
}

/// One after the other; how many were refused.
fn send(pannier: &Contender, bad: &[Vec<u8>]) -> anyhow::Result<usize> {
    for (number, request) in bad.iter().cycle().take(TIMES * bad.len()).enumerate() {
        let answer = Connection::open(pannier.port)?.exchange(request)?;
        let said = String::from_utf8_lossy(&answer.body);
        ensure!(matches!(answer.status, 400 | 413 | 415), "{number}: {} {said}", answer.status);
    }
    Ok(TIMES * bad.len())
}

/// Requests with what cannot be listened to or looked at.
fn bad(assets: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let noise: Vec<u8> = (0..LARGE as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let tags = b"ID3\x04\0\0\0\0\0\0".repeat(LARGE / 10);
    let hours = std::fs::read(assets.join("audio/jfk.opus"))?.repeat(170);
    let picture = std::fs::read(assets.join("images/coffee.png"))?;
    let mut huge = picture.clone();
    huge[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    let sum = crc32fast::hash(&huge[12..29]).to_be_bytes();
    huge[29..33].copy_from_slice(&sum);
    let half = &picture[..picture.len() / 2];
    let recordings =
        [&noise, &tags, &hours].map(|file| posted(speech::ROUTE, &file[..], &[("model", "tiny")], ""));
    let pictures =
        [&huge[..], half, &noise].map(|file| posted("/vision/ocr", file, &[("model", "quick")], ""));
    Ok(recordings.into_iter().chain(pictures).collect())
}
