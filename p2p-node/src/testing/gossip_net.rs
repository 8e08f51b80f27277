//! What members of groups pass on to one another in the world: each envelope is judged as the swarm does it, and goes to all neighbours on its topic;
//! on its way it may be lost, doubled, or overtaken.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use starling_wire::{TopicId, envelope_id};

use super::world::{Packet, Person, Who, Wire, World};
use crate::{
    engine::Input,
    net::{
        NetEvent,
        gossip::{Topic, Verdict},
    },
};

/// For how long gossipsub passes nothing on again.
const SEEN_MS: u64 = 120_000;

/// How the world passes envelopes on.
pub struct GossipNet {
    /// It does.
    pub on: bool,
    /// Of 100 envelopes so many are lost on each hop …
    pub lost: usize,
    /// … and so many come twice.
    pub doubled: usize,
    /// They overtake each other.
    pub reordered: bool,
    /// Those in the one half of a network that has fallen apart: they reach nobody in the other.
    pub half: BTreeSet<Who>,
    /// What everybody has passed on first.
    pub published: Vec<(Who, TopicId, Bytes)>,
    /// How often a neighbour has brought what no member has made, or is none itself.
    pub rejected: usize,
    /// How many envelopes have come to an engine.
    pub taken: usize,
    met: BTreeSet<(Who, Who, TopicId)>,
    /// When the gossipsub of each has seen an envelope: within two minutes it takes and passes on none again.
    seen: BTreeMap<(Who, [u8; 32]), u64>,
    start: (Instant, Option<u64>),
}

impl Default for GossipNet {
    fn default() -> Self {
        Self {
            on: false,
            lost: 0,
            doubled: 0,
            reordered: false,
            half: BTreeSet::new(),
            published: Vec::new(),
            rejected: 0,
            taken: 0,
            met: BTreeSet::new(),
            seen: BTreeMap::new(),
            start: (Instant::now(), None),
        }
    }
}

impl GossipNet {
    /// Somebody's program has ended.
    pub(super) fn forget(&mut self, who: Who) {
        self.met.retain(|(a, b, _)| *a != who && *b != who);
        self.seen.retain(|(of, _), _| *of != who);
    }
}

impl World {
    /// Whether two are in the same half of the network.
    pub(super) fn are_in_one_half(&self, a: Who, b: Who) -> bool {
        self.gossip.half.contains(&a) == self.gossip.half.contains(&b)
    }

    /// Whether two pass envelopes of a topic on to each other.
    fn are_neighbours(&self, a: Who, b: Who, topic: &TopicId) -> bool {
        let (one, other) = (&self.people[a], &self.people[b]);
        let knows = |one: &Person, other: &Person| {
            one.inspector.is_member(topic, &other.device) == Some(true) && one.reaches.contains(&other.device)
        };
        let apart = self.apart.contains(&a) || self.apart.contains(&b) || !self.are_in_one_half(a, b);
        let run = self.is_running(a) && self.is_running(b);
        run && a != b && self.direct && !apart && knows(one, other) && knows(other, one)
    }

    /// Somebody's program takes part in a topic, or no longer.
    pub(super) fn set_topic(&mut self, who: Who, id: TopicId, topic: Option<Topic>) {
        let person = &mut self.people[who];
        if topic.is_some() {
            person.topics.insert(id);
        } else {
            person.topics.remove(&id);
        }
        person.inspector.set(id, topic);
    }

    /// Those who can reach each other on a topic hear of it.
    pub(super) fn meet_on_topics(&mut self) {
        if !self.gossip.on {
            return;
        }
        for who in 0..self.how_many() {
            for other in 0..who {
                for topic in self.people[who].topics.clone() {
                    let met = (who, other, topic);
                    if !self.are_neighbours(who, other, &topic) {
                        self.gossip.met.remove(&met);
                    } else if self.gossip.met.insert(met) {
                        self.tell(who, NetEvent::GossipPeer(topic));
                        self.tell(other, NetEvent::GossipPeer(topic));
                    }
                }
            }
        }
    }

    /// Somebody's program passes an envelope of its own on.
    pub(super) fn publish(&mut self, who: Who, topic: TopicId, envelope: Bytes) {
        if !self.gossip.on {
            return;
        }
        let has_neighbours = (0..self.how_many()).any(|other| self.are_neighbours(who, other, &topic));
        self.people[who].inspector.note_sent(&topic, &envelope);
        if has_neighbours && self.has_seen(who, &topic, &envelope) {
            return;
        }
        self.gossip.published.push((who, topic, envelope.clone()));
        self.spread(who, None, topic, &envelope);
    }

    /// Whether the gossipsub of somebody has seen an envelope, which it has from now on.
    fn has_seen(&mut self, who: Who, topic: &TopicId, envelope: &[u8]) -> bool {
        let (now, id) = (self.now.steady_ms, envelope_id(&topic.to_text(), envelope));
        let seen = self.gossip.seen.entry((who, id)).or_default();
        let is_again = *seen != 0 && *seen + SEEN_MS > now;
        if !is_again {
            *seen = now;
        }
        is_again
    }

    fn spread(&mut self, who: Who, except: Option<Who>, topic: TopicId, envelope: &Bytes) {
        for other in 0..self.how_many() {
            if Some(other) != except && self.are_neighbours(who, other, &topic) {
                self.pass_on(who, other, topic, envelope);
            }
        }
    }

    fn pass_on(&mut self, from: Who, to: Who, topic: TopicId, envelope: &Bytes) {
        if self.gossip.lost > 0 && self.one_of(100) < self.gossip.lost {
            return;
        }
        let copies = if self.gossip.doubled > 0 && self.one_of(100) < self.gossip.doubled { 2 } else { 1 };
        for _ in 0..copies {
            self.bring(from, to, topic, envelope.clone());
        }
    }

    /// Somebody brings an envelope, whoever has made it.
    pub fn bring(&mut self, from: Who, to: Who, topic: TopicId, envelope: Bytes) {
        let wire = Wire::Gossip(from, to);
        self.put(wire, Packet::Gossip(topic, envelope));
        let waiting = self.wires.get(&wire).map_or(0, VecDeque::len);
        if self.gossip.reordered && waiting > 1 {
            let at = self.one_of(waiting);
            self.wires.get_mut(&wire).unwrap().swap(at, waiting - 1);
        }
    }

    /// Envelopes arrive, and go on.
    pub(super) fn take_envelopes(&mut self, from: Who, to: Who, envelopes: Vec<(TopicId, Bytes)>) {
        let now = self.now.steady_ms;
        let first = *self.gossip.start.1.get_or_insert(now);
        let now = self.gossip.start.0 + Duration::from_millis(now - first);
        let neighbour = self.people[from].device;
        let mut inputs = Vec::new();
        for (topic, envelope) in envelopes {
            if !self.is_running(to) {
                return;
            }
            if self.has_seen(to, &topic, &envelope) {
                continue;
            }
            let inspector = &mut self.people[to].inspector;
            if !inspector.admits(now, &neighbour, envelope.len()) {
                continue;
            }
            match inspector.judge(&neighbour, &topic, &envelope) {
                Verdict::Accept(entry) => {
                    self.gossip.taken += 1;
                    inputs.push(Input::Net(NetEvent::Gossip { topic, entry }));
                    self.spread(to, Some(from), topic, &envelope);
                }
                Verdict::Ignore => {}
                Verdict::Reject => self.gossip.rejected += 1,
            }
        }
        self.turn(to, inputs);
    }
}
