//! A recording of a call. That all have agreed is asked elsewhere; that it goes on is told to all.

use std::{path::Path, sync::Arc};

use super::{Call, CallEvent, lock};
use crate::{
    MediaError,
    record::{Inputs, Recorder},
    switch::Switch,
};

impl Call {
    /// Records to a file, `.mp4` or `.ogg`, until [`Call::end_record`], the end of the call, or somebody new, who has agreed to nothing.
    pub async fn record(&self, path: &Path) -> Result<(), MediaError> {
        if lock(&self.0.recording).is_some() {
            return Err(MediaError::File("the call is being recorded already".into()));
        }
        let others = self.0.participants.all().iter().map(|p| p.view.subscribe()).collect();
        let inputs = Inputs { sound: self.0.taps.clone(), others, own: self.0.self_view.subscribe() };
        let recorder = Recorder::create(path, inputs)?;
        let switch = Arc::new(Switch::new(true));
        let (inner, ended, runtime) = (Arc::downgrade(&self.0), switch.clone(), tokio::runtime::Handle::current());
        let events = self.0.events.clone();
        self.thread("call-record", move || {
            let result = recorder.run(&ended);
            if let Err(error) = &result {
                let _ = events.try_send(CallEvent::Trouble(error.to_string()));
            }
            let _ = events.try_send(CallEvent::Recorded(result.is_ok()));
            if let Some(inner) = inner.upgrade() {
                let call = Self(inner);
                runtime.spawn(async move { call.end_record().await });
            }
        })?;
        *lock(&self.0.recording) = Some(switch);
        lock(&self.0.state).recording = true;
        self.tell_state().await;
        Ok(())
    }

    /// No longer records; [`CallEvent::Recorded`] tells when the file is complete.
    pub async fn end_record(&self) {
        let recording = lock(&self.0.recording).take();
        if let Some(switch) = recording {
            switch.end();
            lock(&self.0.state).recording = false;
            self.tell_state().await;
        }
    }
}
