//! What contacts have asked of rendezvous servers.

use super::Contacts;
use crate::{home::Homes, net::HomeId, turn::Turn};

pub use crate::home::ContactPending;

impl Contacts {
    pub(crate) fn on_contact_request_lost(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, pending: &ContactPending) {
        match pending {
            ContactPending::DeviceList(id) | ContactPending::KeyPackages(id, ..) => {
                let Some(connect) = self.connects.get_mut(id) else { return };
                connect.asked = false;
                // Another home than the one that broke may be up.
                let others: Vec<HomeId> = connect.homes.iter().map(|h| h.peer).collect();
                for home in others {
                    self.connects_up(turn, homes, home);
                }
            }
            // Those that are not registered are looked for when the server is back.
            ContactPending::Invite(..) => {}
        }
    }
}
