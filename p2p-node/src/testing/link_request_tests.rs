//! Requests to be let into a group by a link: whom they reach, and when.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_keys::AccountId;

use super::world::{Who, World};
use crate::api::types::{ChatId, Joining, NewJoinLink, Role};

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
