//! What is appended is read again, whatever happened in between.

use super::read::{self, Stretch};
use super::room::{Room, Rooms};
use super::segment::{self, HEAD, LONGEST, Segment};
use super::*;
use crate::domain::{
    Consumer, Ended, Ending, Kind, Observed, RequestId, Rights, Route, Scope, Source, Usage,
};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

pub(super) const EVERY: Sync = Sync::Every(Duration::from_millis(100));

pub(super) fn consumer(name: &str) -> Arc<Consumer> {
    Arc::new(Consumer {
        name: name.into(),
        team: "lab".into(),
        scope: Scope([0; 32]),
        rights: Rights::default(),
    })
}

fn told(request: RequestId) -> Told<'static> {
    Told { first_byte: None, ..Told::hit(request, Duration::from_micros(12), None) }
}

/// An entry, whatever it is.
pub(crate) fn write(spool: &Spool) {
    spool.answer(&told(RequestId::new(SystemTime::now())), &consumer("alice"), &subject(spool));
}

/// A folder whose files are on a disk, and not in memory alone. `None`, and a word about it, where there is none.
pub(crate) fn on_disk() -> Option<tempfile::TempDir> {
    let near = std::env::current_exe().unwrap();
    for place in [std::env::temp_dir(), near.parent().unwrap().to_owned()] {
        let Ok(folder) = tempfile::tempdir_in(place) else { continue };
        let other = spool(folder.path(), 1 << 16, 1 << 16);
        write(&other);
        other.current.load().as_ref().unwrap().segment.file().sync_all().unwrap();
        if !is_dirty(folder.path()) {
            drop(other);
            return tempfile::tempdir_in(folder.path().parent().unwrap()).ok();
        }
    }
    let _ = writeln!(std::io::stderr(), "SKIPPED: what is safe from a power cut: the folders are on no disk");
    None
}

/// Whether something was written through a map of a file in `folder` that the disk has not.
pub(crate) fn is_dirty(folder: &Path) -> bool {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let maps: Vec<&str> = maps.split(folder.to_str().unwrap()).skip(1).collect();
    assert!(!maps.is_empty(), "no file is mapped there");
    let figures = maps.iter().flat_map(|map| map.split("VmFlags").next().unwrap().lines());
    figures.into_iter().any(|line| line.contains("_Dirty:") && !line.ends_with(" 0 kB"))
}

fn room(bytes: u64) -> Room {
    Rooms::new(bytes).take(bytes).unwrap()
}

fn oldest(spool: &Spool) -> Reel {
    spool.oldest().unwrap()
}

fn spool(folder: &Path, segment: u64, most: u64) -> Spool {
    Spool::open(folder, Bounds { segment, most }, EVERY).unwrap()
}

