//! Who reads a log now: members see how many others do, but for those who hide it.

use bytes::Bytes;
use starling_wire::{
    LogVerb,
    rendezvous::{LogRequest, ResponseBody},
};

use crate::testing::{Client, Person, is_stored, log, server};

/// What was pushed to somebody: counts of others, and how many entries and signals.
fn pushed(client: &mut Client) -> (Vec<u32>, usize, usize) {
    let (mut counts, mut entries, mut signals) = (Vec::new(), 0, 0);
    while let Some(response) = client.session.pushed() {
        match response.body {
            Some(ResponseBody::Readers(readers)) => counts.push(readers.others),
            Some(ResponseBody::Page(page)) => entries += page.entries.len(),
            Some(ResponseBody::Signal(_)) => signals += 1,
            other => panic!("{other:?}"),
        }
    }
    (counts, entries, signals)
}

async fn read(client: &mut Client, unseen: bool) {
    let answer = client.log(&log(1), LogVerb::Read, LogRequest { unseen, ..LogRequest::default() }).await;
    assert!(matches!(answer, ResponseBody::Page(_)));
}

#[tokio::test]
async fn who_reads_unseen_is_not_counted_and_misses_nothing() {
    let server = server(|_| {});
    let mut alice = Client::registered(&server, &Person::new(1, 1), 0).await;
    alice.open(&log(1)).await;
    read(&mut alice, false).await;
    assert_eq!(pushed(&mut alice), (vec![0], 0, 0));
    let mut bob = Client::connect(&server, Person::new(2, 1).device(0)).await;
    read(&mut bob, true).await;
    read(&mut bob, true).await;
    assert_eq!(pushed(&mut alice), (vec![], 0, 0));
    assert_eq!(pushed(&mut bob), (vec![1], 0, 0));

    assert!(is_stored(&alice.append(&log(1), &[b"a message"]).await));
    let signal = LogRequest { entries: vec![Bytes::from("typing")], ..LogRequest::default() };
    alice.log(&log(1), LogVerb::Signal, signal).await;
    assert_eq!(pushed(&mut bob), (vec![], 1, 1));

    // Others come and go.
    let mut carol = Client::connect(&server, Person::new(3, 1).device(0)).await;
    read(&mut carol, false).await;
    assert_eq!((pushed(&mut alice).0, pushed(&mut bob).0), (vec![1], vec![2]));
    drop(carol);
    assert_eq!((pushed(&mut alice).0, pushed(&mut bob).0), (vec![0], vec![1]));

    read(&mut bob, false).await;
    assert_eq!((pushed(&mut alice).0, pushed(&mut bob).0), (vec![1], vec![1]));
    read(&mut bob, true).await;
    assert_eq!((pushed(&mut alice).0, pushed(&mut bob).0), (vec![0], vec![1]));
    drop(bob);
    assert_eq!(pushed(&mut alice), (vec![], 0, 0));
}
