//! How often clients may ask: by account where there is one, else by the networks around their address; and all together.

use std::{hash::Hash, net::IpAddr, num::NonZeroU32, time::Duration};

use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, InsufficientCapacity, NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock, QuantaInstant},
};

use crate::{
    address::{Network, Origin},
    config::{Config, Limits},
    limits::{
        CLAIMED_PER_HOUR, CLAIMS_PER_HOUR, CODE_TRIES_PER_HOUR, CONNECTION_BURST_PART, FULL_TOLD_PER_MINUTE, LEAVES,
        NAME_LOOK_UPS_PER_HOUR, NAMES_OF_ACCOUNT_PER_HOUR, NAMES_PER_HOUR, PROXY_RATE, RATED_NETWORKS, SESSIONS,
        WIDE_RATE,
    },
    store::Key,
};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Asker {
    /// A device of a registered account.
    Account(Key),
    /// A device without one, by where it is.
    Stranger(Origin),
    /// A device without one in this process.
    Local(Key),
}

/// How often clients may do what costs others, or the server, something.
pub struct ServiceRates {
    /// Requests of any kind.
    pub requests: Rates,
    /// New accounts by network.
    pub registrations: NetworkRates,
    /// Key packages that somebody claims.
    pub claims: Rates,
    /// User names that are looked up.
    pub look_ups: Rates,
    /// User names that are taken, by network …
    pub names: NetworkRates,
    /// … and by account.
    pub names_of_account: DefaultKeyedRateLimiter<Key>,
    /// One-time key packages that are claimed of a device.
    pub claimed: DefaultKeyedRateLimiter<Key>,
    /// Sessions that a device begins.
    pub sessions: DefaultKeyedRateLimiter<Key>,
    /// Logs that a device leaves, whatever sessions it has.
    pub leaves: DefaultKeyedRateLimiter<Key>,
    /// Logs whose readers are told that there was no room.
    pub full: DefaultKeyedRateLimiter<Key>,
    /// Guesses at short codes by network.
    pub guesses: NetworkRates,
}

impl ServiceRates {
    pub fn new(config: &Config) -> Self {
        Self {
            requests: Rates::of_requests(&config.limits),
            registrations: NetworkRates::per_hour(config.registration.per_address_per_hour),
            claims: Rates::per_hour(CLAIMS_PER_HOUR),
            look_ups: Rates::per_hour(NAME_LOOK_UPS_PER_HOUR),
            names: NetworkRates::per_hour(NAMES_PER_HOUR),
            names_of_account: RateLimiter::keyed(Quota::per_hour(NAMES_OF_ACCOUNT_PER_HOUR)),
            claimed: RateLimiter::keyed(Quota::per_hour(CLAIMED_PER_HOUR)),
            sessions: RateLimiter::keyed(Quota::per_second(SESSIONS.0).allow_burst(SESSIONS.1)),
            leaves: RateLimiter::keyed(Quota::per_second(LEAVES.0).allow_burst(LEAVES.1)),
            full: RateLimiter::keyed(Quota::per_minute(FULL_TOLD_PER_MINUTE)),
            guesses: NetworkRates::per_hour(CODE_TRIES_PER_HOUR),
        }
    }

    /// Forgets those who have not asked for long.
    pub fn retain_recent(&self) {
        self.requests.retain_recent();
        self.registrations.retain_recent();
        self.claims.retain_recent();
        self.claimed.retain_recent();
        self.look_ups.retain_recent();
        self.names.retain_recent();
        self.names_of_account.retain_recent();
        self.sessions.retain_recent();
        self.leaves.retain_recent();
        self.full.retain_recent();
        self.guesses.retain_recent();
    }
}

/// The rates of something.
pub struct Rates {
    by_account: DefaultKeyedRateLimiter<Key>,
    by_network: NetworkRates,
    strangers: DefaultDirectRateLimiter,
    all: DefaultDirectRateLimiter,
}

