//! What every store has to do: tests that any implementation can run.
//!
//! Each function takes a new, empty store.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use starling_wire::rendezvous::{LogSignal, Page, Response, ResponseBody};
use tokio::sync::mpsc;

use super::{
    Author, Batch, Bounds, Budget, CandidateBounds, Collection, Counters, Entry, Fanout, Head, Missed, NOBODYS,
    Records, Revision, Selection, Share, Store, StoreError, StreamId, Streams, Topic, WhenStored, Writer,
};

const OWNER: [u8; 32] = [7; 32];
const ROOMY: Bounds =
    Bounds { entries: 100, bytes: 10_000, expires_at: 1_000, share: Share::WHOLE, candidates: CANDIDATES };
const CANDIDATES: CandidateBounds =
    CandidateBounds { each: 3, each_bytes: 10, others: 4, parts_each: 3, parts_of_others: 4 };
const AUTHOR: Author = Author { tag: 1, is_owner: false };

/// All of them, each with a store of its own.
pub async fn all(mut new_store: impl FnMut() -> Store) {
    appends_are_numbered_and_all_or_nothing(&*new_store().streams).await;
    candidates_are_counted_and_stay(&*new_store().streams).await;
    each_author_has_its_own_candidates(&*new_store().streams).await;
    each_author_has_its_own_parts(&*new_store().streams).await;
    removed_entries_are_gone_and_numbers_go_on(&*new_store().streams).await;
    pages_end_at_their_bounds(&*new_store().streams).await;
    a_class_has_its_share_and_its_oldest_give_way(&*new_store().streams).await;
    writers_are_told_apart(&*new_store().streams).await;
    only_who_shows_the_eraser_deletes_an_entry(&*new_store().streams).await;
    a_stream_is_deleted_whole(&*new_store().streams).await;
    each_entry_is_popped_once(new_store()).await;
    what_has_expired_is_removed(&*new_store().streams).await;
    streams_and_records_are_scanned_in_order(&new_store()).await;
    records_change_only_from_the_expected_revision(&*new_store().records).await;
    one_of_many_concurrent_writers_wins(new_store()).await;
    concurrent_appends_get_numbers_of_their_own(new_store()).await;
    counters_add_up_and_fall_to_0_at_most(&*new_store().counters).await;
    what_is_published_reaches_those_who_listen(&*new_store().fanout);
    a_subscriber_without_room_is_dropped(&*new_store().fanout);
    a_subscriber_without_room_loses_signals_and_asks_for_entries(&*new_store().fanout);
    who_listens_to_a_topic_can_be_ended(&*new_store().fanout);
}

fn log(n: u8) -> StreamId {
    StreamId::log([n; 32])
}

fn texts(texts: &[&str]) -> Batch {
    texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect::<Vec<_>>().into()
}

fn each(sequences: &[u64]) -> Selection {
    Selection::Each { sequences: sequences.to_vec(), eraser: None }
}

fn entry(sequence: u64, text: &str) -> Entry {
    Entry { sequence, sealed: Bytes::copy_from_slice(text.as_bytes()) }
}

async fn whole(streams: &dyn Streams, id: StreamId) -> Vec<Entry> {
    let page = streams.read(id, 0, 1_000, 1_000_000).await.unwrap();
    assert!(!page.more);
    page.entries
}

