//! What errors of the node say, and which next step they name.

use super::*;

#[test]
fn each_surface_names_the_next_step_by_its_own_commands() {
    let error = CliError::from(NodeError::from(Invalid::WhichDevice));
    assert_eq!((error.code.as_str(), error.exit), ("usage", 2));
    assert!(error.hint.is_some_and(|hint| hint.contains("`starling device list`")));
    let screen = error.reason.as_deref().and_then(screen_hint);
    assert!(screen.is_some_and(|hint| hint.contains("/devices") && !hint.contains("starling")));
    let error = CliError::from(NodeError::KeyChanged { name: "bob".into() });
    assert_eq!((error.code.as_str(), error.exit), ("key_changed", 7));
    assert!(error.message.contains("bob"));
    let error = CliError::from(NodeError::RateLimited { retry_after_ms: 1_500 });
    assert_eq!((error.exit, error.retry_after_ms), (8, Some(1_500)));
    let error = CliError::from(NodeError::NotAllowed(NotAllowed::Group(GroupRefusal::Banned)));
    let hint = error.naming("#ops", Some("@mallory")).hint;
    assert!(hint.is_some_and(|hint| hint.contains("`starling group unban '#ops' @mallory`")));
    for (retry_after_ms, wait) in [(59_000, "in 1 min"), (3_600_000, "in 61 min"), (86_000_000, "in 24 h")] {
        let error = CliError::from(NodeError::NotAllowed(NotAllowed::JoinRefused { retry_after_ms }));
        assert_eq!((error.exit, error.retry_after_ms), (6, Some(retry_after_ms)));
        assert_eq!(error.reason.as_deref(), Some("request_refused"));
        assert!(error.message.contains("was refused") && error.message.ends_with(wait), "{}", error.message);
    }
}

#[test]
fn what_is_not_there_or_not_allowed_names_what_to_do_on_each_surface() {
    let not_found = [NotFound::Chat, NotFound::Message, NotFound::Link, NotFound::Code, NotFound::Account];
    let not_found = not_found.into_iter().chain([NotFound::Request, NotFound::Group]).map(NodeError::from);
    let in_group = [GroupRefusal::Role, GroupRefusal::NotInGroup, GroupRefusal::NotAContact];
    let in_group = in_group.into_iter().map(|why| NodeError::from(NotAllowed::Group(why)));
    for error in not_found.chain(in_group) {
        let said = CliError::from(error.clone());
        assert!(said.hint.is_some(), "{error:?}");
        let screen = said.reason.as_deref().and_then(screen_hint);
        assert!(screen.is_some_and(|hint| !hint.contains("starling")), "{error:?}");
    }
}

#[test]
fn who_is_no_contact_yet_is_said_to_ask_or_to_have_been_asked() {
    let account = starling_keys::AccountKey::from_seed(&[1; 32]).id();
    let asks = |accounts| CliError::from(NodeError::from(Unfound::Asks { name: "bob".into(), accounts }));
    let error = asks(vec![account]);
    assert_eq!((error.code.as_str(), error.exit, error.reason.as_deref()), ("not_found", 5, Some("contact_asks")));
    assert_eq!(error.message.as_str(), "“bob” asks to be a contact, and is none yet");
    let accept = format!("`starling contacts accept {account}`");
    assert!(error.hint.is_some_and(|hint| hint.contains(&accept)));
    assert!(contact_asks_on_screen("bob").starts_with("“bob” asks to be a contact, and is none yet — /accept"));
    let error = asks(vec![account, account]);
    assert!(error.message.starts_with("2 people called “bob”"), "{}", error.message);
    assert!(error.hint.is_some_and(|hint| hint.contains(&format!("{accept} or {accept}"))));
    let nobody = |asked| Unfound::Name { name: "bob".into(), close: Vec::new(), asked };
    for (asked, hint) in [(true, "has not accepted yet"), (false, "`starling contacts list`")] {
        let error = CliError::from(NodeError::from(nobody(asked)));
        assert_eq!((error.exit, error.reason.as_deref()), (5, Some("name_not_found")));
        assert!(error.hint.is_some_and(|said| said.contains(hint)), "{hint}");
    }
    let error = CliError::from(NodeError::from(NotAllowed::NotAccepted { name: "bob".into() }));
    assert_eq!((error.code.as_str(), error.exit, error.reason.as_deref()), ("refused", 6, Some("not_accepted")));
    assert!(error.message.contains("bob") && error.hint.is_some_and(|hint| hint.contains("wait")));
}
