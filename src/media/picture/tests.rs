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

#[test]
fn what_lies_on_its_side_is_set_upright_and_nothing_else_is_kept() {
    let upright = file(&colours(40, 20), ImageFormat::Jpeg);
    // Of two entries, one says how it lies, and one where it was made.
    let exif = |orientation: u8| {
        let entry = |tag: u16, kind: u16, value: [u8; 4]| {
            [&tag.to_be_bytes()[..], &kind.to_be_bytes(), &1u32.to_be_bytes(), &value].concat()
        };
        let entries = [entry(0x0112, 3, [0, orientation, 0, 0]), entry(0x8825, 4, *b"HERE")].concat();
        [&b"Exif\0\0MM\0*\0\0\0\x08\0\x02"[..], &entries, &[0; 4]].concat()
    };
    let lying = |orientation| {
        let exif = exif(orientation);
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

#[test]
fn other_kinds_are_named() {
    let name = |bytes: &[u8]| match develop(bytes, BOUNDS) {
        Err(Flaw::Format(name)) => name,
        other => panic!("{other:?}"),
    };
    assert_eq!(name(b"II*\0rest"), "TIFF");
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
    let chunk = [&name[..], data].concat();
    let (length, sum) = ((data.len() as u32).to_be_bytes(), crc32fast::hash(&chunk).to_be_bytes());
    [&png[..33], &length, &chunk, &sum, &png[33..]].concat()
}
