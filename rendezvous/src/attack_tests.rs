//! What members, former members and strangers can do to each other at a server, through its sessions.

use bytes::Bytes;
use starling_keys::InviteTicket;
use starling_wire::{
    LogKey, LogVerb, eraser_of,
    rendezvous::{InviteRecord, KeyPackages, LogRequest, Refusal, RequestBody, ResponseBody, Snapshot},
};

use crate::testing::{Client, MIB, Person, entry, is_full, is_stored, log, refusal, server, small_server};

/// Fills a log with messages and commits, then opens the next, and so on, until nothing is taken any more.
async fn fill(client: &mut Client, mut key: LogKey) {
    for _ in 0..100 {
        while is_stored(&client.append(&key, &[&[7; 60_000]]).await) {}
        while is_stored(&client.commit(&key, &[7; 60_000], 0, true).await) {}
        let next = LogKey::from_secret(blake3::hash(&key.address()).as_bytes());
        if is_full(&client.append_behind(&key, &next, &[7; 60_000]).await) {
            return;
        }
        key = next;
    }
}

#[tokio::test]
async fn who_holds_a_log_key_fills_neither_other_conversations_nor_inbox_nor_packages() {
    let server = small_server();
    let (alice, mallory) = (Person::new(1, 1), Person::new(2, 1));
    let mut phone = Client::registered(&server, &alice, 0).await;
    let mut attacker = Client::connect(&server, mallory.device(0)).await;
    for n in 1..=8 {
        phone.open(&log(n)).await;
    }
    // Whoever of them has the keys of six conversations.
    for n in 1..=6 {
        fill(&mut attacker, log(n)).await;
    }
    assert!(is_stored(&phone.append(&log(8), &[b"a message to a friend"]).await));
    phone.open(&log(9)).await;
    assert!(is_stored(&phone.append(&log(9), &[&[1; 60_000]]).await));
    let packages =
        KeyPackages { one_time: vec![Bytes::from(vec![1; 8_000]); 50], last_resort: Bytes::from(vec![1; 8_000]) };
    assert_eq!(phone.ask(RequestBody::PublishKeyPackages(packages)).await, ResponseBody::KeyPackagesLeft(50));
    assert_eq!(attacker.leave_item(alice.device(0), &[1; 60_000], &[]).await, ResponseBody::Appended(1));
}

#[tokio::test]
async fn an_account_lists_and_deletes_its_logs_and_nobody_elses() {
    let server = small_server();
    let (alice, mallory) = (Person::new(1, 1), Person::new(2, 1));
    let mut phone = Client::registered(&server, &alice, 0).await;
    let mut attacker = Client::registered(&server, &mallory, 0).await;
    phone.open(&log(1)).await;
    attacker.append(&log(1), &[b"one", b"two"]).await;
    assert_eq!(attacker.commit(&log(1), b"garbage", 0, false).await, ResponseBody::Appended(3));
    attacker.append_behind(&log(1), &log(2), &[7; 60_000]).await;
    let address = |n| Bytes::copy_from_slice(&log(n).address());

    let mut logs = phone.logs().await;
    logs.sort();
    let mut both = [(address(1), address(1)), (address(2), address(1))];
    both.sort();
    assert_eq!(logs, both);
    assert_eq!(attacker.logs().await, []);
    assert_eq!(attacker.refused(RequestBody::DeleteLog(address(2))).await, Refusal::NotFound);
    for n in [1, 2] {
        assert_eq!(phone.ask(RequestBody::DeleteLog(address(n))).await, ResponseBody::Done(true));
    }
    assert_eq!(phone.logs().await, []);
    assert_eq!(server.stored(alice.id()).await, 0);
    assert_eq!(refusal(&attacker.append(&log(2), &[b"more"]).await), Refusal::NotFound);
}

#[tokio::test]
async fn many_small_rows_are_no_way_around_a_budget() {
    let server = server(|config| config.limits.conversation_bytes = 64 * 1024);
    let mut phone = Client::registered(&server, &Person::new(1, 1), 0).await;
    phone.open(&log(1)).await;
    let tiny: Vec<&[u8]> = vec![b"x"; 256];
    let mut taken = 0;
    while is_stored(&phone.append(&log(1), &tiny).await) {
        taken += tiny.len();
    }
    assert!(taken < 1_100, "{taken}");
    let mut key = log(2);
    phone.open(&key).await;
    let mut chain = 0;
    loop {
        let next = LogKey::from_secret(blake3::hash(&key.address()).as_bytes());
        if !is_stored(&phone.append_behind(&key, &next, b"x").await) {
            break;
        }
        (key, chain) = (next, chain + 1);
    }
    assert!(chain < 2_000, "{chain}");
}

#[tokio::test]
async fn new_accounts_have_little() {
    let server = server(|config| config.limits.account_bytes = 32 * MIB);
    let mut phone = Client::registered(&server, &Person::new(1, 1), 0).await;
    let mut taken = 0;
    for n in 1..=40 {
        phone.open(&log(n)).await;
        while is_stored(&phone.append(&log(n), &[&[7; 60_000]]).await) {
            taken += 60_000;
        }
    }
    assert!((MIB..3 * MIB).contains(&taken), "{taken}");
}

