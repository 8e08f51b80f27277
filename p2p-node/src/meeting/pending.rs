//! What servers answer to requests about contacts.

use starling_wire::rendezvous::{Refusal, ResponseBody};

use super::Meeting;
use crate::{
    api::error::{Invalid, NodeError, NotAllowed, NotFound},
    home::{ContactPending, Refused},
    turn::{EngineError, Turn},
};

impl Meeting<'_> {
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
            (ContactPending::Invite(home, key), ResponseBody::Done(_)) => self.invite_registered(turn, home, &key),
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
            ContactPending::DeviceList(id) | ContactPending::KeyPackages(id, ..)
                if self.cx.contacts.ask_another(turn, self.cx.homes, id, refused.home) => {}
            ContactPending::DeviceList(id) | ContactPending::KeyPackages(id, ..) => {
                let error = match refused.reason {
                    Refusal::NotFound => NotFound::Account.into(),
                    Refusal::RateLimited => NodeError::RateLimited { retry_after_ms: refused.retry_after_ms },
                    Refusal::Malformed => Invalid::TheirUsername.into(),
                    reason => NotAllowed::ByRendezvous(reason).into(),
                };
                self.cx.contacts.connect_failed(turn, id, error);
            }
            ContactPending::Invite(..) => {
                if refused.is_busy() {
                    self.cx.homes.retry_later(refused);
                }
            }
        }
        Ok(())
    }
}
