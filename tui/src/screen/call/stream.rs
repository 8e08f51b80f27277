//! The connection that brings a call's pictures.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use starling_control::{
    ClientError,
    frames::{Frames, Part, Request},
    objects::CallId,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::profile::Profile;

/// Pictures are drawn at most so often; a terminal that is slower gets fewer.
const FRAME: Duration = Duration::from_millis(33);

/// The connection that brings pictures. A task reads; the newest frame waits for the screen.
#[derive(Default)]
pub struct Video {
    call: CallId,
    wanted: Option<watch::Sender<Request>>,
    frames: Option<mpsc::Receiver<Vec<Part>>>,
    task: Option<JoinHandle<()>>,
    not_before: Option<Instant>,
}

/// Connects to the node behind the first of these sockets that has one.
async fn connect(sockets: &[PathBuf], call: CallId) -> Option<Frames> {
    for socket in sockets {
        match Frames::open(socket, call.clone()).await {
            Ok(frames) => return Some(frames),
            // Nobody is behind this one.
            Err(ClientError::Closed) => {}
            Err(_) => return None,
        }
    }
    None
}

impl Video {
    /// Watches a call, in these sizes, or nothing. `began`: when the last drawing did.
    pub fn want(&mut self, wanted: Option<(CallId, Request)>, profile: &Profile, began: Instant) {
        // At most a third of the time goes into drawing: keys come first.
        self.not_before = Some(began + FRAME.max(began.elapsed() * 3));
        let Some((call, wish)) = wanted else { return self.stop() };
        if let Some(sender) = self.wanted.as_ref().filter(|_| self.call == call) {
            sender.send_if_modified(|old| {
                let changed = *old != wish;
                *old = wish;
                changed
            });
            return;
        }
        self.stop();
        let (sender, wishes) = watch::channel(wish);
        // One frame waits; the next is asked for when it was taken.
        let (shots, frames) = mpsc::channel(1);
        let (sockets, id) = (profile.sockets(), call.clone());
        self.task = Some(tokio::spawn(async move {
            let Some(mut connection) = connect(&sockets, id).await else { return };
            loop {
                let Ok(place) = shots.reserve().await else { return };
                let wish = wishes.borrow().clone();
                let Ok(parts) = connection.next(&wish).await else { return };
                place.send(parts);
            }
        }));
        (self.call, self.wanted, self.frames) = (call, Some(sender), Some(frames));
    }

    fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        (self.wanted, self.frames) = (None, None);
        self.call = CallId::default();
    }

    /// The next frame; never, while nothing is watched. Can be cancelled.
    pub async fn next(&mut self) -> Vec<Part> {
        let Some(frames) = &mut self.frames else { return std::future::pending().await };
        if let Some(at) = self.not_before {
            tokio::time::sleep_until(at.into()).await;
        }
        match frames.recv().await {
            Some(parts) => parts,
            None => {
                // It ended by itself: perhaps another connection took its place. The next drawing asks again.
                self.stop();
                std::future::pending().await
            }
        }
    }
}

impl Drop for Video {
    fn drop(&mut self) {
        self.stop();
    }
}
