//! Addresses of rendezvous servers as they are typed: one without a key is asked for it, and from then on known by it.

use starling_control::{methods::node, objects::Rendezvous};
use starling_keys::{RendezvousAddr, ServerPlace};
use starling_node::Introduction;

use super::{parse_home, say};
use crate::{
    cli::Global,
    error::{CliError, CliResult, problem},
    rpc::Client,
};

/// The name or IP address of a server, where that is all that was typed.
pub fn place_of(text: &str) -> Option<ServerPlace> {
    if parse_home(text).is_ok() { None } else { text.parse().ok() }
}

/// Asks whoever is at a place for its key.
pub async fn introduced(global: &Global, place: &ServerPlace) -> CliResult<Introduction> {
    let proxy = global.proxy()?;
    Box::pin(starling_node::introduce(place, proxy.as_ref())).await.map_err(|why| {
        let (code, text) = problem::connection(why);
        let message = format!("“{place}” was asked for its key, and did not give it: {text}");
        let hint = problem::home_hint(code);
        CliError { reason: Some(code.into()), ..CliError::unreachable(message) }
            .hint(hint.unwrap_or("give the whole address that starling-rendezvous prints: it ends in the key"))
    })
}

/// What there is to know of a key before it is used.
fn words_of_introduction(introduction: &Introduction) -> String {
    let Introduction { address, vouched } = introduction;
    if *vouched {
        return format!("Its certificate is good. With its key it is {address}");
    }
    format!("Nobody vouches for the key that has answered: compare it with what its operator says. {address}")
}

/// Whether a key may be used that nobody vouches for: somebody compares it, or has said not to. A script shows nobody what is to be compared.
fn may_take_unvouched(global: &Global) -> bool {
    global.accept_unvouched_key || !(global.json || global.no_input)
}

/// The address that was typed, with the server's key.
pub async fn home_of(global: &Global, text: &str) -> CliResult<RendezvousAddr> {
    let Some(place) = place_of(text) else { return parse_home(text) };
    let introduction = introduced(global, &place).await?;
    if !introduction.vouched && !may_take_unvouched(global) {
        let message =
            format!("no certificate says that the key of “{place}” is its own, and nobody is there to compare it");
        return Err(CliError::new("unvouched_key", 6, message).hint(format!(
            "compare it with what its operator says, and give the whole address: {}; or take whatever key answers with --accept-unvouched-key",
            introduction.address
        )));
    }
    say(global, words_of_introduction(&introduction));
    Ok(introduction.address)
}

/// The same where a node runs: a server that it has is known by the key that it had, and none is asked past the proxy of the node.
pub async fn home_of_node(global: &Global, client: &Client, text: &str) -> CliResult<RendezvousAddr> {
    let Some(place) = place_of(text) else { return parse_home(text) };
    let status = client.call(node::Status::default()).await?;
    let address = |home: &Rendezvous| home.address.parse::<RendezvousAddr>().ok();
    let known = status.homes().filter_map(address).find(|home| place.is_of(home));
    if let Some(known) = known {
        return Ok(known);
    }
    if status.proxy != global.proxy()?.map(|proxy| proxy.to_string()) {
        let used = status.proxy.map_or_else(|| "no proxy".to_owned(), |proxy| format!("the proxy {proxy}"));
        return Err(CliError::usage(format!(
            "“{place}” is not asked for its key: the node of this profile uses {used}"
        ))
        .hint("name the same with --proxy, or give the whole address, which ends in the key"));
    }
    home_of(global, text).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    const KEY: &str = "12D3KooWGC6tVbQ2hAqDGyy5ayYv8iVbc3DvYuHpXmWJ8i7hHFB1";

    #[test]
    fn only_an_address_without_a_key_is_asked_for_it() {
        for text in ["rendezvous.example", "starling-server:rendezvous.example:5", "“203.0.113.7”", "[2001:db8::1]"]
        {
            assert!(place_of(text).is_some(), "{text}");
        }
        for text in
            [format!("rendezvous.example/{KEY}"), "/ip4/203.0.113.7/tcp/1".into(), "nobody@host".into(), String::new()]
        {
            assert_eq!(place_of(&text), None, "{text}");
        }
    }

    #[test]
    fn a_key_that_nobody_can_compare_is_taken_only_if_the_user_has_said_so() {
        let may = |flags: &[&str]| {
            let args = [&["starling", "whoami"], flags].concat();
            may_take_unvouched(&Cli::try_parse_from(args).unwrap().global)
        };
        assert!(may(&[]), "a person sees it");
        for flags in [&["--no-input"][..], &["--json"], &["--json", "--no-input"]] {
            assert!(!may(flags), "{flags:?}");
            assert!(may(&[flags, &["--accept-unvouched-key"]].concat()), "{flags:?}");
        }
    }

    #[test]
    fn a_key_that_nobody_vouches_for_is_to_be_compared() {
        let address: RendezvousAddr = format!("rendezvous.example/{KEY}").parse().unwrap();
        for vouched in [true, false] {
            let said = words_of_introduction(&Introduction { address: address.clone(), vouched });
            assert!(said.contains(KEY) && said.contains("compare") != vouched, "{said}");
        }
    }
}
