//! What the node's errors say to people, and which command is the next step: on the command line a verb, on the screen a slash command.

use starling_keys::chain::ChainError;
use starling_node::{
    CallRefused, CodePurpose, DELETE_WINDOW_MS, EventRefusal, FalseAnswer, GroupRefusal, Invalid, NodeError,
    NotAllowed, NotFound, OldProgram, Unfound, Unreachable,
};

use starling_text::SafeText;

use super::{CliError, problem};

/// A next step, by its names on the command line and on the screen.
struct Step {
    command: &'static str,
    screen: &'static str,
}

/// What an error is called in `reason`, and what it says.
type Text = (&'static str, String);

/// The next step after an error, by its reason.
fn step(reason: &str) -> Option<Step> {
    let (command, screen) = match reason {
        "which_device" => ("name one: see `starling device list`", "name one: /devices shows them"),
        "device_not_found" => ("see `starling device list`", "/devices shows them"),
        "no_other_device" => ("link one with `starling device link`", "/link links one"),
        "too_many_devices" => ("remove one with `starling device remove`", "/devices removes one"),
        "invite_without_home" | "code_without_home" | "code_without_rendezvous" => (
            "give the profile one: `starling profile rendezvous ADDR`",
            "give the profile one: starling profile rendezvous ADDR",
        ),
        "home_unreachable" | "home_for_code_unreachable" | "home_for_device_list_unreachable" => {
            ("try again later: `starling doctor` tells more", "try again later")
        }
        "request_not_found" => ("see who asks: `starling contacts list`", "the list of conversations shows who asks"),
        "chat_not_found" => ("see `starling chats list`", "F2 finds all of them"),
        "message_not_found" => {
            ("`starling history WHO --json` shows the ids", "the numbers stand left of each message")
        }
        "link_not_found" => ("ask whoever gave it for another", "ask whoever gave it for another"),
        "code_not_found" => (
            "ask for another: `starling invite --code` makes one, `starling device link` one for a device",
            "ask for another: /code makes one, /link one for a device",
        ),
        "account_not_found" => {
            ("ask them for a new invite: `starling invite` makes one", "ask them for a new invite: /invite makes one")
        }
        "call_not_found" => ("see `starling call list`", "/call makes one"),
        "in_call_elsewhere" => ("`starling call take` brings the call here", "/take brings the call here"),
        "too_many_calls" => ("hang one up: `starling call hangup`", "/hangup ends one"),
        "code_is_for_device" => (
            "it is for `starling device join`, and for its owner alone",
            "starling device join uses it, on a new device",
        ),
        "code_is_for_contact" => ("it is for `starling contacts add`", "/add uses it"),
        "key_changed" => (
            "compare with `starling contacts verify WHO`, then `starling contacts trust WHO`",
            "compare with /verify, then /trust",
        ),
        "blocked" => ("`starling contacts unblock WHO` lets them in again", "/unblock lets them in again"),
        "contact_removed" => ("add them again: `starling contacts add`", "/add adds them again"),
        "address_not_found" => ("add them first with `starling contacts add`", "/add adds them"),
        "name_not_found" => ("see `starling contacts list`", "F2 finds all of them"),
        "contact_asks" => ("accept them first: `starling contacts accept WHO`", "/accept makes them one"),
        "not_accepted" => {
            ("wait until they accept: `starling contacts list` shows whether they have", "wait until they accept")
        }
        "not_a_contact" => ("add them again: `starling contacts add`", "/add adds them again"),
        "contact_not_found" => ("see `starling contacts list`", "F2 finds all of them"),
        "too_many_contacts" => ("remove some: `starling contacts remove WHO`", "/remove removes one"),
        "message_too_long" => ("send it in parts; --lines makes a message of each line", "send it in parts"),
        "username_taken" => ("choose another: `starling profile username NAME`", "choose another"),
        "store" => (
            "free some space or check the profile's directory, then start again: nothing that was reported is lost",
            "free some space or check the profile's directory, then start again: nothing that was reported is lost",
        ),
        "stopped" => ("see the log with -v, or start the daemon again", "start Starling again"),
        _ => return group_step(reason),
    };
    Some(Step { command, screen })
}

/// The next step after an error about a group.
fn group_step(reason: &str) -> Option<Step> {
    let (command, screen) = match reason {
        "role" => (
            "ask an owner or admin: `starling group show` says who they are",
            "ask an owner or admin: /members shows who they are",
        ),
        "not_in_group" => ("see who is: `starling group show`", "/members shows who is"),
        "group_not_found" => ("see `starling group list`", "the list of conversations shows them"),
        "last_owner" => (
            "make somebody else an owner before: `starling group role '#GROUP' @WHO owner`",
            "make somebody else an owner before: starling group role",
        ),
        "banned" => ("`starling group unban '#GROUP' @WHO` lifts the ban", "/unban lifts the ban"),
        "setting" => (
            "roles are member at the lowest, for --comment reader; slow mode is a day at most, lifetime 366 days",
            "roles are member at the lowest, for comment reader; slow mode is a day at most, lifetime 366 days",
        ),
        "old_programs" => (
            "the group has it by itself soon after that: `starling group show` says who is still missing",
            "the group has it by itself soon after that: its details say who is still missing",
        ),
        "old_group" => (
            "try again in a minute if everybody in it has updated Starling, or make another with `starling group new`",
            "try again in a minute if everybody in it has updated Starling, or make another with /group",
        ),
        "community" => (
            "name the community: `starling group show` of the channel says which it is",
            "open the community: it decides",
        ),
        "newer_group" => ("install the newest version of Starling", "install the newest version of Starling"),
        _ => return None,
    };
    Some(Step { command, screen })
}

/// The next step after an error as the screen names it, by its reason.
pub fn screen_hint(reason: &str) -> Option<&'static str> {
    step(reason).map(|step| step.screen)
}

