//! Settings → parts. The one place that knows which part gets which.

use super::below::Below;
use super::ledger::Books;
use super::reports::Told;
use super::why::Asked;
use super::{database, keys};
use crate::admin::{self, Check, Readiness};
use crate::auth::{AdminKey, Directory, Pepper, Register};
use crate::cache::{Memory, Stock, Vectors};
use crate::config::Config;
use crate::dialect::DIALECTS;
use crate::domain::{Budget, Error, Kind, Route, units};
use crate::flight::{Flights, Limits};
use crate::gateway::{Ears, Eyes, Gateway, Items, Policy, Touches, Warmer, Way};
use crate::proxy::{self, Crowd, Desk, Door, Front, HeadPatience, Hosts, Lane, Patience, Relay, Road};
use crate::store::Shared;
use crate::telemetry::{AccessLog, Metrics, RecordSink, Sampled, Sinks};
use crate::upstream::{Client, Fleet, Inventory, Origins, Target, Vessel};
use arc_swap::ArcSwap;
use pingora::prelude::http_proxy;
use pingora::server::configuration::ServerConf;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The folder of the models, in the data directory.
const MODELS: &str = "models";

/// Everything that serves.
pub struct House {
    pub policy: Arc<ArcSwap<Policy>>,
    pub database: Arc<Shared>,
    pub keys: Arc<Register>,
    pub books: Books,
    pub told: Told,
    pub way: Arc<Way>,
    pub front: Arc<Front>,
    pub below: Below,
    pub warmer: Arc<Warmer>,
    pub log: Arc<AccessLog>,
    pub readiness: Arc<Readiness>,
    /// Set when the end begins.
    pub draining: Arc<AtomicBool>,
    pub admin: admin::Parts,
    pub admin_bounds: admin::Bounds,
}

impl House {
    pub fn build(
        config: &Config,
        metrics: Arc<Metrics>,
        listen: SocketAddr,
        admin_listen: SocketAddr,
    ) -> anyhow::Result<Self> {
        let instance = format!("pannier-{:016x}", fastrand::u64(..));
        let database = database::shared(config)?;
        let keys = Arc::new(keys::register(config, &database));
        let books = Books::build(config, &database, &metrics)?;
        let told = Told::build(config, &database, &metrics);
        let policy = Arc::new(ArcSwap::from_pointee(policy(config, &keys, 0)));
        let draining = Arc::new(AtomicBool::new(false));
        let log = Arc::new(access_log(config, &metrics)?);

        let below = Below::build(config, &metrics)?;
        let way = way(config, &instance, &metrics, &log, (&below, &books));
        let recall = recall_share(config) as u64;
        let gateway = Arc::new(Gateway::new(policy.clone(), way.clone(), recall));
        show_sizes(&metrics, &way, &gateway, &keys);

        let door = door(config, &policy, &way, listen, &instance, &draining);
        let road = road(&way, &gateway, reachable(admin_listen), instance, draining.clone());
        let relay = relay(&way, &gateway);
        let desk = desk(&config.server, &gateway, &way);
        let proxy = Arc::new(http_proxy(&Arc::new(pingora(config)), road));
        let warmer = Arc::new(Warmer::new(gateway.clone(), config.cache.warm));
        let asked = Asked::new(config, &gateway, &keys, &books.card, &told);
        let lane = Lane { gateway, log: config.log.access.then(|| log.clone()), sinks: way.sinks.clone() };
        let crowd = crowd(&config.server, &metrics);
        let front = Arc::new(Front { door, crowd, lane, desk, relay, proxy });
        let readiness = readiness(&way, &books);
        let admin = asked.parts(metrics, &way, &policy, readiness.clone(), Hosts::new(admin_listen));
        Ok(House {
            policy,
            database,
            keys,
            books,
            told,
            way,
            front,
            below,
            warmer,
            log,
            readiness,
            draining,
            admin,
            admin_bounds: admin_bounds(&config.server),
        })
    }
}

fn access_log(config: &Config, metrics: &Metrics) -> std::io::Result<AccessLog> {
    AccessLog::start(&config.log, Box::new(std::io::stdout()), metrics.access_log_dropped())
}

/// Where it is judged who comes in.
fn door(
    config: &Config,
    policy: &Arc<ArcSwap<Policy>>,
    way: &Way,
    listen: SocketAddr,
    instance: &str,
    draining: &Arc<AtomicBool>,
) -> Arc<Door> {
    Arc::new(Door {
        policy: policy.clone(),
        hosts: Hosts::new(listen),
        instance: instance.to_owned(),
        is_house: admin::is_house,
        head_limits: head_limits(&config.server),
        head_patience: HeadPatience::new(&config.server),
        patience: patience(&config.server),
        upstream_patience: way.client.timeouts().first_byte,
        metrics: way.metrics.clone(),
        sinks: way.sinks.clone(),
        draining: draining.clone(),
    })
}

