//! Members of a group whom a lying server has kept apart for longer than states are kept, and what others can make of that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use starling_wire::{
    Door, Policy, Role, SealedBeacon,
    direct::{Apart, Way},
};

use super::{
    fork_tests::showing,
    liar::{Liar, Showing, Shown},
    world::{Who, World},
};
use crate::{
    api::{
        problem::ChatProblem,
        types::{ChatId, Standing},
    },
    conversation::fork::limits::SEEK_AFTER_MS,
    engine::GroupCommand,
    mls::PAST_EPOCHS,
};

/// Alice, who has made a group, bob, who is an admin, and others. Nobody is connected, and the server shows alice's commits to her alone, and to her
/// none of the others'.
struct Camps {
    world: World,
    chat: ChatId,
    alice: Who,
    bob: Who,
    others: Vec<Who>,
}

impl Camps {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let people = world.company(4);
        let (alice, bob) = (people[0], people[1]);
        let chat = world.group_of(&people);
        world.wish_role(alice, chat, bob, Role::Admin).unwrap();
        world.pass(30_000);
        world.direct = false;
        world.pass(5_000);
        world.liar = Some(showing(move |s| (s.author == alice) == (s.reader == alice)));
        Self { world, chat, alice, bob, others: people[2..].to_vec() }
    }

    fn all(&self) -> Vec<Who> {
        [self.alice, self.bob].into_iter().chain(self.others.iter().copied()).collect()
    }

    /// Both sides come to more epochs than states are kept of.
    fn go_apart(&mut self) {
        for n in 0..=PAST_EPOCHS {
            for who in [self.alice, self.bob] {
                let (chat, name) = (self.chat, format!("{who}-{n}"));
                self.world.call(who, |reply| GroupCommand::Rename { chat, name, reply }).unwrap();
                self.world.pass(3_000);
            }
        }
        assert_ne!(self.secret_of_door(self.alice), None);
    }

    fn secret_of_door(&self, who: Who) -> Option<Vec<u8>> {
        let engine = self.world.engine(who);
        let group = engine.conversations.groups.get(&engine.active_group(self.chat)?)?;
        group.row.door.as_ref().map(|door| door.secret.clone())
    }

    fn problem(&self, who: Who) -> Option<ChatProblem> {
        let engine = self.world.engine(who);
        let chats = engine.conversations.chat_list(engine.directory());
        chats.into_iter().find(|chat| chat.id == self.chat)?.problem
    }

    fn meet(&mut self) {
        self.world.liar.as_mut().unwrap().relent();
        self.world.direct = true;
        self.world.pass(40 * 60_000);
    }

    /// These are in one epoch and read each other, also what they have written while they were apart; nobody else does.
    fn are_together(&mut self, there: &[Who], gone: &[Who]) {
        let (chat, world) = (self.chat, &mut self.world);
        for who in there {
            world.say_in(*who, chat, &format!("after all, from {who}")).unwrap();
            world.pass(30_000);
        }
        for who in there {
            assert_eq!(world.epoch_in(*who, chat).unwrap(), world.epoch_in(there[0], chat).unwrap(), "{who}");
            assert_eq!(world.group_seen(*who, chat).unwrap().members.len(), there.len(), "{who}");
            for from in there {
                for text in [format!("apart, from {from}"), format!("after all, from {from}")] {
                    let texts = world.texts_in(*who, chat);
                    assert_eq!(texts.iter().filter(|t| **t == text).count(), 1, "{who}: {text} of {texts:?}");
                }
            }
        }
        for who in gone {
            assert!(!world.texts_in(*who, chat).iter().any(|text| text.starts_with("after all")), "{who} reads on");
        }
    }

    fn write(&mut self, who: &[Who]) {
        for who in who {
            self.world.say_in(*who, self.chat, &format!("apart, from {who}")).unwrap();
        }
        self.world.pass(10_000);
    }
}

#[test]
fn members_who_were_kept_apart_come_to_where_the_owner_is() {
    for seed in 0..3 {
        let mut camps = Camps::new(900 + seed);
        let dave = camps.others[1];
        // The others know another door than she does.
        camps.world.wish_out(camps.alice, camps.chat, dave).unwrap();
        camps.world.pass(5_000);
        camps.go_apart();
        assert_ne!(camps.secret_of_door(camps.alice), camps.secret_of_door(camps.bob));
        let (alice, bob, carol) = (camps.alice, camps.bob, camps.others[0]);
        camps.write(&[alice, bob, carol]);
        camps.meet();
        // He hears of it from her.
        assert_eq!(camps.world.standing(dave, camps.chat), Some(Standing::Removed));
        camps.are_together(&[alice, bob, carol], &[dave]);
    }
}

