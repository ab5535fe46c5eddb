//! What is no picture, or no request for one: each is told why, soon, and nobody else notices.

use super::*;
use std::time::{Duration, Instant};

/// Generous: a machine that is busy is slow.
const SOON: Duration = Duration::from_secs(10);

/// A PNG whose head says that each of its sides is so long.
fn bomb(side: u32) -> Vec<u8> {
    let mut png = picture(ImageFormat::Png, RED, 16);
    png[16..20].copy_from_slice(&side.to_be_bytes());
    png[20..24].copy_from_slice(&side.to_be_bytes());
    let sum = crc32fast::hash(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&sum);
    png
}

/// A PNG with a profile of 64 MiB, packed into some 64 KiB.
fn profile() -> Vec<u8> {
    let mut chunk = b"iCCPp\0\0".to_vec();
    let mut encoder = flate2::write::ZlibEncoder::new(&mut chunk, flate2::Compression::best());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 64 << 20), &mut encoder).expect("packed");
    encoder.finish().expect("packed");
    let (length, sum) = ((chunk.len() as u32 - 4).to_be_bytes(), crc32fast::hash(&chunk).to_be_bytes());
    let png = picture(ImageFormat::Png, RED, 16);
    [&png[..33], &length, &chunk, &sum, &png[33..]].concat()
}

/// A WebP of one pixel, whose picture says that it is as large as any, or that ends long before its last chunk does.
fn lying_webps() -> [Vec<u8>; 2] {
    let file =
        |chunks: &[u8]| [b"RIFF", &(chunks.len() as u32 + 4).to_le_bytes()[..], b"WEBP", chunks].concat();
    let canvas = |flags: u8| [b"VP8X", &[10, 0, 0, 0, flags, 0, 0, 0][..], &[0; 6]].concat();
    let large = [b"VP8 ", &[10, 0, 0, 0, 0x30, 0, 0, 0x9d, 0x01, 0x2a, 0xff, 0x3f, 0xff, 0x3f][..]].concat();
    let small = picture(ImageFormat::WebP, RED, 1);
    let endless = [b"EXIF", &[0xff; 4][..]].concat();
    [file(&[canvas(0), large].concat()), file(&[&canvas(8)[..], &small[12..], &endless].concat())]
}