fn readiness(way: &Way, books: &Books) -> Arc<Readiness> {
    let client = way.client.clone();
    let transcribers = way.ears.transcribers.clone();
    let readiness = Readiness::new(move || client.is_up()).also(move || Check {
        name: "speech",
        fault: (!transcribers.is_well()).then_some("the process that listens does not come up"),
        is_extra: true,
    });
    let Some(ledger) = books.ledger.clone() else { return Arc::new(readiness) };
    let books = books.clone();
    Arc::new(readiness.also(move || Check {
        name: "ledger",
        fault: match (ledger.is_full(), books.are_behind()) {
            (true, _) => Some("nothing can be written down"),
            (false, true) => Some("it waits in its spool"),
            (false, false) => None,
        },
        is_extra: ledger.accepts(),
    }))
}

/// Where what is not looked into is forwarded.
fn road(
    way: &Way,
    gateway: &Arc<Gateway>,
    admin: SocketAddr,
    instance: String,
    draining: Arc<AtomicBool>,
) -> Road {
    Road {
        gateway: gateway.clone(),
        client: way.client.clone(),
        admin,
        instance,
        metrics: way.metrics.clone(),
        sinks: way.sinks.clone(),
        draining,
    }
}

/// Where what is small and not looked into is passed on.
fn relay(way: &Way, gateway: &Arc<Gateway>) -> Relay {
    Relay {
        gateway: gateway.clone(),
        client: way.client.clone(),
        budget: way.budget.clone(),
        metrics: way.metrics.clone(),
        sinks: way.sinks.clone(),
    }
}

/// Where answers are given.
fn desk(server: &proxy::Config, gateway: &Arc<Gateway>, way: &Way) -> Desk {
    Desk {
        gateway: gateway.clone(),
        max_body: server.max_body as u64,
        budget: way.budget.clone(),
        metrics: way.metrics.clone(),
        sinks: way.sinks.clone(),
    }
}

/// The way upstream, and what is remembered of it.
fn way(
    config: &Config,
    instance: &str,
    metrics: &Arc<Metrics>,
    log: &Arc<AccessLog>,
    (below, books): (&Below, &Books),
) -> Arc<Way> {
    let target = Arc::new(Target::new(&config.upstream));
    let client = Client::new(target, &config.upstream, instance);
    let mut sinks: Vec<Arc<dyn RecordSink>> = vec![metrics.clone()];
    if config.log.access {
        sinks.push(log.clone());
    }
    sinks.extend(books.ledger.iter().map(|ledger| ledger.clone() as _));
    let inventory = Inventory::new(client.clone(), config.upstream.inventory_refresh);
    let first = Vessel { client: client.clone(), inventory: inventory.clone() };
    let fleet = Fleet::new(first, &config.upstream, instance);
    let room = config.memory.capacity - recall_share(config);
    let memory = Arc::new(Memory::new(room as u64, metrics.clone()));
    let vectors = Arc::new(Vectors::new(config.memory.vectors, metrics.clone()));
    Arc::new(Way {
        items: Items::new(&config.embeddings, limits(config), fleet.len()),
        fleet,
        inventory,
        origins: Origins::new(client.clone()),
        stock: Arc::new(Stock::new(memory.clone(), vectors.clone(), below.tiers.clone())),
        memory,
        tiers: below.tiers.clone(),
        turns: below.turns.clone(),
        vectors,
        eyes: Eyes::new(&config.vision, client.clone()),
        ears: Ears::new(&config.audio, models_dir(config), metrics),
        touches: Touches::new(),
        flights: Flights::new(limits(config), Error::new(Kind::Internal, "the trip upstream was lost")),
        metrics: metrics.clone(),
        sinks: Sinks::new(sinks),
        budget: budget(&config.server, metrics),
        ledger: books.ledger.clone(),
        client,
    })
}

/// Where the models lie that Pannier itself uses.
pub fn models_dir(config: &Config) -> PathBuf {
    match config.audio.models_dir.as_os_str().is_empty() {
        true => config.server.data_dir.join(MODELS),
        false => config.audio.models_dir.clone(),
    }
}

/// Of `memory.capacity`, the part that the shortest way to the entries may take: a quarter.
fn recall_share(config: &Config) -> usize {
    config.memory.capacity / 4
}

fn pingora(config: &Config) -> ServerConf {
    ServerConf {
        upstream_keepalive_pool_size: config.upstream.idle_connections.max(1),
        // One for each address of the upstream's name, and one for a kept connection that was dead.
        max_retries: 4,
        ..ServerConf::default()
    }
}

/// What a reload replaces.
pub fn policy(config: &Config, keys: &Register, generation: u64) -> Policy {
    let admin = AdminKey::kept(&config.auth, &config.server.data_dir).map_err(anyhow::Error::from);
    let admin = admin.inspect_err(|error| {
        tracing::warn!(
            error = format!("{error:#}"),
            "there is no admin key: nobody can ask for what needs it"
        );
    });
    keys.heed(&config.auth);
    let pepper = keys.pepper_or_else(|| Pepper::of(std::array::from_fn(|_| fastrand::u8(..))));
    let directory = Directory::new(&config.auth, admin.ok(), pepper, keys.stored());
    let allowed_hosts = &config.access.allowed_hosts;
    Policy::new(directory, &config.cache, config.replay, allowed_hosts, generation)
}

