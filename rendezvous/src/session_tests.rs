//! Sessions: whose they are, when they end, and how much goes through them.

use bytes::Bytes;
use starling_wire::{
    LogVerb,
    rendezvous::{CodeMessage, Devices, KeyPackages, LogRequest, Refusal, RequestBody, ResponseBody, Snapshot},
};

use crate::testing::{Client, Person, claim, entry, is_full, is_stored, log, look_up, refusal, server, small_server};

#[tokio::test]
async fn who_is_banned_writes_nothing_anywhere() {
    let server = server(|_| {});
    let (alice, mallory) = (Person::new(1, 1), Person::new(2, 1));
    let mut phone = Client::registered(&server, &alice, 0).await;
    let mut spammer = Client::registered(&server, &mallory, 0).await;
    phone.open(&log(1)).await;
    assert_eq!(spammer.append(&log(1), &[b"before"]).await, ResponseBody::Appended(1));
    server.ban(mallory.id()).await;
    assert_eq!(refusal(&spammer.append(&log(1), &[b"spam"]).await), Refusal::Banned);
    assert_eq!(refusal(&spammer.commit(&log(1), b"spam", 0, true).await), Refusal::Banned);
    assert_eq!(refusal(&spammer.trim(&log(1), &[1]).await), Refusal::Banned);
    assert_eq!(refusal(&spammer.leave_item(alice.device(0), b"spam", &[]).await), Refusal::Banned);
    let signal = LogRequest { entries: vec![Bytes::from("s")], ..LogRequest::default() };
    assert_eq!(refusal(&spammer.log(&log(1), LogVerb::Signal, signal).await), Refusal::Banned);
    assert_eq!(phone.read(&log(1)).await, [entry(1, "before")]);
}

#[tokio::test]
async fn nobody_writes_for_who_is_banned_who_is_a_stranger() {
    let server = server(|config| {
        (config.limits.requests_per_second, config.limits.request_burst) = (1, 50);
    });
    let (mallory, friend) = (Person::new(2, 2), Person::new(3, 1));
    let mut owner = Client::registered(&server, &mallory, 0).await;
    owner.open(&log(1)).await;
    let mut throw_away = Client::connect(&server, friend.device(0)).await;
    assert!(is_stored(&throw_away.append(&log(1), &[b"before"]).await));
    server.ban(mallory.id()).await;
    assert!(is_full(&throw_away.append(&log(1), &[b"after"]).await));
    assert!(is_full(&throw_away.append_behind(&log(1), &log(2), b"after").await));
    assert!(is_full(&throw_away.commit(&log(1), b"after", 0, true).await));
    assert_eq!(refusal(&throw_away.leave_item(mallory.device(0), b"item", &[]).await), Refusal::NotFound);
    // Its devices count each for itself, as strangers' do, and not as an account's.
    let (mut one, mut two) =
        (Client::connect(&server, mallory.device(0)).await, Client::connect(&server, mallory.device(1)).await);
    for client in [&mut one, &mut two] {
        for _ in 0..40 {
            assert_eq!(client.refused(RequestBody::GetSnapshot(true)).await, Refusal::Banned);
        }
        assert_eq!(refusal(&client.append(&log(1), &[b"after"]).await), Refusal::Banned);
    }
}

#[tokio::test]
async fn a_ping_is_answered_to_everybody_who_may_ask() {
    let server = server(|_| {});
    let mut stranger = Client::connect(&server, Person::new(1, 1).device(0)).await;
    assert_eq!(stranger.ask(RequestBody::Ping(true)).await, ResponseBody::Done(true));
}

#[tokio::test]
async fn the_session_of_a_device_ends_with_its_removal() {
    let server = server(|_| {});
    let mut alice = Person::new(1, 2);
    let mut phone = Client::registered(&server, &alice, 0).await;
    let mut laptop = Client::connect(&server, alice.device(1)).await;
    assert!(!laptop.session.is_ended());
    alice.devices.truncate(1);
    assert_eq!(phone.publish(&alice, 1, "").await, ResponseBody::Done(true));
    let pushed = laptop.session.pushed().and_then(|pushed| pushed.body);
    assert_eq!(pushed, Some(ResponseBody::DeviceList(alice.list(1))), "it learns why");
    assert!(laptop.session.is_ended() && !phone.session.is_ended());
}

