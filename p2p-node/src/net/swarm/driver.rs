//! Carries out what [`Connectivity`] decides, and reports to it what happens.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use libp2p::{
    Multiaddr, PeerId, Swarm,
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use rand::{SeedableRng, rngs::SmallRng};
use starling_keys::DeviceId;
use starling_wire::{DIRECT_PROTOCOL, RENDEZVOUS_PROTOCOL, TURN_PROTOCOL, streams::Gate};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};
use tracing::{Instrument, Span};

use super::{
    behaviour::Behaviour,
    cause::dial_problem,
    confine::Confine,
    lan_driver::OnLan,
    left::LeftAddresses,
    names::{Named, Names, is_named, may_be_ipv4, resolve},
    network::{NatLifetimes, stun_of},
    paths::{Path, Picture},
    probe::{Probe, ProbeTarget, Probing},
    proxied,
    streams::{Ended, Opening, Streams},
    transports::Transports,
    visit,
    watch::Watch,
};
use crate::net::{
    ConnectionProblem, NetCommand, NetEvent, Proxy,
    connectivity::{Action, Connectivity, DialId, Input, Subject, is_circuit},
    direct, peer_of,
    rendezvous::Outgoing,
    turn,
};

/// Commands that are taken before the swarm is polled again: a burst of frames goes out together, but never without end.
const COMMANDS: usize = 256;
/// What libp2p's ping behaviour answers at the other end.
const ECHO_PROTOCOL: &str = "/ipfs/ping/1.0.0";
/// A rendezvous that has not answered on the session within this time is asked by an echo, which waits for nothing.
const PONG: Duration = Duration::from_millis(1_500);
/// When to wake up if nothing is due. Any moment far away does.
const FAR: Duration = Duration::from_secs(3600);

/// A dial that is under way.
pub(super) struct Dial {
    pub id: DialId,
    pub span: Span,
    pub peer: PeerId,
    /// Where it leads.
    pub addresses: Vec<Multiaddr>,
    /// If names were dialled.
    pub named: Option<Named>,
    /// A server was dialled by a way that tells how QUIC and TCP do, ...
    pub server: Option<PeerId>,
    /// ... also over QUIC.
    pub quic: bool,
}

/// The owner of the swarm.
pub(super) struct Driver {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) connectivity: Connectivity,
    pub(super) engine: mpsc::Sender<NetEvent>,
    pub(super) tasks: JoinSet<Ended>,
    opening: FuturesUnordered<BoxFuture<'static, Opening>>,
    pub(super) streams: Streams,
    pub(super) dials: HashMap<ConnectionId, Dial>,
    /// Dials that wait for what names stand for.
    resolving: FuturesUnordered<BoxFuture<'static, Named>>,
    pub(super) names: Names,
    pub(super) transports: Transports,
    /// Those that are established.
    pub(super) connections: HashMap<ConnectionId, Path>,
    /// The network, when it was last looked at because it had changed.
    pub(super) picture: Picture,
    pub(super) left_addresses: LeftAddresses,
    watch: Watch,
    pub(super) lifetimes: NatLifetimes,
    pub(super) lan: OnLan,
    /// Everything goes through it.
    pub(super) proxy: Option<Proxy>,
}

