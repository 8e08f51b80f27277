//! Whole calls in one process, over real sockets: from generated sources through every stage to checked sinks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use starling_media::{
    Call, CallConfig, CallEvent, PeerConfig,
    audio::{Heard, strongest_tone},
    spec::{AudioIn, AudioOut, VideoIn, VideoOut},
    stats::RouteStats,
    transport::link::Link,
};
use tokio::sync::mpsc;

/// Several calls in a full mesh: each is a participant of each other.
struct Mesh {
    calls: Vec<Call>,
    events: Arc<Mutex<Vec<Vec<CallEvent>>>>,
    connected: mpsc::Receiver<()>,
}

fn config(audio_in: &str, video_in: &str, link: Option<&str>) -> CallConfig {
    let (audio, video): (AudioIn, VideoIn) = (audio_in.parse().unwrap(), video_in.parse().unwrap());
    let mut config = CallConfig::from_specs(&audio, &AudioOut::None, &video, &VideoOut::None);
    config.peer = PeerConfig { loopback: true, link: link.map(|l| Link::parse(l).unwrap()), ..PeerConfig::default() };
    config
}

impl Mesh {
    /// Connects all with all. Routes are numbered by who is at their end.
    async fn new(configs: Vec<CallConfig>) -> Self {
        let count = configs.len();
        let (mut calls, mut receivers) = (Vec::new(), Vec::new());
        for config in configs {
            let (call, events) = Call::start(config).unwrap();
            calls.push(call);
            receivers.push(events);
        }
        let events: Arc<Mutex<Vec<Vec<CallEvent>>>> = Arc::new(Mutex::new(vec![Vec::new(); count]));
        let (ready, connected) = mpsc::channel(64);
        for (me, mut receiver) in receivers.into_iter().enumerate() {
            let (calls, events, ready) = (calls.clone(), events.clone(), ready.clone());
            tokio::spawn(async move {
                while let Some(event) = receiver.recv().await {
                    match &event {
                        CallEvent::Candidate(to, json) => {
                            calls[*to as usize].candidate(me as u64, json).await.unwrap();
                        }
                        CallEvent::Connected(_) => ready.send(()).await.unwrap(),
                        CallEvent::NeedsRestart(to) => {
                            let offer = calls[me].restart(*to).await.unwrap();
                            let answer = calls[*to as usize].answer(me as u64, offer).await.unwrap();
                            calls[me].accept(*to, answer).await.unwrap();
                        }
                        CallEvent::NeedsOffer(to) => calls[*to as usize].reconnect(me as u64),
                        _ => {}
                    }
                    events.lock().unwrap()[me].push(event);
                }
            });
        }
        let mesh = Self { calls, events, connected };
        for a in 0..count {
            for b in a + 1..count {
                let offer = mesh.calls[a].offer(b as u64).await.unwrap();
                let answer = mesh.calls[b].answer(a as u64, offer).await.unwrap();
                mesh.calls[a].accept(b as u64, answer).await.unwrap();
            }
        }
        mesh
    }

    async fn connected(&mut self) {
        let needed = self.calls.len() * (self.calls.len() - 1);
        for _ in 0..needed {
            tokio::time::timeout(Duration::from_secs(60), self.connected.recv()).await.expect("not connected").unwrap();
        }
    }

    /// What a call knows of another participant.
    fn seen(&self, who: usize, other: usize) -> RouteStats {
        self.calls[who].stats().routes.into_iter().find(|r| r.route == other as u64).unwrap()
    }

