//! The network of the test world: what is under way, and who is connected with whom.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::{Packet, Person, Who, Wire, World};
use crate::{engine::Input, net::NetEvent};

impl World {
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

    /// What the network of somebody says.
    pub fn tell(&mut self, who: Who, event: NetEvent) {
        if self.people[who].running.is_some() {
            self.put(Wire::Local(who), Packet::In(Box::new(Input::Net(event))));
        }
    }

    pub(in crate::testing) fn put(&mut self, wire: Wire, packet: Packet) {
        self.wires.entry(wire).or_default().push_back(packet);
    }

    /// Makes the connections that are wanted and possible.
    pub(in crate::testing) fn reach(&mut self) {
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
}