fn limits(config: &Config) -> Limits {
    let crate::flight::Config { max_recording, window, max_recorded, max_flights } = config.flight;
    Limits { max_recording, window, max_recorded, max_flights }
}

fn head_limits(server: &proxy::Config) -> proxy::Limits {
    proxy::Limits { bytes: server.max_header_bytes, fields: server.max_headers }
}

fn budget(server: &proxy::Config, metrics: &Metrics) -> Budget {
    let budget = Budget::new(server.max_buffered);
    let held = budget.clone();
    metrics.gauge_source(Sampled::Size("held_body_bytes"), move || held.held() as i64);
    budget
}

fn crowd(server: &proxy::Config, metrics: &Metrics) -> Arc<Crowd> {
    let crowd = Arc::new(Crowd::new(server));
    let here = crowd.clone();
    metrics.gauge_source(Sampled::Size("client_addresses"), move || here.addresses() as i64);
    crowd
}

fn show_keys(metrics: &Metrics, keys: &Arc<Register>) {
    let seen = keys.clone();
    metrics.gauge_source(Sampled::DependencyUp("store"), move || seen.is_up().into());
    let seen = keys.clone();
    metrics.gauge_source(Sampled::Size("keys"), move || seen.len() as i64);
}

fn admin_bounds(server: &proxy::Config) -> admin::Bounds {
    let or_never = |limit: Duration| if limit.is_zero() { units::LONGEST } else { limit };
    admin::Bounds {
        connections: server.max_admin_connections,
        head: or_never(server.header_timeout),
        life: or_never(server.keepalive_timeout),
        write: or_never(server.write_timeout),
        head_bytes: server.max_header_bytes,
        head_fields: server.max_headers,
    }
}

fn patience(server: &proxy::Config) -> Patience {
    Patience {
        body_min_rate: server.body_min_rate,
        body_grace: server.body_grace,
        write: server.write_timeout,
    }
}

/// Every part that has a bound shows how full it is.
fn show_sizes(metrics: &Metrics, way: &Arc<Way>, gateway: &Arc<Gateway>, keys: &Arc<Register>) {
    show_keys(metrics, keys);
    for spec in
        DIALECTS.into_iter().flat_map(|dialect| dialect.routes().iter().map(move |spec| (dialect, spec)))
    {
        let (dialect, spec) = spec;
        metrics.expect_route(spec.method, Route { template: spec.path, dialect: dialect.name() });
    }
    let show = |gauge: Sampled, read: fn(&Way) -> u64| {
        let way = way.clone();
        metrics.gauge_source(gauge, move || i64::try_from(read(&way)).unwrap_or(i64::MAX));
    };
    show(Sampled::CacheEntries, |way| way.memory.entries() + way.vectors.entries());
    show(Sampled::CacheBytes, |way| way.memory.bytes() + way.vectors.bytes());
    show(Sampled::Flights, |way| (way.flights.len() + way.items.flights.len()) as u64);
    show(Sampled::UpstreamUp, |way| way.client.is_up().into());
    show(Sampled::Size("cache_memory_bytes"), |way| way.memory.bytes());
    show(Sampled::Size("flights"), |way| way.flights.len() as u64);
    show(Sampled::Size("vectors"), |way| way.vectors.entries());
    show(Sampled::Size("vector_bytes"), |way| way.vectors.bytes());
    show(Sampled::Size("cache_labels"), |way| way.stock.labels() as u64);
    show(Sampled::Size("text_flights"), |way| way.items.flights.len() as u64);
    show(Sampled::Size("text_calls_waiting"), |way| way.items.batcher.waiting() as u64);
    show(Sampled::Size("text_calls_under_way"), |way| way.items.batcher.under_way() as u64);
    show(Sampled::Size("recorded_bytes"), |way| way.flights.recorded_bytes() as u64);
    show(Sampled::Size("models"), |way| way.inventory.models().len() as u64);
    show(Sampled::Size("touched_models"), |way| way.touches.len() as u64);
    show(Sampled::Size("origins"), |way| way.origins.len());
    show(Sampled::Size("pictures_waiting"), |way| way.eyes.darkroom.waiting() as u64);
    show(Sampled::Size("picture_bytes"), |way| way.eyes.darkroom.known_bytes());
    show(Sampled::Size("recordings_waiting"), |way| way.ears.waiting() as u64);
    show(Sampled::Size("recordings_known"), |way| way.ears.known());
    show(Sampled::Size("transcribers_idle"), |way| way.ears.transcribers.idle() as u64);
    show(Sampled::Size("model_abilities"), |way| way.eyes.abilities.len());
    let read = gateway.clone();
    metrics.gauge_source(Sampled::Size("recall_bytes"), move || read.recall_size().0 as i64);
    let read = gateway.clone();
    metrics.gauge_source(Sampled::Size("recall_entries"), move || read.recall_size().1 as i64);
}

/// Where a listener on any address can be reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}