impl Rates {
    /// Of requests.
    pub fn of_requests(limits: &Limits) -> Self {
        let quota = |per_second: u32, burst: u32| Quota::per_second(positive(per_second)).allow_burst(positive(burst));
        let each = quota(limits.requests_per_second, limits.request_burst);
        let all = limits.total_requests_per_second;
        Self {
            by_account: RateLimiter::keyed(each),
            by_network: NetworkRates::new(each),
            strangers: RateLimiter::direct(quota(all / 4, all / 4)),
            all: RateLimiter::direct(quota(all, all.saturating_mul(4))),
        }
    }

    /// Of what each may do so often an hour, strangers together a hundred times and all a thousand times as often.
    pub fn per_hour(each: NonZeroU32) -> Self {
        let most_of_each = each;
        let each = Quota::per_hour(each);
        let all = |factor: u32| {
            let most = most_of_each.saturating_mul(positive(factor));
            RateLimiter::direct(Quota::per_hour(most))
        };
        Self {
            by_account: RateLimiter::keyed(each),
            by_network: NetworkRates::new(each),
            strangers: all(100),
            all: all(1_000),
        }
    }

    /// Counts one; an error says how long to wait.
    pub fn check(&self, asker: &Asker) -> Result<(), Duration> {
        self.check_n(asker, NonZeroU32::MIN)
    }

    /// Counts so many at once, or as many as may ever come at once; an error says how long to wait.
    pub fn check_n(&self, asker: &Asker, n: NonZeroU32) -> Result<(), Duration> {
        match asker {
            Asker::Account(key) | Asker::Local(key) => count_key(&self.by_account, key, n)?,
            Asker::Stranger(origin) => {
                self.by_network.check_n(origin, n)?;
                count(&self.strangers, n)?;
            }
        }
        count(&self.all, n)
    }

    /// Forgets who has not asked for a while.
    pub fn retain_recent(&self) {
        self.by_account.retain_recent();
        self.by_network.retain_recent();
    }
}

/// The rates of new connections, by where they come from.
pub struct ConnectionRates {
    near: NetworkRates,
    wide: DefaultKeyedRateLimiter<Network>,
}

impl ConnectionRates {
    /// `per_minute` is the rate of one address.
    pub fn new(per_minute: u32) -> Self {
        let burst = positive(per_minute / CONNECTION_BURST_PART);
        let wide = Quota::per_minute(positive(per_minute.saturating_mul(WIDE_RATE)));
        Self {
            near: NetworkRates::new(Quota::per_minute(positive(per_minute)).allow_burst(burst)),
            wide: RateLimiter::keyed(wide.allow_burst(positive(per_minute))),
        }
    }

    /// Counts one; an error says how long to wait.
    pub fn check(&self, ip: IpAddr, origin: &Origin) -> Result<(), Duration> {
        self.near.check(origin)?;
        if matches!(origin, Origin::Client(_)) && self.wide.len() <= RATED_NETWORKS {
            self.wide.check_key(&Network::wide(ip)).map_err(wait)?;
        }
        Ok(())
    }

    /// Forgets networks from which nobody has connected for a while.
    pub fn retain_recent(&self) {
        self.near.retain_recent();
        self.wide.retain_recent();
    }
}

/// Rates for each network around an address: wider ones may do twice and four times as much; a proxy as many as [`PROXY_RATE`] addresses.
pub struct NetworkRates {
    by_network: [DefaultKeyedRateLimiter<Network>; 4],
}

impl NetworkRates {
    /// `quota` is that of one address.
    pub fn new(quota: Quota) -> Self {
        let of = |factor: u32| {
            let interval = quota.replenish_interval() / factor;
            let burst = positive(quota.burst_size().get().saturating_mul(factor));
            // Never zero: no quota of a configuration is that high.
            let quota = Quota::with_period(interval.max(Duration::from_nanos(1))).map(|quota| quota.allow_burst(burst));
            RateLimiter::keyed(quota.unwrap_or(Quota::per_second(burst)))
        };
        Self { by_network: [of(1), of(2), of(4), of(PROXY_RATE)] }
    }

    /// So many an hour from one address, all at once if need be.
    pub fn per_hour(most: u32) -> Self {
        Self::new(Quota::per_hour(positive(most)))
    }

    /// Counts one; an error says how long to wait.
    pub fn check(&self, origin: &Origin) -> Result<(), Duration> {
        self.check_n(origin, NonZeroU32::MIN)
    }

