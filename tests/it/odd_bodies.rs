//! Bodies that are packed, written or named oddly (RELIABILITY.md J-03, J-04, J-10, J-12): the upstream judges what it
//! can read, nothing of it is kept, and nothing of it breaks what is told of it.

use crate::stage::*;
use serde_json::{Value, json};

/// One path of each dialect.
const PATHS: [&str; 3] = ["/api/chat", "/v1/chat/completions", "/v1/messages"];

/// What Ollama could not unpack is refused in the words of the route, and does not go up.
#[tokio::test]
async fn what_is_packed_otherwise_is_refused() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for path in PATHS {
        let route = route(path);
        let body = route.body(false).to_string();
        let packed = zstd::encode_all(body.as_bytes(), 3).expect("pack");
        for coding in
            ["gzip", "deflate", "br", "gzip, gzip", "zstd, gzip", "zstd, zstd", "x-unknown", "aws-chunked"]
        {
            let ask = Ask::new("POST", path).with("Content-Encoding", coding).bytes(packed.clone());
            let reply = pannier.ask(&ask).await;
            assert_eq!((reply.status(), reply.code()), (415, Some("unsupported")), "{coding} on {path}");
            let error = &reply.json()["error"];
            let words = if path == "/api/chat" { error } else { &error["message"] };
            assert!(words.as_str().is_some_and(|words| words.contains("zstd")), "{error}");
        }
        // Packed once, and that said twice, is packed in a way that two readers may see differently.
        let twice = Ask::new("POST", path).with("Content-Encoding", "zstd").with("Content-Encoding", "zstd");
        assert!([400, 415].contains(&pannier.ask(&twice.bytes(packed.clone())).await.status()), "{path}");
        assert_eq!(upstream.count(path), 0, "{path}");
        upstream.always(path, route.acts(false));
        let plain = Ask::new("POST", path).with("Content-Encoding", "identity").bytes(body.clone());
        assert_eq!(pannier.ask(&plain).await.fine().body(), route.answer, "{path}");
    }
    // Ollama unpacks nothing on its own routes.
    let body = route("/api/chat").body(false).to_string();
    let packed = zstd::encode_all(body.as_bytes(), 3).expect("pack");
    let ask = Ask::new("POST", "/api/chat").with("Content-Encoding", "zstd").bytes(packed);
    assert_eq!(pannier.ask(&ask).await.status(), 415);
}

