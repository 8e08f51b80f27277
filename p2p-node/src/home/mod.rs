//! Rendezvous servers: registering, key packages, the inbox, and what their answers mean.

mod inbox;
mod kept;
pub(crate) mod limits;
mod names;
mod outages;
mod outbound_items;
mod pace;
mod pending;
mod purpose;
mod redirect;
mod remembered;
mod visits;

use std::collections::BTreeMap;

use starling_keys::{DeviceKey, RendezvousAddr, chain::Head};
use starling_wire::rendezvous::ServerHello;
use zeroize::Zeroizing;

pub use inbox::ReceivedItem;
pub(crate) use outages::Silence;
pub use outbound_items::{OutboundItem, Recipient, Sealing, Vouching};
pub use pending::Refused;
pub use purpose::{
    AccountPending, Appended, ContactPending, HomePending, JoinPending, LogPending, LogPlace, LoggedKey, Pending,
    Trimming,
};

pub use visits::Subject;

use self::limits::{MAX_CLOCK_CORRECTION_MS, RELEASED_MS};
use crate::{
    api::{problem::HomeProblem, types::TransientEvent},
    net::{ConnectionProblem, HomeId, Transport},
    store::{KnownNetworksRow, OUTBOUND_ITEMS, OutboundItemRow, Reading, ServerAddressesRow, prefix},
    turn::{EngineError, Fact, HomeFact, Schedule, Turn},
};

/// A rendezvous that we use.
#[derive(Default)]
pub struct HomeState {
    pub addresses: Vec<RendezvousAddr>,
    /// One that we have chosen; others are contacts'.
    pub own: bool,
    /// How it is reached, once that is decided.
    way: Option<visits::Way>,
    pub hello: Option<ServerHello>,
    /// What the connection goes over, as long as there is one.
    transport: Option<Transport>,
    pub registered: bool,
    /// Our key packages are there: others can begin a conversation with us.
    pub stocked: bool,
    pub problem: Option<HomeProblem>,
    /// The chain of our account that it has refused, as it has another. It is asked for that one, and is sent this one again only after a while.
    pub stale: Option<Head>,
    /// It does not answer, though the connection is there.
    pub silent: bool,
    /// After which time its clients are to come again, as it is being restarted; 0 if it is not.
    restart_ms: u64,
    /// What its clock showed when it greeted us, minus our steady time.
    shown_offset_ms: Option<i64>,
    /// Its clock, as far as it is believed, minus our steady time, which no change of our clock moves.
    pub steady_offset_ms: i64,
    pub inbox: inbox::InboxState,
    /// A user name, and what the server is told in its place: that takes some milliseconds, and the account's own is claimed at each start.
    username_key: Option<(String, [u8; 32])>,
    /// When it is asked about its logs again, if it was asked too often.
    log_pace: pace::Pace,
    /// Requests without an answer, by the number that they were sent under.
    pub pending: BTreeMap<u64, Pending>,
}

impl HomeState {
    /// Its clock minus ours, in milliseconds, as they are now: ours may have been set since it greeted us. 0 if it never has.
    pub fn clock_offset_ms(&self, turn: &Turn<'_>) -> i64 {
        let theirs = self.shown_offset_ms.map(|offset| offset.saturating_add(turn.now() as i64));
        theirs.map_or(0, |theirs| theirs.saturating_sub(turn.wall() as i64))
    }

    /// What the connection goes over, while the server answers on it.
    pub fn transport(&self) -> Option<Transport> {
        self.transport.filter(|_| self.hello.is_some() && !self.silent)
    }

    /// Whether UDP does not get through to it: QUIC is tried before all else, and something else has come through.
    pub fn is_udp_blocked(&self) -> bool {
        let mut known = self.addresses.iter().map(|address| address.transport);
        matches!(self.transport(), Some(Transport::Tcp | Transport::WebSocket))
            && known.any(|known| matches!(known, starling_keys::Transport::Quic | starling_keys::Transport::Any))
    }
}

/// The rendezvous servers that we use, and what is to be left in inboxes there.
#[derive(Default)]
pub struct Homes {
    pub servers: BTreeMap<HomeId, HomeState>,
    /// The account's user hides when they are here: this device does not count among the readers of logs.
    pub unseen: bool,
    /// What waits for others' inboxes, by its key in the store.
    pub outbound_items: BTreeMap<Vec<u8>, OutboundItem>,
    /// What was delivered of it and may not be read, by its key.
    kept: BTreeMap<Vec<u8>, OutboundItemRow>,
    /// When what a server has refused is asked of it again, in steady time.
    retries: Schedule<HomeId>,
    /// The same of pages of logs, and of what is appended to them, as far as servers have said when.
    log_retries: Schedule<HomeId>,
    /// Those of others that are visited.
    pub visits: visits::Visits,
    /// Those that do not answer.
    outages: outages::Outages,
    /// Where servers were reached last.
    reached: ServerAddressesRow,
    /// What is known of networks.
    networks: KnownNetworksRow,
    /// What the secrets are derived from with which this device deletes its entries in logs.
    eraser_seed: Zeroizing<[u8; 32]>,
}

