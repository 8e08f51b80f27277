//! The servers of the test world: real ones, each with a directory of its own, and people's sessions with them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{collections::BTreeSet, path::PathBuf};

use bytes::Bytes;
use starling_keys::{DeviceChain, DeviceKey, RendezvousAddr};
use starling_rendezvous::{
    StartError,
    config::Config,
    local::{LocalServer, LocalSession},
    store::StoreError,
};
use starling_wire::{
    LogKey, LogVerb,
    rendezvous::{LogRequest, Refusal, Request, RequestBody, Response, ResponseBody},
};

use super::{
    liar::Liar,
    world::{Packet, Treatment, Who, Wire, World},
};
use crate::{
    engine::Input,
    net::{ConnectionProblem, HomeId, NetEvent},
};

/// Which server: its place in [`World::servers`].
pub type At = usize;

/// One of the servers.
pub struct Server {
    pub address: RendezvousAddr,
    pub data_dir: PathBuf,
    local: Option<LocalServer>,
}

impl Server {
    pub fn new(at: At, data_dir: PathBuf) -> Self {
        // Its name and port say which it is.
        let (seed, port) = ([7 + u8::try_from(at).unwrap() * 100; 32], 1 + at);
        let peer = crate::net::peer_of(&DeviceKey::from_seed(&seed).id()).unwrap();
        let address = format!("/ip4/127.0.0.1/udp/{port}/quic-v1/p2p/{peer}").parse().unwrap();
        Self { address, data_dir, local: None }
    }

    fn start(&mut self, config: &Config) {
        let config = Config { data_dir: self.data_dir.clone(), ..config.clone() };
        while self.local.is_none() {
            // The thread that writes to the store may still be ending.
            match LocalServer::open(&config, self.address.peer) {
                Err(StartError::Store(StoreError::InUse)) => std::thread::yield_now(),
                server => self.local = Some(server.unwrap()),
            }
        }
    }
}

