//! Each decoder of outside bytes: it may refuse, but not panic, hang or make much of little; and what it takes it takes again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use bolero::check;
use bytes::{Bytes, BytesMut};
use futures::{FutureExt, io::Cursor};
use prost::Message as _;
use starling_fuzz::mutated;
use starling_keys::{
    AccountId, AccountKey, Certificate, CodeExchange, DeviceId, DeviceKey, GroupLink, Invite, KeyFile, RecoveryPhrase,
    RendezvousAddr, ShortCode,
    chain::{self, Age, ChainError, DeviceChain, Joining, LeafPath, Rights, SignWith, Summary},
    legacy::{DeviceList, Verified},
};
use starling_node::Proxy;
use starling_wire::{
    AuditAction, AuditEntry, Batch, Beacon, Body, Candidate, Clock, CommitAuthors, Door, Event, EventId, Frame,
    FrameDecoder, GossipKey, GroupKind, JoinLink, JoinProof, JoinRefusal, JoinRequest, Leave, LinkCard, LogContent,
    LogKey, LogVerb, PartNames, Piece, Policy, PolicyContext, PolicyMember, Reasons, ReportContent, Role, SealedBeacon,
    SeenEntries, Signal, SignedSignal, Statement, Text, Tombstone, TopicId, cut,
    direct::{Ack, Apart, DirectFrame, Entry, Offered, Removals, Way},
    inbox::{GroupAcceptance, GroupOffer, GroupWelcome, InboxBody, InboxItem, Known},
    limits::MAX_LARGE,
    link::{LinkAnswer, LinkOffer, LinkRequest},
    pad, part_name,
    rendezvous::{Request, RequestBody, Response},
    snapshot::SealedSnapshot,
    streams::{read_message, write_message},
    unpad, verify_log, write_frame,
};

const TIME: Duration = Duration::from_secs(2);

/// The name is that of the test, in whose directory below `__fuzz__` inputs are kept.
fn frames<M: Frame + PartialEq + std::fmt::Debug>(name: &str, valid: M) {
    let mut encoded = BytesMut::new();
    write_frame(&valid, &mut encoded);
    check!(name = name).with_test_time(TIME).for_each(|input: &[u8]| {
        let mut buffer = BytesMut::from(&mutated(&encoded, input)[..]);
        let mut decoder = FrameDecoder::default();
        while let Ok(Some(frame)) = decoder.next::<M>(&mut buffer) {
            let mut again = BytesMut::new();
            write_frame(&frame, &mut again);
            assert_eq!(FrameDecoder::default().next::<M>(&mut again).unwrap().as_ref(), Some(&frame));
        }
    });
}

#[test]
fn direct_frames() {
    let entry = Entry { group: Bytes::from_static(&[1; 16]), message: Bytes::from_static(b"sealed") };
    let ack = Ack { group: Bytes::from_static(&[2; 16]), upto: 7, clock: 9 };
    let group = Bytes::from_static(&[3; 16]);
    let way = Way { group: group.clone(), secret: Bytes::from_static(&[4; 32]), door: Bytes::from_static(b"door") };
    let leave = Bytes::from_static(b"leave");
    let apart = Some(Box::new(Apart {
        seeks: vec![group.clone()],
        way: Some(way),
        out: vec![group.clone()],
        leave,
        come: vec![group.clone()],
        removals: Some(Removals { group: group.clone(), chains: vec![group] }),
    }));
    let entries = vec![entry.clone(), entry];
    let acceptance =
        GroupAcceptance { package: Bytes::from_static(b"package"), place: 1, ..GroupAcceptance::default() };
    let added =
        GroupWelcome { epoch: 7, sequence: 9, message: Bytes::from_static(b"welcome"), ..GroupWelcome::default() };
    let offer = GroupOffer { secret: Bytes::from_static(&[5; 32]), name: "ops".into(), ..GroupOffer::default() };
    let (acceptance, added) = (Some(Box::new(acceptance)), Some(Box::new(added)));
    let offered = Offered { way: Bytes::from_static(&[6; 16]) };
    let (offer, offered) = (Some(Box::new(offer)), Some(Box::new(offered)));
    let acks = vec![ack];
    let valid = DirectFrame { entries, acks, apart, acceptance, added, offer, offered, ..DirectFrame::default() };
    frames("direct_frames", valid);
}