/// A batch is stored whole or refused whole, and a stream of others is not touched.
pub async fn appends_are_numbered_and_all_or_nothing(streams: &dyn Streams) {
    let id = log(1);
    assert!(matches!(streams.append(id, None, texts(&["a"]), ROOMY).await, Err(StoreError::NotFound)));
    assert_eq!(streams.head(id).await.unwrap(), None);
    assert!(streams.open(id, OWNER, None, 5).await.unwrap());
    assert_eq!(streams.append(id, None, texts(&["a", "bb"]), ROOMY).await.unwrap().head.last, 2);
    // Opening again changes nothing.
    assert!(!streams.open(id, [8; 32], Some([9; 32]), 9).await.unwrap());

    let few = Bounds { entries: 3, ..ROOMY };
    assert!(matches!(streams.append(id, None, texts(&["c", "d"]), few).await, Err(StoreError::Full)));
    let small = Bounds { bytes: 4, ..ROOMY };
    assert!(matches!(streams.append(id, None, texts(&["c", "d"]), small).await, Err(StoreError::Full)));
    assert_eq!(whole(streams, id).await, [entry(1, "a"), entry(2, "bb")]);
    let head = streams.head(id).await.unwrap().unwrap();
    assert_eq!((head.last, head.count, head.bytes, head.owner(), head.expires_at), (2, 2, 3, Some(OWNER), 1_000));

    // With an owner, it is created, unless that is refused.
    assert!(streams.append(log(2), Some(OWNER), texts(&["12345"]), small).await.is_err());
    assert_eq!(streams.head(log(2)).await.unwrap(), None);
    assert_eq!(streams.append(log(2), Some(OWNER), texts(&["x"]), ROOMY).await.unwrap().head.last, 1);
    assert_eq!(whole(streams, id).await.len(), 2);
}

/// What is removed is reported once, and its number is not given again.
pub async fn removed_entries_are_gone_and_numbers_go_on(streams: &dyn Streams) {
    let id = log(1);
    assert_eq!(streams.remove(id, Selection::UpTo(9)).await.unwrap().entries, 0);
    streams.append(id, Some(OWNER), texts(&["a", "bb", "ccc", "dddd"]), ROOMY).await.unwrap();
    let removed = streams.remove(id, each(&[2, 4, 4, 99])).await.unwrap();
    assert_eq!((removed.owner, removed.entries, removed.bytes), (Some(OWNER), 2, 6));
    assert_eq!(streams.remove(id, each(&[2])).await.unwrap().bytes, 0);
    assert_eq!(streams.append(id, None, texts(&["e"]), ROOMY).await.unwrap().head.last, 5);
    let removed = streams.remove(id, Selection::UpTo(3)).await.unwrap();
    assert_eq!((removed.entries, removed.bytes), (2, 4));
    assert_eq!(whole(streams, id).await, [entry(5, "e")]);
    let head = streams.head(id).await.unwrap().unwrap();
    assert_eq!((head.last, head.count, head.bytes), (5, 1, 1));
}

/// A page has at least one entry, however large, and says whether there are more.
pub async fn pages_end_at_their_bounds(streams: &dyn Streams) {
    let id = log(1);
    assert_eq!(whole(streams, id).await, []);
    streams.append(id, Some(OWNER), texts(&["a", "b", "c"]), ROOMY).await.unwrap();
    let page = streams.read(id, 1, 1, 1_000).await.unwrap();
    assert_eq!((page.entries, page.more), (vec![entry(2, "b")], true));
    let page = streams.read(id, 2, 1, 1_000).await.unwrap();
    assert_eq!((page.entries, page.more), (vec![entry(3, "c")], false));
    let page = streams.read(id, 0, 100, 0).await.unwrap();
    assert_eq!((page.entries, page.more), (vec![entry(1, "a")], true));
    assert_eq!(streams.read(id, u64::MAX, 100, 100).await.unwrap().entries, []);
}

