//! Tells the engine what happens in a call's media.

use std::{collections::BTreeMap, time::Duration};

use starling_media::CallEvent;
use starling_wire::CallId;
use tokio::sync::mpsc;

use super::{CallInput, Leg, Media, RouteId};
use crate::api::problem::CallProblem;

/// Candidates that are found within this time are told together: each signal costs a signature and a write.
const GATHER: Duration = Duration::from_millis(40);

/// Follows the media of one call to their end.
pub struct Observer {
    pub id: CallId,
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
            let _ = self.media.events.send(event);
        }
    }

    async fn input(&self, event: &CallEvent) -> Option<CallInput> {
        let leg = |route: &u64| self.leg(RouteId(*route));
        Some(match event {
            CallEvent::Connected(route) => {
                let certificates = self.media.call.fingerprints(*route).await.into_iter().collect();
                CallInput::Connected(leg(route), certificates)
            }
            CallEvent::Interrupted(route) => CallInput::Interrupted(leg(route)),
            CallEvent::Failed(route) => CallInput::Failed(leg(route), CallProblem::ConnectionLost),
            CallEvent::Left(route) => CallInput::Left(leg(route)),
            CallEvent::Recorded(question, _) => CallInput::Recorded(self.id, *question),
            CallEvent::Trouble(error) => CallInput::Trouble(self.id, error.clone().into()),
            CallEvent::NeedsRestart(route) => {
                let number = self.media.next_offer(RouteId(*route));
                CallInput::Offer(leg(route), number, self.media.call.restart(*route).await.ok()?)
            }
            CallEvent::NeedsOffer(route) => CallInput::Reconnect(leg(route)),
            _ => return None,
        })
    }

    fn leg(&self, route: RouteId) -> Leg {
        Leg { call: self.id, route }
    }

    async fn tell(&self, input: CallInput) {
        let _ = self.inputs.send(input).await;
    }
}
