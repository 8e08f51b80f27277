//! `group`.

use clap::{Subcommand, ValueEnum};
use starling_control::objects;

#[derive(Subcommand)]
pub enum Groups {
    /// Make a group, and invite contacts into it.
    #[command(after_help = "Example:\n  starling group new ops @bob @carol")]
    New {
        /// What it is called.
        name: String,
        /// Whom to invite.
        #[arg(value_name = "@WHO")]
        who: Vec<String>,
    },
    /// Groups that you are or were in, and invitations that wait.
    #[command(after_help = "Example:\n  starling group list --json")]
    List,
    /// Who is in a group, and what they may do.
    #[command(after_help = "Example:\n  starling group show '#ops'")]
    Show {
        #[arg(value_name = "#GROUP")]
        group: String,
    },
    /// Invite contacts, also those who were removed.
    #[command(after_help = "Example:\n  starling group invite '#ops' @dave")]
    Invite {
        #[arg(value_name = "#GROUP")]
        group: String,
        #[arg(value_name = "@WHO", required = true)]
        who: Vec<String>,
    },
    /// Accept an invitation.
    #[command(after_help = "Example:\n  starling group accept '#ops'")]
    Accept {
        #[arg(value_name = "#GROUP")]
        group: String,
    },
    /// Decline an invitation; they are not told.
    #[command(after_help = "Example:\n  starling group decline '#ops'")]
    Decline {
        #[arg(value_name = "#GROUP")]
        group: String,
    },
    /// Leave a group.
    #[command(after_help = "Example:\n  starling group leave '#ops'")]
    Leave {
        #[arg(value_name = "#GROUP")]
        group: String,
    },
    /// Remove somebody: they read and write nothing from then on.
    #[command(after_help = "Example:\n  starling group remove '#ops' @mallory")]
    Remove {
        #[arg(value_name = "#GROUP")]
        group: String,
        #[arg(value_name = "@WHO")]
        who: String,
    },
    /// Give somebody a role.
    #[command(after_help = "Example:\n  starling group role '#ops' @bob admin")]
    Role {
        #[arg(value_name = "#GROUP")]
        group: String,
        #[arg(value_name = "@WHO")]
        who: String,
        role: Role,
    },
    /// Say what a group is about.
    #[command(after_help = "Example:\n  starling group topic '#ops' 'what runs, and what does not'")]
    Topic {
        #[arg(value_name = "#GROUP")]
        group: String,
        text: String,
    },
    /// Give a group another name.
    #[command(after_help = "Example:\n  starling group rename '#ops' 'operations'")]
    Rename {
        #[arg(value_name = "#GROUP")]
        group: String,
        name: String,
    },
}

/// What somebody may do in a group.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    Owner,
    Admin,
    Moderator,
    Member,
    Reader,
}

impl From<Role> for objects::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Owner => Self::Owner,
            Role::Admin => Self::Admin,
            Role::Moderator => Self::Moderator,
            Role::Member => Self::Member,
            Role::Reader => Self::Reader,
        }
    }
}
