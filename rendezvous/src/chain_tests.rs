//! Device chains at a server: what counts is stored, for whom it is, and nothing that a removed device or a stranger offers.

use bytes::Bytes;
use starling_keys::{
    AccountKey, DeviceKey,
    chain::{Age, ChainError, DeviceChain, Joining, Rights, SignWith},
};
use starling_wire::rendezvous::{ChainSince, Publish, Refusal, RequestBody, ResponseBody, Snapshot};

use crate::{
    config::{Config, RegistrationMode},
    local::LocalServer,
    store::{
        faults::{Fuse, fused},
        memory::MemoryStore,
    },
    testing::{Client, Person, SERVER_KEY, refusal},
};

fn config() -> Config {
    let mut config = Config::default();
    config.registration.work_bits = 0;
    config.limits.inbox_work_bits = 0;
    config
}

fn server() -> LocalServer {
    LocalServer::with_store(MemoryStore::default().parts(), &config(), SERVER_KEY)
}

fn device(n: u8) -> DeviceKey {
    DeviceKey::from_seed(&[n; 32])
}

fn joining(root: &AccountKey, device: &DeviceKey) -> Joining {
    Joining::sign(device, &root.id(), vec![1; 1216])
}

/// The account of the key with this seed, with two devices that are admins.
fn two_devices(seed: u8) -> (AccountKey, DeviceKey, DeviceKey, DeviceChain) {
    let (root, laptop, phone) = (AccountKey::from_seed(&[seed; 32]), device(seed + 1), device(seed + 2));
    let chain = DeviceChain::create(&root, 1, [0; 32], &joining(&root, &laptop)).unwrap();
    let chain = chain.add(&SignWith::Device(&laptop), 1, &joining(&root, &phone), Rights::Admin).unwrap();
    (root, laptop, phone, chain)
}

async fn connect(server: &LocalServer, device: &DeviceKey) -> Client {
    Client::connect(server, *device.id().as_bytes()).await
}

async fn publish(client: &mut Client, bytes: &[u8]) -> ResponseBody {
    let device_list = Bytes::copy_from_slice(bytes);
    client.ask(RequestBody::Publish(Publish { device_list, solution: Some(0), token: String::new() })).await
}

async fn stored(client: &mut Client, chain: &DeviceChain) -> DeviceChain {
    let account = Bytes::copy_from_slice(chain.account.as_bytes());
    match client.ask(RequestBody::LookUp(account)).await {
        ResponseBody::DeviceList(bytes) => DeviceChain::from_bytes(&bytes).unwrap(),
        answer => unreachable!("{answer:?}"),
    }
}

#[tokio::test]
async fn entries_are_taken_on_top_of_the_head_that_is_stored_and_given_from_any_place() {
    let server = server();
    let (_, laptop, phone, chain) = two_devices(10);
    let (mut one, mut two) = (connect(&server, &laptop).await, connect(&server, &phone).await);
    assert_eq!(publish(&mut one, chain.as_bytes()).await, ResponseBody::Done(true));
    let next = chain.set_homes(&SignWith::Device(&laptop), 2, &[]).unwrap();
    assert_eq!(publish(&mut one, &next.encode_from(chain.len())).await, ResponseBody::Done(true));
    assert_eq!(stored(&mut two, &chain).await, next);
    // Nothing that was, and nothing beside it.
    assert_eq!(refusal(&publish(&mut two, chain.as_bytes()).await), Refusal::Stale);
    let lost = chain.set_homes(&SignWith::Device(&phone), 3, &[]).unwrap();
    let beside = next.reconcile(&lost, Age::default()).unwrap() == next;
    assert_eq!(publish(&mut two, lost.as_bytes()).await == ResponseBody::Done(true), !beside);

    let since = |length: u32, head: [u8; 32]| ChainSince {
        account: Bytes::copy_from_slice(chain.account.as_bytes()),
        length,
        head: Bytes::copy_from_slice(&head),
    };
    let ask = RequestBody::LookUpSince(since(chain.len(), chain.head().0));
    let ResponseBody::DeviceList(end) = two.ask(ask).await else { unreachable!("no chain") };
    assert!(end.len() < chain.as_bytes().len());
    assert_eq!(DeviceChain::read(&end, &chain).unwrap().len(), 4);
    let ask = RequestBody::LookUpSince(since(chain.len(), [7; 32]));
    let ResponseBody::DeviceList(whole) = two.ask(ask).await else { unreachable!("no chain") };
    assert_eq!(DeviceChain::from_bytes(&whole).unwrap().len(), 4);
}

