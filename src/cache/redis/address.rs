//! Where a Redis is: one server, or a Cluster of them.

use super::link::Connection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, Value,
};
use std::time::Duration;

/// To connect and to be let in.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1200);
/// No reply is waited for longer; whoever asks has a shorter time of its own.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that says nothing to what was sent, or to being asked whether it is there, is gone.
const SILENCE: Duration = Duration::from_secs(5);
/// Commands that may wait for their turn on a connection; the next one waits to wait.
const WAITING_COMMANDS: usize = 1024;

/// No address of a Redis. Shows nothing of it: a password may stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected `redis://[user:password@]host[:port][/db]`, `rediss://...` for TLS, `unix:///path`, or for a Cluster \
     `redis+cluster://host:port,host:port`"
)]
pub struct AddressError;

pub(super) enum Address {
    Single(Box<Client>),
    /// And one node's own, from which those of the others differ in host and port.
    Cluster(Box<ClusterClient>, Box<ConnectionInfo>),
}

impl Address {
    /// More than one, with commas between them, are a Cluster's; the first one's user and password stand for
    /// all.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = url.trim().split_once("://").ok_or(AddressError)?;
        let plain_scheme = scheme.strip_suffix("+cluster");
        if plain_scheme.is_none() && !rest.contains(',') {
            let client = Client::open(node(url.trim())?).map_err(|_| AddressError)?;
            return Ok(Address::Single(Box::new(client)));
        }
        let scheme = plain_scheme.unwrap_or(scheme);
        let places = rest.split(',').map(|place| {
            let place = place.trim();
            place.split_once("://").map_or(place, |(_, place)| place)
        });
        let login = rest.split(',').next().and_then(|first| first.rsplit_once('@')).map(|(login, _)| login);
        let nodes = places.map(|place| match login {
            Some(login) if !place.contains('@') => node(&format!("{scheme}://{login}@{place}")),
            _ => node(&format!("{scheme}://{place}")),
        });
        let nodes: Vec<ConnectionInfo> = nodes.collect::<Result<_, _>>()?;
        let first = nodes.first().ok_or(AddressError)?.clone();
        let client = ClusterClientBuilder::new(nodes)
            .tcp_settings(tcp_settings())
            .connection_timeout(CONNECT_TIMEOUT)
            .response_timeout(REPLY_TIMEOUT)
            // One redirection is followed; a request has no time for more.
            .retries(1)
            .max_retry_wait(10)
            .build()
            .map_err(|_| AddressError)?;
        Ok(Address::Cluster(Box::new(client), Box::new(first)))
    }

    pub async fn connect(&self) -> Result<Connection, RedisError> {
        match self {
            Address::Single(client) => {
                let config = connection_config();
                client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::Single)
            }
            Address::Cluster(client, _) => client.get_async_connection().await.map(Connection::Cluster),
        }
    }
}

/// The nodes of a Cluster that hold keys, from its reply to `CLUSTER SLOTS`, reached as `one` of them is.
pub(super) fn primaries(slots: &Value, one: &ConnectionInfo) -> Vec<Client> {
    let mut places: Vec<(String, u16)> = Vec::new();
    // [[first slot, last slot, [host, port, ...], replicas ...], ...]
    for range in slots.as_sequence().unwrap_or_default() {
        let Some([_, _, primary, ..]) = range.as_sequence() else { continue };
        let Some([host, port, ..]) = primary.as_sequence() else { continue };
        let (host, port) = (redis::from_redis_value_ref(host), redis::from_redis_value_ref(port));
        if let (Ok(host), Ok(port)) = (host, port) {
            places.push((host, port));
        }
    }
    places.sort();
    places.dedup();
    let reach =
        |(host, port): (String, u16)| Client::open(one.clone().set_addr(moved(one.addr(), host, port))).ok();
    places.into_iter().filter_map(reach).collect()
}

fn moved(address: &ConnectionAddr, host: String, port: u16) -> ConnectionAddr {
    match address.clone() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        }
        _ => ConnectionAddr::Tcp(host, port),
    }
}

fn node(url: &str) -> Result<ConnectionInfo, AddressError> {
    let node = url.into_connection_info().map_err(|_| AddressError)?;
    Ok(node.set_tcp_settings(tcp_settings()))
}

/// A peer that has vanished without a word is noticed within ten seconds, idle or not.
fn tcp_settings() -> TcpSettings {
    let keepalive =
        TcpKeepalive::new().with_time(SILENCE).with_interval(Duration::from_secs(1)).with_retries(3);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(SILENCE);
    settings
}

pub(super) fn connection_config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(REPLY_TIMEOUT))
        .set_pipeline_buffer_size(WAITING_COMMANDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single(url: &str) -> ConnectionInfo {
        match Address::parse(url) {
            Ok(Address::Single(client)) => client.get_connection_info().clone(),
            _ => panic!("{url}"),
        }
    }

    fn first_of_cluster(url: &str) -> ConnectionInfo {
        match Address::parse(url) {
            Ok(Address::Cluster(_, node)) => *node,
            _ => panic!("{url}"),
        }
    }

    #[test]
    fn one_server() {
        let node = single("redis://user:pass@cache.lan:6380/3");
        assert_eq!(node.addr(), &ConnectionAddr::Tcp("cache.lan".into(), 6380));
        let login = node.redis_settings();
        assert_eq!((login.username(), login.password(), login.db()), (Some("user"), Some("pass"), 3));
        assert!(matches!(single(" rediss://cache.lan ").addr(), ConnectionAddr::TcpTls { port: 6379, .. }));
        assert!(matches!(single("unix:///run/redis.sock").addr(), ConnectionAddr::Unix(_)));
    }

    #[test]
    fn a_cluster_by_name_or_by_commas() {
        let node = first_of_cluster("redis+cluster://:pass@a:7000,b:7001, c:7002");
        assert_eq!(node.addr(), &ConnectionAddr::Tcp("a".into(), 7000));
        assert_eq!(node.redis_settings().password(), Some("pass"));
        assert_eq!(first_of_cluster("redis+cluster://a").addr(), &ConnectionAddr::Tcp("a".into(), 6379));
        assert_eq!(first_of_cluster("redis://a:1,redis://b:2").addr(), &ConnectionAddr::Tcp("a".into(), 1));
        let node = first_of_cluster("rediss+cluster://a:1,b:2");
        assert!(matches!(moved(node.addr(), "c".into(), 3), ConnectionAddr::TcpTls { port: 3, .. }));
    }

    #[test]
    fn what_is_no_address_says_what_would_be_and_nothing_of_itself() {
        for url in [
            "",
            "cache.lan",
            "http://:sesame@a",
            "redis://:sesame@a:notaport",
            "redis+cluster://",
            "redis://",
        ] {
            let error = Address::parse(url).err().unwrap_or_else(|| panic!("{url}")).to_string();
            assert!(error.contains("rediss://") && !error.contains("sesame"), "{error}");
        }
        for url in ["redis+cluster://a,,b", "unix+cluster:///a,b", "redis://x:y@a,x:z@b"] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }
}
