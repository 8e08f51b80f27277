//! Tells the engine what happens in a call's media.

use std::{collections::BTreeMap, time::Duration};

use starling_media::CallEvent;
use starling_wire::CallId;
use tokio::sync::mpsc;

use super::{CallInput, Leg, Media, RouteId};

/// Candidates that are found within this time are told together: each signal costs a signature and a write.
const GATHER: Duration = Duration::from_millis(40);

/// Follows the media of one call to their end.
pub struct Observer {
    pub id: CallId,
    pub wire_id: CallId,
    pub media: Media,
    pub inputs: mpsc::Sender<CallInput>,
}

impl Observer {
    pub async fn run(self, mut events: mpsc::Receiver<CallEvent>) {
        let mut found: BTreeMap<RouteId, Vec<String>> = BTreeMap::new();
        loop {
            let event = if found.is_empty() {
                events.recv().await
            } else {
                match tokio::time::timeout(GATHER, events.recv()).await {
                    Ok(event) => event,
                    Err(_) => {
                        for (route, candidates) in std::mem::take(&mut found) {
                            self.tell(CallInput::Candidates(self.leg(route), candidates)).await;
                        }
                        continue;
                    }
                }
            };
            let Some(event) = event else { return };
            if let CallEvent::Candidate(route, json) = event {
                found.entry(RouteId(route)).or_default().push(json);
                continue;
            }
            if let Some(input) = self.input(&event).await {
                self.tell(input).await;
            }
            self.media.shows(&event);
            let _ = self.media.news.send(event);
        }
    }

    async fn input(&self, event: &CallEvent) -> Option<CallInput> {
        let leg = |route: &u64| self.leg(RouteId(*route));
        Some(match event {
            CallEvent::Connected(route) => CallInput::Connected(leg(route), self.emoji(RouteId(*route)).await),
            CallEvent::Interrupted(route) => CallInput::Interrupted(leg(route)),
            CallEvent::Failed(route) => CallInput::Failed(leg(route), "the connection was lost".into()),
            CallEvent::Left(route) => CallInput::Left(leg(route)),
            CallEvent::Recorded(question, _) => CallInput::Recorded(self.id, *question),
            CallEvent::Trouble(text) => CallInput::Trouble(self.id, text.clone()),
            CallEvent::NeedsRestart(route) => {
                let number = self.media.next_offer(RouteId(*route));
                CallInput::Offer(leg(route), number, self.media.call.restart(*route).await.ok()?)
            }
            _ => return None,
        })
    }

    fn leg(&self, route: RouteId) -> Leg {
        Leg { call: self.id, route }
    }

    async fn tell(&self, input: CallInput) {
        let _ = self.inputs.send(input).await;
    }

    /// A short authentication string: what both ends of a route see of both certificates. Whoever is between them has to show other ones.
    async fn emoji(&self, route: RouteId) -> String {
        let mut prints = self.media.call.fingerprints(route.0).await;
        prints.sort();
        let mut hash = blake3::Hasher::new_derive_key("starling 2026 call emoji");
        hash.update(&self.wire_id.0);
        for print in prints {
            hash.update(print.as_bytes());
        }
        let bytes = hash.finalize();
        bytes.as_bytes().iter().take(6).map(|b| EMOJI[usize::from(b & 63)]).collect::<Vec<_>>().join(" ")
    }
}

/// Sixty-four pictures that look different at any size and have one common name (those of Matrix' verification).
const EMOJI: [&str; 64] = [
    "🐶", "🐱", "🦁", "🐎", "🦄", "🐷", "🐘", "🐰", "🐼", "🐓", "🐧", "🐢", "🐟", "🐙", "🦋", "🌷", "🌳", "🌵", "🍄",
    "🌏", "🌙", "☁", "🔥", "🍌", "🍎", "🍓", "🌽", "🍕", "🎂", "❤", "😀", "🤖", "🎩", "👓", "🔧", "🎅", "👍", "☂",
    "⌛", "⏰", "🎁", "💡", "📕", "✏", "📎", "✂", "🔒", "🔑", "🔨", "☎", "🏁", "🚂", "🚲", "✈", "🚀", "🏆", "⚽", "🎸",
    "🎺", "🔔", "⚓", "🎧", "📁", "📌",
];