fn visitor_seed(number: usize) -> [u8; 32] {
    let mut seed = [0xee; 32];
    seed[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
    seed
}

impl World {
    /// Another server, which runs.
    pub fn add_server(&mut self) -> At {
        let at = self.servers.len();
        let data_dir = self.config.data_dir.with_file_name(format!("rendezvous-{at}"));
        self.servers.push(Server::new(at, data_dir));
        self.start_server();
        at
    }

    /// Starts the servers that do not run.
    pub fn start_server(&mut self) {
        for server in &mut self.servers {
            server.start(&self.config);
        }
        self.reach();
    }

    /// Stops all servers.
    pub fn stop_server(&mut self) {
        for who in 0..self.how_many() {
            self.drop_sessions(who);
        }
        for server in &mut self.servers {
            server.local = None;
        }
    }

    /// Ends one of the servers as `kill -9` does.
    pub fn kill_server(&mut self, at: At) {
        for who in 0..self.how_many() {
            self.drop_session(who, at);
        }
        self.servers[at].local = None;
    }

    /// Starts one of the servers where it was.
    pub fn revive_server(&mut self, at: At) {
        self.servers[at].start(&self.config);
        self.reach();
    }

    /// Whether one of the servers runs.
    pub fn runs(&self, at: At) -> bool {
        self.servers[at].local.is_some()
    }

    /// The servers lose everything that they have.
    pub fn forget_everything(&mut self) {
        self.stop_server();
        for server in &self.servers {
            std::fs::remove_dir_all(&server.data_dir).unwrap();
        }
        self.start_server();
    }

    /// Makes changed limits count.
    pub fn reload_server(&mut self) {
        for server in self.servers.iter().filter_map(|server| server.local.as_ref()) {
            server.reload(&self.config);
        }
    }

    pub fn server_runs(&self) -> bool {
        self.servers.iter().all(|server| server.local.is_some())
    }

    fn peer_at(&self, at: At) -> HomeId {
        self.servers[at].address.peer
    }

    fn first(&self) -> &LocalServer {
        self.servers[0].local.as_ref().unwrap()
    }

    pub(super) fn drop_session(&mut self, who: Who, at: At) {
        if self.people[who].sessions.remove(&at).is_some() {
            self.wires.remove(&Wire::ToServer(who, at));
            self.wires.remove(&Wire::FromServer(who, at));
            self.tell(who, NetEvent::HomeDown(self.peer_at(at), ConnectionProblem::NoAnswer));
        }
    }

    /// Somebody reaches a server under another key from now on.
    pub(super) fn set_visit(&mut self, who: Who, at: At, visit: Option<u64>) {
        let visits = &mut self.people[who].visits;
        let before = match visit {
            Some(number) => visits.insert(at, number),
            None => visits.remove(&at),
        };
        if before != visit {
            self.leave_session(who, at);
        }
    }

    /// Ends a session that somebody does not want any more; nothing is told of that.
    pub(super) fn leave_session(&mut self, who: Who, at: At) {
        if self.people[who].sessions.remove(&at).is_some() {
            self.wires.remove(&Wire::ToServer(who, at));
            self.wires.remove(&Wire::FromServer(who, at));
        }
    }

    pub(super) fn drop_sessions(&mut self, who: Who) {
        for at in 0..self.servers.len() {
            self.drop_session(who, at);
        }
    }

    /// From now on just these reach no server.
    pub fn cut_off(&mut self, who: BTreeSet<Who>) {
        for who in &who {
            self.drop_sessions(*who);
        }
        self.cut_off = who;
        self.reach();
    }

    /// The first server takes what is left in inboxes again. What it has not answered is asked again, as with any server that has not answered.
    pub fn stop_swallowing(&mut self) {
        if std::mem::take(&mut self.swallows_items) {
            for who in 0..self.how_many() {
                self.drop_session(who, 0);
            }
            self.reach();
        }
    }

    /// Makes the sessions that somebody wants and that are possible.
    pub(super) fn reach_servers(&mut self, who: Who) {
        if self.cut_off.contains(&who) {
            return;
        }
        let person = &self.people[who];
        let missing = person.wants.iter().copied().filter(|at| !person.sessions.contains_key(at));
        for at in missing.collect::<Vec<_>>() {
            let Some(server) = &self.servers[at].local else { continue };
            let key = match self.people[who].visits.get(&at) {
                // Another one for each visit.
                Some(_) => *DeviceKey::from_seed(&visitor_seed(self.seen.len())).id().as_bytes(),
                None => *self.people[who].device.as_bytes(),
            };
            let session = self.runtime.block_on(server.connect(key)).unwrap();
            self.seen.push((at, who, key));
            let Some(ResponseBody::Hello(mut hello)) = session.hello().body else { panic!("no greeting") };
            let lie = self.false_clock.filter(|(server, _)| *server == at).map_or(0, |(_, lie)| lie);
            hello.time_ms = self.now.wall_ms.saturating_add_signed(lie);
            hello.candidates = !self.older_servers;
            hello.name_keys = !self.nameless_servers;
            self.people[who].sessions.insert(at, session);
            self.tell(who, NetEvent::HomeUp(self.peer_at(at), hello, None));
        }
    }

    /// Somebody's program asks a server something.
    pub(super) fn request(&mut self, who: Who, home: HomeId, id: u64, ask: RequestBody) {
        let Some(at) = (0..self.servers.len()).find(|at| self.peer_at(*at) == home) else { return };
        if !self.people[who].sessions.contains_key(&at) {
            return;
        }
        if let RequestBody::InboxAppend(append) = &ask {
            self.appended.push(append.clone());
            if self.swallows_items && at == 0 {
                return;
            }
        }
        let request = Request { id, body: Some(ask) };
        if let Some(asked) = &mut self.asked {
            asked.push(request.clone());
        }
        if let Some(liar) = self.liar.as_mut().filter(|_| at == 0) {
            liar.on_request(who, &request);
        }
        self.put(Wire::ToServer(who, at), Packet::Request(Box::new(request)));
    }

    /// A server answers.
    pub(super) fn answer(&mut self, who: Who, at: At, request: Request) {
        let Some(session) = self.people[who].sessions.get_mut(&at) else { return };
        let treatment = self.treats.as_mut().zip(request.body.as_ref()).and_then(|(treats, ask)| treats(at, ask));
        let response = match treatment {
            Some(Treatment::Silence) => return,
            Some(Treatment::Refusal(refused)) => {
                Response { id: request.id, body: Some(ResponseBody::Refused(refused)) }
            }
            None => self.runtime.block_on(session.ask(request)),
        };
        self.answered(who, at, response);
    }

    fn answered(&mut self, who: Who, at: At, mut response: Response) {
        if let Some(lie) = self.lie.as_mut().filter(|_| at == 0) {
            lie(who, &mut response);
        }
        if let Some(liar) = self.liar.as_mut().filter(|_| at == 0) {
            liar.on_response(who, &mut response);
        }
        let event = NetEvent::Home(self.peer_at(at), response);
        self.put(Wire::FromServer(who, at), Packet::In(Box::new(Input::Net(event))));
    }

    /// What the servers push joins the other answers.
    pub(super) fn collect_pushes(&mut self) {
        for who in 0..self.how_many() {
            for at in 0..self.servers.len() {
                while let Some(response) = self.people[who].sessions.get_mut(&at).and_then(LocalSession::pushed) {
                    self.answered(who, at, response);
                }
                // What was pushed before is on its way.
                if self.people[who].sessions.get(&at).is_some_and(LocalSession::is_ended) {
                    self.drop_session(who, at);
                    self.reach_servers(who);
                }
            }
        }
        let pushes = self.liar.as_mut().map(Liar::pushes).unwrap_or_default();
        for (who, response) in pushes {
            if self.people[who].sessions.contains_key(&0) {
                let input = Input::Net(NetEvent::Home(self.home.peer, response));
                self.put(Wire::FromServer(who, 0), Packet::In(Box::new(input)));
            }
        }
    }

    /// The first server answers the oldest inbox item that somebody has left.
    pub fn answer_one(&mut self, who: Who) {
        let asked = self.wires.get_mut(&Wire::ToServer(who, 0));
        let is_item = |packet: &Packet| matches!(packet, Packet::Request(request) if matches!(request.body, Some(RequestBody::InboxAppend(_))));
        let at = asked.as_ref().and_then(|packets| packets.iter().position(is_item));
        let packet = asked.zip(at).and_then(|(packets, at)| packets.remove(at));
        if let Some(Packet::Request(request)) = packet {
            self.answer(who, 0, *request);
        }
    }

    /// The servers answer all that they were asked.
    pub fn answer_all(&mut self) {
        let asked: Vec<Wire> = self.wires.keys().copied().filter(|w| matches!(w, Wire::ToServer(..))).collect();
        for wire in asked {
            let Wire::ToServer(who, at) = wire else { continue };
            for packet in self.wires.remove(&wire).unwrap_or_default() {
                if let Packet::Request(request) = packet {
                    self.answer(who, at, *request);
                }
            }
        }
        self.collect_pushes();
    }

    /// Entries of logs and inboxes that the first server keeps.
    pub fn entries_at_server(&self) -> u64 {
        self.runtime.block_on(self.first().entries()).unwrap()
    }

    /// What the first server has in a log, sealed as it is. A log that nobody has written in yet is not there.
    pub fn stored_in_log(&self, key: &LogKey) -> Vec<Bytes> {
        let device = *DeviceKey::from_seed(&visitor_seed(usize::MAX)).id().as_bytes();
        let mut session = self.runtime.block_on(self.first().connect(device)).unwrap();
        let Some(ResponseBody::Hello(hello)) = session.hello().body else { panic!("no greeting") };
        let (mut stored, mut after) = (Vec::new(), 0);
        loop {
            let ask = key.request(LogVerb::Read, &hello.nonce, LogRequest { after, ..LogRequest::default() });
            let response = self.runtime.block_on(session.ask(Request { id: 1, body: Some(ask) }));
            let page = match response.body {
                Some(ResponseBody::Page(page)) => page,
                Some(ResponseBody::Refused(refused)) if refused.reason() == Refusal::NotFound => return stored,
                other => panic!("no page: {other:?}"),
            };
            after = page.entries.last().map_or(after, |entry| entry.sequence);
            stored.extend(page.entries.into_iter().map(|entry| entry.sealed));
            if !page.more {
                return stored;
            }
        }
    }

    /// Where the first server says that somebody's homes are.
    pub fn homes_at_server(&mut self, who: Who) -> Vec<String> {
        let (account, device) = (self.people[who].account, self.people[who].device);
        let mut session = self.runtime.block_on(self.first().connect(*device.as_bytes())).unwrap();
        let ask = RequestBody::LookUp(Bytes::copy_from_slice(account.as_bytes()));
        let response = self.runtime.block_on(session.ask(Request { id: 1, body: Some(ask) }));
        let Some(ResponseBody::DeviceList(list)) = response.body else { panic!("no list") };
        let list = DeviceChain::from_bytes(&list).unwrap();
        list.homes.iter().map(ToString::to_string).collect()
    }
}