impl From<NodeError> for CliError {
    fn from(error: NodeError) -> Self {
        let (code, exit, (reason, message)) = match &error {
            NodeError::Invalid(what) => ("usage", 2, invalid(what)),
            NodeError::NotFound(what) => ("not_found", 5, not_found(*what)),
            NodeError::Unfound(why @ Unfound::Several { .. }) => ("usage", 2, unfound(why)),
            NodeError::Unfound(why) => ("not_found", 5, unfound(why)),
            NodeError::Unreachable(what) => ("unreachable", 3, unreachable(what)),
            NodeError::NotAllowed(why) => ("refused", 6, refused(why)),
            NodeError::KeyChanged { name } => {
                let text = format!("the devices of {name} have changed since you verified them");
                ("key_changed", 7, ("key_changed", text))
            }
            NodeError::RateLimited { retry_after_ms } => {
                let text = format!("too many requests; try again in {} s", retry_after_ms / 1000 + 1);
                ("rate_limited", 8, ("rate_limited", text))
            }
            NodeError::Store(problem) => ("store", 1, ("store", problem.clone())),
            NodeError::Stopped => ("stopped", 1, ("stopped", "the node has stopped".to_owned())),
        };
        let retry_after_ms = match error {
            NodeError::RateLimited { retry_after_ms }
            | NodeError::NotAllowed(NotAllowed::JoinRefused { retry_after_ms }) => Some(retry_after_ms),
            _ => None,
        };
        let named = match &error {
            NodeError::Unfound(why) => choice(why),
            _ => None,
        };
        let hint = named.or_else(|| step(reason).map(|step| step.command.into()));
        Self { reason: Some(reason.to_owned()), hint, retry_after_ms, ..Self::new(code, exit, message) }
    }
}

