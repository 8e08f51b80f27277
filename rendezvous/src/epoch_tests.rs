//! Logs of a conversation's epochs: the order of commits, and how one log follows another.

use bytes::Bytes;
use starling_keys::MAX_DEVICES;
use starling_wire::{
    LogVerb,
    limits::{MAX_LOG_PARTS_KIB, MAX_PART, MAX_PART_ENTRY, MAX_PARTS},
    rendezvous::{Behind, LogEntry, LogRequest, Refusal, ResponseBody},
};

use crate::{
    limits::{CANDIDATES_PER_AUTHOR, CANDIDATES_PER_LOG, PARTS_PER_AUTHOR, PARTS_PER_LOG},
    local::LocalServer,
    testing::{Client, Person, entry, log, refusal, server},
};

/// A server, and the sessions of two members of a conversation; the log of its first epoch is open.
async fn two_members() -> (LocalServer, Client, Client) {
    let server = server(|_| {});
    let mut alice = Client::registered(&server, &Person::new(1, 1), 0).await;
    let bob = Client::connect(&server, Person::new(2, 1).device(0)).await;
    alice.open(&log(1)).await;
    (server, alice, bob)
}

fn behind(last: u64, candidates: &[(u64, &str)]) -> ResponseBody {
    let entry = |(sequence, text): &(u64, &str)| LogEntry {
        sequence: *sequence,
        sealed: Bytes::copy_from_slice(text.as_bytes()),
        stays: true,
    };
    ResponseBody::Behind(Behind { last, candidates: candidates.iter().map(entry).collect(), more: false })
}

async fn append_after(client: &mut Client, after: u64, text: &str) -> ResponseBody {
    let entries = vec![Bytes::copy_from_slice(text.as_bytes())];
    client.log(&log(1), LogVerb::Append, LogRequest { entries, after, ..LogRequest::default() }).await
}

#[tokio::test]
async fn who_appends_gets_the_commits_that_it_has_not_read() {
    let (_server, mut alice, mut bob) = two_members().await;
    assert_eq!(bob.commit(&log(1), b"commit", 0, false).await, ResponseBody::Appended(1));
    assert_eq!(append_after(&mut alice, 0, "late").await, behind(2, &[(1, "commit")]));
    assert_eq!(append_after(&mut alice, 1, "after it").await, ResponseBody::Appended(3));
    assert_eq!(append_after(&mut alice, u64::MAX, "whatever").await, ResponseBody::Appended(4));
    // Nothing is refused, and everybody reads the same.
    assert_eq!(
        bob.read(&log(1)).await,
        [entry(1, "commit"), entry(2, "late"), entry(3, "after it"), entry(4, "whatever")]
    );
}

#[tokio::test]
async fn a_commit_behind_unread_ones_is_stored_only_if_its_author_insists() {
    let (_server, mut alice, mut bob) = two_members().await;
    assert_eq!(bob.commit(&log(1), b"his", 0, false).await, ResponseBody::Appended(1));
    assert_eq!(alice.commit(&log(1), b"hers", 0, false).await, behind(0, &[(1, "his")]));
    assert_eq!(alice.read(&log(1)).await, [entry(1, "his")]);
    assert_eq!(alice.commit(&log(1), b"hers", 0, true).await, behind(2, &[(1, "his")]));
    assert_eq!(alice.commit(&log(1), b"again", 2, false).await, ResponseBody::Appended(3));
    // Neither may be deleted.
    alice.trim(&log(1), &[1, 2, 3]).await;
    assert_eq!(alice.read(&log(1)).await, [entry(1, "his"), entry(2, "hers"), entry(3, "again")]);
}

#[tokio::test]
async fn garbage_commits_take_no_room_from_messages() {
    let (_server, mut alice, mut mallory) = two_members().await;
    let mut stored = 0;
    while !matches!(mallory.commit(&log(1), b"garbage", 0, true).await, ResponseBody::Refused(_)) {
        stored += 1;
    }
    assert_eq!(stored, CANDIDATES_PER_AUTHOR);
    let next = stored + 1;
    assert!(matches!(append_after(&mut alice, 0, "a message").await, ResponseBody::Behind(b) if b.last == next));
    assert_eq!(append_after(&mut alice, stored, "another").await, ResponseBody::Appended(next + 1));
}

