//! The test world: people's engines and a real server's sessions in one thread, with time and the network as arguments. A seeded generator
//! chooses what happens next, so that every order of events is tried and every failure can be repeated.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use starling_keys::{
    AccountId, AccountKey, DeviceChain, DeviceId, DeviceKey, Invite, KeyFile, RecoveryPhrase, RendezvousAddr,
    StorageKey, chain::ChainError,
};
use starling_rendezvous::{
    config::Config,
    local::{LocalSession, set_clock},
};
use starling_wire::{
    Text, TopicId,
    rendezvous::{InboxAppend, Refused, Request, RequestBody, Response},
};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{
    gossip_net::GossipNet,
    liar::Liar,
    servers::{At, Server},
    trace,
};
use crate::{
    AccountLink, NewDevice, NewProfile, Origin, ProfileDir, Rights,
    account::link::Candidate,
    api::{
        Reply,
        error::NodeError,
        problem::HomeProblem,
        types::{Chat, ChatId, Contact, DurableEvent, Message, MessageId, TransientEvent},
    },
    call_media::{CallCommand, CallInput},
    engine::{AccountCommand, Command, ContactCommand, ConversationCommand, Engine, Input},
    mls::GroupId,
    net::{HomeId, NetCommand, NetEvent, Target, gossip::Inspector},
    node::create_profile_at,
    store::{
        CHATS, CONTACTS, ChatRow, ContactRow, IdentityRow, MEMBERS, META, MemberRow, Reading, Store, Table, prefix,
    },
    timeline,
    turn::{Effect, Now, Source, Turn},
};

/// The day on which stories begin: 15 January 2027.
const START_MS: u64 = 1_800_000_000_000 / 86_400_000 * 86_400_000;

/// Who somebody is in the world.
pub type Who = usize;

/// Bytes under way between two ends: in order, or lost with the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wire {
    ToServer(Who, At),
    FromServer(Who, At),
    Between(Who, Who),
    /// Envelopes between two members of a group.
    Gossip(Who, Who),
    /// To an engine, from its user and from the world.
    Local(Who),
}

/// Changes an answer on its way to somebody.
pub type Lie = Box<dyn FnMut(Who, &mut Response)>;

/// What a server does with a request in place of answering it.
pub enum Treatment {
    /// Nothing.
    Silence,
    Refusal(Refused),
}

/// Decides what a server does with a request, if not what it should.
pub type Treats = Box<dyn FnMut(At, &RequestBody) -> Option<Treatment>>;

pub(super) enum Packet {
    Request(Box<Request>),
    Gossip(TopicId, Bytes),
    In(Box<Input>),
}

/// One account with one device.
pub struct Person {
    pub name: String,
    pub account: AccountId,
    pub device: DeviceId,
    dir: PathBuf,
    key: StorageKey,
    running: Option<(Engine, Arc<Store>)>,
    pub(super) sessions: BTreeMap<At, LocalSession>,
    pub(super) wants: BTreeSet<At>,
    /// Those of them that are visited, by the number of the visit.
    pub(super) visits: BTreeMap<At, u64>,
    targets: Vec<DeviceId>,
    /// The same with members of groups who are no contacts.
    pub(super) reaches: BTreeSet<DeviceId>,
    /// What its swarm knows of the topics of groups.
    pub(super) inspector: Inspector,
    pub(super) topics: BTreeSet<TopicId>,
    links: Vec<Who>,
    /// Events that are not kept, since they were last looked at.
    pub live: Vec<TransientEvent>,
    /// What its engine told the media of calls, since it was last looked at.
    pub calls: Vec<CallCommand>,
}

