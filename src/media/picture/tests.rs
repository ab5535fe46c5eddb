//! Pictures made for the purpose, good and bad.

use super::*;
use image::{GenericImageView, ImageBuffer, Luma, Rgb, RgbImage, Rgba};

const BOUNDS: Bounds = Bounds { max_side: 64, max_pixels: 1 << 20 };

/// Red to the left, blue to the right.
fn colours(width: u32, height: u32) -> DynamicImage {
    let paint = |x, _| if x < width / 2 { Rgb([200, 10, 10]) } else { Rgb([10, 10, 200]) };
    RgbImage::from_fn(width, height, paint).into()
}

fn file(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).expect("a picture");
    file.into_inner()
}

/// What became of it, which every engine must read.
#[track_caller]
fn anew(bytes: &[u8], format: ImageFormat) -> DynamicImage {
    match develop(bytes, BOUNDS) {
        Ok(Developed::Anew(made)) => {
            assert_eq!(image::guess_format(&made).expect("a format"), format);
            assert_eq!(develop(&made, BOUNDS), Ok(Developed::AsIs), "and that is that");
            image::load_from_memory(&made).expect("a picture")
        }
        other => panic!("{other:?}"),
    }
}

/// What stands at the two ends of the middle row.
fn ends(picture: &DynamicImage) -> [&'static str; 2] {
    let (width, height) = picture.dimensions();
    [0, width - 1].map(|x| match picture.get_pixel(x, height / 2).0 {
        [150..=255, 0..60, 0..60, _] => "red",
        [0..60, 0..60, 150..=255, _] => "blue",
        _ => "another",
    })
}

#[test]
fn what_every_engine_reads_stays_as_it_is() {
    let rgb = colours(40, 20);
    let kinds = [rgb.clone(), rgb.to_luma8().into(), rgb.to_rgba8().into(), rgb.to_luma_alpha8().into()];
    for picture in &kinds {
        assert_eq!(develop(&file(picture, ImageFormat::Png), BOUNDS), Ok(Developed::AsIs));
    }
    for picture in &kinds[..2] {
        let bytes = file(picture, ImageFormat::Jpeg);
        assert_eq!(develop(&bytes, BOUNDS), Ok(Developed::AsIs));
        // Whatever stands behind it, it is a picture.
        assert_eq!(develop(&[&bytes[..], b"PK\x03\x04"].concat(), BOUNDS), Ok(Developed::AsIs));
    }
}

#[test]
fn what_some_engine_does_not_read_is_written_anew() {
    let rgb = colours(40, 20);
    for format in [ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Bmp] {
        let made = anew(&file(&rgb, format), ImageFormat::Png);
        assert_eq!((made.dimensions(), ends(&made)), ((40, 20), ["red", "blue"]), "{format:?}");
    }
    let deep: DynamicImage = rgb.to_rgb16().into();
    assert_eq!(anew(&file(&deep, ImageFormat::Png), ImageFormat::Png).color(), ColorType::Rgb8);
    let grey: ImageBuffer<Luma<u16>, _> = rgb.to_luma16();
    assert_eq!(anew(&file(&grey.into(), ImageFormat::Png), ImageFormat::Png).color(), ColorType::L8);
    let clear: ImageBuffer<Rgba<u16>, _> = rgb.to_rgba16();
    assert_eq!(anew(&file(&clear.into(), ImageFormat::Png), ImageFormat::Png).color(), ColorType::Rgba8);
}