/// Bytes of all files in a folder.
fn bytes(folder: &Path) -> u64 {
    std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

/// What stands in it from there on.
fn look(segment: &Segment, from: u64, is_over: bool) -> Stretch {
    read::read(segment.file(), &segment.name, (from, u64::MAX), is_over, Vec::new()).unwrap()
}

pub(super) fn subject(spool: &Spool) -> Arc<Symbol> {
    spool.symbols().subject(Route { template: "/api/chat", dialect: "ollama" }, None)
}

fn ids(reel: &Reel) -> Vec<RequestId> {
    let (mut at, mut ids) = (0, Vec::new());
    loop {
        let (stretch, is_end) = reel.read(at, Vec::new()).unwrap();
        if is_end || (stretch.is_empty() && stretch.end <= at.max(HEAD)) {
            return ids;
        }
        at = stretch.end;
        let answers = stretch.bodies().map(|body| Entry::read(body).unwrap());
        ids.extend(answers.filter_map(|entry| match entry {
            Entry::Answer(answer) => Some(answer.request),
            _ => None,
        }));
    }
}

#[test]
fn an_entry_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), 1 << 16, 1 << 20);
    let observed = Observed {
        usage: Usage {
            source: Source::Upstream,
            prompt: 300,
            cached_prompt: 2,
            completion: u64::MAX,
            reasoning: 1,
            images: 7,
            audio: Duration::from_micros(1_500_001),
        },
        ..Observed::default()
    };
    let request = RequestId::new(SystemTime::now());
    let left = Told {
        ending: Ending::Broken(Kind::ClientGone),
        observed: Some(&observed),
        message: "the client left",
        amends: Some((200, Duration::from_millis(3))),
        ..told(request)
    };
    spool.answer(&left, &consumer("alice"), &subject(&spool));
    let (stretch, is_end) = oldest(&spool).read(0, Vec::new()).unwrap();
    assert!(!is_end);
    let entries: Vec<Entry<'_>> = stretch.bodies().map(|body| Entry::read(body).unwrap()).collect();
    let [
        Entry::Account { key: "alice", team: "lab", .. },
        Entry::Subject { subject, .. },
        Entry::Answer(answer),
    ] = &entries[..]
    else {
        panic!("{entries:?}");
    };
    assert_eq!((subject.endpoint, subject.dialect, subject.model), ("/api/chat", "ollama", ""));
    let amends = Some((200, Duration::from_millis(3)));
    assert_eq!((answer.request, answer.amends, answer.ending), (request, amends, Ended::Broken));
    assert_eq!((answer.error, answer.message), ("client_gone", "the client left"));
    assert_eq!(answer.observed.unwrap().usage, observed.usage);
    assert_eq!((answer.total, answer.first_byte), (Duration::from_micros(12), None));
}

#[test]
fn many_threads_lose_nothing_over_many_files() {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), 1 << 16, 1 << 24);
    let written: Vec<RequestId> = std::thread::scope(|scope| {
        let write = |name: String| {
            let spool = &spool;
            move || {
                let (subject, consumer) = (subject(spool), consumer(&name));
                let write = |_| {
                    let request = RequestId::new(SystemTime::now());
                    spool.answer(&told(request), &consumer, &subject);
                    request
                };
                (0..3_000).map(write).collect::<Vec<_>>()
            }
        };
        let threads: Vec<_> = (0..4).map(|n| scope.spawn(write(format!("key {n}")))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut found = Vec::new();
    loop {
        let reel = oldest(&spool);
        found.extend(ids(&reel));
        if !reel.is_over() {
            break;
        }
        spool.remove(&reel).unwrap();
    }
    let sorted = |mut ids: Vec<RequestId>| {
        ids.sort_by_key(|id| id.0);
        ids
    };
    assert_eq!(sorted(found), sorted(written));
    assert_eq!(spool.lost(), 0);
}

#[test]
fn each_file_says_itself_what_its_numbers_mean() {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), 1 << 16, 1 << 20);
    let (subject, alice) = (subject(&spool), consumer("alice"));
    let first = oldest(&spool).path().to_owned();
    while !oldest(&spool).is_over() {
        spool.answer(&told(RequestId::new(SystemTime::now())), &alice, &subject);
    }
    spool.remove(&oldest(&spool)).unwrap();
    let second = oldest(&spool);
    assert_ne!(second.path(), first);
    let (stretch, _) = second.read(0, Vec::new()).unwrap();
    let first = stretch.bodies().next().and_then(Entry::read);
    assert!(matches!(first, Some(Entry::Account { key: "alice", .. })), "{first:?}");
}

