//! Whoever writes without end fills a share of its own: nobody else is kept from writing, and nothing of theirs is pushed out.

use bytes::Bytes;
use starling_wire::{
    LogKey, LogVerb,
    rendezvous::{LogRequest, RequestBody, ResponseBody},
};

use crate::{
    local::LocalServer,
    store::Budget,
    testing::{Client, MIB, Person, is_full, is_stored, log, server},
};

/// The owner of a log, and a device of somebody else.
async fn owner_and(server: &LocalServer, other: u8) -> (Client, Client) {
    let mut alice = Client::registered(server, &Person::new(1, 1), 0).await;
    alice.open(&log(1)).await;
    (alice, Client::connect(server, Person::new(other, 1).device(0)).await)
}

/// Appends messages until no more are taken; how many were.
async fn flood(client: &mut Client, key: &LogKey) -> usize {
    let mut taken = 0;
    while is_stored(&client.append(key, &[b"flood"]).await) {
        taken += 1;
    }
    taken
}

/// Leaves messages and commits in a log, opens the next, and so on, until nothing is taken any more.
async fn flood_conversation(client: &mut Client, mut key: LogKey) {
    for _ in 0..40 {
        for _ in 0..4 {
            client.append(&key, &[&[7; 60_000]]).await;
            client.commit(&key, &[7; 60_000], 0, true).await;
        }
        let next = LogKey::from_secret(blake3::hash(&key.address()).as_bytes());
        let (mut opened, entries) = (false, vec![Bytes::from(vec![7; 60_000])]);
        for candidate in [false, true] {
            let request = LogRequest { entries: entries.clone(), candidate, insist: true, ..LogRequest::default() };
            let request = client.behind(&key, &next, request);
            opened |= is_stored(&client.log(&next, LogVerb::Append, request).await);
        }
        if !opened {
            return;
        }
        key = next;
    }
}

#[tokio::test]
async fn a_member_who_floods_a_log_keeps_nobody_else_from_writing() {
    let server = server(|config| config.limits.log_entries = 40);
    let (mut alice, mut mallory) = owner_and(&server, 2).await;
    let mut bob = Client::connect(&server, Person::new(3, 1).device(0)).await;
    assert!(is_stored(&bob.append(&log(1), &[b"from the start"]).await));
    assert_eq!(flood(&mut mallory, &log(1)).await, 14, "as much as is left free");
    for client in [&mut alice, &mut bob] {
        for _ in 0..3 {
            assert!(is_stored(&client.append(&log(1), &[b"a message"]).await));
        }
    }
    assert!(is_full(&mallory.append(&log(1), &[b"more"]).await));
    let all = alice.read(&log(1)).await;
    assert_eq!(all[0].1, b"from the start");
    assert_eq!(all.iter().filter(|(_, text)| text == b"a message").count(), 6);
}

#[tokio::test]
async fn strangers_from_many_networks_leave_the_owner_a_quarter_of_a_log() {
    let server = server(|config| config.limits.log_entries = 40);
    let (mut alice, _) = owner_and(&server, 2).await;
    for n in 2..=16 {
        let mut stranger = Client::connect(&server, Person::new(n, 1).device(0)).await;
        flood(&mut stranger, &log(1)).await;
    }
    assert_eq!(flood(&mut alice, &log(1)).await, 5);
}

#[tokio::test]
async fn the_devices_of_an_account_have_one_share() {
    let server = server(|config| config.limits.log_entries = 40);
    let (mut alice, _) = owner_and(&server, 2).await;
    let mallory = Person::new(4, 3);
    let mut taken = 0;
    for index in 0..3 {
        let mut device = match index {
            0 => Client::registered(&server, &mallory, 0).await,
            _ => Client::connect(&server, mallory.device(index)).await,
        };
        taken += flood(&mut device, &log(1)).await;
    }
    assert_eq!(taken, 15);
    assert!(is_stored(&alice.append(&log(1), &[b"a message"]).await));
    // Once its entries are gone the share is free again.
    let sequences: Vec<u64> = (1..=15).collect();
    alice.trim(&log(1), &sequences).await;
    let mut device = Client::connect(&server, mallory.device(1)).await;
    assert!(is_stored(&device.append(&log(1), &[b"again"]).await));
}