/// Refused or, in a ring, at the cost of the oldest of the same class.
pub async fn a_class_has_its_share_and_its_oldest_give_way(streams: &dyn Streams) {
    let id = StreamId::inbox([1; 32]);
    let of = |class, text: &str| Batch { class, ..texts(&[text]) };
    let share = |entries, is_ring| Bounds { share: Share { entries, bytes: 8, is_ring }, ..ROOMY };
    for (class, text) in [(1, "a"), (2, "b"), (1, "cc")] {
        streams.append(id, Some(OWNER), of(class, text), share(2, false)).await.unwrap();
    }
    assert!(matches!(streams.append(id, None, of(1, "d"), share(2, false)).await, Err(StoreError::Full)));
    streams.append(id, None, of(2, "d"), share(2, false)).await.unwrap();
    let appended = streams.append(id, None, of(1, "e"), share(2, true)).await.unwrap();
    assert_eq!((appended.head.last, appended.displaced.entries, appended.displaced.bytes), (5, 1, 1));
    assert_eq!(whole(streams, id).await, [entry(2, "b"), entry(3, "cc"), entry(4, "d"), entry(5, "e")]);
    // By bytes, too; and what is larger than the share is refused.
    let appended = streams.append(id, None, of(1, "1234567"), share(2, true)).await.unwrap();
    assert_eq!((appended.displaced.entries, appended.displaced.bytes), (1, 2));
    assert!(matches!(streams.append(id, None, of(1, "123456789"), share(2, true)).await, Err(StoreError::Full)));
    // The stream's own bounds hold for all classes together.
    let few = Bounds { entries: 4, ..share(9, true) };
    assert!(matches!(streams.append(id, None, of(3, "x"), few).await, Err(StoreError::Full)));
    let head = streams.head(id).await.unwrap().unwrap();
    assert_eq!((head.count, head.bytes, head.class(1), head.class(2)), (4, 10, (2, 8), (2, 2)));
    streams.remove(id, Selection::UpTo(5)).await.unwrap();
    let head = streams.head(id).await.unwrap().unwrap();
    assert_eq!((head.class(1), head.class(2), head.class(3)), ((1, 7), (0, 0), (0, 0)));
}

/// Each has a class of its own, as long as there are enough, for as long as it has entries.
pub async fn writers_are_told_apart(streams: &dyn Streams) {
    let id = log(1);
    let by = |tag: u64, text: &str| Batch { writer: Some(Writer { tag, is_owner: false }), ..texts(&[text]) };
    let one = Bounds { entries: 1_000, share: Share { entries: 1, ..Share::WHOLE }, ..ROOMY };
    for tag in 1..=95 {
        streams.append(id, Some(OWNER), by(tag, "ab"), one).await.unwrap();
    }
    let commit = Batch { candidate: Some(AUTHOR), ..by(1_000, "commit") };
    streams.append(id, None, commit, one).await.unwrap();
    for tag in [1, 95, 96] {
        // The last shares one of theirs.
        assert!(matches!(streams.append(id, None, by(tag, "c"), one).await, Err(StoreError::Full)));
    }
    let head = streams.head(id).await.unwrap().unwrap();
    let mut tags: Vec<u64> = head.writers().into_iter().map(|writer| writer.tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, (1..=95).chain([1_000]).collect::<Vec<u64>>());
    let pools = |name: fn(&Budget) -> bool| {
        let found = head.budgets(&id).into_iter().filter(|(budget, _)| name(budget)).map(|(_, cost)| cost);
        found.sum::<u64>()
    };
    assert_eq!(pools(|budget| matches!(budget, Budget::Commits(_))), 64 + 6);
    assert_eq!(pools(|budget| matches!(budget, Budget::Conversation(_))), 256 + 95 * 66);
    let each = |sequence| Selection::Each { sequences: vec![sequence], eraser: None };
    let removed = streams.remove(id, each(7)).await.unwrap();
    assert_eq!(removed.writers.iter().map(|writer| (writer.tag, writer.cost)).collect::<Vec<_>>(), [(7, 66)]);
    streams.append(id, None, by(96, "c"), one).await.unwrap();
    let removed = streams.delete(id).await.unwrap();
    assert_eq!(removed.writers.iter().map(|writer| writer.cost).sum::<u64>(), head.cost() - 256 - 1);
}

/// Also of those that have none, but nobody else's.
pub async fn only_who_shows_the_eraser_deletes_an_entry(streams: &dyn Streams) {
    let id = log(1);
    let by = |eraser: u8, text: &str| Batch { eraser: Some([eraser; 32]), ..texts(&[text]) };
    streams.append(id, Some(OWNER), by(1, "a"), ROOMY).await.unwrap();
    streams.append(id, None, by(2, "b"), ROOMY).await.unwrap();
    streams.append(id, None, texts(&["c"]), ROOMY).await.unwrap();
    assert_eq!(whole(streams, id).await, [entry(1, "a"), entry(2, "b"), entry(3, "c")]);
    let each = |eraser| Selection::Each { sequences: vec![1, 2, 3], eraser };
    assert_eq!(streams.remove(id, each(Some([1; 32]))).await.unwrap().entries, 2);
    assert_eq!(streams.remove(id, each(None)).await.unwrap().entries, 0);
    assert_eq!(whole(streams, id).await, [entry(2, "b")]);
    assert_eq!(streams.remove(id, Selection::UpTo(9)).await.unwrap().entries, 1);
}

