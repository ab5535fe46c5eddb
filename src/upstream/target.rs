//! Where the upstream is: its authority, and the socket addresses behind the name, looked up without
//! blocking anybody and looked up again when none of them answers.

use super::address::Scheme;
use super::{Address, Config};
use crate::domain::{Error, Kind};
use arc_swap::ArcSwapOption;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a looked-up name is believed.
const NAME_TTL: Duration = Duration::from_secs(30);

/// One upstream's place in the network.
pub struct Target {
    address: Address,
    config: Config,
    found: ArcSwapOption<Found>,
}

/// What a name stood for.
struct Found {
    addresses: Vec<SocketAddr>,
    /// The same, as Pingora wants them.
    peers: Vec<Arc<HttpPeer>>,
    /// The one that answered last.
    preferred: AtomicUsize,
    until: Option<Instant>,
}

impl Target {
    pub fn new(config: &Config) -> Self {
        Target { address: config.url.clone(), config: config.clone(), found: ArcSwapOption::empty() }
    }

    /// `host:port`, what the upstream expects as its `Host`.
    pub fn authority(&self) -> String {
        self.address.authority()
    }

    /// The whole URL, for people.
    pub fn url(&self) -> String {
        self.address.to_string()
    }

    /// The path that stands before every request's own, without a slash at its end; mostly empty.
    pub fn base_path(&self) -> &str {
        &self.address.base_path
    }

    /// How many addresses the name had when it was last looked up.
    pub fn choices(&self) -> usize {
        self.found.load().as_ref().map_or(1, |found| found.peers.len())
    }

    /// The name that the upstream's certificate must bear; none where TLS is not spoken.
    pub fn tls_name(&self) -> Option<&str> {
        (self.address.scheme == Scheme::Https).then_some(&*self.address.host)
    }

    /// The address to try now.
    ///
    /// # Errors
    /// `UpstreamUnreachable` when the name means nothing.
    pub async fn address(&self) -> Result<SocketAddr, Error> {
        let found = self.found().await?;
        Ok(found.addresses[found.at()])
    }

    /// The same, as Pingora wants it.
    ///
    /// # Errors
    /// `UpstreamUnreachable` when the name means nothing.
    pub async fn peer(&self) -> Result<Arc<HttpPeer>, Error> {
        let found = self.found().await?;
        Ok(found.peers[found.at()].clone())
    }

    async fn found(&self) -> Result<Arc<Found>, Error> {
        match self.found.load_full() {
            Some(found) if found.until.is_none_or(|until| Instant::now() < until) => Ok(found),
            _ => self.look_up().await,
        }
    }

    /// The address just tried did not answer: take the next one.
    pub fn next(&self) {
        if let Some(found) = self.found.load().as_ref() {
            let tried = found.preferred.fetch_add(1, Ordering::Relaxed) + 1;
            if found.until.is_some() && tried.is_multiple_of(found.peers.len()) {
                self.found.store(None);
            }
        }
    }

    async fn look_up(&self) -> Result<Arc<Found>, Error> {
        let (host, port) = (self.address.host.as_str(), self.address.port);
        let (addresses, until) = match host.parse::<IpAddr>() {
            Ok(ip) => (vec![SocketAddr::new(ip, port)], None),
            Err(_) => {
                let unknown =
                    || Error::new(Kind::UpstreamUnreachable, "the upstream's name cannot be resolved");
                let looking = tokio::net::lookup_host((host, port));
                let found = match off_if_zero(self.config.connect_timeout) {
                    Some(limit) => tokio::time::timeout(limit, looking).await.map_err(|_| unknown())?,
                    None => looking.await,
                };
                let found = found.map_err(|_| unknown())?;
                let mut addresses: Vec<_> = found.collect();
                if addresses.is_empty() {
                    return Err(unknown());
                }
                // Ollama listens on IPv4 unless told otherwise.
                addresses.sort_by_key(SocketAddr::is_ipv6);
                (addresses, Some(Instant::now() + NAME_TTL))
            }
        };
        let peers = addresses.iter().map(|address| Arc::new(self.peer_at(*address))).collect();
        let found = Arc::new(Found { addresses, peers, preferred: AtomicUsize::new(0), until });
        self.found.store(Some(found.clone()));
        Ok(found)
    }

    fn peer_at(&self, address: SocketAddr) -> HttpPeer {
        let mut peer = HttpPeer::new(address, self.tls_name().is_some(), self.address.host.clone());
        peer.options.connection_timeout = off_if_zero(self.config.connect_timeout);
        peer.options.total_connection_timeout = off_if_zero(self.config.connect_timeout);
        peer.options.read_timeout = off_if_zero(self.config.first_byte_timeout);
        peer.options.write_timeout = off_if_zero(self.config.write_timeout);
        peer.options.idle_timeout = off_if_zero(self.config.idle_timeout);
        // Ollama knows no upgrade, and ignores being asked for one.
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        peer
    }
}

impl Found {
    /// Which of them is to be tried.
    fn at(&self) -> usize {
        self.preferred.load(Ordering::Relaxed) % self.addresses.len()
    }
}

/// Settings write 0 for "off".
pub(super) fn off_if_zero(limit: Duration) -> Option<Duration> {
    (!limit.is_zero()).then_some(limit)
}
