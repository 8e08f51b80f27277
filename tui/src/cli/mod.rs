//! The command line: its verbs here, their commands and options by area in the modules.

mod account;
mod calls;
mod communities;
mod groups;
mod messages;
mod people;

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

pub use self::{
    account::{Audience, Devices, HistoryArg, HistoryCommand, Init, ProfileCommand},
    calls::{Answer, Calls, MediaArgs},
    communities::{Channels, Communities},
    groups::{Groups, Links as GroupLinks, Role as GroupRole, Settings as GroupSettings},
    messages::{Chats, Send},
    people::Contacts,
};

use crate::error::{CliError, CliResult};

/// Chat and call from your terminal: peer to peer, end-to-end encrypted.
#[derive(Parser)]
#[command(
    name = "starling",
    version,
    after_help = "Examples:\n  starling try                     a first chat, nothing to set up\n  starling init --name alice --rendezvous ADDR\n  starling invite --qr\n  starling send @bob hello\n  starling listen --json | jq .message.text"
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// When to use colour.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Args, Clone)]
pub struct Global {
    /// Which profile.
    #[arg(long, global = true, default_value = "default", value_name = "NAME")]
    pub profile: String,
    /// Where profiles are.
    #[arg(long, global = true, env = "STARLING_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Print JSON, one object a line.
    #[arg(long, global = true)]
    pub json: bool,
    /// Print only results and errors.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Log more to standard error (-v, -vv, -vvv).
    #[arg(short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Read the passphrase from a file that only you can read (mode 0600).
    #[arg(long, global = true, env = "STARLING_PASSPHRASE_FILE", value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Fail instead of asking.
    #[arg(long, global = true)]
    pub no_input: bool,
    /// Take the key that answers for a rendezvous that was named without one, though no certificate vouches for it, without a person who compares it
    /// (--no-input, --json).
    #[arg(long, global = true)]
    pub accept_unvouched_key: bool,
    /// Fail instead of starting a node (exit 10).
    #[arg(long, global = true)]
    pub no_spawn: bool,
    /// Colour.
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    pub color: Color,
    /// Where the node listens for peers (a multiaddr, several times); a free port everywhere if not given.
    #[arg(
        long = "listen-addr",
        global = true,
        env = "STARLING_LISTEN",
        value_name = "ADDR",
        value_delimiter = ',',
        hide = true
    )]
    pub listen_addr: Vec<String>,
    /// Do not look for contacts on the local network.
    #[arg(long, global = true, env = "STARLING_NO_MDNS", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_mdns: bool,
    /// Connect through a proxy only: socks5h://HOST:PORT or http://HOST:PORT, with USER:PASSWORD@ before the host if it wants
    /// them; `none` for none. If not given, what ALL_PROXY says.
    #[arg(long, global = true, env = "STARLING_PROXY", value_name = "URL", hide_env_values = true)]
    pub proxy: Option<String>,
}

impl Global {
    /// The proxy that everything goes through.
    ///
    /// # Errors
    /// If what was given is no address of one.
    pub fn proxy(&self) -> CliResult<Option<starling_node::Proxy>> {
        // Without one where one is wanted would show where the user is: nothing but the word means none.
        let of_system = |name: &'static str| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
            Some((name, value.into_string().unwrap_or_else(|_| "not text".into())))
        };
        let given = self.named_proxy().map(|url| ("--proxy", url.to_owned()));
        let given = given.or_else(|| of_system("ALL_PROXY")).or_else(|| of_system("all_proxy"));
        let Some((from, url)) = given.filter(|(_, url)| url.trim() != "none") else { return Ok(None) };
        // What is wrong with it is said, and not the rest of it: it may hold a password.
        url.parse().map(Some).map_err(|error| CliError::usage(format!("{from}: {error}")))
    }

    /// What was said for Starling itself, as opposed to all programs.
    pub fn named_proxy(&self) -> Option<&str> {
        self.proxy.as_deref().filter(|url| !url.trim().is_empty())
    }
}

