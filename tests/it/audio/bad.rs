//! What is no recording, or no request for one: each is told why, soon, and nobody else notices.

use super::*;

/// Of a processor, for Pannier and whoever opens recordings for it: two seconds are what they may take where they are
/// made to be quick, which they are not here.
const SOON: Duration = Duration::from_secs(4);

/// FLAC's frames carry sums of their own.
fn crc(bytes: &[u8], width: u32, polynomial: u32) -> u32 {
    let top = 1 << (width - 1);
    let step = |sum: u32| if sum & top == 0 { sum << 1 } else { (sum << 1) ^ polynomial };
    let sum = bytes
        .iter()
        .fold(0, |sum: u32, byte| (0..8).fold(sum ^ (u32::from(*byte) << (width - 8)), |sum, _| step(sum)));
    sum & ((top << 1).wrapping_sub(1))
}

/// A day of silence, at 16 kHz, in a few bytes a frame of 65,535 samples.
fn a_day_of_silence() -> Vec<u8> {
    const SAMPLES: u32 = 24 * 3600 * 16_000;
    const BLOCK: u32 = 65_535;
    let mut file = b"fLaC".to_vec();
    file.extend([0x80, 0, 0, 34]);
    file.extend([BLOCK as u16, BLOCK as u16].iter().flat_map(|size| size.to_be_bytes()));
    file.extend([0; 6]);
    // 20 bits of rate, 3 of channels, 5 of depth, 36 of length.
    let figures = (16_000u64 << 44) | (15 << 36) | u64::from(SAMPLES);
    file.extend(figures.to_be_bytes());
    file.extend([0; 16]);
    for number in 0..SAMPLES / BLOCK {
        let mut frame = vec![0xff, 0xf8, 0x75, 0x08];
        // As UTF-8 would write a letter of that number.
        frame.extend(char::from_u32(number).expect("a small number").to_string().as_bytes());
        frame.extend((BLOCK as u16 - 1).to_be_bytes());
        frame.push(crc(&frame, 8, 0x07) as u8);
        // One value for all of it.
        frame.extend([0, 0, 0]);
        let sum = crc(&frame, 16, 0x8005) as u16;
        frame.extend(sum.to_be_bytes());
        file.extend(frame);
    }
    file
}

/// With something else in its head.
fn altered(mut wav: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    wav[at..at + bytes.len()].copy_from_slice(bytes);
    wav
}

fn noise(bytes: u32) -> Vec<u8> {
    (0..bytes).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// What a Pannier and whoever opens recordings for it take of a processor: what else the machine does is not counted.
struct Watch<'a> {
    pannier: &'a Pannier,
    before: Duration,
}

impl<'a> Watch<'a> {
    fn of(pannier: &'a Pannier) -> Self {
        Watch { pannier, before: Watch::taken(pannier) }
    }

    /// Those who have ended are counted where they came from.
    fn taken(pannier: &Pannier) -> Duration {
        let ticks = |id: u32, fields: usize| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            // Behind the name: its own two times are the twelfth and the next, and then those of its children.
            let times = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(fields);
            times.filter_map(|time| time.parse::<u64>().ok()).sum::<u64>()
        };
        let listeners = transcribers(pannier).into_iter().map(|id| ticks(id as u32, 2)).sum::<u64>();
        // Hundredths of a second.
        Duration::from_millis(10 * (listeners + ticks(pannier.id(), 4)))
    }

    /// The answer to `what` has taken little since the last.
    fn was_soon(&mut self, what: &str, reply: &Reply) {
        let now = Watch::taken(self.pannier);
        let took = now.saturating_sub(self.before);
        self.before = now;
        println!("{what}: {} {} after {took:?}", reply.status(), reply.code().unwrap_or_default());
        assert!(took < SOON, "{what} took {took:?}");
    }
}

fn silence() -> Vec<u8> {
    wav(16_000, std::iter::repeat_n(0, 16_000))
}

