//! What is wrong with something that the user typed, in the words of the command line. The node names the parameter of its method.

use starling_control::Error;
use starling_text::SafeText;

use super::CliError;

/// What a parameter is called in front of what is wrong with it, and what to do.
struct Argument {
    called: String,
    hint: Option<&'static str>,
}

/// The same error, about what the user typed; `None` for one that is not about a parameter. `method` is what was called.
pub fn of_argument(method: &str, error: &Error) -> Option<CliError> {
    let param = error.data.param.as_deref()?;
    let why = error.message.strip_prefix(&format!("the parameter “{}”: ", param.escape_debug()))?;
    let Argument { called, hint } = argument(method, param);
    let text = match (why.strip_suffix(" is not a valid id"), kind_of_id(param)) {
        (Some(given), Some(kind)) => format!("{given} is not the id of {kind}"),
        _ => format!("{called}: {why}"),
    };
    let hint: Option<SafeText> = error.data.hint.clone().map(Into::into).or_else(|| hint.map(Into::into));
    let data = &error.data;
    Some(CliError { hint, reason: data.reason.clone(), ..CliError::new(&data.code, data.exit, text) })
}

fn argument(method: &str, param: &str) -> Argument {
    let name = param.split('[').next().unwrap_or(param);
    let (called, hint) = match (method, name) {
        ("groups.look" | "groups.join", "link") => (
            "the link into a group".to_owned(),
            Some("give all of it, as `starling group link new` has printed it: it begins with starling:"),
        ),
        ("contacts.add", "invite") => (
            "the invite".to_owned(),
            Some(
                "give all of it, as `starling invite` has printed it, or the words of a short code, or user@rendezvous",
            ),
        ),
        (_, "chat" | "chats") => ("the conversation".to_owned(), Some("`starling chats list --json` shows the ids")),
        (_, "message" | "reply_to" | "before" | "after" | "around") => {
            ("the message".to_owned(), Some("`starling history WHO --json` shows the ids"))
        }
        (_, "account" | "accounts") => ("the account".to_owned(), Some("`starling contacts list --json` shows them")),
        (_, "lifetime_ms") => ("--expires".to_owned(), None),
        (_, "timeout_ms") => ("--timeout".to_owned(), None),
        (_, "rendezvous") => (
            "the rendezvous".to_owned(),
            Some("its operator knows its address: it ends in /p2p/ and a name that begins with 12D3Koo"),
        ),
        (_, "uses" | "limit" | "since" | "audio_in" | "audio_out" | "video_in" | "video_out" | "block") => {
            (format!("--{}", name.replace('_', "-")), None)
        }
        _ => (name.replace('_', " "), None),
    };
    Argument { called, hint }
}

/// What a parameter has the id of.
fn kind_of_id(param: &str) -> Option<&'static str> {
    Some(match param.split('[').next().unwrap_or(param) {
        "chat" | "chats" => "a conversation",
        "message" | "reply_to" | "before" | "after" | "around" => "a message",
        "account" | "accounts" | "mentions" | "invite" => "an account",
        "group" | "channel" | "community" => "a group",
        "device" => "a device",
        "call" => "a call",
        "rendezvous" => "a rendezvous",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn said(method: &str, param: &str, why: &str) -> (String, String) {
        let error = of_argument(method, &Error::invalid_param(param, why)).unwrap();
        assert_eq!((error.code.as_str(), error.exit), ("usage", 2));
        (error.message.as_str().to_owned(), error.hint.map(|hint| hint.as_str().to_owned()).unwrap_or_default())
    }

    #[test]
    fn who_mistypes_is_told_in_the_words_of_the_command_line() {
        let (text, hint) = said("groups.look", "link", "an invite begins with “starling:”");
        assert_eq!(text, "the link into a group: an invite begins with “starling:”");
        assert!(hint.contains("starling group link"), "{hint}");
        let (text, hint) = said("message.react", "message", "“4” is not a valid id");
        assert_eq!(text, "“4” is not the id of a message");
        assert!(hint.contains("starling history"), "{hint}");
        assert_eq!(said("call.start", "audio_in", "no such device").0, "--audio-in: no such device");
        assert_eq!(said("groups.link", "lifetime_ms", "at least 1").0, "--expires: at least 1");
        assert_eq!(said("send", "mentions[3]", "“x” is not a valid id").0, "“x” is not the id of an account");
        assert_eq!(said("other", "some_thing", "is wrong").0, "some thing: is wrong");
        assert!(of_argument("send", &Error::method_not_found("x")).is_none());
    }
}
