//! Nobody fills a server for others, and what counts as stored is what is stored, also on a server that is never quiet.

use bytes::Bytes;
use futures::FutureExt;
use starling_wire::{
    LogKey, LogVerb,
    rendezvous::{Devices, KeyPackages, LogRequest, Refusal, RequestBody, ResponseBody, Snapshot},
};

use crate::{
    limits::ACCOUNT_COST,
    store::{Budget, Head, redb::RedbStore},
    testing::{Client, MIB, Person, is_stored, log, server, server_on},
};

#[tokio::test]
async fn what_all_store_is_corrected_while_they_go_on_writing() {
    let server = server(|_| {});
    let mut phone = Client::registered(&server, &Person::new(1, 1), 0).await;
    phone.open(&log(1)).await;
    server.sweep_beside(async || assert!(is_stored(&phone.append(&log(1), &[b"more"]).await))).await;
    let records = server.counted(Budget::All).await - server.in_streams().await;
    assert!((ACCOUNT_COST..2 * ACCOUNT_COST).contains(&records), "{records}");
}

#[tokio::test]
async fn a_snapshot_that_is_refused_or_smaller_counts_for_nothing_more() {
    let server = server(|_| {});
    let alice = Person::new(1, 1);
    let mut phone = Client::registered(&server, &alice, 0).await;
    let put = |version, length| RequestBody::PutSnapshot(Snapshot { version, sealed: Bytes::from(vec![1; length]) });
    assert_eq!(phone.ask(put(2, 100_000)).await, ResponseBody::Done(true));
    for _ in 0..10 {
        assert_eq!(phone.refused(put(2, 500_000)).await, Refusal::Stale);
    }
    assert_eq!(server.counted(Budget::Records(alice.id())).await, 100_000);
    assert_eq!(phone.ask(put(3, 1_000)).await, ResponseBody::Done(true));
    assert_eq!(server.counted(Budget::Records(alice.id())).await, 1_000);
}

#[tokio::test]
async fn an_append_that_is_refused_when_its_session_is_gone_counts_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&dir.path().join("rendezvous.redb")).unwrap();
    let server = server_on(store, |config| config.limits.log_entries = 1);
    let alice = Person::new(1, 1);
    let mut phone = Client::registered(&server, &alice, 0).await;
    phone.open(&log(1)).await;
    assert!(is_stored(&phone.append(&log(1), &[b"one"]).await));
    let stored = server.stored(alice.id()).await;
    for _ in 0..20 {
        // As far as it comes before it waits for the disk; then its session is gone.
        assert!(phone.append(&log(1), &[&[7; 60_000]]).now_or_never().is_none());
    }
    while server.stored(alice.id()).await > stored {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_new_account_has_small_inboxes() {
    let server = server(|_| {});
    let alice = Person::new(1, 2);
    let _phone = Client::registered(&server, &alice, 0).await;
    let mut laptop = Client::connect(&server, alice.device(1)).await;
    let mut taken = 0;
    for device in [0, 1] {
        while is_stored(&laptop.leave_item(alice.device(device), &[7; 120_000], &[]).await) {
            taken += 120_000;
        }
    }
    assert!((3 * MIB..5 * MIB).contains(&taken), "{taken}");
    server.grow_old(alice.id()).await;
    assert!(is_stored(&laptop.leave_item(alice.device(0), &[7; 120_000], &[]).await));
}

#[tokio::test]
async fn what_waits_for_a_device_goes_with_it() {
    let server = server(|_| {});
    let mut alice = Person::new(1, 2);
    let mut phone = Client::registered(&server, &alice, 0).await;
    let gone = alice.device(1);
    let mut laptop = Client::connect(&server, gone).await;
    let packages =
        KeyPackages { one_time: vec![Bytes::from(vec![1; 8_000]); 50], last_resort: Bytes::from(vec![1; 8_000]) };
    assert_eq!(laptop.ask(RequestBody::PublishKeyPackages(packages)).await, ResponseBody::KeyPackagesLeft(50));
    assert!(is_stored(&phone.leave_item(gone, b"item", &[]).await));
    assert!(server.stored(alice.id()).await > 400_000);
    alice.devices.truncate(1);
    assert_eq!(phone.publish(&alice, 1, "").await, ResponseBody::Done(true));
    assert_eq!((server.stored(alice.id()).await, server.in_streams().await), (0, 0));
    let devices = Devices { devices: vec![Bytes::copy_from_slice(&gone)] };
    let ResponseBody::KeyPackages(claimed) = phone.ask(RequestBody::ClaimKeyPackages(devices)).await else {
        unreachable!("no answer")
    };
    assert_eq!(claimed.packages, [Bytes::new()]);
}

#[tokio::test]
async fn new_accounts_together_leave_half_to_those_who_were_here_before() {
    let server = server(|config| config.limits.store_bytes = 4 * MIB);
    let alice = Person::new(1, 1);
    let mut phone = Client::registered(&server, &alice, 0).await;
    server.grow_old(alice.id()).await;
    phone.open(&log(1)).await;
    for n in 2..12 {
        let mut other = Client::registered(&server, &Person::new(n, 1), 0).await;
        for m in 0..20 {
            let own = LogKey::from_secret(&[n.wrapping_mul(20).wrapping_add(m); 32]);
            let opened = other.log(&own, LogVerb::Open, LogRequest::default()).await;
            while opened == ResponseBody::Done(true) && is_stored(&other.append(&own, &[&[7; 60_000]]).await) {}
        }
    }
    let young = server.in_streams().await - Head::default().cost();
    assert!((MIB..=2 * MIB).contains(&young), "{young}");
    assert!(is_stored(&phone.append(&log(1), &[&[7; 60_000]]).await));
}
