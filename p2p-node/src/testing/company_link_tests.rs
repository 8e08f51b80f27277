//! Links into groups.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_keys::{AccountKey, DeviceChain, DeviceKey, GroupLink, chain::Joining as JoiningDevice};
use starling_wire::{JOIN_REQUEST_DOMAIN, JoinLink, JoinRequest, LogVerb, inbox::GroupOffer, rendezvous::LogRequest};
use tokio::sync::oneshot;

use super::world::{Who, World};
use crate::{
    api::{
        error::{GroupRefusal, NodeError, NotAllowed},
        types::{ChatId, DurableEventKind, GroupRequest, JoinLinkInfo, JoinPreview, Joining, NewJoinLink, Standing},
    },
    conversation::{
        group::{GroupId, LogKeys},
        policy::limits::{JOIN_AGAIN_MS, MAX_JOIN_REQUESTS},
    },
    engine::GroupCommand,
    home::Pending,
};

type Answer<T> = oneshot::Receiver<Result<T, NodeError>>;

impl World {
    /// Somebody makes a link into a group.
    pub(super) fn link_into(&mut self, who: Who, chat: ChatId, wanted: NewJoinLink) -> GroupLink {
        let made = self.call(who, |reply| GroupCommand::NewLink { chat, wanted, reply }).unwrap();
        self.pass(10_000);
        made.link.unwrap().parse().unwrap()
    }

    pub(super) fn begin_to_join(&mut self, who: Who, link: &GroupLink) -> Answer<Joining> {
        let link = link.clone();
        self.begin(who, |reply| GroupCommand::Join(link, reply))
    }

    pub(super) fn join_by(&mut self, who: Who, link: &GroupLink) -> Result<Joining, NodeError> {
        let mut answer = self.begin_to_join(who, link);
        self.pass(10_000);
        answer.try_recv().expect("no answer")
    }

    fn look_at(&mut self, who: Who, link: &GroupLink) -> Result<JoinPreview, NodeError> {
        let link = link.clone();
        let mut answer = self.begin(who, |reply| GroupCommand::LookAtLink(link, reply));
        self.pass(10_000);
        answer.try_recv().expect("no answer")
    }

    pub(super) fn links_seen(&mut self, who: Who, chat: ChatId) -> Vec<JoinLinkInfo> {
        self.call(who, |reply| GroupCommand::Links(chat, reply)).unwrap()
    }

    pub(super) fn requests_seen(&mut self, who: Who, chat: ChatId) -> Vec<GroupRequest> {
        self.call(who, |reply| GroupCommand::Requests(chat, reply)).unwrap()
    }

    /// Why something that somebody wanted of a group could not be done.
    pub(super) fn refusals(&self, who: Who) -> Vec<String> {
        let events = self.durable_events(who).into_iter();
        events.filter(|event| event.kind == DurableEventKind::GroupRefused).map(|event| event.text).collect()
    }

    /// Somebody who has a link writes what they like into its box.
    pub(super) fn put_into_box(&mut self, who: Who, link: &GroupLink, entries: &[Vec<u8>]) {
        let (home, secret) = (self.home_id(), JoinLink::box_secret(&link.secret.public()));
        for part in entries.chunks(64) {
            self.modified(who, |engine, turn| {
                let keys = LogKeys::of_secret(&secret).unwrap();
                let entries = part.iter().map(|entry| keys.seal_entry(entry)).collect();
                let request = LogRequest { entries, ..LogRequest::default() };
                engine.homes.request_log(turn, home, &keys, LogVerb::Append, request, Pending::Nothing);
            });
            self.pass(1_000);
        }
    }

    fn group_id(&self, who: Who, chat: ChatId) -> GroupId {
        self.engine(who).active_group(chat).unwrap()
    }
}

fn ended<T>() -> Result<T, NodeError> {
    Err(NotAllowed::Group(GroupRefusal::LinkEnded).into())
}

/// After how many milliseconds somebody may ask again, as they were refused.
fn refused_for(answer: Result<Joining, NodeError>) -> u64 {
    match answer {
        Err(NodeError::NotAllowed(NotAllowed::JoinRefused { retry_after_ms })) => retry_after_ms,
        other => panic!("{other:?}"),
    }
}

