//! A call between us and Chromium, whose signals a test carries while it waits.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use starling_media::{Call, CallConfig, CallEvent, MediaError};
use starling_tests::PATIENCE;
use tokio::{sync::mpsc, time::sleep};

use super::browser::Browser;

/// The only route of the call.
const ROUTE: u64 = 0;
/// What is waited for is looked at so often.
const TICK: Duration = Duration::from_millis(10);
/// Packets of sound, and pictures, that have to come after a change: more than may have been on their way before.
const HEARD: u64 = 10;
const SEEN: u64 = 5;

/// A call in progress.
pub struct Talk {
    pub call: Call,
    pub browser: Browser,
    /// Why offers of Chromium's were not answered.
    pub refused: Vec<MediaError>,
    events: mpsc::Receiver<CallEvent>,
    /// How many offers were made here.
    offers: u32,
}

/// What both ends have received: we, and Chromium.
#[derive(Clone, Copy)]
struct Received {
    packets: [u64; 2],
    frames: [u64; 2],
}

/// How long after a change both ends received again what the other sends.
#[derive(Clone, Copy, Debug)]
pub struct Restored {
    pub sound: Duration,
    pub pictures: Duration,
}

impl Talk {
    /// One in which Chromium makes the first offer.
    pub fn answer(browser: Browser, config: CallConfig) -> Self {
        let (call, events) = Call::start(config).unwrap();
        Self { call, browser, refused: Vec::new(), events, offers: 0 }
    }

    /// One in which we do.
    pub async fn offer(browser: Browser, config: CallConfig) -> Self {
        let mut talk = Self::answer(browser, config);
        let offer = talk.call.offer(ROUTE).await.unwrap();
        talk.send_offer(offer);
        talk
    }

    fn send_offer(&mut self, offer: String) {
        self.offers += 1;
        self.browser.send(json!({ "offer": offer, "number": self.offers }));
    }

    /// Has Chromium make a new offer, unless one is on its way: what `Reconnect` says to one of ours.
    pub fn request_offer(&self) {
        self.browser.send(json!({ "restart": true }));
    }

    /// Makes a new offer here.
    pub async fn restart(&mut self) {
        let offer = self.call.restart(ROUTE).await.unwrap();
        self.send_offer(offer);
    }

    /// Carries signals until something is true.
    pub async fn until(&mut self, what: &str, mut is: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is(self) {
            assert!(
                Instant::now() < deadline,
                "{what} did not come: {}, refused {:?}, {:#?}",
                self.browser.report(),
                self.refused,
                self.call.stats()
            );
            self.carry().await;
        }
    }

    /// Carries signals for a time.
    pub async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.carry().await;
        }
    }

    async fn carry(&mut self) {
        tokio::select! {
            event = self.events.recv() => self.on_event(event.expect("the call goes on")).await,
            message = self.browser.message() => self.on_message(&message).await,
            () = sleep(TICK) => {}
        }
    }

    async fn on_event(&mut self, event: CallEvent) {
        match event {
            CallEvent::Candidate(_, json) => {
                let candidate: Value = serde_json::from_str(&json).unwrap();
                self.browser.send(json!({ "candidate": candidate }));
            }
            CallEvent::NeedsRestart(_) => self.restart().await,
            CallEvent::NeedsOffer(_) => self.request_offer(),
            CallEvent::Failed(_) => panic!("the call is lost: {}", self.browser.report()),
            _ => {}
        }
    }

    async fn on_message(&mut self, message: &Value) {
        let text = |name: &str| message[name].as_str().map(str::to_owned);
        if let Some(offer) = text("offer") {
            match self.call.answer(ROUTE, offer).await {
                Ok(answer) => self.browser.send(json!({ "answer": answer, "number": message["number"] })),
                Err(error) => self.refused.push(error),
            }
        } else if let Some(answer) = text("answer") {
            // One to an older offer than the last would be taken for the answer to that.
            if message["number"] == self.offers {
                self.call.accept(ROUTE, answer).await.unwrap();
            }
        } else if message["candidate"].is_object() {
            self.call.candidate(ROUTE, &message["candidate"].to_string()).await.unwrap();
        } else {
            panic!("in Chromium: {message}");
        }
    }

    fn received(&self) -> Received {
        let ours = self.call.stats().routes.into_iter().next().unwrap_or_default();
        let report = self.browser.report();
        let theirs = |name: &str| report[name].as_u64().unwrap_or(0);
        Received { packets: [ours.audio.packets, theirs("packets")], frames: [ours.video.frames, theirs("frames")] }
    }

    /// Waits until both ends hear and see one another, after what has begun then.
    pub async fn restored(&mut self, began: Instant) -> Restored {
        // The next report may be of before.
        let reports = self.browser.reports();
        self.until("Chromium's report", |talk| talk.browser.reports() > reports + 1).await;
        let before = self.received();
        let (mut sound, mut pictures) = (None, None);
        self.until("sound and pictures at both ends", |talk| {
            let now = talk.received();
            let more = |now: [u64; 2], before: [u64; 2], least: u64| (0..2).all(|end| now[end] >= before[end] + least);
            if sound.is_none() && more(now.packets, before.packets, HEARD) {
                sound = Some(began.elapsed());
            }
            if pictures.is_none() && more(now.frames, before.frames, SEEN) {
                pictures = Some(began.elapsed());
            }
            sound.is_some() && pictures.is_some()
        })
        .await;
        Restored { sound: sound.unwrap(), pictures: pictures.unwrap() }
    }
}