#[test]
fn whom_an_admin_has_removed_where_the_owner_was_not_is_removed_there_too() {
    let mut camps = Camps::new(910);
    let dave = camps.others[1];
    camps.world.wish_out(camps.bob, camps.chat, dave).unwrap();
    camps.world.pass(5_000);
    assert_eq!(camps.world.standing(dave, camps.chat), Some(Standing::Removed));
    camps.go_apart();
    let (alice, bob, carol) = (camps.alice, camps.bob, camps.others[0]);
    camps.write(&[alice, bob, carol]);
    camps.meet();
    camps.are_together(&[alice, bob, carol], &[dave]);
}

/// Dave's program is a modified one: it stays where alice is, and reads all that comes there.
#[test]
fn what_was_written_without_somebody_stays_without_them() {
    let mut camps = Camps::new(915);
    let (alice, bob, carol, dave) = (camps.alice, camps.bob, camps.others[0], camps.others[1]);
    // He is shown alice's commits, and bob's removal of him is not shown to him.
    camps.world.liar = Some(showing(move |s| [alice, dave].contains(&s.author) == [alice, dave].contains(&s.reader)));
    camps.world.wish_out(bob, camps.chat, dave).unwrap();
    camps.world.pass(5_000);
    assert_eq!(camps.world.standing(dave, camps.chat), Some(Standing::Member));
    camps.go_apart();
    camps.write(&[alice, bob, carol]);
    camps.world.liar.as_mut().unwrap().relent();
    // Carol, who removes nobody, comes before bob.
    camps.world.kill(bob);
    camps.world.direct = true;
    camps.world.pass(30 * 60_000);
    assert_eq!(camps.world.epoch_in(carol, camps.chat), camps.world.epoch_in(alice, camps.chat));
    assert_eq!(camps.problem(carol), Some(ChatProblem::RemovedMember));
    camps.world.start(bob);
    camps.world.pass(40 * 60_000);
    assert_eq!(camps.problem(carol), None);
    assert_eq!(camps.world.standing(dave, camps.chat), Some(Standing::Removed));
    camps.are_together(&[alice, bob, carol], &[dave]);
    let read = camps.world.texts_in(dave, camps.chat);
    for from in [bob, carol] {
        assert!(!read.contains(&format!("apart, from {from}")), "{read:?}");
    }
}

#[test]
fn who_has_left_where_the_owner_was_not_is_out_for_her_too() {
    let mut camps = Camps::new(920);
    let (alice, bob, carol, dave) = (camps.alice, camps.bob, camps.others[0], camps.others[1]);
    camps.world.leave(dave, camps.chat).unwrap();
    camps.world.pass(10_000);
    assert_eq!(camps.world.standing(dave, camps.chat), Some(Standing::Left));
    camps.go_apart();
    camps.write(&[alice, bob, carol]);
    camps.meet();
    assert_eq!(camps.world.standing(dave, camps.chat), Some(Standing::Left));
    camps.are_together(&[alice, bob, carol], &[dave]);
}

#[test]
fn devices_that_are_killed_while_they_come_to_the_owner_are_there_in_the_end() {
    let mut camps = Camps::new(930);
    camps.go_apart();
    let all = camps.all();
    camps.write(&all);
    camps.world.liar.as_mut().unwrap().relent();
    camps.world.direct = true;
    for n in 0..60 {
        camps.world.step();
        camps.world.step();
        let who = camps.all()[n % 4];
        camps.world.kill(who);
        camps.world.start(who);
    }
    camps.world.pass(60 * 60_000);
    camps.are_together(&all, &[]);
}

/// Bob comes in again twice within ten minutes, and each time lacks what alice has written; she is killed after the second.
#[test]
fn what_a_device_lacks_that_has_come_again_and_again_is_not_forgotten_by_a_restart() {
    let mut world = World::new(990);
    world.liar = Some(Liar::new(1, |_| Shown::Now));
    let people = world.company(3);
    let (alice, bob) = (people[0], people[1]);
    let chat = world.group_of(&people);
    world.direct = false;
    let withheld = move |s: Showing| (s.author, s.reader, s.is_commit) == (alice, bob, false);
    for text in ["once", "twice"] {
        let liar = world.liar.as_mut().unwrap();
        liar.shows(move |s| if withheld(s) { Shown::Never } else { Shown::Now });
        world.say_in(alice, chat, text).unwrap();
        world.pass(5_000);
        world.liar.as_mut().unwrap().relent();
        world.modified(bob, |engine, turn| {
            let id = engine.active_group(chat).unwrap();
            let (conversations, mut cx) = engine.conversing();
            conversations.enter_again(turn, &mut cx, id).unwrap();
        });
        world.pass(20_000);
        // It may come in again at once.
        world.kill(bob);
        world.start(bob);
    }
    world.pass(20_000);
    assert_eq!(world.texts_in(bob, chat), ["once"], "the second time is too soon");
    world.kill(alice);
    world.start(alice);
    world.pass(30 * 60_000);
    assert_eq!(world.texts_in(bob, chat), ["once", "twice"]);
}

