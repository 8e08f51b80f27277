//! The programs of people in the test world: they start, are killed, have turns, and what follows from these is carried out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{collections::BTreeSet, sync::Arc};

use rand::RngExt;
use starling_keys::DeviceId;

use super::{KillPoint, Packet, Who, Wire, World};
use crate::{
    ProfileDir,
    engine::{Engine, Input},
    net::{NetCommand, NetEvent, Target, gossip::Inspector},
    store::Store,
    testing::servers::At,
    turn::{Effect, Source, Turn},
};

impl World {
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

    pub(in crate::testing) fn turn(&mut self, who: Who, inputs: Vec<Input>) {
        let now = self.now;
        let killed = self.reached_kill_point(who);
        if killed.is_some_and(|point| !point.committed) {
            self.kill(who);
            return;
        }
        let Some((engine, _)) = &mut self.people[who].running else { return };
        let effects = engine.turn(inputs, now).unwrap();
        if killed.is_some() {
            self.kill(who);
            return;
        }
        self.carry_out(who, effects);
    }

    /// Where somebody's program is killed, if that is in this turn.
    fn reached_kill_point(&mut self, who: Who) -> Option<KillPoint> {
        if !self.is_running(who) {
            return None;
        }
        let point = self.kill_points.get_mut(&who)?;
        if point.turns > 0 {
            point.turns -= 1;
            return None;
        }
        self.kills += 1;
        self.kill_points.remove(&who)
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
}
