//! Timelines that fixed and random sequences of events are folded into.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::LazyLock,
};

use insta::assert_snapshot;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use starling_keys::{AccountId, AccountKey, DeviceId, DeviceKey};
use starling_wire::{
    Body, Call, CallEnd, CallId, CallSignal, Clock, Delete, Delivered, Devices, Edit, EventId, GroupKind, Policy,
    PolicyMember, Profile, Reaction, Receipt, Role, Text,
};

use super::{
    At, Draft, Fold, Origin, Stored, Summary, call, fold,
    limits::{DELETE_WINDOW_MS, MAX_EARLY_TARGETS},
    summary,
};
use crate::{
    api::types::{ChatId, Via},
    roster::{Authors, Roster},
    store::{AuthorRow, ChatRow, EarlyRow, EventRow, StoreError},
    turn::EventFact,
};

/// Three people with two devices each.
const PEOPLE: [&str; 3] = ["alice", "bob", "carol"];
/// When the stories begin, in milliseconds since 1970.
pub(super) const START: u64 = 1_800_000_000_000;

static ACCOUNTS: LazyLock<Vec<AccountId>> =
    LazyLock::new(|| (1..=PEOPLE.len() as u8).map(|n| AccountKey::from_seed(&[n; 32]).id()).collect());
static DEVICES: LazyLock<Vec<DeviceId>> =
    LazyLock::new(|| (0..2 * PEOPLE.len() as u8).map(|n| DeviceKey::from_seed(&[n + 100; 32]).id()).collect());

pub(super) fn account(person: usize) -> AccountId {
    ACCOUNTS[person]
}

pub(super) fn device(person: usize, device: usize) -> DeviceId {
    DEVICES[person * 2 + device]
}

/// One event of a story: who writes it, on which device, and its body.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub person: usize,
    pub device: usize,
    pub id: EventId,
    pub body: Body,
}

/// What one device keeps of the conversation.
pub(super) struct Device {
    person: usize,
    device: usize,
    pub rows: BTreeMap<EventId, EventRow>,
    early: BTreeMap<EventId, EarlyRow>,
    pub counters: ChatRow,
    roster: Roster,
    authors: Authors,
    policy: Option<Policy>,
    facts: Vec<EventFact>,
}

impl Stored for (&BTreeMap<EventId, EventRow>, &BTreeMap<EventId, EarlyRow>) {
    fn row(&self, id: EventId) -> Result<Option<EventRow>, StoreError> {
        Ok(self.0.get(&id).cloned())
    }

    fn early(&self, id: EventId) -> Result<Option<EarlyRow>, StoreError> {
        Ok(self.1.get(&id).cloned())
    }

    fn oldest_early(&self) -> Result<Option<EventId>, StoreError> {
        Ok(self.1.keys().next().copied())
    }

    fn between(&self, after: Clock, upto: Clock, limit: usize) -> Result<Vec<(EventId, EventRow)>, StoreError> {
        let within = self.0.iter().rev().filter(|(id, _)| id.clock > after && id.clock <= upto);
        Ok(within.take(limit).map(|(id, row)| (*id, row.clone())).collect())
    }
}

impl Device {
    /// A device of one of the first `members` people, of whose conversation nothing has happened.
    pub fn new(person: usize, device_at: usize, members: usize) -> Self {
        let mut authors = Authors::default();
        for of in 0..PEOPLE.len() {
            for at in 0..2 {
                let device = device(of, at);
                let row = AuthorRow {
                    account: account(of).as_bytes().to_vec(),
                    device: device.as_bytes().to_vec(),
                    tag: device.tag().to_vec(),
                    own: of == person,
                    ..AuthorRow::default()
                };
                authors.insert((of * 2 + at) as u32 + 1, &row);
            }
        }
        let others: Vec<AccountId> = (0..members).filter(|of| *of != person).map(account).collect();
        Self {
            person,
            device: device_at,
            rows: BTreeMap::new(),
            early: BTreeMap::new(),
            counters: ChatRow::default(),
            roster: Roster::of(account(person), &others),
            authors,
            policy: None,
            facts: Vec::new(),
        }
    }