#[test]
fn requests_to_a_rendezvous() {
    frames("requests_to_a_rendezvous", Request { id: 3, body: Some(RequestBody::LookUpName("alice".into())) });
    let by_key = RequestBody::LookUpNameKey(Bytes::from_static(&[7; 32]));
    frames("requests_to_a_rendezvous", Request { id: 4, body: Some(by_key) });
    frames("requests_to_a_rendezvous", Request { id: u64::MAX, body: Some(RequestBody::Ping(true)) });
}

#[test]
fn answers_of_a_rendezvous() {
    frames("answers_of_a_rendezvous", Response::default());
}

#[test]
fn batches_of_events() {
    let id = EventId { clock: Clock::at(1_700_000_000_000), device: [5; 8], sequence: 9 };
    let body =
        Body::Text(Text { text: "hello".into(), reply_to: Some(id), mentions: vec![[3; 32]], mentions_all: true });
    let signal = starling_wire::CallSignal::Ring { video: true, offer: "v=0".into(), commitment: Some([6; 32]) };
    let call = Body::Call(starling_wire::Call { id: starling_wire::CallId([4; 16]), signal });
    let (next, last) = (EventId { sequence: 10, ..id }, EventId { sequence: 11, ..id });
    let asked =
        starling_wire::Call { id: starling_wire::CallId([4; 16]), signal: starling_wire::CallSignal::Reconnect };
    let events = vec![Event { id, body }, Event { id: next, body: call }, Event { id: last, body: Body::Call(asked) }];
    let valid = Batch { events, floor: 4, before: Clock(3) }.encode();
    let report = ReportContent { message: id, author: [7; 32], text: "buy".into(), reason: "spam".into() }.to_bytes();
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        let bytes = mutated(&valid, input);
        if let Ok(batch) = Batch::decode(&bytes, [5; 8]) {
            assert_eq!(Batch::decode(&batch.encode(), [5; 8]).unwrap().events.len(), batch.events.len());
            // What a newer program knows is kept as it came, and read again later.
            for event in batch.events.iter().filter(|event| matches!(event.body, Body::Unknown(_))) {
                let kept = Event::encode_body(&event.body);
                assert!(matches!(Event::decode_body(&kept), Ok(Body::Unknown(_))));
            }
        }
        if let Ok(report) = ReportContent::from_bytes(&mutated(&report, input)) {
            assert_eq!(ReportContent::from_bytes(&report.to_bytes()), Ok(report));
        }
        let _ = Event::decode_body(&bytes);
        let _ = EventId::from_bytes(&bytes);
    });
}

#[test]
fn signals() {
    let valid = Signal {
        sent_ms: 5,
        typing: true,
        addresses: vec![vec![1, 2, 3]],
        availability: None,
        ask: false,
        lan_key: Some([7; 32]),
    };
    let (valid, signed) = (valid.encode(), SignedSignal::encode(&valid, &[1; 32], |_| [2; 64]));
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        let _ = Signal::decode(&mutated(&valid, input));
        if let Ok(signal) = SignedSignal::decode(&mutated(&signed, input)) {
            signal.is_authentic(false, &[1; 32], |_, signature| signature.len() == 64);
        }
    });
}

