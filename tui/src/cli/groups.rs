//! `group`.

use clap::{Args, Subcommand, ValueEnum};
use starling_control::objects;

use super::parse_duration;

#[derive(Subcommand)]
pub enum Groups {
    /// Make a group, and invite contacts into it.
    #[command(
        after_help = "Examples:\n  starling group new ops @bob @carol\n  starling group new --channel releases @bob @carol"
    )]
    New {
        /// What it is called.
        name: String,
        /// Make a channel: admins write, and the others read; `settings --comment` lets them answer.
        #[arg(long)]
        channel: bool,
        /// Make it a channel of a community: it has the members and roles of that.
        #[arg(long, value_name = "#COMMUNITY", conflicts_with = "who")]
        community: Option<String>,
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
    #[command(after_help = "Examples:\n  starling group invite '#ops' @dave\n  starling group invite '#ops' --stop")]
    Invite {
        #[arg(value_name = "#GROUP")]
        group: String,
        #[arg(value_name = "@WHO", required_unless_present = "stop")]
        who: Vec<String>,
        /// Let nobody else in whom you have invited: those who have not come are invited no longer.
        #[arg(long, conflicts_with = "who")]
        stop: bool,
    },
    /// Accept an invitation.
    #[command(after_help = "Example:\n  starling group accept '#ops'")]
    Accept {
        #[arg(value_name = "#GROUP")]
        group: String,
    },
    /// Decline an invitation; they are not told.
    #[command(after_help = "Examples:\n  starling group decline '#ops'\n  starling group decline '#ops' --block")]
    Decline {
        #[arg(value_name = "#GROUP")]
        group: String,
        /// Block whoever has invited you.
        #[arg(long)]
        block: bool,
    },
    /// Links by which others come into a group, also those who are no contacts: make, list, revoke them.
    #[command(subcommand)]
    Link(Links),
    /// Come into a group by a link. It shows where the link leads, and asks before anything is done.
    #[command(
        after_help = "Example:\n  starling group join STARLING:AIXW…\n  starling group join STARLING:AIXW… --yes"
    )]
    Join {
        link: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Who asks to be let in by a link that needs approval.
    #[command(after_help = "Example:\n  starling group requests '#ops' --json")]
    Requests {
        #[arg(value_name = "#GROUP")]
        group: String,
    },
    /// Let somebody in who asks.
    #[command(after_help = "Example:\n  starling group approve '#ops' @erin")]
    Approve {
        #[arg(value_name = "#GROUP")]
        group: String,
        #[arg(value_name = "@WHO")]
        who: String,
    },
    /// Do not let somebody in who asks. They are told, and can ask again after a day; `approve` lets them in all the same.
    #[command(after_help = "Example:\n  starling group refuse '#ops' @mallory")]
    Refuse {
        #[arg(value_name = "#GROUP")]
        group: String,
        #[arg(value_name = "@WHO")]
        who: String,
    },
    /// Report a message to those who moderate a group. Nobody else can read what you report, nor its author.
    #[command(after_help = "Example:\n  starling group report '#ops' 4f1a… --reason advertising")]
    Report {
        #[arg(value_name = "#GROUP")]
        group: String,
        /// The id of the message, as `starling history --json` shows it.
        message: String,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// What members have reported, in a group that you moderate.
    #[command(after_help = "Example:\n  starling group reports '#ops' --json")]
    Reports {
        #[arg(value_name = "#GROUP")]
        group: String,
    },
    /// Leave a group, or withdraw a request to be let into one.
    #[command(after_help = "Examples:\n  starling group leave '#ops'\n  starling group leave '#ops' --block")]
    Leave {
        #[arg(value_name = "#GROUP")]
        group: String,
        /// Block whoever has let you in.
        #[arg(long)]
        block: bool,
    },
    /// Remove somebody: they read and write nothing from then on. They can be invited again; `ban` keeps them out.
    #[command(after_help = "Example:\n  starling group remove '#ops' @mallory")]
    Remove {
        #[arg(value_name = "#GROUP")]
        group: String,
        #[arg(value_name = "@WHO")]
        who: String,
    },
    /// Ban somebody: they are removed, and nobody can let them in, by any device, link or invitation, until `unban`. In a channel of a community it
    /// counts for that channel alone; in the community for all of them.
    #[command(after_help = "Example:\n  starling group ban '#ops' @mallory")]
    Ban {
        #[arg(value_name = "#GROUP")]
        group: String,
        #[arg(value_name = "@WHO")]
        who: String,
    },
    /// Lift a ban. It lets nobody in: that takes an invitation.
    #[command(after_help = "Example:\n  starling group unban '#ops' @mallory")]
    Unban {
        #[arg(value_name = "#GROUP")]
        group: String,
        #[arg(value_name = "@WHO")]
        who: String,
    },
    /// Show what is set in a group, or set it: who may do what, each as the lowest role, and the rest.
    #[command(
        after_help = "Examples:\n  starling group settings '#ops'\n  starling group settings '#ops' --post admin --slow-mode 30"
    )]
    Settings(Box<Settings>),
    /// Who has changed membership, roles and settings, and when. Every member reads the same, and nobody can change it.
    #[command(after_help = "Example:\n  starling group audit '#ops' --json")]
    Audit {
        #[arg(value_name = "#GROUP")]
        group: String,
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

/// `group link`.
#[derive(Subcommand)]
pub enum Links {
    /// Make a link, and print it; on a terminal with its QR code. Whoever has it comes in, as often as it says, and sees who is in the group. It ends
    /// when somebody leaves or is removed who could know it, unless it needs approval.
    #[command(
        after_help = "Examples:\n  starling group link new '#ops' --expires 7d --uses 10\n  starling group link new '#ops' --approval"
    )]
    New {
        #[arg(value_name = "#GROUP")]
        group: String,
        /// How long it leads in: 30m, 12h, 7d. For ever without this.
        #[arg(long, value_name = "DURATION")]
        expires: Option<String>,
        /// How many accounts may come in by it. Any number without this.
        #[arg(long, value_name = "N")]
        uses: Option<u32>,
        /// Somebody who may invite has to approve each of them.
        #[arg(long, alias = "approve")]
        approval: bool,
    },
    /// The links into a group.
    #[command(after_help = "Example:\n  starling group link list '#ops' --json")]
    List {
        #[arg(value_name = "#GROUP")]
        group: String,
    },
    /// End a link: nobody comes in by it any more.
    #[command(after_help = "Example:\n  starling group link revoke '#ops' 4f1a…")]
    Revoke {
        #[arg(value_name = "#GROUP")]
        group: String,
        /// The link, its id, or the beginning of that.
        link: String,
    },
}

