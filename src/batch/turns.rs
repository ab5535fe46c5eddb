//! Whose turn it is: places with workers, and a line in which each party comes up in rotation.
//!
//! Start-time fair queueing: a party's next turn is due one step after its last one, and never before the
//! step that the line has reached. So a thousand turns of one party stand a step apart, and a newcomer's
//! first stands before all but the next of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// All places and the line before them. A clone is another handle on the same ones.
#[derive(Clone)]
pub struct Turns {
    board: Arc<Mutex<Board>>,
    workers: usize,
}

/// Whoever takes turns: one request.
#[derive(Debug, Default)]
pub struct Party {
    /// The step at which its next turn is due.
    due: Mutex<u64>,
}

/// A worker's time at one place. Dropping it gives it to the next in line.
pub struct Turn {
    turns: Turns,
    place: usize,
}

/// Some of the places, of which there are at most 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Places(u64);

struct Board {
    /// Idle workers, by place.
    idle: Vec<usize>,
    /// By the step at which they are due, then by arrival. Nobody waits here who could be at work.
    line: BTreeMap<Due, Waiter>,
    /// The step of the last turn that was given.
    reached: u64,
    arrivals: u64,
}

type Due = (u64, u64);

struct Waiter {
    places: Places,
    call: oneshot::Sender<Turn>,
}

/// A place in the line, given up when this is dropped.
struct Waiting {
    turns: Turns,
    due: Due,
    called: oneshot::Receiver<Turn>,
}

// === impl Turns ===

impl Turns {
    /// `workers` at each of `places` places, of which only the first 64 count. At least one of each.
    pub fn new(places: usize, workers: usize) -> Self {
        let workers = workers.max(1);
        let board = Board {
            idle: vec![workers; places.clamp(1, Places::MOST)],
            line: BTreeMap::new(),
            reached: 0,
            arrivals: 0,
        };
        Turns { board: Arc::new(Mutex::new(board)), workers }
    }

    /// Workers at each place.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Waits for a turn of `weight` at one of `places`; places that are not there are as good as none, and
    /// whoever wants none of those that are there waits for ever. Cancel safe.
    pub async fn take(&self, party: &Party, places: Places, weight: usize) -> Turn {
        let mut waiting = {
            let mut board = self.lock();
            let step = party.next(board.reached, weight);
            if let Some(place) = board.idlest(places) {
                // Whoever stands in the line wants another place.
                board.idle[place] -= 1;
                board.reached = board.reached.max(step);
                return Turn { turns: self.clone(), place };
            }
            let (call, called) = oneshot::channel();
            board.arrivals += 1;
            let due = (step, board.arrivals);
            board.line.insert(due, Waiter { places, call });
            Waiting { turns: self.clone(), due, called }
        };
        match (&mut waiting.called).await {
            Ok(turn) => turn,
            // The line never lets go of a waiter without a turn.
            Err(_) => std::future::pending().await,
        }
    }

    pub fn waiting(&self) -> usize {
        self.lock().line.len()
    }

    pub fn under_way(&self) -> usize {
        let board = self.lock();
        board.idle.len() * self.workers - board.idle.iter().sum::<usize>()
    }

    /// Nothing panics while the board is locked.
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Board ===

impl Board {
    /// The one of `places` with the most idle workers.
    fn idlest(&self, places: Places) -> Option<usize> {
        let idle = (0..self.idle.len()).filter(|place| places.has(*place) && self.idle[*place] > 0);
        idle.max_by_key(|place| (self.idle[*place], std::cmp::Reverse(*place)))
    }

    /// Takes the first out of the line who wants `place`.
    fn next(&mut self, place: usize) -> Option<Waiter> {
        let due = *self.line.iter().find(|(_, waiter)| waiter.places.has(place))?.0;
        self.reached = self.reached.max(due.0);
        self.line.remove(&due)
    }
}

// === impl Party ===

impl Party {
    /// The step of its next turn, and the one after that `weight` later.
    fn next(&self, reached: u64, weight: usize) -> u64 {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let step = reached.max(*due);
        *due = step + weight.max(1) as u64;
        step
    }
}

// === impl Turn ===

impl Turn {
    /// Which place it is at.
    pub fn place(&self) -> usize {
        self.place
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut board = self.turns.lock();
        let Some(next) = board.next(self.place) else {
            board.idle[self.place] += 1;
            return;
        };
        drop(board);
        // Whoever has left meanwhile gives the turn back here, and so to the next.
        drop(next.call.send(Turn { turns: self.turns.clone(), place: self.place }));
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let left = self.turns.lock().line.remove(&self.due);
        drop(left);
    }
}

// === impl Places ===

impl Places {
    pub const MOST: usize = 64;

