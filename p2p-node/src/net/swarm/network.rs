//! Which network the machine is in, and how long connections may be silent there: what is known is looked up, and what is not is measured.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use futures::{future::BoxFuture, stream::FuturesUnordered};

use super::{driver::Driver, lifetime, mappings::Mappings};
use crate::net::{HomeId, IpVersion, NetEvent, connectivity::Input};

/// Seconds since 1970.
fn unix_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Whom to ask by STUN, once a rendezvous has greeted us and said at which port it answers: one that answers at none takes nobody's place.
pub(super) fn stun_of(known: Option<(HomeId, u16)>, greeted: (HomeId, u16)) -> Option<(HomeId, u16)> {
    let (home, port) = greeted;
    known.filter(|(other, _)| port == 0 && *other != home).or(Some(greeted))
}

/// What was measured: the internet protocol, and for how long the network keeps mappings of it; nothing, if the server did not answer.
pub(super) type Measured = (IpVersion, Option<Duration>);

/// How long connections may be silent, in this network and in others.
#[derive(Default)]
pub(super) struct NatLifetimes {
    pub mappings: Mappings,
    /// The measurements that are under way.
    pub measuring: FuturesUnordered<BoxFuture<'static, Measured>>,
    /// The rendezvous that has greeted us last, of those that have a port for STUN, and that port.
    pub stun: Option<(HomeId, u16)>,
}

impl Driver {
    /// Finds out which network this is, and measures it if little is known of it for the internet protocol by which the server is reached.
    pub(super) async fn look_at_network(&mut self) {
        let network = self.picture.network();
        if self.lifetimes.mappings.enter(network) {
            self.lifetimes.measuring.clear();
        }
        self.report_rest().await;
        let Some(server) = self.stun_server() else { return };
        // One inside of it says nothing of the way out, and a proxy lets no datagrams through.
        let is_outside = !server.ip().is_loopback() && !self.picture.networks.iter().any(|n| n.contains(server.ip()));
        let version = IpVersion::of(server.ip());
        if is_outside
            && self.proxy.is_none()
            && self.lifetimes.measuring.is_empty()
            && self.lifetimes.mappings.begin(version, Instant::now(), unix_s())
        {
            tracing::debug!(?version, "measures how long the network keeps mappings");
            self.lifetimes.measuring.push(Box::pin(async move { (version, lifetime::measure(server).await) }));
        }
    }

    /// What is known of the network that the machine is in.
    async fn report_rest(&mut self) {
        for version in IpVersion::ALL {
            self.report(Input::Rest(version, self.lifetimes.mappings.rest(version))).await;
        }
    }

    /// Where STUN answers.
    fn stun_server(&self) -> Option<SocketAddr> {
        let (home, port) = self.lifetimes.stun.filter(|(_, port)| *port != 0)?;
        let path = self.connections.get(&self.connectivity.session_on(&home)?)?;
        Some(SocketAddr::new(path.remote()?, port))
    }

    /// A measurement has ended.
    pub(super) async fn on_measured(&mut self, (version, kept): Measured) {
        let Some(kept) = kept else { return tracing::debug!(?version, "the network could not be measured") };
        if let Some(known) = self.lifetimes.mappings.measured(version, unix_s(), kept) {
            tracing::debug!(?version, seconds = kept.as_secs(), rest = known.rest_s, "the network keeps mappings");
            self.tell(NetEvent::NetworkKnown(known)).await;
            self.report_rest().await;
        }
    }

    /// The network has forgotten a connection.
    pub(super) async fn on_mapping_lost(&mut self, version: IpVersion) {
        if let Some(known) = self.lifetimes.mappings.lost(version, unix_s()) {
            tracing::debug!(?version, rest = known.rest_s, "the network has forgotten a connection");
            self.tell(NetEvent::NetworkKnown(known)).await;
            self.connectivity.handle(Instant::now(), Input::Rest(version, self.lifetimes.mappings.rest(version)));
        }
    }

    /// The network may be another one than before.
    pub(super) async fn leave_network(&mut self) {
        let network = self.picture.network();
        if self.lifetimes.mappings.here() != network {
            self.lifetimes.mappings.enter(None);
            self.lifetimes.measuring.clear();
            self.report_rest().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendezvous_without_stun_takes_the_place_of_none_that_has_it() {
        let [one, other] = [[1; 32], [2; 32]];
        assert_eq!(stun_of(None, (one, 0)), Some((one, 0)));
        assert_eq!(stun_of(Some((one, 0)), (other, 3478)), Some((other, 3478)));
        assert_eq!(stun_of(Some((one, 3478)), (other, 0)), Some((one, 3478)));
        assert_eq!(stun_of(Some((one, 3478)), (other, 3479)), Some((other, 3479)));
        assert_eq!(stun_of(Some((one, 3478)), (one, 0)), Some((one, 0)), "it was started again without");
    }
}
