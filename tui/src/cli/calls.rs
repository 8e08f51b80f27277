//! `call`: making, answering and steering calls.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What a call captures, and where it goes.
#[derive(Clone, Args)]
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
        #[arg(long, value_name = "N", requires = "auto", value_parser = super::at_least_one::<u64>())]
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
