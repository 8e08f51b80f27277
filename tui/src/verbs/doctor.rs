//! `doctor`: what works and what does not, each failure with a remedy.

use starling_control::{
    lines,
    methods::{chats, node},
    objects::{Reachability, Rendezvous, Status},
};
use starling_node::media::audio::device;

use super::{
    people::{hint_for, wait_registered},
    print, print_object, words_of_transport,
};
use crate::{
    cli::Global,
    error::{CliError, CliResult},
    profile::{Profile, config_dir},
    rpc,
    screen::GraphicsProtocol,
    terminal::safe_line,
};

struct Check {
    name: &'static str,
    ok: Option<bool>,
    found: String,
    remedy: String,
}

fn check(name: &'static str, ok: Option<bool>, found: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check { name, ok, found: found.into(), remedy: remedy.into() }
}

pub async fn doctor(global: &Global) -> CliResult {
    let profile = Profile::new(global)?;
    let (mut checks, mut silent) = (Vec::new(), None);
    terminal_checks(&mut checks);
    checks.push(sound_check().await);
    if profile.exists() {
        silent = profile_checks(&profile, global, &mut checks).await?;
    } else {
        checks.push(check(
            "profile",
            Some(false),
            "none yet",
            "make one with `starling init --name NAME --rendezvous ADDR`",
        ));
    }
    let failed = checks.iter().filter(|c| c.ok == Some(false)).count();
    for check in &checks {
        report(global, check)?;
    }
    if let Some(error) = silent {
        return Err(error);
    }
    if failed > 0 {
        return Err(CliError::new("unhealthy", 1, format!("{failed} check(s) failed")));
    }
    Ok(())
}

/// What the profile's node finds; why it tells nothing, if there is none to ask because another process has the profile.
async fn profile_checks(profile: &Profile, global: &Global, checks: &mut Vec<Check>) -> CliResult<Option<CliError>> {
    let client = match rpc::acquire(profile, global).await {
        Ok(client) => client,
        Err(error) => {
            let (found, remedy) = (error.message.clone(), error.hint.clone().unwrap_or_default());
            checks.push(check("profile", Some(false), found, remedy));
            // Nothing more can be found out.
            return Ok(Some(error).filter(|error| error.exit == 9));
        }
    };
    checks.push(check("profile", Some(true), profile.dir.display().to_string(), ""));
    wait_registered(&Global { quiet: true, ..global.clone() }, &client).await?;
    // AutoNAT and address discovery take a moment after the start of a node.
    if client.is_own() {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    }
    let status = client.call(node::Status { check: Some(true) }).await?;
    node_checks(&status, checks);
    for chat in client.call(chats::List {}).await? {
        if let Some(problem) = chat.problem {
            let found = format!("{}: {problem}", safe_line(&chat.name));
            checks.push(check("conversation", None, found, "it clears itself when there is room or a connection"));
        }
    }
    client.finish().await;
    Ok(None)
}

fn report(global: &Global, check: &Check) -> CliResult {
    if global.json {
        let (found, remedy) = (check.found.clone(), check.remedy.clone());
        return print_object(&lines::Check { check: check.name.to_owned(), ok: check.ok, found, remedy });
    }
    let mark = match check.ok {
        Some(true) => "ok  ",
        Some(false) => "FAIL",
        None => "note",
    };
    print(format!("{mark}  {:<18} {}", check.name, check.found))?;
    if !check.remedy.is_empty() && check.ok != Some(true) {
        print(format!("      {:<18} → {}", "", check.remedy))?;
    }
    Ok(())
}

/// Whether there is something to call with; `starling call test` tries it.
async fn sound_check() -> Check {
    let devices = tokio::task::spawn_blocking(device::devices).await.unwrap_or_default();
    let count = |input: bool| devices.iter().filter(|d| if input { d.input } else { d.output }).count();
    let (microphones, loudspeakers) = (count(true), count(false));
    let found = match (microphones, loudspeakers) {
        (0, 0) => "no sound devices; start the sound server, or plug one in".to_owned(),
        _ => format!("{microphones} to speak into, {loudspeakers} to hear by; starling call test tries them"),
    };
    check("sound", None, found, "")
}

fn terminal_checks(checks: &mut Vec<Check>) {
    let term = std::env::var("TERM").unwrap_or_default();
    let true_color = std::env::var("COLORTERM").is_ok_and(|c| c == "truecolor" || c == "24bit");
    let dumb = term.is_empty() || term == "dumb";
    checks.push(check(
        "terminal",
        Some(!dumb),
        if term.is_empty() { "TERM is not set".into() } else { term },
        "set TERM, or use `starling chat --plain WHO`",
    ));
    checks.push(check("colours", None, if true_color { "24 bit" } else { "256 or 16" }, ""));
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|v| std::env::var(v).ok().filter(|v| !v.is_empty()))
        .unwrap_or_default();
    let utf8 = locale.to_lowercase().replace('-', "").contains("utf8");
    checks.push(check(
        "locale",
        Some(utf8),
        if locale.is_empty() { "not set".into() } else { locale },
        "set LANG to a UTF-8 locale such as C.UTF-8",
    ));
    checks.push(check("graphics", None, GraphicsProtocol::of_terminal().as_str(), ""));
    if let Some(dir) = config_dir() {
        checks.push(check("configuration", None, dir.display().to_string(), ""));
    }
}

