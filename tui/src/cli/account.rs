//! `init`, `device` and `profile`: the account and its devices.

use clap::{Args, Subcommand, ValueEnum};
use starling_control::objects;

#[derive(Args)]
pub struct Init {
    /// The name that others see.
    #[arg(long)]
    pub name: Option<String>,
    /// A rendezvous server to meet at (several times); its operator or `starling-rendezvous` prints the address.
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

#[derive(Subcommand)]
pub enum Devices {
    /// The account's devices.
    #[command(after_help = "Example:\n  starling device list --json")]
    List,
    /// Link another device: prints what to run there, and waits for it. Whoever has the code becomes you.
    #[command(after_help = "Example:\n  starling device link")]
    Link,
    /// Make this a device of the account that another device has, with the code that it shows.
    #[command(after_help = "Example:\n  starling device join 7-uniform-quiz --rendezvous ADDR")]
    Join {
        /// The code.
        code: String,
        /// The rendezvous that is shown with it.
        #[arg(long, value_name = "ADDR", env = "STARLING_RENDEZVOUS")]
        rendezvous: String,
        /// Keep the profile's key in the system keyring.
        #[arg(long)]
        keyring: bool,
    },
    /// Take a device off the account: it gets nothing that is written from now on. It keeps what it has, also the account key.
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
