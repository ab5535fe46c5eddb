//! The two roads of what is not looked into, the light one and Pingora's: whichever a request takes, neither its
//! upstream nor its client can tell.

use crate::stage::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// More than the light road bears.
const HEAVY: usize = 70_000;

/// The same request on either road.
fn both(ask: &Ask) -> [(&'static str, Ask); 2] {
    [("light", ask.clone().bytes("{}")), ("heavy", ask.clone().bytes(vec![b' '; HEAVY]))]
}

/// The lines of a head, less what the size of a body decides, and the date that Pingora adds where there is none.
fn lines(head: &[u8]) -> Vec<String> {
    let head = String::from_utf8(head.to_vec()).expect("a head in UTF-8");
    let counts = |line: &&str| {
        let line = line.to_ascii_lowercase();
        !line.starts_with("content-length:") && !line.starts_with("date:")
    };
    head.split("\r\n").filter(counts).map(str::to_owned).collect()
}

/// What two heads have in common that say the same: Pingora spells some names, and sorts some fields, otherwise.
fn meaning(head: &[u8]) -> Vec<String> {
    let mut lines: Vec<_> = lines(head).into_iter().map(|line| line.to_lowercase()).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn a_request_goes_up_alike_on_both() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let ask = Ask::new("PUT", "/api/new%2Fthing?a=%zz&&b")
        .with("x-LOWER-up", "1")
        .with("X-Twice", "a")
        .with("accept", "*/*")
        .with("x-twice", " b")
        .with("X-Umlaut", "täst")
        .with("Authorization", "Bearer abc")
        .with("Connection", "keep-alive, X-Hop, Authorization")
        .with("X-Hop", "1")
        .with("Keep-Alive", "timeout=5")
        .with("TE", "trailers")
        .with("Proxy-Connection", "keep-alive")
        .with("X-Pannier-Cache", "bypass")
        .with("Origin", &format!("http://{}", pannier.addr));
    let mut heads = Vec::new();
    for (nth, (road, ask)) in both(&ask).iter().enumerate() {
        assert_eq!(pannier.ask(ask).await.status(), 404, "{road}");
        let visit = upstream.visit("/api/new%2Fthing", nth).await;
        assert_eq!(visit.received(), if *road == "light" { 2 } else { HEAVY as u64 });
        heads.push(visit.head.clone());
    }
    let light = lines(&heads[0]);
    let via = light.iter().find(|line| line.starts_with("Via: ")).expect("a Via").clone();
    let host = format!("Host: {}", upstream.addr);
    // On the light road order and spelling are kept.
    let expected = [
        "PUT /api/new%2Fthing?a=%zz&&b HTTP/1.1",
        &host,
        "x-LOWER-up: 1",
        "X-Twice: a",
        "accept: */*",
        "x-twice: b",
        "X-Umlaut: täst",
        "Authorization: Bearer abc",
        &via,
        "",
        "",
    ];
    assert_eq!(light, expected);
    assert_eq!(meaning(&heads[1]), meaning(&heads[0]));
}

/// Answers of every framing, and the method that they answer.
const ANSWERS: [(&str, &str, &str); 10] = [
    ("POST", "a length", "HTTP/1.1 200 OK\r\ncontent-LENGTH: 5\r\nx-One: 1\r\nX-one: 2\r\n\r\nhello"),
    ("POST", "nothing", "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"),
    (
        "POST",
        "chunks",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n00A\r\n0123456789\r\n0\r\n\r\n",
    ),
    ("POST", "its own reason", "HTTP/1.1 299 Rather Good\r\nContent-Length: 2\r\n\r\nok"),
    ("POST", "an error", "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno"),
    ("POST", "204", "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"),
    ("POST", "304", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n"),
    ("HEAD", "HEAD, a length", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
    ("HEAD", "HEAD, chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (
        "POST",
        "hints",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!",
    ),
];

#[tokio::test]
async fn an_answer_comes_down_alike_on_both() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for (method, what, raw) in ANSWERS {
        upstream.always("/api/odd", vec![Act::Send(raw.into())]);
        let ask = Ask::new(method, "/api/odd").with("X-Request-Id", "mine");
        let mut told = Vec::new();
        for (road, ask) in both(&ask) {
            let mut wire = pannier.open().await;
            // A second one on the same connection: the first has ended where it should.
            for _ in 0..2 {
                let reply = wire.exchange(&ask).await;
                assert_eq!(reply.ending, Ending::Complete, "{road} {what}");
                let head = meaning(&reply.head.raw);
                told.push((road, head, reply.interim.clone(), reply.framing, reply.body()));
            }
        }
        let (_, head, interim, framing, body) = &told[0];
        for other in &told[1..] {
            assert_eq!((&other.1, &other.2, &other.3, &other.4), (head, interim, framing, body), "{what}");
        }
    }
}

/// An answer that only the connection's end ends comes down in chunks, and the client keeps its connection.
#[tokio::test]
async fn an_answer_until_the_end_comes_down_alike_on_both() {
    let upstream = Upstream::start().await;
    let head = head(200, &["Content-Type: text/plain"]);
    upstream.always("/api/odd", vec![Act::Send(head), Act::Send(b"all of it".to_vec()), Act::Fin]);
    let pannier = Pannier::start(&upstream).await;
    for (road, ask) in both(&Ask::new("POST", "/api/odd")) {
        let mut wire = pannier.open().await;
        for _ in 0..2 {
            let reply = wire.exchange(&ask).await.fine();
            assert_eq!((reply.framing, reply.text().as_str()), (Framing::Chunked, "all of it"), "{road}");
        }
    }
}

/// The light road keeps every byte: order, spelling, extensions of chunks, trailers.
#[tokio::test]
async fn the_light_road_changes_no_byte() {
    let upstream = Upstream::start().await;
    let start = "HTTP/1.1 200 Fine\r\nb: 1\r\nA: 2\r\nB: 3\r\ntransfer-encoding: Chunked\r\n";
    let body = "0005;ext=\"a b\"\r\nhello\r\n1\r\n \r\n6\r\nworld!\r\n000\r\nX-Sum: 12\r\n\r\n";
    upstream.always("/api/odd", vec![Act::Send(format!("{start}\r\n{body}").into())]);
    let pannier = Pannier::start(&upstream).await;
    let expected = format!("{start}Connection: keep-alive\r\nX-Request-Id: mine\r\n\r\n{body}");
    let mut io = TcpStream::connect(pannier.addr).await.expect("connect");
    let host = pannier.addr;
    for _ in 0..2 {
        // In three pieces, as a slow client might.
        for piece in [
            format!("POST /api/odd HTTP/1.1\r\nHost: {host}\r\nX-Request-"),
            "Id: mine\r\nContent-Length: 4\r\n\r\nab".to_owned(),
            "cd".to_owned(),
        ] {
            io.write_all(piece.as_bytes()).await.expect("write");
            pause(20).await;
        }
        let mut read = vec![0; expected.len()];
        within("the answer", io.read_exact(&mut read)).await.expect("all of it");
        assert_eq!(String::from_utf8_lossy(&read), expected);
    }
    let visits = upstream.visits("/api/odd");
    assert!(visits.iter().all(|visit| visit.body() == "abcd"));
    assert_eq!(visits[0].connection, visits[1].connection, "the upstream's connection is kept");
}
