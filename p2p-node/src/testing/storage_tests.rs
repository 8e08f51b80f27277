//! What homes store for an account, and how its user gets rid of what others have left there.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use starling_wire::{LogVerb, rendezvous::LogRequest};

use super::world::{Who, World};
use crate::{
    api::{
        error::{NodeError, NotFound, Unreachable},
        types::{Storage, StoredLogs},
    },
    conversation::group::LogKeys,
    engine::AccountCommand,
    home::Pending,
};

fn ask(world: &mut World, who: Who, delete: Option<&str>) -> Result<Storage, NodeError> {
    let delete = delete.map(str::to_owned);
    let mut answer = world.begin(who, |reply| AccountCommand::Storage { delete, reply });
    world.pass(5_000);
    answer.try_recv().unwrap()
}

/// A member opens a log that follows the one of now, and fills it.
fn fill_next(world: &mut World, member: Who, other: Who, n: u8) {
    let chat = world.chat(member, other);
    world.modified(member, |engine, turn| {
        let group = engine.active_group(chat).unwrap();
        let home = engine.conversations.groups.home_of(group).unwrap();
        let now = engine.conversations.groups.get(&group).unwrap().current_keys().unwrap();
        let mut next = LogKeys::of_secret(&[n; 32]).unwrap();
        next.parent = Some(now.key);
        let entries = vec![Bytes::from(vec![7; 10_000])];
        let request = LogRequest { entries, ..LogRequest::default() };
        assert!(engine.homes.request_log(turn, home, &next, LogVerb::Append, request, Pending::Nothing));
    });
}

#[test]
fn an_account_sees_what_its_home_stores_and_deletes_what_others_have_left() {
    let mut world = World::new(985);
    let (alice, bob) = world.friends();
    world.direct = false;
    world.cut(alice, bob);
    world.pass(10_000);
    // Whose home has the logs.
    let stored = [alice, bob].map(|who| ask(&mut world, who, None).unwrap());
    let (owner, member) = if stored[0].conversations.is_empty() { (bob, alice) } else { (alice, bob) };
    for n in 1..=3 {
        fill_next(&mut world, member, owner, n);
    }
    world.pass(5_000);
    let all = ask(&mut world, owner, None).unwrap();
    let name = |logs: &StoredLogs| logs.chat.as_ref().map(|(_, name)| name.clone());
    let logs = all.conversations.iter().find(|logs| logs.unused >= 3).unwrap().clone();
    assert!(logs.bytes > 30_000 && logs.entries >= 3 && logs.logs > logs.unused, "{logs:?}");
    assert_eq!(name(&logs), Some(if owner == alice { "bob" } else { "alice" }.to_owned()));

    let after = ask(&mut world, owner, Some(&logs.id)).unwrap();
    assert_eq!(after.deleted, logs.unused);
    let left = ask(&mut world, owner, None).unwrap();
    assert_eq!(left.conversations, after.conversations);
    assert!(left.conversations.iter().all(|logs| logs.unused == 0 && logs.bytes < 30_000), "{left:?}");
    // What the conversation needs is there.
    world.say(member, owner, "goes on");
    world.pass(10_000);
    assert!(world.seen(owner, member).iter().any(|line| line.ends_with(": goes on")));
    assert_eq!(ask(&mut world, owner, Some("nothing")), Err(NotFound::StoredLogs.into()));
    world.stop_server();
    world.pass(60_000);
    assert_eq!(ask(&mut world, owner, None), Err(Unreachable::Home.into()));
}