/// A stream has few of them, and nobody deletes one before it expires.
pub async fn candidates_are_counted_and_stay(streams: &dyn Streams) {
    let id = log(1);
    let candidate = |text: &str| Batch { candidate: Some(AUTHOR), eraser: Some([1; 32]), ..texts(&[text]) };
    streams.append(id, Some(OWNER), texts(&["a"]), ROOMY).await.unwrap();
    for (n, text) in [(2, "b"), (3, "c"), (4, "d")] {
        let appended = streams.append(id, None, candidate(text), ROOMY).await.unwrap();
        assert_eq!(appended.head.last, n);
    }
    assert!(matches!(streams.append(id, None, candidate("e"), ROOMY).await, Err(StoreError::Full)));
    let head = streams.append(id, None, texts(&["f"]), ROOMY).await.unwrap().head;
    assert_eq!(head.candidates_between(0, u64::MAX).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(head.candidates_between(2, 4).collect::<Vec<_>>(), [3]);
    let all = Selection::Each { sequences: vec![1, 2, 3, 4, 5], eraser: Some([1; 32]) };
    assert_eq!(streams.remove(id, all).await.unwrap().entries, 2);
    assert_eq!(whole(streams, id).await, [entry(2, "b"), entry(3, "c"), entry(4, "d")]);
    streams.expire(None, ROOMY.expires_at).await.unwrap();
    assert_eq!(whole(streams, id).await, []);
    // What closed a stream of an earlier version.
    let head = Head { closed: 7, ..Head::default() };
    assert_eq!(head.candidates_between(6, 8).collect::<Vec<_>>(), [7]);
    assert_eq!(head.candidates_between(u64::MAX, 8).count() + head.candidates_between(7, 8).count(), 0);
}

/// Whoever has filled its share keeps nobody else from appending one, and all others keep the owner's devices from nothing.
pub async fn each_author_has_its_own_candidates(streams: &dyn Streams) {
    let id = log(1);
    streams.open(id, OWNER, None, 10 * ROOMY.expires_at).await.unwrap();
    let append = async |tag: u64, is_owner: bool, text: &str| {
        let batch = Batch { candidate: Some(Author { tag, is_owner }), ..texts(&[text]) };
        streams.append(id, None, batch, ROOMY).await.is_ok()
    };
    for _ in 0..3 {
        assert!(append(1, false, "b").await);
    }
    assert!(!append(1, false, "b").await, "its share is full");
    // The bytes of a share are full.
    assert!(!append(2, false, "more than ten").await);
    assert!(append(2, false, "c").await);
    assert!(!append(3, false, "d").await, "there are four of others");
    for _ in 0..3 {
        assert!(append(1, true, "e").await);
    }
    assert!(!append(1, true, "e").await);
    assert!(append(2, true, "f").await);
    streams.expire(None, ROOMY.expires_at).await.unwrap();
    assert!(append(1, false, "b").await, "all have expired");
}

/// They are no candidates, and take no room of those, or of messages; nobody deletes one before it expires.
pub async fn each_author_has_its_own_parts(streams: &dyn Streams) {
    let id = log(1);
    streams.open(id, OWNER, None, 10 * ROOMY.expires_at).await.unwrap();
    let append = async |tag: u64, is_owner: bool, parts: &[&str]| {
        let batch = Batch { part: Some(Author { tag, is_owner }), eraser: Some(NOBODYS), ..texts(parts) };
        streams.append(id, None, batch, ROOMY).await.is_ok()
    };
    assert!(!append(1, false, &["a", "b", "c", "d"]).await, "all or nothing");
    assert!(append(1, false, &["a", "a part of more than ten bytes"]).await);
    assert!(append(1, false, &["c"]).await);
    assert!(!append(1, false, &["d"]).await, "its share is full");
    assert!(append(2, false, &["e"]).await);
    assert!(!append(3, false, &["f"]).await, "there are four of others");
    assert!(append(1, true, &["g", "h", "i"]).await);
    assert!(!append(1, true, &["j"]).await);
    let commit = Batch { candidate: Some(Author { tag: 1, is_owner: false }), ..texts(&["names"]) };
    streams.append(id, None, commit, ROOMY).await.unwrap();
    let head = streams.append(id, None, texts(&["k"]), ROOMY).await.unwrap().head;
    assert_eq!(head.candidates_between(0, u64::MAX).collect::<Vec<_>>(), [8]);
    assert!((1..=8).all(|sequence| head.stays(sequence)) && !head.stays(9));
    assert_eq!((head.of_authors().0, head.messages()), (8, (1, 1)));
    for eraser in [None, Some([1; 32])] {
        let all = Selection::Each { sequences: (1..=8).collect(), eraser };
        assert_eq!(streams.remove(id, all).await.unwrap().entries, 0);
    }
    streams.expire(None, ROOMY.expires_at).await.unwrap();
    assert_eq!(whole(streams, id).await, []);
    assert!(append(1, false, &["a", "b", "c"]).await, "all have expired");
}

/// With its candidates; what is opened there afterwards is another.
pub async fn a_stream_is_deleted_whole(streams: &dyn Streams) {
    let id = log(1);
    assert_eq!(streams.delete(id).await.unwrap().cost(), 0);
    streams.open(id, OWNER, Some([5; 32]), 9).await.unwrap();
    streams.append(id, None, texts(&["a", "bb"]), ROOMY).await.unwrap();
    streams.append(id, None, Batch { candidate: Some(AUTHOR), ..texts(&["end"]) }, ROOMY).await.unwrap();
    let head = streams.head(id).await.unwrap().unwrap();
    assert_eq!(head.root(&id), [5; 32]);
    let removed = streams.delete(id).await.unwrap();
    assert_eq!((removed.entries, removed.bytes, removed.streams, removed.owner), (3, 6, 1, Some(OWNER)));
    assert_eq!(removed.cost(), head.cost());
    assert_eq!((whole(streams, id).await, streams.head(id).await.unwrap()), (vec![], None));
    assert!(streams.open(id, OWNER, None, 9).await.unwrap());
}

/// Also when many take at once.
pub async fn each_entry_is_popped_once(store: Store) {
    let id = StreamId::key_packages([1; 32]);
    assert_eq!(store.streams.pop(id).await.unwrap(), None);
    let all: Vec<String> = (0..8).map(|n| n.to_string()).collect();
    let entries = texts(&all.iter().map(String::as_str).collect::<Vec<_>>());
    store.streams.append(id, Some(OWNER), entries, ROOMY).await.unwrap();
    let takers = (0..12).map(|_| {
        let streams = store.streams.clone();
        tokio::spawn(async move { streams.pop(id).await.unwrap() })
    });
    let mut taken = HashSet::new();
    for taker in takers.collect::<Vec<_>>() {
        if let Some((entry, removed)) = taker.await.unwrap() {
            assert_eq!((removed.entries, removed.bytes, removed.owner), (1, 1, Some(OWNER)));
            assert!(taken.insert(entry.sealed));
        }
    }
    assert_eq!(taken.len(), 8);
}

/// An entry goes when its time has come; a stream goes when it is empty and its time has come, too.
pub async fn what_has_expired_is_removed(streams: &dyn Streams) {
    let until = |expires_at| Bounds { expires_at, ..ROOMY };
    streams.append(log(1), Some(OWNER), texts(&["a"]), until(10)).await.unwrap();
    streams.append(log(1), None, texts(&["bb"]), until(20)).await.unwrap();
    streams.open(log(2), OWNER, Some([1; 32]), 15).await.unwrap();
    streams.append(log(3), Some([9; 32]), texts(&["ccc"]), until(30)).await.unwrap();
    let mut expired = Vec::new();
    for now in [10, 20, 20, 30] {
        let mut after = None;
        let mut removed = Vec::new();
        loop {
            let step = streams.expire(after, now).await.unwrap();
            removed.extend(step.removed.into_iter().map(|r| (r.owner, r.bytes, r.streams)));
            after = step.next;
            if after.is_none() {
                break;
            }
        }
        let left: Vec<StreamId> = streams.scan(None, 100).await.unwrap().into_iter().map(|(id, _)| id).collect();
        expired.push((removed, left));
    }
    assert_eq!(expired[0], (vec![(Some(OWNER), 1, 0)], vec![log(1), log(2), log(3)]));
    assert_eq!(expired[1], (vec![(Some(OWNER), 2, 1), (Some(OWNER), 0, 1)], vec![log(3)]));
    assert_eq!(expired[2], (vec![], vec![log(3)]));
    assert_eq!(expired[3], (vec![(Some([9; 32]), 3, 1)], vec![]));
    assert_eq!(streams.totals().await.unwrap().streams, 0);
}

/// Every key once, in pages of any size.
pub async fn streams_and_records_are_scanned_in_order(store: &Store) {
    let (mut ids, mut keys) = (Vec::new(), Vec::new());
    for n in [3_u8, 0, 255, 1] {
        store.streams.open(log(n), OWNER, None, 1).await.unwrap();
        store.records.put(Collection::Names, [n; 32], Revision::NONE, Bytes::from(vec![n])).await.unwrap();
        store.records.put(Collection::Bans, [n ^ 1; 32], Revision::NONE, Bytes::new()).await.unwrap();
        ids.push(log(n));
        keys.push([n; 32]);
    }
    store.streams.open(StreamId::inbox([0; 32]), OWNER, None, 1).await.unwrap();
    ids.push(StreamId::inbox([0; 32]));
    ids.sort();
    keys.sort_unstable();
    for limit in [1, 2, 100] {
        let (mut seen, mut after) = (Vec::new(), None);
        while let Some((last, _)) = {
            let page = store.streams.scan(after, limit).await.unwrap();
            seen.extend(page.iter().map(|(id, _)| *id));
            page.last().cloned()
        } {
            after = Some(last);
        }
        assert_eq!(seen, ids);
        let (mut seen, mut after) = (Vec::new(), None);
        while let Some((last, _)) = {
            let page = store.records.scan(Collection::Names, after, limit).await.unwrap();
            seen.extend(page.iter().map(|(key, _)| *key));
            page.last().cloned()
        } {
            after = Some(last);
        }
        assert_eq!(seen, keys);
    }
    store.streams.append(log(77), Some([9; 32]), texts(&["x"]), ROOMY).await.unwrap();
    store.streams.delete(log(255)).await.unwrap();
    ids.retain(|id| *id != log(255));
    for limit in [1, 2, 100] {
        let (mut seen, mut after) = (Vec::new(), None);
        while let Some(last) = {
            let page = store.streams.of_owner(OWNER, after, limit).await.unwrap();
            seen.extend(page.iter().copied());
            page.last().copied()
        } {
            after = Some(last);
        }
        assert_eq!(seen, ids);
    }
    assert_eq!(store.streams.of_owner([9; 32], None, 9).await.unwrap(), [log(77)]);
    assert_eq!(store.records.count(Collection::Names).await.unwrap(), 4);
    assert_eq!(store.records.count(Collection::Invites).await.unwrap(), 0);
}

/// And a revision is never used again, also after a deletion.
pub async fn records_change_only_from_the_expected_revision(records: &dyn Records) {
    let (of, key) = (Collection::Accounts, [1; 32]);
    let (one, two) = (Bytes::from("one"), Bytes::from("two"));
    let conflict = |result: Result<Revision, StoreError>| assert!(matches!(result, Err(StoreError::Conflict)));
    assert_eq!(records.get(of, key).await.unwrap(), None);
    conflict(records.put(of, key, Revision(1), one.clone()).await);
    let first = records.put(of, key, Revision::NONE, one.clone()).await.unwrap();
    conflict(records.put(of, key, Revision::NONE, two.clone()).await);
    let second = records.put(of, key, first, two.clone()).await.unwrap();
    assert!(second > first && first > Revision::NONE);
    conflict(records.put(of, key, first, one.clone()).await);
    let known = records.get(of, key).await.unwrap().unwrap();
    assert_eq!((known.revision, known.value), (second, two));
    assert_eq!(records.get(Collection::Names, key).await.unwrap(), None, "collections are apart");

    assert!(matches!(records.delete(of, key, first).await, Err(StoreError::Conflict)));
    records.delete(of, key, second).await.unwrap();
    assert_eq!(records.get(of, key).await.unwrap(), None);
    let third = records.put(of, key, Revision::NONE, one).await.unwrap();
    assert!(third > second);
}

/// Of those who saw the same revision.
pub async fn one_of_many_concurrent_writers_wins(store: Store) {
    let writers = (0..16_u8).map(|n| {
        let records = store.records.clone();
        tokio::spawn(
            async move { records.put(Collection::Names, [1; 32], Revision::NONE, vec![n].into()).await.is_ok() },
        )
    });
    let mut won = Vec::new();
    for (n, writer) in writers.collect::<Vec<_>>().into_iter().enumerate() {
        if writer.await.unwrap() {
            won.push(n as u8);
        }
    }
    let stored = store.records.get(Collection::Names, [1; 32]).await.unwrap().unwrap();
    assert_eq!(stored.value, won);
}

/// Without gaps; and what is done about each is done in their order.
pub async fn concurrent_appends_get_numbers_of_their_own(store: Store) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let writers = (0..16).map(|_| {
        let (streams, told) = (store.streams.clone(), told.clone());
        let then = WhenStored::new(move |head| told.lock().unwrap().push(head.last));
        let batch = Batch { then, ..texts(&["a", "b"]) };
        tokio::spawn(async move { streams.append(log(1), Some(OWNER), batch, ROOMY).await.unwrap().head.last })
    });
    let mut last = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        last.push(writer.await.unwrap());
    }
    last.sort_unstable();
    assert_eq!(last, (1..=16).map(|n| 2 * n).collect::<Vec<u64>>());
    assert_eq!(*told.lock().unwrap(), last);
    let told = Arc::new(Mutex::new(Vec::new()));
    let refused = {
        let told = told.clone();
        Batch { then: WhenStored::new(move |head| told.lock().unwrap().push(head.last)), ..texts(&["too much"]) }
    };
    store.streams.append(log(1), None, refused, Bounds { entries: 1, ..ROOMY }).await.unwrap_err();
    assert!(told.lock().unwrap().is_empty());
}

