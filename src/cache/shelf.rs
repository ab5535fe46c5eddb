//! One part of the memory of vectors: pages full of vectors of one length each, and a clock's hand that goes
//! round them when room is needed.
//!
//! A page is given back as a whole when nobody has used anything on it since the hand came by last and other
//! lengths want its room: so the vectors of a model that has gone make way.

use super::{CacheKey, Tag};
use std::collections::HashMap;

/// Bytes of one page's numbers, just below a size in which the allocator deals: it would round up others.
const PAGE: usize = (256 << 10) - 64;
/// A shelf has at least so many pages' room, so that pages need not be given back all the time.
const LEAST_PAGES: usize = 8;
/// What a vector costs in the index: 16 bytes a place, half of which may be empty, and a byte for each.
const INDEX: usize = 40;

/// See the module.
pub struct Shelf {
    capacity: usize,
    used: usize,
    /// `None` where one was given back.
    pages: Vec<Option<Page>>,
    /// Where a key's vector is, by the first eight bytes of the key.
    index: HashMap<u64, Place>,
    /// Pages with an empty row, by the length of their vectors.
    roomy: HashMap<usize, Vec<u32>>,
    hand: Place,
}

/// What is known of a vector beside its numbers. Times are milliseconds since whenever the caller began to
/// count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub key: CacheKey,
    pub stored: u64,
    pub lasts: u64,
    pub tokens: u32,
    pub total: u32,
    pub load: u32,
    pub tag: Tag,
    /// How often it was found; no more than fit in here.
    pub hits: u16,
}

/// What stands under a key.
pub enum Stored<'a> {
    Fresh(Slot, &'a [f32]),
    /// It was too old, and is gone now.
    Over,
    Nothing,
}

/// What had to make way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gone {
    pub replaced: usize,
    pub over: usize,
    pub evicted: usize,
}

struct Page {
    /// Of each vector.
    length: usize,
    /// Row after row.
    numbers: Box<[f32]>,
    rows: Box<[Row]>,
    taken: usize,
}

/// Where the hand may rest: a page, and a row of it.
#[derive(Clone, Copy, Default)]
struct Place {
    page: u32,
    row: u32,
}

#[derive(Clone, Copy)]
struct Row {
    slot: Slot,
    state: State,
    /// Those of its hits that have not been told on.
    untold: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    /// Not used since the hand came by.
    Idle,
    Used,
}

// === impl Shelf ===

impl Shelf {
    pub fn new(capacity: usize) -> Self {
        Shelf {
            capacity,
            used: 0,
            pages: Vec::new(),
            index: HashMap::new(),
            roomy: HashMap::new(),
            hand: Place::default(),
        }
    }

    pub fn entries(&self) -> usize {
        self.index.len()
    }

    pub fn bytes(&self) -> usize {
        self.used
    }

