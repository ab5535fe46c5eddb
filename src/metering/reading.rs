//! A file of the spool that is being read, and how far it is in the database.

use super::names::Names;
use super::spool::{AnswerEntry, Entry, Reel, Stretch, TripEntry};
use std::io;
use std::path::PathBuf;

/// A file that is being read.
pub(super) struct Reading {
    pub reel: Reel,
    /// Up to here it is in the database; not known before that was asked.
    pub place: Option<u64>,
    /// What the database says of that; not all that is read is written.
    pub written: u64,
    pub names: Names,
    pub doubt: Doubt,
    /// Where the next look goes.
    buffer: Vec<u8>,
}

/// The database refuses something: how that is narrowed down to the one entry.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    /// How often it has, in this file. Once that was often enough nothing of the file is waited for any more.
    times: u32,
    /// So many entries are tried at once, until all goes well again.
    most: Option<usize>,
}

/// What there is to be taken over.
pub(super) enum Look {
    Entries(Stretch),
    Nothing(Step),
}

/// What one step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There may be more.
    On,
    /// All of the file is in the database, and no more will come.
    Over,
    /// All that is there is in the database.
    CaughtUp,
}

/// What is to be done about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Try the same again later: it may be the database's trouble and not the entry's.
    Wait,
    /// Try less of it.
    Narrow,
    /// It is this one.
    Guilty,
}

/// What is refused for so many times is looked into.
const TRIES: u32 = 3;

impl Reading {
    pub fn new(reel: Reel) -> Self {
        let (names, doubt, buffer) = (Names::default(), Doubt::default(), Vec::new());
        Reading { reel, place: None, written: 0, names, doubt, buffer }
    }

    /// What there is from `place` on, or as much of it as is to be tried at once.
    pub fn look(&mut self, place: u64) -> io::Result<Look> {
        let (mut stretch, is_end) = self.reel.read(place, std::mem::take(&mut self.buffer))?;
        if is_end {
            return Ok(Look::Nothing(Step::Over));
        }
        if stretch.is_empty() {
            self.place = Some(stretch.end);
            let step = if stretch.end > place { Step::On } else { Step::CaughtUp };
            return Ok(Look::Nothing(step));
        }
        self.doubt.narrow(&mut stretch);
        Ok(Look::Entries(stretch))
    }

    /// All of `stretch` has come into the database now.
    pub fn pass_by(&mut self, stretch: Stretch) {
        self.pass(stretch.end);
        self.buffer = stretch.into_buffer();
    }

    /// All up to `place` has come into the database now.
    pub fn pass(&mut self, place: u64) {
        (self.place, self.written) = (Some(place), place);
        self.doubt.trust();
    }

    /// All up to `place` is in the database: learns what the numbers mean that stand there.
    pub fn resume(&mut self, place: u64) -> io::Result<()> {
        let names = &mut self.names;
        each(&self.reel, place, |_, entry| names.learn(entry))?;
        (self.place, self.written) = (Some(place), place);
        Ok(())
    }

    /// Puts the only entry of `stretch`, which the database refuses, aside in a file.
    pub fn put_aside(&self, stretch: &Stretch) -> io::Result<PathBuf> {
        let body = stretch.bodies().next().unwrap_or_default();
        let mut meanings = Vec::new();
        if let Some(Entry::Trip(TripEntry { account, subject, .. }))
        | Some(Entry::Answer(AnswerEntry { account, subject, .. }))
        | Some(Entry::Hits { one: AnswerEntry { account, subject, .. }, .. }) = Entry::read(body)
        {
            each(&self.reel, self.written, |body, entry| match entry {
                Entry::Account { id, .. } if *id == account => meanings.push(body.to_vec()),
                Entry::Subject { id, .. } if *id == subject => meanings.push(body.to_vec()),
                _ => {}
            })?;
        }
        self.reel.put_aside(stretch.end, &meanings, body)
    }
}

impl Doubt {
    /// Leaves so much of `stretch` as is to be tried at once.
    fn narrow(&mut self, stretch: &mut Stretch) {
        self.most = self.most.filter(|most| *most < stretch.len());
        self.most.iter().for_each(|most| stretch.cut(*most));
    }

    /// What was tried is behind: twice as much is tried next.
    fn trust(&mut self) {
        self.most = self.most.map(|most| most.saturating_mul(2));
    }

    /// `stretch` was refused.
    pub fn judge(&mut self, stretch: &Stretch) -> Verdict {
        self.times = self.times.saturating_add(1);
        if self.times < TRIES {
            return Verdict::Wait;
        }
        self.most = Some((stretch.len() / 2).max(1));
        if stretch.len() > 1 { Verdict::Narrow } else { Verdict::Guilty }
    }
}

/// Shows the entries of `reel` up to `place`, and what is read along with them.
fn each(reel: &Reel, place: u64, mut show: impl FnMut(&[u8], &Entry<'_>)) -> io::Result<()> {
    let mut at = 0;
    while at < place {
        let (stretch, _) = reel.read(at, Vec::new())?;
        for body in stretch.bodies() {
            Entry::read(body).iter().for_each(|entry| show(body, entry));
        }
        if stretch.end <= at {
            break;
        }
        at = stretch.end;
    }
    Ok(())
}
