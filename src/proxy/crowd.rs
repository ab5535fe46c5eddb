//! Who is here, counted by address: none may take all connections, nor many that have asked nothing yet.

use super::network::Network;
use super::{Config, network};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// All clients, as far as they are counted.
pub struct Crowd {
    /// Of one address; zero means any number.
    most_connections: usize,
    most_heads: usize,
    exempt: Vec<Network>,
    /// Those with an open connection: there are never more of them than connections.
    present: Mutex<HashMap<u128, Arc<Counts>>>,
}

/// One address.
#[derive(Debug, Default)]
struct Counts {
    /// Changed under the lock of the map only.
    connections: AtomicUsize,
    /// Of these, the ones whose head is being waited for.
    heads: AtomicUsize,
}

/// One client's connection; counted until it is dropped.
pub struct Presence {
    /// `None` for the exempt.
    counted: Option<Counted>,
    head: Option<HeadTurn>,
}

struct Counted {
    crowd: Arc<Crowd>,
    place: u128,
    counts: Arc<Counts>,
}

/// One wait for a head, counted until it is dropped.
struct HeadTurn(Arc<Counts>);

/// What one address has too many of: the label `reason` of `pannier_connections_refused_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMany {
    Connections,
    Heads,
}

// === impl Crowd ===

impl Crowd {
    pub fn new(config: &Config) -> Self {
        Crowd {
            most_connections: or_any(config.max_connections_per_ip),
            most_heads: or_any(config.max_heads_per_ip),
            exempt: config.per_ip_exempt.clone(),
            present: Mutex::default(),
        }
    }

    /// Lets in one more connection from `ip`, which begins by waiting for its first head.
    ///
    /// # Errors
    /// What `ip` has too many of already.
    pub fn enter(self: &Arc<Self>, ip: IpAddr) -> Result<Presence, TooMany> {
        if self.exempt.iter().any(|network| network.holds(ip)) {
            return Ok(Presence { counted: None, head: None });
        }
        let place = network::place(ip);
        let counts = {
            let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
            let counts = present.entry(place).or_default();
            if counts.connections.load(Ordering::Relaxed) >= self.most_connections {
                return Err(TooMany::Connections);
            }
            counts.connections.fetch_add(1, Ordering::Relaxed);
            counts.clone()
        };
        let counted = Counted { crowd: self.clone(), place, counts };
        let head = Some(counted.wait()?);
        Ok(Presence { counted: Some(counted), head })
    }

    /// How many addresses are counted now.
    pub fn addresses(&self) -> usize {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// The settings' zero.
fn or_any(most: usize) -> usize {
    if most == 0 { usize::MAX } else { most }
}

// === impl Presence ===

impl Presence {
    /// The head that was waited for has come.
    pub fn head_has_come(&mut self) {
        self.head = None;
    }

    /// A head has begun, and its rest is waited for.
    ///
    /// # Errors
    /// `Heads`, when too many of this address are waited for already.
    pub fn wait_for_head(&mut self) -> Result<(), TooMany> {
        if let (Some(counted), None) = (&self.counted, &self.head) {
            self.head = Some(counted.wait()?);
        }
        Ok(())
    }
}

impl Counted {
    fn wait(&self) -> Result<HeadTurn, TooMany> {
        let turn = HeadTurn(self.counts.clone());
        let before = turn.0.heads.fetch_add(1, Ordering::Relaxed);
        if before < self.crowd.most_heads { Ok(turn) } else { Err(TooMany::Heads) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut present = self.crowd.present.lock().unwrap_or_else(PoisonError::into_inner);
        if self.counts.connections.fetch_sub(1, Ordering::Relaxed) == 1 {
            present.remove(&self.place);
        }
    }
}

impl Drop for HeadTurn {
    fn drop(&mut self) {
        self.0.heads.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl TooMany ===

impl TooMany {
    pub fn reason(self) -> &'static str {
        match self {
            TooMany::Connections => "connections",
            TooMany::Heads => "heads",
        }
    }

    /// For the client.
    pub fn message(self) -> &'static str {
        match self {
            TooMany::Connections => "too many connections from this address",
            TooMany::Heads => "too many connections from this address that have not asked anything yet",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(connections: usize, heads: usize) -> Arc<Crowd> {
        Arc::new(Crowd {
            most_connections: or_any(connections),
            most_heads: or_any(heads),
            exempt: vec!["127.0.0.0/8".parse().unwrap()],
            present: Mutex::default(),
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_its_share_and_gives_it_back() {
        let crowd = crowd(2, 0);
        let first = crowd.enter(ip("192.0.2.1")).ok().unwrap();
        let _second = crowd.enter(ip("192.0.2.1")).ok().unwrap();
        assert_eq!(crowd.enter(ip("192.0.2.1")).err(), Some(TooMany::Connections));
        // Nobody else is hurt, and one written as IPv6 is the same.
        let other = crowd.enter(ip("192.0.2.2")).ok().unwrap();
        assert_eq!(crowd.enter(ip("::ffff:192.0.2.1")).err(), Some(TooMany::Connections));
        assert_eq!(crowd.addresses(), 2);
        drop((first, other));
        assert!(crowd.enter(ip("192.0.2.1")).is_ok());
        assert_eq!(crowd.addresses(), 1);
    }

    #[test]
    fn who_has_asked_counts_for_the_other_bound_only() {
        let crowd = crowd(0, 2);
        let mut presences: Vec<Presence> =
            (0..2).map(|_| crowd.enter(ip("2001:db8::1")).ok().unwrap()).collect();
        // Of one network of 64 bits, whoever wants has every address.
        assert_eq!(crowd.enter(ip("2001:db8::2")).err(), Some(TooMany::Heads));
        assert!(crowd.enter(ip("2001:db8:0:1::2")).is_ok());
        presences[0].head_has_come();
        let third = crowd.enter(ip("2001:db8::2")).ok().unwrap();
        assert_eq!(presences[0].wait_for_head(), Err(TooMany::Heads));
        assert_eq!(presences[1].wait_for_head(), Ok(()), "it waits already");
        drop(third);
        assert_eq!(presences[0].wait_for_head(), Ok(()));
        drop(presences);
        assert_eq!(crowd.addresses(), 0);
    }

    #[test]
    fn the_exempt_are_not_counted() {
        let crowd = crowd(1, 1);
        let presences: Vec<_> = (0..100).map(|_| crowd.enter(ip("127.0.0.1"))).collect();
        assert!(presences.iter().all(Result::is_ok));
        assert_eq!(crowd.addresses(), 0);
    }

    #[test]
    fn many_threads_leave_nothing_behind() {
        let crowd = crowd(8, 4);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let crowd = &crowd;
                scope.spawn(move || {
                    for turn in 0..5_000u32 {
                        let place = IpAddr::from([192, 0, 2, (turn % 3) as u8 + thread % 2]);
                        if let Ok(mut presence) = crowd.enter(place) {
                            presence.head_has_come();
                            let _ = presence.wait_for_head();
                        }
                    }
                });
            }
        });
        assert_eq!(crowd.addresses(), 0);
        for last in 0..5 {
            let presences: Vec<_> = (0..4).map(|_| crowd.enter([192, 0, 2, last].into())).collect();
            assert!(presences.iter().all(Result::is_ok), "a count was lost");
        }
    }
}
