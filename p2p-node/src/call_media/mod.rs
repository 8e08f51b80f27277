//! Where the media of calls live: one task that carries out what the engine decides, and one for each call that tells the engine what
//! happened. Both end with the engine; a call ends with its task.

mod limits;
mod observer;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    num::NonZeroU16,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use starling_media::{
    Call, CallConfig, CallEvent, CallStats, IceServer,
    transport::{link::Link, translator::Translator, tunnel::Tunnel},
};
use starling_wire::CallId;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tracing::Instrument;

use self::limits::CALLS_REMEMBERED;
use crate::{
    api::{problem::CallProblem, types::CallSetup},
    net::{HomeId, Nat64Prefix, NetCommand, WeakNetHandle, translators},
};

/// A route of a call's media: the connection with one participant. Unique within its call, and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u64);

/// One leg of a call: its connection with one participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    pub call: CallId,
    pub route: RouteId,
}

/// Files are complete after this.
const COMPLETED: Duration = Duration::from_secs(4);

/// STUN and TURN servers of a rendezvous.
#[derive(Clone, PartialEq, Eq)]
pub struct CallServer {
    /// The rendezvous that they belong to.
    pub home: HomeId,
    pub urls: Vec<String>,
    pub username: String,
    pub credential: String,
    /// The UDP port of its hosts that QUIC has: it answers there, too.
    pub other_port: Option<u16>,
}

impl std::fmt::Debug for CallServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallServer")
    }
}

impl CallServer {
    /// Servers for the library. On a network with IPv6 alone, those with IPv4 addresses are reached through its translator, unless all goes through a
    /// proxy: then the network is asked nothing.
    pub async fn all_reached_by(servers: Vec<Self>, net: &WeakNetHandle, proxied: bool) -> Vec<IceServer> {
        let prefixes = if servers.is_empty() || proxied { Vec::new() } else { translators().await };
        servers.into_iter().map(|server| server.reached_by(net, &prefixes)).collect()
    }

    /// Over UDP, or over the connection to the rendezvous.
    fn reached_by(self, net: &WeakNetHandle, prefixes: &[Nat64Prefix]) -> IceServer {
        let Self { home, mut urls, username, credential, other_port } = self;
        let of_prefix =
            |prefix: &Nat64Prefix| -> Vec<String> { urls.iter().filter_map(|url| prefix.translate_url(url)).collect() };
        let translated: Vec<String> = prefixes.iter().flat_map(of_prefix).collect();
        urls.extend(translated);
        let net = net.clone();
        let tunnel = Tunnel::new(move || {
            let (reply, opened) = oneshot::channel();
            net.send(NetCommand::Turn(home, reply));
            Box::pin(async move { opened.await.ok() })
        });
        IceServer { urls, username, credential, other_port, tunnel: Some(tunnel) }
    }
}

/// Reaches servers with IPv4 addresses in the network that the machine is in at the moment.
fn translator() -> Translator {
    Translator::new(|server| {
        Box::pin(async move {
            let prefixes = translators().await;
            prefixes.iter().filter_map(|prefix| prefix.translate_socket(server)).collect::<Vec<_>>()
        })
    })
}

/// What the engine wants.
#[derive(Clone, Debug, PartialEq)]
pub enum CallCommand {
    /// Begin to capture; make an offer, or answer this one.
    Start { leg: Leg, setup: CallSetup, servers: Vec<CallServer>, loopback: bool, offer: Option<String> },
    /// The answer to our offer of this number: 0 is the first.
    Accept(Leg, u32, String),
    /// Candidates of the other side.
    Candidates(Leg, Vec<String>),
    /// A new offer of the other side, and its number.
    Restart(Leg, u32, String),
    /// The other side asks for a new offer.
    Reconnect(Leg),
    /// This machine is in another network, or has other addresses.
    NetworkChanged(CallId),
    /// A new connection in place of one that could not be made.
    Again(Leg),
    /// The microphone on or off.
    Microphone(CallId, bool),
    /// Nothing of us is heard, seen or shared any more, until the user says otherwise.
    Silence(CallId),
    /// On hold, or no longer.
    Hold(CallId, bool),
    /// Record to this file, after a question of this number, or no longer.
    Record(CallId, u32, Option<PathBuf>),
    /// It is over.
    End(CallId),
}