#[test]
fn messages_about_the_history() {
    use starling_wire::history::{
        EditedText, GroupHistoryPage, GroupHistoryRequest, HandedPart, HistoryAuthor, HistoryMessage, HistoryPage,
        HistoryPart, HistoryReaction, HistoryRequest, HistoryRow, HistoryStep,
    };
    let reaction = HistoryReaction { account: vec![3; 32].into(), emoji: "👍".into(), ..HistoryReaction::default() };
    let row = HistoryRow {
        id: vec![4; EventId::LEN].into(),
        body: Event::encode_body(&Body::Text(Text { text: "hello".into(), ..Text::default() })).into(),
        edited: Some(EditedText { text: "hallo".into(), clock: 9, device: vec![5; 8].into() }),
        reactions: vec![reaction],
        ..HistoryRow::default()
    };
    let author = HistoryAuthor { account: vec![1; 32].into(), tag: vec![2; 8].into(), label: None };
    let handed = HandedPart { authors: vec![author.clone()], rows: vec![row.clone()] }.to_bytes();
    let part = HistoryPart { with: vec![3; 32].into(), rows: vec![row], ..HistoryPart::default() };
    let request = HistoryRequest { before: vec![6; 40].into(), since: None };
    let page =
        HistoryPage { request: Some(request), authors: vec![author], parts: vec![part], ..HistoryPage::default() };
    let request = GroupHistoryRequest {
        conversation: vec![7; 16].into(),
        group: vec![8; 16].into(),
        epoch: 3,
        ..GroupHistoryRequest::default()
    };
    let mut copied = page.clone();
    copied.parts.iter_mut().for_each(|part| part.with = Bytes::new());
    let of_group = GroupHistoryPage { request: Some(request), page: Some(copied) };
    let valid = [HistoryStep::Page(page), HistoryStep::GroupPage(of_group)]
        .map(|step| HistoryMessage { grant: 7, step: Some(step) }.encode_to_vec());
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        for valid in &valid {
            if let Ok(message) = HistoryMessage::from_bytes(&mutated(valid, input)) {
                assert_eq!(HistoryMessage::from_bytes(&message.encode_to_vec()), Ok(message));
            }
        }
        if let Ok(part) = HandedPart::from_bytes(&mutated(&handed, input)) {
            assert_eq!(HandedPart::from_bytes(&part.to_bytes()), Ok(part));
        }
    });
}

#[test]
fn inbox_items() {
    let known = Known { account: vec![1; 32].into(), name: "bob".into(), state: 1, ..Known::default() };
    let body =
        InboxBody { device: vec![2; 32].into(), name: "alice".into(), known: Some(known), ..InboxBody::default() };
    let valid = body.to_bytes();
    let beacon = SealedBeacon { group: vec![3; 16].into(), epoch: 4, sealed: vec![5; 80].into(), complete: false };
    let beacons = InboxBody { device: vec![2; 32].into(), beacons: vec![beacon; 4], ..InboxBody::default() }.to_bytes();
    let offered = LinkOffer { name: "alice".into(), ..LinkOffer::default() }.encode_to_vec();
    let asked = LinkRequest { name: "laptop".into(), ..LinkRequest::default() }.encode_to_vec();
    let answered = LinkAnswer { homes: vec!["/ip4/127.0.0.1".into()], ..LinkAnswer::default() }.encode_to_vec();
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        if let Ok(body) = InboxBody::from_bytes(&mutated(&valid, input)) {
            let list = body.known.map(|known| DeviceChain::from_bytes(&known.device_list));
            assert!(!matches!(list, Some(Ok(_))));
        }
        let _ = LinkOffer::from_bytes(&mutated(&offered, input));
        let _ = (LinkRequest::from_bytes(&mutated(&asked, input)), LinkAnswer::from_bytes(&mutated(&answered, input)));
        let _ = SealedSnapshot::from_bytes(&[b"starling-snapshot-2", input].concat());
        if let Ok(item) = InboxItem::decode(input) {
            let _ = InboxBody::from_bytes(&item.body);
            let padded = InboxItem::decode(item.clone().padded().encode_to_vec().as_slice()).unwrap();
            assert_eq!((padded.body, padded.signature), (item.body, item.signature));
        }
        if let Ok(body) = InboxBody::from_bytes(&mutated(&beacons, input)) {
            body.beacons.into_iter().for_each(|beacon| drop(Beacon::from_bytes(beacon.sealed)));
        }
        let _ = InboxBody::from_bytes(input);
    });
}

#[test]
fn gossip_envelopes_and_topics() {
    let key = GossipKey::from_secret(&[1; 32]);
    let valid = key.seal(&pad(b"a message".to_vec())).unwrap();
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        let bytes = mutated(&valid, input);
        if let Ok(entry) = key.open(&bytes) {
            assert_eq!(key.seal(&entry).unwrap(), bytes, "there is one envelope of an entry");
        }
        if let Some(envelope) = key.seal(input) {
            assert_eq!(key.open(&envelope).unwrap(), input);
        }
        let text = String::from_utf8_lossy(input);
        if let Some(topic) = TopicId::from_text(&text) {
            assert_eq!(topic.to_text(), text);
        }
    });
}