#[tokio::test]
async fn a_member_who_floods_all_logs_of_a_conversation_keeps_nobody_else_from_writing() {
    for young in [false, true] {
        let server = server(|config| config.limits.conversation_bytes = if young { 32 * MIB } else { 2 * MIB });
        let (mut alice, mut mallory) = owner_and(&server, 2).await;
        if !young {
            server.grow_old(Person::new(1, 1).id()).await;
        }
        flood_conversation(&mut mallory, log(1)).await;
        let mut bob = Client::connect(&server, Person::new(3, 1).device(0)).await;
        for client in [&mut alice, &mut bob] {
            for _ in 0..2 {
                assert!(is_stored(&client.append(&log(1), &[&[1; 30_000]]).await));
            }
            assert!(is_stored(&client.commit(&log(1), &[1; 30_000], u64::MAX, true).await));
            assert!(is_stored(&client.append_behind(&log(1), &log(2), &[1; 30_000]).await));
        }
        assert!(is_full(&mallory.append(&log(2), &[&[7; 60_000]]).await));
    }
}

#[tokio::test]
async fn receipts_of_who_has_filled_its_share_are_taken() {
    let server = server(|config| config.limits.log_entries = 40);
    let (_alice, mut bob) = owner_and(&server, 2).await;
    flood(&mut bob, &log(1)).await;
    let receipt = LogRequest { entries: vec![Bytes::from("receipt")], receipt: true, ..LogRequest::default() };
    assert!(is_stored(&bob.log(&log(1), LogVerb::Append, receipt).await));
}

#[tokio::test]
async fn who_reads_a_log_is_told_that_there_was_no_room_for_what_others_append() {
    let server = server(|config| config.limits.log_entries = 4);
    let (mut alice, mut bob) = owner_and(&server, 2).await;
    alice.read(&log(1)).await;
    bob.read(&log(1)).await;
    let full = ResponseBody::LogFull(Bytes::copy_from_slice(&log(1).address()));
    let told = |client: &mut Client| {
        let mut times = 0;
        while let Some(response) = client.session.pushed() {
            times += usize::from(response.body.as_ref() == Some(&full));
        }
        times
    };
    flood(&mut bob, &log(1)).await;
    assert_eq!((told(&mut alice), told(&mut bob)), (1, 0), "all but who has asked");
    let large = vec![0; 190 * 1024];
    assert!(is_stored(&bob.commit(&log(1), &large, u64::MAX, true).await));
    assert_eq!(told(&mut alice), 0);
    assert!(is_full(&bob.commit(&log(1), &large, u64::MAX, true).await));
    assert_eq!(told(&mut alice), 1);
    for _ in 0..40 {
        assert!(is_full(&bob.append(&log(1), &[b"flood"]).await));
    }
    assert!((1..10).contains(&told(&mut alice)), "not each time");
}

#[tokio::test]
async fn what_writers_have_is_counted_and_discounted() {
    let server = server(|_| {});
    let (mut alice, mut bob) = owner_and(&server, 2).await;
    let root = log(1).address();
    bob.append(&log(1), &[b"one", b"two"]).await;
    bob.commit(&log(1), b"commit", 0, false).await;
    alice.append(&log(1), &[b"three"]).await;
    let sums = async || (server.counted(Budget::Conversation(root)).await, server.counted(Budget::Commits(root)).await);
    let counted = sums().await;
    assert_eq!(counted, (256 + 3 * 64 + 11, 64 + 6));
    // As if the server had been started again.
    server.sweep().await;
    assert_eq!(sums().await, counted);
    alice.trim(&log(1), &[1]).await;
    assert_eq!(sums().await, (counted.0 - 64 - 3, counted.1));
    assert_eq!(alice.ask(RequestBody::DeleteLog(Bytes::copy_from_slice(&root))).await, ResponseBody::Done(true));
    assert!(server.budgets().await.iter().all(|budget| !matches!(
        budget,
        Budget::Conversation(_) | Budget::Commits(_) | Budget::Writer(_) | Budget::Logs(_)
    )));
}
