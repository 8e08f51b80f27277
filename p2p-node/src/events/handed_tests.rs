//! What a member hands on of a group's history, and what its authors send themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_wire::{Body, Clock, Edit, Event, EventId, Reaction, Text};

use super::{
    events_tests::{Device, START, Written, account, device},
    handed::{is_handed, take},
};
use crate::{
    api::types::{ChatId, Via},
    store::{EventRow, ReactionRow},
    turn::HandedPlace,
};

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;

/// The number of the first device of a person among the authors.
fn number(person: usize) -> u32 {
    person as u32 * 2 + 1
}

fn id(person: usize, second: u64) -> EventId {
    EventId { clock: Clock::at(START + second * 1_000), device: device(person, 0).tag(), sequence: second }
}

fn text(text: &str) -> Body {
    Body::Text(Text { text: text.into(), ..Text::default() })
}

fn written(person: usize, second: u64, body: Body) -> Written {
    Written { person, device: 0, id: id(person, second), body }
}

fn row(author: usize, words: &str) -> EventRow {
    EventRow { body: Event::encode_body(&text(words)), author: number(author), ..EventRow::default() }
}

/// Bob hands a row on, by an event of second 100. Gives whether it is new.
fn hand_on(to: &mut Device, (author, second): (usize, u64), row: EventRow) -> bool {
    let by = HandedPlace { chat: ChatId([7; 16]), account: account(BOB), author: number(BOB), event: id(BOB, 100) };
    to.with(START + 200_000, |fold| take(fold, &by, (id(author, second), &account(author)), row)).unwrap()
}

fn words_of(row: &EventRow) -> String {
    let Ok(Body::Text(text)) = Event::decode_body(&row.body) else { panic!("no message") };
    row.edited.clone().unwrap_or(text.text)
}

#[test]
fn what_is_handed_on_takes_the_place_of_nothing_and_is_not_new() {
    let mut carol = Device::new(CAROL, 0, 3);
    carol.fold(&written(ALICE, 10, text("said")));
    let before = (carol.rows.clone(), carol.counters.clone());
    assert!(!hand_on(&mut carol, (ALICE, 10), row(ALICE, "made up")));
    // What was still to be written, what is gone, and what can be changed by nobody any more.
    assert!(!hand_on(&mut carol, (ALICE, 100), row(ALICE, "at that time")));
    assert!(!hand_on(&mut carol, (ALICE, 900), row(ALICE, "in the future")));
    assert!(!hand_on(&mut carol, (ALICE, 5), EventRow { deleted: true, ..row(ALICE, "") }));
    let pinned = EventRow { edited: Some("for ever".into()), edit_clock: u64::MAX, ..row(ALICE, "") };
    assert!(!hand_on(&mut carol, (ALICE, 6), pinned));
    assert!(!hand_on(&mut carol, (ALICE, 7), EventRow::default()), "no message");
    assert!((&carol.rows, &carol.counters) == (&before.0, &before.1));
    assert!(hand_on(&mut carol, (ALICE, 8), row(ALICE, "earlier")));
    let taken = &carol.rows[&id(ALICE, 8)];
    assert!(is_handed(taken));
    assert_eq!((words_of(taken).as_str(), taken.handed_by), ("earlier", number(BOB)));
    assert_eq!((carol.counters.unread, carol.counters.newest), (before.1.unread, before.1.newest));
}

#[test]
fn reactions_of_strangers_and_of_this_account_are_not_taken() {
    // In a conversation of alice and carol.
    let mut carol = Device::new(CAROL, 0, 1);
    let reaction = |person: usize, clock: u64| ReactionRow {
        account: account(person).as_bytes().to_vec(),
        emoji: "👍".into(),
        clock,
        device: device(person, 0).tag().to_vec(),
    };
    let early = Clock::at(START + 9_000).0;
    let reactions = vec![reaction(ALICE, early), reaction(BOB, early), reaction(CAROL, early)];
    assert!(hand_on(&mut carol, (ALICE, 8), EventRow { reactions, ..row(ALICE, "earlier") }));
    let kept: Vec<_> = carol.rows[&id(ALICE, 8)].reactions.iter().map(|r| r.account.clone()).collect();
    assert_eq!(kept, [account(ALICE).as_bytes().to_vec()]);
    // One that nothing could change any more is no reaction.
    let reactions = vec![reaction(ALICE, u64::MAX)];
    assert!(hand_on(&mut carol, (ALICE, 7), EventRow { reactions, ..row(ALICE, "earlier still") }));
    assert!(carol.rows[&id(ALICE, 7)].reactions.is_empty());
}

#[test]
fn what_the_author_sends_takes_the_place_with_all_that_was_said_of_it_since() {
    let target = id(ALICE, 10);
    let story = [
        written(BOB, 110, Body::Reaction(Reaction { target, emoji: "👍".into() })),
        written(ALICE, 111, Body::Edit(Edit { target, text: "said better".into() })),
    ];
    let mut told = Device::new(CAROL, 0, 3);
    story.iter().for_each(|event| told.fold(event));
    told.fold(&written(ALICE, 10, text("said")));
    // The same, with another text handed on before, and between.
    for handed_after in 0..=story.len() {
        let mut carol = Device::new(CAROL, 0, 3);
        story[..handed_after].iter().for_each(|event| carol.fold(event));
        assert!(hand_on(&mut carol, (ALICE, 10), row(ALICE, "made up")));
        story[handed_after..].iter().for_each(|event| carol.fold(event));
        let shown = &carol.rows[&target];
        assert!(is_handed(shown));
        assert_eq!((words_of(shown).as_str(), shown.reactions.len()), ("said better", 1), "{handed_after}");
        carol.fold(&written(ALICE, 10, text("said")));
        assert_eq!(carol.rows, told.rows, "{handed_after}");
        assert_eq!((carol.counters.unread, carol.rows[&target].via), (1, Via::Direct.stored()), "{handed_after}");
    }
}

#[test]
fn what_somebody_else_is_said_to_have_written_the_author_says_again() {
    let mut carol = Device::new(CAROL, 0, 3);
    let by = HandedPlace { chat: ChatId([7; 16]), account: account(BOB), author: number(BOB), event: id(BOB, 100) };
    let made_up = row(BOB, "made up");
    let taken = carol.with(START + 200_000, |fold| take(fold, &by, (id(ALICE, 10), &account(BOB)), made_up));
    assert!(taken.unwrap());
    carol.fold(&written(ALICE, 10, text("said")));
    let said = &carol.rows[&id(ALICE, 10)];
    assert_eq!((words_of(said).as_str(), said.author, said.handed_by), ("said", number(ALICE), 0));
}
