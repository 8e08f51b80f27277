//! Random stories of groups: three to eight accounts, some with several devices, in a group, a channel or a community, who do all that users can do
//! with these, while programs are killed, the members are parted, the home is away or lies, and in every second story one member's program is made to
//! harm. When all is quiet the honest members have one group, one policy, one audit log and one timeline, and nobody else reads anything.
//!
//! - `schedule`: what happens, and how often.
//! - `verbs`: what users do.
//! - `faults`: what goes wrong.
//! - `hostile`: what the modified program does.
//! - `quiet`, `timelines`, `outsiders`: what has to be so in the end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod faults;
mod hostile;
mod outsiders;
mod quiet;
mod schedule;
mod story_tests;
mod timelines;
mod verbs;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use starling_keys::AccountId;
use starling_wire::Role;
use tokio::sync::oneshot;

use super::{
    forgetful::{Lies, forgetful},
    liar::{Liar, Showing, Shown},
    world::{Who, World},
};
use crate::{
    NewChannel,
    api::{
        error::NodeError,
        types::{ChatId, GroupKind, JoinLinkInfo, MessageId},
    },
    engine::GroupCommand,
};
pub use hostile::Harm;
use hostile::Hostile;

/// The numbers of worlds of these stories begin here.
const FIRST_WORLD: u64 = 50_000;

/// A message that an honest device has taken from its user.
struct Written {
    text: String,
    by: Who,
    chat: ChatId,
    id: MessageId,
}

/// A story while it is told.
struct Story {
    seed: u64,
    world: World,
    /// The first device of each account.
    people: Vec<Who>,
    /// Devices that were linked, with their account's place in `people`.
    linked: Vec<(Who, usize)>,
    /// When they were, milliseconds since 1970.
    linked_at: BTreeMap<Who, u64>,
    /// Those of them that were removed again.
    removed: BTreeSet<Who>,
    /// The group, or the community and its channels.
    chats: Vec<ChatId>,
    hostile: Option<Hostile>,
    /// Links into these, as their texts.
    links: Vec<String>,
    /// Links that are being made.
    making: Vec<oneshot::Receiver<Result<JoinLinkInfo, NodeError>>>,
    written: Vec<Written>,
    /// So many messages were written, or tried.
    texts: usize,
    /// Since when devices were seen to be members without a break, milliseconds since 1970.
    since: BTreeMap<(Who, ChatId), u64>,
    /// When devices that were members were first seen to be none any more, as they know themselves, milliseconds since 1970.
    out_since: BTreeMap<(Who, ChatId), u64>,
    /// Whom somebody has blocked on leaving.
    blocked: Vec<(Who, AccountId)>,
    /// To those in here the home shows what the others write later, and the other way round.
    shown_apart: Rc<RefCell<BTreeSet<Who>>>,
    /// The members have been parted for a day: that is once in a story.
    had_a_day_apart: bool,
}

/// Of what is in a log some comes late, some twice, so that it is in another order for each.
fn shown(apart: &BTreeSet<Who>, showing: Showing) -> Shown {
    let Showing { author, reader, is_commit, die } = showing;
    if apart.contains(&author) != apart.contains(&reader) {
        return Shown::Later;
    }
    match (is_commit, author == reader, die % 16) {
        (true, true, 0..14) => Shown::Now,
        (true, false, 0..8) | (false, _, 0..10) => Shown::Now,
        (_, _, 14) => Shown::Twice,
        _ => Shown::Later,
    }
}

/// The stories in which something is so follow from their numbers, so that few of them have everything.
impl Story {
    fn harm_of(seed: u64) -> Option<Harm> {
        let kinds = Harm::ALL.len() as u64;
        seed.is_multiple_of(2).then(|| Harm::ALL[usize::try_from(seed / 2 % kinds).unwrap()])
    }

    fn kind(seed: u64) -> GroupKind {
        match seed % 7 {
            1 | 4 => GroupKind::Community,
            6 => GroupKind::Channel,
            _ => GroupKind::Group,
        }
    }

    fn home_lies(seed: u64) -> bool {
        seed.is_multiple_of(5)
    }

    /// Accounts in the story: those of six that follow one another are different.
    fn accounts(seed: u64) -> usize {
        3 + usize::try_from(seed * 5 % 6).unwrap()
    }

    fn new(seed: u64) -> Self {
        let mut world = World::new(FIRST_WORLD + seed);
        world.gossip.on = seed % 3 != 2;
        let shown_apart = Rc::new(RefCell::new(BTreeSet::new()));
        if Self::home_lies(seed) {
            let apart = shown_apart.clone();
            world.liar = Some(Liar::new(seed, move |showing| shown(&apart.borrow(), showing)));
            // What goes into logs that it keeps from others counts, too.
            world.config.limits.account_bytes *= 64;
            world.config.limits.conversation_bytes *= 16;
            world.config.limits.log_entries *= 16;
            world.config.limits.log_bytes *= 16;
            world.reload_server();
        }
        let people = world.company(Self::accounts(seed));
        if people.len() > 3 {
            world.befriend(people[2], people[3]);
        }
        let mut story = Self {
            seed,
            world,
            people,
            linked: Vec::new(),
            linked_at: BTreeMap::new(),
            removed: BTreeSet::new(),
            chats: Vec::new(),
            hostile: None,
            links: Vec::new(),
            making: Vec::new(),
            written: Vec::new(),
            texts: 0,
            since: BTreeMap::new(),
            out_since: BTreeMap::new(),
            blocked: Vec::new(),
            shown_apart,
            had_a_day_apart: false,
        };
        story.link_first_devices();
        story.found();
        if Self::home_lies(seed) {
            let lies = Lies { old_chain: 0, no_chain: 0, no_door: 0, dropped_item: 0, repeated_item: 4 };
            story.world.lie = Some(forgetful(seed, lies));
        }
        story
    }

