//! Groups of several accounts: invited, entered, written in, changed and left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_wire::Role;

use super::world::World;
use crate::{
    api::{
        error::{GroupRefusal, NodeError, NotAllowed, NotFound},
        problem::HomeProblem,
        types::{ChatKind, ContactState, DeliveryState, DurableEventKind, Standing},
    },
    engine::{AccountCommand, ContactCommand, ConversationCommand, GroupCommand},
};

#[test]
fn ten_accounts_make_a_group_and_each_reads_all_others() {
    let mut world = World::new(1);
    let people = world.company(10);
    let chat = world.group_of(&people);
    for who in &people {
        world.say_in(*who, chat, &format!("from {who}")).unwrap();
        world.pass(1_000);
    }
    world.pass(10_000);
    let expected = world.messages_in(people[0], chat).iter().map(|m| m.id).collect::<Vec<_>>();
    assert_eq!(expected.len(), 10);
    for who in &people {
        assert_eq!(world.standing(*who, chat), Some(Standing::Member));
        assert_eq!(world.messages_in(*who, chat).iter().map(|m| m.id).collect::<Vec<_>>(), expected, "{who}");
        // Who are no contacts know each other's names all the same.
        let names: Vec<String> = world.group_seen(*who, chat).unwrap().members.into_iter().map(|m| m.name).collect();
        for other in &people {
            assert!(names.contains(&format!("p{other}")), "{who} does not know p{other}: {names:?}");
        }
        let own = world.messages_in(*who, chat).into_iter().find(|m| m.own).unwrap();
        assert_eq!(own.state, DeliveryState::Delivered, "{who}");
        assert_eq!(world.epoch_in(*who, chat), world.epoch_in(people[0], chat));
    }
    // Nobody has become a contact by it.
    assert!(!world.knows(people[3], people[4]));
}

#[test]
fn an_invitation_waits_for_its_answer_and_nothing_of_strangers_appears() {
    let mut world = World::new(2);
    let people = world.company(3);
    let stranger = world.person("stranger");
    let chat = world.found(people[0], &people[1..]);
    world.pass(3_000);
    for who in &people[1..] {
        assert_eq!(world.standing(*who, chat), Some(Standing::Invited));
        let seen = world.group_seen(*who, chat).unwrap();
        assert_eq!((seen.name.as_str(), seen.invited_by), ("ops", Some(world.of(people[0]).account)));
        let chats = world.call(*who, ConversationCommand::List).unwrap();
        assert!(chats.iter().all(|chat| chat.kind == ChatKind::Direct), "it is no chat yet");
        assert!(
            world.durable_events(*who).iter().any(|n| n.kind == DurableEventKind::GroupInvited && n.chat == Some(chat))
        );
        assert!(world.say_in(*who, chat, "too early").is_err());
    }
    assert!(world.group_seen(stranger, chat).is_none());
    assert_eq!(world.accept(stranger, chat), Err(NotFound::Group.into()));
    // Only contacts can be invited.
    let refused = world.wish_in(people[0], chat, &[stranger]);
    assert_eq!(refused, Err(NotFound::Contact.into()));
    world.accept(people[1], chat).unwrap();
    world.call(people[2], |reply| GroupCommand::Decline(chat, reply)).unwrap();
    world.pass(5_000);
    assert_eq!(world.standing(people[1], chat), Some(Standing::Member));
    assert_eq!(world.standing(people[2], chat), Some(Standing::Declined));
    world.say_in(people[0], chat, "two of us").unwrap();
    world.pass(5_000);
    assert_eq!(world.texts_in(people[1], chat), ["two of us"]);
    assert!(world.messages_in(people[2], chat).is_empty());
    // Whoever has declined can come after all.
    world.accept(people[2], chat).unwrap();
    world.pass(5_000);
    world.say_in(people[0], chat, "three").unwrap();
    world.pass(5_000);
    assert_eq!(world.texts_in(people[2], chat), ["three"], "nothing of what was before");
    let texts = world.messages_in(people[0], chat);
    assert!(texts.iter().all(|m| m.state == DeliveryState::Delivered), "{texts:?}");
}

