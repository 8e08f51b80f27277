//! The rows as they are stored (protocol buffers, sealed). Fields are only ever added; another meaning needs a migration.

mod account;
mod contacts;
mod conversation;
mod gossip;
mod group;
mod policy;
mod timeline;

pub use account::*;
pub use contacts::*;
pub use conversation::*;
pub use gossip::*;
pub use group::*;
pub use policy::*;
pub use timeline::*;
