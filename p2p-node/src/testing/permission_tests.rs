//! What a device may still do once its account has given it up.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use super::world::World;
use crate::{
    api::error::NotAllowed,
    engine::{AccountCommand, Command, ContactCommand, ConversationCommand},
};

#[test]
fn a_removed_device_shows_what_it_has_and_changes_nothing() {
    let mut world = World::new(91);
    let (alice, bob) = world.friends();
    let laptop = world.linked(alice);
    world.pass(60_000);
    let (device, account) = (world.of(laptop).device, world.of(bob).account);
    let chat = world.chat_id(laptop, bob);
    world.call(alice, |reply| AccountCommand::RemoveDevice(device, reply)).unwrap();
    world.pass(60_000);

    assert_eq!(world.call(laptop, ContactCommand::List).unwrap().len(), 1);
    world.call(laptop, Command::Status).unwrap();
    world
        .call(laptop, |reply| AccountCommand::SetPrivacy { last_seen: None, receipts: None, typing: None, reply })
        .expect("asking for the settings changes none");

    let refused = [
        world.call(laptop, |reply| ContactCommand::Rename(account, "mine".into(), reply)),
        world.call(laptop, |reply| ContactCommand::SetVerified(account, true, reply)),
        world.call(laptop, |reply| ContactCommand::Block(account, reply)),
        world.call(laptop, |reply| ContactCommand::Remove(account, reply)),
        world.call(laptop, |reply| ContactCommand::Trust(account, reply)),
        world.call(laptop, |reply| ContactCommand::Decline(account, reply)),
        world
            .call(laptop, |reply| AccountCommand::SetPrivacy {
                last_seen: Some(1),
                receipts: None,
                typing: None,
                reply,
            })
            .map(|_| ()),
        world.call(laptop, |reply| AccountCommand::OpenCode(true, reply)).map(|_| ()),
    ];
    for (nth, answer) in refused.into_iter().enumerate() {
        let why = answer.expect_err(&format!("command {nth} was carried out"));
        assert_eq!(why, NotAllowed::Superseded.into());
    }
    world.call(laptop, |reply| ConversationCommand::ClearChat(chat, reply)).expect("its own view may be cleared");
    world.pass(60_000);
    assert_eq!(world.contact(alice, bob).unwrap().name, "bob");
}