#[tokio::test]
async fn bad_recordings_are_refused_in_the_routes_own_words() {
    let lobby = Lobby::open().await;
    let cases: Vec<(&str, Vec<u8>, &[u16])> = vec![
        ("nothing", Vec::new(), &[400]),
        ("noise", noise(10_000), &[400, 415]),
        ("a WAV's first bytes", silence()[..20].to_vec(), &[400, 415]),
        ("a WAV without samples", silence()[..44].to_vec(), &[400]),
        ("a WAV of 0 Hz", altered(silence(), 24, &[0; 4]), &[400, 415]),
        ("a WAV of 1 Hz", altered(silence(), 24, &1u32.to_le_bytes()), &[413]),
        ("a WAV of 3 MHz", altered(silence(), 24, &3_000_000u32.to_le_bytes()), &[400, 415]),
        ("a WAV of no channel", altered(silence(), 22, &[0; 2]), &[400, 415]),
        ("a WAV of 255 channels", altered(silence(), 22, &255u16.to_le_bytes()), &[400, 415]),
        ("a WAV of an unknown kind", altered(silence(), 20, &0x7777u16.to_le_bytes()), &[400, 415]),
        ("a day of silence", a_day_of_silence(), &[413]),
        ("half a page of OGG", b"OggS\0\x02\0\0\0\0\0\0\0\0".to_vec(), &[400, 415]),
        ("an MP4 of a thousand million samples", mp4(), &[400, 415]),
        ("a tag and nothing else", [&b"ID3\x04\0\0\x7f\x7f\x7f\x7f"[..], &[0; 64]].concat(), &[400, 415]),
        ("PNG", b"\x89PNG\r\n\x1a\n".to_vec(), &[415]),
        ("PDF", b"%PDF-1.7\n".to_vec(), &[415]),
        ("a script", b"<script>alert(1)</script>".to_vec(), &[400, 415]),
        ("AMR", b"#!AMR\n\x3c".to_vec(), &[415]),
        ("20 MB of noise", noise(20 << 20), &[400, 415]),
        ("20 MB of what MP3 begins with", b"\xff\xfb\x90\0".repeat(5 << 20), &[400, 415]),
        ("20 MB of pages of OGG", b"OggS".repeat(5 << 20), &[400, 415]),
        ("17 hours at 1 kHz", wav(1_000, std::iter::repeat_n(0, 10 << 20)), &[413]),
    ];
    let there = files(&lobby.pannier.data_dir);
    let mut watch = Watch::of(&lobby.pannier);
    for (what, file, statuses) in cases {
        let reply = patiently(&lobby.pannier, &form(TRANSCRIPTIONS, &file, &[])).await;
        assert!(statuses.contains(&reply.status()), "{what}: {} {}", reply.status(), reply.text());
        assert!(reply.json()["error"]["message"].is_string(), "{what}: {}", reply.text());
        watch.was_soon(what, &reply);
        let native = patiently(&lobby.pannier, &form("/audio/upload/transcribe", &file, &[])).await;
        assert_eq!((native.status(), native.code()), (reply.status(), reply.code()), "{what}");
        assert!(native.json()["error"].is_string(), "{what}: {}", native.text());
        watch.was_soon(what, &native);
    }
    // Whoever opened all of that is there for the next, and took no more than it may over its model, which is empty.
    let [listener] = transcribers(&lobby.pannier)[..] else { panic!("one listens") };
    let most = most_resident(listener);
    assert!(most <= 256 << 20, "{} MiB", most >> 20);
    assert_eq!(lobby.pannier.metrics().await.sum("pannier_media_worker_restarts_total", &[]), 0.0);
    assert_eq!(files(&lobby.pannier.data_dir), there, "nothing is left of them");
}

