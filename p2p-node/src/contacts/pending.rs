//! What contacts have asked of rendezvous servers.

use starling_wire::rendezvous::{Refusal, ResponseBody};

use super::Contacts;
use crate::api::error::{Invalid, NodeError, NotAllowed, NotFound};
use crate::{
    engine::Engine,
    home::{Homes, Refused},
    turn::{EngineError, Turn},
};

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

impl Engine {
    pub(crate) fn on_contact_answer(
        &mut self,
        turn: &mut Turn<'_>,
        pending: ContactPending,
        answer: ResponseBody,
    ) -> Result<(), EngineError> {
        match (pending, answer) {
            (ContactPending::DeviceList(id), ResponseBody::DeviceList(bytes)) => {
                self.connect_list(turn, id, &bytes)?;
                Ok(())
            }
            (ContactPending::KeyPackages(id, attempt, devices), ResponseBody::KeyPackages(claimed)) => {
                self.connect_packages(turn, id, attempt, &devices, claimed.packages)
            }
            (ContactPending::Invite(key), ResponseBody::Done(_)) => self.invite_registered(turn, &key),
            _ => Ok(()),
        }
    }

    pub(crate) fn on_contact_refusal(
        &mut self,
        turn: &mut Turn<'_>,
        pending: ContactPending,
        refused: &Refused,
    ) -> Result<(), EngineError> {
        match pending {
            // Without our own others, then: they are added when the conversation gets another group.
            ContactPending::KeyPackages(id, attempt, devices) if self.are_ours(&devices) => {
                self.connect_packages(turn, id, attempt, &[], Vec::new())?;
            }
            ContactPending::DeviceList(id) | ContactPending::KeyPackages(id, ..) => {
                let error = match refused.reason {
                    Refusal::NotFound => NotFound::Account.into(),
                    Refusal::RateLimited => NodeError::RateLimited { retry_after_ms: refused.retry_after_ms },
                    Refusal::Malformed => Invalid::TheirUsername.into(),
                    reason => NotAllowed::ByRendezvous(reason).into(),
                };
                self.contacts.connect_failed(turn, id, error);
            }
            ContactPending::Invite(_) => {
                if refused.is_busy() {
                    self.homes.retry_later(turn, refused);
                }
            }
        }
        Ok(())
    }
}
