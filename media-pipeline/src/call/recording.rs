//! A recording of a call. That all have agreed is asked elsewhere; that it goes on is told to all.

use std::{path::Path, sync::Arc};

use super::{Call, CallEvent, lock};
use crate::{
    MediaError,
    record::{Inputs, Recorder, SoundTap},
    switch::Switch,
};

/// Taps of a recording: what is said here, and what is heard.
pub(super) const SAID: usize = 0;
pub(super) const HEARD: usize = 1;

/// A recording that goes on.
pub(super) struct Active {
    pub switch: Arc<Switch>,
    pub taps: [Arc<SoundTap>; 2],
}

impl Call {
    /// Records to a file, `.mp4` or `.ogg`, until [`Call::end_record`], the end of the call, or somebody new, who has agreed to nothing.
    /// `number` names it in [`CallEvent::Recorded`].
    pub async fn record(&self, path: &Path, number: u32) -> Result<(), MediaError> {
        let taps: [Arc<SoundTap>; 2] = Default::default();
        let others = self.0.participants.all().iter().map(|p| p.view.subscribe()).collect();
        let inputs = Inputs { sound: taps.clone(), others, own: self.0.self_view.subscribe() };
        let recorder = Recorder::create(path, inputs)?;
        let switch = Arc::new(Switch::new(true));
        let before = lock(&self.0.recording).replace(Active { switch: switch.clone(), taps });
        if let Some(before) = before {
            before.switch.end();
        }
        lock(&self.0.state).recording = true;
        let (inner, ended, runtime) = (Arc::downgrade(&self.0), switch.clone(), tokio::runtime::Handle::current());
        let events = self.0.events.clone();
        let started = self.thread("call-record", move || {
            let result = recorder.run(&ended);
            if let Err(error) = &result {
                let _ = events.try_send(CallEvent::Trouble(error.clone()));
            }
            // It is not to be missed: who asked for it waits.
            let _ = events.blocking_send(CallEvent::Recorded(number, result.is_ok()));
            if let Some(inner) = inner.upgrade() {
                let call = Self(inner);
                runtime.spawn(async move { call.end_recording(Some(&ended)).await });
            }
        });
        if let Err(error) = started {
            self.end_recording(Some(&switch)).await;
            return Err(error);
        }
        self.tell_state().await;
        Ok(())
    }

    /// No longer records; [`CallEvent::Recorded`] tells when the file is complete.
    pub async fn end_record(&self) {
        self.end_recording(None).await;
    }

    /// Ends the recording with this switch, or any.
    async fn end_recording(&self, which: Option<&Arc<Switch>>) {
        let ended = {
            let mut recording = lock(&self.0.recording);
            let fits = |active: &mut Active| which.is_none_or(|switch| Arc::ptr_eq(switch, &active.switch));
            recording.take_if(fits)
        };
        if let Some(ended) = ended {
            ended.switch.end();
            lock(&self.0.state).recording = false;
            self.tell_state().await;
        }
    }
}