    /// Some have two devices from the beginning.
    fn link_first_devices(&mut self) {
        let harm = Self::harm_of(self.seed);
        for at in 0..self.people.len() {
            let is_hostile = at == 1 && harm.is_some();
            let wants = match is_hostile {
                true => harm == Some(Harm::ZeroCut),
                false => self.linked.len() < 2 && self.world.one_of(4) == 0,
            };
            if wants {
                let device = self.world.linked(self.people[at]);
                self.note_linked(device, at);
                self.world.pass(20_000);
            }
        }
        let twin = self.linked.iter().find(|(_, at)| *at == 1).map(|(device, _)| *device);
        self.hostile = harm.map(|harm| Hostile::new(self.people[1], twin, harm));
    }

    /// A device is one of an account's now.
    fn note_linked(&mut self, device: Who, at: usize) {
        self.linked.push((device, at));
        self.linked_at.insert(device, self.world.now.wall_ms);
    }

    /// The first account makes the group and invites some of the others, who accept.
    fn found(&mut self) {
        let kind = Self::kind(self.seed);
        let invited = (1 + self.world.one_of(self.people.len() - 1)).max(2);
        let people = self.people.clone();
        let chat = self.world.found_of(people[0], kind, &people[1..=invited]);
        self.chats.push(chat);
        self.world.pass(2_000);
        for who in &people[1..=invited] {
            self.wish(*who, |reply| GroupCommand::Accept(chat, reply));
        }
        let harm = self.hostile.as_ref().map(|hostile| hostile.harm);
        if harm.is_some() || kind == GroupKind::Community {
            self.world.pass(30_000);
        }
        if harm == Some(Harm::Rivals) {
            let account = self.world.of(people[1]).account;
            self.wish(people[0], |reply| GroupCommand::SetRole { chat, account, role: Role::Admin, reply });
            self.world.pass(5_000);
        }
        if kind == GroupKind::Community {
            for (name, lowest) in [("general", Role::Reader), ("staff", Role::Moderator)] {
                let channel = NewChannel { community: chat, name: name.into(), kind: GroupKind::Group, lowest };
                let made = self.world.call(people[0], |reply| GroupCommand::NewChannel(channel, reply)).unwrap();
                self.chats.push(made);
                self.world.pass(30_000);
            }
        }
    }

    /// The devices that are their accounts' as far as users know.
    fn devices(&self) -> Vec<Who> {
        let linked = self.linked.iter().map(|(device, _)| *device).filter(|device| !self.removed.contains(device));
        self.people.iter().copied().chain(linked).collect()
    }

    /// Also those that were removed.
    fn everybody(&self) -> Vec<Who> {
        self.people.iter().copied().chain(self.linked.iter().map(|(device, _)| *device)).collect()
    }

    /// The devices whose programs are ours.
    fn honest(&self) -> Vec<Who> {
        self.devices().into_iter().filter(|who| !self.is_hostiles(*who)).collect()
    }

    /// Whether a device is one of the account whose program is modified.
    fn is_hostiles(&self, who: Who) -> bool {
        self.hostile.is_some() && self.place_of(who) == 1
    }

    /// The place of a device's account in `people`.
    fn place_of(&self, who: Who) -> usize {
        let linked = self.linked.iter().find(|(device, _)| *device == who).map(|(_, at)| *at);
        linked.or_else(|| self.people.iter().position(|first| *first == who)).expect("a device of somebody")
    }

    fn any(&mut self) -> Who {
        let devices = self.devices();
        devices[self.world.one_of(devices.len())]
    }

    fn any_chat(&mut self) -> ChatId {
        self.chats[self.world.one_of(self.chats.len())]
    }

    /// The group, or the community.
    fn root(&self) -> ChatId {
        self.chats[0]
    }
}

/// What a story had in it.
#[derive(Default)]
pub struct Told {
    /// How often harm of each kind was done.
    pub harm: BTreeMap<Harm, usize>,
    /// How often a program was killed just before or after a commit of its store.
    pub kills: usize,
    /// How many honest devices were in the group, or the community, in the end.
    pub together: usize,
    /// How many messages of before the end, of accounts that were always there, all have who were there.
    pub there: usize,
    /// How many copies of a hostile member's device have tried to read after its removal.
    pub copies: usize,
}

/// Tells a story.
pub fn story(seed: u64) -> Told {
    let mut story = Story::new(seed);
    story.go_on();
    story.end()
}