impl Homes {
    /// Loads what waits from the profile.
    pub fn load(read: &impl Reading, device: &DeviceKey) -> Result<Self, EngineError> {
        let eraser_seed = Zeroizing::new(blake3::derive_key("starling 2026 log eraser seed v1", &*device.seed()));
        let mut homes = Self { eraser_seed, ..Self::default() };
        homes.load_remembered(read)?;
        for (key, row) in read.range::<OutboundItemRow>(OUTBOUND_ITEMS, prefix(b""), usize::MAX, false)? {
            if row.delivered {
                homes.kept.insert(key, row);
            } else {
                homes.outbound_items.insert(key, OutboundItem::new(row));
            }
        }
        Ok(homes)
    }

    /// The secret with which this device deletes its entries in a log.
    pub fn eraser_secret(&self, log: &[u8; 32]) -> [u8; 32] {
        *blake3::keyed_hash(&self.eraser_seed, log).as_bytes()
    }

    /// Whether a server is connected, and knows what we ask for.
    pub fn is_up(&self, home: &HomeId) -> bool {
        self.servers.get(home).is_some_and(|h| h.hello.is_some())
    }

    /// Whether a server is our home and has registered us.
    pub fn is_registered(&self, home: &HomeId) -> bool {
        self.servers.get(home).is_some_and(|h| h.own && h.registered)
    }

    /// Whether a server is connected, and answers as far as is known.
    pub fn answers(&self, home: &HomeId) -> bool {
        self.servers.get(home).is_some_and(|h| h.hello.is_some() && !h.silent)
    }

    /// Of an account's homes the first that answers; the first, if none does.
    pub fn best_of<'a>(&self, homes: &'a [RendezvousAddr]) -> Option<&'a RendezvousAddr> {
        homes.iter().find(|home| self.answers(&home.peer)).or(homes.first())
    }

    /// This device is not part of its account any more: nothing more is done at its homes.
    pub fn superseded(&mut self) {
        for home in self.servers.values_mut().filter(|h| h.own) {
            home.problem = Some(HomeProblem::Superseded);
        }
    }

    /// What was refused for a time that is over, and servers that are away for so long that they are lost.
    pub fn on_time(&mut self, turn: &mut Turn<'_>) {
        self.judge_outages(turn);
        self.visits.on_time(turn.now());
        for home in self.retries.take_due(turn.now()) {
            if let Some(state) = self.servers.get_mut(&home).filter(|h| h.hello.is_some()) {
                state.inbox.reading = false;
                turn.fact(Fact::Home(home, HomeFact::Retry));
            }
        }
        for home in self.log_retries.take_due(turn.now()) {
            if self.is_up(&home) {
                turn.fact(Fact::Home(home, HomeFact::RetryLogs));
            }
        }
    }

    /// When [`Homes::on_time`] has something to do, in steady time.
    pub fn next_due(&self) -> Option<u64> {
        let retries = self.retries.next().into_iter().chain(self.log_retries.next());
        retries.chain(self.outages.next_due()).chain(self.visits.next_due()).min()
    }

    /// Has what a connected server has refused be asked of it again at a steady time.
    pub fn retry_at(&mut self, home: HomeId, at: u64) {
        if !self.visit_again(home, at) {
            self.retries.set(home, Some(at));
        }
    }

    /// The same of logs alone. What waits longer than something else is put off again then.
    pub fn retry_logs_at(&mut self, home: HomeId, at: u64) {
        let first = self.log_retries.due(&home).map_or(at, |due| due.min(at));
        self.log_retries.set(home, Some(first));
    }

    /// Nothing that a server has refused is asked again: its connection is another one, or gone.
    fn forget_retries(&mut self, home: HomeId) {
        self.retries.set(home, None);
        self.log_retries.set(home, None);
        if let Some(state) = self.servers.get_mut(&home) {
            state.log_pace = pace::Pace::default();
        }
    }

    /// A server is overloaded or frozen, or (`None`) no longer: what waits for it is kept, and what is shown is true.
    pub(crate) fn on_silent(&mut self, turn: &mut Turn<'_>, home: HomeId, silence: Option<Silence>) {
        if let Some(state) = self.servers.get_mut(&home) {
            state.silent = silence.is_some();
            turn.transient_event(TransientEvent::Net);
            match silence {
                Some(silence) => self.note_silent(turn, home, silence),
                None => self.note_answers(turn, home),
            }
        }
    }

    /// Our home's clock minus our steady time, while it is connected.
    pub fn clock_offset(&self) -> Option<i64> {
        self.servers.values().find(|h| h.own && h.hello.is_some()).map(|h| h.steady_offset_ms)
    }
}

