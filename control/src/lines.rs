//! What commands print with `--json` beside the answers and events of the interface.

use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::{
    ErrorData, Event,
    objects::{
        AccountId, CallStats, Chat, ChatId, Contact, DeliveryState, DeviceId, Group, Message, MessageId, Request,
    },
};

macro_rules! lines {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
            pub struct $name {
                $($(#[$field_meta])* pub $field: $type,)*
            }
        )*

        /// Has the schemas of all of them made.
        pub(crate) fn describe(generator: &mut SchemaGenerator) {
            $(generator.subschema_for::<$name>();)*
        }
    };
}

lines! {
    /// Of every command that fails, on standard error.
    Failed {
        /// What went wrong.
        error: Failure,
    }

    /// `init`.
    NewProfile {
        /// The account.
        account: AccountId,
        /// Its device here.
        device: DeviceId,
        /// The recovery phrase, unless it was given.
        recovery_phrase: Option<String>,
    }

    /// `group accept`, `decline`, `leave`, `report`, `topic` and `rename`.
    GroupDone {
        /// The group.
        group: ChatId,
        /// What was done.
        done: String,
    }

    /// `group invite`, `remove` and `role`: durable here; events tell what comes of it where it still waits.
    GroupChange {
        /// The group.
        group: ChatId,
        /// Whom it is about.
        accounts: Vec<AccountId>,
        /// What was done, or is to be.
        done: String,
        /// It is done as soon as the group's rendezvous can be reached, and has room for it.
        waits: bool,
        /// Where it waits, the name of what keeps it from being done, if that is known: `log_full`, …
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem_code: Option<String>,
    }

    /// `device join`.
    Joined {
        /// The account.
        account: AccountId,
        /// Its new device.
        device: DeviceId,
        /// How many contacts it has.
        contacts: usize,
        /// How many of the conversations with them the device can use now; the others follow.
        #[serde(default)]
        ready: usize,
        /// How many conversations with contacts there are.
        #[serde(default)]
        conversations: usize,
    }

    /// `device join` and `device link` after that, whenever it has changed: a device enters one conversation after the other.
    Entered {
        /// The device.
        device: DeviceId,
        /// How many of the conversations with contacts it can use.
        ready: usize,
        /// How many there are.
        conversations: usize,
    }

    /// `device link` and `invite --code`, at once.
    OpenedCode {
        /// The code.
        code: String,
        /// Of `device link`: the rendezvous at which it can be used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rendezvous: Option<String>,
        /// How long it can be used, in seconds.
        expires_in_s: u64,
    }

    /// `device link`, `device rights`, `device remove` and `device history`.
    DeviceDone {
        /// The device.
        device: DeviceId,
        /// What was done: `linked`, `changed`, `removed`, `given` or `wished`.
        done: String,
    }

    /// `device history cancel`.
    HistoryDone {
        /// What was done: `cancelled`.
        done: String,
    }

    /// `contacts accept`, `contacts block` and so on.
    ContactDone {
        /// The account.
        account: AccountId,
        /// What was done: `accepted`, `blocked` and so on.
        done: String,
    }

    /// `chats delete`.
    ChatDone {
        /// The conversation.
        chat: ChatId,
        /// What was done: `deleted`.
        done: String,
    }

    /// `contacts list`, of somebody who asks.
    Asks {
        /// The request.
        #[serde(flatten)]
        request: Request,
        /// Always `asks`.
        state: String,
    }

    /// `contacts verify`.
    SafetyNumber {
        /// The account.
        account: AccountId,
        /// The number to compare with theirs.
        safety_number: String,
        /// The user has compared it.
        verified: bool,
    }

    /// `chats show`.
    ChatDetails {
        /// The conversation.
        #[serde(flatten)]
        chat: Chat,
        /// Who is at its other end; null of a group.
        contact: Option<Contact>,
        /// What is known of the group; null of a direct conversation.
        #[serde(default)]
        group: Option<Group>,
    }

    /// `send`, at its end.
    Sent {
        /// The last message.
        #[serde(flatten)]
        message: Message,
        /// How many were sent.
        count: u64,
    }

    /// `send --lines`, of each message as soon as the node has it.
    SentLine {
        /// The number of the line, counted from 1.
        line: u64,
        /// The message.
        id: MessageId,
        /// How far it is: `queued`.
        state: DeliveryState,
    }

    /// `call start`, `call answer` and `call take`: a change of the call.
    CallChange {
        /// The event.
        #[serde(flatten)]
        event: Event,
        /// When the call is over: what was measured of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stats: Option<CallStats>,
    }

    /// `call answer --auto`, when it waits for calls.
    CallReady {
        /// The version of the line: 1.
        v: u32,
        /// Always `call.ready`.
        #[serde(rename = "type")]
        kind: String,
    }

    /// `daemon`, when it can be used.
    DaemonReady {
        /// Always `daemon.ready`.
        #[serde(rename = "type")]
        kind: String,
        /// The name of the profile.
        profile: String,
        /// The path of the control socket.
        socket: String,
        /// The address of the control port, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        listen: Option<String>,
        /// The file that holds its token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token_file: Option<String>,
    }

    /// `doctor` and `call test`: something that was tried.
    Check {
        /// What.
        check: String,
        /// Whether it works; null for what is only reported.
        ok: Option<bool>,
        /// What was found.
        found: String,
        /// What to do if it does not work.
        remedy: String,
    }

    /// `call test --renderers`: what a way of showing pictures costs.
    RendererCost {
        /// The way: `cells`, `sixel` or `kitty`.
        way: String,
        /// The size of the picture in cells.
        columns: u16,
        /// The same.
        rows: u16,
        /// Time to draw a frame, in milliseconds.
        ms: f64,
        /// Bytes of a frame.
        bytes: usize,
    }
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// One sentence for people.
    pub message: String,
    /// What programs need to know of it.
    #[serde(flatten)]
    pub data: ErrorData,
}