fn invalid(what: &Invalid) -> Text {
    let (reason, text) = match what {
        Invalid::EmptyMessage => ("empty_message", "a message needs some text".into()),
        Invalid::MessageTooLong { length, max } => {
            let (max, length) = (max / 1024, length.div_ceil(1024));
            ("message_too_long", format!("a message has at most {max} KB, this one has {length} KB"))
        }
        Invalid::TopicTooLong { max } => ("topic_too_long", format!("a topic has at most {max} bytes")),
        Invalid::ReportTooLong { max } => {
            ("report_too_long", format!("the reason of a report has at most {max} bytes"))
        }
        Invalid::TooManyMentions { max } => ("too_many_mentions", format!("a message mentions at most {max} people")),
        Invalid::Setting(name) => ("setting", format!("the setting {name} cannot have that value")),
        Invalid::Reaction => ("not_one_emoji", "a reaction is one emoji".into()),
        Invalid::EmptySearch => ("empty_search", "there is nothing to search for".into()),
        Invalid::TooManySearchWords { max } => ("too_many_search_words", format!("a search has at most {max} words")),
        Invalid::Name(error) => ("name", error.to_string()),
        Invalid::Username { given } => {
            let given = given.escape_debug();
            ("username", format!("“{given}” is no user name: 2 to 32 of a-z 0-9 . _ -, a letter or digit first"))
        }
        Invalid::TheirUsername => ("username", "that is no valid user name".into()),
        Invalid::GreetingTooLong { max } => ("greeting_too_long", format!("a greeting has at most {max} bytes")),
        Invalid::InviteUses { max } => ("invite_uses", format!("an invite can be used 1 to {max} times")),
        Invalid::LinkUses => ("link_uses", "a link can be used 1 to 10000 times".into()),
        Invalid::InviteLifetime => ("invite_lifetime", "an invite has to live for a second at least".into()),
        Invalid::InviteWithoutHome => ("invite_without_home", "an invite needs a rendezvous of this profile".into()),
        Invalid::Code(error) => ("code", error.to_string()),
        Invalid::CodeWithoutHome => ("code_without_home", "a short code needs a rendezvous of this profile".into()),
        Invalid::CodeWithoutRendezvous => ("code_without_rendezvous", "a short code needs a rendezvous".into()),
        Invalid::OwnAddress => ("own_address", "that is your own address".into()),
        Invalid::AddressWithoutRendezvous => {
            ("address_without_rendezvous", "the address names no rendezvous, so there is no way to reach them".into())
        }
        Invalid::NotBlocked => ("not_blocked", "they are not blocked".into()),
        Invalid::WhichDevice => ("which_device", "you have several other devices".into()),
        Invalid::Files(error) => ("files", error.to_string()),
    };
    (reason, text)
}

fn not_found(what: NotFound) -> Text {
    let (reason, text) = match what {
        NotFound::Chat => ("chat_not_found", "there is no such conversation"),
        NotFound::Group => ("group_not_found", "there is no such group, and no invitation into it"),
        NotFound::Link => ("link_not_found", "there is no such link, or nothing stands behind it"),
        NotFound::JoinRequest => ("join_request_not_found", "they do not ask to be let into this group"),
        NotFound::Message => ("message_not_found", "there is no such message in this conversation"),
        NotFound::Contact => ("contact_not_found", "they are not a contact"),
        NotFound::Request => ("request_not_found", "there is no such request"),
        NotFound::ReadableRequest => ("request_unreadable", "the request cannot be read"),
        NotFound::Account => ("account_not_found", "nobody with this address is registered at that rendezvous"),
        NotFound::Code => (
            "code_not_found",
            "there is no such code: it is used, withdrawn, burnt by wrong guesses, or older than ten minutes",
        ),
        NotFound::Call => ("call_not_found", "there is no such call"),
        NotFound::CallElsewhere => ("call_elsewhere_not_found", "no other device of yours has such a call"),
        NotFound::Device => ("device_not_found", "the account has no such device"),
        NotFound::StoredLogs => ("logs_not_found", "no rendezvous of yours has logs with this id"),
    };
    (reason, text.to_owned())
}

fn unfound(why: &Unfound) -> Text {
    match why {
        Unfound::Conversation { id } => ("chat_not_found", format!("there is no conversation {id}")),
        Unfound::Address => ("address_not_found", "nobody with this address is a contact or asks to be one".into()),
        Unfound::Name { name, .. } => {
            ("name_not_found", format!("nobody called “{name}” is a contact or asks to be one"))
        }
        Unfound::Asks { name, accounts } => contact_asks(name, accounts.len()),
        Unfound::Several { name, chats } => {
            ("which_contact", format!("“{name}” is the name of {} contacts", chats.len()))
        }
    }
}

/// What is said of somebody, or of several with one name, who are no contacts and ask to be.
fn contact_asks(name: &str, count: usize) -> Text {
    let text = match count {
        0 | 1 => format!("“{name}” asks to be a contact, and is none yet"),
        several => format!("{several} people called “{name}” ask to be contacts, and are none yet"),
    };
    ("contact_asks", text)
}

/// The same on the screen, with what to do about it.
pub fn contact_asks_on_screen(name: &str) -> String {
    let (reason, text) = contact_asks(name, 1);
    screen_hint(reason).map_or_else(|| text.clone(), |hint| format!("{text} — {hint}"))
}

