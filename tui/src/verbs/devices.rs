//! `device`: several devices of one account.

use std::{
    io::{BufRead, IsTerminal},
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use starling_control::{
    event::EventKind,
    lines::{DeviceDone, Entered, Joined, OpenedCode},
    methods::{
        devices::{AnswerLink, Link, List, Recover, Recovery, Remove, SetRights, ToRecover},
        node::{Status, Subscribe},
    },
    objects::{DeviceId, Path, Rights},
};
use starling_keys::{
    DeviceChain, Protection,
    chain::{ChainError, Joining},
};
use starling_node::Origin;
use starling_text::SafeText;

use super::{
    Joining as JoiningProfile, NewProfile, history, home_of, node_of,
    people::{CODE_SECONDS, catch_up, settle, wait_registered},
    print, print_object, say,
};
use crate::{
    cli::{Devices, Global, HistoryArg},
    error::{CliError, CliResult},
    local_time::LocalTimes,
    output::ask,
    profile::Profile,
    rpc::{Client, now_ms},
};

/// How long a device that was let in may take to begin.
const BEGINS: Duration = Duration::from_secs(60);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(50);
/// How often it is shown how many conversations a new device can use.
const SHOWN_EVERY: Duration = Duration::from_millis(250);
/// If none has followed the others for so long, they are not waited for.
const FOLLOWS: Duration = Duration::from_secs(15);
/// Characters of a device's id that are shown: enough to tell sixteen apart.
const SHORT: usize = 8;

pub async fn devices(global: &Global, command: Devices) -> CliResult {
    if let Devices::Join { code, rendezvous, keyring } = command {
        return join(global, code.zip(rendezvous), keyring).await;
    }
    let (_, client) = node_of(global).await?;
    // A node that was started a moment ago is not online yet, and all but the list need our home.
    if client.is_own() || !matches!(command, Devices::List) {
        wait_registered(global, &client).await?;
    }
    match command {
        Devices::List => list(global, &client).await?,
        Devices::Link { rights, yes, history } => {
            let code = CodeFor { rights: rights.into(), yes, history: history.map(|what| what == HistoryArg::All) };
            link(global, &client, code).await?;
        }
        Devices::History { command } => history::history(global, &client, command).await?,
        Devices::Rights { device, rights } => {
            let device = client.call(SetRights { device: device.into(), rights: rights.into() }).await?.device;
            settle(&client).await;
            if global.json {
                print_object(&DeviceDone { device, done: "changed".into() })?;
            } else {
                print(format!("{} is {} now", short(&device), rights_name(rights.into())))?;
            }
        }
        Devices::Recover => recover(global, &client).await?,
        Devices::Remove { device } => {
            let device = client.call(Remove { device: device.into() }).await?.device;
            settle(&client).await;
            if global.json {
                print_object(&DeviceDone { device, done: "removed".into() })?;
            } else {
                print(format!("{} is no longer a device of this account", short(&device)))?;
            }
        }
        Devices::Join { .. } => {}
    }
    client.finish().await;
    Ok(())
}

/// A device's id as it is shown.
pub fn short(device: &DeviceId) -> &str {
    device.as_str().get(..SHORT).unwrap_or(device.as_str())
}

async fn list(global: &Global, client: &Client) -> CliResult {
    if client.call(Status::default()).await?.removed {
        say(global, "warning: this device is no longer one of its account; these are the devices that it knew");
    }
    let times = LocalTimes::new(global);
    for device in client.call(List {}).await? {
        if global.json {
            print_object(&device)?;
            continue;
        }
        let state = match device.connection {
            _ if device.this => "this device",
            Some(Path::Direct) => "connected",
            Some(Path::Relay) => "connected through a relay",
            Some(Path::None) | None => "not connected",
        };
        let heard = device.heard_at.as_ref().filter(|_| !device.this && device.connection.is_none());
        let heard = heard.map(|at| format!(", heard of at {}", times.minute(at))).unwrap_or_default();
        let since = times.day(&device.added_at);
        let rights = match device.rights {
            Rights::Admin => "admin",
            Rights::Member => "member",
            Rights::Bot => "bot",
        };
        let by = device.linked_by.as_ref().map(|by| format!("  linked by {}", short(by))).unwrap_or_default();
        let name = SafeText::line(&[device.name.as_str(), device.system.as_str()].join(" "));
        let entering = match device.ready < device.conversations {
            true => format!(", in {} of {} conversations", device.ready, device.conversations),
            false => String::new(),
        };
        let (id, name) = (short(&device.device), name.trim());
        print(format!("{id}  {name:<20}  since {since}  {rights}{by}  {state}{heard}{entering}"))?;
    }
    Ok(())
}

/// What a device may do, in a word.
fn rights_name(rights: Rights) -> &'static str {
    match rights {
        Rights::Admin => "an admin",
        Rights::Member => "a member",
        Rights::Bot => "a bot",
    }
}