#[tokio::test]
async fn a_full_server_serves_reads_and_deletes_and_has_room_again() {
    let server = server(|config| config.limits.store_bytes = MIB);
    let (alice, bob) = (Person::new(1, 1), Person::new(2, 1));
    let mut phone = Client::registered(&server, &alice, 0).await;
    server.grow_old(alice.id()).await;
    phone.open(&log(1)).await;
    let mut last = 0;
    while let ResponseBody::Appended(n) = phone.append(&log(1), &[&[7; 60_000]]).await {
        last = n;
    }
    assert!((10..=17).contains(&last), "{last}");
    assert!(is_full(&phone.leave_item(alice.device(0), &[7; 60_000], &[]).await));
    let snapshot = Snapshot { version: 1, sealed: Bytes::from(vec![1; 100_000]) };
    assert_eq!(phone.refused(RequestBody::PutSnapshot(snapshot)).await, Refusal::Full);
    let invite = InviteRecord { token_hash: Bytes::from(vec![1; 32]), uses: 1, expires_at: u64::MAX };
    assert_eq!(phone.refused(RequestBody::RegisterInvite(invite.clone())).await, Refusal::Full);
    let mut other = Client::connect(&server, bob.device(0)).await;
    assert_eq!(refusal(&other.publish(&bob, 1, "").await), Refusal::Full);

    let page = phone.log(&log(1), LogVerb::Read, LogRequest::default()).await;
    assert!(matches!(page, ResponseBody::Page(page) if page.entries.len() == 8 && page.more));
    assert_eq!(phone.trim(&log(1), &(1..=last).collect::<Vec<u64>>()).await, ResponseBody::Done(true));
    assert_eq!(phone.append(&log(1), &[b"again"]).await, ResponseBody::Appended(last + 1));
    assert_eq!(phone.ask(RequestBody::RegisterInvite(invite)).await, ResponseBody::Done(true));
    assert_eq!(other.publish(&bob, 1, "").await, ResponseBody::Done(true));
}

#[tokio::test]
async fn invites_count_for_who_registers_them() {
    let server = server(|_| {});
    let mut phone = Client::registered(&server, &Person::new(1, 1), 0).await;
    let invite = |n: u32| {
        let token_hash = Bytes::copy_from_slice(blake3::hash(&n.to_le_bytes()).as_bytes());
        RequestBody::RegisterInvite(InviteRecord { token_hash, uses: 1, expires_at: u64::MAX })
    };
    let mut taken = 0;
    while !is_full(&phone.ask(invite(taken)).await) {
        taken += 1;
        assert!(taken < 10_000, "invites are not counted");
    }
    server.sweep().await;
    assert!(is_full(&phone.ask(invite(taken)).await));
}

#[tokio::test]
async fn strangers_crowd_out_neither_friends_nor_invited_nor_own_devices() {
    let server = server(|config| config.limits.inbox_entries = 100);
    let (alice, bob, mallory) = (Person::new(1, 2), Person::new(2, 1), Person::new(3, 1));
    let mut phone = Client::registered(&server, &alice, 0).await;
    let mut laptop = Client::connect(&server, alice.device(1)).await;
    phone.open(&log(1)).await;
    let token = InviteTicket([5; 12]);
    let token_hash = Bytes::copy_from_slice(&token.hash());
    phone.ask(RequestBody::RegisterInvite(InviteRecord { token_hash, uses: 100, expires_at: u64::MAX })).await;

    let mut attacker = Client::connect(&server, mallory.device(0)).await;
    for n in 0..300_u16 {
        let left = attacker.leave_item(alice.device(0), &n.to_le_bytes(), &[]).await;
        assert!(matches!(left, ResponseBody::Appended(_)), "{left:?}");
    }
    // A fifth of the inbox, and the newest of them.
    let strangers: Vec<Vec<u8>> = (280..300_u16).map(|n| n.to_le_bytes().to_vec()).collect();
    let texts = |all: Vec<(u64, Vec<u8>)>| all.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
    assert_eq!(texts(phone.inbox().await), strangers);

    // Whoever has a token may fill a fifth, too, and members of conversations two; none is displaced, or displaces.
    let mut guest = Client::connect(&server, bob.device(0)).await;
    for n in 0..20 {
        let left = guest.leave_item(alice.device(0), &[n], &token.0).await;
        assert!(matches!(left, ResponseBody::Appended(_)), "{left:?}");
    }
    assert!(is_full(&guest.leave_item(alice.device(0), &[20], &token.0).await));
    let mut vouched = 0;
    while is_stored(&guest.leave_vouched(alice.device(0), &[vouched], &log(1)).await) {
        vouched += 1;
    }
    assert_eq!(vouched, 13, "half of what is left free");
    // The members of other conversations have room, whatever is left in the first.
    for n in 2..=6 {
        phone.open(&log(n)).await;
        assert!(is_stored(&guest.leave_vouched(alice.device(0), &[vouched], &log(n)).await));
        assert!(is_full(&guest.leave_vouched(alice.device(0), b"more", &log(1)).await));
        vouched += 1;
    }
    assert!(matches!(laptop.leave_item(alice.device(0), b"own", &[]).await, ResponseBody::Appended(_)));
    let items = texts(phone.inbox().await);
    assert_eq!((items.len(), &items[..20], items[58].as_slice()), (59, &strangers[..], &b"own"[..]));
}

