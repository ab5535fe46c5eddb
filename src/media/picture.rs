//! From any picture to one that every vision model's engine reads: an upright PNG or JPEG of eight bits, not animated
//! and not too large.
//!
//! What is one already stays as it is, byte for byte, once it has been seen to be whole. A picture that is written
//! anew keeps nothing of what was written beside it: neither place nor camera.

use super::{Flaw, jpeg, webp};
use image::codecs::bmp::BmpDecoder;
use image::codecs::gif::GifDecoder;
use image::codecs::jpeg::{JpegDecoder, JpegEncoder};
use image::codecs::png::{CompressionType, FilterType, PngDecoder, PngEncoder};
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, Limits};
use std::io::Cursor;

/// Bytes of memory that a pixel may take.
const BYTES_A_PIXEL: u64 = 4;
/// Bytes that all that lies beside the pixels may take: rows that are worked on, profiles, texts.
const BESIDE: u64 = 16 << 20;
/// Of that, before a PNG's pixels: a profile unfolds to any size, and is held twice while it does.
const BEFORE_PIXELS: u64 = 8 << 20;
/// Of one colour of a pixel, between the scans of a JPEG. The decoder takes them whatever its limits are.
const BETWEEN_SCANS: u64 = 2;
/// Of a pixel of an animation, beside the picture: the canvas, and the frame that is painted on it.
const BESIDE_A_FRAME: u64 = 8;
/// Scans of a JPEG: each goes over all of it, and no program makes half as many.
const MOST_SCANS: usize = 32;
/// Of a JPEG that is written anew.
const QUALITY: u8 = 92;

/// How large a picture may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The longer side of what is made of it; 0 for any length.
    pub max_side: u32,
    /// Beyond this it is not looked at. One whose pixels take more than four bytes, such as one in sixteen bits, of
    /// an animation or a progressive JPEG, may have fewer.
    pub max_pixels: u64,
}

/// What is to be done with a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Developed {
    /// Nothing.
    AsIs,
    /// It was written anew.
    Anew(Vec<u8>),
}

/// How a picture is written anew.
#[derive(Debug, Clone, Copy)]
enum Paper {
    /// Without loss.
    Png,
    /// For what was a JPEG before.
    Jpeg,
}

/// Looks at a picture, whatever it is said to be.
///
/// # Errors
/// Why it is none, or none that is wanted.
pub fn develop(bytes: &[u8], bounds: Bounds) -> Result<Developed, Flaw> {
    if bytes.is_empty() {
        return Err(Flaw::Empty);
    }
    let unknown = |_| Flaw::Format("what is no known kind of picture".to_owned());
    let format = image::guess_format(bytes).map_err(unknown)?;
    let file = Cursor::new(bytes);
    match format {
        ImageFormat::Png => {
            let decoder = PngDecoder::with_limits(file, limits(BEFORE_PIXELS))?;
            let is_plain = !decoder.is_apng()? && has_eight_bits(decoder.color_type());
            expose(decoder, is_plain, Paper::Png, bounds)
        }
        ImageFormat::Jpeg => {
            let decoder = JpegDecoder::new(file)?;
            let frame = jpeg::frame(bytes).ok_or_else(|| Flaw::broken("it has no frame"))?;
            let more = if frame.is_progressive { BETWEEN_SCANS * u64::from(frame.components) } else { 0 };
            bounds.admit(&decoder, more)?;
            if !jpeg::is_whole(bytes) {
                return Err(Flaw::broken("it has no end"));
            }
            if jpeg::scans(bytes) > MOST_SCANS {
                return Err(Flaw::broken("it has more scans than a picture needs"));
            }
            expose(decoder, matches!(frame.components, 1 | 3), Paper::Jpeg, bounds)
        }
        ImageFormat::Gif => expose(GifDecoder::new(file)?, false, Paper::Png, bounds),
        ImageFormat::WebP => {
            let frames = webp::frames(bytes).ok_or_else(|| Flaw::broken("it is not whole"))?;
            let decoder = WebPDecoder::new(file)?;
            let (width, height) = decoder.dimensions();
            if frames.largest.0 > width || frames.largest.1 > height {
                return Err(Flaw::broken("a picture in it is larger than the whole"));
            }
            bounds.admit(&decoder, if frames.is_animated { BESIDE_A_FRAME } else { 0 })?;
            expose(decoder, false, Paper::Png, bounds)
        }
        ImageFormat::Bmp => expose(BmpDecoder::new(file)?, false, Paper::Png, bounds),
        other => Err(Flaw::Format(other.extensions_str().first().unwrap_or(&"this").to_uppercase())),
    }
}

/// `is_plain`: engines read it as it is, unless it is too large or lies on its side.
fn expose(
    mut decoder: impl ImageDecoder,
    is_plain: bool,
    paper: Paper,
    bounds: Bounds,
) -> Result<Developed, Flaw> {
    bounds.admit(&decoder, 0)?;
    decoder.set_limits(limits(bounds.most_bytes().saturating_add(BESIDE)))?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder)?;
    let is_small = bounds.max_side == 0 || picture.width().max(picture.height()) <= bounds.max_side;
    if is_plain && is_small && orientation == Orientation::NoTransforms {
        return Ok(Developed::AsIs);
    }
    if !is_small {
        picture = picture.thumbnail(bounds.max_side, bounds.max_side);
    }
    picture.apply_orientation(orientation);
    print(picture, paper).map(Developed::Anew)
}

fn print(picture: DynamicImage, paper: Paper) -> Result<Vec<u8>, Flaw> {
    let picture = match picture.color() {
        color if has_eight_bits(color) => picture,
        color if color.has_alpha() => picture.into_rgba8().into(),
        color if !color.has_color() => picture.into_luma8().into(),
        _ => picture.into_rgb8().into(),
    };
    let mut file = Vec::new();
    match paper {
        Paper::Png => picture.write_with_encoder(PngEncoder::new_with_quality(
            &mut file,
            CompressionType::Fast,
            FilterType::Adaptive,
        )),
        Paper::Jpeg => picture.write_with_encoder(JpegEncoder::new_with_quality(&mut file, QUALITY)),
    }?;
    Ok(file)
}

impl Bounds {
    /// Judges by what the head says, before there is room for a single pixel. Beside the picture itself a pixel takes
    /// so many `more` bytes while it is read.
    fn admit(self, decoder: &impl ImageDecoder, more: u64) -> Result<(), Flaw> {
        let (width, height) = decoder.dimensions();
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 {
            return Err(Flaw::broken("it has no pixels"));
        }
        let size = format!("{width} × {height} pixels");
        if pixels > self.max_pixels {
            return Err(Flaw::TooLarge(format!("{size}, of {} at the most", self.max_pixels)));
        }
        let (bytes, most) =
            (pixels.saturating_mul(more).saturating_add(decoder.total_bytes()), self.most_bytes());
        if bytes > most {
            return Err(Flaw::TooLarge(format!("{size} that take {bytes} bytes, of {most} at the most")));
        }
        Ok(())
    }

    fn most_bytes(self) -> u64 {
        self.max_pixels.saturating_mul(BYTES_A_PIXEL)
    }
}

/// So many bytes may be taken.
fn limits(most: u64) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(most);
    limits
}

fn has_eight_bits(color: ColorType) -> bool {
    matches!(color, ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8)
}

#[cfg(test)]
mod tests;