#[tokio::test]
async fn a_removed_device_with_all_its_keys_changes_nothing_and_has_no_account() {
    let server = server();
    let (root, laptop, thief, chain) = two_devices(20);
    let mut owner = connect(&server, &laptop).await;
    let mut gone = connect(&server, &thief).await;
    assert_eq!(publish(&mut owner, chain.as_bytes()).await, ResponseBody::Done(true));
    let removed = chain.remove(&SignWith::Device(&laptop), 2, thief.id()).unwrap();
    assert_eq!(publish(&mut owner, &removed.encode_from(chain.len())).await, ResponseBody::Done(true));

    let with = SignWith::Device(&thief);
    let ghost = device(99);
    assert_eq!(removed.set_homes(&with, 3, &[]).err(), Some(ChainError::NotAdmin));
    let rivals = [
        chain.clone(),
        chain.set_homes(&with, u64::MAX, &[]).unwrap(),
        chain.add(&with, u64::MAX, &joining(&root, &ghost), Rights::Admin).unwrap(),
        chain.remove(&with, 2, laptop.id()).unwrap(),
        removed.reconcile(&chain.remove(&with, 2, laptop.id()).unwrap(), Age::default()).unwrap(),
    ];
    let mut helper = connect(&server, &ghost).await;
    for rival in &rivals {
        for client in [&mut gone, &mut helper] {
            let refused = refusal(&publish(client, rival.as_bytes()).await);
            assert!(matches!(refused, Refusal::Denied | Refusal::Stale), "{refused:?}");
        }
    }
    assert_eq!(stored(&mut owner, &chain).await, removed);
    let snapshot = Snapshot { version: 9, sealed: Bytes::new() };
    assert_eq!(gone.refused(RequestBody::PutSnapshot(snapshot)).await, Refusal::NotRegistered);
    // The list of version 0.1 that a key of that time can still sign takes no chain's place.
    let old = Person::with_device(20, &thief).old_list(u64::MAX);
    assert_eq!(refusal(&publish(&mut gone, &old).await), Refusal::Denied);
    assert_eq!(stored(&mut owner, &chain).await, removed);
}

#[tokio::test]
async fn nobody_takes_a_device_that_has_not_signed_that_it_is_theirs() {
    let server = server();
    let (_, laptop, phone, chain) = two_devices(30);
    let mallory = (AccountKey::from_seed(&[40; 32]), device(41));
    let mut thief = connect(&server, &mallory.1).await;
    // Neither as one that was there in version 0.1 …
    let key = vec![1; 1216];
    let devices = vec![(mallory.1.id(), key.clone()), (laptop.id(), key)];
    let adopted = DeviceChain::adopt(&mallory.0, 1, [0; 32], devices, &[]).unwrap();
    assert_eq!(publish(&mut thief, adopted.as_bytes()).await, ResponseBody::Done(true));
    let mut one = connect(&server, &laptop).await;
    assert_eq!(publish(&mut one, chain.as_bytes()).await, ResponseBody::Done(true));
    assert!(matches!(one.ask(RequestBody::GetSnapshot(true)).await, ResponseBody::Snapshot(_)));
    // … nor with a signature that was for another account.
    let stolen = joining(&AccountKey::from_seed(&[30; 32]), &phone);
    let taken = adopted.add(&SignWith::Device(&mallory.1), 2, &stolen, Rights::Member);
    assert_eq!(taken.err(), Some(ChainError::Signature));
    // A device that does belong to an account is not given to another.
    let both = adopted.add(&SignWith::Device(&mallory.1), 2, &joining(&mallory.0, &phone), Rights::Member).unwrap();
    assert_eq!(refusal(&publish(&mut thief, both.as_bytes()).await), Refusal::Taken);
}