#[test]
fn who_was_removed_reads_and_writes_nothing_and_comes_back_only_if_invited_again() {
    let mut world = World::new(3);
    let people = world.company(4);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    let chat = world.group_of(&people);
    world.say_in(bob, chat, "before").unwrap();
    world.pass(3_000);
    assert_eq!(world.wish_out(carol, chat, bob), Err(NotAllowed::Group(GroupRefusal::Role).into()));
    world.wish_out(alice, chat, bob).unwrap();
    world.pass(5_000);
    world.say_in(alice, chat, "after").unwrap();
    world.pass(5_000);
    assert_eq!(world.standing(bob, chat), Some(Standing::Removed));
    assert_eq!(world.texts_in(bob, chat), ["before"]);
    let refused: Result<(), NodeError> = world.say_in(bob, chat, "still here").map(drop);
    assert_eq!(refused, Err(NotAllowed::Group(GroupRefusal::NotAMember).into()));
    for who in [alice, carol, people[3]] {
        assert_eq!(world.texts_in(who, chat), ["before", "after"]);
        assert_eq!(world.group_seen(who, chat).unwrap().members.len(), 3);
        let removed = world.durable_events(who).into_iter().find(|n| n.kind == DurableEventKind::GroupRemoved).unwrap();
        assert_eq!(removed.account, Some(world.of(bob).account));
    }
    // Its invitation of then leads nowhere.
    assert_eq!(world.accept(bob, chat), Err(NotFound::Group.into()));
    world.wish_in(alice, chat, &[bob]).unwrap();
    world.pass(5_000);
    assert_eq!(world.standing(bob, chat), Some(Standing::Invited));
    world.accept(bob, chat).unwrap();
    world.pass(5_000);
    world.say_in(carol, chat, "again").unwrap();
    world.say_in(bob, chat, "thanks").unwrap();
    world.pass(5_000);
    assert_eq!(world.texts_in(bob, chat), ["before", "again", "thanks"]);
    assert_eq!(world.texts_in(alice, chat), ["before", "after", "again", "thanks"]);
}

#[test]
fn an_account_that_is_alone_in_a_group_leaves_it_with_all_its_devices() {
    let mut world = World::new(5);
    let people = world.company(1);
    let alice = people[0];
    let chat = world.group_of(&people);
    let laptop = world.linked(alice);
    world.pass(60_000);
    assert_eq!(world.standing(laptop, chat), Some(Standing::Member));
    world.leave(alice, chat).unwrap();
    world.pass(60_000);
    for who in [alice, laptop] {
        assert_eq!(world.standing(who, chat), Some(Standing::Left), "{who}");
    }
}