/// Said where nobody has a name.
const ASKED_NAMELESS: &str =
    "somebody whom you asked has not accepted yet, and their name is known only then: see `starling contacts list`";

/// Those who may be meant.
fn choice(why: &Unfound) -> Option<SafeText> {
    let (text, names) = match why {
        // By account: anybody can call themselves anything, also what a shell takes for something else.
        Unfound::Asks { accounts, .. } => {
            let accept = accounts.iter().map(|account| format!("`starling contacts accept {account}`"));
            return Some(format!("accept them first: {}", accept.collect::<Vec<_>>().join(" or ")).into());
        }
        Unfound::Name { close, asked: true, .. } if close.is_empty() => return Some(ASKED_NAMELESS.into()),
        Unfound::Name { close, .. } if !close.is_empty() => (close.join(", "), true),
        Unfound::Several { chats, .. } => {
            (chats.iter().map(|chat| format!("id:{chat}")).collect::<Vec<_>>().join(", "), false)
        }
        _ => return None,
    };
    Some(if names { format!("did you mean {text}?") } else { format!("use one of: {text}") }.into())
}

fn unreachable(what: &Unreachable) -> Text {
    let (reason, text) = match what {
        Unreachable::Home => ("home_unreachable", "our rendezvous cannot be reached now".into()),
        Unreachable::OlderHome => (
            "home_outdated",
            "our rendezvous runs an older version of Starling, which would have to see the user name: its operator has \
             to update it"
                .into(),
        ),
        Unreachable::HomeForCode => {
            ("home_for_code_unreachable", "our rendezvous cannot be reached, and a short code needs it".into())
        }
        Unreachable::HomeForDeviceList => (
            "home_for_device_list_unreachable",
            "our rendezvous cannot be reached, and it has to take the new list of devices".into(),
        ),
        Unreachable::GroupHome => {
            ("group_home_unreachable", "the rendezvous of the group cannot be reached now: try again later".into())
        }
        Unreachable::ConnectionLost => ("connection_lost", "the connection to the rendezvous broke: try again".into()),
        Unreachable::TheirHome { problem } => (
            "their_home_unreachable",
            format!(
                "their rendezvous cannot be reached: {}. Nothing was sent; try again later",
                problem::home(problem).1
            ),
        ),
        Unreachable::CodeOwner => {
            ("code_owner_unreachable", "nobody answers: both sides have to be online for a short code".into())
        }
        Unreachable::KeyPackages => {
            ("no_key_packages", "none of their devices has left a key package there: ask them to go online once".into())
        }
        Unreachable::Conversation { name } => (
            "conversation_not_ready",
            format!("the encrypted conversation with {name} is being made: try again in a moment"),
        ),
        Unreachable::DamagedConversation { name } => (
            "conversation_damaged",
            format!(
                "the keys of the conversation with {name} are damaged in this profile: others are made as soon as \
                 {name} can be reached"
            ),
        ),
        Unreachable::DeviceList => {
            ("no_device_list", "the list of devices is not there yet: try again in a moment".into())
        }
        Unreachable::DeviceChangePending { device, problem } => (
            "device_change_pending",
            format!(
                "the rendezvous has not taken what was changed about device {device} yet ({}): only those who are \
                 connected directly know of it, and it is sent again by itself until it has",
                problem::home(problem).1
            ),
        ),
    };
    (reason, text)
}

