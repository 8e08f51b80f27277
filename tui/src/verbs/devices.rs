//! `device`: several devices of one account.

use serde_json::json;
use starling_keys::{AccountKey, Protection, RecoveryPhrase, StorageKey};
use starling_node::{Origin, ProfileDir};
use zeroize::Zeroizing;

use super::{
    NewProfile, field, make_profile, node_of, parse_home,
    people::{catch_up, settle, wait_registered},
    print, say,
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
            let removed = client.call("device.remove", json!({ "device": device })).await?;
            settle(&client).await;
            let device = field(&removed, "device");
            if global.json {
                print(json!({ "device": device, "done": "removed" }))?;
            } else {
                print(format!("{} is no longer a device of this account", short(device)))?;
            }
        }
        Devices::Join { .. } => {}
    }
    client.finish().await;
    Ok(())
}

/// A device's id as it is shown.
pub fn short(device: &str) -> &str {
    device.get(..SHORT).unwrap_or(device)
}

async fn list(global: &Global, client: &Client) -> CliResult {
    let devices = client.call("device.list", json!({})).await?;
    let times = LocalTimes::new(global);
    for device in devices.as_array().into_iter().flatten() {
        if global.json {
            print(device)?;
            continue;
        }
        let state = match (device["this"] == true, field(device, "connection")) {
            (true, _) => "this device",
            (_, "direct") => "connected",
            (_, "relay") => "connected through a relay",
            _ => "not connected",
        };
        let since = times.day(field(device, "added_at"));
        print(format!("{}  since {since}  {state}", short(field(device, "device"))))?;
    }
    Ok(())
}

async fn link(global: &Global, client: &Client) -> CliResult {
    client.call("subscribe", json!({ "since": "now" })).await?;
    let opened = client.call("device.link", json!({})).await?;
    let (code, home) = (field(&opened, "code").to_owned(), field(&opened, "rendezvous"));
    if global.json {
        print(json!({ "code": code, "rendezvous": home, "expires_in_s": 600 }))?;
    } else {
        say(global, "On the new device, within ten minutes:");
        print(format!("starling device join {code} --rendezvous {home}"))?;
        say(global, "Whoever has this code becomes you: tell it to nobody.");
    }
    let mut linked = None;
    loop {
        let event = client.event().await?;
        if event["type"] == "device.linked" {
            linked = Some(field(&event, "device").to_owned());
        }
        if event["type"] == "code.ended" && event["code"] == code {
            if event["used"] != true {
                return Err(CliError::timeout("the code was not used in time, or burnt by a wrong guess")
                    .hint("run `starling device link` again"));
            }
            break;
        }
    }
    let linked = match linked {
        Some(device) => device,
        None => loop {
            let event = client.event().await?;
            if event["type"] == "device.linked" {
                break field(&event, "device").to_owned();
            }
        },
    };
    catch_up(global, client).await?;
    if global.json {
        print(json!({ "device": linked, "done": "linked" }))
    } else {
        print(format!("{} is a device of this account now", short(&linked)))
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
    let contacts = super::contacts_in_short(&client).await?;
    let count = contacts.as_array().map_or(0, Vec::len);
    client.finish().await;
    if global.json {
        return print(json!({ "account": account, "device": device, "contacts": count }));
    }
    print(format!("Profile “{}” is a device of {} now. Contacts: {count}", profile.name, link.name))?;
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