/// The server is honest from now on, and these are connected: whoever could not connect for long tries again when it starts.
pub(super) fn meet(world: &mut World, all: &[Who]) {
    world.liar.as_mut().unwrap().relent();
    world.direct = true;
    for who in all {
        world.kill(*who);
        world.start(*who);
    }
}

/// The server tells each of those who enter from one epoch that nobody stands before it.
#[test]
fn all_who_are_apart_from_the_owner_come_to_it_one_after_the_other() {
    let mut world = World::new(985);
    let people = world.company(7);
    let alice = people[0];
    let chat = world.group_of(&people);
    world.wish_role(alice, chat, people[1], Role::Reader).unwrap();
    world.pass(30_000);
    world.direct = false;
    world.pass(5_000);
    world.liar = Some(showing(move |s| s.author == alice && s.reader == alice));
    for n in 0..=PAST_EPOCHS {
        let name = n.to_string();
        world.call(alice, |reply| GroupCommand::Rename { chat, name, reply }).unwrap();
        world.pass(3_000);
    }
    for who in &people[1..] {
        assert_ne!(world.epoch_in(*who, chat), world.epoch_in(alice, chat), "{who}");
    }
    meet(&mut world, &people);
    world.pass(SEEK_AFTER_MS + 60_000);
    for who in &people {
        assert_eq!(world.epoch_in(*who, chat), world.epoch_in(alice, chat), "{who}");
    }
    read_each_other(&mut world, chat, &people[2..]);
}

/// Carol's tablet enters where bob is, and she leaves on it; her other device is where alice is, who does not know the tablet.
#[test]
fn who_has_left_on_a_device_that_the_owner_does_not_know_is_out_for_her_too() {
    let mut world = World::new(986);
    let people = world.company(4);
    let (alice, bob, carol, dave) = (people[0], people[1], people[2], people[3]);
    let chat = world.group_of(&people);
    world.wish_role(alice, chat, bob, Role::Admin).unwrap();
    world.pass(30_000);
    world.direct = false;
    world.pass(5_000);
    let is_with_alice = move |who: Who| who == alice || who == carol;
    world.liar = Some(showing(move |s| is_with_alice(s.author) == is_with_alice(s.reader)));
    for (who, count) in [(alice, PAST_EPOCHS + 1), (bob, PAST_EPOCHS + 2)] {
        for n in 0..count {
            let name = format!("{who}-{n}");
            world.call(who, |reply| GroupCommand::Rename { chat, name, reply }).unwrap();
            world.pass(3_000);
        }
    }
    let tablet = world.linked(carol);
    world.pass(60_000);
    assert_eq!(world.epoch_in(tablet, chat), world.epoch_in(bob, chat));
    world.leave(tablet, chat).unwrap();
    world.pass(60_000);
    assert_eq!(world.standing(tablet, chat), Some(Standing::Left));
    assert_eq!(world.standing(carol, chat), Some(Standing::Member));
    meet(&mut world, &[alice, bob, carol, dave, tablet]);
    world.pass(40 * 60_000);
    assert_eq!(world.standing(carol, chat), Some(Standing::Left));
    read_each_other(&mut world, chat, &[alice, bob, dave]);
}

/// What a member's modified program says of the group, as if it was where nothing leads to from `reader`; and a way into a group of its own with this policy.
fn lure(world: &mut World, mallory: Who, chat: ChatId, policy: impl FnOnce(&Policy) -> Policy) -> (SealedBeacon, Way) {
    let mut made = None;
    world.begin_modified(mallory, |engine, turn| {
        let (id, mls) = (engine.active_group(chat).unwrap(), engine.mls.clone());
        let mut group = engine.conversations.open(turn, &mls, id).unwrap().unwrap();
        let epoch = group.entry.epoch();
        let there = policy(&group.policy().unwrap());
        let value = group.value().unwrap();
        mls.forget(&id);
        let info = mls.create_with(&id, &there, turn.agreed_ms()).unwrap().door().unwrap().unwrap();
        mls.keep(&id, value);
        let sealed = Bytes::from_static(b"nobody can open this");
        let beacon = SealedBeacon { group: Bytes::copy_from_slice(&id), epoch, sealed, complete: true };
        let door = Door { epoch: 1, secret: [7; 32], info: info.into() }.to_bytes();
        let secret = Bytes::copy_from_slice(&[8; 32]);
        made = Some((beacon, Way { group: Bytes::copy_from_slice(&id), secret, door: door.into() }));
    });
    made.unwrap()
}

