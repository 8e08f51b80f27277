//! Calls, as users of a node make them.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use starling_keys::DeviceId;
use starling_media::{CallStats, IceServer};
use starling_wire::CallId;

use super::Node;
use crate::{
    api::{
        error::{CallRefused, Invalid, NodeError},
        types::{CallElsewhere, CallInfo, CallSetup, ChatId},
    },
    call_media::{CallServer, Media},
    calls::{AttendantId, CallRequest},
    engine::Input,
};

impl Node {
    /// Calls somebody. Progress is told by [`TransientEvent::Call`](crate::TransientEvent::Call).
    pub async fn call_start(&self, chat: ChatId, setup: CallSetup) -> Result<CallId, NodeError> {
        let setup = self.checked(setup).await?;
        self.call(|reply| CallRequest::Start { chat, setup, reply }).await
    }

    /// Answers a call that rings.
    pub async fn call_answer(&self, id: CallId, setup: CallSetup) -> Result<(), NodeError> {
        let setup = self.checked(setup).await?;
        self.call(|reply| CallRequest::Answer { id, setup, reply }).await
    }

    /// A call whose files cannot be read or written is not made. Through a proxy there is no way but by relays.
    async fn checked(&self, setup: CallSetup) -> Result<CallSetup, NodeError> {
        check_files(&setup).await?;
        let relay_only = setup.relay_only || self.is_proxied();
        Ok(CallSetup { relay_only, ..setup })
    }

    /// Hangs up, declines (with a word, if there is one) or cancels.
    pub async fn call_hang_up(&self, id: CallId, text: String) -> Result<(), NodeError> {
        self.call(|reply| CallRequest::HangUp { id, text, reply }).await
    }

    /// Hands a call over to another device of ours, the only one if none is said: it rings there, and goes on here until it is taken.
    pub async fn call_transfer(&self, id: CallId, to: Option<DeviceId>) -> Result<(), NodeError> {
        self.call(|reply| CallRequest::Transfer { id, to, reply }).await
    }

    /// Takes the call that another device of ours has, in a chat or in any.
    pub async fn call_fetch(&self, chat: Option<ChatId>, setup: CallSetup) -> Result<CallId, NodeError> {
        let setup = self.checked(setup).await?;
        self.call(|reply| CallRequest::Fetch { chat, setup, reply }).await
    }

    /// Calls that other devices of ours have.
    pub async fn calls_elsewhere(&self) -> Result<Vec<CallElsewhere>, NodeError> {
        self.call(CallRequest::ListOnOtherDevices).await
    }

    /// Asks the other side whether a call may be recorded to a file (`.mp4`, or `.ogg` for sound alone), which begins when it agrees; or
    /// ends that.
    pub async fn call_record(&self, id: CallId, path: Option<PathBuf>) -> Result<(), NodeError> {
        if let Some(path) = &path {
            starling_media::record::check(path).map_err(CallRefused::RecordingFile)?;
        }
        self.call(|reply| CallRequest::Record { id, path, reply }).await
    }

    /// A front end that attends calls. It is told to be gone when the handle is dropped: then calls that nobody else attends fall silent at once, and are
    /// hung up after a while unless somebody attends them again.
    pub fn attendant(&self) -> Attendant {
        Attendant { id: AttendantId(rand::random()), node: self.clone(), attends: AtomicBool::new(false) }
    }

    /// Tells the engine that a front end is gone, even if its queue is full now.
    fn attendant_left(&self, attendant: AttendantId) {
        let (inputs, left) = (self.inputs.clone(), Input::Command(CallRequest::AttendantLeft(attendant).into()));
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move { inputs.send(left).await })),
            Err(_) => drop(inputs.blocking_send(left)),
        }
    }

    /// Opens the microphone of a call for this time, at most two seconds, as long as a key is held: to be said again before that. With `None` the
    /// microphone is left as it is, and no longer closed by itself.
    pub async fn call_talk(&self, id: CallId, time: Option<Duration>) -> Result<(), NodeError> {
        let for_ms = time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self.call(|reply| CallRequest::Talk { id, for_ms, reply }).await
    }

    /// Agrees to be recorded by the other side, or does not, or no longer.
    pub async fn call_consent(&self, id: CallId, agree: bool) -> Result<(), NodeError> {
        self.call(|reply| CallRequest::Consent { id, agree, reply }).await
    }

    /// Calls that are not over.
    pub async fn calls(&self) -> Result<Vec<CallInfo>, NodeError> {
        self.call(CallRequest::List).await
    }

    /// STUN and TURN servers of our rendezvous, to test them; none if there are none.
    pub async fn call_servers(&self) -> Result<Vec<IceServer>, NodeError> {
        let servers = self.call(CallRequest::Servers).await?;
        Ok(CallServer::all_reached_by(servers, &self.net, self.is_proxied()).await)
    }

    /// The media of a call, to steer and to watch; nothing before it was started here or answered.
    pub fn call_media(&self, id: CallId) -> Option<Media> {
        self.calls.get(id)
    }

    /// Statistics of a call. Of one that is over they come when its files are complete.
    pub async fn call_stats(&self, id: CallId) -> Option<CallStats> {
        self.calls.stats(id).await
    }
}

/// Attends calls until it is dropped.
#[derive(Debug)]
pub struct Attendant {
    id: AttendantId,
    node: Node,
    /// It has attended a call: only then its end is of interest.
    attends: AtomicBool,
}

impl Attendant {
    /// From now on this front end attends a call. Fails if there is no such call.
    pub async fn attend(&self, id: CallId) -> Result<(), NodeError> {
        let attendant = self.id;
        self.attends.store(true, Relaxed);
        self.node.call(|reply| CallRequest::Attend { id, attendant, reply }).await
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        if self.attends.load(Relaxed) {
            self.node.attendant_left(self.id);
        }
    }
}

async fn check_files(setup: &CallSetup) -> Result<(), NodeError> {
    let (inputs, outputs) = setup.files();
    let checked = tokio::task::spawn_blocking(move || starling_media::files::check(&inputs, &outputs)).await;
    checked.map_err(|_| NodeError::Stopped)?.map_err(|e| Invalid::Files(e).into())
}