/// Fingerprints of certificates, as descriptions have them (`a=fingerprint`), in upper case.
pub type Fingerprints = BTreeSet<String>;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallInput {
    /// Our offer, at the beginning (number 0) or after the network changed.
    Offer(Leg, u32, String),
    /// Our answer.
    Answer(Leg, String),
    /// Our answer to a new offer.
    Restarted(Leg, u32, String),
    /// A new offer of the other side is needed.
    Reconnect(Leg),
    /// Ways to reach us.
    Candidates(Leg, Vec<String>),
    /// Media flow; the certificates of both ends.
    Connected(Leg, Fingerprints),
    /// Media have stopped.
    Interrupted(Leg),
    /// Something does not work; the call goes on.
    Trouble(CallId, CallProblem),
    /// It cannot go on.
    Failed(Leg, CallProblem),
    /// The other side hung up.
    Left(Leg),
    /// The recording after this question is over.
    Recorded(CallId, u32),
    /// It cannot be made here: trying again would not help.
    Broken(CallId, CallProblem),
}

impl CallInput {
    /// Which call.
    pub fn call(&self) -> CallId {
        match self {
            Self::Offer(leg, ..)
            | Self::Answer(leg, _)
            | Self::Restarted(leg, ..)
            | Self::Reconnect(leg)
            | Self::Candidates(leg, _)
            | Self::Connected(leg, _)
            | Self::Interrupted(leg)
            | Self::Failed(leg, _)
            | Self::Left(leg) => leg.call,
            Self::Trouble(id, _) | Self::Recorded(id, _) | Self::Broken(id, _) => *id,
        }
    }
}

/// A call's media, for who watches or steers them.
#[derive(Clone, Debug)]
pub struct Media {
    /// The call itself.
    pub call: Call,
    /// What happens in it.
    pub events: broadcast::Sender<CallEvent>,
    shared: Arc<Mutex<Shared>>,
    /// The number of our last offer on each route, after the first.
    offers: Arc<Mutex<BTreeMap<RouteId, u32>>>,
}

/// The terminal that the other side shares.
#[derive(Default)]
struct Shared {
    /// Goes up with each change.
    revision: u64,
    screen: Option<vt100::Parser>,
    /// Our keys reach it.
    hand: bool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl Media {
    /// The terminal that the other side shares: a number that goes up with each change; columns, rows, and bytes that draw it.
    pub fn terminal(&self) -> (u64, Option<(u16, u16, Vec<u8>)>) {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = shared.screen.as_ref().map(|parser| {
            let (rows, columns) = parser.screen().size();
            (columns.get(), rows.get(), parser.screen().state_formatted().into())
        });
        (shared.revision, shown)
    }

    /// Whether the other side handed us the keyboard of its terminal.
    pub fn has_hand(&self) -> bool {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).hand
    }

    /// The number of the offer that is made now: answers to older ones no longer count.
    fn next_offer(&self, route: RouteId) -> u32 {
        let mut offers = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        let number = offers.entry(route).or_default();
        *number += 1;
        *number
    }

    fn last_offer(&self, route: RouteId) -> u32 {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner).get(&route).copied().unwrap_or_default()
    }

    fn shows(&self, event: &CallEvent) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            CallEvent::Shared(_, Some((columns, rows))) => {
                let (rows, columns) = (cells(*rows), cells(*columns));
                match &mut shared.screen {
                    Some(parser) => parser.screen_mut().set_size(rows, columns),
                    None => shared.screen = Some(vt100::Parser::new(rows, columns, 0)),
                }
            }
            CallEvent::Shared(_, None) => (shared.screen, shared.hand) = (None, false),
            CallEvent::Output(_, bytes) => {
                if let Some(parser) = &mut shared.screen {
                    parser.process(bytes);
                }
            }
            CallEvent::Hand(_, given) => shared.hand = *given,
            _ => return,
        }
        shared.revision += 1;
    }
}

fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap_or(NonZeroU16::MIN)
}

/// All calls' media.
#[derive(Debug, Default)]
pub struct Table {
    active: Mutex<HashMap<CallId, Media>>,
    /// Statistics of those that are over; nothing while they are being completed.
    over: Mutex<VecDeque<(CallId, watch::Receiver<Option<CallStats>>)>>,
}