#[test]
fn what_a_killed_thread_left_open_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let segment = Segment::create(folder.path(), room(1 << 16)).unwrap();
    let bodies: Vec<Vec<u8>> = (1..200_u8).map(|n| vec![n; usize::from(n)]).collect();
    let mut starts = vec![HEAD];
    for body in &bodies {
        starts.push(segment.append(&[body]).unwrap());
    }
    for (n, start) in starts.iter().enumerate().take(bodies.len()) {
        // As if the thread had been killed before the first word was stored, or in the midst of the body.
        if n % 5 == 1 {
            segment.file().write_all_at(&[0; 8], *start).unwrap();
        }
        if n % 5 == 3 {
            segment.file().write_all_at(&[0xff], *start + 8).unwrap();
        }
    }
    let stretch = look(&segment, 0, true);
    let whole =
        bodies.iter().enumerate().filter(|(n, _)| n % 5 != 1 && n % 5 != 3).map(|(_, body)| &body[..]);
    assert!(stretch.bodies().eq(whole));
    let alive = look(&segment, 0, false);
    assert_eq!(alive.bodies().count(), 1, "what is not there yet is waited for");
}

#[test]
fn an_entry_of_another_place_or_another_file_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = [1 << 16, 1 << 16].map(|size| Segment::create(folder.path(), room(size)).unwrap());
    one.append(&[b"an entry"]).unwrap();
    let mut entry = [0; 16];
    one.file().read_exact_at(&mut entry, HEAD).unwrap();
    one.file().write_all_at(&entry, HEAD + 16).unwrap();
    other.file().write_all_at(&entry, HEAD).unwrap();
    assert_eq!(look(&one, 0, true).bodies().count(), 1);
    assert_eq!(look(&other, 0, true).bodies().count(), 0);
}

#[test]
fn a_long_hole_is_passed_over_and_a_long_stretch_comes_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let segment = Segment::create(folder.path(), room(4 << 20)).unwrap();
    let body = vec![7; LONGEST];
    let mut count = 0;
    let mut hole = 0..0;
    while let Ok(end) = segment.append(&[&body]) {
        count += 1;
        if count == 100 {
            hole.start = end;
        }
        if count == 700 {
            hole.end = end;
        }
    }
    segment.file().write_all_at(&vec![0; (hole.end - hole.start) as usize], hole.start).unwrap();
    let (mut at, mut found) = (0, 0);
    loop {
        let stretch = look(&segment, at, true);
        if stretch.is_empty() && stretch.end <= at {
            break;
        }
        found += stretch.bodies().count();
        at = stretch.end;
    }
    assert_eq!(found, count - 600);
}

#[test]
fn what_is_full_says_so_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), 1 << 16, 2 << 16);
    let (subject, alice) = (subject(&spool), consumer("alice"));
    let write = || spool.answer(&told(RequestId::new(SystemTime::now())), &alice, &subject);
    while spool.lost() == 0 {
        write();
    }
    assert!(spool.is_full());
    assert_eq!(spool.held(), 2 << 16);
    spool.remove(&oldest(&spool)).unwrap();
    let lost = spool.lost();
    write();
    assert!(!spool.is_full());
    assert_eq!(spool.lost(), lost);
}

#[test]
fn who_finds_the_last_room_taken_for_the_next_file_waits_for_that() {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), 1 << 16, 2 << 16);
    let making = spool.making();
    let next = spool.make_next().unwrap();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| (0..2_000).for_each(|_| write(&spool)));
        while spool.current.load().as_ref().unwrap().segment.len() < (1 << 16) - 256 {
            std::thread::yield_now();
        }
        // Long enough for whoever would not wait.
        std::thread::sleep(Duration::from_millis(50));
        assert!(!writing.is_finished());
        spool.files().next = Some(next);
        drop(making);
    });
    assert_eq!((spool.lost(), spool.is_full(), spool.held()), (0, false, 2 << 16));
}

