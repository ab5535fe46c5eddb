//! `/vision/*`: what is asked about pictures, of an upstream that looks at what it is sent.

mod answers;
mod bad;
mod books;
mod models;
mod native;

use crate::stage::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};
use std::io::Cursor;

const MODEL: &str = "llava:latest";
const BLIND: &str = MODELS[0].0;
const ANALYZE: &str = "/vision/analyze";
const CAPTION: &str = "/vision/caption";
const OCR: &str = "/vision/ocr";
const UPLOAD: &str = "/vision/upload";
const GENERATE: &str = "/api/generate";
const FORMATS: [ImageFormat; 5] =
    [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Bmp];
const RED: [u8; 3] = [210, 20, 20];
const BLUE: [u8; 3] = [20, 20, 210];

/// One model sees, the others do not.
async fn seeing_upstream() -> Upstream {
    let upstream = Upstream::start().await;
    upstream.models(&[(MODEL, "1111"), MODELS[0], MODELS[1]]);
    upstream.on("/api/show", |visit| match asked(visit)["model"] == MODEL {
        true => json(200, r#"{"capabilities":["completion","vision"]}"#),
        false => json(200, r#"{"capabilities":["completion"]}"#),
    });
    upstream.on(GENERATE, tells_colour);
    upstream
}

fn asked(visit: &Visit) -> Value {
    serde_json::from_slice(&visit.body()).expect("JSON")
}

/// What the upstream was asked, each time.
fn calls(upstream: &Upstream) -> Vec<Value> {
    upstream.visits(GENERATE).iter().map(|visit| asked(visit)).collect()
}

/// As an engine that knows nothing but PNG and JPEG.
fn colour(base64: &str) -> Option<String> {
    let file = STANDARD.decode(base64).ok()?;
    let is_known = matches!(image::guess_format(&file), Ok(ImageFormat::Png | ImageFormat::Jpeg));
    let picture = image::load_from_memory(&file).ok().filter(|_| is_known)?.to_rgb8();
    Some(match picture.get_pixel(picture.width() / 2, picture.height() / 2).0 {
        [150..=255, 0..80, 0..80] => "red".to_owned(),
        [0..80, 0..80, 150..=255] => "blue".to_owned(),
        other => format!("{other:?}"),
    })
}

/// Answers with the colours of the pictures, in the mode that was asked for.
fn tells_colour(visit: &Visit) -> Vec<Act> {
    let asked = asked(visit);
    let pictures = asked["images"].as_array().cloned().unwrap_or_default();
    let colours: Option<Vec<String>> = pictures.iter().map(|picture| colour(picture.as_str()?)).collect();
    let Some(colours) = colours else { return json(500, r#"{"error":"failed to decode the picture"}"#) };
    let (model, words) = (asked["model"].as_str().expect("a model"), colours.join(", "));
    let created = r#""created_at":"2026-11-20T21:04:44.448878727Z""#;
    let end = r#""done":true,"done_reason":"stop","context":[1,2],"total_duration":216968724,"load_duration":1303330,"prompt_eval_count":11,"prompt_eval_duration":11546000,"eval_count":2,"eval_duration":201749000"#;
    if asked["stream"] == false {
        return json(200, &format!(r#"{{"model":"{model}",{created},"response":" {words}\n",{end}}}"#));
    }
    let line =
        |text: &str| format!(r#"{{"model":"{model}",{created},"response":"{text}","done":false}}"#) + "\n";
    let last = format!(r#"{{"model":"{model}",{created},"response":"",{end}}}"#) + "\n";
    ndjson(&[line(" ").into(), line(&words).into(), last.into()])
}

/// A picture of one colour.
fn picture(format: ImageFormat, colour: [u8; 3], side: u32) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let picture: DynamicImage = RgbImage::from_pixel(side, side, Rgb(colour)).into();
    picture.write_to(&mut file, format).expect("a picture");
    file.into_inner()
}

fn base64(file: &[u8]) -> String {
    STANDARD.encode(file)
}

/// Asks about one picture.
fn look(path: &str, file: &[u8]) -> Ask {
    Ask::post(path, &json!({ "model": MODEL, "image": base64(file) }))
}

/// A form of fields, and of files where a name has one.
fn form(path: &str, parts: &[(&str, Option<&str>, &[u8])]) -> Ask {
    let mut body = Vec::new();
    for (name, file, content) in parts {
        let file = file.map_or(String::new(), |file| format!("; filename=\"{file}\""));
        body.extend(
            format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").as_bytes(),
        );
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(b"--edge--\r\n");
    Ask::new("POST", path).with("Content-Type", "multipart/form-data; boundary=edge").bytes(body)
}
