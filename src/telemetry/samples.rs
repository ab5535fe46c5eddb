//! Records and trips for the tests of this room.

use crate::domain::{
    CacheOutcome, CallFacts, Complaint, Consumer, Durations, Ending, FinishReason, Kind, Observed, Operation,
    Payer, Record, RequestId, Rights, Route, Scope, Source, Trip, Usage,
};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

pub const CHAT: Route = Route { template: "/api/chat", dialect: "ollama" };
pub const TAGS: Route = Route { template: "/api/tags", dialect: "ollama" };

pub fn call(model: &str) -> CallFacts {
    let (operation, streamed) = (Operation::Chat, true);
    CallFacts { operation, streamed, model: model.into(), digest: "d1".into(), unlisted: None }
}

pub fn observed() -> Observed {
    Observed {
        usage: Usage {
            source: Source::Upstream,
            prompt: 26,
            cached_prompt: 20,
            completion: 11,
            reasoning: 4,
            images: 1,
            audio: Duration::from_millis(2_500),
        },
        durations: Durations {
            total: Duration::from_millis(1250),
            load: Duration::from_millis(200),
            prompt_eval: Duration::from_millis(50),
            eval: Duration::from_secs(1),
        },
        finish: FinishReason::Stop,
        complete: true,
        failed: false,
        complaint: Complaint::default(),
        content_frames: 11,
    }
}

pub fn record(cache: CacheOutcome) -> Record {
    Record {
        id: RequestId([7; 16]),
        at: UNIX_EPOCH + Duration::from_micros(1_763_700_000_123_456),
        started: Instant::now(),
        method: "POST",
        route: CHAT,
        consumer: Some(Arc::new(Consumer {
            name: "alice".into(),
            team: "lab".into(),
            scope: Scope([0; 32]),
            rights: Rights::default(),
        })),
        call: Some(call("llama3:latest")),
        cache,
        why: None,
        status: 200,
        ending: Ending::Complete,
        bytes_in: 180,
        bytes_out: 2_300,
        first_byte: Some(Duration::from_micros(40)),
        total: Duration::from_micros(61_500),
        observed: Some(observed()),
        message: None,
        settled: None,
        began_trip: false,
    }
}

/// A request whose answer is passed on unread.
pub fn forwarded() -> Record {
    Record {
        method: "GET",
        route: TAGS,
        call: None,
        observed: None,
        consumer: None,
        ..record(CacheOutcome::Bypass)
    }
}

pub fn refused(kind: Kind) -> Record {
    Record {
        status: kind.status(),
        ending: Ending::Refused(kind),
        call: None,
        observed: None,
        ..record(CacheOutcome::Bypass)
    }
}

pub fn trip(model: &str) -> Trip {
    let scope = Scope([0; 32]);
    let consumer = Consumer { name: "alice".into(), team: "lab".into(), scope, rights: Rights::default() };
    let consumer = Arc::new(consumer);
    Trip {
        payer: Payer { request: RequestId([7; 16]), consumer },
        route: CHAT,
        call: call(model),
        status: 200,
        observed: observed(),
        first_byte: Some(Duration::from_millis(240)),
        first_token: Some(Duration::from_millis(250)),
        total: Duration::from_millis(1250),
        error: None,
        settled: false,
        implausible: false,
    }
}
