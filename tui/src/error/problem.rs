//! What is said of a problem with a rendezvous or a conversation, and what to do about it.

use starling_node::{CallProblem, ChatProblem, ConnectionProblem, HomeProblem, Refusal, SasError, media::MediaError};

/// What a problem is called, and what it says.
pub type Problem = (&'static str, String);

/// A problem with a rendezvous: its name in `problem_code`, and its sentence without a subject before it.
pub fn home(problem: &HomeProblem) -> Problem {
    let (code, text) = match problem {
        HomeProblem::Connection(problem) => connection(*problem),
        HomeProblem::Connecting { problem, last_resort } => return connecting(*problem, *last_resort),
        HomeProblem::Registering => ("registering", "registering"),
        HomeProblem::NeedsToken => ("token", "it registers only holders of a token: ask its operator for one"),
        HomeProblem::RegistrationClosed => ("registration_closed", "it takes no new accounts"),
        HomeProblem::Banned => ("banned", "its operator has banned this account"),
        HomeProblem::RateLimited => ("rate_limited", "it asks us to slow down"),
        HomeProblem::Full => ("full", "it has no room for another account"),
        HomeProblem::RegistrationRefused => ("registration_refused", "it refused to register this account"),
        HomeProblem::RegistrationWork => ("too_much_work", "it asks for more work than any registration is worth"),
        HomeProblem::MessageWork => ("too_much_work", "it asks for more work than any message is worth"),
        HomeProblem::UnknownDevices => (
            "unknown_devices",
            "it does not know the account's devices: another device of the account has to go online first",
        ),
        HomeProblem::OtherHistory => (
            "other_history",
            "it has another history of this account's devices, which a removed device may have written: `starling \
             device recover` with the recovery phrase settles it",
        ),
        HomeProblem::Chain(error) => return ("device_chain", error.to_string()),
        HomeProblem::UsernameTaken(name) => return ("username", format!("the user name “{name}” is taken there")),
        HomeProblem::UsernameMalformed(name) => {
            return ("username", format!("“{name}” is no valid user name: 2 to 32 of a-z 0-9 . _ -"));
        }
        HomeProblem::UsernameRefused => ("username", "the user name was refused"),
        HomeProblem::WouldSeeUsername => (
            "older_version",
            "it runs an older version of Starling, which would have to see our user name: nobody is led to us by it until \
             its operator has updated it",
        ),
        HomeProblem::Superseded => (
            "superseded",
            "this device is no longer one of its account: it was removed, or the account was restored on another \
             device, which has taken its place; this profile can only be read",
        ),
        HomeProblem::Outdated => ("outdated_copy", OUTDATED),
    };
    (code, text.into())
}

const OUTDATED: &str = "this profile is an older copy of a device that went on without it: it can only be read. Link it again as a new device, or \
                        restore the account with the recovery phrase";

/// The same of a rendezvous that is still tried.
fn connecting(problem: ConnectionProblem, last_resort: bool) -> Problem {
    let (code, text) = connection(problem);
    let text = if problem == ConnectionProblem::NoAnswer { "no answer yet" } else { text };
    let text = if last_resort { format!("{text}; trying port 443") } else { text.to_owned() };
    (code, text)
}

/// Why a server cannot be connected to: its name, and its sentence without a subject before it.
pub fn connection(problem: ConnectionProblem) -> (&'static str, &'static str) {
    match problem {
        ConnectionProblem::Offline => ("offline", "this machine is not connected to any network"),
        ConnectionProblem::NoSuchName => ("no_such_name", "its name does not exist (DNS)"),
        ConnectionProblem::NoNameServer => {
            ("no_name_server", "its name cannot be looked up: no name server answers (DNS)")
        }
        ConnectionProblem::NameLookup => ("name_lookup", "its name cannot be looked up (DNS)"),
        ConnectionProblem::ForeignNetwork => {
            ("foreign_network", "its address is in a network that this machine is not in")
        }
        ConnectionProblem::ProxyUnreachable => ("proxy_unreachable", "the proxy does not answer"),
        ConnectionProblem::ProxyCredentials => {
            ("proxy_credentials", "the proxy does not take the user name and password")
        }
        ConnectionProblem::ProxyRefused => ("proxy_refused", "the proxy cannot connect to it"),
        ConnectionProblem::NotByProxy => (
            "not_by_proxy",
            "its address is for UDP, which does not go through a proxy: it needs one for TCP or WebSocket",
        ),
        ConnectionProblem::OtherServer => {
            ("other_server", "another server answers at its address: its key is not the one that is known")
        }
        ConnectionProblem::Intercepted => (
            "intercepted",
            "something else answers at its address: this network may want you to sign in first (captive portal)",
        ),
        ConnectionProblem::Refused => ("connection_refused", "the connection was refused"),
        ConnectionProblem::NoRoute => ("no_route", "there is no route to it"),
        ConnectionProblem::NoAnswer => ("no_answer", "it does not answer"),
        ConnectionProblem::Unreachable => ("unreachable", "it cannot be reached"),
        ConnectionProblem::OtherProtocol => ("other_protocol", "it does not speak this protocol"),
        ConnectionProblem::Closed => ("closed", "it closed the connection"),
        ConnectionProblem::Broken => ("broken", "the connection broke"),
        ConnectionProblem::NotReading => ("not_reading", "it does not read"),
        ConnectionProblem::Restarting => ("restarting", "it is being restarted"),
        ConnectionProblem::OlderVersion => {
            ("older_version", "it runs an older version of Starling: its operator has to update it")
        }
        ConnectionProblem::NotNeeded => ("not_needed", "not needed any more"),
    }
}

/// A problem with a conversation: its name in `problem_code`, and its sentence.
pub fn chat(problem: ChatProblem) -> Problem {
    let (code, text) = match problem {
        ChatProblem::LogFull => (
            "log_full",
            "the rendezvous has no more room for what we write in this conversation: it waits here until a device of whoever made the \
                 conversation is online and makes room; they see what takes it, and free more, with `starling profile storage`",
        ),
        ChatProblem::LogRateLimited => ("log_rate_limited", "the rendezvous asks us to slow down: messages wait here"),
        ChatProblem::LogBanned => {
            ("log_banned", "the rendezvous has banned us: messages go out only while both are online")
        }
        ChatProblem::LogRefused => ("log_refused", "the rendezvous does not take messages now: they wait here"),
        ChatProblem::InboxFull => ("inbox_full", "their inbox is full: the request waits here until there is room"),
        ChatProblem::InboxRateLimited => {
            ("inbox_rate_limited", "their rendezvous asks us to slow down: the request waits here")
        }
        ChatProblem::RequestRefused => {
            ("request_refused", "their rendezvous refused the request: ask them for a new invite")
        }
        ChatProblem::Damaged => (
            "damaged",
            "the encryption state of this conversation is damaged: another is made when its members can be reached",
        ),
        ChatProblem::RemovedMember => (
            "removed_member",
            "somebody who was removed is in this group again: messages wait here until an owner or admin removes them, or invites them anew",
        ),
        ChatProblem::NeedsUpdate => (
            "needs_update",
            "this conversation is of a newer version, or has something of one: update Starling, and it goes on by itself; \
             what cannot be read yet is kept",
        ),
        ChatProblem::Outdated => ("outdated_copy", OUTDATED),
    };
    (code, text.into())
}

/// A problem with a call: its name in `trouble_code` or `problem_code`, and its sentence.
pub fn call(problem: &CallProblem) -> Problem {
    let (code, text) = match problem {
        CallProblem::Media(error) => return (media(error), error.to_string()),
        CallProblem::NoRelay => (
            "no_relay",
            "it may only go through a relay, as all calls through a proxy do, and no rendezvous of ours offers one",
        ),
        CallProblem::NoRoute => ("no_route", "no way was found between the two networks"),
        CallProblem::ConnectionLost => ("connection_lost", "the connection was lost"),
        CallProblem::DeviceRemoved => ("device_removed", "the device was removed from its account"),
        CallProblem::NotTaken => ("not_taken", "your other device did not take the call"),
        CallProblem::OldVersion => ("older_version", "the other end runs a version whose emoji cannot be compared"),
        CallProblem::NotRevealed => {
            ("not_revealed", "the other end does not show its part of the emoji: they cannot be compared")
        }
        CallProblem::Sas(SasError::WrongReveal) => {
            ("wrong_reveal", "the other end broke its commitment: somebody may sit between you")
        }
        CallProblem::Sas(SasError::OtherCertificate) => {
            ("other_certificate", "the other end shows another certificate: somebody may sit between you")
        }
    };
    (code, text.into())
}

fn media(error: &MediaError) -> &'static str {
    match error {
        MediaError::NoDevice(_) => "no_device",
        MediaError::File(_) => "file",
        MediaError::Spec(_) => "media_name",
        MediaError::Codec(_) => "codec",
        MediaError::Transport(_) => "transport",
    }
}

