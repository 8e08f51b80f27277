//! What happens in a story, and how often.

use super::{Story, hostile::Harm};
use crate::{api::types::Standing, engine::GroupCommand};

/// So many things happen before all becomes quiet.
const STEPS: usize = 60;
/// The modified program does what it is made for at the latest in one of these steps: before, it may not be in the group.
const INSISTS_AT: [usize; 3] = [20, 35, 50];

impl Story {
    pub(super) fn go_on(&mut self) {
        for step in 0..STEPS {
            self.step();
            if INSISTS_AT.contains(&step) {
                self.insist();
            }
        }
    }

    fn step(&mut self) {
        let most = if self.hostile.is_some() { 110 } else { 100 };
        match self.world.one_of(most) {
            0..32 => self.write(),
            32..50 => self.govern(),
            50..62 => self.answer(),
            62..72 => self.use_links(),
            72..76 => self.change_devices(),
            76 => self.end_channel(),
            77..94 => self.fault(),
            94..100 => {
                let ms = [100, 2_000, 30_000][self.world.one_of(3)];
                self.world.pass(ms);
            }
            _ => self.attack(),
        }
        for _ in 0..self.world.one_of(16) {
            self.world.step();
        }
        self.take_links();
        self.look();
    }

    /// The modified program does something: mostly what it is made for.
    fn attack(&mut self) {
        let Some(hostile) = &self.hostile else { return };
        let harm = hostile.harm;
        let harm = if self.world.one_of(4) == 0 { Harm::ALL[self.world.one_of(Harm::ALL.len())] } else { harm };
        self.harm(harm);
    }

    /// It does what it is made for, if it has not done so yet: whatever keeps it from that is mended before.
    fn insist(&mut self) {
        let Some(hostile) = &self.hostile else { return };
        let (who, harm) = (hostile.who, hostile.harm);
        if hostile.done.contains_key(&harm) {
            return;
        }
        self.world.kill_points.clear();
        let cut_off = self.cut_off_but(who);
        self.world.cut_off(cut_off);
        for who in [who, self.people[0]] {
            if !self.world.is_running(who) {
                self.world.start(who);
            }
        }
        self.world.start_server();
        self.world.pass(30_000);
        let root = self.root();
        if self.world.standing(who, root) != Some(Standing::Member) {
            let account = self.world.of(who).account;
            self.wish(self.people[0], |reply| GroupCommand::Invite { chat: root, accounts: vec![account], reply });
            self.world.pass(10_000);
            self.wish(who, |reply| GroupCommand::Accept(root, reply));
            self.world.pass(30_000);
        }
        self.harm(harm);
        self.look();
    }

    /// Notes who is a member, and who is none any more.
    pub(super) fn look(&mut self) {
        let now = self.world.now.wall_ms;
        for who in self.everybody() {
            if !self.world.is_running(who) {
                continue;
            }
            for chat in self.chats.clone() {
                let standing = self.world.standing(who, chat);
                if standing == Some(Standing::Member) {
                    self.since.entry((who, chat)).or_insert(now);
                    self.out_since.remove(&(who, chat));
                    continue;
                }
                let was_member = self.since.remove(&(who, chat)).is_some();
                if was_member && matches!(standing, Some(Standing::Removed | Standing::Left)) {
                    self.out_since.insert((who, chat), now);
                }
            }
        }
    }
}