impl Homes {
    /// A server is connected. Gives the requests that it has not answered on the connection before.
    pub fn home_up(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        hello: &ServerHello,
        transport: Option<Transport>,
    ) -> Vec<Pending> {
        let (now, steady) = (turn.wall(), turn.now());
        let Some(state) = self.servers.get_mut(&home) else {
            return Vec::new();
        };
        let lost = std::mem::take(&mut state.pending);
        state.hello = Some(hello.clone());
        state.transport = transport;
        (state.registered, state.stocked) = (false, false);
        state.inbox.restart();
        (state.problem, state.stale) = (None, None);
        state.silent = false;
        state.restart_ms = 0;
        state.shown_offset_ms = Some((hello.time_ms as i64).saturating_sub(steady as i64));
        state.steady_offset_ms = (believed_ms(hello.time_ms, now) as i64).saturating_sub(steady as i64);
        self.forget_retries(home);
        turn.set_home_offset(self.clock_offset());
        turn.fact(Fact::Home(home, HomeFact::Up));
        self.note_answers(turn, home);
        turn.transient_event(TransientEvent::Net);
        lost.into_values().collect()
    }

    /// A server is not connected yet. What is known of the try before stays if it is the same.
    pub fn home_delayed(&mut self, turn: &mut Turn<'_>, home: HomeId, problem: ConnectionProblem, last_resort: bool) {
        let Some(state) = self.servers.get_mut(&home).filter(|h| h.hello.is_none()) else { return };
        let delayed = HomeProblem::Connecting { problem, last_resort };
        let is_news = match &state.problem {
            None => true,
            Some(HomeProblem::Connection(known)) => *known != problem,
            Some(known @ HomeProblem::Connecting { .. }) => *known != delayed,
            Some(_) => false,
        };
        if is_news {
            state.problem = Some(delayed);
            turn.transient_event(TransientEvent::Net);
        }
    }

    /// A server is not connected any more. Gives the requests that it has not answered.
    pub fn home_down(&mut self, turn: &mut Turn<'_>, home: HomeId, problem: ConnectionProblem) -> Vec<Pending> {
        let Some(state) = self.servers.get_mut(&home) else {
            return Vec::new();
        };
        (state.hello, state.transport) = (None, None);
        state.silent = false;
        state.problem = Some(problem.into());
        let lost = std::mem::take(&mut state.pending);
        self.forget_retries(home);
        turn.set_home_offset(self.clock_offset());
        turn.fact(Fact::Home(home, HomeFact::Down));
        self.note_down(turn, home);
        turn.transient_event(TransientEvent::Net);
        lost.into_values().collect()
    }
}

/// What is believed of the time that a home shows, while our clock shows `wall_ms`. A home may lie: what is stamped long after the time is shown by
/// nobody before it is due. A clock that was never set is another thing.
fn believed_ms(shown_ms: u64, wall_ms: u64) -> u64 {
    if wall_ms < RELEASED_MS {
        return shown_ms;
    }
    shown_ms.clamp(wall_ms.saturating_sub(MAX_CLOCK_CORRECTION_MS), wall_ms.saturating_add(MAX_CLOCK_CORRECTION_MS))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn udp_is_blocked_if_a_server_that_has_it_is_connected_otherwise() {
        const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let both = format!("starling-server:rendezvous.example/{PEER}");
        let quic = format!("/ip4/192.0.2.1/udp/4001/quic-v1/p2p/{PEER}");
        let tcp = format!("/ip4/192.0.2.1/tcp/4001/p2p/{PEER}");
        for (addresses, transport, expected) in [
            (vec![&both], Transport::Tcp, true),
            (vec![&both], Transport::Quic, false),
            (vec![&both], Transport::Proxy, false),
            (vec![&tcp, &quic], Transport::WebSocket, true),
            (vec![&tcp], Transport::Tcp, false),
        ] {
            let addresses: Vec<RendezvousAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            let hello = Some(ServerHello::default());
            let mut home = HomeState { addresses, hello, transport: Some(transport), ..HomeState::default() };
            assert_eq!((home.transport(), home.is_udp_blocked()), (Some(transport), expected), "{:?}", home.addresses);
            home.silent = true;
            assert_eq!((home.transport(), home.is_udp_blocked()), (None, false), "nothing is known of it then");
        }
    }
}