/// The request of an account that there is nothing else of.
fn request_of(n: u8, (group, link): (GroupId, &GroupLink)) -> Vec<u8> {
    let (account, key) = (AccountKey::from_seed(&[n; 32]), DeviceKey::from_seed(&[n + 1; 32]));
    let joining = JoiningDevice::sign(&key, &account.id(), vec![1; 32]);
    let chain = DeviceChain::create(&account, 1, [0; 32], &joining).unwrap();
    let mut request = JoinRequest {
        account: *account.id().as_bytes(),
        device: *key.id().as_bytes(),
        chain: chain.as_bytes().to_vec().into(),
        name: format!("somebody {n}"),
        at: 1,
        signature: [0; 64],
    };
    let id = JoinLink::id_of(&link.secret.public());
    request.signature = key.sign(JOIN_REQUEST_DOMAIN, &request.statement(&group, &id));
    request.to_bytes()
}

#[test]
fn whoever_has_a_link_comes_in_with_nobody_else_online() {
    let mut world = World::new(1);
    let people = world.company(2);
    let chat = world.group_of(&people);
    let link = world.link_into(people[0], chat, NewJoinLink { uses: Some(5), ..NewJoinLink::default() });
    let dave = world.person("dave");
    world.pass(5_000);
    people.iter().for_each(|who| world.kill(*who));
    let preview = world.look_at(dave, &link).unwrap();
    assert_eq!((preview.chat, preview.name.as_str(), preview.members), (chat, "ops", 2));
    assert_eq!((preview.approve, preview.standing), (false, None));
    assert_eq!(preview.by, world.of(people[0]).account);
    assert_eq!(world.join_by(dave, &link), Ok(Joining::Enters(chat)));
    world.pass(30_000);
    assert_eq!(world.standing(dave, chat), Some(Standing::Member));
    world.say_in(dave, chat, "hello").unwrap();
    world.pass(5_000);
    people.iter().for_each(|who| world.start(*who));
    world.pass(60_000);
    for who in &people {
        assert_eq!(world.texts_in(*who, chat), ["hello"]);
        assert_eq!(world.epoch_in(*who, chat), world.epoch_in(dave, chat));
        assert_eq!(world.links_seen(*who, chat)[0].uses, Some(4));
    }
    // Nobody became a contact by it.
    assert!(world.contact(dave, people[0]).is_none() && world.contact(people[0], dave).is_none());
    world.say_in(people[1], chat, "welcome").unwrap();
    world.pass(10_000);
    assert_eq!(world.texts_in(dave, chat), ["hello", "welcome"]);
    assert_eq!(world.join_by(dave, &link), Ok(Joining::In(chat)));
}

/// Members that were connected with it before they had read its commit told it that it was out, and it believed them.
#[test]
fn who_was_removed_and_is_back_by_a_link_with_nobody_else_online_stays() {
    for seed in 1..=20 {
        let mut world = World::new(seed);
        let people = world.company(3);
        let chat = world.group_of(&people);
        world.wish_out(people[0], chat, people[2]).unwrap();
        world.pass(30_000);
        assert_eq!(world.standing(people[2], chat), Some(Standing::Removed), "seed {seed}");
        // With its log there is more to read before the group's.
        world.link_into(people[0], chat, NewJoinLink { approve: true, ..NewJoinLink::default() });
        let link = world.link_into(people[0], chat, NewJoinLink { uses: Some(1), ..NewJoinLink::default() });
        world.pass(5_000);
        people[..2].iter().for_each(|who| world.kill(*who));
        assert_eq!(world.join_by(people[2], &link), Ok(Joining::Enters(chat)), "seed {seed}");
        world.pass(30_000);
        people[..2].iter().for_each(|who| world.start(*who));
        world.pass(60_000);
        for who in &people {
            assert_eq!(world.standing(*who, chat), Some(Standing::Member), "seed {seed}");
            assert_eq!(world.epoch_in(*who, chat), world.epoch_in(people[0], chat), "seed {seed}");
        }
    }
}

#[test]
fn the_other_devices_of_who_has_come_by_a_link_come_too() {
    let mut world = World::new(2);
    let people = world.company(2);
    let chat = world.group_of(&people);
    let link = world.link_into(people[0], chat, NewJoinLink { uses: Some(1), ..NewJoinLink::default() });
    let dave = world.person("dave");
    let laptop = world.linked(dave);
    world.join_by(dave, &link).unwrap();
    world.pass(120_000);
    for who in [dave, laptop] {
        assert_eq!(world.standing(who, chat), Some(Standing::Member));
    }
    let later = world.linked(dave);
    world.pass(120_000);
    assert_eq!(world.standing(later, chat), Some(Standing::Member));
    world.say_in(later, chat, "all of me").unwrap();
    world.pass(30_000);
    assert_eq!(world.texts_in(people[1], chat), ["all of me"]);
}