#[tokio::test]
async fn who_shares_a_full_conversation_leaves_an_item_with_work() {
    let server = server(|config| (config.limits.inbox_entries, config.limits.inbox_work_bits) = (100, 4));
    let alice = Person::new(1, 1);
    let mut phone = Client::registered(&server, &alice, 0).await;
    phone.open(&log(1)).await;
    let mut former = Client::connect(&server, Person::new(2, 1).device(0)).await;
    while is_stored(&former.leave_vouched(alice.device(0), b"junk", &log(1)).await) {}
    let mut friend = Client::connect(&server, Person::new(3, 1).device(0)).await;
    assert!(is_full(&friend.leave_vouched(alice.device(0), b"item", &log(1)).await));
    assert!(is_stored(&friend.leave_vouched_for(alice.device(0), b"item", &log(1), 4).await));
    assert_eq!(phone.inbox().await.last().unwrap().1, b"item");
}

#[tokio::test]
async fn nobody_vouches_for_himself() {
    let server = server(|config| config.limits.inbox_work_bits = 8);
    let (alice, mallory) = (Person::new(1, 1), Person::new(2, 1));
    let mut phone = Client::registered(&server, &alice, 0).await;
    phone.open(&log(1)).await;
    let mut attacker = Client::registered(&server, &mallory, 0).await;
    attacker.open(&log(2)).await;
    for of in [log(2), log(3)] {
        assert_eq!(refusal(&attacker.leave_vouched(alice.device(0), b"spam", &of).await), Refusal::Denied);
    }
    assert_eq!(phone.inbox().await, []);
}

#[tokio::test]
async fn the_work_of_strangers_rises_with_what_they_leave() {
    let server = server(|config| {
        config.limits.inbox_entries = 100;
        config.limits.inbox_work_bits = 6;
    });
    let (alice, mallory) = (Person::new(1, 1), Person::new(2, 1));
    Client::registered(&server, &alice, 0).await;
    let mut attacker = Client::connect(&server, mallory.device(0)).await;
    let mut bits = Vec::new();
    for n in 0..40_u8 {
        // Without work, which is enough by chance only.
        let mut asked = 0;
        while let ResponseBody::Refused(refused) = attacker.leave_item_for(alice.device(0), &[n], &[], asked).await {
            assert_eq!(refused.reason(), Refusal::Denied);
            asked = refused.work_bits;
            bits.push(asked);
        }
    }
    assert!(bits.is_sorted() && bits.first() == Some(&6) && bits.last() == Some(&10), "{bits:?}");
}

#[tokio::test]
async fn only_the_author_deletes_entries() {
    let server = server(|_| {});
    let mut alice = Client::registered(&server, &Person::new(1, 1), 0).await;
    let mut mallory = Client::connect(&server, Person::new(2, 1).device(0)).await;
    alice.open(&log(1)).await;
    let secret = [9; 32];
    let protected = LogRequest {
        entries: vec![Bytes::from("mine")],
        eraser: Bytes::copy_from_slice(&eraser_of(&secret)),
        ..LogRequest::default()
    };
    assert_eq!(alice.log(&log(1), LogVerb::Append, protected).await, ResponseBody::Appended(1));
    let erase = |erasing: &[u8]| LogRequest {
        sequences: vec![1],
        erasing: Bytes::copy_from_slice(erasing),
        ..LogRequest::default()
    };
    for wrong in [&[][..], &[8; 32], &eraser_of(&secret)] {
        mallory.log(&log(1), LogVerb::Trim, erase(wrong)).await;
        // Nor by a receipt that claims to replace it.
        let receipt = LogRequest { entries: vec![Bytes::from("r")], receipt: true, ..erase(wrong) };
        mallory.log(&log(1), LogVerb::Append, receipt).await;
    }
    assert_eq!(alice.read(&log(1)).await[0], entry(1, "mine"));
    // Garbage in place of a commit takes nothing away either.
    mallory.commit(&log(1), b"garbage", 0, true).await;
    mallory.trim(&log(1), &[1, 2, 3, 4, 5]).await;
    assert_eq!(alice.read(&log(1)).await, [entry(1, "mine"), entry(5, "garbage")]);
    assert_eq!(alice.log(&log(1), LogVerb::Trim, erase(&secret)).await, ResponseBody::Done(true));
    assert_eq!(alice.read(&log(1)).await, [entry(5, "garbage")]);
}