/// What to do about a problem with a rendezvous, by its name.
pub fn home_hint(code: &str) -> Option<&'static str> {
    Some(match code {
        "token" => "ask its operator for a token, then: starling profile rendezvous --invite-token TOKEN",
        "superseded" => {
            "use the device that took its place; `starling init --restore` with the phrase takes the account back"
        }
        "other_history" => "see who is on the list: starling device list; then starling device recover",
        "banned" => "ask its operator, or move: starling profile rendezvous ADDR",
        "full" => "ask its operator to make room, or move to another: starling profile rendezvous ADDR",
        "registration_closed" | "registration_refused" | "too_much_work" => {
            "move to another: starling profile rendezvous ADDR"
        }
        "rate_limited" => "wait a minute: it is tried again by itself",
        "unknown_devices" => "start Starling on another device of the account",
        "username" => "choose another: starling profile username NAME",
        "older_version" => {
            "ask its operator to update it, or move: starling profile rendezvous ADDR; what waits is kept"
        }
        "no_such_name" => "check the address, or ask its operator: starling profile rendezvous ADDR",
        "no_name_server" | "name_lookup" => {
            "check the name servers of this machine (/etc/resolv.conf, resolvectl status)"
        }
        "offline" => "connect this machine to a network; what was written is sent then",
        "no_route" | "foreign_network" => "check the network, or a VPN that may be in the way (ip route get ADDRESS)",
        "connection_refused" => "the machine is there, and the server does not run, or listens on another port",
        "intercepted" => {
            "open any page in a web browser, where such a network asks you to sign in; else check the address, or ask its operator"
        }
        "proxy_unreachable" => {
            "does the proxy run, and is its address right? --proxy URL, STARLING_PROXY or ALL_PROXY names it"
        }
        "proxy_credentials" => "write them into its URL: --proxy http://USER:PASSWORD@HOST:PORT",
        "proxy_refused" => {
            "is the server running, and may the proxy connect to its port? Many connect to port 443 alone"
        }
        "not_by_proxy" => "give its short address, which stands for all ways to it: starling profile rendezvous ADDR",
        "restarting" => "it is tried again by itself",
        "other_server" | "other_protocol" => "check the address, or ask its operator: starling profile rendezvous ADDR",
        "no_answer" | "unreachable" => {
            "is the server running, and does a firewall let UDP and TCP to its port through?"
        }
        _ => return None,
    })
}

