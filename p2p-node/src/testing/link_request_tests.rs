//! Requests to be let into a group by a link: whom they reach, and when.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use starling_keys::AccountId;
use starling_wire::{JOIN_REFUSAL_DOMAIN, JoinLink, JoinRefusal};

use super::world::{Who, World};
use crate::{
    api::types::{ChatId, Joining, NewJoinLink, Role, Standing},
    engine::GroupCommand,
};

const APPROVED: NewJoinLink = NewJoinLink { lifetime_ms: None, uses: None, approve: true };

impl World {
    /// Whose requests somebody sees.
    fn asking(&mut self, who: Who, chat: ChatId) -> Vec<AccountId> {
        self.requests_seen(who, chat).into_iter().map(|request| request.account).collect()
    }
}

/// Their programs had asked for the link's box before anything was in it, and looked again some seconds later.
#[test]
fn the_first_request_on_a_link_reaches_all_who_may_approve_at_once() {
    for seed in 1..=4 {
        let mut world = World::new(seed);
        let people = world.company(3);
        let chat = world.group_of(&people);
        world.wish_role(people[0], chat, people[1], Role::Admin).unwrap();
        world.pass(10_000);
        let link = world.link_into(people[0], chat, APPROVED);
        let dave = world.person("dave");
        world.pass(5_000);
        let mut answer = world.begin_to_join(dave, &link);
        world.pass(1_000);
        assert_eq!(answer.try_recv().unwrap(), Ok(Joining::Asked(chat)), "seed {seed}");
        let daves = world.of(dave).account;
        for who in &people[..2] {
            assert_eq!(world.asking(*who, chat), [daves], "seed {seed}");
        }
    }
}

/// Alice, bob who is in her group, and eve who has declined to be.
fn declined(seed: u64) -> (World, [Who; 3], ChatId) {
    let mut world = World::new(seed);
    let people = world.company(3);
    let chat = world.found(people[0], &people[1..]);
    world.pass(2_000);
    world.call(people[2], |reply| GroupCommand::Decline(chat, reply)).unwrap();
    world.accept(people[1], chat).unwrap();
    world.pass(10_000);
    (world, [people[0], people[1], people[2]], chat)
}

/// A link lets nobody in whose account is in the group already, and the invitation was forgotten.
#[test]
fn who_has_declined_comes_in_by_an_open_link() {
    for (seed, are_online) in [(10, true), (11, false)] {
        let (mut world, [alice, bob, eve], chat) = declined(seed);
        let link = world.link_into(alice, chat, NewJoinLink { uses: Some(1), ..NewJoinLink::default() });
        let tablet = world.linked(eve);
        world.pass(30_000);
        if !are_online {
            [alice, bob].iter().for_each(|who| world.kill(*who));
        }
        let mut answer = world.begin_to_join(eve, &link);
        world.pass(3_000);
        assert_eq!(answer.try_recv().unwrap(), Ok(Joining::Enters(chat)), "seed {seed}");
        assert_eq!(world.standing(eve, chat), Some(Standing::Member), "seed {seed}");
        [alice, bob].iter().filter(|_| !are_online).for_each(|who| world.start(*who));
        world.pass(60_000);
        assert_eq!(world.standing(tablet, chat), Some(Standing::Member), "seed {seed}");
        assert_eq!(world.links_seen(alice, chat)[0].uses, Some(1), "the link was not needed");
        for who in [bob, eve, tablet] {
            assert_eq!(world.epoch_in(who, chat), world.epoch_in(alice, chat), "seed {seed}");
        }
    }
}

/// Those who may approve passed over the request of an account that is in the group.
#[test]
fn who_has_declined_and_asks_by_a_link_is_let_in_at_once() {
    let (mut world, [alice, bob, eve], chat) = declined(20);
    let link = world.link_into(alice, chat, APPROVED);
    let mut answer = world.begin_to_join(eve, &link);
    world.pass(5_000);
    assert_eq!(answer.try_recv().unwrap(), Ok(Joining::Asked(chat)));
    assert_eq!(world.standing(eve, chat), Some(Standing::Member));
    assert!(world.asking(alice, chat).is_empty(), "nobody has to decide");
    world.say_in(eve, chat, "after all").unwrap();
    world.pass(5_000);
    assert_eq!(world.texts_in(bob, chat), ["after all"]);
}

#[test]
fn who_asks_by_a_link_while_nobody_is_online_may_accept_the_invitation_instead() {
    let (mut world, [alice, bob, eve], chat) = declined(21);
    let link = world.link_into(alice, chat, APPROVED);
    [alice, bob].iter().for_each(|who| world.kill(*who));
    assert_eq!(world.join_by(eve, &link), Ok(Joining::Asked(chat)));
    assert_eq!(world.standing(eve, chat), Some(Standing::Asked));
    world.accept(eve, chat).unwrap();
    world.pass(3_000);
    assert_eq!(world.standing(eve, chat), Some(Standing::Member));
}