#[test]
fn log_entries_and_signatures() {
    let valid = pad(b"a message".to_vec());
    let key = LogKey::from_secret(&[1; 32]);
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        let bytes = mutated(&valid, input);
        if let Ok(message) = unpad(&bytes) {
            assert!(message.len() < bytes.len());
        }
        assert_eq!(unpad(&pad(input.to_vec())).unwrap(), input);
        assert!(!verify_log(&key.address(), LogVerb::Append, b"nonce", input, &bytes));
    });
}

#[test]
fn contents_of_log_entries() {
    let candidate = LogContent::Candidate(Candidate { commit: Bytes::from("a commit") });
    let valid = candidate.to_bytes();
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        if let Ok(content) = LogContent::from_bytes(mutated(&valid, input).into()) {
            assert_eq!(LogContent::from_bytes(content.to_bytes().into()), Ok(content));
        }
    });
}

/// Parts of a commit or door, among others in whatever order: what is put together is what was cut, or nothing.
#[test]
fn parts_of_what_is_large() {
    let body = Bytes::from((0..=255).cycle().take(3_000).collect::<Vec<u8>>());
    let parts = cut(&body, 700);
    let names = PartNames::of(&parts);
    let valid = Piece::Names(names.clone()).to_bytes();
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        let mut known: BTreeMap<[u8; 32], Bytes> = BTreeMap::new();
        for at in input.iter().map(|at| usize::from(*at)) {
            let part = parts.get(at).cloned().unwrap_or_else(|| Bytes::from(mutated(&parts[at % parts.len()], input)));
            known.insert(part_name(&part), part);
        }
        let find = |name: &[u8; 32]| Ok::<_, Infallible>(known.get(name).cloned());
        let Ok(joined) = names.join(find);
        assert_eq!(joined.is_some(), names.iter().all(|name| known.contains_key(name)));
        assert!(joined.is_none_or(|joined| joined == body));
        if let Some(Ok(piece)) = Piece::from_bytes(&mutated(&valid, input).into()) {
            assert_eq!(Piece::from_bytes(&piece.to_bytes().into()), Some(Ok(piece.clone())));
            if let Piece::Names(names) = piece {
                let Ok(joined) = names.join(find);
                assert!(joined.is_none_or(|joined| joined.len() <= MAX_LARGE));
            }
        }
    });
}

#[test]
fn beacons() {
    let valid = Beacon::Followed([7; 32]).to_bytes();
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        if let Ok(beacon) = Beacon::from_bytes(mutated(&valid, input).into()) {
            assert_eq!(Beacon::from_bytes(beacon.to_bytes().into()), Ok(beacon));
        }
    });
}