#[test]
fn who_leaves_is_gone_and_a_last_owner_hands_over_before() {
    let mut world = World::new(4);
    let people = world.company(3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    let chat = world.group_of(&people);
    assert_eq!(world.leave(alice, chat), Err(NotAllowed::Group(GroupRefusal::LastOwner).into()));
    world.wish_role(alice, chat, bob, Role::Owner).unwrap();
    world.pass(5_000);
    assert_eq!(world.group_seen(carol, chat).unwrap().members.iter().filter(|m| m.role == Role::Owner).count(), 2);
    world.say_in(alice, chat, "farewell").unwrap();
    world.leave(alice, chat).unwrap();
    world.pass(10_000);
    assert_eq!(world.standing(alice, chat), Some(Standing::Left));
    assert!(world.say_in(alice, chat, "or not").is_err());
    world.say_in(bob, chat, "she is gone").unwrap();
    world.pass(5_000);
    assert_eq!(world.texts_in(carol, chat), ["farewell", "she is gone"]);
    assert_eq!(world.texts_in(alice, chat), ["farewell"]);
    assert_eq!(world.group_seen(carol, chat).unwrap().members.len(), 2);
    assert!(world.durable_events(carol).iter().any(|n| n.kind == DurableEventKind::GroupLeft));
    world.leave(carol, chat).unwrap();
    world.pass(10_000);
    world.leave(bob, chat).unwrap();
    world.pass(5_000);
    assert_eq!(world.standing(bob, chat), Some(Standing::Left), "the last one leaves an empty group");
}

#[test]
fn a_reader_reads_and_an_admin_invites() {
    let mut world = World::new(5);
    let people = world.company(4);
    let (alice, bob, carol, dave) = (people[0], people[1], people[2], people[3]);
    let chat = world.group_of(&[alice, bob, carol]);
    world.befriend(bob, dave);
    world.wish_role(alice, chat, bob, Role::Admin).unwrap();
    world.wish_role(alice, chat, carol, Role::Reader).unwrap();
    world.pass(5_000);
    assert_eq!(world.say_in(carol, chat, "no").map(drop), Err(NotAllowed::Group(GroupRefusal::Role).into()));
    world.wish_in(bob, chat, &[dave]).unwrap();
    world.pass(5_000);
    world.accept(dave, chat).unwrap();
    world.pass(5_000);
    world.say_in(dave, chat, "hi").unwrap();
    world.pass(5_000);
    assert_eq!(world.texts_in(carol, chat), ["hi"]);
    assert_eq!(world.texts_in(alice, chat), ["hi"]);
}

#[test]
fn new_devices_of_members_enter_and_removed_ones_go() {
    let mut world = World::new(6);
    let people = world.company(3);
    let (alice, bob) = (people[0], people[1]);
    let chat = world.group_of(&people);
    let laptop = world.linked(bob);
    world.pass(60_000);
    assert_eq!(world.standing(laptop, chat), Some(Standing::Member));
    world.say_in(laptop, chat, "from the laptop").unwrap();
    world.pass(5_000);
    for who in people.iter().chain([&laptop]) {
        assert_eq!(world.texts_in(*who, chat), ["from the laptop"]);
        assert_eq!(world.epoch_in(*who, chat).unwrap().1, 4);
    }
    // The phone removes it.
    let device = world.of(laptop).device;
    let mut removed = world.begin(bob, |reply| AccountCommand::RemoveDevice(device, reply));
    world.pass(30_000);
    removed.try_recv().unwrap().unwrap();
    world.pass(60_000);
    world.say_in(alice, chat, "without it").unwrap();
    world.pass(5_000);
    for who in &people {
        assert_eq!(world.epoch_in(*who, chat).unwrap().1, 3, "{who}");
        assert_eq!(world.texts_in(*who, chat), ["from the laptop", "without it"]);
    }
    assert_eq!(world.texts_in(laptop, chat), ["from the laptop"]);
}

#[test]
fn whoever_was_away_reads_what_was_written_and_who_came() {
    let mut world = World::new(7);
    let people = world.company(5);
    let chat = world.group_of(&people[..4]);
    let (alice, bob, late) = (people[0], people[1], people[4]);
    world.kill(bob);
    for n in 0..5 {
        world.say_in(people[2], chat, &format!("{n}")).unwrap();
        world.pass(2_000);
    }
    world.wish_in(alice, chat, &[late]).unwrap();
    world.pass(5_000);
    world.accept(late, chat).unwrap();
    world.pass(5_000);
    world.say_in(late, chat, "late").unwrap();
    world.pass(5_000);
    world.start(bob);
    world.pass(10_000);
    assert_eq!(world.texts_in(bob, chat), ["0", "1", "2", "3", "4", "late"]);
    assert_eq!(world.group_seen(bob, chat).unwrap().members.len(), 5);
    let own = world.messages_in(people[2], chat);
    assert!(own.iter().filter(|m| m.own).all(|m| m.state == DeliveryState::Delivered), "{own:?}");
    assert_ne!(world.home_problem(bob), Some(HomeProblem::Outdated));
}

#[test]
fn a_device_that_comes_while_an_invitation_waits_is_told_of_it() {
    let mut world = World::new(9);
    let people = world.company(2);
    let (alice, bob) = (people[0], people[1]);
    let chat = world.found(alice, &[bob]);
    world.pass(2_000);
    let tablet = world.linked(bob);
    world.pass(30_000);
    assert_eq!(world.standing(tablet, chat), Some(Standing::Invited));
    world.accept(tablet, chat).unwrap();
    world.pass(30_000);
    for who in [alice, bob, tablet] {
        assert_eq!(world.standing(who, chat), Some(Standing::Member), "{who}");
        assert_eq!(world.epoch_in(who, chat).unwrap().1, 3);
    }
}

#[test]
fn nothing_that_somebody_blocked_invites_into_waits_or_comes() {
    let mut world = World::new(1190);
    let people = world.company(3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    let before = world.found(alice, &[bob, carol]);
    world.pass(5_000);
    assert_eq!(world.standing(bob, before), Some(Standing::Invited));
    let account = world.of(alice).account;
    world.call(bob, |reply| ContactCommand::Block(account, reply)).unwrap();
    assert_eq!(world.standing(bob, before), Some(Standing::Declined));
    let after = world.found(alice, &[bob, carol]);
    world.pass(10_000);
    assert_eq!(world.standing(bob, after), None);
    assert_eq!(world.standing(carol, after), Some(Standing::Invited));
    // Who has let somebody in is known, and can be blocked without being a contact of theirs.
    world.accept(carol, after).unwrap();
    world.pass(5_000);
    assert_eq!(world.group_seen(carol, after).unwrap().let_in_by, Some(account));
    assert_eq!(world.group_seen(alice, after).unwrap().let_in_by, None);
}

#[test]
fn a_member_of_a_group_who_is_no_contact_can_be_blocked() {
    let mut world = World::new(1191);
    let people = world.company(3);
    let chat = world.group_of(&people);
    let (bob, carol) = (people[1], people[2]);
    let account = world.of(carol).account;
    world.call(bob, |reply| ContactCommand::Block(account, reply)).unwrap();
    world.pass(2_000);
    let person =
        world.engine(bob).contacts.people.get(&account).map(|person| (person.state(), person.name().to_owned()));
    assert_eq!(person, Some((ContactState::Blocked, "p2".to_owned())));
    // The group goes on.
    world.say_in(carol, chat, "still here").unwrap();
    world.pass(5_000);
    assert_eq!(world.texts_in(bob, chat), ["still here"]);
}