/// A device hears of a place that nothing leads to, asks for the way, and is shown one. Gives whether it goes there.
fn goes(
    world: &mut World,
    chat: ChatId,
    (who, from): (Who, Who),
    (beacon, way): (SealedBeacon, Way),
    asks: bool,
) -> bool {
    let device = world.of(from).device;
    let mut goes = false;
    world.begin_modified(who, |engine, turn| {
        let (conversations, mut cx) = engine.conversing();
        if asks {
            conversations.on_direct_beacons(turn, &mut cx, device, &[beacon]).unwrap();
            conversations.seek_on_time(turn, &mut cx).unwrap();
        }
        let apart = Apart { way: Some(way), ..Apart::default() };
        conversations.on_direct_apart(turn, &mut cx, device, apart).unwrap();
        goes = conversations.entering.next_due().is_some();
    });
    let before = world.epoch_in(who, chat);
    world.pass(30 * 60_000);
    goes || world.epoch_in(who, chat) != before
}

/// A group of alice, mallory with this role, and carol, who knows them both.
fn group_with(seed: u64, role: Role) -> (World, ChatId, [Who; 3]) {
    let mut world = World::new(seed);
    let people = world.company(3);
    let (alice, mallory, carol) = (people[0], people[1], people[2]);
    world.befriend(mallory, carol);
    let chat = world.group_of(&people);
    if role != Role::Member {
        world.wish_role(alice, chat, mallory, role).unwrap();
    }
    world.pass(30_000);
    (world, chat, [alice, mallory, carol])
}

pub(super) fn read_each_other(world: &mut World, chat: ChatId, all: &[Who]) {
    for who in all {
        world.say_in(*who, chat, &format!("still here, {who}")).unwrap();
        world.pass(10_000);
    }
    for who in all {
        let here = world.texts_in(*who, chat).into_iter().filter(|text| text.starts_with("still here")).count();
        assert_eq!(here, all.len(), "{who}");
    }
}

#[test]
fn a_member_leads_nobody_away() {
    let (mut world, chat, all) = group_with(940, Role::Member);
    let made = lure(&mut world, all[1], chat, Policy::clone);
    assert!(!goes(&mut world, chat, (all[2], all[1]), made, true));
    read_each_other(&mut world, chat, &all);
}

#[test]
fn an_admin_makes_nobody_an_owner_by_leading_others_away() {
    let (mut world, chat, all) = group_with(950, Role::Admin);
    let own = *world.of(all[1]).account.as_bytes();
    let made = lure(&mut world, all[1], chat, |policy| {
        let mut policy = policy.clone();
        policy.members.iter_mut().filter(|member| member.account == own).for_each(|member| member.role = Role::Owner);
        policy
    });
    // Carol has heard the owner where she is: she does not even ask. With nobody heard she asks, and does not go.
    assert!(!goes(&mut world, chat, (all[2], all[1]), made.clone(), true));
    world.kill(all[0]);
    world.kill(all[2]);
    world.start(all[2]);
    world.pass(5_000);
    assert!(!goes(&mut world, chat, (all[2], all[1]), made, true));
    world.start(all[0]);
    world.pass(60_000);
    read_each_other(&mut world, chat, &all);
}

/// So that it is not for another reason that others are not followed.
#[test]
fn an_admin_is_followed_where_no_owner_was_heard_and_nothing_is_another() {
    let (mut world, chat, all) = group_with(951, Role::Admin);
    let made = lure(&mut world, all[1], chat, Policy::clone);
    world.kill(all[0]);
    world.kill(all[2]);
    world.start(all[2]);
    world.pass(5_000);
    assert!(goes(&mut world, chat, (all[2], all[1]), made, true));
}

