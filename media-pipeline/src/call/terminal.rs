//! The terminal that is shared in a call.

use std::{sync::Arc, time::Duration};

use super::{Call, lock};
use crate::{
    MediaError,
    control::{Control, Message},
    share::Share,
};

impl Call {
    /// Shares a terminal with all: a command line, or the user's shell.
    pub async fn share(&self, command: Option<&str>, columns: u16, rows: u16) -> Result<(), MediaError> {
        if lock(&self.0.share).is_some() {
            return Err(MediaError::Spec("a terminal is shared already; end it first".into()));
        }
        let (inner, runtime) = (Arc::downgrade(&self.0), tokio::runtime::Handle::current());
        let share = Share::start(command, columns, rows, move |bytes| {
            let Some(inner) = inner.upgrade() else { return };
            let call = Self(inner);
            match bytes {
                Some(bytes) => {
                    // A slow path slows the command down, as a slow terminal does.
                    let message = Message::Output(bytes.to_vec()).encode();
                    runtime.block_on(async {
                        for route in call.all_routes() {
                            for _ in 0..200 {
                                if route.peer.control(&message).await || !call.is_connected(route.id) {
                                    break;
                                }
                                tokio::time::sleep(Duration::from_millis(20)).await;
                            }
                        }
                    });
                }
                None => runtime.block_on(call.end_share()),
            }
        })?;
        let (columns, rows) = share.size();
        *lock(&self.0.share) = Some(Arc::new(share));
        lock(&self.0.state).sharing = true;
        self.tell(Control::Share { columns, rows }).await;
        self.tell_state().await;
        Ok(())
    }

    /// No longer shares.
    pub async fn end_share(&self) {
        let share = lock(&self.0.share).take();
        if share.is_some() {
            lock(&self.0.state).sharing = false;
            for route in self.all_routes() {
                lock(&route.state).hand = false;
            }
            self.tell(Control::ShareEnd).await;
            self.tell_state().await;
        }
    }

    /// Hands the keyboard of the terminal that is shared here to a participant, or takes it back.
    pub async fn hand(&self, id: u64, given: bool) {
        if let Some(route) = self.route(id) {
            lock(&route.state).hand = given;
            route.peer.control(&Message::Control(Control::Hand { given }).encode()).await;
        }
    }

    /// Types into a terminal: our own shared one, or that of a participant who handed us the keyboard.
    pub async fn type_in(&self, id: Option<u64>, bytes: &[u8]) {
        match id.and_then(|id| self.route(id)) {
            Some(route) => {
                route.peer.control(&Message::Input(bytes.to_vec()).encode()).await;
            }
            None => {
                if let Some(share) = &*lock(&self.0.share) {
                    share.type_in(bytes);
                }
            }
        }
    }
}