    pub fn find(&mut self, key: &CacheKey, now: u64) -> Stored<'_> {
        let Some(&place) = self.index.get(&prefix(key)) else { return Stored::Nothing };
        let Some(row) = self.row(place) else { return Stored::Nothing };
        if row.slot.key != *key {
            return Stored::Nothing;
        }
        if row.slot.is_over(now) {
            self.vacate(place);
            return Stored::Over;
        }
        row.state = State::Used;
        row.slot.hits = row.slot.hits.saturating_add(1);
        row.untold = row.untold.saturating_add(1);
        let slot = row.slot;
        match &self.pages[place.page as usize] {
            Some(page) => Stored::Fresh(slot, page.numbers(place.row)),
            None => Stored::Nothing,
        }
    }

    /// What is known of the vector under `key`, whether or not it may be used; it does not count as used.
    pub fn look(&self, key: &CacheKey) -> Option<(Slot, &[f32])> {
        let place = self.index.get(&prefix(key))?;
        let page = self.pages.get(place.page as usize)?.as_ref()?;
        let row = page.rows.get(place.row as usize)?;
        let is_it = row.slot.key == *key && row.state != State::Empty;
        is_it.then(|| (row.slot, page.numbers(place.row)))
    }

    /// All that there is, each with the bytes that it takes.
    pub fn all(&self) -> impl Iterator<Item = (&Slot, usize)> {
        self.pages.iter().flatten().flat_map(|page| {
            let bytes = row_bytes(page.length);
            let taken = page.rows.iter().filter(|row| row.state != State::Empty);
            taken.map(move |row| (&row.slot, bytes))
        })
    }

    /// How often what there is was found of which that has not been told on.
    pub fn untold(&self) -> impl Iterator<Item = (CacheKey, u16)> {
        let rows = self.pages.iter().flatten().flat_map(|page| &page.rows);
        rows.filter(|row| row.state != State::Empty).map(|row| (row.slot.key, row.untold))
    }

    /// Tells on how often `key` was found.
    pub fn tell(&mut self, key: &CacheKey) -> Option<u16> {
        let place = *self.index.get(&prefix(key))?;
        let row = self.row(place).filter(|row| row.slot.key == *key)?;
        Some(std::mem::take(&mut row.untold))
    }

    /// Takes out what is meant, for which `is_meant` is also told whether its time is over; returns how many that
    /// were.
    pub fn remove(&mut self, now: u64, is_meant: impl Fn(&Slot, bool) -> bool) -> usize {
        let mut removed = 0;
        for number in 0..self.pages.len() {
            let rows = self.pages[number].as_ref().map_or(0, |page| page.rows.len());
            for row in 0..rows {
                let place = Place { page: number as u32, row: row as u32 };
                let goes = self.row(place).is_some_and(|row| {
                    row.state != State::Empty && is_meant(&row.slot, row.slot.is_over(now))
                });
                if goes {
                    self.vacate(place);
                    removed += 1;
                }
            }
            if rows > 0 && self.pages[number].as_ref().is_some_and(|page| page.taken == 0) {
                self.give_back(number as u32);
            }
        }
        removed
    }

    /// Keeps a vector in place of whatever stood under its key.
    pub fn keep(&mut self, slot: Slot, numbers: &[f32]) -> Gone {
        let mut gone = Gone::default();
        if let Some(&place) = self.index.get(&prefix(&slot.key)) {
            self.vacate(place);
            gone.replaced += 1;
        }
        let Some(place) = self.room(numbers.len(), slot.stored, &mut gone) else { return gone };
        if let Some(page) = &mut self.pages[place.page as usize] {
            page.fill(place.row, slot, numbers);
            if page.is_full()
                && let Some(roomy) = self.roomy.get_mut(&numbers.len())
            {
                roomy.retain(|number| *number != place.page);
            }
            self.index.insert(prefix(&slot.key), place);
        }
        gone
    }

    /// An empty row for a vector of this length. `None` where it would take too much of the whole.
    fn room(&mut self, length: usize, now: u64, gone: &mut Gone) -> Option<Place> {
        if length == 0 {
            return None;
        }
        let rows = (PAGE.min(self.capacity / LEAST_PAGES) / (length * size_of::<f32>())).max(1);
        let page_bytes = rows * row_bytes(length);
        if page_bytes > self.capacity / 2 {
            return None;
        }
        // Every step takes the hand past a row, or a page; twice round, everything has been idle.
        let most_steps = 2 * self.pages.iter().flatten().map(|page| page.rows.len() + 1).sum::<usize>() + 2;
        for _ in 0..most_steps {
            if let Some(page) = self.roomy.get(&length).and_then(|pages| pages.last()).copied() {
                let row = self.pages[page as usize].as_ref().and_then(Page::empty_row)?;
                return Some(Place { page, row });
            }
            if self.used + page_bytes <= self.capacity {
                self.add_page(length, rows);
                continue;
            }
            self.advance(length, now, gone);
        }
        None
    }

    /// Takes the hand on, and frees what it points at where that may go.
    fn advance(&mut self, length: usize, now: u64, gone: &mut Gone) {
        let Place { page: number, row } = self.hand;
        let Some(Some(page)) = self.pages.get_mut(number as usize) else {
            let next = if (number as usize) < self.pages.len() { number + 1 } else { 0 };
            self.hand = Place { page: next, row: 0 };
            return;
        };
        if page.length != length {
            self.hand = Place { page: number + 1, row: 0 };
            match page.rows.iter().any(|row| row.state == State::Used) {
                true => page.rows.iter_mut().for_each(Row::forget_use),
                false => gone.evicted += self.give_back(number),
            }
            return;
        }
        let last = row as usize + 1 >= page.rows.len();
        self.hand =
            if last { Place { page: number + 1, row: 0 } } else { Place { page: number, row: row + 1 } };
        let Some(at) = page.rows.get_mut(row as usize) else { return };
        let over = at.slot.is_over(now);
        match at.state {
            State::Used if !over => at.forget_use(),
            State::Empty => {}
            State::Idle | State::Used => {
                *if over { &mut gone.over } else { &mut gone.evicted } += 1;
                self.vacate(Place { page: number, row });
            }
        }
    }

    fn add_page(&mut self, length: usize, rows: usize) {
        let number = self.pages.iter().position(Option::is_none).unwrap_or_else(|| {
            self.pages.push(None);
            self.pages.len() - 1
        });
        self.pages[number] = Some(Page::new(length, rows));
        self.used += rows * row_bytes(length);
        self.roomy.entry(length).or_default().push(number as u32);
    }

    /// Gives a page back with all that is on it; returns how much that was.
    fn give_back(&mut self, number: u32) -> usize {
        let Some(page) = self.pages[number as usize].take() else { return 0 };
        for row in page.rows.iter().filter(|row| row.state != State::Empty) {
            self.index.remove(&prefix(&row.slot.key));
        }
        self.used -= page.rows.len() * row_bytes(page.length);
        if let Some(roomy) = self.roomy.get_mut(&page.length) {
            roomy.retain(|other| *other != number);
            if roomy.is_empty() {
                self.roomy.remove(&page.length);
            }
        }
        page.taken
    }

    /// Empties a row.
    fn vacate(&mut self, place: Place) {
        let Some(page) = &mut self.pages[place.page as usize] else { return };
        let was_full = page.is_full();
        let row = &mut page.rows[place.row as usize];
        if row.state == State::Empty {
            return;
        }
        row.state = State::Empty;
        page.taken -= 1;
        self.index.remove(&prefix(&row.slot.key));
        if was_full {
            self.roomy.entry(page.length).or_default().push(place.page);
        }
    }

    fn row(&mut self, place: Place) -> Option<&mut Row> {
        self.pages.get_mut(place.page as usize)?.as_mut()?.rows.get_mut(place.row as usize)
    }
}

