//! What servers send: answers and refusals, routed to the capability that has asked, and what they push.

use starling_wire::rendezvous::{Refusal, Response, ResponseBody};

use super::Engine;
use crate::{
    home::{HomePending, Pending, Refused},
    net::HomeId,
    turn::{EngineError, Turn},
};

impl Engine {
    /// Something came from a server: the answer to a request, or what it sends by itself.
    pub(super) fn on_response(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        response: Response,
    ) -> Result<(), EngineError> {
        let Some(answer) = response.body else {
            return Ok(());
        };
        if response.id == 0 {
            return self.on_push(turn, home, answer);
        }
        let Some(pending) = self.homes.servers.get_mut(&home).and_then(|h| h.pending.remove(&response.id)) else {
            return Ok(());
        };
        let span = tracing::debug_span!("response", request = response.id, of = pending.capability());
        let _entered = span.enter();
        if let ResponseBody::Refused(refused) = answer {
            let refused = self.homes.refused(turn.now(), home, &pending, &refused);
            tracing::debug!(reason = ?refused.reason, "refused");
            return self.on_refusal(turn, pending, &refused);
        }
        self.homes.answered(turn.now(), home, &pending);
        match pending {
            Pending::Nothing => Ok(()),
            Pending::Account(pending) => self.devices().on_account_answer(turn, home, pending, answer),
            Pending::Contact(pending) => self.meeting().on_contact_answer(turn, pending, answer),
            Pending::Log(pending) => {
                let (conversations, mut cx) = self.conversing();
                conversations.on_log_answer(turn, &mut cx, home, pending, answer)
            }
            Pending::Home(pending) => match (pending, answer) {
                (HomePending::Inbox, ResponseBody::Page(page)) => self.inbox().on_page(turn, home, page),
                (HomePending::OutboundItem(key, tag), ResponseBody::Appended(_)) => {
                    let groups = &self.conversations.groups;
                    let in_use = |group: &_| groups.get(group).is_some_and(|entry| !entry.row.dead);
                    self.homes.outbound_item_delivered(turn, (&key, tag), in_use)
                }
                _ => Ok(()),
            },
            Pending::CallServers(id) => {
                if let ResponseBody::Turn(servers) = answer {
                    self.with_calls(turn, |calls, host| calls.on_servers(host, id, (home, servers)));
                }
                Ok(())
            }
        }
    }

    fn on_refusal(&mut self, turn: &mut Turn<'_>, pending: Pending, refused: &Refused) -> Result<(), EngineError> {
        if refused.reason == Refusal::NotRegistered {
            self.homes.on_not_registered(refused);
        }
        match pending {
            Pending::Nothing => {}
            Pending::Account(pending) => self.account.on_account_refusal(turn, &mut self.homes, pending, refused),
            Pending::Contact(pending) => self.meeting().on_contact_refusal(turn, pending, refused)?,
            Pending::Log(pending) => {
                let (conversations, mut cx) = self.conversing();
                conversations.on_log_refusal(turn, &mut cx, pending, refused)?;
            }
            Pending::Home(pending) => self.homes.on_home_refusal(turn, pending, refused)?,
            Pending::CallServers(id) => self.calls.on_servers_lost(id),
        }
        Ok(())
    }

    /// Connections broke before the answers came.
    pub(super) fn on_requests_lost(&mut self, turn: &mut Turn<'_>, lost: Vec<Pending>) {
        for pending in lost {
            self.on_request_lost(turn, pending);
        }
    }

    /// The connection broke before the answer came. What is durable is asked again when the server is back.
    fn on_request_lost(&mut self, turn: &mut Turn<'_>, pending: Pending) {
        match pending {
            Pending::Nothing => {}
            Pending::Account(pending) => self.account.on_account_request_lost(turn, &mut self.homes, pending),
            Pending::Contact(pending) => self.contacts.on_contact_request_lost(turn, &mut self.homes, &pending),
            Pending::Log(pending) => self.conversations.on_log_request_lost(turn, pending),
            Pending::Home(pending) => self.homes.on_request_lost(pending),
            Pending::CallServers(id) => self.calls.on_servers_lost(id),
        }
    }

    fn on_push(&mut self, turn: &mut Turn<'_>, home: HomeId, answer: ResponseBody) -> Result<(), EngineError> {
        match answer {
            // A hint only: what is deleted at the server is what was read in order.
            ResponseBody::Page(page) if page.address.is_empty() => {
                self.homes.read_inbox(turn, home);
                Ok(())
            }
            ResponseBody::Page(page) => {
                let (conversations, mut cx) = self.conversing();
                conversations.on_log_push(turn, &mut cx, home, page)
            }
            ResponseBody::LogFull(address) => {
                self.conversations.on_full_for_others(home, &address);
                Ok(())
            }
            ResponseBody::Drain(ms) => {
                self.homes.note_restart(home, ms);
                Ok(())
            }
            // Another device of ours has changed it.
            ResponseBody::DeviceList(bytes) => self.devices().on_pushed_list(turn, &bytes),
            ResponseBody::Snapshot(snapshot) => {
                self.devices().on_snapshot_announced(turn, home, snapshot.version);
                Ok(())
            }
            ResponseBody::Signal(signal) => {
                if let Some((group, _)) = <[u8; 32]>::try_from(&*signal.address)
                    .ok()
                    .and_then(|a| self.conversations.groups.logs.get(&a))
                    .copied()
                {
                    let (presence, mut views) = self.presenting();
                    presence.on_signal(turn, &mut views, &group, &signal.sealed, None);
                }
                Ok(())
            }
            ResponseBody::Readers(readers) => {
                let (presence, mut views) = self.presenting();
                presence.on_readers(turn, &mut views, &readers.address, readers.others);
                Ok(())
            }
            ResponseBody::Code(message) => {
                self.linking().on_code(turn, home, &message)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
