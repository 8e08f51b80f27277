//! Chromium and we in networks of our own, whose addresses change in mid-call. What is promised is sound and pictures after 5 s; the limit leaves room
//! for a busy machine. Chromium itself learns of a new address after 2 s.

use std::time::{Duration, Instant};

use starling_media::PeerConfig;
use starling_tests::lab::{ENDS, Lab};
use tokio::runtime::Runtime;

use super::{
    browser::{Browser, Caller},
    config,
    talk::Talk,
};

const LIMIT: Duration = Duration::from_secs(15);
/// Between two changes.
const SETTLED: Duration = Duration::from_secs(1);

/// The two ends, by their place in [`ENDS`].
const WE: usize = 0;
const CHROMIUM: usize = 1;

/// A call in a laboratory.
struct Roaming<'a> {
    lab: &'a Lab,
    talk: Talk,
    /// The last parts of both addresses.
    numbers: [u8; 2],
    /// When one of them has changed last.
    changed: Instant,
}

/// Two hosts in one network.
fn lan() -> Option<Lab> {
    let mut lab = Lab::new()?;
    for (host, number) in ENDS.iter().zip([2, 3]) {
        lab.wire(host, &address(number));
        lab.must(host, "ip route add default dev wan");
    }
    Some(lab)
}

fn address(number: u8) -> String {
    format!("198.18.0.{number}")
}

/// All its threads are in the network of the one that makes it.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

impl<'a> Roaming<'a> {
    /// Connects both. Has to be called in our network.
    async fn begin(lab: &'a Lab, caller: Caller) -> Option<Self> {
        let chromium = lab.system_command(ENDS[CHROMIUM], "chromium");
        let browser = Browser::start(chromium, lab.listener(ENDS[CHROMIUM], "127.0.0.1:0"), caller)?;
        let config = config("pattern:320x180@15", PeerConfig::default());
        let talk = match caller {
            Caller::We => Talk::offer(browser, config).await,
            Caller::Chromium => Talk::answer(browser, config),
        };
        let mut roaming = Self { lab, talk, numbers: [2, 3], changed: Instant::now() };
        roaming.talk.restored(roaming.changed).await;
        Some(roaming)
    }

    /// Ends get other addresses.
    fn change(&mut self, ends: &[usize]) {
        self.changed = Instant::now();
        for end in ends {
            let (from, to) = (self.numbers[*end], self.numbers[*end] + 10);
            self.lab.readdress(ENDS[*end], "wan", &address(from), &address(to), None);
            self.numbers[*end] = to;
        }
    }

    /// Waits until both hear and see one another after the last change.
    async fn restored(&mut self, what: &str) {
        let restored = self.talk.restored(self.changed).await;
        println!("{what}: sound after {:.1?}, pictures after {:.1?}", restored.sound, restored.pictures);
        assert!(restored.sound.max(restored.pictures) < LIMIT, "{what}: {restored:?}");
        self.talk.pass(SETTLED).await;
    }
}

#[test]
fn a_call_to_chromium_goes_on_whichever_end_moves_and_when_both_restart_at_once() {
    let Some(lab) = lan() else { return };
    lab.within(ENDS[WE], || {
        runtime().block_on(async {
            let Some(mut roaming) = Roaming::begin(&lab, Caller::We).await else { return };
            roaming.change(&[WE]);
            // What a node does when the kernel tells of it.
            roaming.talk.call.network_changed().await;
            roaming.restored("we move").await;
            roaming.change(&[CHROMIUM]);
            roaming.restored("Chromium moves").await;
            // Their offers cross: Chromium takes its own back.
            roaming.change(&[WE, CHROMIUM]);
            roaming.talk.request_offer();
            roaming.talk.restart().await;
            roaming.restored("both move and restart").await;
            assert_eq!(roaming.talk.refused.len(), 1, "{:?}", roaming.talk.refused);
            // It makes an offer where we make them: it is answered with ours.
            roaming.change(&[WE]);
            roaming.talk.request_offer();
            roaming.restored("we move and Chromium restarts").await;
            assert_eq!(roaming.talk.refused.len(), 2, "{:?}", roaming.talk.refused);
            roaming.talk.call.end().await;
        });
    });
}

#[test]
fn a_call_of_chromium_goes_on_whichever_end_moves_and_when_both_restart_at_once() {
    let Some(lab) = lan() else { return };
    lab.within(ENDS[WE], || {
        runtime().block_on(async {
            let Some(mut roaming) = Roaming::begin(&lab, Caller::Chromium).await else { return };
            roaming.change(&[WE]);
            roaming.talk.call.network_changed().await;
            roaming.restored("we move, called by Chromium").await;
            roaming.change(&[CHROMIUM]);
            roaming.restored("Chromium moves, who called").await;
            // It restarts while we ask it to.
            roaming.change(&[WE, CHROMIUM]);
            roaming.talk.request_offer();
            roaming.talk.call.network_changed().await;
            roaming.restored("both move and restart, called by Chromium").await;
            assert!(roaming.talk.refused.is_empty(), "{:?}", roaming.talk.refused);
            roaming.talk.call.end().await;
        });
    });
}
