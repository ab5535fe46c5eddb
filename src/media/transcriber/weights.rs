//! Weights on their way from their file to the engine.
//!
//! Of five bits and an offset each, the engine multiplies them a row by a column, and takes them apart anew for each of
//! these; of eight bits, it multiplies them in blocks. So they are given to it in eight. That rounds each of them once
//! more: those of Whisper by 0.04 of the step from one value of five bits to the next, 0.14 at the most. They are 0.3 of it
//! from what they were made of already. Where it would be more than a quarter, they stay as they are.

use crate::media::voice::Cast;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread;
use whisper_rs::whisper_rs_sys as sys;
use whisper_rs::{WhisperContext, WhisperContextParameters};

/// Kinds of numbers, as the file calls those of a matrix.
const FLOAT: u32 = sys::ggml_type_GGML_TYPE_F32;
const HALF: u32 = sys::ggml_type_GGML_TYPE_F16;
const FIVE_BITS: u32 = sys::ggml_type_GGML_TYPE_Q5_1;
const EIGHT_BITS: u32 = sys::ggml_type_GGML_TYPE_Q8_0;
/// Numbers of a block, which have a scale in common.
const BLOCK: usize = 32;
/// Between the least and the most of them, of five bits.
const STEPS: f32 = 31.0;
/// Words of four bytes of a block of five bits: scale and offset, the fifth bits, the others.
const WORDS: usize = 1 + 1 + 4;
/// Words of two bytes of a block of eight bits: a scale, the numbers.
const PAIRS: usize = 1 + 16;
/// Blocks that are unpacked at a time.
const BLOCKS: usize = 512;
/// Bytes of the head; the last four say which form most weights have.
const HEAD: usize = 48;
/// That form is of eight bits, in its second version.
const IN_EIGHT_BITS: u32 = 2007;

/// The engine with the weights of a file, `unpack`ed if they are of five bits.
pub(super) fn load(path: &Path, unpack: bool) -> Result<WhisperContext, String> {
    let cast = File::open(path).and_then(|file| {
        let length = file.metadata()?.len();
        Cast::read(file, length)
    });
    let cast = cast.map_err(|error| error.to_string())?;
    // The engine takes a file that ends before its weights for a model to be tested with, and listens with none.
    if !cast.holds_weights() {
        return Err("its file breaks off".to_owned());
    }
    if unpack && cast.is_packed() {
        match unpacked(path) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
            loaded => return loaded.map_err(|error| error.to_string()),
        }
    }
    WhisperContext::new_with_params(path, parameters()).map_err(|error| error.to_string())
}

fn parameters<'a>() -> WhisperContextParameters<'a> {
    let mut parameters = WhisperContextParameters::default();
    parameters.use_gpu(false).flash_attn(false);
    parameters
}

/// The engine reads nothing but what has a path: a pipe has one.
fn unpacked(path: &Path) -> io::Result<WhisperContext> {
    let file = BufReader::new(File::open(path)?);
    let (reader, writer) = io::pipe()?;
    thread::scope(|scope| {
        let unpack = move || {
            let mut to = BufWriter::new(writer);
            unpack(file, &mut to).and_then(|()| to.flush())
        };
        let unpacking = thread::Builder::new().spawn_scoped(scope, unpack)?;
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        let loaded = WhisperContext::new_with_params(path, parameters());
        // If the engine has read enough before the end, nobody waits for it to go on.
        drop(reader);
        let unpacked = unpacking.join().unwrap_or_else(|_| Err(io::Error::other("it cannot be unpacked")));
        unpacked.and_then(|()| loaded.map_err(io::Error::other))
    })
}

/// Writes a file of weights with eight bits in the place of five; all else stays as it is.
///
/// # Errors
/// When it breaks off or is no such file, or nobody reads on.
fn unpack(mut from: impl BufRead, mut to: impl Write) -> io::Result<()> {
    let mut head = [0; HEAD];
    from.read_exact(&mut head)?;
    head[HEAD - 4..].copy_from_slice(&IN_EIGHT_BITS.to_le_bytes());
    to.write_all(&head)?;
    // Filters, so many by so many.
    let (rows, columns) = (pass_number(&mut from, &mut to)?, pass_number(&mut from, &mut to)?);
    pass(&mut from, &mut to, (u64::from(rows) * u64::from(columns)).saturating_mul(4))?;
    for _word in 0..pass_number(&mut from, &mut to)? {
        let length = pass_number(&mut from, &mut to)?;
        pass(&mut from, &mut to, length.into())?;
    }
    while !from.fill_buf()?.is_empty() {
        matrix(&mut from, &mut to)?;
    }
    Ok(())
}