#[test]
fn policies_and_reasons_of_commits() {
    let mut policy = Policy::new([1; 16], "ops".into(), [5; 32]);
    policy.add(PolicyMember { account: [3; 32], role: Role::Member, by: [5; 32], since: 2 });
    policy.bury(Tombstone { account: [3; 32], device: [4; 32], staying: vec![[1; 32]] });
    let leave = Leave { account: [1; 32], device: [2; 32], group: [3; 16], epoch: 7, signature: [4; 64] };
    let join = Some(JoinProof { link: [5; 16], at: 6, signature: [7; 64] });
    let members = vec![([1; 32], Role::Owner), ([2; 32], Role::Reader)];
    let (certificate, signature) = (vec![7; 40], [8; 64]);
    let stated = Statement { community: [5; 16], number: 3, members, certificate, signature };
    let (statement, stated) = (stated.to_bytes(), Some(stated));
    let chains = vec![Bytes::from_static(b"chain")];
    let reasons = Reasons { chains, leaves: vec![leave.clone()], join, statement: stated };
    let mut with_rules = policy.clone().with_rules(GroupKind::Group);
    if let Some(rules) = &mut with_rules.rules {
        rules.ban([7; 32]);
        rules.links.push(JoinLink { id: [8; 16], key: [9; 32], expires: 5, uses: Some(2), approve: true, by: [5; 32] });
    }
    let action = AuditAction::Role([3; 32], Role::Admin);
    let entry = AuditEntry { epoch: 3, at: 9, by: [5; 32], action }.to_bytes();
    let context = PolicyContext { policy: with_rules.clone(), authors: Some(CommitAuthors::default().with(&[5; 32])) };
    let policies = [policy.to_bytes(), with_rules.to_bytes(), context.to_bytes()];
    let (reasons, leave) = (reasons.to_bytes(), leave.to_bytes());
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        for bytes in policies.iter().map(|policy| mutated(policy, input)) {
            if let Ok(context) = PolicyContext::from_bytes(&bytes) {
                assert_eq!(context.to_bytes(), bytes, "nor is there another form of a context");
            }
            let Ok(policy) = Policy::from_bytes(&bytes) else { continue };
            assert_eq!(policy.to_bytes(), bytes, "there is one form of each");
            let first = policy.first_audit_entries();
            assert!(first.iter().all(|entry| AuditEntry::from_bytes(&entry.to_bytes()).as_ref() == Ok(entry)));
            for member in policy.members.clone() {
                let (mut less, heir) = (policy.clone(), policy.heir(&[member.account]));
                less.remove(&member.account);
                if let Some(heir) = less.members.iter_mut().find(|m| Some(m.account) == heir) {
                    heir.role = Role::Owner;
                }
                assert!(less.members.is_empty() || less.is_in_order());
            }
        }
        let bytes = mutated(&entry, input);
        if let Ok(entry) = AuditEntry::from_bytes(&bytes) {
            assert_eq!(entry.to_bytes(), bytes);
        }
        if let Ok(statement) = Statement::from_bytes(&mutated(&statement, input)) {
            assert_eq!(Statement::from_bytes(&statement.to_bytes()), Ok(statement));
        }
        if let Ok(reasons) = Reasons::from_bytes(&mutated(&reasons, input)) {
            assert_eq!(Reasons::from_bytes(&reasons.to_bytes()), Ok(reasons));
        }
        if let Ok(leave) = Leave::from_bytes(&mutated(&leave, input)) {
            assert_eq!(Leave::from_bytes(&leave.to_bytes()), Ok(leave));
        }
    });
}

#[test]
fn doors() {
    let valid = Door { epoch: 7, secret: [1; 32], info: Bytes::from("a group") }.to_bytes();
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        if let Ok(door) = Door::from_bytes(mutated(&valid, input).into()) {
            assert_eq!(Door::from_bytes(door.to_bytes().into()), Ok(door));
        }
    });
}

#[test]
fn cards_and_requests_of_links() {
    let door = Door { epoch: 7, secret: [1; 32], info: Bytes::from("a group") };
    let card = LinkCard {
        epoch: 7,
        door: Some(door),
        conversation: [2; 16],
        group: [3; 16],
        name: "ops".into(),
        topic: "what runs".into(),
        members: 5,
        by: [4; 32],
        by_name: "alice".into(),
        approve: true,
        expires: 9,
        ended: true,
    };
    let chain = Bytes::from_static(b"chain");
    let request =
        JoinRequest { account: [1; 32], device: [2; 32], chain, name: "bob".into(), at: 7, signature: [3; 64] };
    let refusal = JoinRefusal { account: [1; 32], by: [2; 32], device: [3; 32], at: 7, signature: [4; 64] };
    let (card, request, refusal) = (card.to_bytes(), request.to_bytes(), refusal.to_bytes());
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        if let Ok(card) = LinkCard::from_bytes(mutated(&card, input).into()) {
            assert_eq!(LinkCard::from_bytes(card.to_bytes().into()), Ok(card));
        }
        if let Ok(request) = JoinRequest::from_bytes(mutated(&request, input).into()) {
            assert_eq!(JoinRequest::from_bytes(request.to_bytes().into()), Ok(request));
        }
        if let Ok(refusal) = JoinRefusal::from_bytes(&mutated(&refusal, input)) {
            assert_eq!(JoinRefusal::from_bytes(&refusal.to_bytes()), Ok(refusal));
        }
    });
}

#[test]
fn lists_of_seen_entries() {
    let mut valid = SeenEntries::default();
    (1..4).for_each(|sequence| valid.note(sequence, b"entry"));
    let bytes = valid.to_bytes();
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        if let Ok(mut seen) = SeenEntries::from_bytes(mutated(&bytes, input).into()) {
            assert_eq!(SeenEntries::from_bytes(seen.to_bytes().into()).as_ref(), Ok(&seen));
            assert!(!seen.contradicts(&seen.clone()));
            seen.note(seen.last().saturating_add(1), input);
            assert!(SeenEntries::from_bytes(seen.to_bytes().into()).is_ok());
        }
    });
}

