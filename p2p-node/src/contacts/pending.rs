//! What contacts have asked of rendezvous servers.

use super::Contacts;
use crate::{home::Homes, turn::Turn};

pub use crate::home::ContactPending;

impl Contacts {
    pub(crate) fn on_contact_request_lost(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, pending: &ContactPending) {
        match pending {
            ContactPending::DeviceList(id) | ContactPending::KeyPackages(id, ..) => {
                let mut again = None;
                if let Some(connect) = self.connects.get_mut(id) {
                    connect.asked = false;
                    again = connect.homes.first().map(|h| h.peer);
                }
                // Another home than the one that broke may be up.
                if let Some(home) = again {
                    self.connects_up(turn, homes, home);
                }
            }
            // Those that are not registered are looked for when the server is back.
            ContactPending::Invite(_) => {}
        }
    }
}