impl Table {
    /// A call that is not over.
    pub fn get(&self, id: CallId) -> Option<Media> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Waits until the files of calls that are over are complete, or for some seconds.
    pub async fn completed(&self) {
        let over: Vec<_> = {
            let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
            over.iter().map(|(_, stats)| stats.clone()).collect()
        };
        let all = over.into_iter().map(|mut stats| async move { drop(stats.wait_for(Option::is_some).await) });
        let _ = tokio::time::timeout(COMPLETED, futures::future::join_all(all)).await;
    }

    /// Statistics of a call, also of one that is over: then its files are complete.
    pub async fn stats(&self, id: CallId) -> Option<CallStats> {
        if let Some(media) = self.get(id) {
            return Some(media.call.stats());
        }
        let mut over = {
            let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
            over.iter().find(|(known, _)| *known == id).map(|(_, stats)| stats.clone())?
        };
        let stats = tokio::time::timeout(Duration::from_secs(5), over.wait_for(Option::is_some)).await;
        stats.ok()?.ok().and_then(|stats| stats.clone())
    }
}

/// The engine's end of the channel to the task. The engine bounds what it sends, and never waits for a task that waits for it.
#[derive(Clone, Debug)]
pub struct CallsHandle {
    commands: mpsc::UnboundedSender<CallCommand>,
    table: Arc<Table>,
}

impl CallsHandle {
    pub fn send(&self, command: CallCommand) {
        // Whatever the task is at: nobody is heard after the end.
        if let CallCommand::End(id) = &command
            && let Some(media) = self.table.get(*id)
        {
            media.call.silence();
        }
        let _ = self.commands.send(command);
    }
}

/// Starts the task. It ends when the handle is dropped, and ends all calls then. `proxied`: everything goes through a proxy, and media go over the
/// connections with rendezvous alone.
pub fn start(inputs: mpsc::Sender<CallInput>, table: Arc<Table>, net: WeakNetHandle, proxied: bool) -> CallsHandle {
    let (sender, commands) = mpsc::unbounded_channel();
    // For tests of bad networks, between real programs.
    let link = std::env::var("STARLING_TEST_LINK").ok().and_then(|text| Link::parse(&text));
    tokio::spawn(Actor { inputs, table: table.clone(), link, net, proxied }.run(commands));
    CallsHandle { commands: sender, table }
}

struct Actor {
    inputs: mpsc::Sender<CallInput>,
    table: Arc<Table>,
    link: Option<Link>,
    net: WeakNetHandle,
    proxied: bool,
}

impl Actor {
    async fn run(self, mut commands: mpsc::UnboundedReceiver<CallCommand>) {
        while let Some(command) = commands.recv().await {
            self.carry_out(command).await;
        }
        let rest: Vec<CallId> = {
            let active = self.table.active.lock().unwrap_or_else(PoisonError::into_inner);
            active.keys().copied().collect()
        };
        for id in rest {
            self.end(id);
        }
    }

    async fn tell(&self, input: CallInput) {
        let _ = self.inputs.send(input).await;
    }

