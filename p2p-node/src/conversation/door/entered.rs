//! What this device knows of a group that it has just entered.

use bytes::Bytes;
use starling_keys::JoinSecret;

use crate::{
    api::types::ChatId,
    conversation::{
        Conversations, GroupEntry, context::Context, fork::commit_hash, group::LogKeys, group_store::epoch_key,
    },
    mls::{AFTER_MEMBERS, GroupError, GroupValue, LiveGroup},
    store::{DoorRow, EnteringRow, GroupRow, LinkRow, LogRow, OfferedDoor, PARENTS, ParentMark, ParentRow},
    turn::{EngineError, Fact, Turn},
};

/// How this device has come into a group.
pub(super) enum Way<'a> {
    /// By a commit of its own, which its epoch's log has under this number.
    Entered(&'a EnteringRow, u64),
    /// A member has added it: the group as it is then, with the secret of the log of the epoch before and how far that was read.
    Added(Box<LiveGroup>, &'a (Bytes, u64)),
}

/// What is known of a group that this device has come into by a door.
fn group_row(
    turn: &Turn<'_>,
    chat: ChatId,
    door: &OfferedDoor,
    live: &LiveGroup,
    way_due: bool,
) -> Result<GroupRow, GroupError> {
    let key = JoinSecret::from_bytes(&door.link).map(|secret| secret.public().to_vec());
    // A link's log is not the group's door: that one begins with who comes in by it.
    let secret = match door.link.is_empty() {
        true => door.secret.clone(),
        false => super::secret_of(live)?,
    };
    Ok(GroupRow {
        chat: chat.0.to_vec(),
        home: door.home.clone(),
        updated_ms: turn.wall(),
        log_opened: true,
        door: Some(DoorRow { secret, due: way_due, sequence: 0 }),
        // If this was its last use, that is said there.
        links: key.map(|key| LinkRow { key, ..LinkRow::default() }).into_iter().collect(),
        ..GroupRow::default()
    })
}

impl Conversations {
    /// This device is in the group.
    pub(super) fn entered(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        way: Way<'_>,
    ) -> Result<(), EngineError> {
        self.entering.attempts.remove(&chat);
        let Some(state) = self.chats.get_mut(&chat) else { return Ok(()) };
        let Some((door, id)) = state.row.door.take().and_then(|door| door.id().map(|id| (door, id))) else {
            return Ok(());
        };
        state.dirty = true;
        let again = self.groups.contains_key(&id);
        let past_logs = self.groups.get(&id).map(GroupEntry::logs_before_entering).unwrap_or_default();
        if again {
            self.delete_group(turn, cx, chat, id)?;
        }
        let (live, entered, log) = match way {
            Way::Entered(entering, sequence) => {
                let value = GroupValue { state: entering.state.clone().into(), ..GroupValue::default() };
                (cx.mls.load(&id, value)?, Some(entering), (&entering.secret[..], sequence))
            }
            Way::Added(live, (secret, sequence)) => (*live, None, (&secret[..], *sequence)),
        };
        tracing::debug!(group = id[0], epoch = live.epoch(), "this device is in a group");
        // Whoever has added it writes the way into the epoch.
        let row = group_row(turn, chat, &door, &live, entered.is_some())?;
        let row = GroupRow { confirmed: self.chats.is_group_chat(chat), past_logs, ..row };
        let (mut entry, state) = GroupEntry::new(id, live, row)?;
        note_log_before(turn, &mut entry, log);
        if let Some(entering) = entered {
            note_parent(turn, &mut entry, entering)?;
            if let Some(guide) = self.apart.guide(&id).filter(|_| door.apart) {
                // It is here: whoever stands lower does not lead away from it.
                entry.forks.note_heard(guide, entering.epoch);
            }
        }
        self.add_group(turn, cx, chat, (entry, state))?;
        self.apart.forget(&id);
        if again {
            if let Some(state) = self.chats.get_mut(&chat) {
                state.roster.begin_anew();
            }
            self.bar_removed(turn, cx, (chat, id))?;
            self.write_again(turn, (chat, id))?;
        }
        self.policy_moved(turn, cx, id, true)?;
        if again {
            self.renew_outbox(turn, cx, chat)?;
        }
        self.read_logs(turn, cx, id);
        self.tell_beacons(turn, cx, id);
        self.entering.note_entered(cx.dir.account.device());
        turn.fact(Fact::GroupEntered(id));
        Ok(())
    }
}

/// The log of the epoch before, in which others may still write, and without whose key the server does not open the one after it: its secret, and up
/// to where it is not for this device.
fn note_log_before(turn: &Turn<'_>, entry: &mut GroupEntry, (secret, sequence): (&[u8], u64)) {
    let Some(keys) = LogKeys::of_secret(secret) else { return };
    let mut log = LogRow::default();
    (log.epoch, log.cursor) = (entry.epoch().saturating_sub(1), sequence);
    (log.ended_ms, log.judged) = (turn.wall(), true);
    (log.secret, log.address) = (secret.to_vec(), keys.address.to_vec());
    entry.put_log(log);
}

/// What is known of the epoch that our commit has ended: what we have followed.
fn note_parent(turn: &Turn<'_>, entry: &mut GroupEntry, entering: &EnteringRow) -> Result<(), EngineError> {
    let (epoch, secret) = (entering.epoch, entering.secret.clone());
    let mut row = ParentRow::default();
    row.commit = entering.commit.clone();
    turn.put(PARENTS, &epoch_key(&entry.id, epoch), &row)?;
    let mut mark = ParentMark::default();
    (mark.epoch, mark.hash, mark.author) = (epoch, commit_hash(&entering.commit).to_vec(), AFTER_MEMBERS);
    (mark.secret, mark.at_ms) = (secret, turn.wall());
    entry.row.parents.push(mark);
    Ok(())
}