impl Driver {
    pub(super) fn new(
        swarm: Swarm<Behaviour>,
        engine: mpsc::Sender<NetEvent>,
        mdns: bool,
        proxy: Option<Proxy>,
    ) -> Self {
        Self {
            swarm,
            connectivity: Connectivity::new(SmallRng::seed_from_u64(rand::random())),
            engine,
            tasks: JoinSet::new(),
            opening: FuturesUnordered::new(),
            streams: Streams::default(),
            dials: HashMap::new(),
            resolving: FuturesUnordered::new(),
            names: Names::default(),
            transports: Transports::default(),
            connections: HashMap::new(),
            picture: Picture::now(),
            left_addresses: LeftAddresses::default(),
            watch: Watch::new(),
            lifetimes: NatLifetimes::default(),
            lan: OnLan::new(mdns),
            proxy,
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<NetCommand>) {
        loop {
            let rename_in = self.lan.names.due_in();
            let deadline = self.connectivity.next_deadline().unwrap_or_else(|| Instant::now() + FAR);
            let lan_due = self.lan.link.due();
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => {
                        self.on_command(command).await;
                        for _ in 0..COMMANDS {
                            let Ok(command) = inbox.try_recv() else { break };
                            self.on_command(command).await;
                        }
                    }
                    None => break,
                },
                event = self.swarm.select_next_some() => self.on_event(event).await,
                Some(opening) = self.opening.next(), if !self.opening.is_empty() => self.on_opening(opening).await,
                Some(named) = self.resolving.next(), if !self.resolving.is_empty() => self.on_resolved(named).await,
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => self.on_ended(ended).await,
                Some(measured) = self.lifetimes.measuring.next(), if !self.lifetimes.measuring.is_empty() => self.on_measured(measured).await,
                changed = self.watch.changed() => self.on_network_changed(changed).await,
                () = sleep_until(deadline.into()) => self.report(Input::Tick).await,
                () = sleep(rename_in), if self.lan.wanted => self.rename_on_lan().await,
                packet = self.lan.link.heard(), if self.lan.wanted => self.on_lan(packet).await,
                () = sleep_until(lan_due.unwrap_or(deadline).into()), if lan_due.is_some() => self.act_on_lan().await,
            }
        }
    }

    /// Passes an input on, and carries out what is decided.
    pub(super) async fn report(&mut self, input: Input) {
        self.connectivity.handle(Instant::now(), input);
        while let Some(action) = self.connectivity.next_action() {
            self.carry_out(action).await;
        }
    }

    async fn carry_out(&mut self, action: Action) {
        match action {
            Action::Dial { dial, peer, addresses, .. } if self.proxy.is_some() => {
                self.dial_through_proxy(dial, peer, addresses).await;
            }
            Action::Dial { dial, peer, addresses, anywhere } => {
                let translate = self.is_translated(&peer, &addresses);
                if translate || addresses.iter().any(is_named) {
                    let names = self.names.to_look_up(&addresses);
                    self.resolving.push(Box::pin(resolve(dial, peer, addresses, anywhere, translate, names)));
                } else {
                    self.dial(dial, peer, addresses, None);
                }
            }
            Action::Close(connection) => drop(self.swarm.close_connection(connection)),
            Action::Disconnect(peer) => drop(self.swarm.disconnect_peer_id(peer)),
            Action::OpenStream { device, peer, on } => {
                let opened = self.swarm.behaviour_mut().streams.open_on(peer, on, DIRECT_PROTOCOL);
                self.opening.push(Box::pin(async move { Opening::Device(device, on, opened.await) }));
            }
            Action::DropStream(device) => drop(self.streams.devices.remove(&device)),
            Action::DropStreams(device) => {
                self.streams.devices.remove(&device);
                for reader in self.streams.inbound.remove(&device).into_iter().flatten() {
                    reader.abort();
                }
            }
            Action::OpenHome { home, peer, on } => {
                let opened = self.swarm.behaviour_mut().streams.open_on(peer, on, RENDEZVOUS_PROTOCOL);
                self.opening.push(Box::pin(async move { Opening::Home(home, on, opened.await) }));
            }
            Action::DropHome(home) => drop(self.streams.homes.remove(&home)),
            Action::Reserve { home, circuit } => {
                if let Ok(listener) = self.swarm.listen_on(circuit) {
                    self.connectivity.handle(Instant::now(), Input::Reserving { home, listener });
                }
            }
            Action::StopListening(listener) => drop(self.swarm.remove_listener(listener)),
            Action::Probe { subject, peer, on, number, at_rest } => {
                let target = ProbeTarget { subject, peer, on, number };
                if !(at_rest && self.ping(target)) {
                    self.echo(target);
                }
            }
            Action::MappingLost(version) => self.on_mapping_lost(version).await,
            Action::Admit(peers) => self.swarm.behaviour_mut().streams.set_gate(Gate::Only(peers)),
            Action::Confine { reach, homes } => {
                let relayed_only = self.proxy.is_some();
                self.swarm.behaviour_mut().confine = Confine { reach, homes, relayed_only };
            }
            Action::Tell(event) => self.tell(event).await,
        }
    }

    /// Probes a peer by an echo, on a stream of its own.
    pub(super) fn echo(&mut self, target: ProbeTarget) {
        let opened = self.swarm.behaviour_mut().streams.open_on(target.peer, target.on, ECHO_PROTOCOL);
        let queue = self.connections.get(&target.on).and_then(|path| path.queue.clone());
        self.await_probe(Probe::new((target.subject, target.number), opened, queue));
    }

    pub(super) fn await_probe(&mut self, probe: Probe) {
        self.add_opening(async move { Opening::Probe(probe.wait().await) });
    }

    /// What it ends in is passed to [`Self::on_opening`].
    pub(super) fn add_opening(&mut self, opening: impl Future<Output = Opening> + Send + 'static) {
        self.opening.push(Box::pin(opening));
    }

    /// Asks a rendezvous for a sign of life on its session: that takes three packets, and a stream of its own more than twice as many. Returns false
    /// if it cannot be asked there.
    fn ping(&mut self, target: ProbeTarget) -> bool {
        let ProbeTarget { subject, number, .. } = target;
        let Subject::Home(home) = subject else { return false };
        let Some(queue) = self.streams.homes.get(&home).and_then(|out| out.queue.as_ref()) else { return false };
        let (pong, answered) = oneshot::channel();
        if queue.try_send(Outgoing::Ping(pong)).is_err() {
            return false;
        }
        self.opening.push(Box::pin(async move {
            match timeout(PONG, answered).await {
                Ok(Ok(())) => Opening::Probe(Probing::Ended { subject, number, answered: true }),
                // It does not know this, or has ended, or a disk holds it up.
                Ok(Err(_)) | Err(_) => Opening::NoPong(target),
            }
        }));
        true
    }

    /// Whether the addresses of a server are reached through a translator, of which nothing is known yet. Those of devices are not: they are reached
    /// through servers.
    fn is_translated(&self, peer: &PeerId, addresses: &[Multiaddr]) -> bool {
        self.swarm.behaviour().confine.homes.contains(peer)
            && addresses.iter().any(may_be_ipv4)
            && self.picture.is_ipv6_only()
    }

    /// The names of a dial were looked up.
    async fn on_resolved(&mut self, named: Named) {
        let (dial, peer) = (named.dial, named.peer);
        let reach = &self.swarm.behaviour().confine.reach;
        let problem = match self.names.addresses(&named) {
            Ok(mut addresses) => {
                addresses.retain(|address| named.anywhere || reach.admits(address));
                if !addresses.is_empty() {
                    let addresses = named.translated(addresses);
                    self.dial(dial, peer, addresses, Some(named));
                    return self.report(Input::Tick).await;
                }
                ConnectionProblem::ForeignNetwork
            }
            Err(problem) => self.or_offline(problem),
        };
        self.report(Input::DialFailed { peer: Some(peer), dial: Some(dial), problem }).await;
    }

    /// Names are the proxy's to look up. Of devices it connects to none: whoever names an address would learn of the proxy, and have it reach into
    /// networks that we do not see.
    async fn dial_through_proxy(&mut self, dial: DialId, peer: PeerId, mut addresses: Vec<Multiaddr>) {
        let is_home = self.swarm.behaviour().confine.homes.contains(&peer);
        addresses.retain(|address| is_circuit(address) || (is_home && proxied::is_reachable(address)));
        if !addresses.is_empty() {
            return self.dial(dial, peer, addresses, None);
        }
        let input = Input::DialFailed { peer: Some(peer), dial: Some(dial), problem: ConnectionProblem::NotByProxy };
        self.connectivity.handle(Instant::now(), input);
    }

    pub(super) fn dial(&mut self, dial: DialId, peer: PeerId, addresses: Vec<Multiaddr>, named: Option<Named>) {
        let server = self.swarm.behaviour().confine.homes.contains(&peer).then_some(peer);
        let addresses = match server {
            Some(server) => self.transports.choose(Instant::now(), &server, addresses),
            None => addresses,
        };
        let quic = Transports::has_quic(&addresses);
        let server = server.filter(|_| Transports::tells(&addresses));
        let span = tracing::debug_span!("dial", dial = dial.0, addresses = addresses.len());
        if self.connectivity.visit_of(dial).is_some() {
            let proxy = self.proxy.clone();
            let visit = async move { Opening::Visit(dial, visit::begin(peer, addresses, proxy).await) };
            self.opening.push(Box::pin(visit.instrument(span)));
            return;
        }
        if self.connectivity.is_past_visit(dial) {
            let problem = ConnectionProblem::Broken;
            let input = Input::DialFailed { peer: None, dial: Some(dial), problem };
            return self.connectivity.handle(Instant::now(), input);
        }
        let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses.clone()).build();
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                drop(self.dials.insert(connection, Dial { id: dial, span, peer, addresses, named, server, quic }))
            }
            Err(error) => {
                let problem = dial_problem(&error);
                tracing::debug!(parent: &span, %problem, "cannot begin");
                let input = Input::DialFailed { peer: None, dial: Some(dial), problem };
                self.connectivity.handle(Instant::now(), input);
            }
        }
    }

    pub(super) async fn tell(&mut self, event: NetEvent) {
        let _ = self.engine.send(event).await;
    }

    async fn on_command(&mut self, command: NetCommand) {
        match command {
            NetCommand::Targets(targets) => self.report(Input::Targets(targets)).await,
            NetCommand::Lan(keys) if self.lan.wanted => self.set_lan_keys(keys).await,
            NetCommand::Lan(_) => {}
            NetCommand::Homes(homes) => self.report(Input::Homes(homes)).await,
            NetCommand::Remember(known) => known.into_iter().for_each(|(name, ip)| self.names.remember(name, ip)),
            NetCommand::RememberNetworks(known) => self.lifetimes.mappings.remember(known),
            NetCommand::Stun(home, port) => {
                // Visits are over soon.
                if self.connectivity.session_on(&home).is_some() {
                    self.lifetimes.stun = stun_of(self.lifetimes.stun, (home, port));
                }
                self.look_at_network().await;
            }
            NetCommand::Leave => self.report(Input::Leave).await,
            NetCommand::Hint(device) => self.report(Input::Hint(device)).await,
            NetCommand::Watch(watched) => self.report(Input::Watch(watched)).await,
            NetCommand::Check => self.report(Input::Check).await,
            NetCommand::Direct(device, frame) => {
                if direct::has_to_arrive(&frame) {
                    self.report(Input::AnswerDue(Subject::Device(device))).await;
                }
                if self.streams.devices.get_mut(&device).is_some_and(|out| !out.push(frame)) {
                    // Too slow, or broken: the stream's end is reported, and what was not acknowledged is sent again.
                    self.report(Input::StreamStalled(device)).await;
                }
            }
            NetCommand::Topic(id, topic) => self.swarm.behaviour_mut().gossip.set(id, topic),
            NetCommand::Publish(id, envelope) => self.swarm.behaviour_mut().gossip.publish(id, &envelope),
            NetCommand::Turn(home, reply) => {
                // A rendezvous has its key as a device has.
                let Some(peer) = DeviceId::from_bytes(&home).ok().and_then(|key| peer_of(&key)) else { return };
                let opened = self.swarm.behaviour_mut().streams.open(peer, TURN_PROTOCOL);
                self.tasks.spawn(async move {
                    turn::carry(opened, reply).await;
                    Ended::Work
                });
            }
            NetCommand::Request(home, id, ask) => {
                if let Some(out) = self.streams.homes.get_mut(&home) {
                    out.push(Outgoing::Request(id, ask));
                    self.report(Input::AnswerDue(Subject::Home(home))).await;
                }
            }
            NetCommand::RequestWithWork(home, id, puzzle, work) => {
                let Some(requests) = self.streams.homes.get(&home).and_then(|out| out.queue.clone()) else { return };
                self.tasks.spawn(async move {
                    let solved = tokio::task::spawn_blocking(move || puzzle.solve()).await;
                    if let Ok(solution) = solved {
                        let _ = requests.send(Outgoing::Request(id, work.solved(solution.0))).await;
                    }
                    Ended::Work
                });
            }
        }
    }

    pub(super) fn span_of(&self, connection: ConnectionId) -> Span {
        self.connections.get(&connection).map_or_else(Span::none, |path| path.span.clone())
    }
}