/// Why a rendezvous refuses something.
pub fn refusal(reason: Refusal) -> &'static str {
    match reason {
        Refusal::Internal => "something went wrong in it",
        Refusal::Malformed => "it finds the request malformed",
        Refusal::NotFound => "it knows no such thing",
        Refusal::Denied => "a signature, a token or enough work is missing",
        Refusal::RateLimited => "too many requests, wait a little",
        Refusal::Full => "it has no more room",
        Refusal::Taken => "the name is taken",
        Refusal::Stale => "it knows something newer",
        Refusal::NotRegistered => "the account is not registered there",
        Refusal::Banned => "its operator has banned this account",
        Refusal::RegistrationClosed => "it takes no new accounts",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_proxy_is_not_blamed_on_a_firewall() {
        use ConnectionProblem::{NotByProxy, ProxyCredentials, ProxyRefused, ProxyUnreachable};
        for problem in [ProxyUnreachable, ProxyCredentials, ProxyRefused, NotByProxy] {
            let (code, _) = connection(problem);
            assert!(home_hint(code).is_some_and(|hint| !hint.contains("firewall")), "{code}");
        }
    }

    #[test]
    fn what_is_still_tried_is_said_with_the_hint_for_its_cause() {
        let said = |problem, last_resort| home(&HomeProblem::Connecting { problem, last_resort });
        assert_eq!(said(ConnectionProblem::NoAnswer, true), ("no_answer", "no answer yet; trying port 443".into()));
        assert_eq!(said(ConnectionProblem::NoAnswer, false).1, "no answer yet");
        let (code, text) = said(ConnectionProblem::Refused, true);
        assert_eq!(text, "the connection was refused; trying port 443");
        assert!(home_hint(code).is_some());
    }

    #[test]
    fn who_is_held_up_by_a_captive_portal_is_told_to_sign_in() {
        let (code, text) = home(&ConnectionProblem::Intercepted.into());
        assert!(text.contains("sign in"), "{text}");
        assert!(home_hint(code).is_some_and(|hint| hint.contains("web browser")));
    }
}