#[tokio::test]
async fn bad_pictures_are_refused_in_the_routes_own_words() {
    let upstream = seeing_upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let png = picture(ImageFormat::Png, RED, 64);
    let noise: Vec<u8> = (0..10_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut lying_gif = picture(ImageFormat::Gif, RED, 16);
    lying_gif[6..10].copy_from_slice(&[0xff; 4]);
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("nothing", Vec::new(), 400, "bad_request"),
        ("noise", noise, 415, "unsupported"),
        ("half a PNG", png[..png.len() / 2].to_vec(), 400, "bad_request"),
        ("a PNG's first bytes", png[..12].to_vec(), 400, "bad_request"),
        ("a script", b"<script>alert(1)</script>".to_vec(), 415, "unsupported"),
        ("SVG", b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(), 415, "unsupported"),
        ("TIFF", b"II*\0\x08\0\0\0".to_vec(), 415, "unsupported"),
        ("BM and nothing behind it", b"BM".to_vec(), 400, "bad_request"),
        ("a PNG that says it has four billion pixels", bomb(65_535), 413, "too_large"),
        ("a PNG that says it has no pixels", bomb(0), 400, "bad_request"),
        ("a GIF that says it has four billion pixels", lying_gif, 413, "too_large"),
    ];
    for (what, file, status, code) in cases {
        for ask in [
            look(OCR, &file),
            form(UPLOAD, &[("file", Some("x.png"), &file), ("model", None, MODEL.as_bytes())]),
        ] {
            let begun = Instant::now();
            let reply = pannier.ask(&ask).await;
            assert_eq!((reply.status(), reply.code()), (status, Some(code)), "{what}: {}", reply.text());
            assert_eq!(reply.field("content-type"), Some("application/json"));
            assert!(reply.json()["error"].is_string() && reply.json()["code"] == code, "{what}");
            assert!(begun.elapsed() < SOON, "{what} took {:?}", begun.elapsed());
        }
    }
    assert_eq!(upstream.count(GENERATE), 0);
    // And a good one is as welcome as before.
    pannier.ask(&look(OCR, &png)).await.fine();
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let upstream = seeing_upstream().await;
    let pannier =
        Launch::before(&upstream).set("vision.max_images", "2").set("server.max_body", "1MiB").start().await;
    let image = base64(&picture(ImageFormat::Png, RED, 16));
    let with = |name: &str, value: Value| {
        let mut body = json!({ "model": MODEL, "image": image });
        body[name] = value;
        Ask::post(ANALYZE, &body)
    };
    let raw = |kind: &str, body: Vec<u8>| Ask::new("POST", UPLOAD).with("Content-Type", kind).bytes(body);
    let parts = "--edge\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n".repeat(10_000);
    let nested = b"--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\
                   Content-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\n\r\na\r\n--in--\r\n--edge--\r\n";
    let form_kind = "multipart/form-data; boundary=edge";
    let cases = vec![
        ("no JSON", raw("application/json", b"{".to_vec()), 400),
        ("no UTF-8", raw("application/json", b"{\"image\":\"\xff\"}".to_vec()), 400),
        ("no picture", Ask::post(ANALYZE, &json!({ "model": MODEL })), 400),
        ("a number for a picture", with("image", json!(7)), 400),
        ("no base64", with("image", json!("####")), 400),
        ("an address", with("image", json!("http://127.0.0.1:1/a.png")), 400),
        ("another address", with("image", json!("file:///etc/passwd")), 400),
        ("one picture twice", with("images", json!([image])), 400),
        (
            "a list in a stream",
            Ask::post(OCR, &json!({ "model": MODEL, "images": [image], "stream": true })),
            400,
        ),
        (
            "too many pictures",
            Ask::post(OCR, &json!({ "model": MODEL, "images": [image, image, image] })),
            413,
        ),
        ("a prompt that is none", with("prompt", json!({ "a": 1 })), 400),
        ("a temperature that is none", with("temperature", json!("hot")), 400),
        ("no tokens", with("max_tokens", json!(0)), 400),
        ("a detail that is none", with("detail_level", json!("some")), 400),
        ("deep nesting", with("x", json!(null)).bytes(format!("{{\"image\":{}", "[".repeat(100_000))), 400),
        ("no boundary", raw("multipart/form-data", b"--edge--".to_vec()), 400),
        ("another boundary", raw("multipart/form-data; boundary=other", nested.to_vec()), 400),
        ("no end", raw(form_kind, parts.clone().into_bytes()[..100].to_vec()), 400),
        ("ten thousand parts", raw(form_kind, (parts + "--edge--\r\n").into_bytes()), 413),
        ("a form in a form", raw(form_kind, nested.to_vec()), 415),
        ("a packed body", with("x", json!(1)).with("Content-Encoding", "gzip"), 415),
    ];
    for (what, ask, status) in cases {
        let begun = Instant::now();
        let reply = pannier.ask(&ask).await;
        assert_eq!(reply.status(), status, "{what}: {}", reply.text());
        assert!(reply.json()["error"].is_string() && reply.json()["code"].is_string(), "{what}");
        assert!(begun.elapsed() < SOON, "{what} took {:?}", begun.elapsed());
    }
    // Of a body that is too large, not a byte is waited for.
    let mut wire = pannier.open().await;
    wire.send(&raw(form_kind, vec![b'-'; 2 << 20]).head("localhost")).await;
    assert_eq!(wire.reply("POST").await.json()["code"], "too_large");
    assert_eq!(upstream.count(GENERATE), 0);
}

/// What is bad costs no more memory than its bytes, and nothing stays behind.
#[tokio::test]
async fn bombs_cost_no_memory_and_leave_nothing() {
    let upstream = seeing_upstream().await;
    let pannier = Pannier::start(&upstream).await;
    pannier.ask(&look(OCR, &picture(ImageFormat::Png, RED, 16))).await.fine();
    let before = pannier.resident();
    let throwing = async {
        for side in [60_000, 65_535, 2_000_000_000] {
            for _ in 0..20 {
                let reply = pannier.ask(&look(OCR, &bomb(side))).await;
                assert!(matches!(reply.status(), 400 | 413), "{}", reply.text());
            }
        }
        let profile = profile();
        for _ in 0..8 {
            // It is a picture all the same.
            assert!(matches!(pannier.ask(&look(OCR, &profile)).await.status(), 200 | 400 | 413));
        }
        for webp in lying_webps() {
            assert_eq!(pannier.ask(&look(OCR, &webp)).await.status(), 400);
        }
    };
    let ((), most) = pannier.resident_while(throwing).await;
    assert!(most < before + (64 << 20), "{} MiB", (most - before) >> 20);
    pannier.counts("pannier_internal_size", &[("what", "pictures_waiting")], 0.0).await;
    pannier.counts("pannier_internal_size", &[("what", "held_body_bytes")], 0.0).await;
}
