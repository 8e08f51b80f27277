//! Time in the test world, and what happens in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use rand::RngExt;
use starling_rendezvous::local::set_clock;

use super::{Packet, Who, Wire, World};
use crate::{testing::trace, turn::Now};

impl World {
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
}
