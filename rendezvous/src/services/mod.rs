//! What a rendezvous does for its clients. Nothing in here knows a network: sessions and what is pushed to them come from the host.

pub mod directory;
pub mod log;
pub mod operator;
pub mod presence;
pub mod rates;
pub mod relay;
pub mod session;
pub mod space;
pub mod sweep;
pub mod workers;

use std::{
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use self::{
    directory::Codes,
    operator::Metrics,
    rates::ServiceRates,
    relay::turn::{Revoked, Streams},
    space::Space,
    workers::Workers,
};
use crate::{
    clock::now_ms,
    config::{Config, Limits, Registration},
    limits::{ACCOUNTS_PER_SESSION, MAX_RETRY_WINDOW, RETURNS_PER_SECOND},
    store::{Collection, Key, Store, StoreError},
};

/// The part of the configuration that can change while the server runs.
#[derive(Clone, Debug)]
pub struct Policy {
    pub registration: Registration,
    pub limits: Limits,
}

/// What all sessions share.
pub struct Services {
    pub store: Store,
    pub codes: Codes,
    pub metrics: Metrics,
    pub server_key: Key,
    pub name_key: [u8; 32],
    /// How often clients may ask.
    pub rates: ServiceRates,
    pub draining: AtomicBool,
    /// Tells this process from others: see `ServerHello`.
    pub run: u64,
    /// Sessions that there will be, as far as was known at the start.
    expected_sessions: AtomicU64,
    /// Whether more can be stored.
    pub space: Space,
    /// Where device chains are read and checked.
    pub workers: Workers,
    /// Where calls are helped, if they are.
    pub turn: OnceLock<TurnEndpoint>,
    /// What the server is bound to, as [`Config::sockets`] names it.
    pub sockets: OnceLock<Vec<String>>,
    policy: RwLock<Arc<Policy>>,
}

/// What clients are told of TURN, and what their credentials are made of.
#[derive(Debug)]
pub struct TurnEndpoint {
    /// Where it is asked, by each protocol that it listens on.
    pub addresses: Vec<std::net::SocketAddr>,
    /// The port of the same hosts at which it answers beside QUIC.
    pub other_port: Option<u16>,
    pub secret: [u8; 32],
    pub hours: u64,
    /// Users whose credentials do not count any more, though they have not expired.
    pub revoked: Revoked,
    /// Takes the streams of clients whose networks let no datagrams through.
    pub streams: Streams,
}

impl TurnEndpoint {
    /// The port of this host at which STUN answers.
    pub fn stun_port(&self) -> u32 {
        self.addresses.first().map_or(0, |address| u32::from(address.port()))
    }

    /// The name of an account on a day since 1970: quotas are counted by it, and who relays does not learn whose it is.
    pub fn user(&self, account: &Key, day: u64) -> String {
        let name = blake3::keyed_hash(&self.secret, &[&account[..], &day.to_be_bytes()].concat());
        data_encoding::HEXLOWER.encode(&name.as_bytes()[..8])
    }

    /// Revokes the credentials that an account has today, or lets them count again.
    pub fn set_revoked(&self, account: &Key, revoked: bool, today: u64) {
        let days = self.hours.div_ceil(24);
        for day in today.saturating_sub(days)..=today {
            self.revoked.set(self.user(account, day), revoked);
        }
    }
}

impl Services {
    pub fn new(store: Store, server_key: Key, name_key: [u8; 32], config: &Config) -> Self {
        Self {
            store,
            codes: Codes::default(),
            metrics: Metrics::new(),
            server_key,
            name_key,
            rates: ServiceRates::new(config),
            draining: AtomicBool::new(false),
            run: u64::from_le_bytes(starling_keys::random()),
            expected_sessions: AtomicU64::new(0),
            space: Space::new(config.limits.store_bytes),
            workers: Workers::default(),
            turn: OnceLock::new(),
            sockets: OnceLock::new(),
            policy: RwLock::new(Arc::new(policy(config))),
        }
    }

    pub fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn reload(&self, config: &Config) {
        self.space.set_most(config.limits.store_bytes);
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy(config));
    }

    /// Looks how much room the disk has.
    pub fn look_at_disk(&self) {
        if let Some(free) = self.store.health.free_space() {
            self.space.note_disk(free, self.policy().limits.disk_reserve_bytes);
        }
    }

    /// Looks how many devices may come: they do not do so at once.
    pub async fn expect_sessions(&self) -> Result<(), StoreError> {
        let accounts = self.store.records.count(Collection::Accounts).await?;
        self.expected_sessions.store(accounts / ACCOUNTS_PER_SESSION, Ordering::Relaxed);
        Ok(())
    }

    /// The time over which devices spread their return after this server has gone.
    pub fn retry_window(&self) -> Duration {
        let open = u64::try_from(self.metrics.sessions.get()).unwrap_or(0);
        let sessions = open.max(self.expected_sessions.load(Ordering::Relaxed));
        Duration::from_millis(sessions.saturating_mul(1_000) / RETURNS_PER_SECOND).min(MAX_RETRY_WINDOW)
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub fn expiry(&self) -> u64 {
        now_ms() / 1000 + self.policy().limits.keep_days * 86_400
    }
}

fn policy(config: &Config) -> Policy {
    Policy { registration: config.registration.clone(), limits: config.limits.clone() }
}
