//! `device`: several devices of one account.

use starling_control::{
    event::EventKind,
    lines::{DeviceDone, Joined, OpenedCode},
    methods::{
        devices::{Link, List, Remove},
        node::Subscribe,
    },
    objects::{DeviceId, Path},
};
use starling_keys::{AccountKey, Protection, RecoveryPhrase, StorageKey};
use starling_node::{Origin, ProfileDir};
use zeroize::Zeroizing;

use super::{
    NewProfile, make_profile, node_of, parse_home,
    people::{CODE_SECONDS, catch_up, settle, wait_registered},
    print, print_object, say,
};
use crate::{
    cli::{Devices, Global},
    error::{CliError, CliResult},
    local_time::LocalTimes,
    profile::Profile,
    rpc::{Client, open_node},
};

/// Characters of a device's id that are shown: enough to tell sixteen apart.
const SHORT: usize = 8;

pub async fn devices(global: &Global, command: Devices) -> CliResult {
    if let Devices::Join { code, rendezvous, keyring } = command {
        return join(global, &code, &rendezvous, keyring).await;
    }
    let (_, client) = node_of(global).await?;
    if client.is_own() {
        wait_registered(global, &client).await?;
    }
    match command {
        Devices::List => list(global, &client).await?,
        Devices::Link => link(global, &client).await?,
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
        let since = times.day(&device.added_at);
        print(format!("{}  since {since}  {state}", short(&device.device)))?;
    }
    Ok(())
}

async fn link(global: &Global, client: &Client) -> CliResult {
    client.call(Subscribe::since("now")).await?;
    let opened = client.call(Link {}).await?;
    if global.json {
        print_object(&OpenedCode {
            code: opened.code.clone(),
            rendezvous: opened.rendezvous,
            expires_in_s: CODE_SECONDS,
        })?;
    } else {
        say(global, "On the new device, within ten minutes:");
        print(format!("starling device join {} --rendezvous {}", opened.code, opened.rendezvous.unwrap_or_default()))?;
        say(global, "Whoever has this code becomes you: tell it to nobody.");
    }
    let (mut linked, mut used) = (None, false);
    let device = loop {
        if let Some(device) = linked.take_if(|_| used) {
            break device;
        }
        match client.event().await?.kind {
            EventKind::DeviceLinked { device } => linked = Some(device),
            EventKind::CodeEnded { code, used: true } if code == opened.code => used = true,
            EventKind::CodeEnded { code, used: false } if code == opened.code => {
                return Err(CliError::timeout("the code was not used in time, or burnt by a wrong guess")
                    .hint("run `starling device link` again"));
            }
            _ => {}
        }
    };
    catch_up(global, client).await?;
    if global.json {
        print_object(&DeviceDone { device, done: "linked".into() })
    } else {
        print(format!("{} is a device of this account now", short(&device)))
    }
}

/// Makes this device one of an account that another device has.
async fn join(global: &Global, code: &str, rendezvous: &str, keyring: bool) -> CliResult {
    let profile = Profile::new(global)?;
    if profile.exists() {
        return Err(CliError::usage(format!("the profile “{}” exists already", profile.name))
            .hint("choose another with --profile NAME"));
    }
    let home = parse_home(rendezvous)?;
    let link = ask_for_account(global, code, home).await?;
    let seed: Zeroizing<[u8; 32]> = link
        .account_seed
        .as_slice()
        .try_into()
        .map(Zeroizing::new)
        .map_err(|_| CliError::new("refused", 5, "the other device told no account"))?;
    let homes = link.homes.iter().map(|h| parse_home(h)).collect::<CliResult<Vec<_>>>()?;
    let protection = match (keyring, &global.passphrase_file) {
        (true, _) => Protection::Keyring,
        (_, Some(_)) => Protection::Passphrase,
        _ => Protection::Plain,
    };
    let new = NewProfile {
        // Older versions took names in which nothing can be seen.
        name: if link.name.is_empty() { profile.name.clone() } else { link.name.clone() },
        account: AccountKey::from_seed(&seed),
        origin: Origin::Linked(link.list_version),
        homes,
        protection,
        registration_token: String::new(),
        username: link.username.clone(),
        bot: link.bot,
    };
    let (account, device) = make_profile(&profile, new)?;
    // The first run tells the other devices, and makes the conversations.
    let (_, client) = node_of(global).await?;
    wait_registered(global, &client).await?;
    catch_up(global, &client).await?;
    settle(&client).await;
    let contacts = super::contacts_in_short(&client).await?.len();
    client.finish().await;
    if global.json {
        return print_object(&Joined { account, device, contacts });
    }
    print(format!("Profile “{}” is a device of {} now. Contacts: {contacts}", profile.name, link.name))?;
    say(global, "What was said before stays on the other devices; from now on you have it here, too.");
    Ok(())
}

/// A profile without an account of its own asks for one: it leaves nothing behind.
async fn ask_for_account(
    global: &Global,
    code: &str,
    home: starling_keys::RendezvousAddr,
) -> CliResult<starling_node::DeviceLink> {
    let dir = tempfile::Builder::new().prefix("starling-join-").tempdir()?;
    let key = StorageKey::generate();
    let nobody = starling_node::NewProfile {
        account: RecoveryPhrase::generate().account_key(),
        origin: Origin::New,
        name: "nobody".into(),
        bot: false,
        homes: Vec::new(),
        registration_token: String::new(),
        username: String::new(),
    };
    starling_node::create_profile(ProfileDir::lock(dir.path())?, &key, &nobody)?;
    let profile = Profile::new(global)?.at(dir.path());
    let node = open_node(&profile, &Global { no_mdns: true, ..global.clone() }, &key).await?;
    let link = node.join_account(code.to_owned(), home).await;
    node.stop().await;
    Ok(link?)
}
