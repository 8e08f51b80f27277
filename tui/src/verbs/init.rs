//! `init`: a new profile, for a new or a restored account.

use std::io::{IsTerminal, Read};

use serde_json::json;
use starling_keys::{AccountKey, Protection, RecoveryPhrase, RendezvousAddr, StorageKey};
use starling_node::{Origin, ProfileDir};
use zeroize::Zeroizing;

use super::{print, say};
use crate::{
    cli::{Global, Init},
    error::{CliError, CliResult},
    profile::Profile,
};

/// What a profile is made of; shared with the onboarding screen and `try`.
pub struct NewProfile {
    pub name: String,
    pub account: AccountKey,
    pub origin: Origin,
    pub homes: Vec<RendezvousAddr>,
    pub protection: Protection,
    pub registration_token: String,
    pub username: String,
    pub bot: bool,
}

/// Makes a profile's files. Gives account and device.
pub fn make_profile(profile: &Profile, new: NewProfile) -> CliResult<(String, String)> {
    if new.name.is_empty() || new.name.len() > 64 {
        return Err(CliError::usage("a name has 1 to 64 bytes"));
    }
    let dir = match ProfileDir::lock(&profile.dir) {
        Ok(dir) => Some(dir),
        // Its node runs: it exists.
        Err(starling_node::StoreError::InUse) => None,
        Err(error) => return Err(error.into()),
    };
    let Some(dir) = dir.filter(|_| !profile.exists()) else {
        return Err(CliError::usage(format!("the profile “{}” exists already", profile.name))
            .hint("choose another with --profile NAME"));
    };
    let key = StorageKey::generate();
    // The key first: a database without its key would be lost, a key without its database is nothing.
    profile.write_key(&key, new.protection)?;
    let (account, device) = starling_node::create_profile(
        dir,
        &key,
        &starling_node::NewProfile {
            account: new.account,
            origin: new.origin,
            name: new.name,
            bot: new.bot,
            homes: new.homes,
            registration_token: new.registration_token,
            username: new.username,
        },
    )?;
    Ok((account.to_string(), device.to_string()))
}

pub fn parse_home(text: &str) -> CliResult<RendezvousAddr> {
    text.parse().map_err(|e: starling_keys::EndpointError| {
        CliError::usage(format!("“{}”: {e}", text.escape_debug()))
            .hint("copy the whole address that starling-rendezvous prints")
    })
}

pub async fn init(global: &Global, args: Init) -> CliResult {
    let profile = Profile::new(global)?;
    let Some(name) = args.name else {
        return Err(CliError::usage("--name NAME is missing: the name that others see"));
    };
    let username = args.username.unwrap_or_default().to_lowercase();
    if !username.is_empty() && !starling_node::is_username(&username) {
        return Err(CliError::usage(format!("“{}” is no user name", username.escape_debug()))
            .hint("2 to 32 of a-z 0-9 . _ -, a letter or digit first"));
    }
    let homes = args.rendezvous.iter().map(|h| parse_home(h)).collect::<CliResult<Vec<_>>>()?;
    let phrase = if args.restore {
        if std::io::stdin().is_terminal() {
            say(global, "Type the 24 words of the recovery phrase, then Enter and Ctrl-D:");
        }
        let mut text = Zeroizing::new(String::new());
        std::io::stdin().take(4096).read_to_string(&mut text)?;
        RecoveryPhrase::parse(&text).map_err(|e| {
            CliError::usage(format!("the recovery phrase is wrong: {e}"))
                .hint("check it word by word; nothing was made")
        })?
    } else {
        RecoveryPhrase::generate()
    };
    if args.restore && homes.is_empty() {
        return Err(CliError::usage("restoring needs the account's rendezvous")
            .hint("give it with --rendezvous ADDR: contacts and devices are found there"));
    }
    let protection = if args.keyring {
        Protection::Keyring
    } else if global.passphrase_file.is_some() {
        Protection::Passphrase
    } else {
        Protection::Plain
    };
    let new = NewProfile {
        name,
        account: phrase.account_key(),
        origin: if args.restore { Origin::Restored } else { Origin::New },
        homes,
        protection,
        registration_token: args.invite_token.unwrap_or_default(),
        username,
        bot: args.bot,
    };
    let homeless = new.homes.is_empty();
    let (account, device) = make_profile(&profile, new)?;
    let words = phrase.words();
    if global.json {
        let phrase = (!args.restore).then(|| words.to_string());
        print(json!({ "account": account, "device": device, "recovery_phrase": phrase }))?;
    } else {
        print(format!("Profile “{}” is ready. Account {account}", profile.name))?;
        if !args.restore {
            print(
                "\nRecovery phrase, shown only now. Write it down: who has it is you, and without it a lost device is a lost account.\n",
            )?;
            for (i, line) in words.split(' ').collect::<Vec<_>>().chunks(6).enumerate() {
                let line: Vec<String> =
                    line.iter().enumerate().map(|(j, w)| format!("{:>2} {w:<10}", i * 6 + j + 1)).collect();
                print(format!("  {}", line.join(" ").trim_end()))?;
            }
            print("")?;
        }
        if homeless {
            say(
                global,
                "No rendezvous was given: this profile can meet nobody yet. `starling profile rendezvous ADDR` gives it one.",
            );
        } else {
            say(global, "Next: `starling invite --qr` for your first contact, or `starling` for the screen.");
        }
    }
    Ok(())
}