#[tokio::test]
async fn sessions_of_who_is_banned_end() {
    let server = server(|_| {});
    let mallory = Person::new(2, 1);
    let spammer = Client::registered(&server, &mallory, 0).await;
    let other = Client::registered(&server, &Person::new(3, 1), 0).await;
    server.ban(mallory.id()).await;
    assert!(spammer.session.is_ended() && !other.session.is_ended());
}

#[tokio::test]
async fn floods_of_signals_and_entries_end_no_slow_follower() {
    let server = server(|_| {});
    let mut alice = Client::registered(&server, &Person::new(1, 1), 0).await;
    let mut mallory = Client::connect(&server, Person::new(2, 1).device(0)).await;
    alice.open(&log(1)).await;
    alice.read(&log(1)).await;
    let signal = || LogRequest { entries: vec![Bytes::from("s")], ..LogRequest::default() };
    for _ in 0..400 {
        assert_eq!(mallory.log(&log(1), LogVerb::Signal, signal()).await, ResponseBody::Done(true));
    }
    for _ in 0..400 {
        assert!(is_stored(&mallory.append(&log(1), &[b"e"]).await));
    }
    assert!(!alice.session.is_ended());
    // There was room for some of both; then the log is to be read on.
    let pushed: Vec<ResponseBody> = std::iter::from_fn(|| alice.session.pushed()).filter_map(|r| r.body).collect();
    let count = |which: fn(&ResponseBody) -> bool| pushed.iter().filter(|body| which(body)).count();
    assert!(count(|body| matches!(body, ResponseBody::Signal(_))) >= 100);
    assert!(count(|body| matches!(body, ResponseBody::Page(page) if !page.entries.is_empty())) >= 100);
    assert!(count(|body| matches!(body, ResponseBody::Page(page) if page.more)) == 1);
    assert!(is_stored(&mallory.append(&log(1), &[b"e"]).await));
    assert!(matches!(alice.session.pushed().unwrap().body, Some(ResponseBody::Page(page)) if page.entries.len() == 1));
}

#[tokio::test]
async fn notices_end_no_slow_follower_and_are_seen_when_there_is_room() {
    let server = server(|_| {});
    let alice = Person::new(1, 2);
    let mut laptop = Client::registered(&server, &alice, 1).await;
    let mut phone = Client::connect(&server, alice.device(0)).await;
    let mut mallory = Client::connect(&server, Person::new(2, 1).device(0)).await;
    phone.open(&log(1)).await;
    phone.read(&log(1)).await;
    for _ in 0..300 {
        assert!(is_stored(&mallory.append(&log(1), &[b"e"]).await));
    }
    // The queue is full.
    for item in [b"a", b"b"] {
        assert!(is_stored(&mallory.leave_vouched(alice.device(0), item, &log(1)).await));
    }
    let put = |version| RequestBody::PutSnapshot(Snapshot { version, sealed: Bytes::new() });
    for version in [1, 2] {
        assert_eq!(laptop.ask(put(version)).await, ResponseBody::Done(true));
    }
    for version in [2, 3] {
        assert_eq!(laptop.publish(&alice, version, "").await, ResponseBody::Done(true));
    }
    let ResponseBody::CodePlace(place) = phone.ask(RequestBody::CodeOpen(true)).await else { unreachable!("no place") };
    let guess = CodeMessage { place, pake: Bytes::from(vec![1; 33]), ..CodeMessage::default() };
    assert_eq!(mallory.refused(RequestBody::CodeTry(guess)).await, Refusal::NotFound);
    assert!(!phone.session.is_ended());
    let pushed: Vec<ResponseBody> = std::iter::from_fn(|| phone.session.pushed()).filter_map(|r| r.body).collect();
    let count = |which: &dyn Fn(&ResponseBody) -> bool| pushed.iter().filter(|body| which(body)).count();
    assert_eq!(count(&|body| matches!(body, ResponseBody::Page(page) if page.address.is_empty() && page.more)), 1);
    assert_eq!(count(&|body| matches!(body, ResponseBody::Snapshot(snapshot) if snapshot.version == 2)), 1);
    assert_eq!(count(&|body| *body == ResponseBody::DeviceList(alice.list(3))), 1);
}