    /// Until something is true.
    async fn until(&self, what: &str, mut is: impl FnMut(&Self) -> bool) {
        for _ in 0..1_200 {
            if is(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let stats: Vec<_> = self.calls.iter().map(Call::stats).collect();
        panic!("{what} did not come: {stats:#?}");
    }

    async fn end(self) {
        for call in &self.calls {
            call.end().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_and_sound_go_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let (wav, mp4) = (dir.path().join("a.wav"), dir.path().join("a.mp4"));
    let mut first = config("tone:440", "pattern", None);
    first.audio_out = AudioOut::File(wav.clone()).make();
    first.video_out = VideoOut::File(mp4.clone()).make();
    let mut mesh = Mesh::new(vec![first, config("tone:700", "pattern:320x180@30", None)]).await;
    mesh.connected().await;
    mesh.until("video", |m| m.seen(0, 1).video.frames > 100 && m.seen(1, 0).video.frames > 100).await;
    for (who, other) in [(0, 1), (1, 0)] {
        let seen = mesh.seen(who, other);
        let pattern = seen.video.pattern.unwrap();
        assert_eq!((pattern.out_of_order, pattern.bad), (0, 0), "{seen:#?}");
        assert_eq!(seen.path, Some("direct"));
        assert!(seen.rtt_ms.is_some(), "{seen:#?}");
        assert!(seen.state.microphone && seen.state.camera);
        assert_eq!((seen.audio.lost, seen.audio.late), (0, 0), "{seen:#?}");
    }
    mesh.end().await;
    let sound = starling_media::audio::file::read(&wav).unwrap();
    let tail = &sound[sound.len().saturating_sub(72_000)..sound.len() - 24_000];
    let (hertz, amplitude) = strongest_tone(tail);
    assert!((695..=705).contains(&hertz) && amplitude > 0.2, "{hertz} Hz at {amplitude}");
    let mut numbers = Vec::new();
    starling_media::video::mp4::frames(&mp4, |frame| numbers.extend(starling_media::video::pattern::read(frame)))
        .unwrap();
    assert!(numbers.len() > 80 && numbers.is_sorted(), "{numbers:?}");
}

/// Kinds of messages of a DTLS handshake (RFC 5246, section 7.4).
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
/// The extension that negotiates SRTP.
const USE_SRTP: [u8; 2] = [0, 14];
/// AES in counter mode with 80 bits of HMAC-SHA1 (RFC 5764, section 4.1.2).
const AES_CM_128_HMAC_SHA1_80: u16 = 1;

/// The kind of a DTLS hello (RFC 6347, section 4.2), and what it says of SRTP (RFC 5764, section 4.1.1): all profiles that a client takes, or the one
/// that the server has chosen.
fn hello(message: &[u8]) -> Option<(u8, Vec<u16>)> {
    /// What follows a field that begins with its length, of so many bytes.
    fn after(bytes: &[u8], size: usize) -> Option<&[u8]> {
        let (length, rest) = bytes.split_at_checked(size)?;
        rest.get(length.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte))..)
    }
    let kind = *message.first()?;
    // After the header of the message, its version and random bytes.
    let mut rest = message.get(12 + 2 + 32..)?;
    match kind {
        // Session, cookie, cipher suites and methods of compression.
        CLIENT_HELLO => {
            for size in [1, 1, 2, 1] {
                rest = after(rest, size)?;
            }
        }
        // Session; one cipher suite and one method of compression.
        SERVER_HELLO => rest = after(rest, 1)?.get(3..)?,
        _ => return None,
    }
    let (mut extensions, mut profiles) = (rest.get(2..)?, Vec::new());
    while let Some((extension, rest)) = extensions.split_first_chunk::<2>() {
        if *extension == USE_SRTP {
            // Behind the length of the extension and that of the list.
            let list = &rest[4..4 + usize::from(rest[3])];
            profiles.extend(list.chunks(2).map(|profile| u16::from_be_bytes([profile[0], profile[1]])));
        }
        extensions = after(rest, 2)?;
    }
    Some((kind, profiles))
}

/// The hellos that were sent over a link.
fn hellos(link: &Link) -> BTreeSet<(u8, Vec<u16>)> {
    let mut found = BTreeSet::new();
    for datagram in link.seen.handshakes.lock().unwrap().iter() {
        let mut records = &datagram[..];
        while let Some((header, rest)) = records.split_at_checked(13) {
            let (record, next) = rest.split_at(u16::from_be_bytes([header[11], header[12]]).into());
            // A record of a handshake, before anything is encrypted.
            if header[0] == 22 && header[3..5] == [0, 0] {
                found.extend(hello(record));
            }
            records = next;
        }
    }
    found
}

/// A packet that is sent again has the nonce of the first one, and another header: AES-GCM would give away its key for authentication by that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_are_encrypted_with_aes_in_counter_mode_and_hmac_and_nothing_else_is_offered() {
    let configs = vec![config("tone", "none", Some("")), config("tone", "none", Some(""))];
    let links: Vec<Link> = configs.iter().map(|config| config.peer.link.clone().unwrap()).collect();
    let mut mesh = Mesh::new(configs).await;
    mesh.connected().await;
    mesh.until("sound", |m| m.seen(0, 1).audio.packets > 10 && m.seen(1, 0).audio.packets > 10).await;
    mesh.end().await;
    let hellos: BTreeSet<_> = links.iter().flat_map(hellos).collect();
    let expected = [CLIENT_HELLO, SERVER_HELLO].map(|kind| (kind, vec![AES_CM_128_HMAC_SHA1_80]));
    assert_eq!(hellos, BTreeSet::from(expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_percent_loss_is_mended() {
    let link = Some("loss=0.1,delay=25,seed=4");
    let mut mesh = Mesh::new(vec![config("tone", "pattern", link), config("tone", "none", link)]).await;
    mesh.connected().await;
    mesh.until("video", |m| m.seen(1, 0).video.frames > 30).await;
    let before = mesh.seen(1, 0);
    mesh.until("more video", |m| m.seen(1, 0).video.frames > before.video.frames + 120).await;
    let seen = mesh.seen(1, 0);
    assert_eq!(seen.video.pattern.unwrap().bad, 0);
    assert!(seen.video.lost_frames <= 4, "{seen:#?}");
    // Most of what is lost comes again, and of the rest most is brought back from the packets after it. Neither may stand in for the other.
    let ways = |sound: Heard| (sound.again, sound.by_fec + sound.by_dred);
    mesh.until("sound in both ways", |m| matches!(ways(m.seen(1, 0).audio), (6.., 6..))).await;
    let sound = mesh.seen(1, 0).audio;
    assert!(ways(sound).1 * 2 >= sound.lost, "{sound:#?}");
    mesh.end().await;
}

/// Over a round trip for which nothing is asked for, so that what is lost in a row has no other way back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bursts_of_lost_sound_are_brought_back_by_deep_redundancy() {
    let link = Some("loss=0.12,burst=3,delay=150,seed=7");
    let mut mesh = Mesh::new(vec![config("tone", "none", link), config("none", "none", link)]).await;
    mesh.connected().await;
    // The sender learns once a second how much is lost in a row, and needs redundancy of that depth from then on.
    mesh.until("sound from redundancy", |m| m.seen(1, 0).audio.by_dred > 10).await;
    assert_eq!(mesh.seen(1, 0).audio.again, 0);
    mesh.end().await;
}

/// What is heard in eight seconds of sound over such a link, after three others.
async fn heard_over(link: &str) -> Heard {
    let mut mesh = Mesh::new(vec![config("tone", "none", Some(link)), config("none", "none", Some(link))]).await;
    mesh.connected().await;
    mesh.until("sound", |m| m.seen(1, 0).audio.packets > 150).await;
    let before = mesh.seen(1, 0).audio;
    mesh.until("more sound", |m| m.seen(1, 0).audio.packets > before.packets + 400).await;
    let heard = mesh.seen(1, 0).audio;
    mesh.end().await;
    let (again, lost) = (heard.again - before.again, heard.lost - before.lost);
    Heard { again, lost, late: heard.late - before.late, concealed: heard.concealed - before.concealed, ..heard }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_sound_comes_again_over_a_short_round_trip_and_is_not_asked_for_over_a_long_one() {
    let (near, far) = tokio::join!(heard_over("loss=0.08,delay=0,seed=5"), heard_over("loss=0.08,delay=150,seed=6"));
    // About 35 of 400 are lost.
    assert!(near.again > 12 && near.lost * 2 < near.again, "{near:?}");
    assert!(near.concealed <= 3, "{near:?}");
    assert!(far.again == 0 && far.late <= 3 && far.lost > 12, "{far:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_knows_no_requests_for_lost_sound_is_answered_without_them() {
    let line = "a=rtcp-fb:111 nack\r\n";
    let (ours, _events) = Call::start(config("tone", "none", None)).unwrap();
    let (theirs, _theirs) = Call::start(config("tone", "none", None)).unwrap();
    let offer = ours.offer(0).await.unwrap();
    assert!(offer.contains(line), "{offer}");
    let answer = theirs.answer(0, offer.replace(line, "")).await.unwrap();
    assert!(answer.contains("a=rtpmap:111 opus") && !answer.contains(line), "{answer}");
    ours.end().await;
    theirs.end().await;
}

/// Each handshake is of a dozen datagrams, of which about four are lost: what is lost is sent again by who sent it, however often it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_connected_at_thirty_percent_loss() {
    let began = std::time::Instant::now();
    let calls = (0..24).map(|seed| async move {
        let link = format!("loss=0.3,delay=25,seed={seed}");
        let mut mesh = Mesh::new(vec![config("none", "none", Some(&link)), config("none", "none", Some(&link))]).await;
        mesh.connected().await;
        let took = began.elapsed();
        mesh.end().await;
        took
    });
    let mut took = futures::future::join_all(calls).await;
    took.sort_unstable();
    println!("connected after {:.1?} (median) and {:.1?} (slowest)", took[took.len() / 2], took[took.len() - 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switches_hold_and_sizes_are_obeyed() {
    let mut mesh = Mesh::new(vec![config("tone", "pattern", None), config("none", "pattern:320x180@30", None)]).await;
    mesh.connected().await;
    mesh.until("video", |m| m.seen(1, 0).video.frames > 10 && m.seen(1, 0).video.height == 360).await;
    // A small tile asks for small pictures, and nobody who looks for none.
    mesh.calls[1].want(0, 180).await;
    mesh.until("small video", |m| m.seen(1, 0).video.height == 180).await;
    mesh.calls[1].want(0, 0).await;
    mesh.until("no video", |m| m.seen(1, 0).video.fps == 0.0).await;
    mesh.calls[1].want(0, 360).await;
    mesh.until("video again", |m| m.seen(1, 0).video.fps > 5.0).await;
    mesh.calls[0].set_camera(false).await;
    mesh.until("the camera is off", |m| !m.seen(1, 0).state.camera && m.seen(1, 0).video.fps == 0.0).await;
    mesh.calls[0].set_microphone(false).await;
    mesh.until("silence", |m| m.seen(1, 0).audio.level < 0.01 && m.calls[0].stats().level == 0.0).await;
    mesh.calls[0].set_microphone(true).await;
    mesh.until("sound", |m| m.seen(1, 0).audio.level > 0.1).await;
    mesh.calls[1].set_hold(true).await;
    mesh.until("hold", |m| m.seen(0, 1).state.hold && m.seen(1, 0).audio.level < 0.01).await;
    mesh.calls[1].set_hold(false).await;
    mesh.until("sound again", |m| m.seen(1, 0).audio.level > 0.1).await;
    mesh.calls[1].end().await;
    mesh.until("farewell", |m| m.events.lock().unwrap()[0].contains(&CallEvent::Left(1))).await;
    mesh.end().await;
}

/// The path of a call is dead from now on in what some of its ends send. Sound is back in both directions; how long that took.
async fn cut_and_repaired(who: &[usize]) -> (Mesh, Duration) {
    let links = [Link::default(), Link::default()];
    let configs = links.iter().map(|link| {
        let mut config = config("tone", "none", None);
        config.peer.link = Some(link.clone());
        config
    });
    let mut mesh = Mesh::new(configs.collect()).await;
    mesh.connected().await;
    let packets = |m: &Mesh| [m.seen(0, 1).audio.packets, m.seen(1, 0).audio.packets];
    mesh.until("sound", |m| packets(m).iter().all(|count| *count > 20)).await;
    who.iter().for_each(|who| links[*who].cut());
    let began = std::time::Instant::now();
    let gone = |m: &Mesh, who: usize| m.events.lock().unwrap()[who].contains(&CallEvent::Interrupted(1 - who as u64));
    mesh.until("the interruption", |m| gone(m, 0) || gone(m, 1)).await;
    mesh.until("the connection", |m| (0..2).all(|who| m.seen(who, 1 - who).connection == "connected")).await;
    let before = packets(&mesh);
    mesh.until("sound again", |m| packets(m).iter().zip(before).all(|(now, then)| *now > then + 20)).await;
    (mesh, began.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_is_dead_in_either_direction_or_both_is_replaced_in_seconds() {
    for (cut, asks) in [(&[0][..], true), (&[1], false), (&[0, 1], true)] {
        let (mesh, took) = cut_and_repaired(cut).await;
        println!("{cut:?} is not heard: sound again after {took:.1?}");
        let asked = mesh.events.lock().unwrap()[1].contains(&CallEvent::NeedsOffer(0));
        // Both hear nothing at once: either may have begun.
        assert!(asked == asks || cut.len() == 2, "{cut:?}");
        let restarts = |event: &&CallEvent| matches!(event, CallEvent::NeedsRestart(_));
        assert_eq!(mesh.events.lock().unwrap()[0].iter().filter(restarts).count(), 1, "one offer, whoever begins");
        assert!(!mesh.events.lock().unwrap()[1].iter().any(|event| restarts(&event)), "only one end makes offers");
        assert!(took < Duration::from_secs(8), "{took:?}");
        mesh.end().await;
    }
}

/// Two calls, and their events.
type Ends = [(Call, mpsc::Receiver<CallEvent>); 2];

/// Carries candidates between two calls until one of them, of this place, has such an event.
async fn carry_until(ends: &mut Ends, mut is: impl FnMut(usize, &CallEvent) -> bool) {
    let [(a, from_a), (b, from_b)] = ends;
    loop {
        let (event, place, other) = tokio::select! {
            event = from_a.recv() => (event, 0, &*b),
            event = from_b.recv() => (event, 1, &*a),
        };
        let event = event.expect("a call ended");
        if let CallEvent::Candidate(_, json) = &event {
            other.candidate(0, json).await.unwrap();
        }
        if is(place, &event) {
            return;
        }
    }
}

async fn both_connected(ends: &mut Ends) {
    let mut connected = [false; 2];
    carry_until(ends, |place, event| {
        connected[place] |= *event == CallEvent::Connected(0);
        connected == [true; 2]
    })
    .await;
}

/// Browsers make some, whoever has called.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_of_the_end_that_was_called_is_refused_and_leads_to_one_of_the_caller() {
    let mut ends: Ends = [(); 2].map(|()| Call::start(config("tone", "none", None)).unwrap());
    let [a, b] = [ends[0].0.clone(), ends[1].0.clone()];
    let offer = a.offer(0).await.unwrap();
    let described = b.answer(0, offer).await.unwrap();
    a.accept(0, described.clone()).await.unwrap();
    both_connected(&mut ends).await;
    // It names the connection, as an offer of this end would.
    a.answer(0, described.clone()).await.unwrap_err();
    carry_until(&mut ends, |place, event| place == 0 && *event == CallEvent::NeedsRestart(0)).await;
    let offer = a.restart(0).await.unwrap();
    // One that crosses ours leaves it alone.
    a.answer(0, described).await.unwrap_err();
    let answer = b.answer(0, offer).await.unwrap();
    a.accept(0, answer).await.unwrap();
    both_connected(&mut ends).await;
    a.end().await;
    b.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_in_a_mesh_see_and_hear_one_another_and_may_leave() {
    let sources = ["tone:300", "tone:500", "tone:700", "tone:900"];
    let configs = sources.iter().map(|tone| config(tone, "pattern:320x180@15", None)).collect();
    let mut mesh = Mesh::new(configs).await;
    mesh.connected().await;
    let all = |m: &Mesh, members: &[usize], frames: &BTreeMap<(usize, usize), u64>| {
        members.iter().all(|a| {
            members.iter().filter(|b| *b != a).all(|b| {
                let seen = m.seen(*a, *b);
                seen.video.frames > frames.get(&(*a, *b)).unwrap_or(&0) + 20 && seen.audio.packets > 20
            })
        })
    };
    mesh.until("everybody", |m| all(m, &[0, 1, 2, 3], &BTreeMap::new())).await;
    // One encode, whatever the number of routes.
    let stats = mesh.calls[0].stats();
    let sent: u64 = (1..4).map(|other| mesh.seen(other, 0).video.frames).sum();
    assert!(stats.encoded_frames * 2 < sent, "{} encoded, {sent} received", stats.encoded_frames);
    mesh.calls[3].end().await;
    mesh.until("farewell", |m| (0..3).all(|who| m.events.lock().unwrap()[who].contains(&CallEvent::Left(3)))).await;
    for call in &mesh.calls[..3] {
        call.remove(3).await;
    }
    let mut before = BTreeMap::new();
    for a in 0..3 {
        for b in (0..3).filter(|b| *b != a) {
            before.insert((a, b), mesh.seen(a, b).video.frames);
        }
    }
    mesh.until("the others", |m| all(m, &[0, 1, 2], &before)).await;
    mesh.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_is_shared_and_keys_need_leave() {
    let mut mesh = Mesh::new(vec![config("none", "none", None), config("none", "none", None)]).await;
    mesh.connected().await;
    mesh.calls[0].share(Some("stty -echo; while read line; do echo \"got $line\"; done"), 80, 24).await.unwrap();
    let shown = |m: &Mesh| -> String {
        let events = m.events.lock().unwrap();
        let output = events[1].iter().filter_map(|e| match e {
            CallEvent::Output(_, bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        });
        output.collect()
    };
    mesh.until("the share", |m| m.events.lock().unwrap()[1].contains(&CallEvent::Shared(0, Some((80, 24))))).await;
    mesh.calls[1].type_in(Some(0), b"without\n").await;
    // The channel keeps its order: once this is there, what was typed has been.
    mesh.calls[1].set_hold(true).await;
    mesh.until("hold", |m| m.seen(0, 1).state.hold).await;
    mesh.calls[0].hand(1, true).await.unwrap();
    mesh.until("the hand", |m| m.events.lock().unwrap()[1].contains(&CallEvent::Hand(0, true))).await;
    mesh.calls[1].type_in(Some(0), b"with leave\n").await;
    mesh.until("what was typed", |m| shown(m).contains("got with leave")).await;
    assert!(!shown(&mesh).contains("without"));
    let first = |fits: fn(&CallEvent) -> bool| mesh.events.lock().unwrap()[1].iter().position(fits);
    let (known, printed) =
        (first(|e| matches!(e, CallEvent::Shared(..))), first(|e| matches!(e, CallEvent::Output(..))));
    assert!(known < printed, "output of a terminal that is not known yet");
    mesh.calls[0].end_share().await;
    mesh.until("the end", |m| m.events.lock().unwrap()[1].contains(&CallEvent::Shared(0, None))).await;
    mesh.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leave_to_type_is_given_for_a_terminal_that_is_shared_only() {
    let mut mesh = Mesh::new(vec![config("none", "none", None), config("none", "none", None)]).await;
    mesh.connected().await;
    let (owner, guest) = (mesh.calls[0].clone(), mesh.calls[1].clone());
    owner.hand(1, true).await.unwrap_err();
    let command = Some("stty -echo; while read line; do echo \"got $line\"; done");
    owner.share(command, 80, 24).await.unwrap();
    owner.hand(1, true).await.unwrap();
    owner.end_share().await;
    owner.hand(1, true).await.unwrap_err();
    // The next one is nobody's but its owner's.
    owner.share(command, 80, 24).await.unwrap();
    guest.type_in(Some(0), b"without\n").await;
    guest.set_hold(true).await;
    mesh.until("hold", |m| m.seen(0, 1).state.hold).await;
    owner.type_in(None, b"mine\n").await;
    let output = |m: &Mesh| -> String {
        let events = m.events.lock().unwrap();
        let bytes = events[1].iter().filter_map(|e| match e {
            CallEvent::Output(_, bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        });
        bytes.collect()
    };
    mesh.until("what the owner typed", |m| output(m).contains("got mine")).await;
    assert!(!output(&mesh).contains("without"));
    mesh.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_made_anew_takes_the_place_of_the_first() {
    let started = |call: Result<(Call, mpsc::Receiver<CallEvent>), _>| call.unwrap();
    let (a, mut from_a) = started(Call::start(config("tone", "none", None)));
    let (b, mut from_b) = started(Call::start(config("tone", "none", None)));
    let first = a.offer(0).await.unwrap();
    // The answer to this one comes to nothing.
    b.answer(0, first).await.unwrap();
    let second = a.offer_again(0).await.unwrap().expect("it is not connected");
    let answer = b.answer(0, second).await.unwrap();
    a.accept(0, answer).await.unwrap();
    let mut connected = (false, false);
    while connected != (true, true) {
        let (event, by_a) = tokio::select! {
            event = from_a.recv() => (event, true),
            event = from_b.recv() => (event, false),
        };
        match event.expect("a call ended") {
            CallEvent::Candidate(_, json) => drop(if by_a { &b } else { &a }.candidate(0, &json).await),
            CallEvent::Connected(_) if by_a => connected.0 = true,
            CallEvent::Connected(_) => connected.1 = true,
            CallEvent::Failed(_) => panic!("the first one is heard of again"),
            _ => {}
        }
    }
    // What is made is not made again.
    assert!(a.offer_again(0).await.unwrap().is_none());
    for call in [&a, &b] {
        let mut heard = 0;
        while heard < 50 {
            tokio::task::yield_now().await;
            let routes = call.stats().routes;
            assert_eq!(routes.len(), 1);
            heard = routes[0].audio.packets;
        }
    }
    a.end().await;
    b.end().await;
}
