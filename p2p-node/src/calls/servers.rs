//! STUN and TURN servers for a call: those of our rendezvous, asked for when a call is made.

use starling_wire::{CallId, rendezvous::TurnCredentials};

use super::{
    Calls,
    host::{CallHost, reply},
    limits::{CALL_CONNECT_MS, CALL_RELAY_MS, CALL_SERVERS_MS, CALL_TRY_MS, RING_MS},
};
use crate::{
    api::{Reply, types::CallPhase},
    call_media::{CallCommand, CallServer},
    net::HomeId,
};

/// Addresses of one server, and bytes of each, that are taken.
const MAX_URLS: usize = 4;
const MAX_FIELD: usize = 256;

impl CallServer {
    /// What a rendezvous says, bounded before it is believed.
    fn from_credentials(home: HomeId, credentials: TurnCredentials) -> Option<Self> {
        let TurnCredentials { urls, username, password: credential, other_port, .. } = credentials;
        let urls = urls.into_iter().filter(|url| url.len() <= MAX_FIELD).take(MAX_URLS).collect();
        (username.len() <= MAX_FIELD && credential.len() <= MAX_FIELD).then_some(Self {
            home,
            urls,
            username,
            credential,
            other_port: u16::try_from(other_port).ok().filter(|port| *port != 0),
        })
    }
}

impl Calls {
    pub(super) fn ask_for_servers(&mut self, host: &mut dyn CallHost, id: CallId) {
        let asked = host.ask_for_servers(id);
        if let Some(session) = self.find(id) {
            session.media.servers_pending = asked;
            let relay_only = session.media.setup.as_ref().is_some_and(|setup| setup.relay_only);
            let patience = if relay_only { CALL_RELAY_MS } else { CALL_SERVERS_MS };
            session.deadline = Some(host.time().running + patience);
        }
        if asked == 0 {
            self.start_media(host, id);
        }
    }

    /// Servers for a test: of the first rendezvous that answers.
    pub(super) fn servers_for_test(&mut self, host: &mut dyn CallHost, reply: Reply<Vec<CallServer>>) {
        self.wanted.push((host.time().running + 2 * CALL_SERVERS_MS, reply));
        self.ask_for_servers(host, CallId::default());
    }

    /// A rendezvous gave its servers. Those with the default id are for a test.
    pub fn on_servers(&mut self, host: &mut dyn CallHost, id: CallId, (home, credentials): (HomeId, TurnCredentials)) {
        let server = CallServer::from_credentials(home, credentials);
        if id == CallId::default() {
            if let Some(server) = server {
                for (_, wanted) in std::mem::take(&mut self.wanted) {
                    reply(host, wanted, Ok(vec![server.clone()]));
                }
            }
            return;
        }
        if let Some(session) = self.find(id).filter(|session| !session.media.started) {
            session.media.servers.extend(server);
        }
        self.on_servers_lost(id);
    }

    /// A rendezvous that was asked for servers has answered, or will not. With the last one the call goes on in this turn.
    pub fn on_servers_lost(&mut self, id: CallId) {
        let Some(session) = self.find(id).filter(|session| !session.media.started) else { return };
        session.media.servers_pending = session.media.servers_pending.saturating_sub(1);
        if session.media.servers_pending == 0 {
            session.deadline = Some(0);
        }
    }

    pub(super) fn start_media(&mut self, host: &mut dyn CallHost, id: CallId) {
        let now = host.time().running;
        let Some(session) = self.find(id).filter(|session| !session.media.started) else { return };
        let Some(setup) = session.media.setup.clone() else { return };
        session.media.started = true;
        session.deadline = Some(now + if session.outgoing { RING_MS } else { CALL_CONNECT_MS });
        if session.handoff.from.is_some() {
            session.deadline = Some(now + CALL_TRY_MS);
        }
        if !session.outgoing {
            session.phase = CallPhase::Connecting;
        }
        let servers = std::mem::take(&mut session.media.servers);
        // A conversation of two: the one route is there from the beginning. Routes to others will join it.
        let Some(participant) = session.participants.first_mut() else { return };
        let (offer, early) = (participant.offer.take(), std::mem::take(&mut participant.early_candidates));
        let route = participant.route;
        let leg = session.leg(route);
        let loopback = host.is_loopback();
        host.media(CallCommand::Start { leg, setup, servers, loopback, offer });
        if !early.is_empty() {
            host.media(CallCommand::Candidates(leg, early));
        }
        self.changed(host, id);
    }

    pub(super) fn give_up_on_servers(&mut self, host: &mut dyn CallHost, now: u64) {
        let over: Vec<_> = self.wanted.extract_if(.., |(due, _)| *due <= now).collect();
        for (_, wanted) in over {
            reply(host, wanted, Ok(Vec::new()));
        }
    }
}
