//! Those who listen, when there are several, and those who wait for them.

use super::faults::signal;
use super::*;

const FIELDS: [(&str, &str); 2] = [("model", "tiny"), ("language", "en")];
/// Bytes of a recording that is none: whoever looks at it is there for the next.
const NONE: &[u8] = b"no recording";

/// `audio.models`, all of them the same file.
fn models(names: &[&str], path: &Path) -> String {
    let each = |name: &&str| format!("{{ name = \"{name}\", path = \"{}\" }}", path.display());
    let all: Vec<String> = names.iter().map(each).collect();
    format!("[audio]\nmodels = [{}]\n", all.join(", "))
}

/// Has somebody with that model look at what is no recording.
async fn look(lobby: &Lobby, model: &str) {
    let reply = patiently(&lobby.pannier, &form(TRANSCRIPTIONS, NONE, &[("model", model)])).await;
    assert!([400, 415].contains(&reply.status()), "{model}: {}", reply.text());
}

#[tokio::test]
async fn of_several_models_the_one_that_is_longest_unused_makes_room() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("some.bin");
    std::fs::write(&path, Lobby::weights()).expect("room");
    // Each may take some 315 MiB.
    let settings = |launch: Launch| {
        let launch = launch.file(&models(&["one", "two", "three"], &path));
        launch.set("audio.max_memory", "700MiB").set("audio.max_duration", "10s")
    };
    let lobby = Lobby::open_with(settings).await;
    let there = || transcribers(&lobby.pannier);
    look(&lobby, "one").await;
    let [one] = there()[..] else { panic!("one is there") };
    look(&lobby, "two").await;
    let two = there().into_iter().find(|id| *id != one).expect("another");
    // Whoever is there is asked again.
    for model in ["one", "two", "one"] {
        look(&lobby, model).await;
    }
    assert_eq!(there().len(), 2);
    look(&lobby, "three").await;
    eventually("two is gone", || async { (!there().contains(&two)).then_some(()) }).await;
    assert_eq!((there().len(), there().contains(&one)), (2, true));
    look(&lobby, "two").await;
    eventually("one is gone", || async { (!there().contains(&one)).then_some(()) }).await;
    assert_eq!(there().len(), 2);
    assert_eq!(lobby.pannier.metrics().await.sum("pannier_media_worker_restarts_total", &[]), 0.0);
}

/// With weights that lie elsewhere, under a name of the operator's.
#[tokio::test]
async fn several_models_listen_side_by_side() {
    let Some(assets) = assets() else { return };
    let own = models(&["mine"], &assets.join("whisper/ggml-tiny-q5_1.bin"));
    let settings = |launch: Launch| launch.file(&own).set("audio.workers", "2");
    let Some(studio) = Studio::open_with(settings).await else { return };
    let (held, listener) = studio.held().await;
    let mine = [("model", "mine"), ("language", "en"), ("response_format", "text")];
    let said = studio.hear("goforward.wav", &mine).await.fine().text();
    assert!(said.contains("forward"), "{said}");
    let calls = [("operation", "transcription"), ("model", "whisper:mine")];
    studio.pannier.counts("pannier_llm_requests_total", &calls, 1.0).await;
    assert_eq!(transcribers(&studio.pannier).len(), 2);
    signal("KILL", listener);
    drop(held);
}

#[tokio::test]
async fn whoever_waits_too_long_is_told_so() {
    let lobby = Lobby::open_with(|launch| launch.set("audio.timeout", "300ms")).await;
    look(&lobby, "tiny").await;
    let [listener] = transcribers(&lobby.pannier)[..] else { panic!("one is there") };
    signal("STOP", listener);
    let ask = |file: &[u8]| form(TRANSCRIPTIONS, file, &[]);
    let (one, other) = (ask(b"one"), ask(b"another"));
    let asks = [&one, &other].map(|ask| Box::pin(patiently(&lobby.pannier, ask)));
    // One has a turn, and the other would.
    let (late, _, rest) = futures_util::future::select_all(asks).await;
    assert_eq!((late.status(), late.code()), (503, Some("overloaded")), "{}", late.text());
    assert!(late.field("retry-after").is_some() && late.text().contains("wait"), "{}", late.text());
    signal("CONT", listener);
    for reply in rest {
        let reply = reply.await;
        assert!([400, 415].contains(&reply.status()), "{}", reply.text());
    }
    look(&lobby, "tiny").await;
}