#[tokio::test]
async fn guesses_at_places_of_codes_end_soon() {
    let server = server(|_| {});
    let mut phone = Client::registered(&server, &Person::new(1, 1), 0).await;
    let ResponseBody::CodePlace(open) = phone.ask(RequestBody::CodeOpen(true)).await else { unreachable!("no place") };
    let guess =
        |place| RequestBody::CodeTry(CodeMessage { place, pake: Bytes::from(vec![1; 33]), ..CodeMessage::default() });
    let ip = "192.0.2.1".parse().unwrap();
    let mut found_nothing = 0;
    for n in 0..40 {
        let mut client = Client::connect_from(&server, Person::new(n + 10, 1).device(0), ip).await;
        if client.refused(guess(u32::from(n) + 1)).await == Refusal::NotFound {
            found_nothing += 1;
        }
    }
    assert!((10..=20).contains(&found_nothing), "{found_nothing}");
    let mut user = Client::connect_from(&server, Person::new(3, 1).device(0), "198.51.100.1".parse().unwrap()).await;
    assert_eq!(user.ask(guess(open)).await, ResponseBody::Done(true));
}

#[tokio::test]
async fn who_opened_a_code_is_told_whether_who_tries_it_is_in_the_same_network() {
    let server = server(|_| {});
    let alice = Person::new(1, 1);
    let mut phone = Client::connect_from(&server, alice.device(0), "192.0.2.1".parse().unwrap()).await;
    phone.publish(&alice, 1, "").await;
    let mut said = Vec::new();
    for (n, at) in [(2, "192.0.2.200"), (3, "198.51.100.1")] {
        let ResponseBody::CodePlace(place) = phone.ask(RequestBody::CodeOpen(true)).await else { panic!("no place") };
        let mut guest = Client::connect_from(&server, Person::new(n, 1).device(0), at.parse().unwrap()).await;
        // Whatever the guest says of itself.
        for sealed in ["", "and then the request"] {
            let pake = Bytes::from(vec![1; 33]);
            let tried = CodeMessage { place, pake, sealed: Bytes::from(sealed), same_network: true, attempt: 9 };
            assert_eq!(guest.ask(RequestBody::CodeTry(tried)).await, ResponseBody::Done(true));
            let Some(ResponseBody::Code(seen)) = phone.session.pushed().and_then(|pushed| pushed.body) else {
                panic!("not passed on")
            };
            said.push((seen.attempt, seen.same_network));
        }
    }
    assert_eq!(said, [(1, true), (1, true), (1, false), (1, false)]);
}

#[tokio::test]
async fn lists_of_many_logs_count_as_many_requests() {
    let server = server(|config| (config.limits.requests_per_second, config.limits.request_burst) = (1, 500));
    let mut phone = Client::registered(&server, &Person::new(1, 1), 0).await;
    for n in 0..=255 {
        phone.open(&log(n)).await;
    }
    let mut lists = 0;
    while matches!(phone.ask(RequestBody::ListLogs(Bytes::new())).await, ResponseBody::Logs(_)) {
        lists += 1;
        assert!(lists < 100, "not bounded");
    }
    assert!((5..30).contains(&lists), "{lists}");
}

#[tokio::test]
async fn reading_and_leaving_in_turn_is_bounded() {
    let server = server(|_| {});
    let mut alice = Client::registered(&server, &Person::new(1, 1), 0).await;
    alice.open(&log(1)).await;
    let address = Bytes::copy_from_slice(&log(1).address());
    for n in 0.. {
        assert!(n < 2_000, "not bounded");
        if n % 100 == 99 {
            // Also not by another session.
            alice = Client::connect(&server, Person::new(1, 1).device(0)).await;
        }
        alice.read(&log(1)).await;
        if let ResponseBody::Refused(refused) = alice.ask(RequestBody::LogLeave(address.clone())).await {
            assert_eq!(refused.reason(), Refusal::RateLimited);
            return;
        }
    }
}