#[test]
fn the_first_picture_of_several_counts() {
    let mut film = Vec::new();
    let mut encoder = image::codecs::gif::GifEncoder::new(&mut film);
    for picture in [colours(40, 20), colours(40, 20).rotate180()] {
        encoder.encode_frame(image::Frame::new(picture.to_rgba8())).expect("a frame");
    }
    drop(encoder);
    assert_eq!(ends(&anew(&film, ImageFormat::Png)), ["red", "blue"]);
    // A PNG that is animated says so in a chunk behind its head.
    let still = file(&colours(40, 20), ImageFormat::Png);
    let animated = with_chunk(&still, b"acTL", &[0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(ends(&anew(&animated, ImageFormat::Png)), ["red", "blue"]);
}

#[test]
fn what_is_too_large_is_scaled_down() {
    let large = colours(400, 100);
    let scaled = anew(&file(&large, ImageFormat::Png), ImageFormat::Png);
    assert_eq!((scaled.dimensions(), ends(&scaled)), ((64, 16), ["red", "blue"]));
    let scaled = anew(&file(&large, ImageFormat::Jpeg), ImageFormat::Jpeg);
    assert_eq!((scaled.dimensions(), ends(&scaled)), ((64, 16), ["red", "blue"]));
    assert_eq!(anew(&file(&colours(1000, 1), ImageFormat::Png), ImageFormat::Png).dimensions(), (64, 1));
    let any = Bounds { max_side: 0, ..BOUNDS };
    assert_eq!(develop(&file(&large, ImageFormat::Png), any), Ok(Developed::AsIs));
}

/// Of two entries, one says how a picture lies, and one where it was made.
fn exif(orientation: u8) -> Vec<u8> {
    let entry = |tag: u16, kind: u16, value: [u8; 4]| {
        [&tag.to_be_bytes()[..], &kind.to_be_bytes(), &1u32.to_be_bytes(), &value].concat()
    };
    let entries = [entry(0x0112, 3, [0, orientation, 0, 0]), entry(0x8825, 4, *b"HERE")].concat();
    [&b"MM\0*\0\0\0\x08\0\x02"[..], &entries, &[0; 4]].concat()
}

#[test]
fn what_lies_on_its_side_is_set_upright_and_nothing_else_is_kept() {
    let upright = file(&colours(40, 20), ImageFormat::Jpeg);
    let lying = |orientation| {
        let exif = [&b"Exif\0\0"[..], &exif(orientation)].concat();
        let length = (exif.len() as u16 + 2).to_be_bytes();
        [&upright[..2], &[0xff, 0xe1], &length, &exif, &upright[2..]].concat()
    };
    assert_eq!(develop(&lying(1), BOUNDS), Ok(Developed::AsIs));
    let turned = anew(&lying(3), ImageFormat::Jpeg);
    assert_eq!((turned.dimensions(), ends(&turned)), ((40, 20), ["blue", "red"]));
    let turned = anew(&lying(6), ImageFormat::Jpeg);
    assert_eq!(turned.dimensions(), (20, 40));
    let Ok(Developed::Anew(made)) = develop(&lying(6), BOUNDS) else { panic!("not turned") };
    assert!(
        memchr::memmem::find(&lying(6), b"HERE").is_some() && memchr::memmem::find(&made, b"HERE").is_none()
    );
}

/// In PNG and WebP there is a chunk for it.
#[test]
fn of_every_kind_one_that_lies_on_its_side_is_set_upright() {
    let (png, webp) = (file(&colours(40, 20), ImageFormat::Png), file(&colours(40, 20), ImageFormat::WebP));
    let of_png = |orientation| with_chunk(&png, b"eXIf", &exif(orientation));
    let of_webp = |orientation| {
        let exif = exif(orientation);
        let exif = [b"EXIF", &(exif.len() as u32).to_le_bytes()[..], &exif].concat();
        let canvas = [b"VP8X", &[10, 0, 0, 0, 0x08, 0, 0, 0, 39, 0, 0, 19, 0, 0][..]].concat();
        let chunks = [&b"WEBP"[..], &canvas, &webp[12..], &exif].concat();
        [b"RIFF", &(chunks.len() as u32).to_le_bytes()[..], &chunks].concat()
    };
    assert_eq!(develop(&of_png(1), BOUNDS), Ok(Developed::AsIs));
    let turned = |file: Vec<u8>| {
        assert!(memchr::memmem::find(&file, b"HERE").is_some());
        let Ok(Developed::Anew(made)) = develop(&file, BOUNDS) else { panic!("not turned") };
        assert!(memchr::memmem::find(&made, b"HERE").is_none());
        anew(&file, ImageFormat::Png)
    };
    for (on_its_head, on_its_side) in [(of_png(3), of_png(6)), (of_webp(3), of_webp(6))] {
        let made = turned(on_its_head);
        assert_eq!((made.dimensions(), ends(&made)), ((40, 20), ["blue", "red"]));
        assert_eq!(turned(on_its_side).dimensions(), (20, 40));
    }
}

/// 16 × 8 pixels of cyan, magenta, yellow and black, as Pillow writes them.
const FOR_PRINTING: &str = "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAUDg8SDw0UEhASFxUUGB4yIR4cHB49LC4kMklATEtHQEZFUFpzYlBVbVZFRmS\
                            IZW13e4GCgU5gjZeMfZZzfoF8/8AAFAgACAAQBEMRAE0RAFkRAEsRAP/EABYAAQEBAAAAAAAAAAAAAAAAAAYAB//EABQQAQ\
                            AAAAAAAAAAAAAAAAAAAAD/2gAOBEMATQBZAEsAAD8AZhgYZsZTZk//2Q==";

#[test]
fn a_picture_for_printing_is_made_one_for_looking_at() {
    let file =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, FOR_PRINTING).expect("a file");
    assert_eq!(jpeg::frame(&file).map(|frame| frame.components), Some(4));
    let made = anew(&file, ImageFormat::Jpeg);
    assert_eq!((made.color(), made.dimensions(), ends(&made)), (ColorType::Rgb8, (16, 8), ["red", "blue"]));
}

#[test]
fn half_a_picture_is_none() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Bmp]
    {
        let bytes = file(&colours(40, 20), format);
        for len in (1..bytes.len() * 2 / 3).step_by(7) {
            let developed = develop(&bytes[..len], BOUNDS);
            assert!(
                matches!(developed, Err(Flaw::Broken(_) | Flaw::Format(_))),
                "{format:?} {len}: {developed:?}"
            );
        }
    }
    assert_eq!(develop(b"", BOUNDS), Err(Flaw::Empty));
}