#[derive(Subcommand)]
pub enum Verb {
    /// A first chat with no set-up: a private rendezvous and a guide, on this machine.
    #[command(after_help = "Example:\n  starling try\n  starling try --headless")]
    Try {
        /// Run the same conversation without a screen, print the transcript, exit.
        #[arg(long)]
        headless: bool,
    },
    /// Make a profile.
    #[command(
        after_help = "Example:\n  starling init --name alice --rendezvous starling-server:rendezvous.example/12D3Koo…\n  starling init --name alice --rendezvous ADDR --restore < phrase.txt"
    )]
    Init(Init),
    /// Account, device, addresses, reachability.
    #[command(after_help = "Example:\n  starling whoami --json")]
    Whoami,
    /// An invite link, its QR code, or a short code.
    #[command(after_help = "Example:\n  starling invite --uses 5 --expires 7d --qr\n  starling invite --code")]
    Invite {
        /// How often it can be used.
        #[arg(long, default_value_t = 1, value_parser = at_least_one::<u32>())]
        uses: u32,
        /// How long it can be used: 30m, 12h, 7d.
        #[arg(long, default_value = "7d", value_name = "TIME")]
        expires: String,
        /// Print its QR code, too.
        #[arg(long)]
        qr: bool,
        /// A one-time short code instead, such as 271828-uniform-quiz; both sides have to be online.
        #[arg(long, conflicts_with_all = ["qr", "uses"])]
        code: bool,
    },
    /// Several devices of one account.
    Device {
        #[command(subcommand)]
        command: Devices,
    },
    /// Voice and video calls.
    Call {
        #[command(subcommand)]
        command: Calls,
    },
    /// People.
    Contacts {
        #[command(subcommand)]
        command: Contacts,
    },
    /// Groups: who is in them, and what they may do.
    Group {
        #[command(subcommand)]
        command: Groups,
    },
    /// Communities: groups with channels that have their members and roles.
    #[command(
        after_help = "These work for communities, too: starling group ban, unban, link, requests, settings and audit"
    )]
    Community {
        #[command(subcommand)]
        command: Communities,
    },
    /// Conversations.
    Chats {
        #[command(subcommand)]
        command: Chats,
    },
    /// Send messages.
    #[command(
        after_help = "Example:\n  starling send @bob hello\n  date | starling send @bob\n  tail -f log | starling send @bob --lines --wait delivered"
    )]
    Send(Send),
    /// Events as they happen; with --json, one JSON object a line.
    #[command(
        after_help = "Example:\n  starling listen --json | jq -r 'select(.type==\"message.new\").message.text'\n  starling listen --exec ./answer.sh"
    )]
    Listen {
        /// Only this conversation: @contact, '#group', id:…, or a bare name.
        #[arg(long, value_name = "WHO")]
        chat: Option<String>,
        /// Begin after a cursor (from an earlier line), with `all`, or `now`.
        #[arg(long, default_value = "now", value_name = "CURSOR")]
        since: String,
        /// Run a command for each message from others, with the JSON on its standard input; what it prints is sent back if it exits with 0.
        /// What it leaves running is ended with it.
        #[arg(long, value_name = "CMD")]
        exec: Option<String>,
        /// End after so many events (for scripts).
        #[arg(long, value_name = "N", value_parser = at_least_one::<u64>())]
        count: Option<u64>,
    },
    /// A conversation's timeline.
    #[command(after_help = "Example:\n  starling history @bob --limit 20 --json")]
    History {
        /// With whom: @contact, #group, id:…, or a bare name.
        chat: String,
        /// How many messages.
        #[arg(long, default_value_t = 50, value_name = "N", value_parser = at_least_one::<usize>())]
        limit: usize,
        /// Before this message.
        #[arg(long, value_name = "ID")]
        before: Option<String>,
        /// Written since then: a time ago (2h, 7d) or a local date (2026-01-31, '2026-01-31 13:30').
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
    /// Find messages by their words.
    #[command(after_help = "Example:\n  starling search 'train berlin' --chat @bob")]
    Search {
        /// Words that the message has.
        query: String,
        /// Only in this conversation.
        #[arg(long, value_name = "WHO")]
        chat: Option<String>,
        /// Only from this person; `me` for your own.
        #[arg(long, value_name = "WHO")]
        from: Option<String>,
        /// Written since then: a time ago (2h, 7d) or a local date (2026-01-31, '2026-01-31 13:30').
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// How many messages.
        #[arg(long, default_value_t = 50, value_name = "N", value_parser = at_least_one::<usize>())]
        limit: usize,
    },
    /// A linear chat without a screen, for screen readers and dumb terminals.
    #[command(after_help = "Example:\n  starling chat --plain @bob")]
    Chat {
        /// Plain lines (the only form of this verb; the screen is `starling` alone).
        #[arg(long)]
        plain: bool,
        /// With whom: @contact, #group, id:…, or a bare name.
        who: String,
    },
    /// Change what you show.
    Profile {
        #[command(subcommand)]
        command: ProfileCommand,
    },
    /// The node without a screen, until it is stopped.
    #[command(after_help = "Example:\n  starling daemon &\n  starling daemon --listen 127.0.0.1:7777")]
    Daemon {
        /// Serve JSON-RPC on this loopback address, too, for those who give the token in the profile's file `control-token` first.
        #[arg(long, value_name = "IP:PORT")]
        listen: Option<std::net::SocketAddr>,
        /// Stop the running daemon.
        #[arg(long)]
        stop: bool,
    },
    /// One JSON-RPC call to the node.
    #[command(after_help = "Example:\n  starling rpc status\n  starling rpc history '{\"chat\":\"…\",\"limit\":5}'")]
    Rpc {
        /// The method.
        method: String,
        /// Its parameters, as JSON.
        params: Option<String>,
    },
    /// What works and what does not, each failure with a remedy.
    #[command(after_help = "Example:\n  starling doctor")]
    Doctor,
    /// A completion script for a shell.
    #[command(
        after_help = "Example:\n  starling completions bash > ~/.local/share/bash-completion/completions/starling"
    )]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// The manual page, in roff.
    #[command(after_help = "Example:\n  starling man > ~/.local/share/man/man1/starling.1")]
    Man,
    /// The guide of `starling try`.
    #[command(hide = true)]
    Guide,
}