/// One who sends many keeps another waiting for one of them.
#[tokio::test]
async fn each_client_has_a_turn_after_the_other() {
    const KEYS: &str = "[[auth.keys]]\nname = \"many\"\nteam = \"red\"\nkey = \"key-of-many\"\n\
                        [[auth.keys]]\nname = \"one\"\nteam = \"blue\"\nkey = \"key-of-one\"\n";
    let Some(studio) = Studio::open_with(|launch| launch.file(KEYS)).await else { return };
    let ask = |key: &str, prompt: &str| {
        let fields = [&FIELDS[..], &[("prompt", prompt)]].concat();
        // Each in a file of its own: who sends the same waits for whoever opens it.
        let file = [&studio.recording("goforward.wav")[..], key.as_bytes(), prompt.as_bytes()].concat();
        let ask = form(TRANSCRIPTIONS, &file, &fields);
        ask.with("Authorization", &format!("Bearer {key}"))
    };
    let mut first = studio.pannier.open().await;
    first.ask(&studio.long().with("Authorization", "Bearer key-of-many")).await;
    let listener = studio.hold().await;
    let mut waiting = Vec::new();
    for (at, (key, prompt)) in
        (1..).zip([("many", "Go."), ("many", "Stop."), ("many", "Turn."), ("one", "Go.")])
    {
        let mut wire = studio.pannier.open().await;
        wire.ask(&ask(&format!("key-of-{key}"), prompt)).await;
        studio
            .pannier
            .counts("pannier_internal_size", &[("what", "recordings_waiting")], f64::from(at))
            .await;
        waiting.push(wire);
    }
    signal("KILL", listener);
    for wire in waiting {
        faults::reply(wire).await.fine();
    }
    // Each has its line as soon as it is answered.
    let order = || {
        let lines = studio.pannier.stdout();
        let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines = lines.filter(|line| line["msg"] == "request" && line["status"] == 200);
        lines.filter_map(|line| line["key_id"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    eventually("all are written down", || async { (order().len() == 4).then_some(()) }).await;
    assert_eq!(order(), ["many", "one", "many", "many"]);
}

/// Its memory is taken away in the middle of its work: it says that it cannot go on, or dies of it.
#[tokio::test]
async fn one_that_has_no_memory_left_is_replaced() {
    let Some(studio) = Studio::open().await else { return };
    // The model is there, and nothing has been listened to yet.
    studio.hear("silence_5s.wav", &FIELDS).await.fine();
    let [listener] = transcribers(&studio.pannier)[..] else { panic!("one is there") };
    // Enough to open a recording, and not to listen to it.
    let most = data_of(listener) + (16 << 20);
    let limited = std::process::Command::new("prlimit")
        .args([format!("--pid={listener}"), format!("--data={most}")])
        .status();
    assert!(limited.expect("prlimit").success());
    let reply = studio.hear("jfk.wav", &FIELDS).await;
    let told = [(500, Some("internal")), (502, Some("upstream_aborted"))];
    assert!(told.contains(&(reply.status(), reply.code())), "{} {}", reply.status(), reply.text());
    assert!(reply.text().contains("listen"), "{}", reply.text());
    let said = studio.hear("jfk.wav", &FIELDS).await.fine();
    assert_eq!(error_rate(&said.json()["text"], SENTENCE), 0.0);
    assert!(!transcribers(&studio.pannier).contains(&listener));
    studio.pannier.counts("pannier_media_worker_restarts_total", &[], 1.0).await;
}

#[tokio::test]
async fn silence_is_left_out_only_where_that_is_wanted() {
    let Some(studio) = Studio::open_with(|launch| launch.set("audio.vad", "false")).await else { return };
    let said = studio.hear("silence_5s.wav", &[("model", "tiny"), ("language", "en")]).await.fine();
    assert_ne!(said.json()["text"], "", "a model that hears nothing says so, or invents something");
}

/// The weights of five bits lie in memory as such of eight, where that is wanted and can be, and hear the same.
#[tokio::test]
async fn weights_are_unpacked_only_where_that_is_wanted_and_can_be() {
    let Some(assets) = assets() else { return };
    let plain = assets.join("whisper/ggml-tiny-q5_1.bin");
    // The first numbers of the first word have nearly no steps between them.
    let mut weights = std::fs::read(&plain).expect("weights");
    let name = b"decoder.token_embedding.weight";
    let begins = weights.windows(name.len()).position(|some| some == name).expect("its words") + name.len();
    weights[begins..begins + 2].copy_from_slice(&[0, 4]);
    let folder = TempDir::new().expect("a folder");
    let odd = folder.path().join("odd.bin");
    std::fs::write(&odd, weights).expect("room");
    let mut taken = Vec::new();
    for (path, unpack) in [(&plain, "true"), (&plain, "false"), (&odd, "true")] {
        let settings = |launch: Launch| launch.file(&models(&["mine"], path)).set("audio.unpack", unpack);
        let Some(studio) = Studio::open_with(settings).await else { return };
        let said = studio.hear("jfk.wav", &[("model", "mine"), ("language", "en")]).await.fine();
        assert_eq!(error_rate(&said.json()["text"], SENTENCE), 0.0);
        let [listener] = transcribers(&studio.pannier)[..] else { panic!("one is there") };
        taken.push(data_of(listener));
    }
    // 43 MB instead of 32.
    assert!(taken[0] > taken[1] + (8 << 20) && taken[0] > taken[2] + (8 << 20), "{taken:?}");
}