#[test]
fn a_byte_that_is_wrong_harms_nobody() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Bmp]
    {
        let bytes = file(&colours(20, 10), format);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0xff;
            // Whether it is still a picture is its decoder's to say.
            let _ = develop(&bad, BOUNDS);
        }
    }
}

#[test]
fn what_claims_to_be_huge_is_refused_by_its_head() {
    let side = 65_535u32;
    let mut png = file(&colours(2, 2), ImageFormat::Png);
    png = with_head(&png, side);
    let mut gif = file(&colours(2, 2), ImageFormat::Gif);
    gif[6..10].copy_from_slice(&[0xff; 4]);
    let mut bmp = file(&colours(2, 2), ImageFormat::Bmp);
    bmp[18..22].copy_from_slice(&side.to_le_bytes());
    bmp[22..26].copy_from_slice(&side.to_le_bytes());
    let mut jpeg = file(&colours(2, 2), ImageFormat::Jpeg);
    let frame = memchr::memmem::find(&jpeg, &[0xff, 0xc0]).expect("a frame");
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
    for (name, bytes) in [("png", png), ("gif", gif), ("bmp", bmp), ("jpeg", jpeg)] {
        let developed = develop(&bytes, BOUNDS);
        assert!(matches!(developed, Err(Flaw::TooLarge(_))), "{name}: {developed:?}");
    }
}

#[test]
fn what_a_progressive_jpeg_takes_between_its_scans_counts() {
    // Three bytes a pixel in the end, six before.
    let bounds = |max_pixels| Bounds { max_side: 64, max_pixels };
    let at_once = file(&colours(40, 20), ImageFormat::Jpeg);
    let mut in_scans = at_once.clone();
    let mark = memchr::memmem::find(&in_scans, &[0xff, 0xc0]).expect("a frame");
    in_scans[mark + 1] = 0xc2;
    assert_eq!(develop(&at_once, bounds(800)), Ok(Developed::AsIs));
    assert!(matches!(develop(&in_scans, bounds(1_799)), Err(Flaw::TooLarge(_))));
    assert!(!matches!(develop(&in_scans, bounds(1_800)), Err(Flaw::TooLarge(_))));

    let scan = memchr::memmem::find(&at_once, &[0xff, 0xda]).expect("a scan");
    let many = [&at_once[..], &at_once[scan..].repeat(MOST_SCANS)].concat();
    assert!(matches!(develop(&many, BOUNDS), Err(Flaw::Broken(_))));
}

/// Of ten thousand pictures in one file the first is looked at, and the others cost nothing.
#[test]
fn of_a_long_film_one_picture_is_worked_on() {
    let film = |frames: usize| {
        let mut film = Vec::new();
        let mut encoder = image::codecs::gif::GifEncoder::new(&mut film);
        for _ in 0..frames {
            encoder.encode_frame(image::Frame::new(colours(40, 20).to_rgba8())).expect("a frame");
        }
        drop(encoder);
        film
    };
    let (one, two) = (film(1), film(2));
    let frame = &two[one.len() - 1..two.len() - 1];
    let gif = [&one[..one.len() - 1], &frame.repeat(9_999), b";"].concat();
    assert_eq!(ends(&anew(&gif, ImageFormat::Png)), ["red", "blue"]);

    let still = file(&colours(40, 20), ImageFormat::Png);
    let mut frames = Vec::new();
    for number in 0..9_999u32 {
        let sides = [40u32, 20, 0, 0].iter().flat_map(|side| side.to_be_bytes()).collect::<Vec<_>>();
        let control = [&(2 * number).to_be_bytes()[..], &sides, &[0, 1, 0, 10, 0, 0]].concat();
        // Its pixels cannot be read: nobody does.
        frames.extend([chunk(b"fcTL", &control), chunk(b"fdAT", &[0; 40])].concat());
    }
    let (pictures, end) = still.split_at(still.len() - 12);
    let apng = [pictures, &frames, end].concat();
    let apng = with_chunk(&apng, b"acTL", &[10_000u32.to_be_bytes(), [0; 4]].concat());
    assert_eq!(ends(&anew(&apng, ImageFormat::Png)), ["red", "blue"]);
}