#[test]
fn what_is_left_behind_is_adopted_once_its_process_is_dead() {
    let folder = tempfile::tempdir().unwrap();
    let (dead, living) = (spool(folder.path(), 1 << 16, 1 << 20), spool(folder.path(), 1 << 16, 1 << 20));
    let request = RequestId::new(SystemTime::now());
    dead.answer(&told(request), &consumer("alice"), &subject(&dead));
    assert!(living.adopt().unwrap().orphans.is_empty(), "its process lives");
    drop(dead);
    std::fs::write(folder.path().join("other.txt"), "not ours").unwrap();
    let orphans = living.adopt().unwrap().orphans;
    assert_eq!(orphans.iter().map(ids).collect::<Vec<_>>(), [[request]]);
    assert!(living.adopt().unwrap().orphans.is_empty(), "it is in hand");
    orphans.iter().for_each(|orphan| living.remove(orphan).unwrap());
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 2, "the living one's, and what is not ours");
}

#[test]
fn no_segment_is_made_where_there_is_no_place() {
    assert!(Segment::create(Path::new("/nowhere/at/all"), room(1 << 16)).is_err());
    let folder = tempfile::tempdir().unwrap();
    assert!(segment::adopt(&folder.path().join("missing.spool")).is_err());
}

#[test]
fn what_was_removed_between_a_look_and_its_claim_is_nobodys() {
    let folder = tempfile::tempdir().unwrap();
    let segment = Segment::create(folder.path(), room(1 << 16)).unwrap();
    segment.append(&[b"an entry"]).unwrap();
    let seen = File::open(&segment.path).unwrap();
    std::fs::remove_file(&segment.path).unwrap();
    drop(segment);
    assert!(segment::claim(seen).unwrap().is_none(), "all of it is in the database");
}

#[test]
fn what_is_held_is_what_the_files_take() {
    let folder = tempfile::tempdir().unwrap();
    let dead = spool(folder.path(), 1 << 16, 1 << 20);
    (0..4_000).for_each(|_| write(&dead));
    dead.tend();
    assert_eq!(dead.held(), bytes(folder.path()), "with the next, which is ready");
    drop(dead);
    let living = spool(folder.path(), 1 << 17, 1 << 20);
    let orphans = living.adopt().unwrap().orphans;
    assert!(orphans.len() > 2 && living.adopt().unwrap().orphans.is_empty());
    assert_eq!(living.held(), bytes(folder.path()));

    // One that cannot be removed for a while, since something else is in its place.
    let path = orphans[0].path();
    std::fs::remove_file(path).unwrap();
    std::fs::create_dir(path).unwrap();
    let held = living.held();
    assert!(living.remove(&orphans[0]).is_err() && living.remove(&orphans[0]).is_err());
    assert_eq!(living.held(), held);
    std::fs::remove_dir(path).unwrap();
    orphans.iter().for_each(|orphan| living.remove(orphan).unwrap());
    drop(orphans);
    assert_eq!((living.held(), bytes(folder.path())), (1 << 17, 1 << 17));
}

#[test]
fn where_there_is_no_place_at_first_it_begins_when_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("spool");
    std::fs::write(&place, "in the way").unwrap();
    let spool = Spool::new(&place, Bounds::of(1 << 20), EVERY);
    assert!(spool.begin().is_err() && spool.is_full());
    write(&spool);
    spool.tend();
    assert_eq!((spool.lost(), spool.held()), (1, 0));
    assert!(spool.oldest().is_none());
    std::fs::remove_file(&place).unwrap();
    assert!(spool.adopt().unwrap().orphans.is_empty(), "there is not even a folder");
    let begun = Instant::now();
    while spool.is_full() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not begin");
        std::thread::sleep(Duration::from_millis(20));
        spool.tend();
    }
    write(&spool);
    assert_eq!((ids(&oldest(&spool)).len(), spool.lost()), (1, 1));
}

#[test]
fn each_entry_is_safe_from_a_power_cut_where_that_is_wished() {
    let Some(folder) = on_disk() else { return };
    for (sync, is_safe) in [(Sync::Each, true), (EVERY, false)] {
        let place = folder.path().join(format!("{is_safe}"));
        let spool = Spool::open(&place, Bounds::of(1 << 20), sync).unwrap();
        write(&spool);
        assert_eq!(is_dirty(&place), !is_safe);
    }
}
