//! Whether requests should be sent here.

use std::sync::atomic::{AtomicBool, Ordering};

/// What probes are told. Asking it costs a few loads: it asks nobody else.
pub struct Readiness {
    started: AtomicBool,
    draining: AtomicBool,
    upstream_up: Box<dyn Fn() -> bool + Send + Sync>,
}

/// One line of a probe's verbose answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    /// What is wrong, in a word or two.
    pub fault: Option<&'static str>,
}

impl Readiness {
    /// Neither started nor draining. `upstream_up` must answer at once, from what is known already.
    pub fn new(upstream_up: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Readiness {
            started: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            upstream_up: Box::new(upstream_up),
        }
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
        Check { name: "startup", fault: (!started).then_some("not finished") }
    }

    /// Everything that must be well before requests are sent here.
    pub fn checks(&self) -> [Check; 3] {
        let draining = self.draining.load(Ordering::Acquire);
        let upstream_up = (self.upstream_up)();
        [
            self.started(),
            Check { name: "shutdown", fault: draining.then_some("draining") },
            Check { name: "upstream", fault: (!upstream_up).then_some("unreachable") },
        ]
    }
}