#[test]
fn two_who_use_a_link_for_the_last_time_do_not_both_come_in() {
    for seed in 1..=5 {
        let mut world = World::new(seed);
        let people = world.company(2);
        let chat = world.group_of(&people);
        let link = world.link_into(people[0], chat, NewJoinLink { uses: Some(1), ..NewJoinLink::default() });
        let both = [world.person("dave"), world.person("eve")];
        world.pass(5_000);
        let _answers = both.map(|who| world.begin_to_join(who, &link));
        world.pass(120_000);
        let is_in = |who: &Who| world.standing(*who, chat) == Some(Standing::Member);
        let (inside, outside): (Vec<Who>, Vec<Who>) = both.into_iter().partition(is_in);
        assert_eq!((inside.len(), outside.len()), (1, 1), "seed {seed}");
        assert_eq!(world.refusals(outside[0]), ["link_ended"], "seed {seed}");
        assert_eq!(world.group_seen(people[1], chat).unwrap().members.len(), 3, "seed {seed}");
        assert!(world.links_seen(people[1], chat).is_empty());
        assert_eq!(world.look_at(outside[0], &link), ended());
    }
}

#[test]
fn where_somebody_has_to_approve_whoever_comes_asks_and_waits() {
    let mut world = World::new(3);
    let people = world.company(3);
    let chat = world.group_of(&people);
    let link = world.link_into(people[0], chat, NewJoinLink { approve: true, ..NewJoinLink::default() });
    let (dave, eve) = (world.person("dave"), world.person("eve"));
    world.pass(5_000);
    people.iter().for_each(|who| world.kill(*who));
    for who in [dave, eve] {
        assert_eq!(world.join_by(who, &link), Ok(Joining::Asked(chat)));
        assert_eq!(world.standing(who, chat), Some(Standing::Asked));
    }
    people.iter().for_each(|who| world.start(*who));
    world.pass(30_000);
    let (daves, eves) = (world.of(dave).account, world.of(eve).account);
    let asking: Vec<_> = world.requests_seen(people[0], chat).into_iter().map(|request| request.account).collect();
    assert_eq!(asking.len(), 2);
    assert!(asking.contains(&daves) && asking.contains(&eves));
    let told = world.durable_events(people[0]);
    assert_eq!(told.iter().filter(|event| event.kind == DurableEventKind::GroupRequest).count(), 2);
    let refused = world.call(people[1], |reply| GroupCommand::Requests(chat, reply));
    assert_eq!(refused, Err(NotAllowed::Group(GroupRefusal::Role).into()), "who may not invite does not see them");
    world.call(people[0], |reply| GroupCommand::Refuse { chat, account: eves, reply }).unwrap();
    world.call(people[0], |reply| GroupCommand::Approve { chat, account: daves, reply }).unwrap();
    world.pass(120_000);
    assert_eq!(world.standing(dave, chat), Some(Standing::Member));
    assert_eq!(world.standing(eve, chat), Some(Standing::Asked), "she may still be let in");
    assert_eq!(world.refusals(eve), ["request_refused"]);
    assert!(world.requests_seen(people[0], chat).is_empty());
    // Whoever was refused asks in vain for a day.
    assert!(refused_for(world.join_by(eve, &link)) > JOIN_AGAIN_MS / 2);
    world.pass(30_000);
    assert!(world.requests_seen(people[0], chat).is_empty());
    world.say_in(dave, chat, "thank you").unwrap();
    world.pass(10_000);
    assert_eq!(world.texts_in(people[2], chat), ["thank you"]);
}

