//! The rows as they are stored (protocol buffers, sealed). Fields are only ever added; another meaning needs a migration.

/// Rows with secrets leave nothing in memory.
macro_rules! wiped {
    ($($row:ident: $($field:ident)+),*) => {
        $(impl Drop for $row {
            fn drop(&mut self) {
                $(zeroize::Zeroize::zeroize(&mut self.$field);)+
            }
        })*
    };
}

mod account;
mod contacts;
mod conversation;
mod fork;
mod gossip;
mod group;
mod policy;
mod timeline;

pub use account::*;
pub use contacts::*;
pub use conversation::*;
pub use fork::*;
pub use gossip::*;
pub use group::*;
pub use policy::*;
pub use timeline::*;