impl Verb {
    /// Whether it is one question to a node and the answer.
    pub fn is_short(&self) -> bool {
        matches!(
            self,
            Self::Send(_)
                | Self::Whoami
                | Self::Contacts { .. }
                | Self::Chats { .. }
                | Self::History { .. }
                | Self::Search { .. }
                | Self::Rpc { .. }
        )
    }
}

/// A count or a limit: nothing at all is never what is meant.
pub fn at_least_one<T>() -> clap::builder::RangedU64ValueParser<T>
where
    T: TryFrom<u64> + Clone + std::marker::Send + Sync + 'static,
    <T as TryFrom<u64>>::Error: std::error::Error + std::marker::Send + Sync + 'static,
{
    clap::builder::RangedU64ValueParser::new().range(1..)
}

/// The same as [`parse_duration`] for a time that something lasts or is waited for: nothing if it is none at all.
pub fn parse_time_span(text: &str) -> Option<u64> {
    parse_duration(text).filter(|ms| *ms > 0)
}

/// Why [`parse_time_span`] takes no time from a text, which could be written as one of these.
pub fn no_time_span(text: &str, example: &str) -> CliError {
    CliError::usage(match parse_duration(text) {
        Some(_) => format!("“{text}” is no time at all: use {example}"),
        None => format!("“{text}” is not a time: use {example}"),
    })
}

/// 30s, 10m, 12h, 7d; in milliseconds.
pub fn parse_duration(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().ok()?;
    let factor = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Reads the command line of this process.
///
/// # Errors
/// If it is no valid one, or asks for help or the version.
pub fn parse() -> Result<Cli, clap::Error> {
    let matches = without_empty_variables(Cli::command()).try_get_matches()?;
    Cli::from_arg_matches(&matches)
}

/// A command line in which a variable that is empty is as good as none: what passes variables on, as container tools do, sets those that nobody has
/// filled in, too.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &&clap::Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    let empty: Vec<clap::Id> = command.get_arguments().filter(is_empty).map(|arg| arg.get_id().clone()).collect();
    let without = |command: clap::Command, id| command.mut_arg(id, |arg| arg.env(clap::builder::Resettable::Reset));
    empty.into_iter().fold(command, without).mut_subcommands(without_empty_variables)
}