fn refused(why: &NotAllowed) -> Text {
    let (reason, text) = match why {
        NotAllowed::Group(why) => (why.code(), refused_in_group(*why).into()),
        NotAllowed::OldPrograms(devices) => {
            let name = |old: &OldProgram| (if old.own { None } else { Some(old.name.clone()) }, old.label.clone());
            let whose = old_programs(devices.iter().map(name));
            ("old_programs", format!("{whose} must be updated before this group can have that"))
        }
        NotAllowed::JoinRefused { retry_after_ms } => return refused_to_join(*retry_after_ms),
        NotAllowed::Outdated => (
            "outdated_copy",
            "this profile is an older copy of a device that went on without it: what it writes would be lost, so it can only be read".into(),
        ),
        NotAllowed::Superseded => (
            "superseded",
            "this device is no longer one of its account: it was removed, or the account was restored on another \
             device, which has taken its place; this profile can only be read"
                .into(),
        ),
        NotAllowed::Blocked { name: Some(name) } => {
            ("blocked", format!("{name} is blocked; unblock them to write to them"))
        }
        NotAllowed::Blocked { name: None } => ("blocked", "they are blocked; unblock them first".into()),
        NotAllowed::Removed { name } => ("contact_removed", format!("{name} is not a contact any more")),
        NotAllowed::NotAccepted { name } => {
            ("not_accepted", format!("{name} has not accepted you as a contact yet"))
        }
        NotAllowed::TooManyContacts { max } => ("too_many_contacts", format!("{max} contacts are the limit")),
        NotAllowed::OutboxFull { name, max } => (
            "outbox_full",
            format!("{max} batches of messages to {name} wait to be sent; wait until they are delivered"),
        ),
        NotAllowed::Event(why) => return refused_event(why),
        NotAllowed::Request(problem) => {
            ("request", format!("the request cannot be accepted ({problem}); ask them to send another"))
        }
        NotAllowed::FalseAnswer(answer) => return false_answer(answer),
        NotAllowed::ForeignDevices => ("foreign_devices", "the rendezvous gave the devices of another account".into()),
        NotAllowed::OldDeviceList => ("old_device_list", "the rendezvous gave a device list from the past".into()),
        NotAllowed::ByRendezvous(reason) => ("by_rendezvous", format!("the rendezvous refused: {}", problem::refusal(*reason))),
        NotAllowed::UsernameTaken { name } => ("username_taken", format!("the user name “{name}” is taken there")),
        NotAllowed::UsernameRefused => ("username_refused", "the rendezvous refuses the user name".into()),
        NotAllowed::TooManyCodes => {
            ("no_code", "too many codes of this profile are open: use one, or wait until they end (ten minutes)".into())
        }
        NotAllowed::NoCode(reason) => ("no_code", format!("the rendezvous gives no short code now: {}", problem::refusal(*reason))),
        NotAllowed::WrongCode(purpose) => ("wrong_code", wrong_code(*purpose).into()),
        NotAllowed::CodeIsFor(CodePurpose::Device) => ("code_is_for_device", "this code links a device".into()),
        NotAllowed::CodeIsFor(CodePurpose::Contact) => ("code_is_for_contact", "this code makes a contact".into()),
        NotAllowed::Chain(ChainError::NotAdmin) | NotAllowed::NotAdmin => {
            ("not_admin", "this device may not change the account: use one that has the rights of an admin".into())
        }
        NotAllowed::Chain(error) => ("device_chain", error.to_string()),
        NotAllowed::LinkDeclined => ("link_declined", "the other device did not agree".into()),
        NotAllowed::TooManyDevices { max } => ("too_many_devices", format!("an account has at most {max} devices")),
        NotAllowed::ThisDevice => {
            ("this_device", "this is the device that you are using: remove it from another one".into())
        }
        NotAllowed::NoOtherDevice => ("no_other_device", "the account has no other device".into()),
        NotAllowed::Call(why) => return refused_in_call(why),
    };
    (reason, text)
}

fn refused_to_join(retry_after_ms: u64) -> Text {
    let (why, minutes) = (GroupRefusal::RequestRefused, retry_after_ms / 60_000 + 1);
    let wait = if minutes < 120 { format!("{minutes} min") } else { format!("{} h", minutes.div_ceil(60)) };
    (why.code(), format!("{}; you can ask again in {wait}", refused_in_group(why)))
}

fn refused_event(why: &EventRefusal) -> Text {
    match why {
        EventRefusal::NotTheAuthor => ("not_author", "only the author can change a message".into()),
        EventRefusal::Deleted => ("message_deleted", "the message was deleted".into()),
        EventRefusal::Role => ("role", refused_in_group(GroupRefusal::Role).into()),
        EventRefusal::NotAnEmoji => ("not_one_emoji", "a reaction is one emoji".into()),
        EventRefusal::NotAMessage => ("call_note", "a call is no message".into()),
        EventRefusal::TooLate => {
            let hours = DELETE_WINDOW_MS / 3_600_000;
            ("too_late", format!("a message can be deleted for everyone for {hours} hours only"))
        }
    }
}

fn false_answer(answer: &FalseAnswer) -> Text {
    let what = match answer {
        FalseAnswer::NoChain(error) => error.to_string(),
        FalseAnswer::OtherChain => "it shows another device chain".into(),
        FalseAnswer::Devices => {
            "a device chain that does not follow from the one known, or has a device of another account".into()
        }
    };
    ("false_answer", format!("the rendezvous gave a false answer: {what}"))
}

