//! With what a trip sets out, and what comes of it: a call of the upstream's, or a job for somebody in the house.

use super::hearing::{Job, Listening};
use crate::domain::Error;
use crate::upstream::{Client, Head, Incoming, UpstreamCall};
use bytes::Bytes;
use std::sync::Arc;

/// What is asked for on a trip.
pub enum Outing {
    Call(Box<UpstreamCall>),
    Job(Arc<Job>),
}

/// What comes back.
pub enum Homing {
    Upstream(Incoming),
    House(Box<Listening>),
}

/// An answer that comes piece by piece.
pub trait Pieces {
    /// # Errors
    /// Why nothing more comes.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send;
}

impl Outing {
    /// Of the request as it goes upstream; jobs are told apart by their keys alone.
    pub fn likeness(&self) -> [u8; 32] {
        match self {
            Outing::Call(call) => call.likeness(),
            Outing::Job(_) => [0; 32],
        }
    }

    /// Waits for the head of what comes back.
    ///
    /// # Errors
    /// Why nothing does.
    pub async fn begin(self, client: &Arc<Client>) -> Result<Homing, Error> {
        Ok(match self {
            Outing::Call(call) => Homing::Upstream(client.send(&call).await?),
            Outing::Job(job) => Homing::House(Box::new(job.begin().await?)),
        })
    }
}

impl Homing {
    pub fn head(&self) -> &Head {
        match self {
            Homing::Upstream(incoming) => incoming.head(),
            Homing::House(listening) => listening.head(),
        }
    }
}

impl Pieces for Homing {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        match self {
            Homing::Upstream(incoming) => incoming.chunk().await,
            Homing::House(listening) => listening.chunk().await,
        }
    }
}

impl Pieces for Incoming {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        Incoming::chunk(self).await
    }
}