#[test]
fn certificates_device_lists_and_ids() {
    let account = RecoveryPhrase::generate().account_key();
    let valid = DeviceList { account: account.id(), version: 2, issued_at: 3, devices: Vec::new(), homes: Vec::new() };
    let valid = valid.sign(&account).as_bytes().to_vec();
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        let bytes = mutated(&valid, input);
        if let Ok(list) = Verified::<DeviceList>::from_bytes(&bytes) {
            assert_eq!(list.account, account.id(), "a forged list was taken");
        }
        let _ = Certificate::from_bytes(&bytes);
        let _ = (AccountId::from_bytes(input), DeviceId::from_bytes(input));
    });
}

/// Chains of one account that are all signed as they should be: with two devices, with three, and two removals that contradict each other.
fn chains() -> [DeviceChain; 4] {
    let (root, laptop, phone, tablet) =
        (AccountKey::from_seed(&[1; 32]), DeviceKey::from_seed(&[2; 32]), DeviceKey::from_seed(&[3; 32]), [5; 32]);
    let joining = |key: &DeviceKey| Joining::sign(key, &root.id(), vec![7; 40]);
    let two = DeviceChain::create(&root, 1, [4; 32], &joining(&laptop)).unwrap();
    let two = two.add(&SignWith::Device(&laptop), 2, &joining(&phone), Rights::Admin).unwrap();
    let tablet = joining(&DeviceKey::from_seed(&tablet));
    let three = two.add(&SignWith::Device(&laptop), 2, &tablet, Rights::Bot).unwrap();
    let one = three.remove(&SignWith::Device(&laptop), 3, phone.id()).unwrap();
    let other = three.remove(&SignWith::Device(&phone), 3, laptop.id()).unwrap();
    [two, three, one, other]
}

#[test]
fn device_chains() {
    let chains = chains();
    let signed: Vec<_> = chains.iter().flat_map(DeviceChain::entries).map(chain::Entry::hash).collect();
    let (known, longer) = (&chains[0], &chains[1]);
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        for valid in [longer.as_bytes(), &longer.encode_from(known.len())] {
            let bytes = mutated(valid, input);
            let _ = Summary::of(&bytes);
            let Ok(chain) = DeviceChain::read(&bytes, known) else { continue };
            assert!(chain.entries().all(|e| signed.contains(&e.hash())), "a forged entry was taken");
            assert_eq!(DeviceChain::from_bytes(chain.as_bytes()).as_ref(), Ok(&chain));
            let settled = known.reconcile(&chain, Age::default()).unwrap();
            assert_eq!(settled.head(), chain.reconcile(known, Age::default()).unwrap().head());
        }
    });
}

#[test]
fn paths_from_a_root_to_a_device() {
    let [two, three, ..] = chains();
    let valid = two.path_to(&two.devices[1].id).unwrap().to_bytes();
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        let bytes = mutated(&valid, input);
        match LeafPath::from_bytes(&bytes) {
            Ok(path) => {
                assert_eq!(path.to_bytes(), bytes);
                assert!(path.account() == three.account && three.device(&path.device()).is_some(), "forged");
            }
            Err(error) => assert!(matches!(error, ChainError::Malformed | ChainError::Place | ChainError::Signature)),
        }
    });
}

#[test]
fn messages_of_a_relay_on_a_stream() {
    let valid = [&[0, 3, 0, 4][..], &[7; 20], &[0x40, 1, 0, 5], &[9; 8], &[0x41, 2, 0, 0]].concat();
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        let mut stream = Cursor::new(mutated(&valid, input));
        while let Ok(Some(message)) = read_message(&mut stream, 2048).now_or_never().unwrap() {
            assert!((4..=2048).contains(&message.len()));
            let mut written = Cursor::new(Vec::new());
            write_message(&mut written, &message).now_or_never().unwrap().unwrap();
            written.set_position(0);
            assert_eq!(read_message(&mut written, 2048).now_or_never().unwrap().unwrap(), Some(message));
        }
    });
}

