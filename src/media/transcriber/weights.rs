//! Weights on their way from their file to the engine.
//!
//! Of five bits and an offset each, the engine multiplies them a row by a column, and takes them apart anew for each of
//! these; of eight bits, it multiplies them in blocks. So they are given to it in eight. That rounds each of them once
//! more: those of `tiny` by 0.04 of the step from one value of five bits to the next, 0.14 at the most. They are 0.3 of it
//! from what they were made of already. Where it would be more than a quarter for one of them, all stay as they are.

use crate::media::voice::Cast;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
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
///
/// # Errors
/// Why it cannot be had: there are no such weights in the file, not all of them, or no room for them.
pub fn load(path: &Path, unpack: bool) -> Result<WhisperContext, String> {
    open(path, unpack).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => "its file breaks off".to_owned(),
        _ => error.to_string(),
    })
}

fn open(path: &Path, unpack: bool) -> io::Result<WhisperContext> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let cast = Cast::read(file, length)?;
    // The engine takes a file that ends before its weights for a model to be tested with, and listens with none.
    if !cast.holds_weights() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if unpack && cast.is_packed() && can_be_unpacked(path)? {
        return unpacked(path);
    }
    WhisperContext::new_with_params(path, parameters()).map_err(io::Error::other)
}

/// Found out beforehand: an engine that has begun to read does not give back what it took for that.
fn can_be_unpacked(path: &Path) -> io::Result<bool> {
    match unpack(BufReader::new(File::open(path)?), io::sink()) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(false),
        read => read.map(|()| true),
    }
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
        // If the engine has given up before the end, nobody waits for it to go on.
        drop(reader);
        let unpacked = unpacking.join().unwrap_or_else(|_| Err(io::Error::other("it cannot be unpacked")));
        let engine = loaded.map_err(io::Error::other)?;
        unpacked.map(|()| engine)
    })
}

/// Writes a file of weights with eight bits in the place of five; all else stays as it is.
///
/// # Errors
/// When it breaks off or is no such file, or nobody reads on.
fn unpack(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
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
    while matrix(&mut from, &mut to)? {}
    Ok(())
}

/// How many dimensions it has, how long its name is, of which kind its numbers are; the dimensions, the name, the
/// numbers. Whether there was one: to the engine, too, the end is where there is not so much as its first words.
fn matrix(mut from: impl Read, mut to: impl Write) -> io::Result<bool> {
    let mut head = Vec::with_capacity(12);
    from.by_ref().take(12).read_to_end(&mut head)?;
    let mut head = &*head;
    let (Ok(dimensions), Ok(name), Ok(kind)) = (number(&mut head), number(&mut head), number(&mut head))
    else {
        return Ok(false);
    };
    for word in [dimensions, name, if kind == FIVE_BITS { EIGHT_BITS } else { kind }] {
        to.write_all(&word.to_le_bytes())?;
    }
    let mut numbers = 1_u64;
    for _dimension in 0..dimensions {
        let length = pass_number(&mut from, &mut to)?;
        numbers = numbers.checked_mul(length.into()).ok_or_else(strange)?;
    }
    pass(&mut from, &mut to, name.into())?;
    match kind {
        FLOAT => pass(from, to, numbers.checked_mul(4).ok_or_else(strange)?)?,
        HALF => pass(from, to, numbers.checked_mul(2).ok_or_else(strange)?)?,
        FIVE_BITS if numbers.is_multiple_of(BLOCK as u64) => widen(from, to, numbers / BLOCK as u64)?,
        _ => return Err(strange()),
    }
    Ok(true)
}

fn widen(mut from: impl Read, mut to: impl Write, mut blocks: u64) -> io::Result<()> {
    let mut packed = vec![[0; WORDS]; BLOCKS];
    while blocks > 0 {
        let now = blocks.min(BLOCKS as u64);
        let packed = &mut packed[..now as usize];
        from.read_exact(bytemuck::cast_slice_mut(packed))?;
        if !packed.iter().all(is_near) {
            return Err(strange());
        }
        to.write_all(bytemuck::cast_slice(&wide(packed)?))?;
        blocks -= now;
    }
    Ok(())
}

/// Whether eight bits come near to what a block of five says: they are off by a 254th of the largest number.
fn is_near(block: &[u32; WORDS]) -> bool {
    let (step, least) = (float(block[0] as u16), float((block[0] >> 16) as u16));
    let largest = least.abs().max((least + STEPS * step).abs());
    largest / 254.0 <= step.abs() / 4.0
}

/// The number that is written with sixteen bits.
#[allow(unsafe_code)]
fn float(half: u16) -> f32 {
    // SAFETY: it is given a number, and gives one back.
    unsafe { sys::ggml_fp16_to_fp32(half) }
}

/// Blocks of five bits as the engine itself takes them apart, and puts them together of eight.
#[allow(unsafe_code)]
fn wide(packed: &[[u32; WORDS]]) -> io::Result<Vec<[u16; PAIRS]>> {
    let (mut floats, mut wide) = (vec![0.0; packed.len() * BLOCK], vec![[0; PAIRS]; packed.len()]);
    let numbers = floats.len() as i64;
    // SAFETY: what the engine knows of a kind of numbers is there for as long as it is. `packed` and `wide` hold the blocks
    // of as many numbers as it is told of, aligned as its own are, and `floats` has room for the numbers.
    unsafe {
        let take_apart = (*sys::ggml_get_type_traits(FIVE_BITS)).to_float.ok_or_else(strange)?;
        let put_together = (*sys::ggml_get_type_traits(EIGHT_BITS)).from_float_ref.ok_or_else(strange)?;
        take_apart(packed.as_ptr().cast(), floats.as_mut_ptr(), numbers);
        put_together(floats.as_ptr(), wide.as_mut_ptr().cast(), numbers);
    }
    Ok(wide)
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
