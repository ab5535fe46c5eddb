//! Whose turn it is. A few are at work at a time; of those who wait each client has a turn after the other, so that one
//! who sends a hundred recordings keeps nobody else waiting for all of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Where so many may sit, and so many wait.
pub struct Seats {
    lines: Mutex<Lines>,
    most_waiting: usize,
}

struct Lines {
    free: usize,
    /// Of clients: the first of the first line comes next, and then its line is the last.
    waiting: VecDeque<Line>,
}

/// Those of one client; never empty.
struct Line {
    client: Arc<str>,
    turns: VecDeque<oneshot::Sender<()>>,
}

/// Who has a turn; dropped, it is the next one's.
pub struct Seat(Arc<Seats>);

/// Who waits. Dropped, it waits no more.
struct Waiting {
    seats: Arc<Seats>,
    turn: oneshot::Receiver<()>,
}

impl Seats {
    pub fn new(seats: usize, most_waiting: usize) -> Arc<Self> {
        let lines = Lines { free: seats, waiting: VecDeque::new() };
        Arc::new(Seats { lines: Mutex::new(lines), most_waiting })
    }

    /// Waits for a turn; `None` where too many wait. Then whoever has the longest line gives a place to one who has a
    /// shorter one.
    pub async fn take(self: &Arc<Self>, client: &Arc<str>) -> Option<Seat> {
        let turn = {
            let mut lines = self.lines();
            if lines.free > 0 {
                lines.free -= 1;
                return Some(Seat(self.clone()));
            }
            if lines.len() >= self.most_waiting && !lines.make_room(client) {
                return None;
            }
            lines.join(client)
        };
        let mut waiting = Waiting { seats: self.clone(), turn };
        (&mut waiting.turn).await.ok().map(|()| Seat(self.clone()))
    }

    pub fn waiting(&self) -> usize {
        self.lines().len()
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn len(&self) -> usize {
        self.waiting.iter().map(|line| line.turns.len()).sum()
    }

    fn join(&mut self, client: &Arc<str>) -> oneshot::Receiver<()> {
        let (sender, turn) = oneshot::channel();
        match self.waiting.iter_mut().find(|line| line.client == *client) {
            Some(line) => line.turns.push_back(sender),
            None => self.waiting.push_back(Line { client: client.clone(), turns: VecDeque::from([sender]) }),
        }
        turn
    }

    /// Sends away the last of the longest line, where that is longer than this client's will be.
    fn make_room(&mut self, client: &Arc<str>) -> bool {
        let own = self.waiting.iter().find(|line| line.client == *client).map_or(0, |line| line.turns.len());
        let longest = self.waiting.iter_mut().max_by_key(|line| line.turns.len());
        let Some(longest) = longest.filter(|longest| longest.turns.len() > own + 1) else { return false };
        longest.turns.pop_back().is_some()
    }

    /// The seat is the next one's, or free.
    fn pass_on(&mut self) {
        while let Some(mut line) = self.waiting.pop_front() {
            let next = line.turns.pop_front();
            if !line.turns.is_empty() {
                self.waiting.push_back(line);
            }
            if next.is_some_and(|next| next.send(()).is_ok()) {
                return;
            }
        }
        self.free += 1;
    }

    /// Those who have left are not counted any more.
    fn sweep(&mut self) {
        self.waiting.retain_mut(|line| {
            line.turns.retain(|turn| !turn.is_closed());
            !line.turns.is_empty()
        });
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.lines().pass_on();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.turn.close();
        let mut lines = self.seats.lines();
        lines.sweep();
        // Its turn has come while it left.
        if self.turn.try_recv().is_ok() {
            lines.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::future::Future;
    use std::pin::Pin;

    type Turn = Pin<Box<dyn Future<Output = Option<Seat>>>>;

    /// Somebody of that client who waits.
    fn wait(seats: &Arc<Seats>, client: &str) -> Turn {
        let (seats, client) = (seats.clone(), Arc::<str>::from(client));
        let mut turn: Turn = Box::pin(async move { seats.take(&client).await });
        assert!(turn.as_mut().now_or_never().is_none());
        turn
    }

    fn now(turn: &mut Turn) -> Option<Option<Seat>> {
        turn.as_mut().now_or_never()
    }

    #[tokio::test]
    async fn each_client_has_a_turn_after_the_other() {
        let seats = Seats::new(1, 10);
        let mut seat = seats.take(&"many".into()).await;
        let names = ["many", "many", "many", "one", "two", "two"];
        let mut turns: Vec<Option<Turn>> = names.iter().map(|name| Some(wait(&seats, name))).collect();
        assert_eq!(seats.waiting(), 6);
        let mut order = Vec::new();
        for _ in &names {
            drop(seat.take());
            let next = turns.iter_mut().zip(names).find_map(|(turn, name)| {
                let had = turn.as_mut().and_then(now)?;
                *turn = None;
                Some((name, had))
            });
            let (name, had) = next.expect("somebody's turn");
            order.push(name);
            seat = had;
        }
        assert_eq!(order, ["many", "one", "two", "many", "two", "many"]);
        drop(seat);
        assert!(seats.take(&"one".into()).now_or_never().is_some(), "it is free");
    }

    #[tokio::test]
    async fn whoever_leaves_gives_up_the_place_and_the_turn() {
        let seats = Seats::new(1, 10);
        let seat = seats.take(&"a".into()).await;
        let (first, second, mut third) = (wait(&seats, "a"), wait(&seats, "b"), wait(&seats, "b"));
        drop(second);
        assert_eq!(seats.waiting(), 2);
        drop(seat);
        // It has its turn, and leaves before it takes it.
        drop(first);
        let seat = now(&mut third).flatten();
        assert!(seat.is_some() && seats.waiting() == 0);
        drop(seat);
        assert!(seats.take(&"c".into()).now_or_never().flatten().is_some());
    }

    #[tokio::test]
    async fn of_too_many_the_last_of_the_longest_line_goes() {
        let seats = Seats::new(1, 3);
        let _seat = seats.take(&"a".into()).await;
        let mut many = [wait(&seats, "many"), wait(&seats, "many"), wait(&seats, "many")];
        let refused = seats.take(&"many".into()).now_or_never();
        assert!(matches!(refused, Some(None)), "it has the longest itself");
        let _one = wait(&seats, "one");
        assert!(matches!(now(&mut many[2]), Some(None)), "the last was sent away");
        let refused = seats.take(&"one".into()).now_or_never();
        assert!(matches!(refused, Some(None)), "it would have as many");
        assert_eq!(seats.waiting(), 3);
    }
}