    /// Counts so many at once, or as many as may ever come at once; an error says how long to wait.
    pub fn check_n(&self, origin: &Origin, n: NonZeroU32) -> Result<(), Duration> {
        let limiters = match origin {
            Origin::Client(_) => &self.by_network[..3],
            Origin::Proxy(_) => &self.by_network[3..],
        };
        for (limiter, network) in limiters.iter().zip(origin.networks()) {
            // An attacker with that many networks is bounded by what all may do together.
            if limiter.len() <= RATED_NETWORKS {
                count_key(limiter, network, n)?;
            }
        }
        Ok(())
    }

    /// Forgets networks that have done nothing for a while.
    pub fn retain_recent(&self) {
        for limiter in &self.by_network {
            limiter.retain_recent();
        }
    }
}

fn positive(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN)
}

fn count(limiter: &DefaultDirectRateLimiter, n: NonZeroU32) -> Result<(), Duration> {
    let counted = limiter.check_n(n).or_else(|InsufficientCapacity(most)| limiter.check_n(positive(most)));
    counted.map_or(Ok(()), |counted| counted.map_err(wait))
}

fn count_key<K: Clone + Hash + Eq>(
    limiter: &DefaultKeyedRateLimiter<K>,
    key: &K,
    n: NonZeroU32,
) -> Result<(), Duration> {
    let most = |InsufficientCapacity(most)| limiter.check_key_n(key, positive(most));
    limiter.check_key_n(key, n).or_else(most).map_or(Ok(()), |counted| counted.map_err(wait))
}

/// How long to wait.
pub fn wait(not_until: NotUntil<QuantaInstant>) -> Duration {
    not_until.wait_time_from(DefaultClock::default().now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { requests_per_second: 1, request_burst: 10, total_requests_per_second: 100, ..Limits::default() }
    }

    fn stranger(ip: &str) -> Asker {
        Asker::Stranger(Origin::of(ip.parse().unwrap(), &["10.0.0.0/8".parse().unwrap()]))
    }

    fn admitted(rates: &Rates, askers: impl Iterator<Item = Asker>) -> usize {
        askers.filter(|asker| rates.check(asker).is_ok()).count()
    }

    #[test]
    fn a_wide_network_connects_no_more_often_than_some_addresses() {
        let rates = ConnectionRates::new(600);
        let admitted = |of: &dyn Fn(u16) -> String| {
            let ips = (0..3_000_u16).map(|n| of(n).parse::<IpAddr>().unwrap());
            ips.filter(|ip| rates.check(*ip, &Origin::of(*ip, &[])).is_ok()).count()
        };
        assert!((150..250).contains(&admitted(&|_| "1.1.1.1".into())));
        assert!((600..1_500).contains(&admitted(&|n| format!("2.2.{}.{}", n % 250, n / 250))));
        assert!((600..1_500).contains(&admitted(&|n| format!("2001:db8:{n:x}::1"))));
        // Others are not concerned.
        assert!(admitted(&|n| format!("{}.{}.1.1", n % 200 + 3, n / 200)) == 3_000);
    }

    #[test]
    fn many_devices_of_one_address_ask_no_more_than_one() {
        let rates = Rates::of_requests(&Limits { total_requests_per_second: 4_000, ..limits() });
        assert_eq!(admitted(&rates, (0..50).map(|_| stranger("192.0.2.1"))), 10);
        assert_eq!(admitted(&rates, (2..200).map(|n| stranger(&format!("192.0.2.{n}")))), 30);
        assert_eq!(admitted(&rates, (0..500).map(|n| stranger(&format!("2001:db8:0:{n:x}::1")))), 40);
    }

    #[test]
    fn strangers_leave_most_to_members() {
        let rates = Rates::of_requests(&limits());
        let strangers = admitted(&rates, (0..1000).map(|n| stranger(&format!("198.{}.{}.1", n / 250, n % 250))));
        assert!((25..75).contains(&strangers), "{strangers}");
        let members = (0..10_u8).flat_map(|n| std::iter::repeat_n(Asker::Account([n; 32]), 10));
        assert_eq!(admitted(&rates, members), 100);
    }
}