#[test]
fn what_users_type_and_paste() {
    let seeds = [
        "starling:AEAO",
        "7-unicorn-quiver",
        "/ip4/127.0.0.1/udp/1/quic-v1/p2p/12D3KooW",
        "abandon ability able",
        "socks5h://user:pass@[::1]:9050",
    ];
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        for seed in seeds {
            let bytes = mutated(seed.as_bytes(), input);
            let text = String::from_utf8_lossy(&bytes);
            let _ = (text.parse::<Invite>(), text.parse::<GroupLink>(), text.parse::<ShortCode>());
            let _ = (text.parse::<RendezvousAddr>(), text.parse::<Proxy>());
            let _ = (text.parse::<AccountId>(), RecoveryPhrase::parse(&text));
        }
    });
}

#[test]
fn key_files_and_short_code_messages() {
    let code: ShortCode = "7-unicorn-quiver".parse().unwrap_or_else(|_| ShortCode::generate(7));
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        let _ = KeyFile::from_bytes(input);
        let _ = CodeExchange::start(&code).finish(input);
    });
}

#[test]
fn video_packets_become_frames_or_nothing() {
    use starling_media::video::{
        Frame as Picture,
        h264::{Decoder, Encoder},
        packets::{Assembler, AssemblerOutput, Packet, payloads},
        pattern,
    };
    let mut picture = Picture::black(320, 180);
    pattern::draw(1, &mut picture);
    let encoded = Encoder::new(320, 180, 30, 300_000).unwrap().encode(&picture, 0.0).unwrap().unwrap();
    let valid = payloads(&encoded.annexb.into()).unwrap();
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        let mut assembler = Assembler::new(Duration::ZERO);
        let mut decoder = Decoder::new().unwrap();
        let now = std::time::Instant::now();
        for (n, payload) in valid.iter().enumerate() {
            // Numbers come from the input, too.
            let sequence = u16::from(input.get(n).copied().unwrap_or(n as u8));
            let payload = mutated(payload, input).into();
            let marker = n + 1 == valid.len();
            assembler.push(Packet { sequence, timestamp: 0, marker, payload }, now);
        }
        while let Some(piece) = assembler.pop(now + Duration::from_millis(1)) {
            if let AssemblerOutput::Frame(frame) = piece {
                let _ = decoder.decode(&frame.annexb, &mut Picture::default());
            }
        }
    });
}

#[test]
fn sound_packets_are_played_or_not() {
    use starling_media::audio::{opus::Encoder, playout::Playout};
    let valid = Encoder::new().unwrap().encode(&[0.1; 960]).unwrap().unwrap();
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        let mut playout = Playout::new().unwrap();
        let now = std::time::Instant::now();
        for pair in input.chunks_exact(4).take(40) {
            let (sequence, timestamp) = (u16::from_be_bytes([pair[0], pair[1]]), u32::from(pair[2]) << (pair[3] % 24));
            playout.push(sequence, timestamp, mutated(&valid, input).into(), now);
        }
        for ms in 0..20 {
            playout.pull(&mut [0.0; 480], now + Duration::from_millis(ms * 10)).unwrap();
        }
    });
}

#[test]
fn control_messages_of_a_call() {
    use starling_media::control::{Control, Message};
    let valid = Message::Control(Control::Share { columns: 80, rows: 24 }).encode();
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        if let Some(message) = Message::decode(&mutated(&valid, input)) {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
    });
}

#[test]
fn session_descriptions_and_candidates() {
    use starling_media::{Call, CallConfig, PeerConfig};
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config =
        || CallConfig { peer: PeerConfig { loopback: true, ..PeerConfig::default() }, ..CallConfig::default() };
    let valid = runtime.block_on(async {
        let (call, _events) = Call::start(config()).unwrap();
        let offer = Box::pin(call.offer(0)).await.unwrap();
        call.end().await;
        offer
    });
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        runtime.block_on(async {
            let (call, _events) = Call::start(config()).unwrap();
            let offer = String::from_utf8_lossy(&mutated(valid.as_bytes(), input)).into_owned();
            let _ = Box::pin(call.answer(0, offer)).await;
            let _ = call.candidate(0, &String::from_utf8_lossy(input)).await;
            call.end().await;
        });
    });
}
