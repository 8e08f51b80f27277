//! The addresses of this machine that a connection in the making was begun at. If one is gone the connection is made again: what is restarted is one
//! that was there (`repair`).

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

/// The least time between two that are made again, however often the network changes.
const BETWEEN: Duration = Duration::from_secs(1);

/// Those of one connection.
#[derive(Debug)]
pub(super) struct Origins {
    addresses: Vec<IpAddr>,
    /// When one was found to be gone.
    lost: Option<Instant>,
}

impl Origins {
    pub fn new(addresses: Vec<IpAddr>) -> Self {
        Self { addresses, lost: None }
    }

    /// Whether the connection is to be made again, as one of its addresses is none of this machine any more, or it was begun without any. Those that
    /// are here count from then on.
    pub fn take_lost(&mut self, all: &[IpAddr], here: Vec<IpAddr>, now: Instant) -> bool {
        let is_lost = self.addresses.is_empty() || self.addresses.iter().any(|ip| !all.contains(ip));
        let is_soon = self.lost.is_some_and(|lost| now.saturating_duration_since(lost) < BETWEEN);
        if here.is_empty() || !is_lost || is_soon {
            return false;
        }
        (self.addresses, self.lost) = (here, Some(now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(last: &[u8]) -> Vec<IpAddr> {
        last.iter().map(|n| IpAddr::from([192, 0, 2, *n])).collect()
    }

    #[test]
    fn a_connection_is_made_again_when_an_address_is_gone_and_not_when_one_comes() {
        let now = Instant::now();
        let mut origins = Origins::new(ips(&[1, 2]));
        assert!(!origins.take_lost(&ips(&[1, 2, 3]), ips(&[1, 2, 3]), now));
        assert!(origins.take_lost(&ips(&[2, 3]), ips(&[2, 3]), now));
        assert!(!origins.take_lost(&ips(&[2, 3]), ips(&[2, 3]), now + 2 * BETWEEN), "it was made at these");
    }

    #[test]
    fn without_a_network_it_waits_for_one() {
        let now = Instant::now();
        let mut origins = Origins::new(ips(&[1]));
        assert!(!origins.take_lost(&[], vec![], now));
        assert!(origins.take_lost(&ips(&[2]), ips(&[2]), now));
        let mut begun_without = Origins::new(vec![]);
        assert!(begun_without.take_lost(&ips(&[2]), ips(&[2]), now));
    }

    #[test]
    fn an_interface_that_flaps_has_it_made_again_once_a_second() {
        let now = Instant::now();
        let mut origins = Origins::new(ips(&[1]));
        let address = |tenth: u32| ips(&[u8::from(tenth.is_multiple_of(2))]);
        let again = (0..50).filter(|tenth| {
            let at = address(*tenth);
            origins.take_lost(&at, at.clone(), now + Duration::from_millis(100) * *tenth)
        });
        assert!((4..=6).contains(&again.count()));
    }
}