/// Everything.
pub struct World {
    pub(super) runtime: tokio::runtime::Runtime,
    dir: TempDir,
    pub config: Config,
    /// The first is the home of all who have no other.
    pub(super) servers: Vec<Server>,
    /// The address of the first server.
    pub home: RendezvousAddr,
    pub(super) people: Vec<Person>,
    /// What people have written down: the phrases of their accounts.
    pub(super) phrases: BTreeMap<AccountId, AccountKey>,
    pub(super) wires: BTreeMap<Wire, VecDeque<Packet>>,
    /// Direct connections can be made.
    pub direct: bool,
    /// Those who are connected with nobody, whatever is possible.
    pub apart: BTreeSet<Who>,
    /// How members of groups pass on what is written there; they do not, unless a story wants it.
    pub gossip: GossipNet,
    pub now: Now,
    rng: SmallRng,
    /// What the server's answers pass through on their way: a server that lies.
    pub lie: Option<Lie>,
    /// The first server shows each device a log of its own.
    pub liar: Option<Liar>,
    /// What is added to the clock that a server shows, in milliseconds.
    pub false_clock: Option<(At, i64)>,
    /// The servers are of a version before logs had candidates.
    pub older_servers: bool,
    /// Servers are of a version that has to see user names.
    pub nameless_servers: bool,
    /// All that servers are asked, if somebody wants to know.
    pub asked: Option<Vec<Request>>,
    /// The keys under which everybody has come to a server, and for whom.
    pub seen: Vec<(At, Who, [u8; 32])>,
    /// What the servers were asked to put into inboxes.
    pub appended: Vec<InboxAppend>,
    /// What servers do with some requests in place of answering them.
    pub treats: Option<Treats>,
    /// The first server swallows what others leave in inboxes there.
    pub swallows_items: bool,
    /// How many requests and frames everybody has sent.
    sent: BTreeMap<Who, u64>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { data_dir: dir.path().join("rendezvous"), ..Config::default() };
        // As cheap as it goes, and no rates: time here is not the server's.
        (config.registration.work_bits, config.limits.inbox_work_bits) = (1, 1);
        (config.limits.requests_per_second, config.limits.request_burst) = (1_000_000, 1_000_000);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut rng = SmallRng::seed_from_u64(seed);
        starling_keys::seed(rng.random());
        // At any time of a day.
        let start = START_MS + rng.random_range(0..86_400_000);
        set_clock(start);
        let first = Server::new(0, config.data_dir.clone());
        let mut world = Self {
            runtime,
            home: first.address.clone(),
            config,
            dir,
            servers: vec![first],
            people: Vec::new(),
            phrases: BTreeMap::new(),
            wires: BTreeMap::new(),
            direct: true,
            apart: BTreeSet::new(),
            gossip: GossipNet::default(),
            now: Now { steady_ms: start, wall_ms: start, running_ms: 0 },
            rng,
            lie: None,
            false_clock: None,
            older_servers: false,
            nameless_servers: false,
            asked: None,
            liar: None,
            seen: Vec::new(),
            appended: Vec::new(),
            treats: None,
            swallows_items: false,
            sent: BTreeMap::new(),
        };
        world.start_server();
        world
    }

    /// Somebody with a new profile, registered.
    pub fn person(&mut self, name: &str) -> Who {
        self.person_at(name, &[0])
    }

    /// The same, with homes at these servers.
    pub fn person_at(&mut self, name: &str, homes: &[At]) -> Who {
        let root = RecoveryPhrase::generate().account_key();
        let again = AccountKey::from_seed(&root.seed());
        let homes = homes.iter().map(|at| self.servers[*at].address.clone()).collect();
        let who = self.profile_at(name, Origin::New(root), homes);
        self.phrases.insert(self.people[who].account, again);
        self.settle();
        who
    }

    /// Another profile of somebody's account, made from the phrase.
    pub fn restored(&mut self, who: Who) -> Who {
        let (name, account) = (self.people[who].name.clone(), self.people[who].account);
        self.kill(who);
        let root = AccountKey::from_seed(&self.phrases[&account].seed());
        let other = self.profile(&name, Origin::Restored(root));
        self.settle();
        other
    }

    /// A copy of the directory of somebody's profile as it is now, which does not run yet. Somebody's own goes on.
    pub fn copied(&mut self, who: Who) -> Who {
        let ran = self.is_running(who);
        self.kill(who);
        let (from, key) = (self.people[who].dir.clone(), self.people[who].key.clone());
        let to = self.dir.path().join(format!("copy-{}", self.people.len()));
        std::fs::create_dir_all(&to).unwrap();
        for file in std::fs::read_dir(&from).unwrap().flatten().filter(|file| file.file_name() != "lock") {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
        let copy = self.add_profile(to, key);
        if ran {
            self.start(who);
        }
        copy
    }

    /// What is wrong with somebody's home, as their device sees it.
    pub fn home_problem(&self, who: Who) -> Option<HomeProblem> {
        let (engine, _) = self.people[who].running.as_ref().unwrap();
        engine.homes.servers.get(&self.home.peer).and_then(|home| home.problem.clone())
    }

    /// Another device of somebody's account, linked by the one that is there.
    pub fn linked(&mut self, who: Who) -> Who {
        let other = self.begin_linking(who);
        self.settle();
        other
    }

    /// The same, without a code: it asks and is answered at once, and is one of the account's devices when the world goes on.
    pub fn begin_linking(&mut self, who: Who) -> Who {
        let (device, _) = self.let_in(who, false);
        self.joined(who, device)
    }

    /// A device is linked that may copy the history of the one that is there; the copying begins when the world goes on.
    pub fn linked_with_history(&mut self, who: Who) -> Who {
        let (device, mut answer) = self.let_in(who, true);
        // The home takes the chain, and the snapshot that the device will read.
        for _ in 0..10 {
            self.pass(2_000);
            if let Ok(answer) = answer.try_recv() {
                answer.unwrap();
                return self.joined(who, device);
            }
        }
        panic!("no answer");
    }

    /// A device is linked as it is outside of tests: it exists when the home has the chain with it. `None` if it has not after so many steps.
    pub fn link_within(&mut self, who: Who, steps: usize) -> Option<Who> {
        let (device, mut answer) = self.let_in(who, false);
        let mut pauses = 0;
        for _ in 0..steps {
            match answer.try_recv() {
                Ok(Ok(())) => return Some(self.joined(who, device)),
                Ok(Err(_)) => return None,
                Err(_) if self.step() => {}
                Err(_) if pauses == 6 => return None,
                // The old device answers when its snapshot is stored, which it writes a second later.
                Err(_) => {
                    pauses += 1;
                    self.pass(500);
                }
            }
        }
        None
    }

    /// A device asks, and the user agrees.
    pub(super) fn let_in(&mut self, who: Who, history: bool) -> (NewDevice, oneshot::Receiver<Result<(), NodeError>>) {
        let account = self.people[who].account;
        let device = NewDevice::generate().unwrap();
        let joining = device.joining(&account);
        let (reply, answer) = oneshot::channel();
        let (engine, _) = self.people[who].running.as_mut().unwrap();
        let home = engine.account.identity.homes[0].peer;
        engine.account.candidates.push(Candidate::of(joining, home));
        let agreed = AccountCommand::AnswerLink { device: device.id(), rights: Some(Rights::Admin), history, reply };
        self.turn(who, vec![Input::Command(agreed.into())]);
        (device, answer)
    }

    pub(super) fn joined(&mut self, who: Who, device: NewDevice) -> Who {
        let name = self.people[who].name.clone();
        let (engine, _) = self.people[who].running.as_ref().unwrap();
        let chain = engine.account.list().unwrap().clone();
        let recovery_key = engine.account.identity.row.recovery_public.clone();
        let homes = engine.account.identity.homes.clone();
        let history = Some(engine.history.number_for(&device.id()));
        let link =
            AccountLink { chain, name: name.clone(), bot: false, username: String::new(), recovery_key, history };
        self.profile_at(&name, Origin::Linked(Box::new(link), device), homes)
    }

    pub fn profile(&mut self, name: &str, origin: Origin) -> Who {
        self.profile_at(name, origin, vec![self.home.clone()])
    }

    /// A new profile with these homes.
    pub fn profile_at(&mut self, name: &str, origin: Origin, homes: Vec<RendezvousAddr>) -> Who {
        let dir = self.dir.path().join(format!("{name}-{}", self.people.len()));
        let key = StorageKey::generate();
        let new = NewProfile {
            origin,
            name: name.into(),
            bot: false,
            homes,
            registration_token: String::new(),
            username: String::new(),
        };
        create_profile_at(ProfileDir::lock(&dir).unwrap(), &key, new, self.now.wall_ms).unwrap();
        let who = self.add_profile(dir, key);
        self.start(who);
        who
    }

    pub fn of(&mut self, who: Who) -> &mut Person {
        &mut self.people[who]
    }

    /// A die of the world: below `count`.
    pub fn one_of(&mut self, count: usize) -> usize {
        self.rng.random_range(0..count)
    }

    // Processes.

    pub fn start(&mut self, who: Who) {
        let person = &mut self.people[who];
        let store = Arc::new(Store::open(ProfileDir::lock(&person.dir).unwrap(), &person.key).unwrap());
        let source = Source::seeded(self.rng.random());
        let engine = Engine::load(store.clone(), self.now.wall_ms, source).unwrap();
        person.running = Some((engine, store));
        self.turn(who, Vec::new());
    }

    /// Ends a process as `kill -9` does: what is not durable is gone.
    pub fn kill(&mut self, who: Who) {
        self.people[who].running = None;
        self.people[who].targets.clear();
        self.people[who].reaches.clear();
        self.people[who].inspector = Inspector::default();
        self.people[who].topics.clear();
        self.gossip.forget(who);
        self.people[who].wants.clear();
        self.people[who].visits.clear();
        self.drop_sessions(who);
        for other in 0..self.people.len() {
            self.cut(who, other);
        }
        self.wires.remove(&Wire::Local(who));
    }

    /// Breaks the direct connection of two.
    pub fn cut(&mut self, a: Who, b: Who) {
        let linked = self.people[a].links.contains(&b);
        for (one, other) in [(a, b), (b, a)] {
            self.people[one].links.retain(|w| *w != other);
            self.wires.remove(&Wire::Between(one, other));
            self.wires.remove(&Wire::Gossip(one, other));
            if linked {
                let device = self.people[other].device;
                self.tell(one, NetEvent::DirectDown(device));
            }
        }
    }

    // Time and events.

    /// The rendezvous of all.
    pub fn home_id(&self) -> HomeId {
        self.home.peer
    }

    /// What the network of somebody says.
    pub fn tell(&mut self, who: Who, event: NetEvent) {
        if self.people[who].running.is_some() {
            self.put(Wire::Local(who), Packet::In(Box::new(Input::Net(event))));
        }
    }

    pub(super) fn put(&mut self, wire: Wire, packet: Packet) {
        self.wires.entry(wire).or_default().push_back(packet);
    }

    /// Makes the connections that are wanted and possible.
    pub(super) fn reach(&mut self) {
        for who in 0..self.people.len() {
            self.reach_servers(who);
            for other in 0..who {
                let wants = |a: &Person, b: &Person| a.targets.contains(&b.device);
                let (a, b) = (&self.people[who], &self.people[other]);
                let apart = self.apart.contains(&who) || self.apart.contains(&other);
                let wanted = wants(a, b) && wants(b, a) && !apart && self.are_in_one_half(who, other);
                if wanted && self.direct && !a.links.contains(&other) {
                    let (device_a, device_b) = (a.device, b.device);
                    self.people[who].links.push(other);
                    self.people[other].links.push(who);
                    self.tell(who, NetEvent::DirectUp { device: device_b, relayed: false });
                    self.tell(other, NetEvent::DirectUp { device: device_a, relayed: false });
                } else if !(wanted && self.direct) && a.links.contains(&other) {
                    self.cut(who, other);
                }
            }
        }
        self.meet_on_topics();
    }

    pub(super) fn turn(&mut self, who: Who, inputs: Vec<Input>) {
        let now = self.now;
        let Some((engine, _)) = &mut self.people[who].running else { return };
        let effects = engine.turn(inputs, now).unwrap();
        self.carry_out(who, effects);
    }

    /// Somebody's program is a modified one for a moment: it does what ours never would.
    pub fn modified(&mut self, who: Who, work: impl FnOnce(&mut Engine, &mut Turn<'_>)) {
        self.begin_modified(who, work);
        self.settle();
    }

    /// The same; what follows from it happens when the world goes on.
    pub fn begin_modified(&mut self, who: Who, work: impl FnOnce(&mut Engine, &mut Turn<'_>)) {
        let now = self.now;
        let (engine, _) = self.people[who].running.as_mut().unwrap();
        let effects = engine.modified_turn(now, work).unwrap();
        self.carry_out(who, effects);
    }

    fn carry_out(&mut self, who: Who, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply(reply) => reply(),
                Effect::TransientEvent(event) => self.people[who].live.push(event),
                Effect::Call(command) => self.people[who].calls.push(command),
                Effect::Net(command) => self.carry(who, command),
            }
        }
        self.reach();
    }

    fn carry(&mut self, who: Who, command: NetCommand) {
        let leaves =
            matches!(command, NetCommand::Direct(..) | NetCommand::Request(..) | NetCommand::RequestWithWork(..));
        *self.sent.entry(who).or_default() += u64::from(leaves);
        match command {
            NetCommand::Targets(targets) => {
                self.people[who].reaches = targets.keys().copied().collect();
                let talks = |(device, target): (DeviceId, Target)| (!target.gossip_only).then_some(device);
                self.people[who].targets = targets.into_iter().filter_map(talks).collect();
            }
            NetCommand::Homes(homes) => {
                let wanted = |at: &At| homes.contains_key(&self.servers[*at].address.peer);
                let wants: BTreeSet<At> = (0..self.servers.len()).filter(wanted).collect();
                for at in self.people[who].wants.difference(&wants).copied().collect::<Vec<_>>() {
                    self.leave_session(who, at);
                }
                for at in &wants {
                    let visit = homes.get(&self.servers[*at].address.peer).and_then(|home| home.visit);
                    self.set_visit(who, *at, visit);
                }
                self.people[who].wants = wants;
            }
            NetCommand::Hint(_)
            | NetCommand::Remember(_)
            | NetCommand::RememberNetworks(_)
            | NetCommand::Stun(..)
            | NetCommand::Turn(..)
            | NetCommand::Leave
            | NetCommand::Watch(_)
            | NetCommand::Lan(_) => {}
            NetCommand::Topic(id, topic) => self.set_topic(who, id, topic),
            NetCommand::Publish(id, envelope) => self.publish(who, id, envelope),
            NetCommand::Check => {
                for at in self.people[who].sessions.keys().copied().collect::<Vec<_>>() {
                    self.tell(who, NetEvent::HomeAnswered(self.servers[at].address.peer));
                }
                self.tell(who, NetEvent::Checked);
            }
            NetCommand::Direct(device, frame) => {
                // Two may run with one device's key: those who are connected to one of them write to that.
                let is_linked = |other: &&Who| self.people[**other].device == device;
                if let Some(other) = self.people[who].links.iter().find(is_linked).copied() {
                    let from = self.people[who].device;
                    let input = Input::Net(NetEvent::Direct(from, frame));
                    self.put(Wire::Between(who, other), Packet::In(Box::new(input)));
                }
            }
            NetCommand::Request(home, id, ask) => self.request(who, home, id, ask),
            NetCommand::RequestWithWork(home, id, puzzle, work) => {
                let ask = work.solved(puzzle.solve().0);
                self.request(who, home, id, ask);
            }
        }
    }

    /// One thing happens. Gives whether there was anything.
    pub fn step(&mut self) -> bool {
        self.wires.retain(|_, packets| !packets.is_empty());
        let at = match self.wires.len() {
            0 => return false,
            count => self.rng.random_range(0..count),
        };
        let wire = *self.wires.keys().nth(at).unwrap();
        let most = self.rng.random_range(1..8);
        let packets = self.wires.get_mut(&wire).unwrap();
        let count = packets.len().min(most);
        trace::arrived(wire, packets.iter().take(count));
        let mut inputs = Vec::new();
        let mut asks = Vec::new();
        let mut envelopes = Vec::new();
        for packet in packets.drain(..count) {
            match packet {
                Packet::Request(request) => asks.push(*request),
                Packet::Gossip(topic, envelope) => envelopes.push((topic, envelope)),
                Packet::In(input) => inputs.push(*input),
            }
        }
        match wire {
            Wire::Gossip(from, to) => self.take_envelopes(from, to, envelopes),
            Wire::ToServer(who, at) => {
                for request in asks {
                    self.answer(who, at, request);
                }
                self.collect_pushes();
            }
            Wire::FromServer(who, _) | Wire::Between(_, who) | Wire::Local(who) => self.turn(who, inputs),
        }
        true
    }

    /// Everything that is under way to somebody is handled in one turn, what its user wants first.
    pub fn all_at_once(&mut self, who: Who) {
        let to =
            |wire: &Wire| matches!(wire, Wire::FromServer(w, _) | Wire::Between(_, w) | Wire::Local(w) if *w == who);
        let mut wires: Vec<Wire> = self.wires.keys().copied().filter(to).collect();
        wires.sort_by_key(|wire| !matches!(wire, Wire::Local(_)));
        let packets = wires.iter().filter_map(|wire| self.wires.remove(wire)).flatten();
        let inputs = packets.filter_map(|p| if let Packet::In(input) = p { Some(*input) } else { None }).collect();
        self.turn(who, inputs);
    }

    /// Until nothing more happens by itself at this time.
    pub fn settle(&mut self) {
        for _ in 0..200_000 {
            if !self.step() {
                return;
            }
        }
        let last = trace::traced(|| {
            for _ in 0..12 {
                self.step();
            }
        });
        panic!("the world does not come to rest:\n{}", last.join("\n"));
    }

    /// Lets time pass: timers go off in their order.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now.steady_ms + ms;
        self.settle();
        for _ in 0..10_000 {
            if !self.timer(end) {
                self.tick(end);
                self.settle();
                return;
            }
            self.settle();
        }
        panic!("timers go off again and again");
    }

    /// The timers go off that are the next, if that is until `end`, in steady time. Gives whether any did.
    pub fn timer(&mut self, end: u64) -> bool {
        let due = self.people.iter().filter_map(|p| p.running.as_ref()?.0.next_due()).min();
        let Some(due) = due.filter(|due| *due <= end) else { return false };
        self.tick(due.max(self.now.steady_ms + 1));
        for who in 0..self.people.len() {
            self.turn(who, Vec::new());
        }
        true
    }

    fn tick(&mut self, steady: u64) {
        let passed = steady - self.now.steady_ms;
        let Now { wall_ms, running_ms, .. } = self.now;
        self.now = Now { steady_ms: steady, wall_ms: wall_ms + passed, running_ms: running_ms + passed };
        set_clock(self.now.wall_ms);
        trace::time(steady);
    }

    // What users do and see.

    /// The media of a call say something.
    pub fn media(&mut self, who: Who, input: CallInput) {
        self.put(Wire::Local(who), Packet::In(Box::new(Input::Call(input))));
        self.settle();
    }

    /// Starts a call of a user; the answer comes when the world goes on.
    pub fn begin<T, C: Into<Command>>(
        &mut self,
        who: Who,
        command: impl FnOnce(Reply<T>) -> C,
    ) -> oneshot::Receiver<Result<T, NodeError>> {
        let (reply, answer) = oneshot::channel();
        self.put(Wire::Local(who), Packet::In(Box::new(Input::Command(command(reply).into()))));
        answer
    }

    /// A call, and everything that follows from it.
    pub fn call<T, C: Into<Command>>(&mut self, who: Who, command: impl FnOnce(Reply<T>) -> C) -> Result<T, NodeError> {
        let mut answer = self.begin(who, command);
        self.settle();
        answer.try_recv().expect("no answer")
    }

    pub fn contact(&mut self, who: Who, other: Who) -> Option<Contact> {
        let account = self.people[other].account;
        self.call(who, ContactCommand::List).unwrap().into_iter().find(|c| c.account == account)
    }

    pub fn chat(&mut self, who: Who, other: Who) -> ChatId {
        self.contact(who, other).unwrap().chat
    }

    /// The same without asking: nothing happens meanwhile.
    pub fn chat_id(&self, who: Who, other: Who) -> ChatId {
        let engine = self.engine(who);
        engine.conversations.chats.direct_with(&self.people[other].account).unwrap()
    }

    /// Gives somebody contacts that never come online, each with a conversation, as a stored profile has them; then starts again.
    pub fn fill(&mut self, who: Who, contacts: u32) {
        self.kill(who);
        let person = &self.people[who];
        let store = Store::open(ProfileDir::lock(&person.dir).unwrap(), &person.key).unwrap();
        let own = person.account.as_bytes().to_vec();
        let txn = store.begin().unwrap();
        for n in 0..contacts {
            let mut seed = [9; 32];
            seed[..4].copy_from_slice(&n.to_be_bytes());
            let account = AccountKey::from_seed(&seed).id().as_bytes().to_vec();
            let chat = store.name("direct", &account);
            txn.put(CHATS, &chat, &ChatRow::default()).unwrap();
            for (account, own) in [(&own, true), (&account, false)] {
                let member = MemberRow { account: account.clone(), own, ..MemberRow::default() };
                txn.put(MEMBERS, &store.member_key(&chat, account), &member).unwrap();
            }
            let contact =
                ContactRow { account: account.clone(), name: format!("contact {n}"), ..ContactRow::default() };
            txn.put(CONTACTS, &store.name("contact", &account), &contact).unwrap();
        }
        txn.commit().unwrap();
        drop(store);
        self.start(who);
        self.settle();
    }

    /// How many conversations, groups, contacts and streams somebody's engine has looked at.
    pub fn visits(&self, who: Who) -> u64 {
        self.people[who].running.as_ref().map_or(0, |(engine, _)| engine.visits())
    }

    /// How many requests and frames somebody has sent.
    pub fn sent(&self, who: Who) -> u64 {
        self.sent.get(&who).copied().unwrap_or_default()
    }

    /// How many encryption states of groups somebody's engine has loaded.
    pub fn loaded_groups(&self, who: Who) -> usize {
        self.people[who].running.as_ref().map_or(0, |(engine, _)| engine.conversations.groups.states.len())
    }

    /// Makes the rows unreadable that a table has for the group of somebody's conversation with another; nothing of theirs runs meanwhile.
    pub fn damage_group(&mut self, who: Who, other: Who, table: Table) {
        self.start(who);
        let chat = self.chat_id(who, other);
        let (engine, _) = self.people[who].running.as_ref().unwrap();
        let group = engine.active_group(chat).unwrap();
        self.kill(who);
        let person = &self.people[who];
        let store = Store::open(ProfileDir::lock(&person.dir).unwrap(), &person.key).unwrap();
        let txn = store.begin().unwrap();
        for key in txn.keys(table).unwrap().iter().filter(|key| key.starts_with(&group)) {
            txn.damage(table, key).unwrap();
        }
        txn.commit().unwrap();
    }

    pub fn chat_row(&mut self, who: Who, other: Who) -> Chat {
        let chat = self.chat(who, other);
        self.call(who, ConversationCommand::List).unwrap().into_iter().find(|c| c.id == chat).unwrap()
    }

    pub fn invite(&mut self, who: Who) -> Invite {
        let (link, _) =
            self.call(who, |reply| ContactCommand::Invite { uses: 1, lifetime_ms: 86_400_000, reply }).unwrap();
        link.parse().unwrap()
    }

    /// Begins to add somebody.
    pub fn add(&mut self, who: Who, invite: &Invite) -> oneshot::Receiver<Result<AccountId, NodeError>> {
        let (account, homes, token) = (invite.address.account, invite.address.homes.clone(), invite.token.clone());
        self.begin(who, |reply| ContactCommand::Connect {
            account: Some(account),
            name: None,
            homes,
            token,
            greeting: "hello".into(),
            alias: String::new(),
            reply,
        })
    }

    /// Two people who are contacts.
    pub fn friends(&mut self) -> (Who, Who) {
        self.friends_at(0, 0)
    }

    /// Two people who are contacts, with these homes. The log is at the second's.
    pub fn friends_at(&mut self, first: At, second: At) -> (Who, Who) {
        let (alice, bob) = (self.person_at("alice", &[first]), self.person_at("bob", &[second]));
        let invite = self.invite(alice);
        let mut added = self.add(bob, &invite);
        self.pass(5_000);
        added.try_recv().expect("no answer").unwrap();
        (alice, bob)
    }

    pub fn say(&mut self, who: Who, to: Who, text: &str) -> MessageId {
        let chat = self.chat(who, to);
        let texts = vec![Text { text: text.into(), ..Text::default() }];
        self.call(who, |reply| ConversationCommand::Send { chat, texts, reply }).unwrap()[0]
    }

    /// What somebody's device has stored.
    pub fn store(&self, who: Who) -> Arc<Store> {
        self.people[who].running.as_ref().unwrap().1.clone()
    }

    /// What somebody sees of the conversation with another, without lines about devices.
    pub fn messages(&mut self, who: Who, other: Who) -> Vec<Message> {
        let chat = self.chat(who, other);
        let mut messages = self.messages_in(who, chat);
        messages.retain(|message| message.device_note.is_none());
        messages
    }

    /// Lines about the other's devices that somebody sees in the conversation with them.
    pub fn device_lines(&mut self, who: Who, other: Who) -> Vec<Message> {
        let chat = self.chat(who, other);
        let mut messages = self.messages_in(who, chat);
        messages.retain(|message| message.device_note.is_some());
        messages
    }

    /// What somebody sees of a conversation.
    pub fn messages_in(&self, who: Who, chat: ChatId) -> Vec<Message> {
        let (_, store) = self.people[who].running.as_ref().unwrap();
        timeline::messages(store, chat, prefix(&chat.0), usize::MAX, false).unwrap()
    }

    /// All durable events of somebody.
    pub fn durable_events(&self, who: Who) -> Vec<DurableEvent> {
        let (_, store) = self.people[who].running.as_ref().unwrap();
        timeline::events_after(store, 0, usize::MAX).unwrap()
    }

    /// The same as lines: who, text, and for own messages the state.
    pub fn seen(&mut self, who: Who, other: Who) -> Vec<String> {
        let (me, them) = (self.people[who].name.clone(), self.people[other].name.clone());
        let line = |m: Message| {
            let text = if m.deleted { "(deleted)" } else { &m.text };
            if m.own { format!("{me}: {text} [{:?}]", m.state) } else { format!("{them}: {text}") }
        };
        self.messages(who, other).into_iter().map(line).collect()
    }

    /// Somebody's engine, which runs.
    pub fn engine(&self, who: Who) -> &Engine {
        &self.people[who].running.as_ref().unwrap().0
    }

    /// The keys and epoch of the conversation, as the number of commits that were made in it.
    pub fn epoch(&mut self, who: Who, other: Who) -> u64 {
        let chat = self.chat(who, other);
        let engine = self.engine(who);
        engine.active_group(chat).and_then(|id| engine.conversations.groups.get(&id)).map_or(0, |g| g.epoch())
    }

    /// The log that somebody writes into in a group.
    pub fn log_address(&self, who: Who, group: GroupId) -> [u8; 32] {
        let engine = self.engine(who);
        engine.conversations.groups.get(&group).unwrap().current_keys().unwrap().address
    }

    /// Whether two have a direct connection.
    pub fn are_connected(&self, a: Who, b: Who) -> bool {
        self.people[a].links.contains(&b)
    }

    /// The devices of an account, as somebody knows them now.
    pub fn listed(&self, who: Who, account: AccountId) -> Vec<DeviceId> {
        let engine = self.engine(who);
        let list = if account == engine.account.id() {
            engine.account.list()
        } else {
            engine.contacts.people.get(&account).and_then(|p| p.list.as_ref())
        };
        list.iter().flat_map(|l| &l.devices).map(|d| d.id).collect()
    }

    /// The chain of somebody's account, as their device has it.
    pub fn chain(&self, who: Who) -> DeviceChain {
        self.people[who].running.as_ref().unwrap().0.account.list().unwrap().clone()
    }

    /// What the phrase of somebody's account signs so that their device is its only one.
    pub fn signed_recovery(&mut self, who: Who) -> Result<DeviceChain, ChainError> {
        let recovery = self.call(who, AccountCommand::Recovery).unwrap();
        recovery.sign(&self.phrases[&recovery.chain.account], self.now.wall_ms / 1000)
    }

    /// Makes somebody's device the only one of their account, with the phrase.
    pub fn recover(&mut self, who: Who) {
        let chain = self.signed_recovery(who).unwrap();
        let bytes = chain.as_bytes().to_vec();
        let mut done = self.begin(who, |reply| AccountCommand::Recover(bytes, reply));
        self.pass(20_000);
        done.try_recv().expect("no answer").unwrap();
    }

    /// Whether the root of somebody's account is in their profile, or in memory.
    pub fn has_root(&self, who: Who) -> bool {
        let (engine, store) = self.people[who].running.as_ref().unwrap();
        let row: IdentityRow = store.read().unwrap().get(META, b"identity").unwrap().unwrap();
        engine.account.identity.root.is_some() || !(row.account_seed.is_empty() && row.sealed_root.is_empty())
    }

    /// Whether somebody has another as a contact.
    pub fn knows(&self, who: Who, other: Who) -> bool {
        let (engine, _) = self.people[who].running.as_ref().unwrap();
        engine.contacts.people.contains_key(&self.people[other].account)
    }

    /// A server's id that is not ours.
    pub fn other_peer(&self) -> String {
        crate::net::peer_of(&DeviceKey::from_seed(&[8; 32]).id()).unwrap().to_string()
    }

    /// Where somebody looks for another.
    pub fn homes_of(&self, who: Who, other: Who) -> Vec<RendezvousAddr> {
        let (engine, _) = self.people[who].running.as_ref().unwrap();
        engine.contacts.people.get(&self.people[other].account).map(crate::contacts::Person::homes).unwrap_or_default()
    }

    /// Everybody who runs, in both directions, can be reached again; then time passes.
    pub fn heal(&mut self) {
        self.direct = true;
        for who in 0..self.people.len() {
            if self.people[who].running.is_none() {
                self.start(who);
            }
        }
        self.start_server();
        self.pass(180_000);
    }

    // Fixtures.

    /// Copies the profiles of people who do not run, and the server's data, to a directory, with the key files and the time.
    pub fn keep(&self, people: &[(Who, &str)], to: &Path) {
        for (who, name) in people {
            let (person, to) = (&self.people[*who], to.join(name));
            std::fs::create_dir_all(&to).unwrap();
            std::fs::copy(person.dir.join("profile.redb"), to.join("profile.redb")).unwrap();
            std::fs::write(to.join("key"), KeyFile::plain(&person.key).to_bytes()).unwrap();
        }
        let server = to.join("rendezvous");
        std::fs::create_dir_all(&server).unwrap();
        std::fs::copy(self.config.data_dir.join("rendezvous.redb"), server.join("rendezvous.redb")).unwrap();
        std::fs::write(to.join("time"), self.now.wall_ms.to_string()).unwrap();
    }

    /// How many devices there are.
    pub fn how_many(&self) -> usize {
        self.people.len()
    }

    /// A world at the time of a fixture, with its server, which does not run, and its people, who do not either.
    pub fn of_fixture(seed: u64, from: &Path, people: &[&str]) -> Self {
        let mut world = Self::new(seed);
        world.stop_server();
        let wall_ms: u64 = std::fs::read_to_string(from.join("time")).unwrap().parse().unwrap();
        world.now = Now { steady_ms: wall_ms, wall_ms, running_ms: 0 };
        set_clock(wall_ms);
        world.config.data_dir = world.dir.path().join("kept");
        world.servers[0].data_dir.clone_from(&world.config.data_dir);
        std::fs::create_dir_all(&world.config.data_dir).unwrap();
        std::fs::copy(from.join("rendezvous/rendezvous.redb"), world.config.data_dir.join("rendezvous.redb")).unwrap();
        for name in people {
            let dir = world.dir.path().join(name);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::copy(from.join(name).join("profile.redb"), dir.join("profile.redb")).unwrap();
            let key = KeyFile::from_bytes(&std::fs::read(from.join(name).join("key")).unwrap()).unwrap();
            world.add_profile(dir, key.open_plain().unwrap());
        }
        world
    }

    fn add_profile(&mut self, dir: PathBuf, key: StorageKey) -> Who {
        let store = Arc::new(Store::open(ProfileDir::lock(&dir).unwrap(), &key).unwrap());
        let engine = Engine::load(store, self.now.wall_ms, Source::seeded(0)).unwrap();
        let (name, account, device) =
            (engine.account.identity.row.name.clone(), engine.account.id(), engine.account.device());
        drop(engine);
        self.people.push(Person {
            name,
            account,
            device,
            dir,
            key,
            running: None,
            sessions: BTreeMap::new(),
            wants: BTreeSet::new(),
            visits: BTreeMap::new(),
            targets: Vec::new(),
            reaches: BTreeSet::new(),
            inspector: Inspector::default(),
            topics: BTreeSet::new(),
            links: Vec::new(),
            live: Vec::new(),
            calls: Vec::new(),
        });
        self.people.len() - 1
    }

    pub fn is_running(&self, who: Who) -> bool {
        self.people[who].running.is_some()
    }
}