/// `group settings`.
#[derive(Args)]
pub struct Settings {
    #[arg(value_name = "#GROUP")]
    pub group: String,
    /// Who writes and reacts.
    #[arg(long, value_name = "ROLE")]
    pub post: Option<Role>,
    /// Who lets others in.
    #[arg(long, value_name = "ROLE")]
    pub invite: Option<Role>,
    /// Who removes and bans lower roles.
    #[arg(long, value_name = "ROLE")]
    pub remove: Option<Role>,
    /// Who pins messages. Kept for later versions: nothing follows from it yet.
    #[arg(long, value_name = "ROLE")]
    pub pin: Option<Role>,
    /// Who deletes what lower roles have written.
    #[arg(long, value_name = "ROLE")]
    pub delete: Option<Role>,
    /// Who changes name, topic and settings.
    #[arg(long, value_name = "ROLE")]
    pub settings: Option<Role>,
    /// Who mentions everybody at once.
    #[arg(long, value_name = "ROLE")]
    pub mention_all: Option<Role>,
    /// Who calls the group. Kept for later versions: nothing follows from it yet.
    #[arg(long, value_name = "ROLE")]
    pub call: Option<Role>,
    /// Who answers messages and reacts to them, in a channel where few write.
    #[arg(long, value_name = "ROLE")]
    pub comment: Option<Role>,
    /// How long everybody waits between two messages: 30s, 5m; 0 for not at all.
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    pub slow_mode: Option<u32>,
    /// How long messages are to be kept: 12h, 7d; 0 for ever. Kept for later versions: no program deletes them yet.
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    pub lifetime: Option<u32>,
    /// Whether who is let in from now on sees what was written before: a member hands them the newest 1,000 messages at most.
    #[arg(long, value_name = "yes|no", value_parser = parse_yes_or_no)]
    pub history: Option<bool>,
}

/// A time in whole seconds, with or without its unit.
fn parse_seconds(text: &str) -> Result<u32, String> {
    let ms = parse_duration(text).ok_or("use 30s, 5m, 12h or 7d")?;
    u32::try_from(ms / 1_000).map_err(|_| "that is too long".to_owned())
}

/// Yes or no, also as programs write them.
fn parse_yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "y" | "true" | "t" | "on" | "1" => Ok(true),
        "no" | "n" | "false" | "f" | "off" | "0" => Ok(false),
        _ => Err("say yes or no".to_owned()),
    }
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
