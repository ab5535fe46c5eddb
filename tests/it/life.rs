//! Starting, reloading, ending; and what the house routes say meanwhile.

use crate::stage::*;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn the_house_routes_answer_on_both_ports() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    eventually("it is ready", || async { (pannier.house("/readyz").await.status() == 200).then_some(()) })
        .await;
    for target in ["/livez", "/readyz", "/startupz", "/healthz", "/readyz?verbose"] {
        for addr in [pannier.addr, pannier.admin] {
            let reply = Wire::open(addr).await.exchange(&Ask::get(target)).await;
            assert_eq!(reply.status(), 200, "{target} on {addr}");
            assert!(reply.field("content-type").is_some_and(|v| v.starts_with("text/plain")), "{target}");
            assert!(reply.field("cache-control").is_some_and(|v| v.contains("no-store")), "{target}");
            let head = Wire::open(addr).await.exchange(&Ask::new("HEAD", target)).await;
            assert_eq!((head.status(), head.body().len()), (200, 0), "{target} on {addr}");
        }
    }
    let verbose = pannier.house("/readyz?verbose").await.text();
    assert!(verbose.lines().any(|line| line.starts_with("[+]upstream")), "{verbose}");
    assert!(upstream.strangers().is_empty(), "the house is not Ollama's affair");
    let reply = pannier.house("/api/tags").await;
    assert_eq!(reply.status(), 404, "the house listener leads nowhere else");
}

#[tokio::test]
async fn it_starts_quickly() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    // 100 ms is the mark of a release build on a quiet machine.
    assert!(pannier.started_in < Duration::from_secs(2), "{:?}", pannier.started_in);
    assert!(pannier.output().contains(&format!("upstream http://{}", upstream.addr)));
}

#[tokio::test]
async fn it_serves_while_ollama_is_away() {
    let mut upstream = Upstream::apart().await;
    upstream.stop().await;
    let pannier = Pannier::start(&upstream).await;
    assert_eq!(pannier.house("/livez").await.status(), 200);
    assert_eq!(pannier.house("/startupz").await.status(), 200);
    let reply = pannier.ask(&route("/api/chat").ask(true)).await;
    assert_eq!((reply.status(), reply.code()), (502, Some("upstream_unreachable")));
    let reply = pannier.house("/readyz").await;
    assert_eq!(reply.status(), 503);
    assert!(pannier.house("/readyz?verbose").await.text().contains("[-]upstream"));

    let addr = upstream.addr;
    drop(upstream);
    let _upstream = Upstream::bind(addr).await;
    eventually("it is ready", || async { (pannier.house("/readyz").await.status() == 200).then_some(()) })
        .await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_a_clear_error() {
    let upstream = Upstream::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = taken.local_addr().expect("its address").to_string();
    let begun = Instant::now();
    let (status, said) = Launch::before(&upstream).listen(&addr).run().await;
    assert_eq!(status.code(), Some(3), "{said}");
    assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
    assert!(said.contains(&addr), "it says which: {said}");
    assert!(!said.contains("panicked"), "{said}");

    let begun = Instant::now();
    let (status, said) = Launch::before(&upstream).listen("nonsense").run().await;
    assert!(!status.success() && begun.elapsed() < PROMPTLY, "{said}");
    assert!(said.contains("nonsense"), "{said}");
}

#[tokio::test]
async fn wrong_settings_are_named() {
    let upstream = Upstream::start().await;
    let cases = [
        ("[server]\nlisten = \"127.0.0.1:0\"\nmax_boddy = \"1MiB\"\n", ["max_boddy", "max_body"]),
        ("[cache]\n\nmemory = \"much\"\n", ["memory", "3"]),
        ("[cache]\ncompletions = \"sometimes\"\n", ["completions", "sometimes"]),
        ("[cashe]\nenabled = true\n", ["cashe", "cache"]),
        ("[cache\n", ["pannier.toml", "1"]),
    ];
    for (settings, words) in cases {
        let begun = Instant::now();
        let (status, said) = Launch::before(&upstream).file(settings).run().await;
        assert!(!status.success() && begun.elapsed() < PROMPTLY, "{settings}{said}");
        for word in words {
            assert!(said.contains(word), "{settings} says nothing of {word}: {said}");
        }
        assert!(!said.contains("panicked"), "{said}");
    }
    let (status, said) = Launch::before(&upstream).set("cache.memroy", "1MiB").run().await;
    assert!(!status.success() && said.to_lowercase().contains("memroy"), "{said}");
}

/// Waits until it knows that it is to end.
async fn is_ending(pannier: &Pannier) {
    eventually("ready no more", || async { (pannier.house("/readyz").await.status() == 503).then_some(()) })
        .await;
}

#[tokio::test]
async fn sigterm_ends_an_idle_one_at_once() {
    let upstream = Upstream::start().await;
    for name in ["TERM", "INT"] {
        let mut pannier = Launch::before(&upstream).set("server.shutdown_delay", "0").start().await;
        let mut idle = pannier.open().await;
        idle.exchange(&Ask::get("/api/version")).await.fine();
        pannier.signal(name);
        let (status, took) = pannier.ended().await;
        assert_eq!(status.code(), Some(0), "SIG{name}");
        assert!(took < PROMPTLY, "SIG{name}: {took:?}");
        idle.hung_up().await;
    }
}

#[tokio::test]
async fn streams_finish_within_the_drain() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    let gate = Gate::closed();
    let mut acts = chat.acts(true);
    acts.insert(3, Act::Wait(gate.clone()));
    upstream.always(chat.path, acts);
    let delay = Duration::from_secs(3);
    let launch = Launch::before(&upstream).set("server.shutdown_delay", "3s").set("server.drain", "60s");
    let mut pannier = launch.start().await;
    let mut wire = pannier.open().await;
    wire.ask(&chat.ask(true)).await;
    wire.head("POST").await;
    let mut body = wire.piece().await.expect("a line");

    let begun = Instant::now();
    pannier.signal("TERM");
    is_ending(&pannier).await;
    assert!(begun.elapsed() < delay, "{:?}", begun.elapsed());
    assert_eq!(pannier.house("/livez").await.status(), 200);
    if begun.elapsed() < delay / 2 {
        pannier.ask(&Ask::get("/api/version")).await.fine();
    }
    eventually("no new connections after the delay", || async {
        TcpStream::connect(pannier.addr).await.is_err().then_some(())
    })
    .await;
    assert!(begun.elapsed() >= delay, "{:?}", begun.elapsed());
    assert_eq!(pannier.house("/readyz").await.status(), 503, "the house still answers");
    assert!(pannier.runs());

    gate.open();
    while let Ok(piece) = wire.piece().await {
        body.extend(piece);
    }
    assert_eq!(body, chat.bytes(true), "to the last byte");
    let (status, took) = pannier.ended().await;
    assert_eq!(status.code(), Some(0));
    assert!(took < PROMPTLY, "nothing more to wait for: {took:?}");
}

