//! `chats` and `send`.

use clap::{Args, Subcommand, ValueEnum};
use starling_control::objects::DeliveryState;

#[derive(Subcommand)]
pub enum Chats {
    /// All conversations.
    #[command(after_help = "Example:\n  starling chats list --json")]
    List,
    /// One conversation.
    #[command(after_help = "Example:\n  starling chats show @bob")]
    Show { chat: String },
    /// Pin to the top (or --undo).
    #[command(after_help = "Example:\n  starling chats pin @bob")]
    Pin {
        chat: String,
        #[arg(long)]
        undo: bool,
    },
    /// No notifications, for a time or for good (or --undo).
    #[command(after_help = "Example:\n  starling chats mute @bob --for 8h")]
    Mute {
        chat: String,
        /// For how long: 1h, 8h, 1d; for good without it.
        #[arg(long = "for", value_name = "TIME")]
        time: Option<String>,
        #[arg(long)]
        undo: bool,
    },
    /// Put out of the way (or --undo).
    #[command(after_help = "Example:\n  starling chats archive @bob")]
    Archive {
        chat: String,
        #[arg(long)]
        undo: bool,
    },
    /// Put into a folder of the list, on all your devices; without a name, take out of it.
    #[command(after_help = "Examples:\n  starling chats folder @bob work\n  starling chats folder @bob")]
    Folder { chat: String, name: Option<String> },
    /// Sort by hand, in this order, those that stand together in the list (or --activity).
    #[command(
        after_help = "Examples:\n  starling chats sort @bob @carol\n  starling chats sort --activity @bob @carol"
    )]
    Sort {
        #[arg(required = true, value_name = "CHAT")]
        chats: Vec<String>,
        /// Sort them by activity again.
        #[arg(long)]
        activity: bool,
    },
    /// Delete a conversation's messages here (not at the other side).
    #[command(after_help = "Example:\n  starling chats delete @bob --force")]
    Delete {
        chat: String,
        /// Do not ask.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Args)]
pub struct Send {
    /// To whom: @contact, #group, id:…, an address, or a bare name.
    pub to: String,
    /// The message; `-` or nothing reads standard input.
    pub text: Vec<String>,
    /// One message for each line of standard input. A line that cannot be one is named, and the others are sent (exit 2).
    #[arg(long, conflicts_with = "text")]
    pub lines: bool,
    /// Answer a message.
    #[arg(long, value_name = "ID")]
    pub reply_to: Option<String>,
    /// Mention everybody in the group, if your role allows that.
    #[arg(long)]
    pub mention_all: bool,
    /// Wait until it has come so far.
    #[arg(long, value_enum, value_name = "STATE")]
    pub wait: Option<WaitFor>,
    /// How long to wait.
    #[arg(long, default_value = "30s", value_name = "TIME")]
    pub timeout: String,
}

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq)]
pub enum WaitFor {
    Sent,
    Delivered,
    Read,
}

impl WaitFor {
    pub fn state(self) -> DeliveryState {
        match self {
            Self::Sent => DeliveryState::Sent,
            Self::Delivered => DeliveryState::Delivered,
            Self::Read => DeliveryState::Read,
        }
    }
}
