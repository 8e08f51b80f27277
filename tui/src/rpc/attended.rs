//! Who attends a call. A screen or a command that was killed leaves its call to the node: with an open microphone, and to nobody's ears.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use starling_node::{CallId, CallInfo, CallPhase, Live, Node};
use tokio::sync::{Notify, broadcast::error::RecvError};

/// A call that nobody attends is ended after this: time for a screen to be started anew.
const ALONE: Duration = Duration::from_secs(20);
/// A call that is only being made has no microphone yet: it is looked for again.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
struct Attendance {
    connections: HashSet<u64>,
    /// Since when there is none, and whether nothing is heard and seen of us any more.
    alone: Option<(Instant, bool)>,
}

/// Calls, and the connections that attend them.
#[derive(Clone, Debug, Default)]
pub struct Attended {
    calls: Arc<Mutex<HashMap<CallId, Attendance>>>,
    changed: Arc<Notify>,
}

impl Attended {
    fn calls(&self) -> MutexGuard<'_, HashMap<CallId, Attendance>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on a connection attends a call.
    pub fn attends(&self, connection: u64, id: CallId) {
        let mut calls = self.calls();
        let call = calls.entry(id).or_default();
        call.connections.insert(connection);
        call.alone = None;
    }

    /// A connection is closed.
    pub fn left(&self, connection: u64) {
        for call in self.calls().values_mut() {
            if call.connections.remove(&connection) && call.connections.is_empty() {
                call.alone = Some((Instant::now(), false));
            }
        }
        self.changed.notify_one();
    }

    /// What nobody attends any more is no longer heard or seen, and is ended unless somebody comes back. Runs as long as the node.
    pub async fn watch(self, node: Node) {
        let mut live = node.live();
        loop {
            let next = self.next();
            let wait = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                news = live.recv() => match news {
                    Ok(Live::Call(call)) if call.end.is_some() => self.ended(call.id, call.replaced_by),
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                () = self.changed.notified() => {}
                () = wait => {}
            }
            self.tend(&node).await;
        }
    }

    /// A call is over; when both sides called at once, another goes on in its place.
    fn ended(&self, id: CallId, replaced_by: Option<CallId>) {
        let mut calls = self.calls();
        if let Some(mut call) = calls.remove(&id)
            && let Some(next) = replaced_by
        {
            call.alone = call.alone.map(|(since, _)| (since, false));
            calls.insert(next, call);
        }
    }

    fn next(&self) -> Option<Instant> {
        let due = |call: &Attendance| {
            let (since, quiet) = call.alone?;
            Some(if quiet { since + ALONE } else { (since + ALONE).min(Instant::now() + LOOK) })
        };
        self.calls().values().filter_map(due).min()
    }

    async fn tend(&self, node: &Node) {
        let is_over = |call: &Attendance| call.alone.is_some_and(|(since, _)| since.elapsed() >= ALONE);
        let over: Vec<CallId> = self.calls().extract_if(|_, call| is_over(call)).map(|(id, _)| id).collect();
        // One that rings is not declined by who looked at it: it rings on other devices, too.
        let rings = |c: &CallInfo| !c.outgoing && c.phase == CallPhase::Ringing;
        let ringing: Vec<CallId> = match node.calls().await {
            Ok(calls) if !over.is_empty() => calls.iter().filter(|c| rings(c)).map(|c| c.id).collect(),
            _ => Vec::new(),
        };
        for id in over.into_iter().filter(|id| !ringing.contains(id)) {
            if let Err(error) = node.call_hang_up(id, String::new()).await {
                tracing::debug!(%error, "a call that nobody attends");
            }
        }
        let is_loud = |call: &Attendance| call.alone.is_some_and(|(_, quiet)| !quiet);
        let loud: Vec<CallId> = self.calls().iter().filter(|(_, call)| is_loud(call)).map(|(id, _)| *id).collect();
        for id in loud {
            let Some(media) = node.call_media(id) else { continue };
            media.call.end_share().await;
            media.call.set_microphone(false).await;
            media.call.set_camera(false).await;
            if let Some((_, quiet)) = self.calls().get_mut(&id).and_then(|call| call.alone.as_mut()) {
                *quiet = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn alone(attended: &Attended, id: CallId) -> Option<(Instant, bool)> {
        attended.calls().get(&id).unwrap().alone
    }

    #[test]
    fn a_call_is_alone_when_the_last_one_has_left_and_until_somebody_comes_back() {
        let (attended, id) = (Attended::default(), CallId([1; 16]));
        attended.attends(1, id);
        attended.attends(2, id);
        attended.left(1);
        assert_eq!((alone(&attended, id), attended.next()), (None, None));
        attended.left(2);
        let first = alone(&attended, id).unwrap();
        assert!(attended.next().is_some());
        attended.attends(3, id);
        assert_eq!(alone(&attended, id), None);
        attended.left(3);
        assert!(alone(&attended, id).unwrap().0 >= first.0);
    }

    #[test]
    fn a_call_that_takes_the_place_of_another_has_its_attendance() {
        let (attended, old, new) = (Attended::default(), CallId([1; 16]), CallId([2; 16]));
        attended.attends(1, old);
        attended.left(1);
        attended.calls().get_mut(&old).unwrap().alone.as_mut().unwrap().1 = true;
        attended.ended(old, Some(new));
        assert!(!alone(&attended, new).unwrap().1, "its microphone is another one");
        attended.ended(new, None);
        assert!(attended.calls().is_empty());
    }
}