/// On a connection that stays open, the answer that comes while Pannier is ending says that it is the last.
#[tokio::test]
async fn answers_during_the_drain_close_their_connection() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    let gate = Gate::closed();
    upstream.always(chat.path, [vec![Act::Wait(gate.clone())], chat.acts(false)].concat());
    let mut pannier = Launch::before(&upstream).set("server.shutdown_delay", "0").start().await;
    let mut wire = pannier.open().await;
    wire.ask(&chat.ask(false)).await;
    upstream.visit(chat.path, 0).await;
    pannier.signal("TERM");
    is_ending(&pannier).await;
    gate.open();
    let reply = wire.reply("POST").await.fine();
    assert_eq!(reply.body(), chat.answer);
    assert!(reply.field("connection").is_some_and(|v| v.eq_ignore_ascii_case("close")), "{:?}", reply.head);
    wire.hung_up().await;
    assert_eq!(pannier.ended().await.0.code(), Some(0));
}

#[tokio::test]
async fn what_does_not_finish_is_cut_off_at_the_drains_end() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    let mut acts = chat.acts(true);
    acts.truncate(3);
    acts.push(Act::Hang);
    upstream.always(chat.path, acts);
    let launch = Launch::before(&upstream).set("server.shutdown_delay", "0").set("server.drain", "700ms");
    let mut pannier = launch.start().await;
    let mut wire = pannier.open().await;
    wire.ask(&chat.ask(true)).await;
    wire.head("POST").await;
    let begun = Instant::now();
    pannier.signal("TERM");
    pannier.ended().await;
    assert!((Duration::from_millis(650)..PROMPTLY).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    upstream.visit(chat.path, 0).await.hung_up().await;
    // Its record is not lost.
    let line = eventually("the line of the log", || async {
        let stdout = pannier.stdout();
        stdout.lines().find(|line| line.contains("\"/api/chat\"")).map(str::to_owned)
    })
    .await;
    assert!(line.starts_with('{'), "{line}");
}

#[tokio::test]
async fn a_second_signal_hurries_it() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, vec![Act::Hang]);
    let launch = Launch::before(&upstream).set("server.shutdown_delay", "0").set("server.drain", "30s");
    let mut pannier = launch.start().await;
    let mut wire = pannier.open().await;
    wire.ask(&chat.ask(true)).await;
    upstream.visit(chat.path, 0).await;
    pannier.signal("TERM");
    is_ending(&pannier).await;
    pause(300).await;
    assert!(pannier.runs(), "it waits");
    pannier.signal("TERM");
    let (_, took) = pannier.ended().await;
    assert!(took < PROMPTLY, "{took:?}");
}