/// What is written beside a picture is not unfolded any further than there is room for.
#[test]
fn texts_that_unfold_to_any_size_are_left_folded() {
    let folded = |head: &[u8]| {
        let mut text = head.to_vec();
        let mut encoder = flate2::write::ZlibEncoder::new(&mut text, flate2::Compression::best());
        std::io::copy(&mut std::io::Read::take(std::io::repeat(b'a'), 64 << 20), &mut encoder).expect("room");
        encoder.finish().expect("room");
        text
    };
    let png = file(&colours(40, 20), ImageFormat::Png);
    for (name, head) in [(b"zTXt", &b"Comment\0\0"[..]), (b"iTXt", b"Comment\0\x01\0\0\0")] {
        let bomb = with_chunk(&png, name, &folded(head));
        assert!(bomb.len() < 100_000);
        assert_eq!(develop(&bomb, BOUNDS), Ok(Developed::AsIs), "{name:?}");
    }
}

/// What a file is decides what stands in its first bytes, whatever else may be read in it.
#[test]
fn what_is_two_things_at_once_is_the_picture_that_it_begins_as() {
    let gif = file(&colours(40, 20), ImageFormat::Gif);
    // As a script it is a comment and a call: its width is what opens the comment.
    let mut script = gif.clone();
    script[6..10].copy_from_slice(b"/*\x14\0");
    script.extend(b"*/=1;alert(1)//");
    let developed = develop(&script, Bounds { max_side: 0, max_pixels: 1 << 20 });
    let Ok(Developed::Anew(made)) = developed else { panic!("{developed:?}") };
    assert!(memchr::memmem::find(&made, b"alert").is_none());

    let png = file(&colours(40, 20), ImageFormat::Png);
    let packed = [&png[..], b"PK\x03\x04\x14\0\0\0<script>"].concat();
    assert_eq!(develop(&packed, BOUNDS), Ok(Developed::AsIs));
    // Beginning as something else it is that.
    for begins in [&b"PK\x03\x04"[..], b"<html>", b"%PDF-1.7\n"] {
        assert!(matches!(develop(&[begins, &png].concat(), BOUNDS), Err(Flaw::Format(_))));
    }
}

/// A cheap stand-in for a fuzzer: bytes turned, left out and doubled, of every kind.
#[test]
fn whatever_is_done_to_a_picture_its_decoder_gives_an_answer() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Bmp]
    {
        let whole = file(&colours(24, 12), format);
        for round in 0..300 {
            let mut bad = whole.clone();
            for _ in 0..=next(4) {
                let (at, length) = (next(bad.len()), next(40));
                let end = (at + length).min(bad.len());
                match next(4) {
                    0 => bad[at] = next(256) as u8,
                    1 => bad[at..end].iter_mut().for_each(|byte| *byte = 0xff),
                    2 => drop(bad.drain(at..end).collect::<Vec<_>>()),
                    _ => bad.extend_from_within(at..end),
                }
                if bad.is_empty() {
                    bad.push(0);
                }
            }
            let developed = std::panic::catch_unwind(|| develop(&bad, BOUNDS));
            if let Ok(Developed::Anew(made)) = developed.unwrap_or_else(|_| panic!("{format:?} {round}")) {
                assert!(image::guess_format(&made).is_ok(), "{format:?} {round}");
            }
        }
    }
}

#[test]
fn other_kinds_are_named() {
    let name = |bytes: &[u8]| match develop(bytes, BOUNDS) {
        Err(Flaw::Format(name)) => name,
        other => panic!("{other:?}"),
    };
    assert_eq!(name(b"II*\0rest"), "TIFF");
    assert_eq!(name(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1"), "AVIF");
    assert_eq!(name(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "what is no known kind of picture");
    assert_eq!(name(b"%PDF-1.7"), "what is no known kind of picture");
}

/// A PNG whose head says that each of its sides is so long.
fn with_head(png: &[u8], side: u32) -> Vec<u8> {
    let mut head = png[12..29].to_vec();
    head[4..8].copy_from_slice(&side.to_be_bytes());
    head[8..12].copy_from_slice(&side.to_be_bytes());
    let sum = crc32fast::hash(&head).to_be_bytes();
    [&png[..12], &head, &sum, &png[33..]].concat()
}

/// A PNG with one more chunk behind its head.
fn with_chunk(png: &[u8], name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    [&png[..33], &chunk(name, data), &png[33..]].concat()
}

/// One of a PNG.
fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let chunk = [&name[..], data].concat();
    let (length, sum) = ((data.len() as u32).to_be_bytes(), crc32fast::hash(&chunk).to_be_bytes());
    [&length[..], &chunk, &sum].concat()
}
