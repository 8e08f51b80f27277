//! The test world: people's engines and a real server's sessions in one thread, with time and the network as arguments. A seeded generator
//! chooses what happens next, so that every order of events is tried and every failure can be repeated.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod kept;
mod network;
mod people;
mod processes;
mod seen;
mod time;
mod users;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use starling_keys::{AccountId, AccountKey, DeviceId, RendezvousAddr, StorageKey};
use starling_rendezvous::{
    config::Config,
    local::{LocalSession, set_clock},
};
use starling_wire::{
    TopicId,
    rendezvous::{InboxAppend, Refused, Request, RequestBody, Response},
};
use tempfile::TempDir;

use super::{
    gossip_net::GossipNet,
    liar::Liar,
    servers::{At, Server},
};
use crate::{
    api::types::TransientEvent,
    call_media::CallCommand,
    engine::{Engine, Input},
    net::{HomeId, gossip::Inspector},
    store::Store,
    turn::Now,
};

/// The day on which stories begin: 15 January 2027.
const START_MS: u64 = 1_800_000_000_000 / 86_400_000 * 86_400_000;

/// Worlds are kept in memory where there is as much room as this, in bytes.
const MEMORY_ROOM: u64 = 1 << 30;

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

/// Where a program is killed: in one of its next turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KillPoint {
    /// After so many turns.
    pub turns: usize,
    /// What the turn has written is durable, and nothing of what follows from it has left; else nothing of it has happened.
    pub committed: bool,
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

/// A directory for a world: in memory, if there is room and nobody has said where it has to be, as each turn waits until its files are written.
fn new_dir() -> TempDir {
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
    let in_memory = room >= MEMORY_ROOM && env::var_os("TMPDIR").is_none();
    let dir = if in_memory { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    dir.unwrap()
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
    /// Those who reach no server.
    pub(super) cut_off: BTreeSet<Who>,
    /// Where programs are killed next.
    pub kill_points: BTreeMap<Who, KillPoint>,
    /// How many have been killed there.
    pub kills: usize,
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
        let dir = new_dir();
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
            cut_off: BTreeSet::new(),
            kill_points: BTreeMap::new(),
            kills: 0,
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

    pub fn of(&mut self, who: Who) -> &mut Person {
        &mut self.people[who]
    }

    /// A die of the world: below `count`.
    pub fn one_of(&mut self, count: usize) -> usize {
        self.rng.random_range(0..count)
    }

    /// The rendezvous of all.
    pub fn home_id(&self) -> HomeId {
        self.home.peer
    }

    /// How many devices there are.
    pub fn how_many(&self) -> usize {
        self.people.len()
    }

    pub fn is_running(&self, who: Who) -> bool {
        self.people[who].running.is_some()
    }
}