    pub fn of(places: impl IntoIterator<Item = usize>) -> Self {
        Places(places.into_iter().filter(|place| *place < Self::MOST).fold(0, |all, place| all | 1 << place))
    }

    pub fn has(self, place: usize) -> bool {
        place < Self::MOST && self.0 & (1 << place) != 0
    }

    pub fn count(self) -> usize {
        self.0.count_ones() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn polled<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    const FIRST: Places = Places(1);

    #[test]
    fn a_newcomer_does_not_wait_for_all_that_another_has_in_line() {
        let turns = Turns::new(1, 1);
        let (many, one) = (Party::default(), Party::default());
        let mut now = polled(pin!(turns.take(&many, FIRST, 1)));
        assert!(now.is_some());
        let mut line: Vec<_> = (0..100).map(|_| Box::pin(turns.take(&many, FIRST, 1))).collect();
        line.iter_mut().for_each(|waiting| assert!(polled(waiting.as_mut()).is_none()));
        for _ in 0..10 {
            drop(now.take());
            now = polled(line[0].as_mut());
            assert!(now.is_some(), "in order");
            drop(line.remove(0));
        }
        let mut newcomer = Box::pin(turns.take(&one, FIRST, 1));
        assert!(polled(newcomer.as_mut()).is_none());
        assert_eq!(turns.waiting(), 91);
        let mut turns_before = 0;
        let last = loop {
            drop(now.take());
            if let Some(turn) = polled(newcomer.as_mut()) {
                break turn;
            }
            turns_before += 1;
            now = polled(line[0].as_mut());
            drop(line.remove(0));
        };
        assert!(turns_before <= 1, "{turns_before}");
        drop(last);
    }

    #[test]
    fn turns_go_to_the_idlest_place_that_will_do() {
        let turns = Turns::new(3, 2);
        let party = Party::default();
        let take = |places| polled(pin!(turns.take(&party, places, 1)));
        let all = Places::of(0..3);
        let taken: Vec<_> = (0..6).map(|_| take(all).expect("idle")).collect();
        assert_eq!(taken.iter().map(Turn::place).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
        assert!(take(all).is_none());
        assert_eq!((turns.waiting(), turns.under_way()), (0, 6), "who was dropped does not wait");

        let mut only_the_last = pin!(turns.take(&party, Places::of([2]), 1));
        let mut any = pin!(turns.take(&party, all, 1));
        assert!(polled(only_the_last.as_mut()).is_none() && polled(any.as_mut()).is_none());
        let mut taken = taken.into_iter();
        drop(taken.next());
        assert!(polled(only_the_last.as_mut()).is_none(), "place 0 is none that it wants");
        let turn = polled(any.as_mut()).expect("somebody else does");
        assert_eq!(turn.place(), 0);
        drop(taken.nth(1));
        assert_eq!(polled(only_the_last.as_mut()).expect("place 2 is idle").place(), 2);
    }

    #[test]
    fn a_turn_given_to_who_has_left_goes_to_the_next() {
        let turns = Turns::new(1, 1);
        let party = Party::default();
        let now = polled(pin!(turns.take(&party, FIRST, 1)));
        let mut first = Box::pin(turns.take(&party, FIRST, 1));
        let mut second = Box::pin(turns.take(&party, FIRST, 1));
        assert!(polled(first.as_mut()).is_none() && polled(second.as_mut()).is_none());
        drop(now);
        // It has been called, and has not heard of it.
        drop(first);
        let turn = polled(second.as_mut());
        assert!(turn.is_some());
        drop(turn);
        assert_eq!((turns.waiting(), turns.under_way()), (0, 0));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_more_are_at_work_than_there_are_workers() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        /// Goes before the turn does, also where the task is called off.
        struct AtWork<'a>(&'a AtomicUsize);
        impl Drop for AtWork<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let (turns, at_work) = (Turns::new(2, 3), Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]));
        let party = Arc::new(Party::default());
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..500 {
            let (turns, at_work, party) = (turns.clone(), at_work.clone(), party.clone());
            let task = tasks.spawn(async move {
                let turn = turns.take(&party, Places::of(0..2), 1).await;
                let here = &at_work[turn.place()];
                assert!(here.fetch_add(1, Ordering::SeqCst) < 3);
                let _working = AtWork(here);
                tokio::task::yield_now().await;
            });
            if number % 7 == 0 {
                task.abort();
            }
        }
        while let Some(ended) = tasks.join_next().await {
            assert!(ended.is_ok() || ended.is_err_and(|error| error.is_cancelled()));
        }
        assert_eq!((turns.waiting(), turns.under_way()), (0, 0));
    }
}