#[tokio::test]
async fn two_changes_at_the_same_time_are_one_after_the_other_wherever_one_is_cut_short() {
    for steps in 0..40 {
        let (memory, fuse) = (MemoryStore::default().parts(), Fuse::new());
        let server = LocalServer::with_store(fused(&memory, &fuse), &config(), SERVER_KEY);
        let (root, laptop, phone, chain) = two_devices(50);
        let (mut one, mut two) = (connect(&server, &laptop).await, connect(&server, &phone).await);
        assert_eq!(publish(&mut one, chain.as_bytes()).await, ResponseBody::Done(true));
        let removal = chain.remove(&SignWith::Device(&laptop), 2, phone.id()).unwrap();
        let ghost = chain.add(&SignWith::Device(&phone), 2, &joining(&root, &device(59)), Rights::Admin).unwrap();
        fuse.blow_after(steps);
        publish(&mut one, removal.as_bytes()).await;
        let blown = fuse.mend();
        publish(&mut two, ghost.as_bytes()).await;
        // The removal counts before the other in whatever order they come, and is completed when it is repeated.
        assert_eq!(publish(&mut one, removal.as_bytes()).await, ResponseBody::Done(true));
        assert_eq!(stored(&mut one, &chain).await, removal);
        assert_eq!(two.refused(RequestBody::GetSnapshot(true)).await, Refusal::NotRegistered);
        if !blown {
            return;
        }
    }
    unreachable!("does not end");
}

#[tokio::test]
async fn an_account_of_version_0_1_goes_on_with_a_chain_and_never_back() {
    let server = server();
    let alice = Person::new(70, 2);
    let (key, phone) = (vec![1; 1216], &alice.devices[1]);
    let devices = alice.devices.iter().map(|d| (d.id(), key.clone())).collect();
    let chain = DeviceChain::adopt(&alice.account, 1, [0; 32], devices, &[]).unwrap();
    let mut one = connect(&server, &alice.devices[0]).await;
    assert_eq!(refusal(&publish(&mut one, &alice.old_list(5)).await), Refusal::Denied);
    assert_eq!(publish(&mut one, chain.as_bytes()).await, ResponseBody::Done(true));
    // The other device belongs to the account as soon as it is here.
    let mut two = connect(&server, phone).await;
    assert_eq!(publish(&mut two, chain.as_bytes()).await, ResponseBody::Done(true));
    assert!(matches!(two.ask(RequestBody::GetSnapshot(true)).await, ResponseBody::Snapshot(_)));
}

/// A chain with so many entries, the last of which nobody has signed.
fn forged(seed: u8, entries: u32) -> (DeviceKey, Vec<u8>) {
    let (_, laptop, _, mut chain) = two_devices(seed);
    while chain.len() < entries {
        chain = chain.set_homes(&SignWith::Device(&laptop), 2, &[]).unwrap();
    }
    let mut bytes = chain.as_bytes().to_vec();
    let last = chain.entries().last().unwrap().as_bytes();
    let at = bytes.windows(last.len()).position(|window| window == last).unwrap();
    bytes[at + last.len() - 40] ^= 1;
    (laptop, bytes)
}

#[tokio::test]
async fn no_signature_is_checked_of_a_chain_that_nobody_has_paid_for() {
    let mut config = config();
    config.registration.mode = RegistrationMode::Closed;
    let server = LocalServer::with_store(MemoryStore::default().parts(), &config, SERVER_KEY);
    let (stranger, chain) = forged(80, 10);
    let mut client = connect(&server, &stranger).await;
    // A wrong signature would be `Denied`.
    assert_eq!(refusal(&publish(&mut client, &chain).await), Refusal::RegistrationClosed);
}

