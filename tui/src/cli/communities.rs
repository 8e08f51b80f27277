//! `community`.

use clap::Subcommand;

use super::groups::Role;

#[derive(Subcommand)]
pub enum Communities {
    /// Make a community, and invite contacts into it. Its channels have its members and their roles.
    #[command(after_help = "Example:\n  starling community new club @bob @carol")]
    New {
        /// What it is called.
        name: String,
        /// Whom to invite.
        #[arg(value_name = "@WHO")]
        who: Vec<String>,
    },
    /// Communities that you are or were in, and invitations that wait.
    #[command(after_help = "Example:\n  starling community list --json")]
    List,
    /// Who is in a community, and which channels it has.
    #[command(after_help = "Example:\n  starling community show '#club'")]
    Show {
        #[arg(value_name = "#COMMUNITY")]
        community: String,
    },
    /// Invite contacts: who accepts comes into all channels that are open to them.
    #[command(after_help = "Example:\n  starling community invite '#club' @dave")]
    Invite {
        #[arg(value_name = "#COMMUNITY")]
        community: String,
        #[arg(value_name = "@WHO", required = true)]
        who: Vec<String>,
    },
    /// Accept an invitation.
    #[command(after_help = "Example:\n  starling community accept '#club'")]
    Accept {
        #[arg(value_name = "#COMMUNITY")]
        community: String,
    },
    /// Decline an invitation; they are not told.
    #[command(after_help = "Example:\n  starling community decline '#club'")]
    Decline {
        #[arg(value_name = "#COMMUNITY")]
        community: String,
    },
    /// Leave a community and its channels.
    #[command(after_help = "Example:\n  starling community leave '#club'")]
    Leave {
        #[arg(value_name = "#COMMUNITY")]
        community: String,
    },
    /// Remove somebody from a community and all its channels.
    #[command(after_help = "Example:\n  starling community remove '#club' @mallory")]
    Remove {
        #[arg(value_name = "#COMMUNITY")]
        community: String,
        #[arg(value_name = "@WHO")]
        who: String,
    },
    /// Give somebody a role, in the community and its channels.
    #[command(after_help = "Example:\n  starling community role '#club' @bob moderator")]
    Role {
        #[arg(value_name = "#COMMUNITY")]
        community: String,
        #[arg(value_name = "@WHO")]
        who: String,
        role: Role,
    },
    /// Channels of a community.
    Channel {
        #[command(subcommand)]
        command: Channels,
    },
}

#[derive(Subcommand)]
pub enum Channels {
    /// Make one. It is written to as #COMMUNITY/NAME.
    #[command(
        after_help = "Examples:\n  starling community channel new '#club' general\n  starling community channel new '#club' news --few\n  starling community channel new '#club' staff --for moderator"
    )]
    New {
        #[arg(value_name = "#COMMUNITY")]
        community: String,
        /// What it is called.
        name: String,
        /// Only admins write, and the others read.
        #[arg(long)]
        few: bool,
        /// The lowest role that is in it; all, if not given.
        #[arg(long = "for", value_name = "ROLE")]
        lowest: Option<Role>,
    },
    /// End one for all its members; what is there of its messages stays.
    #[command(after_help = "Example:\n  starling community channel remove '#club/general'")]
    Remove {
        #[arg(value_name = "#COMMUNITY/CHANNEL")]
        channel: String,
    },
}
