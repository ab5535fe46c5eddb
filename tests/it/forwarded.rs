//! Every route that is not looked into, and those that nobody knows yet: both ways byte for byte.

use crate::stage::*;

/// All of Ollama's but for the nine that are read, routes that were and routes that may come.
const ROUTES: [(&str, &str); 34] = [
    ("GET", "/"),
    ("HEAD", "/"),
    ("GET", "/api/version"),
    ("HEAD", "/api/version"),
    ("GET", "/api/tags"),
    ("HEAD", "/api/tags"),
    ("GET", "/api/status"),
    ("GET", "/api/ps"),
    ("POST", "/api/show"),
    ("POST", "/api/pull"),
    ("POST", "/api/push"),
    ("POST", "/api/create"),
    ("POST", "/api/copy"),
    ("DELETE", "/api/delete"),
    ("POST", "/api/blobs/sha256:29fdb92e57cf0827ded04ae6461b5931d01fa595843f55d36f5b275a52087dd2"),
    ("HEAD", "/api/blobs/sha256:29fdb92e57cf0827ded04ae6461b5931d01fa595843f55d36f5b275a52087dd2"),
    ("POST", "/api/me"),
    ("POST", "/api/signout"),
    ("DELETE", "/api/user/keys/c3No%2FQ=="),
    ("GET", "/api/experimental/model-recommendations"),
    ("POST", "/api/experimental/web_search"),
    ("POST", "/api/experimental/web_fetch"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/smollm2:135m"),
    ("POST", "/v1/audio/transcriptions"),
    ("POST", "/v1/messages/count_tokens"),
    ("POST", "/v1/systemone"),
    ("POST", "/v1/images/generations"),
    ("OPTIONS", "/api/chat"),
    ("OPTIONS", "/v1/messages"),
    ("PUT", "/api/chat"),
    ("PATCH", "/api/comes/some/day"),
    ("QUERY", "/v2/anything"),
    ("POST", "/no/api"),
];

/// Neither JSON nor text.
const ASKED: &[u8] = b"{\"name\" : \"a\",\r\n\"\\u0061\":1e0}\xff\0--x\r\n";
const ANSWERED: &[u8] = b"{ \"status\":\"\\u003c\" }\n\xfe\0\r\n\r\n";

fn answer(visit: &Visit) -> Vec<Act> {
    let length = format!("Content-Length: {}", ANSWERED.len());
    let mut bytes = head(299, &["X-Odd: a  b;c", "Content-Type: x/y; z", &length, "Warning: 199 - \"w\""]);
    if visit.method != "HEAD" {
        bytes.extend(ANSWERED);
    }
    vec![Act::Send(bytes)]
}

#[tokio::test]
async fn each_passes_unchanged() {
    let upstream = Upstream::start().await;
    for (_, path) in ROUTES {
        upstream.on(path, answer);
    }
    let pannier = Pannier::start(&upstream).await;
    for (number, (method, path)) in ROUTES.into_iter().enumerate() {
        let mark = number.to_string();
        let has_body = !matches!(method, "GET" | "HEAD" | "OPTIONS");
        let mut ask = Ask::new(method, &format!("{path}?a=%2f&&b")).with("X-Mark", &mark);
        if has_body {
            ask = ask.with("Content-Type", "multipart/odd; boundary=x").bytes(ASKED);
        }
        let reply = pannier.ask(&ask).await;
        let what = format!("{method} {path}");
        assert_eq!((reply.status(), reply.code()), (299, None), "{what}: {:?}", reply.text());
        for (name, value) in [("x-odd", "a  b;c"), ("content-type", "x/y; z"), ("warning", "199 - \"w\"")] {
            assert_eq!(reply.field(name), Some(value), "{what}");
        }
        let expected: &[u8] = if method == "HEAD" { b"" } else { ANSWERED };
        assert_eq!(reply.body(), expected, "{what}");

        let visits = upstream.visits(path);
        let ours: Vec<_> =
            visits.iter().filter(|visit| visit.field("x-mark") == Some(mark.as_str())).collect();
        let [visit] = ours[..] else { panic!("{what} went up {} times", ours.len()) };
        assert_eq!((visit.method.as_str(), visit.target.as_str()), (method, ask.target.as_str()), "{what}");
        assert_eq!(visit.body(), if has_body { ASKED } else { b"" }, "{what}");
        let kind = has_body.then_some("multipart/odd; boundary=x");
        assert_eq!(visit.field("content-type"), kind, "{what}");
    }
}