/// Almost JSON: whether it is a question is for the upstream to say, and if it says so, nobody else gets the answer.
#[tokio::test]
async fn what_is_almost_json_passes_and_is_not_kept() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let pannier = Pannier::start(&upstream).await;
    let rest = r#""messages":[{"role":"user","content":"a"}],"stream":false}"#;
    let model = r#"{"model":"smollm2:135m","#;
    let bodies = [
        ("a byte order mark", format!("\u{feff}{model}{rest}")),
        ("a comment", format!("{model}/* why */{rest}")),
        ("NaN", format!(r#"{model}"options":{{"temperature":NaN}},{rest}"#)),
        ("Infinity", format!(r#"{model}"options":{{"temperature":-Infinity}},{rest}"#)),
        ("a comma too many", [model, rest].concat().replace('}', ",}")),
        ("single quotes", "{'model':'smollm2:135m'}".to_owned()),
        ("a tab within a text", [model, rest].concat().replace("\"a\"", "\"a\tb\"")),
        ("half a surrogate", [model, rest].concat().replace("\"a\"", r#""a\ud800b""#)),
        ("a model with NUL", format!(r#"{{"model":"smollm2:135m\u0000",{rest}"#)),
        ("a model with half a surrogate", format!(r#"{{"model":"smollm2:135m\udc00",{rest}"#)),
        ("a number as model", format!(r#"{{"model":5,{rest}"#)),
        ("a text as stream", [model, rest].concat().replace("false", "\"false\"")),
    ];
    let count = bodies.len();
    for (what, body) in bodies {
        for _ in 0..2 {
            let before = upstream.count(chat.path);
            let reply = pannier.ask(&Ask::new("POST", chat.path).bytes(body.clone())).await;
            let cache = reply.fine().cache();
            assert!(cache.contains("fwd=bypass; detail="), "{what}: {cache}");
            assert_eq!(upstream.count(chat.path), before + 1, "{what}");
            assert_eq!(upstream.visit(chat.path, before).await.body(), body.as_bytes(), "{what}");
        }
    }
    let bypassed = [("operation", "chat"), ("result", "bypass")];
    pannier.counts("pannier_cache_calls_total", &bypassed, 2.0 * count as f64).await;
}

/// After the Big List of Naughty Strings: texts that have broken parsers, pages, queries, labels and logs.
const NAUGHTY: [&str; 34] = [
    "undefined",
    "NULL",
    "-1/0",
    "0x0",
    "1E+02",
    "0,,0",
    "١٢٣",
    "\u{feff}",
    "\u{1}\u{2}\u{7f}\u{85}\u{ad}",
    "\t\u{b}\u{c} \u{2028}\u{2029}\u{3000}",
    ",./;'[]\\-=<>?:\"{}|_+!@#$%^&*()`~",
    "Ω≈ç√∫˜µ≤≥÷",
    "田中さんにあげて下さい",
    "👾 🙇 💁 🙅 🏳️‍🌈 🇺🇸🇷🇺",
    "בְּרֵאשִׁית",
    "\u{202a}test\u{202b}\u{200f}",
    "T̖̭̠̳o͕ ̤i̲n̶v̭o̟k̦e̞",
    "˙ɐnbᴉlɐ ɐuƃɐɯ",
    "<script>alert(123)</script>",
    "\"><img src=x onerror=alert(1)>",
    "1;DROP TABLE users",
    "' OR 1=1 -- 1",
    "--help",
    "$(touch /tmp/blns.fail)",
    "`ls -al /`",
    "<!DOCTYPE foo [<!ENTITY xxe SYSTEM \"file:///etc/passwd\">]>",
    "$HOME %s%s%n %d {0} %*.*s ${7*7}",
    "../../../../etc/passwd%00",
    "() { :; }; echo",
    "\u{1b}[31mred\u{1b}[0m",
    "a\r\nSet-Cookie: b=c\r\n\r\nHTTP/1.1 200 OK",
    "{\"json\": [\"within\", null]}\n{\"and\": \"a line\"}",
    "pannier_http_requests_total{code=\"200\"} 7",
    "ﷺ\u{fdd0}\u{10ffff}",
];

/// As model, as question, as user and as a field's name: all pass as they are, and labels and log are in one piece.
#[tokio::test]
async fn naughty_texts_pass_as_they_are() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let pannier = Pannier::start(&upstream).await;
    let mut wire = pannier.open().await;
    let message = |text: &str| json!({ "role": "user", "content": text });
    let within = |text: &str| json!({ "model": "smollm2:135m", "messages": [message(text)], "stream": false, "user": text, text: text });
    for (nth, text) in NAUGHTY.iter().enumerate() {
        let named = json!({ "model": text, "messages": [message(text)], "stream": false });
        for (turn, body) in [within(text), named].iter().enumerate() {
            let reply = wire.exchange(&Ask::post(chat.path, body)).await.fine();
            assert_eq!(reply.body(), chat.answer, "{text:?}");
            let visit = upstream.visit(chat.path, 2 * nth + turn).await;
            assert_eq!(visit.body(), body.to_string().as_bytes(), "{text:?}");
        }
    }
    // The same texts again are the same questions, each its own.
    for text in NAUGHTY {
        assert!(pannier.remembered(&Ask::post(chat.path, &within(text))).await.is_hit(), "{text:?}");
    }
    assert_eq!(upstream.count(chat.path), 2 * NAUGHTY.len());

    let samples = pannier.metrics().await;
    let models = samples.values("model");
    assert!(models.iter().all(|model| !NAUGHTY.contains(&model.as_str())), "{models:?}");
    let lines = eventually("a line of the log for each", || async {
        let out = pannier.stdout();
        let lines: Vec<Value> = out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect();
        let misses = lines.iter().filter(|line| line["route"] == chat.path && line["status"] == 200).count();
        (misses >= 2 * NAUGHTY.len()).then_some(out)
    })
    .await;
    assert!(!lines.contains('\u{1b}') && !lines.contains("Set-Cookie: b=c\r"), "{lines}");
}