#[test]
fn who_was_refused_asks_again_after_a_day_and_can_be_let_in_before() {
    let mut world = World::new(9);
    let people = world.company(2);
    let alice = people[0];
    let chat = world.group_of(&people);
    let link = world.link_into(alice, chat, NewJoinLink { approve: true, ..NewJoinLink::default() });
    let (dave, eve) = (world.person("dave"), world.person("eve"));
    world.pass(5_000);
    for who in [dave, eve] {
        world.join_by(who, &link).unwrap();
        world.pass(30_000);
        let account = world.of(who).account;
        world.call(alice, |reply| GroupCommand::Refuse { chat, account, reply }).unwrap();
        world.pass(30_000);
        assert_eq!(world.refusals(who), ["request_refused"]);
        assert!(refused_for(world.join_by(who, &link)) > 0);
    }
    let (daves, eves) = (world.of(dave).account, world.of(eve).account);
    world.call(alice, |reply| GroupCommand::Approve { chat, account: daves, reply }).unwrap();
    world.pass(120_000);
    assert_eq!(world.standing(dave, chat), Some(Standing::Member));
    // Nobody runs meanwhile.
    let all = [alice, people[1], dave, eve];
    all.iter().for_each(|who| world.kill(*who));
    world.pass(JOIN_AGAIN_MS);
    all.iter().for_each(|who| world.start(*who));
    world.pass(30_000);
    assert_eq!(world.join_by(eve, &link), Ok(Joining::Asked(chat)));
    world.pass(30_000);
    let asking = world.requests_seen(alice, chat);
    assert_eq!(asking.iter().map(|request| request.account).collect::<Vec<_>>(), [eves]);
    world.call(alice, |reply| GroupCommand::Refuse { chat, account: eves, reply }).unwrap();
    world.pass(30_000);
    assert_eq!(world.refusals(eve).len(), 2);
    assert!(refused_for(world.join_by(eve, &link)) > JOIN_AGAIN_MS / 2);
}

#[test]
fn nobody_else_has_a_request_refused() {
    let mut world = World::new(10);
    let people = world.company(2);
    let chat = world.group_of(&people);
    let link = world.link_into(people[0], chat, NewJoinLink { approve: true, ..NewJoinLink::default() });
    let eve = world.person("eve");
    world.pass(5_000);
    // Whoever has not asked is told nothing, whatever somebody sends.
    let refusal = GroupOffer {
        conversation: chat.0.to_vec().into(),
        group: world.group_id(people[0], chat).to_vec().into(),
        answer: 3,
        ..GroupOffer::default()
    };
    let from = world.of(people[1]).account;
    let refuse = |world: &mut World| {
        world.modified(eve, |engine, turn| {
            let (conversations, mut cx) = engine.conversing();
            let _ = conversations.on_offer(turn, &mut cx, from, &refusal).unwrap();
        });
    };
    refuse(&mut world);
    assert!(world.refusals(eve).is_empty() && world.standing(eve, chat).is_none());
    // Whoever has the link may say so falsely: once, and it keeps nobody from being let in.
    world.join_by(eve, &link).unwrap();
    refuse(&mut world);
    refuse(&mut world);
    assert_eq!(world.refusals(eve), ["request_refused"]);
    world.pass(30_000);
    let account = world.of(eve).account;
    world.call(people[0], |reply| GroupCommand::Approve { chat, account, reply }).unwrap();
    world.pass(120_000);
    assert_eq!(world.standing(eve, chat), Some(Standing::Member));
}

#[test]
fn who_is_banned_comes_in_by_no_link_and_no_other_device() {
    let mut world = World::new(4);
    let people = world.company(3);
    let chat = world.group_of(&people);
    let mallory = people[2];
    let account = world.of(mallory).account;
    world.call(people[0], |reply| GroupCommand::Ban { chat, account, reply }).unwrap();
    world.pass(30_000);
    let link = world.link_into(people[0], chat, NewJoinLink::default());
    let other = world.linked(mallory);
    for who in [mallory, other] {
        let _ = world.join_by(who, &link);
        world.pass(60_000);
        assert_ne!(world.standing(who, chat), Some(Standing::Member));
    }
    let by_request = world.link_into(people[0], chat, NewJoinLink { approve: true, ..NewJoinLink::default() });
    let _ = world.join_by(mallory, &by_request);
    world.pass(30_000);
    assert!(world.requests_seen(people[0], chat).is_empty());
    assert_eq!(world.group_seen(people[1], chat).unwrap().members.len(), 2);
}

