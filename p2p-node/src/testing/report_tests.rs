//! Reports of messages to those who moderate a group: who reads them, and what they prove.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_wire::Role;

use super::world::{Who, World};
use crate::{
    api::{
        error::{GroupRefusal, NodeError, NotAllowed, NotFound},
        types::{ChatId, DurableEventKind, GroupReport, MessageId, Standing},
    },
    conversation::policy::limits::MAX_REPORTS_OF_MEMBER,
    engine::{ConversationCommand, GroupCommand},
};

fn report(world: &mut World, who: Who, chat: ChatId, message: MessageId, reason: &str) -> Result<(), NodeError> {
    let reason = reason.to_owned();
    world.call(who, |reply| GroupCommand::Report { chat, message, reason, reply })
}

fn reports(world: &mut World, who: Who, chat: ChatId) -> Result<Vec<GroupReport>, NodeError> {
    world.call(who, |reply| GroupCommand::Reports(chat, reply))
}

#[test]
fn moderators_alone_read_what_a_member_reports() {
    let mut world = World::new(1200);
    let people = world.company(5);
    let chat = world.group_of(&people);
    let (alice, bob, carol, dave, erin) = (people[0], people[1], people[2], people[3], people[4]);
    world.wish_role(alice, chat, bob, Role::Moderator).unwrap();
    world.pass(10_000);
    let said = world.say_in(dave, chat, "buy this").unwrap();
    world.pass(5_000);
    // Carol and bob are no contacts.
    report(&mut world, carol, chat, said, "advertising").unwrap();
    world.pass(10_000);
    let (by, author) = (world.of(carol).account, world.of(dave).account);
    for who in [alice, bob] {
        let seen = reports(&mut world, who, chat).unwrap();
        assert_eq!(seen.len(), 1, "{who}");
        assert_eq!((seen[0].by, seen[0].author, seen[0].message), (by, author, said), "{who}");
        assert_eq!((seen[0].text.as_str(), seen[0].reason.as_str()), ("buy this", "advertising"), "{who}");
        assert!(seen[0].confirmed, "{who} has the message");
        let told = world.durable_events(who);
        let told: Vec<_> = told.iter().filter(|event| event.kind == DurableEventKind::GroupReported).collect();
        assert_eq!(told.len(), 1, "{who}");
        assert_eq!((told[0].account, told[0].message, told[0].chat), (Some(by), Some(said), Some(chat)), "{who}");
    }
    for who in [carol, dave, erin] {
        assert_eq!(reports(&mut world, who, chat), Err(NotAllowed::Group(GroupRefusal::Role).into()), "{who}");
        assert!(world.durable_events(who).iter().all(|event| event.kind != DurableEventKind::GroupReported), "{who}");
    }
    // It is there once, and stays when the message goes, also after a restart.
    report(&mut world, carol, chat, said, "again").unwrap();
    world.call(dave, |reply| ConversationCommand::Delete { chat, message: said, reply }).unwrap();
    world.pass(10_000);
    world.kill(bob);
    world.start(bob);
    let seen = reports(&mut world, bob, chat).unwrap();
    assert_eq!((seen.len(), seen[0].text.as_str(), seen[0].reason.as_str()), (1, "buy this", "advertising"));
    assert_eq!(report(&mut world, erin, chat, said, ""), Err(NotFound::Message.into()), "it was deleted");
}

#[test]
fn who_is_reported_does_not_read_it_and_somebody_else_has_to() {
    let mut world = World::new(1201);
    let people = world.company(3);
    let chat = world.group_of(&people);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    let owners = world.say_in(alice, chat, "I rule").unwrap();
    world.pass(5_000);
    let refused = Err(NotAllowed::Group(GroupRefusal::NoModerator).into());
    assert_eq!(report(&mut world, carol, chat, owners, ""), refused, "she alone could read it");
    assert_eq!(report(&mut world, alice, chat, owners, ""), Err(NotFound::Message.into()), "her own");
    world.wish_role(alice, chat, bob, Role::Admin).unwrap();
    world.pass(10_000);
    report(&mut world, carol, chat, owners, "").unwrap();
    world.pass(10_000);
    assert_eq!(reports(&mut world, bob, chat).unwrap().len(), 1);
    assert!(reports(&mut world, alice, chat).unwrap().is_empty());
}

#[test]
fn what_a_moderator_does_not_have_is_the_reporters_word_and_a_flood_is_bounded() {
    let mut world = World::new(1202);
    let people = world.company(3);
    let chat = world.group_of(&people);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    let early = world.say_in(bob, chat, "early").unwrap();
    world.pass(5_000);
    let late = world.person("late");
    world.befriend(alice, late);
    world.wish_in(alice, chat, &[late]).unwrap();
    world.pass(10_000);
    world.accept(late, chat).unwrap();
    world.pass(20_000);
    assert_eq!(world.standing(late, chat), Some(Standing::Member));
    world.wish_role(alice, chat, late, Role::Moderator).unwrap();
    world.pass(20_000);
    report(&mut world, carol, chat, early, "").unwrap();
    world.pass(10_000);
    let seen = reports(&mut world, late, chat).unwrap();
    assert_eq!((seen[0].text.as_str(), seen[0].confirmed), ("early", false), "it came before the newcomer");
    assert!(reports(&mut world, alice, chat).unwrap()[0].confirmed);
    for n in 0..MAX_REPORTS_OF_MEMBER + 3 {
        let said = world.say_in(bob, chat, &format!("{n}")).unwrap();
        world.pass(2_000);
        report(&mut world, carol, chat, said, "").unwrap();
        world.pass(2_000);
    }
    world.pass(10_000);
    assert_eq!(reports(&mut world, alice, chat).unwrap().len(), MAX_REPORTS_OF_MEMBER);
}
