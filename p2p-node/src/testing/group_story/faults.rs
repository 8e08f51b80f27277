//! What goes wrong: programs are killed, members are parted, the home is away, and what members pass on to one another is lost.

use std::collections::BTreeSet;

use super::Story;
use crate::testing::world::{KillPoint, Who};

const HALF_HOUR_MS: u64 = 1_800_000;

impl Story {
    pub(super) fn fault(&mut self) {
        let who = self.any();
        match self.world.one_of(17) {
            0 | 1 => self.world.kill(who),
            2..5 => {
                let point = KillPoint { turns: self.world.one_of(6), committed: self.world.one_of(3) > 0 };
                self.world.kill_points.insert(who, point);
            }
            5..10 => self.start_again(),
            10 if self.world.server_runs() => self.world.stop_server(),
            10..12 => self.world.start_server(),
            12 | 13 => self.part_or_mend(),
            14 => self.world.direct = !self.world.direct,
            15 => self.world.apart = if self.world.apart.is_empty() { [who].into() } else { BTreeSet::new() },
            _ => {
                let gossip = &mut self.world.gossip;
                let is_lossy = gossip.lost > 0;
                (gossip.lost, gossip.doubled, gossip.reordered) = if is_lossy { (0, 0, false) } else { (30, 30, true) };
            }
        }
    }

    /// Those who do not run do again.
    fn start_again(&mut self) {
        for who in self.devices() {
            if !self.world.is_running(who) && self.world.one_of(2) == 0 {
                self.world.start(who);
            }
        }
    }

    /// Those who reach no server, without somebody.
    pub(super) fn cut_off_but(&self, who: Who) -> BTreeSet<Who> {
        self.world.cut_off.iter().copied().filter(|other| *other != who).collect()
    }

    /// The network falls apart into two halves, each with somebody who leads the group, or is whole again.
    fn part_or_mend(&mut self) {
        if !self.world.gossip.half.is_empty() {
            self.mend();
            return;
        }
        let half: BTreeSet<Who> = self.everybody().into_iter().filter(|_| self.world.one_of(2) == 0).collect();
        self.world.gossip.half.clone_from(&half);
        match self.world.one_of(4) {
            // One half does not reach the home.
            0 => self.world.cut_off(half),
            // The home is away for both.
            1 => self.world.stop_server(),
            // The home is in both: it shows each half what that writes.
            2 => *self.shown_apart.borrow_mut() = half,
            _ => {}
        }
        if !self.had_a_day_apart && self.world.one_of(3) == 0 {
            self.had_a_day_apart = true;
            self.spend_a_day_apart();
        }
    }

    /// Both halves go on: who leads them changes something, and all write.
    fn spend_a_day_apart(&mut self) {
        for half_hour in 0..48 {
            if half_hour % 12 == 0 {
                self.govern();
                self.govern();
                self.write();
                self.write();
            }
            self.world.pass(HALF_HOUR_MS);
        }
    }

    /// The network is whole again.
    pub(super) fn mend(&mut self) {
        self.world.gossip.half.clear();
        self.shown_apart.borrow_mut().clear();
        self.world.cut_off(BTreeSet::new());
        self.world.start_server();
    }
}
