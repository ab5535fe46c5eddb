//! What a request and the settings can say about the cache, and what the cache says of its reasons.

mod explained;
mod reasons;
mod request;
mod rules;
mod stale;
mod touch;