#[tokio::test]
async fn whoever_fills_a_share_with_garbage_keeps_nobody_else_from_committing() {
    let (server, mut alice, mut bob) = two_members().await;
    let is_stored = |answer: ResponseBody| !matches!(answer, ResponseBody::Refused(_));
    // Devices of no account, and as many as it takes.
    let mut stored = 0;
    for device in (3..=16).flat_map(|n| [0, 1].map(|at| Person::new(n, 2).device(at))) {
        let is_first = stored == 0;
        let mut mallory = Client::connect(&server, device).await;
        while is_stored(mallory.commit(&log(1), b"garbage", 0, true).await) {
            stored += 1;
        }
        if is_first {
            assert_eq!(stored, CANDIDATES_PER_AUTHOR);
            assert!(is_stored(bob.commit(&log(1), b"his", 0, true).await), "one device fills its own share alone");
        }
    }
    assert_eq!(stored + 1, CANDIDATES_PER_LOG);
    // Those of the account whose log it is have their own.
    let answer = alice.commit(&log(1), b"hers", 0, true).await;
    assert!(is_stored(answer.clone()), "{answer:?}");
}

#[tokio::test]
async fn large_garbage_commits_leave_a_full_log_room_for_those_of_others() {
    let server = server(|config| config.limits.log_bytes = 4 * 1024);
    let mut alice = Client::registered(&server, &Person::new(1, 1), 0).await;
    let mut mallory = Client::connect(&server, Person::new(2, 1).device(0)).await;
    alice.open(&log(1)).await;
    alice.append(&log(1), &[&[1; 2 * 1024]]).await;
    assert_eq!(refusal(&alice.append(&log(1), &[b"more"]).await), Refusal::Full);
    let large = vec![0; 190 * 1024];
    assert_eq!(mallory.commit(&log(1), &large, 1, true).await, ResponseBody::Appended(2));
    assert_eq!(refusal(&mallory.commit(&log(1), &large, 2, true).await), Refusal::Full);
    assert_eq!(alice.commit(&log(1), &large, 2, true).await, ResponseBody::Appended(3));
}

#[tokio::test]
async fn parts_of_a_commit_stay_and_hold_nobody_up() {
    let (_server, mut alice, mut bob) = two_members().await;
    assert_eq!(bob.parts(&log(1), &[b"one", b"two"]).await, ResponseBody::Appended(2));
    // Half a commit is none.
    assert_eq!(append_after(&mut alice, 0, "a message").await, ResponseBody::Appended(3));
    assert_eq!(alice.commit(&log(1), b"hers", 0, false).await, ResponseBody::Appended(4));
    assert_eq!(bob.parts(&log(1), &[b"three"]).await, behind(5, &[(4, "hers")]), "it is stored all the same");
    assert_eq!(bob.commit(&log(1), b"names", 4, false).await, ResponseBody::Appended(6));
    for client in [&mut alice, &mut bob] {
        client.trim(&log(1), &[1, 2, 3, 5]).await;
    }
    let stays = [entry(1, "one"), entry(2, "two"), entry(4, "hers"), entry(5, "three"), entry(6, "names")];
    assert_eq!(alice.read(&log(1)).await, stays);
}

#[tokio::test]
async fn parts_are_bounded_and_take_no_room_of_messages() {
    let server = server(|config| config.limits.log_bytes = 4 * 1024);
    let mut alice = Client::registered(&server, &Person::new(1, 1), 0).await;
    let mut mallory = Client::connect(&server, Person::new(2, 1).device(0)).await;
    let mut bob = Client::connect(&server, Person::new(3, 1).device(0)).await;
    alice.open(&log(1)).await;
    assert_eq!(mallory.parts(&log(1), &[&[1; 100 * 1024]]).await, ResponseBody::Appended(1));
    assert_eq!(alice.append(&log(1), &[&[2; 1024]]).await, ResponseBody::Appended(2));
    let mut stored = 1;
    while !matches!(mallory.parts(&log(1), &[b"garbage"]).await, ResponseBody::Refused(_)) {
        stored += 1;
    }
    assert_eq!(stored, PARTS_PER_AUTHOR);
    assert_eq!(alice.append(&log(1), &[&[2; 1024]]).await, ResponseBody::Appended(stored + 2));
    assert!(!matches!(alice.parts(&log(1), &[b"hers"]).await, ResponseBody::Refused(_)));
    assert!(!matches!(bob.commit(&log(1), b"a small one", 0, true).await, ResponseBody::Refused(_)));
}