/// What a code is made for.
struct CodeFor {
    rights: Rights,
    /// Nobody is asked.
    yes: bool,
    /// Whether the device may copy the history; `None` if that is to be asked.
    history: Option<bool>,
}

async fn link(global: &Global, client: &Client, CodeFor { rights, yes, history }: CodeFor) -> CliResult {
    client.call(Subscribe::since("now")).await?;
    let opened = client.call(Link { while_connected: Some(true) }).await?;
    if global.json {
        print_object(&OpenedCode {
            code: opened.code.clone(),
            rendezvous: opened.rendezvous.clone(),
            expires_in_s: CODE_SECONDS,
        })?;
    } else {
        say(global, "On the new device, within ten minutes:");
        let home = opened.rendezvous.as_deref().unwrap_or_default();
        print(format!("starling device join {} --rendezvous {home}", opened.code))?;
        say(global, "Whoever has this code can ask to become you: tell it to nobody.");
    }
    let (device, history) = loop {
        match client.event().await?.kind {
            EventKind::DeviceAsks { code, device, name, system, same_network } if code == opened.code => {
                let asks = Asking { device: &device, name: &name, system: &system, same_network };
                let answer = if yes { Ok(true) } else { asks.may_join(global) };
                if !matches!(answer, Ok(true)) {
                    client.call(AnswerLink { device, rights: None, history: None }).await?;
                    return Err(answer
                        .err()
                        .unwrap_or_else(|| CliError::new("declined", 1, "the device was not let in")));
                }
                let history = match history {
                    Some(history) => history,
                    None => !yes && said_yes("Copy all messages of this device to it, too? [y/N]")?,
                };
                let answer = AnswerLink { device: device.clone(), rights: Some(rights), history: Some(history) };
                client.call(answer).await?;
                break (device, history);
            }
            EventKind::CodeEnded { code, used: false } if code == opened.code => {
                return Err(CliError::timeout("the code was not used in time, or burnt by a wrong guess")
                    .hint("run `starling device link` again"));
            }
            EventKind::CodeEnded { code, used: true } if code == opened.code => {
                return Err(CliError::new("answered", 1, "the device was let in or declined from somewhere else")
                    .hint("see `starling device list`"));
            }
            _ => {}
        }
    };
    say(global, "It is on the list of devices. Waiting until it has begun …");
    until_heard(client, &device).await?;
    if global.json {
        print_object(&DeviceDone { device: device.clone(), done: "linked".into() })?;
    } else {
        print(format!("{} is a device of this account now", short(&device)))?;
    }
    let served = async { if history { history::serve(global, client, &device).await } else { Ok(()) } };
    tokio::try_join!(show_entering(global, client, &device), served)?;
    catch_up(global, client).await?;
    settle(client).await;
    Ok(())
}

