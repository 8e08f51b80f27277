//! Calls.
//!
//! A connection that has subscribed attends the calls that it starts, answers or names with [`Attend`]. When the last connection that attends a
//! call closes, its microphone, camera and shared terminal are turned off, and 20 s later the node hangs up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ASKS_OTHERS, Done, requests};
use crate::objects::{self, CallId, ChatId, DeviceId, MediaDevices, RelayTest, SelfState};

/// The largest height of video that can be asked for, in pixels.
pub const MAX_HEIGHT: u32 = 720;
/// The longest time that a held key opens the microphone, in milliseconds, until it is said again.
pub const MAX_MICROPHONE_MS: u64 = 2_000;
/// The largest shared terminal, in columns or rows.
pub const MAX_TERMINAL: u16 = 400;

/// What a call captures, and where it goes. Without parameters: the microphone and the loudspeaker of the system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// A `.wav` or `.ogg` file, a device, `default`, `tone[:HERTZ]`, `echo` or `none`.
    pub audio_in: Option<String>,
    /// A file, a device, `default` or `none`.
    pub audio_out: Option<String>,
    /// An `.mp4` or `.y4m` file, a device, `default`, `pattern[:WxH@RATE]` or `none`.
    pub video_in: Option<String>,
    /// A file or `none`.
    pub video_out: Option<String>,
    /// Whether it is with pictures.
    pub video: Option<bool>,
    /// Whether it is only connected through a relay.
    pub relay_only: Option<bool>,
}