#[tokio::test]
async fn what_is_no_part_is_refused_as_one() {
    let (_server, mut alice, _) = two_members().await;
    let large = vec![0; MAX_PART_ENTRY + 1];
    assert_eq!(refusal(&alice.parts(&log(1), &[&large]).await), Refusal::Malformed);
    for (candidate, receipt) in [(true, false), (false, true)] {
        let entries = vec![Bytes::from("x")];
        let request = LogRequest { entries, candidate, receipt, part: true, ..LogRequest::default() };
        assert_eq!(refusal(&alice.log(&log(1), LogVerb::Append, request).await), Refusal::Malformed);
    }
}

#[test]
fn readers_count_all_parts_that_a_log_can_have() {
    let of_owner = MAX_DEVICES as u64 * PARTS_PER_AUTHOR;
    let parts = (PARTS_PER_LOG + of_owner) * (MAX_PART / 1024) as u64;
    assert!(PARTS_PER_AUTHOR >= MAX_PARTS as u64);
    assert!(parts <= u64::from(MAX_LOG_PARTS_KIB), "{parts}");
}

#[tokio::test]
async fn a_full_log_takes_a_commit() {
    let server = server(|config| config.limits.log_entries = 4);
    let mut alice = Client::registered(&server, &Person::new(1, 1), 0).await;
    alice.open(&log(1)).await;
    alice.append(&log(1), &[b"one", b"two"]).await;
    assert_eq!(refusal(&alice.append(&log(1), &[b"three"]).await), Refusal::Full);
    assert_eq!(alice.commit(&log(1), b"commit", 2, false).await, ResponseBody::Appended(3));
    assert_eq!(alice.append_behind(&log(1), &log(2), b"three").await, ResponseBody::Appended(1));
}

#[tokio::test]
async fn the_first_append_opens_the_next_log_for_the_same_owner() {
    let (_server, mut alice, mut bob) = two_members().await;
    // Readers wait there before somebody writes.
    let request = alice.behind(&log(1), &log(2), LogRequest::default());
    assert!(
        matches!(alice.log(&log(2), LogVerb::Read, request).await, ResponseBody::Page(page) if page.entries.is_empty())
    );
    assert_eq!(bob.append_behind(&log(1), &log(2), b"in the next epoch").await, ResponseBody::Appended(1));
    let pushed = std::iter::from_fn(|| alice.session.pushed()).filter_map(|response| response.body);
    let pages = pushed.filter(|body| matches!(body, ResponseBody::Page(page) if page.entries.len() == 1));
    assert_eq!(pages.count(), 1);
    assert_eq!(alice.read(&log(2)).await, [entry(1, "in the next epoch")]);
    let mut logs = alice.logs().await;
    logs.sort();
    let address = |n| Bytes::copy_from_slice(&log(n).address());
    let mut both = [(address(1), address(1)), (address(2), address(1))];
    both.sort();
    assert_eq!(logs, both);
}

#[tokio::test]
async fn nobody_opens_a_log_without_the_key_of_the_one_before() {
    let (_server, mut alice, mut mallory) = two_members().await;
    assert_eq!(refusal(&mallory.append(&log(2), &[b"x"]).await), Refusal::NotFound);
    // Behind a log that is not there.
    assert_eq!(refusal(&mallory.append_behind(&log(7), &log(2), b"x").await), Refusal::NotFound);
    // With the permit of another log, or for another.
    let entries = vec![Bytes::from("x")];
    let request = LogRequest { entries, ..LogRequest::default() };
    let mut forged = mallory.behind(&log(7), &log(2), request.clone());
    forged.parent = Bytes::copy_from_slice(&log(1).address());
    assert_eq!(refusal(&mallory.log(&log(2), LogVerb::Append, forged).await), Refusal::Denied);
    let other = mallory.behind(&log(1), &log(3), request);
    assert_eq!(refusal(&mallory.log(&log(2), LogVerb::Append, other).await), Refusal::Denied);
    assert_eq!(alice.logs().await.len(), 1);
}
