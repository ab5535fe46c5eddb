//! Connections that wait for their next request.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Connections of one kind.
pub struct Pool<T> {
    /// The one used last at the end: it is taken first, and the others grow old.
    idle: Mutex<Vec<(Instant, T)>>,
    most: usize,
    /// How long one may wait.
    limit: Option<Duration>,
}

impl<T> Pool<T> {
    pub fn new(most: usize, limit: Option<Duration>) -> Self {
        Pool { idle: Mutex::default(), most, limit }
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// The one that was used last. Whether it still lives is the taker's to see.
    pub fn take(&self) -> Option<T> {
        let mut idle = self.lock();
        self.drop_old(&mut idle);
        idle.pop().map(|(_, connection)| connection)
    }

    pub fn put(&self, connection: T) {
        let mut idle = self.lock();
        idle.push((Instant::now(), connection));
        if idle.len() > self.most {
            idle.remove(0);
        }
    }

    /// Throws out those that have waited for too long.
    pub fn sweep(&self) {
        self.drop_old(&mut self.lock());
    }

    fn drop_old(&self, idle: &mut Vec<(Instant, T)>) {
        if let Some(limit) = self.limit {
            idle.retain(|(since, _)| since.elapsed() < limit);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, T)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_in_is_the_first_out_and_the_oldest_goes() {
        let pool = Pool::new(2, None);
        (1..=3).for_each(|number| pool.put(number));
        assert_eq!(pool.len(), 2);
        assert_eq!((pool.take(), pool.take(), pool.take()), (Some(3), Some(2), None));
    }

    #[test]
    fn nobody_gets_one_that_waited_too_long() {
        let pool = Pool::new(2, Some(Duration::ZERO));
        pool.put(1);
        assert_eq!(pool.take(), None);
        pool.put(1);
        pool.sweep();
        assert_eq!(pool.len(), 0);
    }
}