    async fn carry_out(&self, command: CallCommand) {
        match command {
            CallCommand::Start { leg, setup, servers, loopback, offer } => {
                let servers = CallServer::all_reached_by(servers, &self.net, self.proxied).await;
                let begun = match self.config(&setup, servers, loopback) {
                    Ok(config) => self.begin(leg, config, offer).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = begun {
                    self.tell(CallInput::Broken(leg.call, error)).await;
                }
            }
            CallCommand::Accept(leg, ..)
            | CallCommand::Candidates(leg, _)
            | CallCommand::Restart(leg, ..)
            | CallCommand::Reconnect(leg)
            | CallCommand::Again(leg) => {
                if let Some(media) = self.table.get(leg.call) {
                    self.negotiate(&media, command).await;
                }
            }
            CallCommand::NetworkChanged(id)
            | CallCommand::Record(id, ..)
            | CallCommand::Microphone(id, _)
            | CallCommand::Silence(id)
            | CallCommand::Hold(id, _) => {
                if let Some(media) = self.table.get(id) {
                    self.steer(&media, command).await;
                }
            }
            CallCommand::End(id) => self.end(id),
        }
    }

    /// Offers, answers and candidates of a leg.
    async fn negotiate(&self, media: &Media, command: CallCommand) {
        match command {
            CallCommand::Accept(leg, number, answer) => {
                // An answer to an older offer than the last would spoil the one that it is answered by.
                if media.last_offer(leg.route) != number {
                    return;
                }
                if let Err(error) = media.call.accept(leg.route.0, answer).await {
                    self.tell(CallInput::Broken(leg.call, error.into())).await;
                }
            }
            CallCommand::Candidates(leg, candidates) => {
                for candidate in candidates {
                    if let Err(error) = media.call.candidate(leg.route.0, &candidate).await {
                        tracing::debug!(%error, "a candidate was not taken");
                    }
                }
            }
            CallCommand::Restart(leg, number, offer) => match media.call.answer(leg.route.0, offer).await {
                Ok(answer) => self.tell(CallInput::Restarted(leg, number, answer)).await,
                Err(error) => tracing::debug!(%error, "a new offer was not taken"),
            },
            CallCommand::Reconnect(leg) => media.call.reconnect(leg.route.0),
            CallCommand::Again(leg) => {
                let number = media.next_offer(leg.route);
                match media.call.offer_again(leg.route.0).await {
                    Ok(Some(offer)) => self.tell(CallInput::Offer(leg, number, offer)).await,
                    Ok(None) => {}
                    Err(error) => self.tell(CallInput::Broken(leg.call, error.into())).await,
                }
            }
            _ => {}
        }
    }

    /// What the user, or the machine, changes of a call.
    async fn steer(&self, media: &Media, command: CallCommand) {
        match command {
            CallCommand::NetworkChanged(_) => media.call.network_changed().await,
            CallCommand::Record(_, _, None) => media.call.end_record().await,
            CallCommand::Record(id, question, Some(path)) => {
                if let Err(error) = media.call.record(&path, question).await {
                    self.tell(CallInput::Trouble(id, error.into())).await;
                    self.tell(CallInput::Recorded(id, question)).await;
                }
            }
            CallCommand::Microphone(_, on) => media.call.set_microphone(on).await,
            CallCommand::Silence(_) => {
                media.call.end_share().await;
                media.call.set_microphone(false).await;
                media.call.set_camera(false).await;
            }
            CallCommand::Hold(_, hold) => media.call.set_hold(hold).await,
            _ => {}
        }
    }

    fn config(&self, setup: &CallSetup, servers: Vec<IceServer>, loopback: bool) -> Result<CallConfig, CallProblem> {
        let mut config = CallConfig::from_specs(&setup.audio_in, &setup.audio_out, &setup.video_in, &setup.video_out);
        config.camera &= setup.camera;
        config.peer.relay_only = setup.relay_only;
        config.peer.tunnel_only = self.proxied;
        // Through a proxy the network is asked nothing.
        config.peer.translator = (!self.proxied).then(translator);
        config.peer.loopback = loopback;
        config.peer.link.clone_from(&self.link);
        config.peer.servers = servers;
        if config.peer.is_relayed() && config.peer.servers.iter().all(|s| s.username.is_empty()) {
            return Err(CallProblem::NoRelay);
        }
        Ok(config)
    }

    /// Begins to capture, and makes an offer on the first leg, or answers one.
    async fn begin(&self, leg: Leg, config: CallConfig, offer: Option<String>) -> Result<(), CallProblem> {
        let (call, events) = Call::start(config)?;
        let (sender, _) = broadcast::channel(256);
        let media = Media { call: call.clone(), events: sender, shared: Arc::default(), offers: Arc::default() };
        self.table.active.lock().unwrap_or_else(PoisonError::into_inner).insert(leg.call, media.clone());
        let observer = observer::Observer { id: leg.call, media, inputs: self.inputs.clone() };
        tokio::spawn(observer.run(events).instrument(tracing::debug_span!("call_media", call = %leg.call)));
        let input = match offer {
            None => CallInput::Offer(leg, 0, call.offer(leg.route.0).await?),
            Some(offer) => CallInput::Answer(leg, call.answer(leg.route.0, offer).await?),
        };
        self.tell(input).await;
        Ok(())
    }

    /// Ends a call in a task of its own: files are completed, which takes a moment.
    fn end(&self, id: CallId) {
        let media = self.table.active.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let Some(media) = media else { return };
        let (done, stats) = watch::channel(None);
        let mut over = self.table.over.lock().unwrap_or_else(PoisonError::into_inner);
        over.push_back((id, stats));
        if over.len() > CALLS_REMEMBERED {
            over.pop_front();
        }
        drop(over);
        tokio::spawn(async move {
            let stats = media.call.stats();
            media.call.end().await;
            done.send_replace(Some(stats));
        });
    }
}