/// How many dimensions it has, how long its name is, of which kind its numbers are; the dimensions, the name, the numbers.
fn matrix(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let (dimensions, name) = (pass_number(&mut from, &mut to)?, pass_number(&mut from, &mut to)?);
    let kind = number(&mut from)?;
    to.write_all(&(if kind == FIVE_BITS { EIGHT_BITS } else { kind }).to_le_bytes())?;
    let mut numbers = 1_u64;
    for _dimension in 0..dimensions {
        let length = pass_number(&mut from, &mut to)?;
        numbers = numbers.checked_mul(length.into()).ok_or_else(strange)?;
    }
    pass(&mut from, &mut to, name.into())?;
    match kind {
        FLOAT => pass(from, to, numbers.checked_mul(4).ok_or_else(strange)?),
        HALF => pass(from, to, numbers.checked_mul(2).ok_or_else(strange)?),
        FIVE_BITS if numbers.is_multiple_of(BLOCK as u64) => widen(from, to, numbers / BLOCK as u64),
        _ => Err(strange()),
    }
}

fn widen(mut from: impl Read, mut to: impl Write, mut blocks: u64) -> io::Result<()> {
    let mut packed = vec![0; BLOCKS * WORDS * 4];
    while blocks > 0 {
        let now = blocks.min(BLOCKS as u64);
        let packed = &mut packed[..now as usize * WORDS * 4];
        from.read_exact(packed)?;
        let words =
            packed.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        let wide = wide(&words.collect::<Vec<_>>())?;
        to.write_all(&wide.into_iter().flat_map(u16::to_ne_bytes).collect::<Vec<_>>())?;
        blocks -= now;
    }
    Ok(())
}

/// Whole blocks of five bits as the engine itself takes them apart, and puts them together of eight.
#[allow(unsafe_code)]
fn wide(packed: &[u32]) -> io::Result<Vec<u16>> {
    let blocks = packed.len() / WORDS;
    let numbers = blocks * BLOCK;
    let (mut exact, mut rounded) = (vec![0.0; numbers], vec![0.0; numbers]);
    let mut wide = vec![0_u16; blocks * PAIRS];
    // SAFETY: what the engine knows of a kind of numbers is there for as long as it is. `packed` and `wide` hold the blocks
    // of as many numbers as it is told of, aligned as blocks are; `exact` and `rounded` have room for the numbers.
    unsafe {
        let (five, eight) = (&*sys::ggml_get_type_traits(FIVE_BITS), &*sys::ggml_get_type_traits(EIGHT_BITS));
        five.to_float.ok_or_else(strange)?(packed.as_ptr().cast(), exact.as_mut_ptr(), numbers as i64);
        eight.from_float_ref.ok_or_else(strange)?(exact.as_ptr(), wide.as_mut_ptr().cast(), numbers as i64);
        eight.to_float.ok_or_else(strange)?(wide.as_ptr().cast(), rounded.as_mut_ptr(), numbers as i64);
    }
    let blocks = || exact.chunks_exact(BLOCK).zip(rounded.chunks_exact(BLOCK));
    if blocks().all(|(exact, rounded)| is_close(exact, rounded)) { Ok(wide) } else { Err(strange()) }
}

/// Whether no number of a block is further off than a quarter of the least step that there can be.
fn is_close(exact: &[f32], rounded: &[f32]) -> bool {
    let (least, most) = exact
        .iter()
        .fold((f32::MAX, f32::MIN), |(least, most), &number| (least.min(number), most.max(number)));
    let near = (most - least) / STEPS / 4.0;
    exact.iter().zip(rounded).all(|(exact, rounded)| (exact - rounded).abs() <= near)
}

fn number(mut from: impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn pass_number(from: impl Read, mut to: impl Write) -> io::Result<u32> {
    let number = number(from)?;
    to.write_all(&number.to_le_bytes())?;
    Ok(number)
}

fn pass(from: impl Read, mut to: impl Write, bytes: u64) -> io::Result<()> {
    match io::copy(&mut from.take(bytes), &mut to)? == bytes {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn strange() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "its weights are of no kind that can be unpacked")
}

#[cfg(test)]
mod tests;
