//! Processes that listen are killed, stopped and starved: one request fails, and is told why.

use super::*;

const FIELDS: [(&str, &str); 2] = [("model", "tiny"), ("language", "en")];

pub fn signal(name: &str, process: i32) {
    let sent = std::process::Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status();
    assert!(sent.expect("kill").success());
}

impl Studio {
    /// The process that listens, as soon as there is one.
    async fn listener(&self) -> i32 {
        eventually("somebody listens", || async { transcribers(&self.pannier).first().copied() }).await
    }

    /// A request that takes so long that nobody is done with it by the time that somebody looks.
    pub fn long(&self) -> Ask {
        let speech = self.recording("jfk.wav")[44..].repeat(20);
        let samples = speech.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
        form(TRANSCRIPTIONS, &wav(16_000, samples), &FIELDS)
    }

    /// Stops whoever listens to the first recording, which is open.
    pub async fn hold(&self) -> i32 {
        // Before, it may be no more than about to begin.
        let opened = [("kind", "recording"), ("result", "decoded")];
        self.pannier.counts("pannier_media_decodes_total", &opened, 1.0).await;
        let listener = self.listener().await;
        signal("STOP", listener);
        listener
    }

    /// Somebody listens to a recording now, and will until a signal comes.
    pub async fn held(&self) -> (Wire, i32) {
        let mut wire = self.pannier.open().await;
        wire.ask(&self.long()).await;
        (wire, self.hold().await)
    }

    async fn listens_again(&self) {
        self.hear("silence_5s.wav", &FIELDS).await.fine();
    }
}

pub async fn reply(mut wire: Wire) -> Reply {
    tokio::time::timeout(MINUTES, wire.something()).await.expect("an answer");
    wire.reply("POST").await
}

#[tokio::test]
async fn one_that_is_killed_is_replaced() {
    let Some(studio) = Studio::open().await else { return };
    let (wire, listener) = studio.held().await;
    signal("KILL", listener);
    let reply = reply(wire).await;
    assert_eq!((reply.status(), reply.code()), (502, Some("upstream_aborted")), "{}", reply.text());
    studio.listens_again().await;
    assert_ne!(transcribers(&studio.pannier), [listener]);
    studio.pannier.counts("pannier_media_worker_restarts_total", &[], 1.0).await;
}

#[tokio::test]
async fn one_that_hangs_is_ended_when_its_time_is_over() {
    let Some(studio) = Studio::open_with(|launch| launch.set("audio.timeout", "100ms")).await else { return };
    // Opened beforehand, so that it hangs in the midst of listening.
    let _ = studio.hear("silence_5s.wav", &FIELDS).await;
    let ask = form(TRANSCRIPTIONS, &studio.recording("jfk.wav"), &FIELDS);
    let reply = patiently(&studio.pannier, &ask).await;
    assert_eq!((reply.status(), reply.code()), (504, Some("upstream_timeout")), "{}", reply.text());
    eventually("it is ended", || async { transcribers(&studio.pannier).is_empty().then_some(()) }).await;
}

#[tokio::test]
async fn whoever_leaves_is_not_listened_for() {
    let Some(studio) = Studio::open().await else { return };
    let (wire, listener) = studio.held().await;
    drop(wire);
    eventually("it is ended", || async {
        (!transcribers(&studio.pannier).contains(&listener)).then_some(())
    })
    .await;
    studio.listens_again().await;
}

#[tokio::test]
async fn only_so_many_wait_and_nobody_else_does() {
    let settings = |launch: Launch| launch.set("audio.max_waiting", "1");
    let Some(studio) = Studio::open_with(settings).await else { return };
    let (held, listener) = studio.held().await;
    let mut waiting = studio.pannier.open().await;
    waiting.ask(&form(TRANSCRIPTIONS, &studio.recording("silence_5s.wav"), &FIELDS)).await;
    studio.pannier.counts("pannier_internal_size", &[("what", "recordings_waiting")], 1.0).await;
    let refused = studio.hear("goforward.wav", &FIELDS).await;
    assert_eq!((refused.status(), refused.code()), (503, Some("overloaded")));
    assert!(refused.field("retry-after").is_some());
    // Other requests are answered meanwhile.
    studio.pannier.ask(&Ask::get("/api/version")).await.fine();
    signal("KILL", listener);
    drop(held);
    reply(waiting).await.fine();
}

/// What has too little memory ends, and says so.
#[tokio::test]
async fn a_model_that_needs_more_memory_than_there_may_be_is_refused() {
    let lobby = Lobby::open_with(|launch| launch.set("audio.max_memory", "100MiB")).await;
    let reply = lobby.pannier.ask(&form(TRANSCRIPTIONS, b"x", &[])).await;
    assert_eq!(reply.status(), 500);
    assert!(reply.text().contains("audio.max_memory"), "{}", reply.text());
    assert!(transcribers(&lobby.pannier).is_empty());
}

/// Processes that begin from now on have no stack to begin with.
#[tokio::test]
async fn that_nobody_can_listen_is_shown_and_requests_are_wanted_all_the_same() {
    let lobby = Lobby::open().await;
    let stack = |bytes: &str| {
        let limits = [format!("--pid={}", lobby.pannier.id()), format!("--stack={bytes}:")];
        assert!(std::process::Command::new("prlimit").args(limits).status().expect("prlimit").success());
    };
    let hear = || async { lobby.pannier.ask(&form(TRANSCRIPTIONS, b"no recording", &[])).await };
    let probe = || async { lobby.pannier.house("/readyz?verbose").await.text() };
    stack("4096");
    let reply = hear().await;
    assert_eq!((reply.status(), reply.code()), (500, Some("internal")), "{}", reply.text());
    let told = probe().await;
    assert!(told.contains("[-]speech") && !told.contains("[-]upstream"), "{told}");
    stack("8388608");
    let reply = hear().await;
    assert!([400, 415].contains(&reply.status()), "{}", reply.text());
    let told = probe().await;
    assert!(told.contains("[+]speech"), "{told}");
}

#[tokio::test]
async fn nobody_listens_any_longer_than_is_wanted_nor_than_pannier_lives() {
    let lobby = Lobby::open_with(|launch| launch.set("audio.keep_alive", "1s")).await;
    let ask = form(TRANSCRIPTIONS, &wav(16_000, [0i16; 16_000].into_iter()), &[]);
    assert_eq!(lobby.pannier.ask(&ask).await.status(), 500, "there are no weights");
    eventually("nobody is kept", || async { transcribers(&lobby.pannier).is_empty().then_some(()) }).await;

    let lobby = Lobby::open().await;
    lobby.pannier.ask(&form(TRANSCRIPTIONS, b"no recording", &[])).await;
    let listeners = transcribers(&lobby.pannier);
    assert_eq!(listeners.len(), 1);
    // Killed without a word: its children notice.
    signal("KILL", i32::try_from(lobby.pannier.id()).expect("a number"));
    eventually("they are gone", || async {
        let is_there = |id: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            stat.contains("(pannier)") && !stat.contains(") Z")
        };
        (!listeners.iter().any(is_there)).then_some(())
    })
    .await;
}
