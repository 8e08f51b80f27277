//! What the user is asked before something is done that has no way back, or that others see.

use starling_control::objects::{AccountId, ChatId, DeviceId};
use starling_node::MessageId;

/// What is asked before it is done.
#[derive(Clone, Debug)]
pub enum Question {
    Quit,
    Delete(MessageId),
    Block(AccountId),
    Remove(AccountId),
    Clear(ChatId),
    Verified(AccountId),
    Trust(AccountId),
    Unlink(DeviceId),
    Join(ChatId),
    Leave(ChatId),
    /// Into a group, by this link; whether somebody has to approve.
    JoinByLink(String, bool),
    /// Removes a member from a group.
    Expel(ChatId, AccountId),
    Ban(ChatId, AccountId),
    MakeOwner(ChatId, AccountId),
}

impl Question {
    /// What is asked, what is to be known before, and what the answer is called that does it.
    pub fn words(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Quit => ("Leave Starling?", "What is not yet sent goes out at the next start.", "quit"),
            Self::Delete(_) => {
                ("Delete the message for everyone?", "Its text goes from all devices that can be reached.", "delete")
            }
            Self::Block(_) => ("Shut this person out?", "They are not told. /unblock lets them in again.", "block"),
            Self::Unlink(_) => (
                "Remove this device from your account?",
                "It keeps what it has; it gets nothing more, and changes nothing of your account. To use it again, link it with a new profile.",
                "remove",
            ),
            Self::Trust(_) => {
                ("Trust the changed devices?", "Compare safety numbers first, if you can: /verify.", "trust")
            }
            Self::Verified(_) => ("Are the numbers the same?", "", "yes"),
            Self::Remove(_) => (
                "Remove this contact?",
                "You cannot write to each other until one of you adds the other again.",
                "remove",
            ),
            Self::Join(_) => {
                ("Come into this group?", "Its members see your name, and read what you write there.", "join")
            }
            Self::JoinByLink(_, true) => (
                "Ask to be let into this group?",
                "Those who may let others in see your name and account. Until they do you see nothing of it.",
                "ask",
            ),
            Self::JoinByLink(_, false) => (
                "Come into this group?",
                "Its members see your name, account and devices, and you see who is in it.",
                "join",
            ),
            Self::Leave(_) => {
                ("Leave this group?", "You keep what you have read. Only an invitation brings you back.", "leave")
            }
            Self::Expel(..) => (
                "Remove this member?",
                "They read and write nothing from then on. They can be invited again.",
                "remove",
            ),
            Self::Ban(..) => {
                ("Ban this member?", "They are removed, and nobody lets them in until the ban is lifted.", "ban")
            }
            Self::MakeOwner(..) => {
                ("Make them an owner?", "An owner does everything, and nobody can take that away.", "make owner")
            }
            Self::Clear(_) => (
                "Delete all messages of this chat here?",
                "The other side keeps theirs. There is no way back.",
                "delete",
            ),
        }
    }
}