#[test]
fn who_was_removed_after_the_invitation_comes_in_by_the_link() {
    let (mut world, [alice, _, eve], chat) = declined(22);
    world.wish_out(alice, chat, eve).unwrap();
    world.pass(10_000);
    let link = world.link_into(alice, chat, NewJoinLink { uses: Some(1), ..NewJoinLink::default() });
    assert_eq!(world.join_by(eve, &link), Ok(Joining::Enters(chat)));
    assert_eq!(world.standing(eve, chat), Some(Standing::Member));
    assert!(world.links_seen(alice, chat).is_empty(), "it is used up");
}

/// Each device kept for itself what its user had refused.
#[test]
fn a_refusal_counts_for_all_who_may_approve_and_any_of_them_can_approve_later() {
    let mut world = World::new(30);
    let people = world.company(3);
    let [alice, bob, carol] = [people[0], people[1], people[2]];
    let chat = world.group_of(&people);
    let laptop = world.linked(alice);
    world.wish_role(alice, chat, bob, Role::Admin).unwrap();
    world.pass(30_000);
    let link = world.link_into(alice, chat, APPROVED);
    let (dave, eve) = (world.person("dave"), world.person("eve"));
    world.pass(5_000);
    for who in [dave, eve] {
        world.join_by(who, &link).unwrap();
    }
    let (daves, eves) = (world.of(dave).account, world.of(eve).account);
    for who in [alice, bob, laptop] {
        assert_eq!(world.asking(who, chat).len(), 2);
    }
    // Whoever is away reads it later, and who has refused while away says it later.
    world.kill(laptop);
    world.cut_off([bob].into());
    world.call(bob, |reply| GroupCommand::Refuse { chat, account: eves, reply }).unwrap();
    world.pass(10_000);
    assert_eq!(world.asking(alice, chat).len(), 2, "he could not say so");
    world.cut_off(BTreeSet::new());
    world.start(laptop);
    world.pass(60_000);
    for who in [alice, bob, laptop] {
        assert_eq!(world.asking(who, chat), [daves]);
        let refused = world.call(who, |reply| GroupCommand::RefusedRequests(chat, reply)).unwrap();
        assert_eq!(refused.iter().map(|request| request.account).collect::<Vec<_>>(), [eves]);
    }
    assert_eq!(world.refusals(eve), ["request_refused"]);
    world.call(laptop, |reply| GroupCommand::Approve { chat, account: eves, reply }).unwrap();
    world.pass(30_000);
    assert_eq!(world.standing(eve, chat), Some(Standing::Member));
    world.say_in(eve, chat, "after all").unwrap();
    world.pass(10_000);
    assert_eq!(world.texts_in(carol, chat), ["after all"]);
}

/// Whoever has the link, or is a member who lets nobody in, can write what they like into the box.
#[test]
fn nobody_else_refuses_a_request() {
    let mut world = World::new(31);
    let people = world.company(2);
    let chat = world.group_of(&people);
    let link = world.link_into(people[0], chat, APPROVED);
    let (eve, mallory) = (world.person("eve"), world.person("mallory"));
    world.pass(5_000);
    world.join_by(eve, &link).unwrap();
    let group = world.engine(people[0]).active_group(chat).unwrap();
    let account = *world.of(eve).account.as_bytes();
    for who in [people[1], mallory] {
        let (by, device) = (*world.of(who).account.as_bytes(), *world.of(who).device.as_bytes());
        let mut refusal = JoinRefusal { account, by, device, at: 1, signature: [0; 64] };
        let statement = refusal.statement(&group, &JoinLink::id_of(&link.secret.public()));
        let key = &world.engine(who).account.identity.device_key;
        refusal.signature = key.sign(JOIN_REFUSAL_DOMAIN, &statement);
        world.put_into_box(mallory, &link, &[refusal.to_bytes()]);
    }
    world.pass(10_000);
    assert_eq!(world.asking(people[0], chat), [world.of(eve).account]);
}

#[test]
fn who_leaves_while_the_request_waits_withdraws_it() {
    let mut world = World::new(23);
    let people = world.company(2);
    let chat = world.group_of(&people);
    let link = world.link_into(people[0], chat, APPROVED);
    let eve = world.person("eve");
    world.pass(5_000);
    assert_eq!(world.join_by(eve, &link), Ok(Joining::Asked(chat)));
    world.leave(eve, chat).unwrap();
    assert_eq!(world.standing(eve, chat), Some(Standing::Declined));
    // Who approves it all the same does not bring her in.
    let account = world.of(eve).account;
    world.call(people[0], |reply| GroupCommand::Approve { chat, account, reply }).unwrap();
    world.pass(10_000);
    assert_ne!(world.standing(eve, chat), Some(Standing::Member));
}
