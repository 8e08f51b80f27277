//! Requests that are cut short between any two of their steps, by a crash or by a device that breaks off: what is left behind does no harm, and
//! repeating the request completes it.

use bytes::Bytes;
use starling_keys::InviteTicket;
use starling_wire::rendezvous::{InviteRecord, Refusal, RequestBody, ResponseBody};

use crate::{
    config::{Config, RegistrationMode},
    local::LocalServer,
    store::{
        Store,
        faults::{Fuse, fused},
        memory::MemoryStore,
    },
    testing::{Client, Person, SERVER_KEY, claim, log, look_up, refusal},
};

const TOKEN: InviteTicket = InviteTicket([5; 12]);

/// A server on a store that can be made to fail.
struct World {
    store: Store,
    fuse: Fuse,
    server: LocalServer,
}

impl World {
    fn new(mode: RegistrationMode) -> Self {
        let mut config = Config::default();
        config.registration.work_bits = 0;
        config.registration.mode = mode;
        config.limits.inbox_work_bits = 0;
        let (store, fuse) = (MemoryStore::default().parts(), Fuse::new());
        let server = LocalServer::with_store(fused(&store, &fuse), &config, SERVER_KEY);
        Self { store, fuse, server }
    }

    /// What an account stores, by its streams; what is counted is never less.
    async fn stored(&self, account: [u8; 32]) -> u64 {
        let streams = self.store.streams.scan(None, 1_000).await.unwrap();
        let stored =
            streams.iter().filter(|(_, head)| head.owner() == Some(account)).map(|(_, head)| head.cost()).sum();
        assert!(self.server.stored(account).await >= stored);
        stored
    }

    /// After the sweep, what is counted is right.
    async fn is_counted(&self, account: [u8; 32]) {
        self.server.sweep().await;
        assert_eq!(self.server.stored(account).await, self.stored(account).await);
    }
}

/// Runs `story` with a cut after 0 steps, 1 step, … until nothing is left to cut. It blows the fuse itself, and says whether it was blown.
async fn everywhere(mut story: impl AsyncFnMut(i64) -> bool) {
    for steps in 0..100 {
        if !story(steps).await {
            assert!(steps > 0, "no step at all");
            return;
        }
    }
    unreachable!("does not end");
}

#[tokio::test]
async fn a_registration_that_was_cut_short_costs_one_use_of_the_token() {
    everywhere(async |steps| {
        let world = World::new(RegistrationMode::Invite);
        let (alice, bob) = (Person::new(1, 2), Person::new(2, 1));
        world.server.put_registration("token", 1).await;
        let mut client = Client::connect(&world.server, alice.device(0)).await;
        world.fuse.blow_after(steps);
        client.publish(&alice, 1, "token").await;
        let blown = world.fuse.mend();

        let mut client = Client::connect(&world.server, alice.device(0)).await;
        assert_eq!(client.publish(&alice, 1, "token").await, ResponseBody::Done(true));
        assert_eq!(client.ask(claim("alice")).await, ResponseBody::Done(true));
        let mut other = Client::connect(&world.server, bob.device(0)).await;
        assert_eq!(refusal(&other.publish(&bob, 1, "token").await), Refusal::Denied);
        blown
    })
    .await;
}

#[tokio::test]
async fn a_device_list_that_was_cut_short_gives_no_device_to_two_accounts() {
    everywhere(async |steps| {
        let world = World::new(RegistrationMode::Open);
        let before = Person::new(1, 3);
        // The third is given up, a fourth is new.
        let mut after = Person::new(1, 4);
        after.devices.remove(2);
        let mut client = Client::registered(&world.server, &before, 0).await;
        world.fuse.blow_after(steps);
        client.publish(&after, 2, "").await;
        let blown = world.fuse.mend();

        // Who is in both lists keeps the account; who was given up has none as soon as the list is stored.
        let mut kept = Client::connect(&world.server, before.device(1)).await;
        assert!(matches!(kept.ask(RequestBody::GetSnapshot(true)).await, ResponseBody::Snapshot(_)));
        let ResponseBody::DeviceList(stored) =
            kept.ask(RequestBody::LookUp(Bytes::copy_from_slice(&before.id()))).await
        else {
            unreachable!("no list")
        };
        let mut gone = Client::connect(&world.server, before.device(2)).await;
        let answer = gone.ask(RequestBody::GetSnapshot(true)).await;
        assert_eq!(matches!(answer, ResponseBody::Refused(_)), stored == after.list(2));

        assert_eq!(client.publish(&after, 2, "").await, ResponseBody::Done(true));
        let mut gone = Client::connect(&world.server, before.device(2)).await;
        assert_eq!(gone.refused(RequestBody::GetSnapshot(true)).await, Refusal::NotRegistered);
        let mut new = Client::connect(&world.server, after.device(2)).await;
        assert!(matches!(new.ask(RequestBody::GetSnapshot(true)).await, ResponseBody::Snapshot(_)));
        // Who was given up may begin again with another account.
        world.server.sweep().await;
        let other = Person::with_device(9, &Person::new(1, 3).devices[2]);
        assert_eq!(gone.publish(&other, 1, "").await, ResponseBody::Done(true));
        blown
    })
    .await;
}

