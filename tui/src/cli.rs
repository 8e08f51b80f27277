//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use starling_control::objects::{self, DeliveryState};

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
        after_help = "Example:\n  starling init --name alice --rendezvous /ip4/203.0.113.7/udp/4001/quic-v1/p2p/12D3Koo…\n  starling init --name alice --rendezvous ADDR --restore < phrase.txt"
    )]
    Init(Init),
    /// Account, device, addresses, reachability.
    #[command(after_help = "Example:\n  starling whoami --json")]
    Whoami,
    /// An invite link, its QR code, or a short code.
    #[command(after_help = "Example:\n  starling invite --uses 5 --expires 7d --qr\n  starling invite --code")]
    Invite {
        /// How often it can be used.
        #[arg(long, default_value_t = 1)]
        uses: u32,
        /// How long it can be used: 30m, 12h, 7d.
        #[arg(long, default_value = "7d", value_name = "TIME")]
        expires: String,
        /// Print its QR code, too.
        #[arg(long)]
        qr: bool,
        /// A one-time short code instead, such as 7-uniform-quiz; both sides have to be online.
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
        /// Only this conversation.
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
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
    /// A conversation's timeline.
    #[command(after_help = "Example:\n  starling history @bob --limit 20 --json")]
    History {
        /// With whom.
        chat: String,
        /// How many messages.
        #[arg(long, default_value_t = 50, value_name = "N")]
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
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: usize,
    },
    /// A linear chat without a screen, for screen readers and dumb terminals.
    #[command(after_help = "Example:\n  starling chat --plain @bob")]
    Chat {
        /// Plain lines (the only form of this verb; the screen is `starling` alone).
        #[arg(long)]
        plain: bool,
        /// With whom.
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
        /// Serve JSON-RPC on this loopback address, too. Whoever can connect to it can use the profile.
        #[arg(long, value_name = "HOST:PORT")]
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

/// What a call captures, and where it goes.
#[derive(Args)]
pub struct MediaArgs {
    /// Sound in: a file (.wav, .ogg, .mp4), a device, default, tone, echo, or none.
    #[arg(long, value_name = "FILE|DEVICE|tone|none")]
    pub audio_in: Option<String>,
    /// Sound out: a file (.wav, .ogg), a device, default, or none.
    #[arg(long, value_name = "FILE|DEVICE|none")]
    pub audio_out: Option<String>,
    /// Pictures in: a file (.mp4, .y4m), a device, default, pattern, or none.
    #[arg(long, value_name = "FILE|DEVICE|pattern|none")]
    pub video_in: Option<String>,
    /// Pictures out: a file (.mp4, .y4m) or none.
    #[arg(long, value_name = "FILE|none")]
    pub video_out: Option<String>,
    /// Write statistics, a JSON object each second.
    #[arg(long, value_name = "FILE.jsonl")]
    pub stats: Option<PathBuf>,
    /// Go through a relay only: the other side does not learn your address.
    #[arg(long)]
    pub relay_only: bool,
    /// Record the call to a file (.mp4, or .ogg for sound alone), once the other side has agreed.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Agree when the other side asks to record. Without this, starling call consent answers.
    #[arg(long)]
    pub allow_recording: bool,
}

/// To a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Answer {
    Yes,
    No,
}

#[derive(Subcommand)]
pub enum Calls {
    /// Call somebody, and stay until the call is over.
    #[command(
        after_help = "Example:\n  starling call start @alice --video\n  starling call start @bot --audio-in question.wav --audio-out answer.wav --duration 30s"
    )]
    Start {
        /// Whom: @contact, id:…, an address, or a bare name.
        who: String,
        /// Sound only; this is the default.
        #[arg(long, conflicts_with = "video")]
        audio: bool,
        /// With the camera on.
        #[arg(long)]
        video: bool,
        /// Hang up after this time of talking.
        #[arg(long, value_name = "TIME")]
        duration: Option<String>,
        #[command(flatten)]
        media: MediaArgs,
    },
    /// Answer the call that rings, or calls as they come.
    #[command(
        after_help = "Example:\n  starling call answer\n  starling call answer --auto --audio-in welcome.wav --json"
    )]
    Answer {
        /// Which, if several ring.
        call: Option<String>,
        /// Answer every call, until this is ended.
        #[arg(long, conflicts_with = "call")]
        auto: bool,
        /// With --auto: end after so many calls.
        #[arg(long, value_name = "N", requires = "auto")]
        count: Option<u64>,
        /// Hang up after this time of talking.
        #[arg(long, value_name = "TIME")]
        duration: Option<String>,
        #[command(flatten)]
        media: MediaArgs,
    },
    /// Hang up, decline or cancel.
    #[command(after_help = "Example:\n  starling call hangup\n  starling call hangup --message 'in a meeting'")]
    Hangup {
        /// Which, if there are several.
        call: Option<String>,
        /// A word with it.
        #[arg(long, default_value = "")]
        message: String,
    },
    /// Hand a call over to another device of yours, where it rings; it goes on here until it is taken there.
    #[command(after_help = "Example:\n  starling call transfer\n  starling call transfer k3v7xq2a")]
    Transfer {
        /// The beginning of the device's id, if you have several others.
        device: Option<String>,
        /// Which call, if there are several.
        #[arg(long)]
        call: Option<String>,
    },
    /// Take the call that another device of yours has, and stay until it is over.
    #[command(after_help = "Example:\n  starling call take\n  starling call take @alice --video")]
    Take {
        /// With whom, if there are several.
        who: Option<String>,
        /// With the camera on.
        #[arg(long)]
        video: bool,
        #[command(flatten)]
        media: MediaArgs,
    },
    /// Ask to record a call; it begins when the other side agrees. Without a file, end it.
    #[command(after_help = "Example:\n  starling call record talk.mp4\n  starling call record")]
    Record {
        /// Where to: .mp4, or .ogg for sound alone.
        file: Option<PathBuf>,
        /// Which call, if there are several.
        #[arg(long)]
        call: Option<String>,
    },
    /// Agree to be recorded by the other side, or do not, or no longer.
    #[command(after_help = "Example:\n  starling call consent yes\n  starling call consent no")]
    Consent {
        /// yes or no.
        answer: Answer,
        /// Which call, if there are several.
        #[arg(long)]
        call: Option<String>,
    },
    /// Calls that are not over.
    #[command(after_help = "Example:\n  starling call list --json")]
    List,
    /// Microphones, loudspeakers and cameras.
    #[command(after_help = "Example:\n  starling call devices")]
    Devices,
    /// Try devices, the terminal's graphics and the way through the rendezvous; each failure with a remedy.
    #[command(after_help = "Example:\n  starling call test")]
    Test {
        /// Only measure what each way of showing pictures costs.
        #[arg(long)]
        renderers: bool,
    },
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
pub enum Contacts {
    /// All contacts and requests.
    #[command(after_help = "Example:\n  starling contacts list --json")]
    List,
    /// Add somebody by invite link, short code or user@host.
    #[command(
        after_help = "Example:\n  starling contacts add starling:…\n  starling contacts add 7-uniform-quiz\n  starling contacts add alice@rendezvous.example --greeting 'from the meetup'"
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
    /// Delete a conversation's messages here (not at the other side).
    #[command(after_help = "Example:\n  starling chats delete @bob --force")]
    Delete {
        chat: String,
        /// Do not ask.
        #[arg(long)]
        force: bool,
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

#[derive(Args)]
pub struct Send {
    /// To whom: @contact, id:…, an address, or a bare name.
    pub to: String,
    /// The message; `-` or nothing reads standard input.
    pub text: Vec<String>,
    /// One message for each line of standard input. A line that cannot be one is named, and the others are sent (exit 2).
    #[arg(long, conflicts_with = "text")]
    pub lines: bool,
    /// Answer a message.
    #[arg(long, value_name = "ID")]
    pub reply_to: Option<String>,
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