// === impl Page ===

impl Page {
    fn new(length: usize, rows: usize) -> Self {
        let nothing = Slot {
            key: CacheKey([0; 32]),
            stored: 0,
            lasts: 0,
            tokens: 0,
            total: 0,
            load: 0,
            tag: Tag::default(),
            hits: 0,
        };
        Page {
            length,
            numbers: vec![0.0; rows * length].into(),
            rows: vec![Row { slot: nothing, state: State::Empty, untold: 0 }; rows].into(),
            taken: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.taken == self.rows.len()
    }

    fn empty_row(&self) -> Option<u32> {
        // While a page is new its rows are taken in order, so the first place to look is behind them.
        let is_empty = |at: &usize| self.rows[*at].state == State::Empty;
        let after = (self.taken..self.rows.len()).find(is_empty);
        after.or_else(|| (0..self.taken).find(is_empty)).map(|row| row as u32)
    }

    fn numbers(&self, row: u32) -> &[f32] {
        let from = row as usize * self.length;
        &self.numbers[from..from + self.length]
    }

    fn fill(&mut self, row: u32, slot: Slot, numbers: &[f32]) {
        let from = row as usize * self.length;
        self.numbers[from..from + self.length].copy_from_slice(numbers);
        self.rows[row as usize] = Row { slot, state: State::Idle, untold: 0 };
        self.taken += 1;
    }
}

impl Slot {
    fn is_over(&self, now: u64) -> bool {
        now.saturating_sub(self.stored) >= self.lasts
    }
}

impl Row {
    fn forget_use(&mut self) {
        if self.state == State::Used {
            self.state = State::Idle;
        }
    }
}

/// What a vector of this length costs.
pub fn row_bytes(length: usize) -> usize {
    length * size_of::<f32>() + size_of::<Row>() + INDEX
}

/// A key is a hash: eight bytes of it are as good as a hash of their own. Two keys that share them share a
/// place, and the later one has it.
fn prefix(key: &CacheKey) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = key.0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
