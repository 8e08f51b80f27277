//! What is done about entries as soon as they are stored.

use std::{fmt, sync::Arc};

use super::streams::Head;

/// Something that is done once entries are stored, with the stream as it is then. What is appended to a stream later is stored later, or at least
/// told of later: so it is done in the order of the entries, however many are appended at once. It may not wait for anything.
#[derive(Clone, Default)]
pub struct WhenStored(Option<Arc<Then>>);

type Then = dyn Fn(&Head) + Send + Sync;

impl WhenStored {
    /// Does this.
    pub fn new(then: impl Fn(&Head) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(then)))
    }

    /// The entries are stored.
    pub fn run(&self, head: &Head) {
        if let Some(then) = &self.0 {
            then(head);
        }
    }
}

impl fmt::Debug for WhenStored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WhenStored").field(&self.0.is_some()).finish()
    }
}
