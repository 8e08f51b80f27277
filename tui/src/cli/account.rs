//! `init`, `device` and `profile`: the account and its devices.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use starling_control::objects;

#[derive(Args)]
pub struct Init {
    /// The name that others see.
    #[arg(long)]
    pub name: Option<String>,
    /// A rendezvous server to meet at (several times): its name, or the address with its key that `starling-rendezvous` prints.
    #[arg(long, value_name = "ADDR")]
    pub rendezvous: Vec<String>,
    /// Restore an account: reads its recovery phrase from standard input.
    #[arg(long)]
    pub restore: bool,
    /// A registration token, if the rendezvous asks for one.
    #[arg(long, value_name = "T")]
    pub invite_token: Option<String>,
    /// Take this user name at the rendezvous, so that others can add you as NAME@HOST.
    #[arg(long, value_name = "NAME")]
    pub username: Option<String>,
    /// Keep the profile's key in the system keyring.
    #[arg(long)]
    pub keyring: bool,
    /// The profile is a program: others see that.
    #[arg(long)]
    pub bot: bool,
}

/// What a device may do to its account.
#[derive(Clone, Copy, ValueEnum)]
pub enum RightsArg {
    /// Links, changes and removes devices.
    Admin,
    /// Reads and writes.
    Member,
    /// A member that does not get what the account knows of its contacts either.
    Bot,
}

impl From<RightsArg> for objects::Rights {
    fn from(rights: RightsArg) -> Self {
        match rights {
            RightsArg::Admin => Self::Admin,
            RightsArg::Member => Self::Member,
            RightsArg::Bot => Self::Bot,
        }
    }
}

/// What a new device may see of the past.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HistoryArg {
    /// Nothing.
    None,
    /// All messages.
    All,
}

#[derive(Subcommand)]
pub enum HistoryCommand {
    /// Let another device copy the history of this one, once.
    Give {
        /// The beginning of its id.
        device: String,
    },
    /// Copy the history of another device to this one, as soon as that gives it; waits, and shows how far it is. Ctrl-C leaves it to the node.
    Get {
        /// The beginning of its id; may be left out if there is only one that it can be.
        device: Option<String>,
    },
    /// End the copying to this device, which keeps what has come; take back what others may copy.
    Cancel,
}

#[derive(Subcommand)]
pub enum Devices {
    /// The account's devices.
    #[command(after_help = "Example:\n  starling device list --json")]
    List,
    /// Link another device: prints what to run there, waits for it, shows what asks, and asks you whether it may join.
    #[command(after_help = "Example:\n  starling device link")]
    Link {
        /// What it may do: admin (changes the account), member, bot (a member that does not get the account's contacts either).
        #[arg(long, value_enum, default_value = "admin")]
        rights: RightsArg,
        /// Let in whoever has the code, without asking.
        #[arg(long)]
        yes: bool,
        /// What it may see of the past: nothing, or all messages of this device, which are copied to it. Without this you are asked; with --yes it is none.
        #[arg(long, value_enum, value_name = "WHAT")]
        history: Option<HistoryArg>,
    },
    /// Copy the history from one device to another: what was said before that was linked.
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Examples:\n  starling device history give k3v7xq2a     # on the device that has it\n  starling device history get               # on the one that is to get it\n  starling device history                   # how far it is"
    )]
    History {
        #[command(subcommand)]
        command: Option<HistoryCommand>,
    },
    /// Give a device of the account other rights.
    #[command(after_help = "Example:\n  starling device rights k3v7xq2a member")]
    Rights {
        /// The beginning of its id.
        device: String,
        /// What it may do.
        rights: RightsArg,
    },
    /// Make this a device of the account that another device has, with the code that it shows.
    #[command(
        after_help = "Example:\n  starling device join 271828-uniform-quiz-acid-zoo --rendezvous ADDR\n  starling device join                 (goes on after an interruption)"
    )]
    Join {
        /// The code. Without one a link goes on that was interrupted.
        #[arg(requires = "rendezvous")]
        code: Option<String>,
        /// The rendezvous that is shown with it.
        #[arg(long, value_name = "ADDR", env = "STARLING_RENDEZVOUS")]
        rendezvous: Option<String>,
        /// Keep the profile's key in the system keyring.
        #[arg(long)]
        keyring: bool,
    },
    /// Make this the only device of the account, with its recovery phrase: for when a device was stolen, or somebody has taken the account over.
    #[command(after_help = "Example:\n  starling device recover < phrase.txt")]
    Recover,
    /// Take a device off the account: it gets nothing that is written from now on, and changes nothing of the account any more.
    #[command(after_help = "Example:\n  starling device remove k3v7xq2a")]
    Remove {
        /// The beginning of its id.
        device: String,
    },
}

#[derive(Subcommand)]
pub enum ProfileCommand {
    /// Change your display name.
    #[command(after_help = "Example:\n  starling profile name 'Alice B.'")]
    Name { name: String },
    /// Take a user name at your rendezvous.
    #[command(after_help = "Example:\n  starling profile username alice")]
    Username { name: String },
    /// Move to other rendezvous servers, or give yours the registration token that it asks for.
    #[command(after_help = "Example:\n  starling profile rendezvous ADDR --invite-token TOKEN")]
    Rendezvous {
        /// The addresses, as `starling-rendezvous` prints them; those of now if none is given.
        #[arg(value_name = "ADDR")]
        addresses: Vec<String>,
        /// A registration token of the operator.
        #[arg(long, value_name = "T")]
        invite_token: Option<String>,
    },
    /// Who may see last seen, read receipts and typing: everyone, contacts or nobody.
    #[command(after_help = "Example:\n  starling profile privacy --last-seen nobody --receipts contacts")]
    Privacy {
        #[arg(long, value_name = "WHO")]
        last_seen: Option<Audience>,
        #[arg(long, value_name = "WHO")]
        receipts: Option<Audience>,
        #[arg(long, value_name = "WHO")]
        typing: Option<Audience>,
    },
    /// What your rendezvous servers store for you: the logs of your conversations, the largest first. Whoever has the key of one can fill it.
    #[command(
        after_help = "Example:\n  starling profile storage\n  starling profile storage --delete k3v7xq2amd5wnh6j"
    )]
    Storage {
        /// Delete those logs of a conversation that this device does not need; what waits in them for others is lost.
        #[arg(long, value_name = "ID")]
        delete: Option<String>,
    },
    /// Set, change or take away the passphrase that opens the profile on this device. A node that runs goes on.
    #[command(after_help = "Example:\n  starling profile passphrase")]
    Passphrase {
        /// Read the new passphrase from a file that only you can read (mode 0600).
        #[arg(long, value_name = "FILE", conflicts_with = "none")]
        new_file: Option<PathBuf>,
        /// Open the profile without a passphrase from now on.
        #[arg(long)]
        none: bool,
    },
}

/// Who may see something.
#[derive(Clone, Copy, ValueEnum)]
pub enum Audience {
    Everyone,
    Contacts,
    Nobody,
}

impl From<Audience> for objects::Audience {
    fn from(audience: Audience) -> Self {
        match audience {
            Audience::Everyone => Self::Everyone,
            Audience::Contacts => Self::Contacts,
            Audience::Nobody => Self::Nobody,
        }
    }
}