fn wrong_code(purpose: CodePurpose) -> &'static str {
    match purpose {
        CodePurpose::Contact => "the code is wrong: check it, or ask for a new one (three wrong guesses burn it)",
        CodePurpose::Device => "the code is wrong, or was tried before: one try uses it up, so ask for a new one",
    }
}

/// How many programs a sentence names.
const NAMED_PROGRAMS: usize = 4;

/// Whose programs are too old: of each the owner's name, none for the user, and what the device is called.
pub fn old_programs(programs: impl Iterator<Item = (Option<String>, String)>) -> String {
    let in_words = |(name, device): (Option<String>, String)| {
        let whose = name.map_or_else(|| "your".to_owned(), |name| format!("{name}'s"));
        if device.is_empty() { format!("{whose} program") } else { format!("{whose} program (device {device})") }
    };
    let mut words: Vec<String> = programs.map(in_words).collect();
    if words.len() > NAMED_PROGRAMS {
        let more = words.split_off(NAMED_PROGRAMS - 1).len();
        words.push(format!("{more} more"));
    }
    match words.split_last() {
        Some((last, first)) if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => words.concat(),
    }
}

/// Why a group does not take something.
pub fn refused_in_group(why: GroupRefusal) -> &'static str {
    match why {
        GroupRefusal::NotAMember => "you are not in this group",
        GroupRefusal::Role => "your role in this group does not allow that",
        GroupRefusal::LastOwner => "the group would be left without an owner",
        GroupRefusal::Full => "the group has no room for more",
        GroupRefusal::NotInGroup => "they are not in this group",
        GroupRefusal::NotAContact => "only contacts can be invited",
        GroupRefusal::Removed => {
            "they were removed from this group meanwhile: invite them again if they are to come back"
        }
        GroupRefusal::TooManyGroups => "you are in too many groups: leave one first",
        GroupRefusal::Void => "the group does not take that",
        GroupRefusal::Banned => "they are banned from this group: lift that first",
        GroupRefusal::TooManyBans => "too many accounts are banned from this group: lift a ban first",
        GroupRefusal::LinkEnded => "the link does not lead into the group any more: ask for another",
        GroupRefusal::TooManyLinks => "this group has too many links: end one first, see `starling group link list`",
        GroupRefusal::OldGroup => "this group was made by an older version, and does not know that yet",
        GroupRefusal::NewGroup => "this group is of a newer version: update Starling to be in it",
        GroupRefusal::Community => "who is in this channel, and in which role, is decided in its community",
        GroupRefusal::NotACommunity => "this is no community",
        GroupRefusal::NoModerator => "nobody else moderates this group who could read that report",
        GroupRefusal::Overtaken => "somebody has changed that since: the newer change stays",
        GroupRefusal::RequestRefused => "your request to be let into this group was refused",
    }
}

fn refused_in_call(why: &CallRefused) -> Text {
    let (reason, text) = match why {
        CallRefused::NotAccepted => {
            ("not_accepted", "they have not accepted you as a contact yet: calls are for contacts".into())
        }
        CallRefused::InCall => ("in_call", "there is a call with them already".into()),
        CallRefused::InCallElsewhere => ("in_call_elsewhere", "another device of yours talks to them".into()),
        CallRefused::TooManyCalls => ("too_many_calls", "there are too many calls already".into()),
        CallRefused::NotRinging => ("not_ringing", "this call does not wait for an answer".into()),
        CallRefused::NotConnected => ("not_connected", "only a call that is connected can be moved".into()),
        CallRefused::NoMicrophone => ("no_microphone", "this call has no microphone yet".into()),
        CallRefused::TooManyAttendants => {
            ("too_many_attendants", "there are too many programs that attend this call".into())
        }
        CallRefused::NotRecorded => ("not_recorded", "this call is not being recorded".into()),
        CallRefused::RecordBeforeConnected => ("not_connected", "a call can be recorded once it is connected".into()),
        CallRefused::RecordingAsked => ("recording_asked", "a recording of this call was asked for already".into()),
        CallRefused::NobodyAskedToRecord => ("nobody_asked_to_record", "nobody asked to record this call".into()),
        CallRefused::RecordingFile(error) => ("recording_file", error.to_string()),
    };
    (reason, text)
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