    pub fn with<T>(&mut self, now_ms: u64, work: impl FnOnce(&mut Fold<'_>) -> T) -> T {
        let mut draft = Draft::default();
        let mut fold = Fold {
            chat: ChatId([7; 16]),
            stored: &(&self.rows, &self.early),
            draft: &mut draft,
            counters: &mut self.counters,
            roster: &mut self.roster,
            authors: &self.authors,
            policy: self.policy.as_ref(),
            this: device(self.person, self.device).tag(),
            provisional: &BTreeSet::new(),
            now_ms,
            facts: Vec::new(),
            changed: false,
        };
        let result = work(&mut fold);
        self.facts.append(&mut fold.facts);
        let (rows, early) = draft.into_rows();
        self.rows.extend(rows);
        for (id, row) in early {
            match row {
                Some(row) => drop(self.early.insert(id, row)),
                None => drop(self.early.remove(&id)),
            }
        }
        result
    }

    pub fn fold(&mut self, event: &Written) {
        let here = (event.person, event.device) == (self.person, self.device);
        let origin = Origin {
            account: account(event.person),
            device: device(event.person, event.device),
            author: (event.person * 2 + event.device) as u32 + 1,
            own: event.person == self.person,
            via: if here { Via::Own } else { Via::Direct },
        };
        let at = At { id: event.id, body: &event.body, origin: &origin };
        self.with(event.id.clock.ms(), |into| fold(into, &at)).unwrap();
    }

    /// The timeline without what differs between devices: how the events came.
    fn timeline(&self) -> String {
        let mut out = String::new();
        for (id, row) in &self.rows {
            let author =
                PEOPLE.into_iter().enumerate().find(|(p, _)| self.authors.account(row.author) == Some(account(*p)));
            write!(out, "{} {}", (id.clock.ms() - START) / 1000, author.unwrap().1).unwrap();
            match summary(row).unwrap() {
                Summary::Message(_) if row.deleted => write!(out, " (deleted)").unwrap(),
                Summary::Message(text) => {
                    write!(out, ": {}", row.edited.as_ref().unwrap_or(&text.text)).unwrap();
                    if row.edited.is_some() {
                        write!(out, " (edited)").unwrap();
                    }
                    if text.reply_to.is_some() {
                        write!(out, " (an answer)").unwrap();
                    }
                }
                Summary::Device(change) => write!(out, " has a device that {change:?}").unwrap(),
                Summary::Call(note) => write!(out, " called: {:?}, {} ms", note.why, note.duration_ms).unwrap(),
            }
            for reaction in row.reactions.iter().filter(|r| !r.emoji.is_empty()) {
                let by = (0..PEOPLE.len()).find(|p| account(*p).as_bytes() == &reaction.account[..]).unwrap();
                write!(out, " {}{}", reaction.emoji, PEOPLE[by]).unwrap();
            }
            writeln!(out).unwrap();
        }
        out
    }

    /// The same with what this device alone counts.
    fn shown(&self) -> String {
        let progress = self.roster.progress();
        let ms = |clock: u64| Clock(clock).ms().saturating_sub(START) / 1000;
        let (unread, read, read_by_all) = (self.counters.unread, ms(self.counters.read), ms(progress.read));
        format!("{}-- {unread} unread, read to {read}, by all others to {read_by_all}", self.timeline())
    }
}

/// Writes events, a second apart.
#[derive(Default)]
struct Story {
    events: Vec<Written>,
    /// Of each device: its last sequence number and clock.
    last: BTreeMap<(usize, usize), (u64, Clock)>,
    second: u64,
}

impl Story {
    fn say(&mut self, person: usize, at: usize, body: Body) -> EventId {
        self.second += 1;
        let (number, last) = self.last.entry((person, at)).or_default();
        *number += u64::from(body.is_numbered());
        *last = Clock::at(START + self.second * 1000).max(Clock(last.0 + 1));
        let sequence = if body.is_numbered() { *number } else { 0 };
        let id = EventId { clock: *last, device: device(person, at).tag(), sequence };
        self.events.push(Written { person, device: at, id, body });
        id
    }