#[tokio::test]
async fn a_long_chain_counts_as_many_requests() {
    let mut config = config();
    (config.limits.requests_per_second, config.limits.request_burst) = (1, 100);
    let server = LocalServer::with_store(MemoryStore::default().parts(), &config, SERVER_KEY);
    let (stranger, chain) = forged(90, 60);
    let mut client = connect(&server, &stranger).await;
    assert_eq!(refusal(&publish(&mut client, &chain).await), Refusal::Denied);
    assert_eq!(refusal(&publish(&mut client, &chain).await), Refusal::RateLimited);
    // Others are not concerned.
    let (_, laptop, _, chain) = two_devices(95);
    assert_eq!(publish(&mut connect(&server, &laptop).await, chain.as_bytes()).await, ResponseBody::Done(true));
}

#[tokio::test]
async fn no_device_uses_up_the_versions_of_snapshots() {
    let server = server();
    let (root, laptop, bot, chain) = two_devices(110);
    let mut one = connect(&server, &laptop).await;
    assert_eq!(publish(&mut one, chain.as_bytes()).await, ResponseBody::Done(true));
    let mut two = connect(&server, &bot).await;
    let put = |version| RequestBody::PutSnapshot(Snapshot { version, sealed: Bytes::from("sealed") });
    for version in [u64::MAX, u64::MAX - 1, 1 << 40, 0] {
        assert_eq!(two.refused(put(version)).await, Refusal::Stale);
    }
    // What was counted to at another server, then one after the other, with some left out.
    for version in [100_000, 100_001, 100_900] {
        assert_eq!(two.ask(put(version)).await, ResponseBody::Done(true));
    }
    assert_eq!(one.refused(put(100_900)).await, Refusal::Stale);
    // Who recovers the account reads what there is, and counts from the start.
    let phrase = device(119);
    let recovered = chain.recover(&root, 2, &joining(&root, &phrase)).unwrap();
    let mut owner = connect(&server, &phrase).await;
    assert_eq!(publish(&mut owner, recovered.as_bytes()).await, ResponseBody::Done(true));
    let stored = owner.ask(RequestBody::GetSnapshot(true)).await;
    assert_eq!(stored, ResponseBody::Snapshot(Snapshot { version: 0, sealed: Bytes::from("sealed") }));
    assert_eq!(owner.ask(put(2)).await, ResponseBody::Done(true));
    // Not once more when the chain comes again.
    assert_eq!(publish(&mut owner, recovered.as_bytes()).await, ResponseBody::Done(true));
    assert_eq!(owner.refused(put(2)).await, Refusal::Stale);
}

#[tokio::test]
async fn sessions_of_the_devices_before_end_where_the_root_has_begun_anew() {
    let server = server();
    let (root, laptop, phone, chain) = two_devices(100);
    let (mut one, mut two) = (connect(&server, &laptop).await, connect(&server, &phone).await);
    assert_eq!(publish(&mut one, chain.as_bytes()).await, ResponseBody::Done(true));
    // From the phrase alone: this chain has not removed the others, as it knows none of them.
    let back = device(109);
    let anew = DeviceChain::restart(&root, 2, [0; 32], &joining(&root, &back)).unwrap();
    assert!(!anew.has_removed(&laptop.id()));
    assert_eq!(publish(&mut connect(&server, &back).await, anew.as_bytes()).await, ResponseBody::Done(true));
    let told = ResponseBody::DeviceList(Bytes::copy_from_slice(anew.as_bytes()));
    for client in [&mut one, &mut two] {
        let pushed: Vec<ResponseBody> = std::iter::from_fn(|| client.session.pushed()).filter_map(|r| r.body).collect();
        assert_eq!(pushed.last(), Some(&told), "it learns why");
        assert!(client.session.is_ended());
    }
}