/// How many of the conversations with contacts a device can use, and how many there are.
async fn usable(client: &Client, device: &DeviceId) -> CliResult<(usize, usize)> {
    let devices = client.call(List {}).await?;
    Ok(devices.iter().find(|other| other.device == *device).map_or((0, 0), |found| (found.ready, found.conversations)))
}

/// Waits until a new device has read which contacts its account has, or knows that there is nothing to read or nobody to ask.
async fn until_known(client: &Client, device: &DeviceId) -> CliResult<(usize, usize)> {
    let deadline = Instant::now() + BEGINS;
    loop {
        let (usable, status) = (usable(client, device).await?, client.call(Status::default()).await?);
        let asks = status.homes().any(|home| home.connected);
        if usable.1 > 0 || status.synced || !asks || Instant::now() > deadline {
            return Ok(usable);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Shows how many conversations a new device can use, until it can use all of them, or others do not follow.
async fn show_entering(global: &Global, client: &Client, device: &DeviceId) -> CliResult {
    let (mut shown, mut moved) = ((0, 0), Instant::now());
    loop {
        let now @ (ready, conversations) = usable(client, device).await?;
        if now != shown {
            (shown, moved) = (now, Instant::now());
            if global.json {
                print_object(&Entered { device: device.clone(), ready, conversations })?;
            } else {
                say(global, format!("{ready} of {conversations} conversations can be used there."));
            }
        }
        if ready >= conversations {
            return Ok(());
        }
        if moved.elapsed() > FOLLOWS {
            say(global, "The other conversations follow as soon as their contacts or rendezvous can be reached.");
            return Ok(());
        }
        tokio::time::sleep(SHOWN_EVERY).await;
    }
}

/// Waits until a device that was let in shows that it runs with its profile: before, its program may have ended without one.
async fn until_heard(client: &Client, device: &DeviceId) -> CliResult {
    let deadline = Instant::now() + BEGINS;
    loop {
        let devices = client.call(List {}).await?;
        if devices
            .iter()
            .any(|other| other.device == *device && (other.heard_at.is_some() || other.connection.is_some()))
        {
            return Ok(());
        }
        if Instant::now() > deadline {
            let shown = short(device);
            return Err(CliError::timeout(format!("{shown} is on the list of devices, but was not heard of")).hint(format!(
                "finish it on the new device with `starling device join`, or take it off the list: starling device remove {shown}"
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Makes this the only device of the account. The phrase stays in this process: the node gets what it has signed.
async fn recover(global: &Global, client: &Client) -> CliResult {
    say(
        global,
        "All other devices are removed from the account, for good, and contacts are told to compare safety numbers.",
    );
    let phrase = super::init::read_phrase(global)?;
    let ToRecover { chain, device, seal_key, proof } = client.call(Recovery {}).await?;
    let decode = |text: &str| BASE64.decode(text.as_bytes()).map_err(CliError::internal);
    let joining = Joining {
        device: device.as_str().parse().map_err(CliError::internal)?,
        seal_key: decode(&seal_key)?,
        proof: decode(&proof)?.try_into().map_err(|_| CliError::internal("a proof of another length"))?,
    };
    let chain = DeviceChain::from_bytes(&decode(&chain)?).map_err(CliError::internal)?;
    let signed = starling_node::Recovery { chain, joining }.sign(&phrase.account_key(), now_ms() / 1000);
    drop(phrase);
    let signed = signed.map_err(|error| match error {
        ChainError::Account => {
            CliError::usage("this is the recovery phrase of another account").hint("nothing was changed")
        }
        ChainError::KnownDevice => {
            CliError::new("not_recovered", 1, "this device was removed, and its key never comes back")
                .hint("take the account back in a new profile: starling --profile NEW init --restore --rendezvous ADDR")
        }
        error => CliError::new("not_recovered", 1, error.to_string()),
    })?;
    let device = client.call(Recover { chain: BASE64.encode(signed.as_bytes()) }).await?.device;
    settle(client).await;
    if global.json {
        print_object(&DeviceDone { device, done: "recovered".into() })
    } else {
        print(format!("{} is the only device of this account now", short(&device)))
    }
}

/// A device that asks to join.
struct Asking<'a> {
    device: &'a DeviceId,
    name: &'a str,
    system: &'a str,
    same_network: bool,
}

/// Where a device is that asks to join, in words. All that is known is what the rendezvous says.
pub fn place_in_words(same_network: bool) -> &'static str {
    if same_network {
        "from the same network, as your rendezvous says"
    } else {
        "through the server, from another network"
    }
}

impl Asking<'_> {
    /// Shows what asks, and asks the user.
    fn may_join(&self, global: &Global) -> CliResult<bool> {
        if global.no_input || !std::io::stdin().is_terminal() {
            return Err(CliError::usage("a device asks to join, and nobody is there to say yes").hint("add --yes"));
        }
        let place = place_in_words(self.same_network);
        say(global, format!("A device asks, {place}: “{}” ({})", self.name, self.system));
        say(global, format!("It shows that it is {}.", short(self.device)));
        said_yes("Is it yours? Let it into your account? [y/N]")
    }
}

/// Asks somebody who is there.
fn said_yes(question: &str) -> CliResult<bool> {
    ask(question);
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().eq_ignore_ascii_case("y"))
}

/// Makes this device one of an account that another device has.
/// Without a code and the rendezvous that is shown with it, it goes on where it was interrupted.
async fn join(global: &Global, shown: Option<(String, String)>, keyring: bool) -> CliResult {
    let profile = Profile::new(global)?;
    if profile.exists() {
        return Err(CliError::usage(format!("the profile “{}” exists already", profile.name))
            .hint("choose another with --profile NAME"));
    }
    let shown = match &shown {
        Some((code, rendezvous)) => Some((code.as_str(), home_of(global, rendezvous).await?)),
        None if profile.is_joining() => None,
        None => {
            return Err(CliError::usage("no code was given").hint(
                "make one on the other device with `starling device link`, and give it with the rendezvous that is shown",
            ));
        }
    };
    let protection = match (keyring, &global.passphrase_file) {
        (true, _) => Protection::Keyring,
        (_, Some(_)) => Protection::Passphrase,
        _ => Protection::Plain,
    };
    let asked = |device: &str| say(global, format!("Say yes on the other device. This one is {device}."));
    let (joining, link, device) = JoiningProfile::ask(global, &profile, protection, shown, asked).await?;
    let (homes, history) = (link.chain.homes.clone(), link.history);
    let new = NewProfile {
        // Older versions took names in which nothing can be seen.
        name: if link.name.is_empty() { profile.name.clone() } else { link.name.clone() },
        homes,
        protection,
        registration_token: String::new(),
        username: link.username.clone(),
        bot: link.bot,
        origin: Origin::Linked(Box::new(link), device),
    };
    let name = new.name.clone();
    let (account, device) = joining.finish(new)?;
    // The first run tells the other devices, and makes the conversations.
    let (_, client) = node_of(global).await?;
    client.call(Subscribe::since("now")).await?;
    wait_registered(global, &client).await?;
    let (ready, conversations) = until_known(&client, &device).await?;
    let contacts = super::contacts_in_short(&client).await?.len();
    if global.json {
        print_object(&Joined { account, device: device.clone(), contacts, ready, conversations })?;
    } else {
        print(format!("Profile “{}” is a device of {} now. Contacts: {contacts}", profile.name, name))?;
    }
    let with_history = history.is_some_and(|permission| permission > 0);
    if history == Some(0) {
        say(global, "What was said before stays on the other devices; from now on you have it here, too.");
    }
    let followed = async { if with_history { history::follow(global, &client).await } else { Ok(()) } };
    tokio::try_join!(show_entering(global, &client, &device), followed)?;
    catch_up(global, &client).await?;
    settle(&client).await;
    client.finish().await;
    Ok(())
}
