//! Names that stand in many entries, written down once in each segment and meant by a number there.

use super::code::{NAMES, Scratch, Tag};
use crate::domain::{CallFacts, Consumer, Route};
use hashbrown::HashMap;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// One name, or several that belong together.
#[derive(Debug)]
pub struct Symbol {
    pub(super) id: u64,
    /// The entry that says what it means.
    pub(super) meaning: Box<[u8]>,
    /// The segment, by its number in this process, that says so already.
    pub(super) said: AtomicU64,
}

/// All that are in use.
#[derive(Default)]
pub struct Symbols {
    known: Mutex<HashMap<Box<[u8]>, Arc<Symbol>>>,
    next: AtomicU64,
}

/// Beyond so many the table begins anew. Those that are still meant stay what they are.
const MOST: usize = 1 << 16;
/// Accounts that a thread finds without a look into the table.
const NEAR: usize = 64;

/// A consumer, the spool by its number, and the account there.
type Near = (Arc<Consumer>, u64, Arc<Symbol>);

thread_local! {
    /// Those whom this thread has last seen. Each keeps its consumer, so that no other can have its address.
    static NEARBY: RefCell<HashMap<usize, Near>> = RefCell::default();
}

impl Symbols {
    /// Of whoever pays.
    pub fn account(&self, consumer: &Arc<Consumer>, spool: u64) -> Arc<Symbol> {
        let address = Arc::as_ptr(consumer) as usize;
        NEARBY.with_borrow_mut(|nearby| {
            if let Some((_, _, symbol)) = nearby.get(&address).filter(|(_, of, _)| *of == spool) {
                return symbol.clone();
            }
            if nearby.len() >= NEAR {
                nearby.clear();
            }
            let symbol = self.of(Tag::Account, |scratch| {
                scratch.text(&consumer.name);
                scratch.text(&consumer.team);
            });
            nearby.insert(address, (consumer.clone(), spool, symbol.clone()));
            symbol
        })
    }

    /// Of what is asked.
    pub fn subject(&self, route: Route, facts: Option<&CallFacts>) -> Arc<Symbol> {
        self.of(Tag::Subject, |scratch| {
            scratch.text(facts.map_or("", |facts| &facts.model));
            scratch.text(facts.map_or("", |facts| &facts.digest));
            scratch.text(route.template);
            scratch.text(route.dialect);
            scratch.text(facts.map_or("", |facts| facts.operation.label()));
            scratch.number(facts.is_some_and(|facts| facts.streamed).into());
        })
    }

    /// How many are known.
    pub fn count(&self) -> usize {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn of(&self, tag: Tag, write: impl Fn(&mut Scratch<NAMES>)) -> Arc<Symbol> {
        let mut name = Scratch::<NAMES>::default();
        name.number(tag as u64);
        write(&mut name);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(symbol) = known.get(name.bytes()) {
            return symbol.clone();
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let mut meaning = Scratch::<NAMES>::default();
        meaning.number(tag as u64);
        meaning.number(id);
        write(&mut meaning);
        let symbol = Arc::new(Symbol { id, meaning: meaning.bytes().into(), said: AtomicU64::new(0) });
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(name.bytes().into(), symbol.clone());
        symbol
    }
}