/// The most bytes of memory that a process had.
fn most_resident(process: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// The names of all files in a folder, but for those in which the books and the cache are kept.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        match entry.file_type().expect("a type").is_dir() {
            true if entry.file_name() == "spool" => {}
            true => files.extend(self::files(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files.retain(|file| !file.to_string_lossy().contains(".db"));
    files.sort();
    files
}

/// Each kind of recording, cut off and altered: it is opened as far as it goes, or refused, by a process that goes on.
#[tokio::test]
async fn whatever_is_done_to_a_recording_nobody_dies_of_it() {
    let (Some(assets), lobby) = (assets(), Lobby::open().await) else { return };
    let mut watch = Watch::of(&lobby.pannier);
    for name in ["jfk.wav", "jfk.flac", "jfk.mp3", "jfk.m4a", "jfk.ogg", "jfk.opus", "jfk.webm"] {
        let whole = std::fs::read(assets.join("audio").join(name)).expect("a recording");
        let turned = |at: usize| {
            let mut file = whole.clone();
            file[at..at + 8].iter_mut().for_each(|byte| *byte = !*byte);
            file
        };
        for (what, file) in [
            ("half", whole[..whole.len() / 2].to_vec()),
            ("its first bytes", whole[..200].to_vec()),
            ("without its first bytes", whole[200..].to_vec()),
            ("other bytes at its begin", turned(16)),
            ("other bytes amidst it", turned(whole.len() / 2)),
        ] {
            let reply = patiently(&lobby.pannier, &form(TRANSCRIPTIONS, &file, &[])).await;
            let is_opened = reply.status() == 500 && reply.text().contains("model cannot be loaded");
            assert!(
                is_opened || [400, 415].contains(&reply.status()),
                "{name}, {what}: {} {}",
                reply.status(),
                reply.text()
            );
            watch.was_soon(&format!("{name}, {what}"), &reply);
            // What a decoder is told that does not get over it.
            assert!(!reply.text().contains("gave up"), "{name}, {what}: {}", reply.text());
        }
    }
}

/// Its reader does not come back for a long time, or wants more memory than there is: it is ended, and the next one is
/// there.
#[tokio::test]
async fn what_takes_too_much_is_given_up() {
    let lobby = Lobby::open().await;
    let mut watch = Watch::of(&lobby.pannier);
    let begin = |head: &[u8], piece: &[u8]| [head, &piece.repeat((60 << 20) / piece.len())].concat();
    let mut tag = b"ID3\x03\0\0\x1d\0\0\0".to_vec();
    tag.extend(b"TIT2\0\0\0\x01\0\0\0");
    for (what, file) in [
        ("60 MB of tags", begin(b"", b"ID3\x04\0\0\0\0\0\0")),
        ("a tag of 60 MB", begin(&tag, b"TIT2\0\0\0\x01\0\0\0")),
        ("60 MB of pieces of a WAV", begin(&silence()[..36], b"junk\0\0\0\0")),
        ("60 MB of pieces of an MP4", begin(b"\0\0\0\x14ftypM4A \0\0\0\0M4A ", b"\0\0\0\x08free")),
    ] {
        let reply = patiently(&lobby.pannier, &form(TRANSCRIPTIONS, &file, &[])).await;
        assert!([400, 415].contains(&reply.status()), "{what}: {} {}", reply.status(), reply.text());
        watch.was_soon(what, &reply);
    }
    let reply = patiently(&lobby.pannier, &form(TRANSCRIPTIONS, b"PK\x03\x04", &[])).await;
    assert_eq!((reply.status(), reply.code()), (415, Some("unsupported")), "{}", reply.text());
}

/// Speech that has been opened to its end before anybody said that it is too long would have taken seconds.
#[tokio::test]
async fn what_is_too_long_is_told_so_before_it_is_opened() {
    let (Some(assets), lobby) = (assets(), Lobby::open().await) else { return };
    let mut watch = Watch::of(&lobby.pannier);
    for name in ["jfk.ogg", "jfk.opus"] {
        let hours = std::fs::read(assets.join("audio").join(name)).expect("a recording").repeat(200);
        let reply = patiently(&lobby.pannier, &form(TRANSCRIPTIONS, &hours, &[])).await;
        assert_eq!((reply.status(), reply.code()), (413, Some("too_large")), "{name}: {}", reply.text());
        watch.was_soon(&format!("{} MiB of {name}", hours.len() >> 20), &reply);
    }
}

/// Its table of samples says that it has many more than there are bytes.
fn mp4() -> Vec<u8> {
    let atom = |name: &[u8], content: &[u8]| {
        let length = u32::try_from(content.len() + 8).expect("a short one");
        [&length.to_be_bytes()[..], name, content].concat()
    };
    let table = [&[0; 4][..], &0u32.to_be_bytes(), &1_000_000_000u32.to_be_bytes()].concat();
    let track = atom(b"trak", &atom(b"mdia", &atom(b"minf", &atom(b"stbl", &atom(b"stsz", &table)))));
    [atom(b"ftyp", b"M4A \0\0\0\0M4A "), atom(b"moov", &track)].concat()
}

/// What is broken in its middle is listened to as far as it goes, and what lies of its length too.
#[tokio::test]
async fn what_breaks_off_is_opened_as_far_as_it_goes() {
    let lobby = Lobby::open().await;
    let whole = silence();
    let mut floats = altered(silence(), 20, &3u16.to_le_bytes());
    floats[34..36].copy_from_slice(&32u16.to_le_bytes());
    floats[28..34].copy_from_slice(&[0, 0xfa, 0, 0, 4, 0]);
    floats[44..].chunks_exact_mut(4).for_each(|sample| sample.copy_from_slice(&f32::NAN.to_le_bytes()));
    for (what, file) in [
        ("whole", whole.clone()),
        ("half", whole[..whole.len() / 2].to_vec()),
        ("of 4 GB, by what it says", altered(whole.clone(), 40, &[0xff; 4])),
        ("of 4 GB in all", altered(altered(whole.clone(), 4, &[0xff; 4]), 40, &[0xff; 4])),
        ("of no length, by what it says", altered(whole.clone(), 4, &[0; 4])),
        ("of no length and no samples", altered(altered(whole, 4, &[0; 4]), 40, &[0; 4])),
        ("of nothing that is a number", floats),
    ] {
        let reply = lobby.pannier.ask(&form(TRANSCRIPTIONS, &file, &[])).await;
        // It was opened: only then is it noticed that there are no weights.
        assert_eq!(reply.status(), 500, "{what}: {}", reply.text());
        assert!(reply.text().contains("model cannot be loaded"), "{what}: {}", reply.text());
    }
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let lobby = Lobby::open().await;
    let part = "--edge\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\ny\r\n";
    let nested = "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\nContent-Type: \
                  multipart/form-data; boundary=edge2\r\n\r\n--edge2\r\n\r\n\r\n--edge2--\r\n\r\n--edge--\r\n";
    let multipart = |body: &str| {
        Ask::new("POST", TRANSCRIPTIONS)
            .with("Content-Type", "multipart/form-data; boundary=edge")
            .bytes(body.as_bytes().to_vec())
    };
    for (what, ask, status) in [
        ("JSON", Ask::post(TRANSCRIPTIONS, &json!({ "model": "tiny" })), 400),
        ("no file", multipart(&format!("{part}--edge--\r\n")), 400),
        ("ten thousand parts", multipart(&format!("{}--edge--\r\n", part.repeat(10_000))), 413),
        ("a form without end", multipart(part), 400),
        ("a form in a form", multipart(nested), 400),
        (
            "no boundary",
            Ask::new("POST", TRANSCRIPTIONS).with("Content-Type", "multipart/form-data").bytes(b"x".to_vec()),
            400,
        ),
        (
            "two formats",
            form(TRANSCRIPTIONS, &silence(), &[("response_format", "json"), ("response_format", "srt")]),
            400,
        ),
        ("an unknown format", form(TRANSCRIPTIONS, &silence(), &[("response_format", "docx")]), 400),
        ("no number", form(TRANSCRIPTIONS, &silence(), &[("temperature", "warm")]), 400),
        ("garbage", Ask::post("/audio/transcribe", &json!({ "audio": "!!!" })), 400),
        ("an address", Ask::post("/audio/transcribe", &json!({ "audio": "http://127.0.0.1/a.wav" })), 400),
        ("no text", Ask::post("/audio/transcribe", &json!({ "audio": [1, 2] })), 400),
        ("no JSON", Ask::new("POST", "/audio/transcribe").bytes(b"audio".to_vec()), 400),
    ] {
        let reply = lobby.pannier.ask(&ask).await;
        // Where it came to a recording, it may be of a kind that nobody listens to.
        let statuses = [status, if status == 400 { 415 } else { status }];
        assert!(statuses.contains(&reply.status()), "{what}: {} {}", reply.status(), reply.text());
        assert!(reply.json()["error"] != Value::Null, "{what}: {}", reply.text());
    }
    let line_breaks = "UklG\r\nRiQA\n AAB=";
    let reply = lobby.pannier.ask(&Ask::post("/audio/transcribe", &json!({ "audio": line_breaks }))).await;
    assert!(!reply.text().contains("not base64"), "{}", reply.text());
}

#[tokio::test]
async fn a_large_one_is_refused_before_it_is_read() {
    let lobby = Lobby::open_with(|launch| launch.set("server.max_body", "1MiB")).await;
    let reply = lobby.pannier.ask(&form(TRANSCRIPTIONS, &vec![0; 2 << 20], &[])).await;
    assert_eq!(reply.status(), 413);
    assert!(transcribers(&lobby.pannier).is_empty());
}

/// Of 100 MB that really come, whether their length is said before or not, most need not be sent any more.
#[tokio::test]
async fn a_hundred_megabytes_are_refused_before_they_are_all_there() {
    const PIECE: usize = 1 << 20;
    const ALL: usize = 100;
    let lobby = Lobby::open_with(|launch| launch.set("server.max_body", "10MiB")).await;
    for path in [TRANSCRIPTIONS, "/audio/upload/transcribe", "/audio/transcribe"] {
        for framing in [format!("Content-Length: {}", ALL * PIECE), "Transfer-Encoding: chunked".to_owned()] {
            let mut wire = lobby.pannier.open().await;
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\
                 Content-Type: multipart/form-data; boundary=edge\r\n\r\n"
            );
            wire.send(head.as_bytes()).await;
            let piece = match framing.starts_with('T') {
                true => [format!("{PIECE:x}\r\n").as_bytes(), &[b'-'; PIECE], b"\r\n"].concat(),
                false => vec![b'-'; PIECE],
            };
            let mut sent = 0;
            while sent < ALL && within("a piece to be taken", wire.try_send(&piece)).await.is_ok() {
                sent += 1;
                if tokio::time::timeout(Duration::from_millis(1), wire.something()).await.is_ok() {
                    break;
                }
            }
            let reply = wire.reply("POST").await;
            assert_eq!((reply.status(), reply.code()), (413, Some("too_large")), "{path}, {framing}");
            let error = &reply.json()["error"];
            assert_eq!(error["message"].is_string(), path == TRANSCRIPTIONS, "{path}: {error}");
            assert!(sent < ALL, "{path}, {framing}: all was sent");
        }
    }
    assert!(transcribers(&lobby.pannier).is_empty());
    lobby.pannier.counts("pannier_internal_size", &[("what", "held_body_bytes")], 0.0).await;
}