/// While the delay runs, an idle one does not go before balancers have noticed.
#[tokio::test]
async fn the_delay_is_kept() {
    let upstream = Upstream::start().await;
    let mut pannier = Launch::before(&upstream).set("server.shutdown_delay", "3s").start().await;
    // Somebody was here a moment ago, and may come again.
    pannier.ask(&Ask::get("/api/version")).await.fine();
    let begun = Instant::now();
    pannier.signal("TERM");
    is_ending(&pannier).await;
    pannier.ask(&Ask::get("/api/version")).await.fine();
    assert_eq!(pannier.ended().await.0.code(), Some(0));
    assert!((Duration::from_millis(2950)..PROMPTLY).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

/// Settings under which completions are remembered, or not.
fn completions(which: &str) -> String {
    format!("[cache]\ncompletions = \"{which}\"\n")
}

#[tokio::test]
async fn settings_change_on_sighup() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let mut pannier = Launch::before(&upstream).file(&completions("all")).start().await;
    pannier.comes_to_keep(true).await;
    pannier.configure(&completions("off"));
    pannier.signal("HUP");
    pannier.comes_to_keep(false).await;
    pannier.configure(&completions("all"));
    pannier.signal("HUP");
    pannier.comes_to_keep(true).await;
    assert!(pannier.runs());
}

#[tokio::test]
async fn settings_change_when_the_file_is_saved() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let pannier = Launch::before(&upstream).file(&completions("all")).start().await;
    pannier.comes_to_keep(true).await;
    pannier.configure(&completions("off"));
    pannier.comes_to_keep(false).await;
}

#[tokio::test]
async fn bad_settings_change_nothing_and_are_reported() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let mut pannier = Launch::before(&upstream).file(&completions("all")).start().await;
    let bad = [
        ("[cache]\ncompletions = \"off\"\nmemroy = \"1MiB\"\n", "memroy"),
        ("[cache]\ncompletions = 7\n", "completions"),
        ("[cache\ncompletions = \"off\"\n", "pannier.toml"),
        // A boot key: refused by name, and with it all the rest.
        ("[cache]\ncompletions = \"off\"\n[server]\nthreads = 7\n", "server.threads"),
        (
            "[cache]\ncompletions = \"off\"\n[upstream]\nconnect_timeout = \"7s\"\n",
            "upstream.connect_timeout",
        ),
    ];
    for (settings, word) in bad {
        pannier.configure(settings);
        pannier.signal("HUP");
        eventually("it says what is wrong", || async { pannier.output().contains(word).then_some(()) }).await;
        pannier.comes_to_keep(true).await;
        assert!(pannier.runs());
    }
    pannier.configure(&completions("off"));
    pannier.signal("HUP");
    pannier.comes_to_keep(false).await;
}

/// What began under the old settings ends under them.
#[tokio::test]
async fn a_running_stream_survives_a_reload() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    let gate = Gate::closed();
    let mut acts = chat.acts(true);
    acts.insert(3, Act::Wait(gate.clone()));
    upstream.always(chat.path, acts);
    let pannier = Launch::before(&upstream).file(&completions("all")).start().await;
    let mut wire = pannier.open().await;
    wire.ask(&chat.ask(true)).await;
    wire.head("POST").await;
    pannier.configure(&completions("off"));
    pannier.signal("HUP");
    pause(100).await;
    gate.open();
    let mut body = Vec::new();
    while let Ok(piece) = wire.piece().await {
        body.extend(piece);
    }
    assert_eq!(body, chat.bytes(true));
}

/// An upstream that is Pannier itself is noticed, at the start or at the first request, and named.
#[tokio::test]
async fn a_loop_is_noticed() {
    let address = free_address().to_string();
    let (status, said) = Launch::new(&format!("http://{address}")).listen(&address).run().await;
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("{address} is where Pannier itself listens")), "{said}");
    let loops = |reply: &Reply| assert_eq!((reply.status(), reply.code()), (508, Some("loop_detected")));
    // Around a corner it can only be noticed when something goes round.
    let (here, there) = (free_address().to_string(), free_address().to_string());
    let one = Launch::new(&format!("http://{there}")).listen(&here).start().await;
    let _two = Launch::new(&format!("http://{here}")).listen(&there).start().await;
    for ask in [Ask::get("/api/tags"), route("/api/chat").ask(false)] {
        let begun = Instant::now();
        loops(&one.ask(&ask).await);
        assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
    }
    // It is no upstream, and is named once, however often it is met.
    loops(&one.ask(&route("/api/chat").ask(false)).await);
    assert_eq!(one.house("/readyz").await.status(), 503);
    let named = || one.output().matches("the upstream is Pannier itself").count();
    eventually("it is named", || async { (named() > 0).then_some(()) }).await;
    assert_eq!(named(), 1, "{}", one.output());
}
