//! Which messages are laid out, and where, as the user goes through them.

use starling_node::EventId;

use super::*;

/// Ids of a burst: a clock that counts within one millisecond, as it does in the node.
fn id(n: u64) -> MessageId {
    MessageId(EventId { clock: Clock(n), device: [1; 8], sequence: n })
}

fn message(n: u64) -> Message {
    let mut message = Message { id: id(n), at_ms: n.saturating_mul(1000), ..Message::default() };
    message.wire.text = format!("message {n}");
    message.wire.from.name = Some("bob".into());
    message
}

fn drawn(timeline: &mut Timeline, height: u16) -> String {
    let area = Rect::new(0, 0, 40, height);
    let mut buffer = Buffer::empty(area);
    timeline.draw(area, &mut buffer, &Theme::named("mono").unwrap(), true);
    (0..height)
        .map(|y| (0..40).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned() + "\n")
        .collect()
}

#[test]
fn only_what_is_visible_is_laid_out_and_the_view_stays_where_it_is() {
    let theme = Theme::named("mono").unwrap();
    let mut timeline = Timeline::default();
    timeline.load((1000..1100).map(message).collect(), 100, None);
    assert!(drawn(&mut timeline, 10).contains("message 1099"));
    assert!(timeline.laid.len() < 20);

    timeline.scroll(-20, &theme, 40);
    let before = drawn(&mut timeline, 10);
    assert!(!before.contains("1099"));
    timeline.insert(message(1100));
    assert_eq!(drawn(&mut timeline, 10), before, "a reader who has scrolled up is left alone");
    assert_eq!(timeline.below, 1);
    let page: Vec<Message> = (900..1000).map(message).collect();
    timeline.extend(&Wants::Older(id(1000)), page, 100);
    assert_eq!(drawn(&mut timeline, 10), before);

    timeline.scroll(10_000, &theme, 40);
    assert!(drawn(&mut timeline, 10).contains("message 1100") && timeline.is_at_bottom());
}

/// A message of a minute, by an account.
fn said(minute: u64, account: &str) -> Message {
    let at_ms = 1_700_000_000_000 + minute * 60_000;
    let id = MessageId(EventId { clock: Clock::at(at_ms), device: [1; 8], sequence: minute });
    let mut message = Message { id, at_ms, ..message(minute) };
    (message.wire.from.account, message.wire.from.name) = (Some(account.into()), Some(account.into()));
    message
}

#[test]
fn what_a_member_has_handed_on_stands_below_a_line_that_says_so_and_is_not_new() {
    use starling_control::objects::ContactRef;
    let handed = |minute: u64| {
        let mut message = said(minute, "bob");
        message.wire.handed_on_by = Some(ContactRef { account: "alice".into(), name: Some("alice".into()) });
        message
    };
    let mut timeline = Timeline::default();
    let messages = vec![handed(1), handed(2), said(3, "bob"), said(4, "bob")];
    timeline.load(messages, 100, Some(Clock::default()));
    let shown = drawn(&mut timeline, 20);
    assert_eq!(shown.matches("history from alice").count(), 1, "{shown}");
    assert_eq!(shown.matches("since you came").count(), 1, "{shown}");
    let place = |words: &str| shown.find(words).unwrap();
    assert!(place("history from alice") < place("message 1") && place("message 2") < place("since you came"));
    assert!(place("message 2") < place(" new ") && place(" new ") < place("message 3"), "{shown}");
}

#[test]
fn who_writes_in_a_group_is_named_and_what_happened_between_is_one_line() {
    use starling_control::objects::{AuditAction, AuditEntry, Group};
    let theme = Theme::named("mono").unwrap();
    let joined = |minute: u64, account: &str| AuditEntry {
        at: crate::rpc::rfc3339(1_700_000_000_000 + minute * 60_000).into(),
        action: AuditAction::Invited,
        account: Some(account.into()),
        ..AuditEntry::default()
    };
    let entries: Vec<AuditEntry> =
        [(0, "x"), (2, "dave"), (2, "erin"), (9, "fay")].into_iter().map(|(at, who)| joined(at, who)).collect();
    let notes = Notes::of(&entries, &Group::default(), |account| account.as_str().to_owned());
    let mut timeline = Timeline::default();
    timeline.set_notes(notes.clone());
    // A new group without a message.
    assert!(drawn(&mut timeline, 5).contains("x, dave and 2 others joined"));
    let messages = vec![said(1, "alice"), said(3, "alice"), said(4, "bob"), said(5, "bob")];
    timeline.load(messages.clone(), 100, None);
    let shown = drawn(&mut timeline, 20);
    let lines =
        ["x joined", "message 1", "dave and erin joined", "message 3", "bob", "message 4", "message 5", "fay joined"];
    let places: Vec<usize> = lines.iter().filter_map(|line| shown.find(line)).collect();
    assert!(places.len() == lines.len() && places.is_sorted(), "{shown}");
    let named = |name: &str| shown.lines().filter(|line| line.ends_with(name)).count();
    assert_eq!((named("alice"), named("bob")), (2, 1), "{shown}");
    // Of an older part of the history nothing is said that came after it, and what was before is not known to be all.
    timeline.around(messages[..2].to_vec(), messages[0].id);
    let shown = drawn(&mut timeline, 20);
    assert!(shown.contains("dave and erin joined") && !shown.contains("fay") && !shown.contains("x joined"), "{shown}");
    timeline.set_notes(Notes::default());
    assert!(!drawn(&mut timeline, 20).contains("joined"));
    timeline.scroll(-5, &theme, 40);
}

#[test]
fn a_message_keeps_its_number_whatever_is_loaded_and_however_it_is_scrolled() {
    let theme = Theme::named("mono").unwrap();
    let mut timeline = Timeline::default();
    let newest: Vec<Message> = (1000..1100).map(message).collect();
    timeline.load(newest.clone(), 100, None);
    drawn(&mut timeline, 10);
    let number = timeline.numbers.get(id(1099)).unwrap();
    timeline.scroll(-40, &theme, 40);
    drawn(&mut timeline, 10);
    timeline.around((900..1000).map(message).collect(), id(950));
    drawn(&mut timeline, 10);
    // As after a call, or when one writes from far above.
    timeline.load(newest, 100, None);
    timeline.insert(message(1100));
    let shown = drawn(&mut timeline, 10);
    assert_eq!(timeline.by_number(number).map(|m| m.id), Some(id(1099)), "{shown}");
    assert!(timeline.by_number(timeline.numbers.get(id(950)).unwrap()).is_none(), "it is not on the screen");
    let mut numbers: Vec<&str> = shown.lines().filter_map(|l| l.split_whitespace().next()).collect();
    let lines = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), lines, "no number twice:\n{shown}");
}

#[test]
fn the_place_is_found_again() {
    let theme = Theme::named("mono").unwrap();
    let mut timeline = Timeline::default();
    timeline.load((1000..1100).map(message).collect(), 100, None);
    drawn(&mut timeline, 10);
    assert_eq!(timeline.place(), None);
    timeline.scroll(-40, &theme, 40);
    let before = drawn(&mut timeline, 10);
    let place = timeline.place().unwrap();
    let mut next = Timeline::of(timeline.numbers.clone());
    next.return_to((960..1090).map(message).collect(), place);
    assert_eq!(drawn(&mut next, 10), before);
}
