//! `contacts`.

use clap::Subcommand;

#[derive(Subcommand)]
pub enum Contacts {
    /// All contacts and requests.
    #[command(after_help = "Example:\n  starling contacts list --json")]
    List,
    /// Add somebody by invite link, short code or user@host.
    #[command(
        after_help = "Example:\n  starling contacts add starling:…\n  starling contacts add 271828-uniform-quiz\n  starling contacts add alice@rendezvous.example --greeting 'from the meetup'"
    )]
    Add {
        /// The invite, code or address.
        #[arg(value_name = "INVITE|CODE|USER@HOST")]
        what: String,
        /// Your own name for them.
        #[arg(long)]
        name: Option<String>,
        /// A few words with a request.
        #[arg(long, default_value = "")]
        greeting: String,
        /// The rendezvous of a short code or user name, if it is not your own.
        #[arg(long, value_name = "ADDR")]
        rendezvous: Option<String>,
    },
    /// Accept a request.
    #[command(after_help = "Example:\n  starling contacts accept alice")]
    Accept { who: String },
    /// Decline a request; they are not told.
    #[command(after_help = "Example:\n  starling contacts decline alice")]
    Decline { who: String },
    /// Give somebody your own name for them.
    #[command(after_help = "Example:\n  starling contacts rename @alice 'Alice B.'")]
    Rename { who: String, name: String },
    /// Show the safety number; with --yes, mark it as compared.
    #[command(after_help = "Example:\n  starling contacts verify @alice\n  starling contacts verify @alice --yes")]
    Verify {
        who: String,
        /// The number was compared, and is the same.
        #[arg(long, conflicts_with = "undo")]
        yes: bool,
        /// Take that back.
        #[arg(long)]
        undo: bool,
    },
    /// Trust somebody's changed devices.
    #[command(after_help = "Example:\n  starling contacts trust @alice")]
    Trust { who: String },
    /// Shut somebody out.
    #[command(after_help = "Example:\n  starling contacts block @mallory")]
    Block { who: String },
    /// Let somebody in again.
    #[command(after_help = "Example:\n  starling contacts unblock @mallory")]
    Unblock { who: String },
    /// Remove somebody.
    #[command(after_help = "Example:\n  starling contacts remove @bob")]
    Remove { who: String },
}