/// Requests that also have the parameters of [`Media`].
macro_rules! requests_with_media {
    ($(
        $(#[$meta:meta])*
        $name:ident = $method:literal -> $answer:ty => { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? }
    )*) => {
        requests! {$(
            $(#[$meta])*
            ///
            /// Paths of files have to be absolute.
            $name = $method -> $answer, within |_| ASKS_OTHERS => {
                $($(#[$field_meta])* $field: $type,)*
                /// Sound in: a `.wav` or `.ogg` file (played again and again), a device, `default`, `tone[:HERTZ]`, `echo` or `none`.
                audio_in: Option<String>,
                /// Sound out: a file, a device, `default` or `none`.
                audio_out: Option<String>,
                /// Pictures in: an `.mp4` (H.264) or `.y4m` file, a device, `default`, `pattern[:WxH@RATE]` or `none`.
                video_in: Option<String>,
                /// Pictures out: a file or `none`.
                video_out: Option<String>,
                /// Whether the camera is on from the beginning.
                video: Option<bool>,
                /// Whether the call is only connected through a relay, so that the other side does not learn an address.
                relay_only: Option<bool>,
            }
        )*}

        $(impl $name {
            /// What it captures.
            pub fn media(&self) -> Media {
                Media {
                    audio_in: self.audio_in.clone(),
                    audio_out: self.audio_out.clone(),
                    video_in: self.video_in.clone(),
                    video_out: self.video_out.clone(),
                    video: self.video,
                    relay_only: self.relay_only,
                }
            }

            /// The request with what it captures.
            pub fn new($($field: $type,)* media: Media) -> Self {
                let Media { audio_in, audio_out, video_in, video_out, video, relay_only } = media;
                Self { $($field,)* audio_in, audio_out, video_in, video_out, video, relay_only }
            }
        })*
    };
}

requests_with_media! {
    /// Calls the other side of a conversation.
    Start = "call.start" -> Started => {
        /// The conversation.
        chat: ChatId,
    }

    /// Answers a call that rings.
    Answer = "call.answer" -> Done => {
        /// The call.
        call: CallId,
    }

    /// Takes a call that another device of the account has.
    Take = "call.take" -> Started => {
        /// Its conversation; may be left out if there is one such call.
        chat: Option<ChatId>,
    }
}

requests! {
    /// Ends a call, or declines it.
    HangUp = "call.hangup" -> Done => {
        /// The call.
        call: CallId,
        /// A few words to the other side.
        text: Option<String>,
    }

    /// Hands a call over to another device of the account, where it rings.
    Transfer = "call.transfer" -> Done => {
        /// The call.
        call: CallId,
        /// The device, or the beginning of its id; may be left out if there is one other.
        device: Option<DeviceId>,
    }

    /// Calls that other devices of the account have.
    Elsewhere = "call.elsewhere" -> Vec<objects::CallElsewhere> => {}

    /// Asks the other side whether the call may be recorded, and records it then.
    Record = "call.record" -> Done => {
        /// The call.
        call: CallId,
        /// The absolute path of the file; without it the recording ends.
        path: Option<String>,
    }

    /// Answers whether the other side may record the call.
    AgreeToRecording = "call.consent" -> Done => {
        /// The call.
        call: CallId,
        /// Whether.
        agree: bool,
    }

    /// From now on this connection attends a call.
    Attend = "call.attend" -> Done => {
        /// The call.
        call: CallId,
    }

    /// The calls of this device.
    List = "call.list" -> Vec<objects::Call> => {}

    /// What is measured of a call; null before there is anything.
    Stats = "call.stats" -> Option<objects::CallStats> => {
        /// The call.
        call: CallId,
    }

    /// Changes what this side of a call sends.
    #[derive(Default)]
    Set = "call.set" -> SelfState => {
        /// The call.
        call: CallId,
        /// Whether the microphone is on.
        microphone: Option<bool>,
        /// With `microphone` true: it is turned off after this time, in milliseconds, at most 2000, unless this is said again, as a held key does.
        microphone_ms: Option<u64>,
        /// Whether the camera is on.
        camera: Option<bool>,
        /// Whether the call is on hold.
        hold: Option<bool>,
    }

    /// Says how large the video of the other side is shown.
    Want = "call.want" -> Done => {
        /// The call.
        call: CallId,
        /// Its height in pixels, at most 720; 0 for none.
        height: u32,
        /// The participant, by its route in `call.stats`; the default is the first one.
        route: Option<u64>,
    }

    /// Shares a terminal with the other side.
    #[derive(Default)]
    Share = "call.share" -> Done => {
        /// The call.
        call: CallId,
        /// The command that runs in it; the default is the user's shell.
        command: Option<String>,
        /// Its width, at most 400; the default is 80.
        columns: Option<u16>,
        /// Its height, at most 400; the default is 24.
        rows: Option<u16>,
    }

    /// Ends the shared terminal.
    Unshare = "call.unshare" -> Done => {
        /// The call.
        call: CallId,
    }

    /// Lets the other side type in the shared terminal.
    Hand = "call.hand" -> Done => {
        /// The call.
        call: CallId,
        /// Whether.
        given: bool,
        /// The participant, by its route in `call.stats`; the default is the first one.
        route: Option<u64>,
    }

    /// Types in a shared terminal.
    Type = "call.type" -> Done => {
        /// The call.
        call: CallId,
        /// What is typed.
        text: String,
        /// In the terminal of this side; the default is that one if it is shared and no route is given, and else the one of the other side.
        own: Option<bool>,
        /// The participant, by its route in `call.stats`; the default is the first one.
        route: Option<u64>,
    }

    /// What this machine has for calls.
    Devices = "call.devices" -> MediaDevices => {}

    /// Calls this node itself through the relay of its rendezvous.
    Test = "call.test" -> RelayTest, within |_| ASKS_OTHERS => {}

    /// From the answer on, the connection carries pictures of the call instead of lines.
    Watch = "call.watch" -> Watching => {
        /// The call.
        call: CallId,
        /// The participant, by its route in `call.stats`; the default is the first one.
        route: Option<u64>,
    }
}

/// A call that was made or taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Started {
    /// The call.
    pub call: CallId,
}

/// The answer to [`Watch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Watching {
    /// Always true.
    pub frames: bool,
}
