//! What servers answer about links into groups.

use starling_wire::rendezvous::ResponseBody;

use super::refusals::refusal_told;
use crate::{
    api::error::{NotAllowed, Unreachable},
    conversation::{Conversations, context::Context},
    home::{JoinPending, Refused},
    net::HomeId,
    turn::{EngineError, Turn},
};

impl Conversations {
    pub(in crate::conversation) fn on_join_answer(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        home: HomeId,
        pending: JoinPending,
        answer: ResponseBody,
    ) -> Result<(), EngineError> {
        match (pending, answer) {
            (JoinPending::Look(number), ResponseBody::Page(page)) => {
                self.on_card_page(turn, cx, (number, home), page)?;
            }
            (JoinPending::Ask(chat), ResponseBody::Appended(_)) => self.asked(turn, chat, Ok(())),
            (JoinPending::Card(id, epoch, key, count), ResponseBody::Appended(last)) => {
                self.card_written(turn, cx, (id, epoch, key), (last, count));
            }
            (JoinPending::CardParts(_), ResponseBody::Appended(_)) => {}
            (JoinPending::Refusal(chat, account), ResponseBody::Appended(_)) => refusal_told(turn, chat, &account)?,
            (JoinPending::Box(id, key), ResponseBody::Page(page)) => self.on_box_page(turn, cx, (id, key), page)?,
            // What a server of another version says.
            (pending, _) => self.on_join_request_lost(turn, pending),
        }
        Ok(())
    }

    pub(in crate::conversation) fn on_join_request_lost(&mut self, turn: &mut Turn<'_>, pending: JoinPending) {
        match pending {
            // It is asked again when the server is connected.
            JoinPending::Look(_) | JoinPending::BoxOpened => {}
            // It is put there when the box is read next.
            JoinPending::Refusal(..) => {}
            // What names them is lost, too.
            JoinPending::CardParts(_) => {}
            JoinPending::Ask(chat) => self.asked(turn, chat, Err(Unreachable::ConnectionLost.into())),
            JoinPending::Card(id, _, key, _) => self.card_not_written((id, key), None),
            JoinPending::Box(id, key) => self.box_not_read((id, key), false),
        }
    }

    pub(in crate::conversation) fn on_join_refusal(
        &mut self,
        turn: &mut Turn<'_>,
        pending: JoinPending,
        refused: &Refused,
    ) {
        match pending {
            JoinPending::Look(number) => self.look_refused(turn, number, refused.is_busy()),
            JoinPending::BoxOpened | JoinPending::Refusal(..) => {}
            JoinPending::Ask(chat) => self.asked(turn, chat, Err(NotAllowed::ByRendezvous(refused.reason).into())),
            JoinPending::CardParts(id) => self.card_refused(id),
            JoinPending::Card(id, _, key, _) => self.card_not_written((id, key), Some(refused)),
            JoinPending::Box(id, key) => self.box_not_read((id, key), true),
        }
    }
}
