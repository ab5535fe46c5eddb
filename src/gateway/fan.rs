//! One request's texts that are not known, asked for a few at a time, and in the order in which they were asked.

use super::Way;
use super::answer::{Answer, Outcome};
use super::items::{ItemKey, Landed, fly};
use super::texts::Demand;
use crate::batch::Joint;
use crate::cache::{CacheKey, Kept, TierName};
use crate::domain::{Error, Kind};
use crate::flight::{Boarding, Event, Full, Seat};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What became of a text.
pub enum Found {
    Answered {
        answer: Arc<Answer>,
        /// The how-manieth of its texts it is.
        nth: usize,
        /// It was under way for somebody else.
        with_others: bool,
    },
    /// It was kept just now: here, or where another replica has it kept.
    Kept(Kept, TierName),
    /// It was kept by another replica, and is not what this request wants.
    Unfit,
}

/// The texts of one request that are not known, on their way. Dropping it gives them up.
pub struct Fan {
    way: Arc<Way>,
    demand: Arc<Demand>,
    likeness: [u8; 32],
    /// Not yet asked for: a text's number and its key, and how many go in each of the calls.
    wanted: VecDeque<(usize, CacheKey)>,
    calls: VecDeque<usize>,
    /// In the order in which they are waited for.
    waiting: VecDeque<(usize, Waiting)>,
    window: usize,
}

/// A text whose flight is to be told its call: which one, and the how-manieth of its texts it is.
struct Departing {
    item: usize,
    told: oneshot::Sender<(Arc<Joint<Outcome>>, usize)>,
}

enum Waiting {
    Seat(Seat<Landed, Error>),
    Kept(Kept),
}

impl Fan {
    /// `wanted`: each text's number in the call, and the key of its vector.
    pub fn new(way: &Arc<Way>, demand: Demand, wanted: VecDeque<(usize, CacheKey)>) -> Self {
        Fan {
            likeness: demand.likeness(),
            calls: way.items.batcher.cut(wanted.len()).map(|call| call.len()).collect(),
            waiting: VecDeque::new(),
            window: way.items.batcher.window(demand.places),
            demand: Arc::new(demand),
            wanted,
            way: way.clone(),
        }
    }

    /// The next text that there is news of, by its number; `None` when there is nothing left. Cancel safe.
    pub async fn next(&mut self) -> Option<(usize, Result<Found, Error>)> {
        if self.board().is_err() && self.waiting.is_empty() {
            // Nothing of ours is under way that could make room.
            let (item, _) = self.wanted.pop_front()?;
            self.calls.front_mut().into_iter().for_each(|call| *call -= 1);
            let error = Error::new(Kind::Overloaded, "too many requests are under way");
            return Some((item, Err(error.retry_after(Duration::from_secs(1)))));
        }
        let (item, waiting) = self.waiting.front_mut()?;
        let item = *item;
        let news = match waiting {
            Waiting::Kept(kept) => Ok(Found::Kept(kept.clone(), TierName::Memory)),
            Waiting::Seat(seat) => {
                let landed = landed(seat).await;
                let with_others = seat.joined();
                landed.map(|landed| self.found(&landed, with_others))
            }
        };
        self.waiting.pop_front();
        Some((item, news))
    }

    /// Whether any call has gone up for it.
    pub fn has_departed(&self) -> bool {
        self.demand.has_departed()
    }

    fn found(&self, landed: &Landed, with_others: bool) -> Found {
        match landed {
            Landed::Answered { answer, nth } => {
                Found::Answered { answer: answer.clone(), nth: *nth, with_others }
            }
            Landed::Kept(kept, tier) => {
                let fit = kept.clone().fit_for(&self.demand.directives, self.demand.terms, Instant::now());
                fit.map_or(Found::Unfit, |kept| Found::Kept(kept, *tier))
            }
        }
    }

    /// Asks for as many as may be under way.
    fn board(&mut self) -> Result<(), Full> {
        while self.waiting.len() < self.window {
            let Some(call) = self.calls.pop_front() else { break };
            let (mut departing, mut full) = (Vec::new(), Ok(()));
            for left in (1..=call).rev() {
                let Some((item, key)) = self.wanted.front().copied() else { break };
                match self.join(item, key, &mut departing) {
                    Ok(waiting) => self.waiting.push_back((item, waiting)),
                    Err(Full) => {
                        self.calls.push_front(left);
                        full = Err(Full);
                        break;
                    }
                }
                self.wanted.pop_front();
            }
            self.depart(departing);
            full?;
        }
        Ok(())
    }

    /// A seat on the flight of a text. Where that is a new one, whoever makes it waits in `departing` to be
    /// told with which call it goes.
    fn join(&self, item: usize, key: CacheKey, departing: &mut Vec<Departing>) -> Result<Waiting, Full> {
        let (way, demand) = (&self.way, self.demand.clone());
        let depart = |recorder| {
            let (told, hears) = oneshot::channel();
            departing.push(Departing { item, told });
            fly(way.clone(), demand, item, key, hears, recorder)
        };
        let flights = &way.items.flights;
        if !self.demand.directives.may_look_up() {
            // Nobody else's flight will do.
            return flights.solo(depart).map(Waiting::Seat);
        }
        let (now, terms, directives) = (Instant::now(), self.demand.terms, self.demand.directives);
        let kept = || way.vectors.get(&key, now, terms.stale)?.fit_for(&directives, terms, now).ok();
        let alike = ItemKey { key, since: self.demand.identity.since, likeness: self.likeness };
        match flights.join(alike, kept, depart)? {
            Boarding::Landed(kept) => Ok(Waiting::Kept(kept)),
            Boarding::Seat(seat) => Ok(Waiting::Seat(seat)),
        }
    }

    /// Sends those who are `departing` off in one call.
    fn depart(&mut self, departing: Vec<Departing>) {
        if departing.is_empty() {
            return;
        }
        let call = self.demand.call(&self.way, departing.iter().map(|one| one.item).collect());
        for (nth, one) in departing.into_iter().enumerate() {
            let _ = one.told.send((call.clone(), nth));
        }
    }
}

/// What became of the text that `seat` waits for. Cancel safe.
async fn landed(seat: &mut Seat<Landed, Error>) -> Result<Arc<Landed>, Error> {
    loop {
        match seat.next().await {
            Event::Head(landed) => return Ok(landed),
            Event::Failed(error) => return Err(error),
            Event::Chunk(_) | Event::End => {}
        }
    }
}

impl Drop for Fan {
    /// Who is in line leaves first, so that the turn of one who leaves after him is not given to him.
    fn drop(&mut self) {
        while self.waiting.pop_back().is_some() {}
    }
}
