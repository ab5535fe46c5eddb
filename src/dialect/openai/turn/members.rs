//! A JSON object whose members Ollama writes in one order when it is a struct and in another when it is
//! a map.

use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// How an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As the members of Go's struct stand: in whole answers.
    Struct,
    /// By name, as Go writes a map: in events.
    Map,
}

/// The members of an object that has none but known ones.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    known: &'static [&'static str],
    values: BTreeMap<&'static str, Cow<'a, str>>,
}

impl<'a> Members<'a> {
    /// None yet. `known` is in the order of Go's struct.
    pub fn new(known: &'static [&'static str]) -> Self {
        Members { known, values: BTreeMap::new() }
    }

    /// `None` for what is no object, and for one with a member that is not known.
    pub fn read(json: &'a str, known: &'static [&'static str]) -> Option<Self> {
        let all: BTreeMap<&'a str, &'a RawValue> = serde_json::from_str(json).ok()?;
        let mut members = Members::new(known);
        for (name, value) in all {
            let name = known.iter().find(|known| **known == name)?;
            members.values.insert(name, Cow::Borrowed(value.get()));
        }
        Some(members)
    }

    /// The raw value.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| &**value)
    }

    pub fn set(&mut self, name: &'static str, value: impl Into<Cow<'a, str>>) {
        self.values.insert(name, value.into());
    }

    pub fn remove(&mut self, name: &str) {
        self.values.remove(name);
    }

    pub fn written(&self, order: Order) -> String {
        let mut names: Vec<&str> =
            self.known.iter().copied().filter(|name| self.values.contains_key(name)).collect();
        if order == Order::Map {
            names.sort_unstable();
        }
        let members: Vec<String> =
            names.iter().map(|name| format!("\"{name}\":{}", self.values[name])).collect();
        format!("{{{}}}", members.join(","))
    }
}

/// `json` in another order.
pub fn rewritten(json: &str, known: &'static [&'static str], order: Order) -> Option<String> {
    Some(Members::read(json, known)?.written(order))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["type", "id", "text"];

    #[test]
    fn orders_and_nothing_else() {
        let json = r#"{"text":"\u003c", "id":1.50}"#;
        assert_eq!(rewritten(json, KNOWN, Order::Struct).as_deref(), Some(r#"{"id":1.50,"text":"\u003c"}"#));
        assert_eq!(rewritten(json, KNOWN, Order::Map).as_deref(), Some(r#"{"id":1.50,"text":"\u003c"}"#));
        let json = r#"{"text":null,"type":{}}"#;
        assert_eq!(rewritten(json, KNOWN, Order::Struct).as_deref(), Some(r#"{"type":{},"text":null}"#));
        assert_eq!(rewritten(json, KNOWN, Order::Map).as_deref(), Some(json));
    }

    #[test]
    fn a_stranger_is_not_taken_in() {
        for json in [r#"{"id":1,"idea":2}"#, r#"{"Id":1}"#, "[]", "null", ""] {
            assert!(Members::read(json, KNOWN).is_none(), "{json}");
        }
    }
}