/// An admin shows a way that leads where it should, and is taken: its log has another candidate first, and the log of its door another door.
#[test]
fn what_the_log_of_a_shown_door_says_is_not_believed() {
    let (mut world, chat, all) = group_with(955, Role::Admin);
    let device = world.of(all[1]).device;
    let (beacon, _) = lure(&mut world, all[1], chat, Policy::clone);
    world.kill(all[0]);
    world.kill(all[2]);
    world.start(all[2]);
    world.pass(5_000);
    world.stop_server();
    let mut way = None;
    world.begin_modified(all[1], |engine, turn| {
        let (id, mls) = (engine.active_group(chat).unwrap(), engine.mls.clone());
        let group = engine.conversations.open(turn, &mls, id).unwrap().unwrap();
        let mut door = group.way_in().unwrap().unwrap();
        // Carol was not there: it has another log.
        door.secret = [9; 32];
        let secret = Bytes::copy_from_slice(&[8; 32]);
        way = Some(Way { group: Bytes::copy_from_slice(&id), secret, door: door.to_bytes().into() });
    });
    world.begin_modified(all[2], |engine, turn| {
        let (conversations, mut cx) = engine.conversing();
        conversations.on_direct_beacons(turn, &mut cx, device, &[beacon]).unwrap();
        conversations.seek_on_time(turn, &mut cx).unwrap();
        let apart = Apart { way, ..Apart::default() };
        conversations.on_direct_apart(turn, &mut cx, device, apart).unwrap();
        let door = conversations.chats.get(&chat).unwrap().row.door.clone().unwrap();
        let commit = crate::conversation::fork::commit_hash(&door.entering.unwrap().commit);
        // Another candidate stands before it.
        let behind = starling_wire::rendezvous::Behind { last: 0, ..Default::default() };
        conversations.on_enter_answer(turn, &mut cx, (chat, [0; 32]), Err(behind.clone())).unwrap();
        assert!(conversations.chats.get(&chat).unwrap().row.door.is_some(), "an answer about another commit");
        conversations.on_enter_answer(turn, &mut cx, (chat, commit), Err(behind)).unwrap();
        assert!(conversations.chats.get(&chat).unwrap().row.door.is_none(), "it would read the log of the door");
    });
    world.start_server();
    world.start(all[0]);
    world.pass(60 * 60_000);
    read_each_other(&mut world, chat, &all);
}

#[test]
fn nobody_goes_where_it_has_not_asked_to() {
    let (mut world, chat, all) = group_with(960, Role::Member);
    let made = lure(&mut world, all[0], chat, Policy::clone);
    assert!(!goes(&mut world, chat, (all[2], all[0]), made, false));
    read_each_other(&mut world, chat, &all);
}

#[test]
fn nobody_is_out_by_the_word_of_an_equal() {
    for role in [Role::Admin, Role::Member, Role::Reader] {
        let (mut world, chat, all) = group_with(970, role);
        if role == Role::Admin {
            world.wish_role(all[0], chat, all[2], role).unwrap();
            world.pass(10_000);
        }
        let device = world.of(all[1]).device;
        world.begin_modified(all[2], |engine, turn| {
            let id = engine.active_group(chat).unwrap();
            let (conversations, mut cx) = engine.conversing();
            let apart = Apart { out: vec![Bytes::copy_from_slice(&id)], ..Apart::default() };
            conversations.on_direct_apart(turn, &mut cx, device, apart).unwrap();
        });
        assert_eq!(world.standing(all[2], chat), Some(Standing::Member));
    }
}

#[test]
fn the_work_that_a_device_makes_us_do_with_this_is_bounded() {
    let (mut world, chat, all) = group_with(980, Role::Member);
    let device = world.of(all[1]).device;
    let mut ways = 0;
    world.begin_modified(all[0], |engine, turn| {
        let id = engine.active_group(chat).unwrap();
        let before = turn.effects();
        let (conversations, mut cx) = engine.conversing();
        for _ in 0..1_000 {
            let apart = Apart { seeks: vec![Bytes::copy_from_slice(&id); 100], ..Apart::default() };
            conversations.on_direct_apart(turn, &mut cx, device, apart).unwrap();
        }
        ways = turn.effects() - before;
    });
    assert!((1..=64).contains(&ways), "{ways}");
    let beacon = |group: u8| SealedBeacon { group: Bytes::from(vec![group; 16]), epoch: 1, ..SealedBeacon::default() };
    world.begin_modified(all[0], |engine, turn| {
        let (conversations, mut cx) = engine.conversing();
        let beacons: Vec<SealedBeacon> = (0..255).map(beacon).collect();
        conversations.on_direct_beacons(turn, &mut cx, device, &beacons).unwrap();
        assert!(conversations.apart.next_due().is_none(), "nobody leads");
    });
    read_each_other(&mut world, chat, &all);
}