#[tokio::test]
async fn a_user_name_whose_claim_was_cut_short_belongs_to_one_account() {
    for rival in [false, true] {
        everywhere(async |steps| {
            let world = World::new(RegistrationMode::Open);
            let (alice, bob) = (Person::new(1, 1), Person::new(2, 1));
            let mut client = Client::registered(&world.server, &alice, 0).await;
            let mut other = Client::registered(&world.server, &bob, 0).await;
            assert_eq!(client.ask(claim("alice")).await, ResponseBody::Done(true));
            world.fuse.blow_after(steps);
            client.ask(claim("alicia")).await;
            let blown = world.fuse.mend();

            // She can be found by one name, whatever was done.
            let mut found = 0;
            for name in ["alice", "alicia"] {
                match other.ask(look_up(name)).await {
                    ResponseBody::DeviceList(list) if list == alice.list(1) => found += 1,
                    answer => assert_eq!(refusal(&answer), Refusal::NotFound),
                }
            }
            assert_eq!(found, 1);

            let taken = rival && other.ask(claim("alicia")).await == ResponseBody::Done(true);
            let again = client.ask(claim("alicia")).await;
            assert_eq!(again == ResponseBody::Done(true), !taken);
            world.server.sweep().await;
            let holder = if taken { &bob } else { &alice };
            assert_eq!(client.ask(look_up("alicia")).await, ResponseBody::DeviceList(holder.list(1)));
            let loser = if taken { &mut client } else { &mut other };
            assert_eq!(loser.refused(claim("alicia")).await, Refusal::Taken);
            blown
        })
        .await;
    }
}

#[tokio::test]
async fn an_item_by_invite_that_was_cut_short_arrives_for_one_use() {
    everywhere(async |steps| {
        let world = World::new(RegistrationMode::Open);
        let (alice, bob) = (Person::new(1, 1), Person::new(2, 1));
        let mut client = Client::registered(&world.server, &alice, 0).await;
        let mut other = Client::registered(&world.server, &bob, 0).await;
        let token_hash = Bytes::copy_from_slice(&TOKEN.hash());
        let invite = InviteRecord { token_hash, uses: 1, expires_at: u64::MAX };
        assert_eq!(client.ask(RequestBody::RegisterInvite(invite)).await, ResponseBody::Done(true));
        world.fuse.blow_after(steps);
        other.leave_item(alice.device(0), b"hello", &TOKEN.0).await;
        let blown = world.fuse.mend();
        if blown {
            assert!(matches!(other.leave_item(alice.device(0), b"hello", &TOKEN.0).await, ResponseBody::Appended(_)));
        }
        // Perhaps twice, which its reader notices; but nothing else.
        let items = client.inbox().await;
        assert!((1..=2).contains(&items.len()) && items.iter().all(|(_, item)| item == b"hello"));
        assert_eq!(refusal(&other.leave_item(alice.device(0), b"more", &TOKEN.0).await), Refusal::Denied);
        world.is_counted(alice.id()).await;
        blown
    })
    .await;
}

#[tokio::test]
async fn what_an_account_stores_is_never_counted_too_low_and_is_corrected() {
    everywhere(async |steps| {
        let world = World::new(RegistrationMode::Open);
        let alice = Person::new(1, 1);
        let mut client = Client::registered(&world.server, &alice, 0).await;
        client.open(&log(1)).await;
        assert_eq!(client.append(&log(1), &[b"one", b"two"]).await, ResponseBody::Appended(2));
        world.fuse.blow_after(steps);
        client.append(&log(1), &[b"three"]).await;
        client.trim(&log(1), &[1]).await;
        let blown = world.fuse.mend();
        world.stored(alice.id()).await;
        world.is_counted(alice.id()).await;
        assert_eq!(client.trim(&log(1), &[1, 2, 3]).await, ResponseBody::Done(true));
        // The empty log is left.
        let empty = crate::store::Head::default().cost();
        assert_eq!((client.read(&log(1)).await.len(), world.stored(alice.id()).await), (0, empty));
        assert_eq!(world.server.stored(alice.id()).await, empty);
        blown
    })
    .await;
}

#[tokio::test]
async fn the_next_log_is_opened_and_counted_once() {
    everywhere(async |steps| {
        let world = World::new(RegistrationMode::Open);
        let alice = Person::new(1, 1);
        let mut client = Client::registered(&world.server, &alice, 0).await;
        client.open(&log(1)).await;
        assert_eq!(client.commit(&log(1), b"commit", 0, false).await, ResponseBody::Appended(1));
        world.fuse.blow_after(steps);
        client.append_behind(&log(1), &log(2), b"next").await;
        let blown = world.fuse.mend();
        client.append_behind(&log(1), &log(2), b"next").await;
        let entries = client.read(&log(2)).await;
        assert!((1..=2).contains(&entries.len()) && entries.iter().all(|(_, text)| text == b"next"));
        assert_eq!(client.logs().await.len(), 2);
        world.is_counted(alice.id()).await;
        blown
    })
    .await;
}