#[tokio::test]
async fn nobody_claims_all_key_packages_of_a_device() {
    let server = server(|_| {});
    let alice = Person::new(1, 1);
    let mut phone = Client::registered(&server, &alice, 0).await;
    let packages = KeyPackages {
        one_time: (0..50_u8).map(|n| Bytes::from(vec![n])).collect(),
        last_resort: Bytes::from("last resort"),
    };
    assert_eq!(phone.ask(RequestBody::PublishKeyPackages(packages)).await, ResponseBody::KeyPackagesLeft(50));
    let claim = || {
        let devices = vec![Bytes::copy_from_slice(&alice.device(0)); 32];
        RequestBody::ClaimKeyPackages(Devices { devices })
    };
    let one_time = |answer: ResponseBody| {
        let ResponseBody::KeyPackages(claimed) = answer else { return 0 };
        assert!(claimed.packages.iter().all(|package| !package.is_empty()), "the last-resort one is always there");
        claimed.packages.iter().filter(|package| package.len() == 1).count()
    };
    let mut stranger = Client::connect(&server, Person::new(2, 1).device(0)).await;
    let (mut taken, mut refused) = (0, false);
    for _ in 0..40 {
        match stranger.ask(claim()).await {
            ResponseBody::Refused(why) => refused = why.reason() == Refusal::RateLimited,
            answer => taken += one_time(answer),
        }
    }
    assert!(refused && taken == 25, "{taken}");
    // Members get those that are left, at no more than a rate; they have limits of their own.
    let mut member = Client::registered(&server, &Person::new(3, 1), 0).await;
    assert_eq!(one_time(member.ask(claim()).await), 5);
}

#[tokio::test]
async fn an_account_takes_few_user_names_and_looks_up_few() {
    let server = server(|_| {});
    let mut mallory = Client::registered(&server, &Person::new(1, 1), 0).await;
    let claim = |n: u32| claim(&format!("name-{n}"));
    for n in 0..5 {
        assert_eq!(mallory.ask(claim(n)).await, ResponseBody::Done(true));
    }
    assert_eq!(mallory.refused(claim(5)).await, Refusal::RateLimited);
    assert_eq!(
        mallory.ask(claim(4)).await,
        ResponseBody::Done(true),
        "clients claim the name that they have at each start"
    );
    let mut bob = Client::registered(&server, &Person::new(2, 1), 0).await;
    assert_eq!(bob.ask(claim(1)).await, ResponseBody::Done(true), "who takes another name gives the old one up");

    let guess = |n: u32| look_up(&format!("guess-{n}"));
    let mut answers = Vec::new();
    for n in 0..150 {
        answers.push(mallory.refused(guess(n)).await);
    }
    assert_eq!(answers.iter().filter(|answer| **answer == Refusal::NotFound).count(), 120);
    assert!(matches!(bob.ask(look_up("name-4")).await, ResponseBody::DeviceList(_)));
}

#[tokio::test]
async fn the_more_devices_a_server_has_the_longer_they_spread_their_return() {
    let server = small_server();
    let person = Person::new(1, 4);
    let mut windows = Vec::new();
    let mut clients = Vec::new();
    for n in 0..4 {
        let client = Client::connect(&server, person.device(n)).await;
        windows.push(client.hello.retry_window_ms);
        clients.push(client);
    }
    assert_eq!(windows, [5, 10, 15, 20]);
}

#[tokio::test]
async fn all_clients_are_told_which_process_they_are_connected_with() {
    let (server, other) = (small_server(), small_server());
    let person = Person::new(1, 2);
    let mut runs = Vec::new();
    for (at, device) in [(&server, 0), (&server, 1), (&other, 0)] {
        runs.push(Client::connect(at, person.device(device)).await.hello.run);
    }
    assert!(runs[0] == runs[1] && runs[0] != runs[2] && !runs.contains(&0), "{runs:?}");
}
