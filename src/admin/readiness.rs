//! Whether requests should be sent here.

use std::sync::atomic::{AtomicBool, Ordering};

/// What probes are told. Asking it costs a few loads: it asks nobody else.
pub struct Readiness {
    started: AtomicBool,
    draining: AtomicBool,
    upstream_up: Box<dyn Fn() -> bool + Send + Sync>,
    more: Vec<Box<dyn Fn() -> Check + Send + Sync>>,
}

/// One line of a probe's verbose answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    /// What is wrong, in a word or two.
    pub fault: Option<&'static str>,
    /// Requests are answered all the same: it is shown, and that is all.
    pub is_extra: bool,
}

impl Readiness {
    /// Neither started nor draining. `upstream_up` must answer at once, from what is known already.
    pub fn new(upstream_up: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Readiness {
            started: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            upstream_up: Box::new(upstream_up),
            more: Vec::new(),
        }
    }

    /// Asks this as well, which must answer at once, too.
    pub fn also(mut self, check: impl Fn() -> Check + Send + Sync + 'static) -> Self {
        self.more.push(Box::new(check));
        self
    }

    /// The listeners are open.
    pub fn start(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// The end has begun; there is no way back.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether `start` was called.
    pub fn started(&self) -> Check {
        let started = self.started.load(Ordering::Acquire);
        Check::needed("startup", (!started).then_some("not finished"))
    }

    /// Everything that must be well before requests are sent here, and what else is to be known.
    pub fn checks(&self) -> Vec<Check> {
        let draining = self.draining.load(Ordering::Acquire);
        let upstream_up = (self.upstream_up)();
        let needed = [
            self.started(),
            Check::needed("shutdown", draining.then_some("draining")),
            Check::needed("upstream", (!upstream_up).then_some("unreachable")),
        ];
        needed.into_iter().chain(self.more.iter().map(|check| check())).collect()
    }
}

impl Check {
    /// Without it nothing goes.
    pub fn needed(name: &'static str, fault: Option<&'static str>) -> Self {
        Check { name, fault, is_extra: false }
    }
}