/// As far as one process sees them.
pub async fn counters_add_up_and_fall_to_0_at_most(counters: &dyn Counters) {
    let key = Budget::Logs([1; 32]);
    assert_eq!(counters.add(Budget::Inboxes([1; 32]), 0).await.unwrap(), 0);
    assert_eq!(counters.get(key).await.unwrap(), 0);
    assert_eq!(counters.add(key, 5).await.unwrap(), 5);
    assert_eq!(counters.add(key, -2).await.unwrap(), 3);
    assert_eq!(counters.keys().await.unwrap(), [key]);
    assert_eq!(counters.add(key, -1_000).await.unwrap(), 0, "no sum is below 0");
}

fn received(inbox: &mut mpsc::Receiver<Box<Response>>) -> Vec<ResponseBody> {
    std::iter::from_fn(|| inbox.try_recv().ok()).filter_map(|response| response.body).collect()
}

/// Not those who have left, and not who published it.
pub fn what_is_published_reaches_those_who_listen(fanout: &dyn Fanout) {
    let topic = Topic::Log([1; 32]);
    let (outbox, mut inbox_a) = mpsc::channel(8);
    let a = fanout.attach(outbox);
    let (outbox, mut inbox_b) = mpsc::channel(8);
    let b = fanout.attach(outbox);
    assert!(fanout.subscribe(a, topic) && fanout.subscribe(b, topic) && !fanout.subscribe(b, topic));
    assert!(fanout.subscribe(b, Topic::Everyone));
    assert_eq!((fanout.listeners(topic), fanout.subscriptions(b)), (2, 2));

    fanout.publish(topic, Some(a), &ResponseBody::Appended(1));
    fanout.publish(topic, None, &ResponseBody::Appended(2));
    fanout.publish(Topic::Device([1; 32]), None, &ResponseBody::Appended(3));
    fanout.publish(Topic::Everyone, None, &ResponseBody::Appended(4));
    assert!(fanout.send(a, ResponseBody::Appended(5)));
    assert_eq!(received(&mut inbox_a), [ResponseBody::Appended(2), ResponseBody::Appended(5)]);
    assert_eq!(
        received(&mut inbox_b),
        [ResponseBody::Appended(1), ResponseBody::Appended(2), ResponseBody::Appended(4)]
    );

    assert!(fanout.unsubscribe(a, topic) && !fanout.unsubscribe(a, topic));
    let left: HashSet<Topic> = fanout.detach(b).into_iter().collect();
    assert_eq!(left, HashSet::from([topic, Topic::Everyone]));
    fanout.publish(topic, None, &ResponseBody::Appended(6));
    assert!(!fanout.send(b, ResponseBody::Appended(7)));
    assert_eq!((received(&mut inbox_a), received(&mut inbox_b)), (vec![], vec![]));
    assert_eq!(fanout.listeners(topic), 0);
}

