//! What the account has asked of rendezvous servers.

use starling_wire::rendezvous::{Refusal, RequestBody};

use super::Account;
use crate::{
    home::{Homes, Refused},
    net::ConnectionProblem,
    turn::Turn,
};

pub use crate::home::AccountPending;

impl Account {
    pub(crate) fn on_account_refusal(
        &mut self,
        turn: &mut Turn<'_>,
        homes: &mut Homes,
        pending: AccountPending,
        refused: &Refused,
    ) {
        let (home, reason) = (refused.home, refused.reason);
        match pending {
            AccountPending::Publish(_) if self.has_left(home) && !refused.is_busy() => self.forget_left(turn, home),
            AccountPending::Publish(head) => self.on_publish_refused(turn, homes, (home, head), reason),
            AccountPending::OwnList if reason == Refusal::NotFound => self.on_not_found(turn, homes, home),
            AccountPending::Username(name) => self.username_refused(turn, homes, &name, refused),
            AccountPending::PutSnapshot if reason == Refusal::Stale => {
                homes.request(turn, home, RequestBody::GetSnapshot(true), AccountPending::Snapshot);
            }
            AccountPending::Logs(id) | AccountPending::DeleteLog(id, _) => self.storage_step(turn, homes, id),
            AccountPending::OpenCode(id) => self.code_failed(turn, id, reason),
            AccountPending::TryCode(id) | AccountPending::JoinedChain(id) => self.code_try_refused(turn, id, reason),
            AccountPending::OwnList
            | AccountPending::KeyPackages { .. }
            | AccountPending::Snapshot
            | AccountPending::PutSnapshot => {
                if refused.is_busy() {
                    homes.retry_later(refused);
                }
            }
        }
    }

    pub(crate) fn on_account_request_lost(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, pending: AccountPending) {
        match pending {
            AccountPending::Publish(_) => self.list_not_published(turn, &ConnectionProblem::Broken.into()),
            AccountPending::Username(_) => self.username_lost(turn),
            AccountPending::Logs(id) | AccountPending::DeleteLog(id, _) => self.storage_step(turn, homes, id),
            // They are asked for again when the server is back.
            AccountPending::OwnList
            | AccountPending::KeyPackages { .. }
            | AccountPending::Snapshot
            | AccountPending::PutSnapshot
            | AccountPending::OpenCode(_)
            | AccountPending::TryCode(_)
            | AccountPending::JoinedChain(_) => {}
        }
    }
}
