//! What the screen keeps from one run to the next: the open chat, folders that are folded, and for each chat the draft, the place in it, and the
//! numbers of messages.
//!
//! The node stores it as named rows of JSON: `open`, `folded`, and `chat:ID` for each chat.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use starling_control::{methods::screen, objects::ChatId};
use starling_node::MessageId;

use super::Numbers;

/// Name of the row that holds which folders of the list are folded.
pub const FOLDED: &str = "folded";
/// Name of the row that holds the open chat.
pub const OPEN: &str = "open";

/// What Enter will do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Sends a message.
    #[default]
    Write,
    /// Sends an answer to this message.
    Reply(MessageId),
    /// Changes this message.
    Edit(MessageId),
}

/// What is being written in a chat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    pub text: String,
    pub mode: Mode,
    /// The draft that waits while a message is edited.
    pub waiting: String,
}

impl Draft {
    /// Nothing that would be missed.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.waiting.is_empty()
    }
}

/// A place in a chat: the message at the top of the view, and which of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub message: MessageId,
    pub row: usize,
}

/// What is kept of a chat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptChat {
    pub draft: Draft,
    /// `None`: at the newest message.
    pub place: Option<Place>,
    pub numbers: Numbers,
}

/// A row as it is stored. Ids are text; what is not valid is left out.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Row {
    text: String,
    reply: Option<String>,
    edit: Option<String>,
    waiting: String,
    place: Option<(String, usize)>,
    numbers: Vec<(String, u64)>,
}

impl KeptChat {
    /// The row to be stored.
    pub fn to_row(&self) -> Value {
        let id = |id: MessageId| id.to_string();
        let (reply, edit) = match self.draft.mode {
            Mode::Write => (None, None),
            Mode::Reply(to) => (Some(id(to)), None),
            Mode::Edit(which) => (None, Some(id(which))),
        };
        let row = Row {
            text: self.draft.text.clone(),
            reply,
            edit,
            waiting: self.draft.waiting.clone(),
            place: self.place.map(|place| (id(place.message), place.row)),
            numbers: self.numbers.latest().into_iter().map(|(message, number)| (id(message), number)).collect(),
        };
        serde_json::to_value(row).unwrap_or_default()
    }

    fn from_row(row: Value) -> Option<Self> {
        let row: Row = serde_json::from_value(row).ok()?;
        let id = |text: &str| text.parse::<MessageId>().ok();
        let mode = match (row.reply.as_deref().and_then(id), row.edit.as_deref().and_then(id)) {
            (Some(to), _) => Mode::Reply(to),
            (None, Some(which)) => Mode::Edit(which),
            (None, None) => Mode::Write,
        };
        let numbers = row.numbers.iter().filter_map(|(message, number)| Some((id(message)?, *number)));
        Some(Self {
            draft: Draft { text: row.text, mode, waiting: row.waiting },
            place: row.place.and_then(|(message, row)| Some(Place { message: id(&message)?, row })),
            numbers: Numbers::restore(numbers),
        })
    }
}

/// Everything that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The open chat.
    pub open: Option<ChatId>,
    /// Folders of the list that are folded.
    pub folded: BTreeSet<String>,
    pub chats: HashMap<ChatId, KeptChat>,
}

impl Kept {
    /// From the rows that the node has kept; what is not valid is left out.
    pub fn from_rows(rows: BTreeMap<String, Value>) -> Self {
        let open = rows.get(OPEN).and_then(Value::as_str).map(Into::into);
        let folded = rows.get(FOLDED).and_then(Value::as_array).into_iter().flatten();
        let folded = folded.filter_map(Value::as_str).map(str::to_owned).collect();
        let chats = rows
            .into_iter()
            .filter_map(|(name, row)| Some((name.strip_prefix("chat:")?.into(), KeptChat::from_row(row)?)));
        Self { open, folded, chats: chats.collect() }
    }

    /// The request that keeps this of a chat.
    pub fn set_chat(chat: &ChatId, kept: &KeptChat) -> screen::Set {
        screen::Set { row: format!("chat:{chat}"), value: Some(kept.to_row()) }
    }

    /// The request that forgets what is kept of a chat.
    pub fn remove_chat(chat: &ChatId) -> screen::Set {
        screen::Set { row: format!("chat:{chat}"), value: None }
    }

    /// The request that keeps which folders are folded.
    pub fn set_folded(folded: &BTreeSet<String>) -> screen::Set {
        let names = folded.iter().map(|name| Value::from(name.as_str())).collect();
        screen::Set { row: FOLDED.into(), value: Some(Value::Array(names)) }
    }

    /// The request that keeps which chat is open.
    pub fn set_open(chat: &ChatId) -> screen::Set {
        screen::Set { row: OPEN.into(), value: Some(chat.as_str().into()) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use starling_node::{Clock, EventId};

    use super::*;

    #[test]
    fn what_is_kept_is_read_back_and_what_is_not_valid_is_left_out() {
        let id = |n| MessageId(EventId { clock: Clock(n), ..EventId::default() });
        let mut numbers = Numbers::default();
        for n in 1..5 {
            numbers.of(id(n));
        }
        for mode in [Mode::Write, Mode::Reply(id(1)), Mode::Edit(id(2))] {
            let draft = Draft { text: "half a\nthought".into(), mode, waiting: "before".into() };
            let place = Some(Place { message: id(3), row: 2 });
            let chat = KeptChat { draft, place, numbers: numbers.clone() };
            let c1 = ChatId::from("c1");
            let mut rows: BTreeMap<String, Value> = [Kept::set_open(&c1), Kept::set_chat(&c1, &chat)]
                .into_iter()
                .map(|set| (set.row, set.value.unwrap()))
                .collect();
            let folded = BTreeSet::from(["work".to_owned()]);
            let row = Kept::set_folded(&folded);
            rows.insert(row.row, row.value.unwrap());
            rows.extend([("chat:c2".to_owned(), json!(7)), ("later".to_owned(), json!({}))]);
            let kept = Kept::from_rows(rows);
            assert_eq!(kept.folded, folded);
            assert_eq!(kept.open.as_ref(), Some(&c1));
            assert_eq!(kept.chats, HashMap::from([(c1, chat)]));
        }
        let odd = json!({ "text": "x", "reply": "no id", "place": ["no id", 1], "numbers": [["no id", 1]] });
        let kept = Kept::from_rows(BTreeMap::from([("chat:c".to_owned(), odd)]));
        assert_eq!(
            kept.chats[&ChatId::from("c")],
            KeptChat { draft: Draft { text: "x".into(), ..Draft::default() }, ..KeptChat::default() }
        );
        assert_eq!(Kept::from_rows(BTreeMap::new()), Kept::default());
    }
}