/// It stays, and what it has missed is named once.
pub fn a_subscriber_without_room_loses_signals_and_asks_for_entries(fanout: &dyn Fanout) {
    let (outbox, mut inbox) = mpsc::channel(4);
    let id = fanout.attach(outbox);
    let topic = Topic::Log([1; 32]);
    fanout.subscribe(id, topic);
    let address = Bytes::copy_from_slice(&[1; 32]);
    let signal = ResponseBody::Signal(LogSignal { address: address.clone(), sealed: Bytes::from("signal") });
    let page = ResponseBody::Page(Page { address, ..Page::default() });
    for _ in 0..10 {
        fanout.publish(topic, None, &signal);
    }
    assert_eq!(fanout.take_missed(id), Missed::default());
    for _ in 0..10 {
        fanout.publish(topic, None, &page);
    }
    let (signals, pages) = (vec![signal; 2], vec![page.clone(); 2]);
    assert_eq!(received(&mut inbox), [signals, pages].concat());
    let missed = Missed { topics: [topic].into(), newest: Vec::new() };
    assert_eq!((fanout.take_missed(id), fanout.take_missed(id)), (missed, Missed::default()));
    fanout.publish(topic, None, &page);
    assert_eq!(received(&mut inbox), [page]);
}

/// Nobody else is.
pub fn who_listens_to_a_topic_can_be_ended(fanout: &dyn Fanout) {
    let (outbox, mut inbox_a) = mpsc::channel(4);
    let a = fanout.attach(outbox);
    let (outbox, inbox_b) = mpsc::channel(4);
    let b = fanout.attach(outbox);
    fanout.subscribe(a, Topic::Device([1; 32]));
    fanout.subscribe(b, Topic::Device([2; 32]));
    fanout.end(Topic::Device([1; 32]));
    assert!(received(&mut inbox_a).is_empty() && inbox_a.is_closed() && !inbox_b.is_closed());
}

/// Rather than that it holds up others, or that messages pile up.
pub fn a_subscriber_without_room_is_dropped(fanout: &dyn Fanout) {
    let (outbox, mut inbox) = mpsc::channel(1);
    let id = fanout.attach(outbox);
    fanout.subscribe(id, Topic::Everyone);
    for n in 0..3 {
        fanout.publish(Topic::Everyone, None, &ResponseBody::Appended(n));
    }
    assert_eq!(received(&mut inbox), [ResponseBody::Appended(0)]);
    assert!(inbox.is_closed());
    assert_eq!(fanout.listeners(Topic::Everyone), 0);
}
