//! The terminal that is shared in a call.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use super::{Call, lock};
use crate::{
    MediaError,
    control::{Control, Message},
    share::Share,
};

/// The terminal that is shared.
#[derive(Default)]
pub(super) struct Sharing {
    pub(super) current: Option<Arc<Share>>,
    /// Number of the newest one. A command that was killed ends later than its share, and must not end the next.
    number: u64,
}

impl Call {
    /// Shares a terminal with all: a command line, or the user's shell.
    pub async fn share(&self, command: Option<&str>, columns: u16, rows: u16) -> Result<(), MediaError> {
        let (announced, shown) = mpsc::channel();
        let (columns, rows) = self.start_share(command, columns, rows, shown)?;
        lock(&self.0.state).sharing = true;
        self.tell(Control::Share { columns, rows }).await;
        self.tell_state().await;
        drop::<mpsc::Sender<()>>(announced);
        Ok(())
    }

    /// Starts the command; gives the terminal's size. What it prints and its end wait until the sender of `announced` is dropped: nobody shows the
    /// output of a terminal of which they do not know.
    fn start_share(
        &self,
        command: Option<&str>,
        columns: u16,
        rows: u16,
        announced: mpsc::Receiver<()>,
    ) -> Result<(u16, u16), MediaError> {
        let mut sharing = lock(&self.0.share);
        if sharing.current.is_some() {
            return Err(MediaError::Spec("a terminal is shared already; end it first".into()));
        }
        let number = sharing.number + 1;
        let (inner, runtime) = (Arc::downgrade(&self.0), tokio::runtime::Handle::current());
        let share = Share::start(command, columns, rows, move |bytes| {
            // Nothing is ever sent: it waits for the end.
            let _ = announced.recv();
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
                None => {
                    let is_it = lock(&call.0.share).number == number;
                    if is_it {
                        runtime.block_on(call.end_share());
                    }
                }
            }
        })?;
        let size = share.size();
        *sharing = Sharing { current: Some(Arc::new(share)), number };
        Ok(size)
    }

    /// Whether a terminal is shared here.
    pub fn is_sharing(&self) -> bool {
        lock(&self.0.share).current.is_some()
    }

    /// No longer shares.
    pub async fn end_share(&self) {
        let share = lock(&self.0.share).current.take();
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
    ///
    /// # Errors
    /// No terminal is shared: leave is given for one that its owner sees, never for a later one.
    pub async fn hand(&self, id: u64, given: bool) -> Result<(), MediaError> {
        let Some(route) = self.route(id) else { return Ok(()) };
        {
            // The share cannot end in between, which takes all leave back.
            let share = lock(&self.0.share);
            if given && share.current.is_none() {
                return Err(MediaError::Spec("no terminal is shared; share one first".into()));
            }
            lock(&route.state).hand = given;
        }
        route.peer.control(&Message::Control(Control::Hand { given }).encode()).await;
        Ok(())
    }

    /// Types into a terminal: our own shared one, or that of a participant who handed us the keyboard.
    pub async fn type_in(&self, id: Option<u64>, bytes: &[u8]) {
        match id.and_then(|id| self.route(id)) {
            Some(route) => {
                route.peer.control(&Message::Input(bytes.to_vec()).encode()).await;
            }
            None => {
                if let Some(share) = &lock(&self.0.share).current {
                    share.type_in(bytes);
                }
            }
        }
    }
}