fn home_checks(home: &Rendezvous, checks: &mut Vec<Check>) {
    let found = if home.registered {
        let problem = home.problem.as_deref().map(|p| format!("; {p}")).unwrap_or_default();
        let over = words_of_transport(home).map(|over| format!("; {over}")).unwrap_or_default();
        format!("registered at {}{problem}{over}", home.address)
    } else {
        format!("{}: {}", home.address, home.problem.as_deref().unwrap_or("not connected"))
    };
    checks.push(check(
        "rendezvous",
        Some(home.registered),
        found,
        hint_for(home).unwrap_or("is the server running, and does a firewall let UDP and TCP to its port through?"),
    ));
    if home.connected {
        let offset = home.clock_offset_ms;
        let ok = offset.abs() < 5 * 60_000;
        let found =
            format!("{} s {} the rendezvous", offset.abs() / 1000, if offset > 0 { "behind" } else { "ahead of" });
        checks.push(check(
            "clock",
            Some(ok),
            found,
            "set the system clock (timedatectl set-ntp true): messages are ordered by it",
        ));
    }
}

/// Where this device is listened for. Without a network there is no address that would be worth telling, whatever it listens on.
fn ports_check(status: &Status) -> Check {
    let is_offline = status.homes().any(|home| home.problem_code.as_deref() == Some("offline"));
    let (found, remedy) = match status.addresses.as_slice() {
        [] if is_offline => ("no address: there is no network".to_owned(), "connect this machine to one"),
        [] => ("not listening".to_owned(), "another program may hold the port; give another with --listen-addr"),
        ports => (ports.join("  "), ""),
    };
    check("ports", Some(!status.addresses.is_empty()), found, remedy)
}

fn node_checks(status: &Status, checks: &mut Vec<Check>) {
    if status.homes().next().is_none() {
        checks.push(check(
            "rendezvous",
            Some(false),
            "none",
            "give the profile one: `starling profile rendezvous ADDR`",
        ));
    }
    status.homes().for_each(|home| home_checks(home, checks));
    if status.queued > 0 {
        checks.push(check(
            "outbox",
            None,
            format!("{} batches wait", status.queued),
            "they go out when their receivers or the rendezvous can be reached",
        ));
    }
    if let Some(proxy) = &status.proxy {
        let found = format!("{proxy}; nothing is listened on, and contacts and calls go through the relay");
        checks.push(check("proxy", None, found, "`--proxy none` connects directly"));
        return;
    }
    checks.push(ports_check(status));
    let public = status.reachability == Reachability::Public;
    let nat = if public {
        "reachable from outside"
    } else {
        "not confirmed from outside: contacts connect by hole punching or through the relay"
    };
    checks.push(check("NAT", None, nat, "forward a UDP port to this machine for direct connections with everybody"));
    checks.push(check(
        "relay",
        Some(status.homes().any(|home| home.connected)),
        status.reachability.as_str(),
        "without a rendezvous only contacts on the same network can be reached",
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'a>(checks: &'a [Check], name: &str) -> Option<(Option<bool>, &'a str)> {
        checks.iter().find(|check| check.name == name).map(|check| (check.ok, check.found.as_str()))
    }

    fn checks_of(status: &Status) -> Vec<Check> {
        let mut checks = Vec::new();
        node_checks(status, &mut checks);
        checks
    }

    #[test]
    fn that_a_contacts_server_is_visited_is_no_relay_of_ours() {
        let server = |own, connected| Rendezvous { own, connected, ..Rendezvous::default() };
        for (of_home, expected) in [(false, Some(false)), (true, Some(true))] {
            let rendezvous = vec![server(true, of_home), server(false, true)];
            let checks = checks_of(&Status { rendezvous, ..Status::default() });
            assert_eq!(found(&checks, "relay").map(|(ok, _)| ok), Some(expected));
        }
    }

    #[test]
    fn without_a_network_no_other_program_is_said_to_hold_the_port() {
        for (problem, expected) in [("offline", "connect"), ("no_answer", "another program")] {
            let home = Rendezvous { own: true, problem_code: Some(problem.into()), ..Rendezvous::default() };
            let checks = checks_of(&Status { rendezvous: vec![home], ..Status::default() });
            let ports = checks.iter().find(|check| check.name == "ports");
            assert!(
                ports.is_some_and(|check| check.ok == Some(false) && check.remedy.starts_with(expected)),
                "{problem}"
            );
        }
    }

    #[test]
    fn what_waits_is_told_through_a_proxy_too() {
        for proxy in [None, Some("socks5h://127.0.0.1:9050".to_owned())] {
            let checks = checks_of(&Status { proxy, queued: 3, ..Status::default() });
            assert_eq!(found(&checks, "outbox"), Some((None, "3 batches wait")));
        }
    }
}