    fn text(&mut self, person: usize, at: usize, text: &str) -> EventId {
        self.say(person, at, Body::Text(Text { text: text.into(), ..Text::default() }))
    }

    fn read_by(&mut self, person: usize, at: usize, message: EventId) {
        self.say(
            person,
            at,
            Body::Receipt(Receipt { delivered: Vec::new(), read: message.clock, ..Receipt::default() }),
        );
    }
}

/// A conversation with something of everything.
fn story() -> Story {
    let mut story = Story::default();
    let hello = story.text(0, 0, "hello");
    let answer = Text {
        text: "hello yourself".into(),
        reply_to: Some(hello),
        mentions: vec![*account(0).as_bytes()],
        ..Text::default()
    };
    let answer = story.say(1, 0, Body::Text(answer));
    story.say(0, 0, Body::Reaction(Reaction { target: answer, emoji: "👍".into() }));
    story.say(0, 1, Body::Reaction(Reaction { target: answer, emoji: "❤".into() }));
    let typo = story.text(1, 1, "from my labtop");
    story.say(1, 0, Body::Edit(Edit { target: typo, text: "from my laptop".into() }));
    story.say(0, 0, Body::Edit(Edit { target: typo, text: "forged".into() }));
    story.say(0, 0, Body::Delete(Delete { target: answer }));
    let secret = story.text(0, 1, "said too much");
    story.say(1, 0, Body::Reaction(Reaction { target: secret, emoji: "😮".into() }));
    story.say(0, 0, Body::Delete(Delete { target: secret }));
    story.say(1, 0, Body::Edit(Edit { target: secret, text: "kept".into() }));
    story.read_by(1, 0, typo);
    story.read_by(0, 1, answer);
    story.text(1, 0, "not read");
    story
}

fn told(story: &Story, mut device: Device) -> Device {
    story.events.iter().for_each(|event| device.fold(event));
    device
}

#[test]
fn what_was_written_here_is_folded_like_what_was_received() {
    let story = story();
    let (alice, laptop) = (told(&story, Device::new(0, 0, 2)), told(&story, Device::new(0, 1, 2)));
    assert_snapshot!(alice.shown(), @r"
    1 alice: hello
    2 bob: hello yourself (an answer) ❤alice
    5 bob: from my laptop (edited)
    9 alice (deleted)
    15 bob: not read
    -- 2 unread, read to 2, by all others to 5
    ");
    assert_eq!(laptop.shown(), alice.shown());
    let bob = told(&story, Device::new(1, 0, 2));
    assert_snapshot!(bob.shown(), @r"
    1 alice: hello
    2 bob: hello yourself (an answer) ❤alice
    5 bob: from my laptop (edited)
    9 alice (deleted)
    15 bob: not read
    -- 1 unread, read to 5, by all others to 2
    ");
    assert_eq!(bob.timeline(), alice.timeline());
}

/// A random conversation of `members` people, with events that nobody may write.
fn random_story(rng: &mut StdRng, members: usize) -> Story {
    let mut story = Story::default();
    let mut messages = Vec::new();
    for n in 0..30 {
        let (person, at) = (rng.random_range(0..members), rng.random_range(0..2));
        let target = if messages.is_empty() { None } else { Some(messages[rng.random_range(0..messages.len())]) };
        let body = match (rng.random_range(0..6), target) {
            (0 | 1, _) | (_, None) => Body::Text(Text { text: format!("message {n}"), ..Text::default() }),
            (2, Some(target)) => Body::Edit(Edit { target, text: format!("edit {n}") }),
            (3, Some(target)) => Body::Delete(Delete { target }),
            (4, Some(target)) => {
                let emoji = ["👍", "❤", ""][rng.random_range(0..3)].into();
                Body::Reaction(Reaction { target, emoji })
            }
            (_, Some(target)) => {
                Body::Receipt(Receipt { delivered: Vec::new(), read: target.clock, ..Receipt::default() })
            }
        };
        let is_message = matches!(body, Body::Text(_));
        let id = story.say(person, at, body);
        messages.extend(Some(id).filter(|_| is_message));
        if rng.random_range(0..4) == 0 {
            // Some clocks are equal: the device decides.
            story.second = story.second.saturating_sub(1);
        }
    }
    story
}

#[test]
fn the_order_of_arrival_does_not_change_what_any_device_shows() {
    for seed in 0..200 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let members = 2 + (seed % 2) as usize;
        let mut story = random_story(rng, members);
        let devices = || (0..members).flat_map(|p| [Device::new(p, 0, members), Device::new(p, 1, members)]);
        let in_order: Vec<String> = devices().map(|d| told(&story, d).shown()).collect();
        let timeline = told(&story, Device::new(0, 0, members)).timeline();
        for (device, expected) in devices().zip(in_order) {
            story.events.shuffle(rng);
            let device = told(&story, device);
            assert_eq!(device.timeline(), timeline, "seed {seed}");
            assert_eq!(device.shown(), expected, "seed {seed}");
            assert!(device.early.is_empty(), "seed {seed}: every message is here");
            assert_eq!(device.counters.early, 0, "seed {seed}");
        }
    }
}

#[test]
fn three_members_see_one_timeline_and_a_message_is_read_when_all_have_read_it() {
    let mut story = Story::default();
    let first = story.text(0, 0, "to both of you");
    story.read_by(1, 0, first);
    let alice = told(&story, Device::new(0, 0, 3));
    assert_eq!(alice.roster.progress().read, 0, "carol has not read it");
    story.say(2, 1, Body::Edit(Edit { target: first, text: "carol's words".into() }));
    story.say(2, 1, Body::Reaction(Reaction { target: first, emoji: "🎉".into() }));
    story.read_by(2, 1, first);
    story.text(2, 0, "from carol");
    story.text(1, 1, "from bob");
    let alice = told(&story, Device::new(0, 0, 3));
    assert_snapshot!(alice.shown(), @r"
    1 alice: to both of you 🎉carol
    6 carol: from carol
    7 bob: from bob
    -- 2 unread, read to 0, by all others to 1
    ");
    let (bob, carol) = (told(&story, Device::new(1, 0, 3)), told(&story, Device::new(2, 1, 3)));
    assert_eq!([bob.timeline(), carol.timeline()], [alice.timeline(), alice.timeline()]);
    assert_eq!((bob.counters.unread, carol.counters.unread), (1, 1), "each has read the first, and written one");
}

#[test]
fn a_message_is_deleted_for_everyone_within_two_days_only_by_the_clocks_of_the_events() {
    let mut story = Story::default();
    let old = story.text(0, 0, "two days old");
    story.second += DELETE_WINDOW_MS / 1000;
    story.say(0, 0, Body::Delete(Delete { target: old }));
    let alice = told(&story, Device::new(0, 0, 2));
    assert!(!alice.rows[&old].deleted);
    story.events.reverse();
    let bob = told(&story, Device::new(1, 0, 2));
    assert!(!bob.rows[&old].deleted);
    assert!(bob.early.is_empty());
}

#[test]
fn who_moderates_a_group_deletes_what_lower_roles_have_written_at_any_time() {
    let mut story = Story::default();
    let (of_owner, of_member) = (story.text(0, 0, "by the owner"), story.text(2, 0, "by a member"));
    story.second += 2 * DELETE_WINDOW_MS / 1000;
    let by_member = story.text(2, 0, "another");
    story.say(2, 0, Body::Delete(Delete { target: of_owner }));
    story.say(1, 0, Body::Delete(Delete { target: of_owner }));
    story.say(1, 0, Body::Delete(Delete { target: of_member }));
    let owner = *account(0).as_bytes();
    let mut policy = Policy::new([7; 16], "ops".into(), owner);
    for (person, role) in [(1, Role::Moderator), (2, Role::Member)] {
        policy.add(PolicyMember { account: *account(person).as_bytes(), role, by: owner, since: 0 });
    }
    // A group of an older version knows none of it.
    for (policy, deletes) in [(policy.clone(), false), (policy.with_rules(GroupKind::Group), true)] {
        for person in 0..3 {
            let mut device = Device::new(person, 0, 3);
            device.policy = Some(policy.clone());
            let seen = told(&story, device);
            let deleted = [of_owner, of_member, by_member].map(|id| seen.rows[&id].deleted);
            assert_eq!(deleted, [false, deletes, false]);
        }
    }
}

#[test]
fn others_make_us_keep_a_bounded_number_of_changes_to_messages_that_never_come() {
    let mut story = Story::default();
    for n in 0..u64::from(MAX_EARLY_TARGETS) + 10 {
        let target = EventId { clock: Clock(n + 1), device: [0; 8], sequence: 1 };
        story.say(1, 0, Body::Reaction(Reaction { target, emoji: "👍".into() }));
    }
    let alice = told(&story, Device::new(0, 0, 2));
    assert_eq!(alice.early.len(), MAX_EARLY_TARGETS as usize);
    assert_eq!(alice.counters.early, MAX_EARLY_TARGETS);
}

#[test]
fn nobody_has_read_what_was_written_after_the_receipt() {
    let mut story = Story::default();
    story.say(1, 0, Body::Receipt(Receipt { delivered: Vec::new(), read: Clock(u64::MAX), ..Receipt::default() }));
    story.text(0, 0, "later");
    let alice = told(&story, Device::new(0, 0, 2));
    assert!(Clock(alice.roster.progress().read) < story.events[1].id.clock);
}

#[test]
fn what_others_say_of_themselves_becomes_facts_and_what_we_say_does_not() {
    let mut story = Story::default();
    let this = device(0, 0).tag();
    for (person, name) in PEOPLE.into_iter().enumerate().take(2) {
        story.say(
            person,
            0,
            Body::Profile(Profile { name: name.into(), bot: false, named: None, username: String::new() }),
        );
        story.say(person, 0, Body::Devices(Devices { list: vec![1], labels: Vec::new() }));
        let signal = CallSignal::End { why: CallEnd::Busy, text: String::new() };
        story.say(person, 0, Body::Call(Call { id: CallId([7; 16]), signal }));
        story.say(
            person,
            0,
            Body::Receipt(Receipt {
                delivered: vec![Delivered { device: this, upto: 3, clock: Clock(0) }],
                read: Clock(0),
                ..Receipt::default()
            }),
        );
    }
    let alice = told(&story, Device::new(0, 0, 2));
    let facts: Vec<String> =
        alice.facts.iter().map(|f| format!("{f:?}").chars().take_while(|c| *c != ' ').collect()).collect();
    assert_eq!(facts, ["Profile", "DeviceList", "CallSignal(Sender", "Receipt"]);
    assert!(alice.rows.is_empty(), "a signal is no line of the timeline");
}

#[test]
fn a_missed_call_is_unread_until_it_is_read_and_nobody_can_edit_it() {
    let mut alice = Device::new(0, 0, 2);
    let mut story = Story::default();
    let ring = CallSignal::Ring { video: false, offer: String::new(), commitment: None };
    let note = story.say(1, 0, Body::Call(Call { id: CallId([7; 16]), signal: ring }));
    let missed = CallSignal::Note { why: CallEnd::NoAnswer, video: false, duration_ms: 0 };
    alice.with(START, |fold| {
        call::put(fold, note, 3, Call { id: CallId([7; 16]), signal: missed });
        call::complete(fold, note, true);
    });
    story.say(1, 0, Body::Edit(Edit { target: note, text: "no".into() }));
    story.say(1, 0, Body::Delete(Delete { target: note }));
    let alice = told(&story, alice);
    assert_snapshot!(alice.shown(), @r"
    1 bob called: NoAnswer, 0 ms
    -- 1 unread, read to 0, by all others to 0
    ");
    story.text(1, 0, "call me back");
    story.read_by(0, 1, note);
    story.events.drain(..3);
    let alice = told(&story, alice);
    assert_eq!(alice.counters.unread, 1, "the call was read, the message was not");
}