#[test]
fn a_link_ends_when_it_is_revoked_when_its_time_is_over_and_with_whoever_could_know_it() {
    let mut world = World::new(5);
    let people = world.company(3);
    let chat = world.group_of(&people);
    let dave = world.person("dave");
    let revoked = world.link_into(people[0], chat, NewJoinLink::default());
    let link = JoinLink::id_of(&revoked.secret.public());
    world.call(people[0], |reply| GroupCommand::EndLink { chat, link, reply }).unwrap();
    world.pass(10_000);
    assert_eq!(world.look_at(dave, &revoked), ended());
    let short = world.link_into(people[0], chat, NewJoinLink { lifetime_ms: Some(60_000), ..NewJoinLink::default() });
    assert!(world.look_at(dave, &short).is_ok());
    world.pass(120_000);
    assert_eq!(world.join_by(dave, &short), ended());
    assert!(world.links_seen(people[1], chat).is_empty(), "a member's clock has ended it");
    let known = world.link_into(people[0], chat, NewJoinLink::default());
    let asked = world.link_into(people[0], chat, NewJoinLink { approve: true, ..NewJoinLink::default() });
    world.wish_out(people[0], chat, people[2]).unwrap();
    world.pass(30_000);
    assert_eq!(world.join_by(dave, &known), ended());
    assert!(world.look_at(dave, &asked).is_ok(), "nobody comes in by it whom nobody lets in");
    let kinds: Vec<String> = world
        .durable_events(people[1])
        .into_iter()
        .filter(|event| event.kind == DurableEventKind::GroupLink)
        .map(|event| event.text.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(kinds.iter().filter(|what| *what == "made").count(), 4);
    assert_eq!(kinds.iter().filter(|what| *what == "ended").count(), 3);
}

#[test]
fn members_who_may_not_invite_make_no_links_and_a_link_that_leads_nowhere_says_so() {
    let mut world = World::new(6);
    let people = world.company(2);
    let chat = world.group_of(&people);
    let wanted = NewJoinLink::default();
    let made = world.call(people[1], |reply| GroupCommand::NewLink { chat, wanted, reply });
    assert_eq!(made, Err(NotAllowed::Group(GroupRefusal::Role).into()));
    let wanted = NewJoinLink { uses: Some(0), ..NewJoinLink::default() };
    assert!(world.call(people[0], |reply| GroupCommand::NewLink { chat, wanted, reply }).is_err());
    let link = world.link_into(people[0], chat, NewJoinLink::default());
    let other = GroupLink { secret: starling_keys::JoinSecret::generate(), ..link };
    assert!(world.look_at(people[1], &other).is_err());
}

#[test]
fn garbage_in_the_box_of_a_link_keeps_nobody_from_asking() {
    let mut world = World::new(7);
    let people = world.company(2);
    let chat = world.group_of(&people);
    let link = world.link_into(people[0], chat, NewJoinLink { approve: true, ..NewJoinLink::default() });
    let (mallory, eve) = (world.person("mallory"), world.person("eve"));
    world.pass(5_000);
    let garbage: Vec<Vec<u8>> = (0..300).map(|n: u32| n.to_be_bytes().repeat(20)).collect();
    world.put_into_box(mallory, &link, &garbage);
    // Somebody else's request for another group is worth nothing here.
    world.put_into_box(mallory, &link, &[request_of(1, ([9; 16], &link))]);
    world.join_by(eve, &link).unwrap();
    world.pass(30_000);
    let asking = world.requests_seen(people[0], chat);
    assert_eq!(asking.iter().map(|request| request.account).collect::<Vec<_>>(), [world.of(eve).account]);
}

#[test]
fn of_a_flood_of_requests_the_oldest_are_kept_and_each_account_asks_once() {
    let mut world = World::new(8);
    let people = world.company(2);
    let chat = world.group_of(&people);
    let link = world.link_into(people[0], chat, NewJoinLink { approve: true, ..NewJoinLink::default() });
    let (eve, mallory) = (world.person("eve"), world.person("mallory"));
    world.pass(5_000);
    world.join_by(eve, &link).unwrap();
    world.pass(10_000);
    let group = world.group_id(people[0], chat);
    let flood: Vec<Vec<u8>> = (0..200).map(|n| request_of(n, (group, &link))).collect();
    world.put_into_box(mallory, &link, &flood);
    world.put_into_box(mallory, &link, &flood[..10]);
    world.pass(30_000);
    let asking = world.requests_seen(people[0], chat);
    assert_eq!(asking.len(), MAX_JOIN_REQUESTS);
    assert_eq!(asking[0].account, world.of(eve).account);
    // Where there is room again, the next is read.
    let account = asking[1].account;
    world.call(people[0], |reply| GroupCommand::Refuse { chat, account, reply }).unwrap();
    world.pass(10_000);
    let asking = world.requests_seen(people[0], chat);
    assert!(asking.len() == MAX_JOIN_REQUESTS && asking.iter().all(|request| request.account != account));
}
