//! The connection to a Redis, and what its errors mean. Only a probe connects; everybody else takes the
//! connection that there is or does without, so that nobody ever waits for one.
//!
//! Of what a server answers only the error's code is told on: some repeat the password they were sent.

use super::super::join::join_all;
use super::super::tier::{Fault, unhurried};
use super::address::{Address, AddressError, connection_config, primaries};
use arc_swap::ArcSwapOption;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::{
    Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, ScriptInvocation, ServerErrorKind, Value,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(super) struct Link {
    address: Address,
    /// The longest that a request waits.
    timeout: Duration,
    current: ArcSwapOption<Connection>,
    /// The server takes no writes: by now there may be one under the same name that does.
    stale: AtomicBool,
    /// Why it could not be reached last, which is said once.
    said: Mutex<Option<String>>,
}

/// A clone is one reference more.
#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A connection in use, and that which it is one reference to.
struct Used {
    connection: Connection,
    current: Arc<Connection>,
}

// === impl Link ===

impl Link {
    pub fn new(url: &str, timeout: Duration) -> Result<Self, AddressError> {
        let address = Address::parse(url)?;
        let (current, stale) = (ArcSwapOption::empty(), AtomicBool::new(false));
        Ok(Link { address, timeout, current, stale, said: Mutex::default() })
    }

    /// How long something may take that no request waits for.
    pub fn patience(&self) -> Duration {
        unhurried(self.timeout)
    }

    /// The reply to `command`.
    pub async fn ask(&self, command: &Cmd) -> Result<Value, Fault> {
        let mut used = self.connection()?;
        let reply = command.query_async(&mut used.connection).await;
        reply.map_err(|error| self.fault(&used, &error))
    }

    /// A reply to each of `commands`, in their order, whatever keys they are for. Each may have failed for
    /// itself.
    pub async fn ask_all(&self, commands: Vec<Cmd>) -> Result<Vec<Result<Value, Fault>>, Fault> {
        let mut used = self.connection()?;
        if matches!(used.connection, Connection::Cluster(_)) {
            // Each finds its own node; those for one node go there together.
            return Ok(join_all(commands.iter().map(|command| self.ask(command))).await);
        }
        let replies = pipeline(&mut used.connection, commands).await;
        let replies = replies.map_err(|error| self.fault(&used, &error))?;
        Ok(replies.into_iter().map(|reply| reply.map_err(|error| self.fault(&used, &error))).collect())
    }

    /// Runs a script; one that the server does not know is loaded first.
    pub async fn run(&self, script: &ScriptInvocation<'_>) -> Result<i64, Fault> {
        let mut used = self.connection()?;
        let number = script.invoke_async(&mut used.connection).await;
        number.map_err(|error| self.fault(&used, &error))
    }

    /// Connects where there is no good connection, and sees whether the one that there is answers `command`.
    pub async fn probe(&self, command: &Cmd) -> Result<(), Fault> {
        if self.stale.swap(false, Ordering::Relaxed) || self.current.load().is_none() {
            let connection = self.address.connect().await.map_err(|error| self.unreached(&error))?;
            self.current.store(Some(Arc::new(connection)));
            *self.said.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        let probed = self.connection()?;
        // Before whoever has it probed gives up: a connection that is silent is one to be rid of.
        match tokio::time::timeout(self.patience(), self.ask(command)).await {
            Ok(reply) => reply.map(drop),
            Err(_) => {
                self.give_up(&probed);
                Err(Fault::TimedOut)
            }
        }
    }

    /// A connection of its own to every node that holds keys, for what takes long: it is in nobody's way, and
    /// where the server can do that (7.2) it does not make old entries look used.
    pub async fn survey(&self) -> Result<Vec<MultiplexedConnection>, Fault> {
        let nodes = match &self.address {
            Address::Single(client) => vec![(**client).clone()],
            Address::Cluster(_, node) => {
                primaries(&self.ask(redis::cmd("CLUSTER").arg("SLOTS")).await?, node)
            }
        };
        let mut connections = Vec::new();
        for node in nodes {
            let connected = node.get_multiplexed_async_connection_with_config(&connection_config()).await;
            let mut connection = connected.map_err(|error| fault_of(&error))?;
            let no_touch: RedisResult<Value> =
                redis::cmd("CLIENT").arg("NO-TOUCH").arg("ON").query_async(&mut connection).await;
            if let Err(error) = no_touch {
                tracing::debug!(reason = reason(&error), "looking at entries makes them look used");
            }
            connections.push(connection);
        }
        if connections.is_empty() { Err(Fault::Unreachable) } else { Ok(connections) }
    }

    fn connection(&self) -> Result<Used, Fault> {
        let current = self.current.load_full().ok_or(Fault::Unreachable)?;
        Ok(Used { connection: (*current).clone(), current })
    }

    /// What `error` means for whoever asked, and for the connection.
    fn fault(&self, used: &Used, error: &RedisError) -> Fault {
        tracing::debug!(reason = reason(error), "Redis failed");
        if error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) {
            self.stale.store(true, Ordering::Relaxed);
        } else if error.is_unrecoverable_error() || error.code() == Some("NOAUTH") {
            self.give_up(used);
        }
        fault_of(error)
    }

    /// The next probe connects anew, unless one has done so already.
    fn give_up(&self, used: &Used) {
        self.current.compare_and_swap(&used.current, None);
    }

    fn unreached(&self, error: &RedisError) -> Fault {
        let reason = reason(error);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.as_ref() != Some(&reason) {
            tracing::warn!(reason, "Redis cannot be reached");
            *said = Some(reason);
        }
        fault_of(error)
    }
}

/// A reply to each of `commands`, in their order.
pub(super) async fn pipeline(
    connection: &mut impl ConnectionLike,
    commands: Vec<Cmd>,
) -> RedisResult<Vec<RedisResult<Value>>> {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline.ignore_errors().query_async(connection).await
}

/// What `error` is to whoever asked.
pub(super) fn fault_of(error: &RedisError) -> Fault {
    match error.kind() {
        ErrorKind::Io if error.is_timeout() => Fault::TimedOut,
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => Fault::Unreachable,
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Fault::Corrupt,
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::TryAgain
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask,
        ) => Fault::Unreachable,
        _ if error.code() == Some("WRONGTYPE") => Fault::Corrupt,
        // OOM, READONLY, NOAUTH, NOPERM, MISCONF, and whatever else a server will not do.
        _ => Fault::Refused,
    }
}

/// For the log. Of what a server said, only its code.
fn reason(error: &RedisError) -> String {
    match error.code() {
        Some(code) => code.to_owned(),
        None if error.is_io_error() => error.to_string(),
        None => error.category().to_owned(),
    }
}

// === impl Connection ===

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Connection::Single(connection) => connection.req_packed_command(command),
            Connection::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Connection::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Connection::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Connection::Single(connection) => connection.get_db(),
            Connection::Cluster(connection) => connection.get_db(),
        }
    }
}
