//! Keeping up with the database: what others change there, and what it is told of last uses.

use super::Terms;
use super::register::{PATIENCE, Register};
use super::table::{Drawing, Table};
use crate::domain::{Error, Kind};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often it is looked whether another replica has changed something.
const LOOK: Duration = Duration::from_secs(2);
/// What one replica has changed is in force at the others within 5 s: it is looked for in time, and a database that
/// answers at all does so in time.
const _: () = assert!(LOOK.as_secs() + PATIENCE.as_secs() <= 5);
/// Of those looks, every so many times last uses are written down.
const LOOKS_A_NOTE: u32 = 5;
/// Last uses in one transaction.
const NOTED_AT_ONCE: usize = 200;

impl Register {
    /// Reads what is there, for as long as a start may wait for it.
    pub async fn begin(&self, patience: Duration) {
        let _ = timeout(patience, self.look()).await;
    }

    /// Keeps up with other replicas until `stop`, and writes down last uses.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0u32.. {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                _ = looks.tick() => {}
            }
            self.look().await;
            if number % LOOKS_A_NOTE == LOOKS_A_NOTE - 1 {
                let _ = self.note_uses().await;
            }
        }
        let _ = self.note_uses().await;
    }

    /// Reads anew, if anything has changed: by another replica, or here by somebody who has left before it was in
    /// force.
    async fn look(&self) {
        let version = self.stored.load().version;
        if self.pepper.is_none() {
            return;
        }
        let looked = async {
            self.claim().await?;
            match self.asked(self.keys.version()).await? == version {
                true => Ok(()),
                false => self.read_anew().await,
            }
        };
        let done: Result<(), Error> = looked.await;
        if done.is_ok() {
            self.is_up.store(true, Ordering::Relaxed);
        }
    }

    pub(super) async fn read_anew(&self) -> Result<(), Error> {
        let _turn = self.reading.lock().await;
        let (terms, before) = {
            let settings = self.settings();
            (settings.terms.clone(), self.stored.load_full())
        };
        let table = match self.asked(self.keys.changed_since(before.version)).await? {
            Some(changed) => Drawing::of_changed(&terms, &before, &changed),
            None => self.read_all(&terms, &before).await?,
        };
        // Held until the table is in force: the settings cannot change meanwhile.
        let settings = self.settings();
        let table = if settings.terms == terms { table } else { table.under(&settings.terms) };
        self.put_in_force(table);
        drop(settings);
        self.is_up.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn read_all(&self, terms: &Terms, before: &Table) -> Result<Table, Error> {
        // Before the keys: what changes meanwhile is found by the next look.
        let version = self.asked(self.keys.version()).await?;
        let number = self.asked(self.keys.count()).await?;
        let mut drawing = Drawing::new(terms, before, usize::try_from(number).unwrap_or(0));
        let mut last = String::new();
        loop {
            let rows = self.asked(self.keys.page(&last)).await?;
            rows.iter().for_each(|row| drawing.add(row));
            match rows.into_iter().last() {
                Some(row) => last = row.name,
                None => return Ok(drawing.done(version)),
            }
        }
    }

    async fn note_uses(&self) -> Result<(), Error> {
        let table = self.stored.load_full();
        let uses = table.unwritten_uses();
        for uses in uses.chunks(NOTED_AT_ONCE) {
            let by_id: Vec<_> = uses.iter().map(|(key, at)| (key.id(), *at)).collect();
            self.asked(self.keys.note_uses(&by_id)).await?;
            uses.iter().for_each(|(key, at)| key.uses_are_written(*at));
        }
        Ok(())
    }

    /// Makes sure that the digests in the database were made with this pepper.
    pub(super) async fn claim(&self) -> Result<(), Error> {
        let mark = self.pepper()?.mark();
        if self.is_ours.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.asked(self.keys.bears(&mark)).await? {
            true => {
                self.is_ours.store(true, Ordering::Relaxed);
                Ok(())
            }
            false => {
                let why = "the keys of the database were made with another store.pepper: they cannot be used";
                self.is_up.store(false, Ordering::Relaxed);
                if !self.is_foreign.swap(true, Ordering::Relaxed) {
                    tracing::error!("{why}");
                }
                Err(Error::new(Kind::Overloaded, why))
            }
        }
    }
}
