//! `init`: a new profile, for a new or a restored account.

use std::{
    fmt::Write as _,
    fs::File,
    io::{BufRead, IsTerminal, Read},
    os::fd::AsFd,
};

use serde::Deserialize;
use starling_control::{
    lines,
    objects::{AccountId, DeviceId},
};
use starling_keys::{Protection, RecoveryPhrase, RendezvousAddr, StorageKey};
use starling_node::{Origin, ProfileDir};
use starling_text::SafeText;
use zeroize::{Zeroize, Zeroizing};

use super::{
    home_of, node_of,
    people::{catch_up, ensure_registered, settle},
    print, print_object, say,
};
use crate::{
    cli::{Global, Init},
    error::{CliError, CliResult},
    output::{self, ask},
    profile::Profile,
};

/// As much is read of what is given to `--restore`: a phrase with its layout, in bytes.
const MAX_PHRASE_INPUT: u64 = 16 * 1024;

/// Words of a recovery phrase.
const PHRASE_WORDS: usize = 24;
/// Room for a phrase as it is printed, in bytes: a text that grows leaves a copy behind.
const PRINTED_PHRASE: usize = 1024;

/// What is said after a profile was made with a rendezvous …
const NEXT: &str = "Next: `starling invite --qr` for your first contact, or `starling` for the screen.";
/// … and without one.
const HOMELESS: &str =
    "No rendezvous was given: this profile can meet nobody yet. `starling profile rendezvous ADDR` gives it one.";

/// What a profile is made of; shared with the onboarding screen and `try`.
pub struct NewProfile {
    pub name: String,
    pub origin: Origin,
    pub homes: Vec<RendezvousAddr>,
    pub protection: Protection,
    pub registration_token: String,
    pub username: String,
    pub bot: bool,
}

/// Makes a profile's files. Gives account and device.
pub fn make_profile(profile: &Profile, new: NewProfile) -> CliResult<(AccountId, DeviceId)> {
    let name = starling_text::display_name(&new.name).map_err(|e| CliError::usage(e.to_string()))?;
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
    // A device that was to join here, and did not.
    profile.discard_joining()?;
    let key = StorageKey::generate();
    // The key first: a database without its key would be lost, a key without its database is nothing.
    profile.write_key(&key, new.protection)?;
    make_profile_in(dir, &key, NewProfile { name, ..new })
}

/// The same in a directory that has the key file already.
pub fn make_profile_in(dir: ProfileDir, key: &StorageKey, new: NewProfile) -> CliResult<(AccountId, DeviceId)> {
    let name = starling_text::display_name(&new.name).map_err(|e| CliError::usage(e.to_string()))?;
    let (account, device) = starling_node::create_profile(
        dir,
        key,
        starling_node::NewProfile {
            origin: new.origin,
            name,
            bot: new.bot,
            homes: new.homes,
            registration_token: new.registration_token,
            username: new.username,
        },
    )?;
    Ok((account.to_string().into(), device.to_string().into()))
}

pub fn parse_home(text: &str) -> CliResult<RendezvousAddr> {
    text.parse().map_err(|e: starling_keys::EndpointError| {
        CliError::usage(format!("“{text}”: {e}")).hint("copy the whole address that starling-rendezvous prints")
    })
}

/// What of the line that `init --json` printed is needed again: it may have been shortened.
#[derive(Deserialize)]
struct KeptPhrase {
    recovery_phrase: String,
}

/// The text in which a phrase was kept, as `init` printed it: for people, as JSON, or what a shell of Windows makes of that (UTF-16).
fn written_phrase(bytes: &[u8]) -> Zeroizing<String> {
    // Room for the most that it can become: a text that grows leaves a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(char::REPLACEMENT_CHARACTER.len_utf8() * bytes.len()));
    let mut utf16 = |unit: fn([u8; 2]) -> u16| {
        let units = bytes[2..].chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        text.extend(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
    };
    match bytes {
        [0xff, 0xfe, ..] => utf16(u16::from_le_bytes),
        [0xfe, 0xff, ..] => utf16(u16::from_be_bytes),
        _ => {
            for part in bytes.utf8_chunks() {
                text.push_str(part.valid());
                text.extend((!part.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER));
            }
        }
    }
    let plain = text.trim_start_matches('\u{feff}');
    // The line of `init --json`, or the same as another program has laid it out.
    let of_line = || plain.lines().find_map(|line| serde_json::from_str::<KeptPhrase>(line).ok());
    if let Some(kept) = serde_json::from_str::<KeptPhrase>(plain.trim()).ok().or_else(of_line) {
        return Zeroizing::new(kept.recovery_phrase);
    }
    // What stood before it in a list of settings: `recovery_phrase: …`, `phrase=…`.
    match plain.split_once([':', '=']) {
        Some((label, rest))
            if rest.split_whitespace().count() >= 24
                && !label.contains(char::is_numeric)
                && !label.trim().contains('\n') =>
        {
            Zeroizing::new(rest.to_owned())
        }
        _ => text,
    }
}

/// Reads the recovery phrase from standard input.
pub fn read_phrase(global: &Global) -> CliResult<RecoveryPhrase> {
    if std::io::stdin().is_terminal() {
        say(global, "Type the 24 words of the recovery phrase, then Enter and Ctrl-D:");
    }
    // Past the buffer of the standard library, which nobody could wipe, and into one that has room for all of it and for the look for more.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * MAX_PHRASE_INPUT as usize));
    let input = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    input.take(MAX_PHRASE_INPUT).read_to_end(&mut bytes)?;
    RecoveryPhrase::parse(&written_phrase(&bytes)).map_err(|e| {
        CliError::usage(format!("the recovery phrase is wrong: {e}"))
            .hint("check it word by word; nothing was made or changed")
    })
}

pub async fn init(global: &Global, args: Init) -> CliResult {
    let profile = Profile::new(global)?;
    let Some(name) = args.name else {
        return Err(CliError::usage("--name NAME is missing: the name that others see"));
    };
    let username = checked_username(&args.username.unwrap_or_default())?;
    let mut homes = Vec::new();
    for home in &args.rendezvous {
        homes.push(home_of(global, home).await?);
    }
    let phrase = if args.restore { read_phrase(global)? } else { RecoveryPhrase::generate() };
    if args.restore && homes.is_empty() {
        return Err(CliError::usage("restoring needs the account's rendezvous")
            .hint("give it with --rendezvous ADDR: contacts and devices are found there"));
    }
    let new = NewProfile {
        name,
        origin: if args.restore { Origin::Restored(phrase.account_key()) } else { Origin::New(phrase.account_key()) },
        homes,
        protection: protection(global, args.keyring),
        registration_token: args.invite_token.unwrap_or_default(),
        username,
        bot: args.bot,
    };
    let homeless = new.homes.is_empty();
    let (account, device) = make_profile(&profile, new)?;
    let shown = (!args.restore).then(|| phrase.words());
    drop(phrase);
    if let Err(error) = show(global, &profile, account, device, shown.as_ref().map(|words| words.as_str())) {
        if args.restore {
            return Err(error);
        }
        // An account whose phrase nobody has seen cannot be recovered: better none.
        profile.discard()?;
        let why = if error.is_closed_pipe() { "standard output is closed".into() } else { error.message.to_string() };
        return Err(CliError::new("not_shown", 1, format!("the recovery phrase could not be shown: {why}"))
            .hint("nothing was made; run it again where its output is read"));
    }
    if args.restore {
        return recover(global).await;
    }
    if let Some(words) = shown.as_ref().filter(|_| has_person(global)) {
        confirm(words, &mut std::io::stdin().lock(), two_places)?;
    }
    // Before the node runs, which may take long.
    drop(shown);
    if !homeless {
        register(global).await?;
        say(global, "Registered at your rendezvous: the profile is ready.");
    }
    if !global.json {
        say(global, if homeless { HOMELESS } else { NEXT });
    }
    Ok(())
}

/// A user name as it is claimed; empty for none.
fn checked_username(given: &str) -> CliResult<String> {
    let username = starling_text::folded(given);
    if !username.is_empty() && !starling_node::is_username(&username) {
        return Err(CliError::usage(format!("“{username}” is no user name"))
            .hint("2 to 32 of a-z 0-9 . _ -, a letter or digit first"));
    }
    Ok(username)
}

/// How the key of a new profile is protected.
fn protection(global: &Global, keyring: bool) -> Protection {
    if keyring {
        Protection::Keyring
    } else if global.passphrase_file.is_some() {
        Protection::Passphrase
    } else {
        Protection::Plain
    }
}

/// Has the rendezvous register the new account: without that it can meet nobody.
async fn register(global: &Global) -> CliResult {
    let (_, client) = node_of(global).await?;
    let otherwise = "the profile is made: `starling` goes on with it as soon as the rendezvous answers";
    let registered = ensure_registered(global, &client, otherwise).await;
    client.finish().await;
    registered
}

/// Takes the account back at its rendezvous: this device in place of those before it, with their contacts.
async fn recover(global: &Global) -> CliResult {
    say(global, "Taking the account back…");
    let (_, client) = node_of(global).await?;
    let otherwise = "the profile is made: `starling` goes on with it as soon as the rendezvous answers";
    if let Err(error) = ensure_registered(global, &client, otherwise).await {
        client.finish().await;
        let why = format!("the account was not taken back yet: {}", error.message);
        return Err(CliError { code: "not_recovered".into(), message: why.into(), ..error });
    }
    catch_up(global, &client).await?;
    settle(&client).await;
    let contacts = super::contacts_in_short(&client).await?.len();
    client.finish().await;
    if contacts == 0 {
        say(global, "Your rendezvous has kept no contacts of this account. If there were some, is it the right one?");
    } else {
        say(global, format!("The account is on this device now, and on no other. Contacts: {contacts}"));
    }
    say(global, "Next: `starling` for the screen.");
    Ok(())
}

/// Whether somebody is there who can be asked.
fn has_person(global: &Global) -> bool {
    !global.json && !global.no_input && std::io::stdin().is_terminal()
}

/// Which words of a phrase are asked for, so that it is known to be written down.
pub struct WordChecks {
    /// Their places from 0, in their order.
    pub places: [usize; 2],
}

impl WordChecks {
    pub fn new() -> Self {
        Self { places: two_places() }
    }
}

/// Two words of a phrase that are asked for, by their place from 0, in their order.
fn two_places() -> [usize; 2] {
    let first = rand::random_range(0..PHRASE_WORDS);
    let second = (first + rand::random_range(1..PHRASE_WORDS)) % PHRASE_WORDS;
    [first.min(second), first.max(second)]
}

/// Asks for two words of a phrase that was shown, until they are right; shows it again when they are not. Who ends the input is asked no more.
fn confirm(words: &str, input: &mut impl BufRead, places: impl Fn() -> [usize; 2]) -> CliResult {
    let all: Vec<&str> = words.split(' ').collect();
    loop {
        let mut right = true;
        for place in places() {
            ask(format!("So that it is written down right: what is word {} of it?", place + 1));
            let mut line = Zeroizing::new(String::with_capacity(PRINTED_PHRASE));
            if input.by_ref().take(MAX_PHRASE_INPUT).read_line(&mut line)? == 0 {
                return Ok(());
            }
            right &= all.get(place).is_some_and(|word| line.trim().eq_ignore_ascii_case(word));
        }
        if right {
            return Ok(());
        }
        print("That is not what was shown. Once more:\n")?;
        print_phrase(words)?;
    }
}

/// Prints what was made, with the recovery phrase of a new account.
fn show(global: &Global, profile: &Profile, account: AccountId, device: DeviceId, words: Option<&str>) -> CliResult {
    if global.json {
        let mut made = lines::NewProfile { account, device, recovery_phrase: words.map(str::to_owned) };
        let printed = print_object(&made);
        made.recovery_phrase.zeroize();
        return printed;
    }
    print(format!("Profile “{}” is made. Account {account}", profile.name))?;
    let Some(words) = words else { return Ok(()) };
    print(SafeText::block(
        "\nRecovery phrase, shown only now. Write it down: who has it is you, and without it a lost device is a lost account.\n",
    ))?;
    print_phrase(words)
}

/// Prints the words of a phrase, four in a row, and an empty line.
fn print_phrase(words: &str) -> CliResult {
    let mut text = Zeroizing::new(String::with_capacity(PRINTED_PHRASE));
    for (i, word) in words.split(' ').enumerate() {
        let before = if i % 4 == 0 { "  " } else { " " };
        let (width, after) = if i % 4 == 3 { (0, "\n") } else { (10, "") };
        // Writing to a text cannot fail.
        let _ = write!(text, "{before}{:>2} {word:<width$}{after}", i + 1);
    }
    text.push('\n');
    output::write(text.as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_phrase_is_asked_for_again_until_two_of_its_words_are_right() {
        let words = RecoveryPhrase::generate().words();
        let all: Vec<&str> = words.split(' ').collect();
        let answer = |typed: &str| {
            let mut input = typed.as_bytes();
            confirm(&words, &mut input, || [2, 20]).unwrap();
            input.len()
        };
        let right = format!("{}\n {} \n", all[2], all[20].to_uppercase());
        assert_eq!(answer(&format!("{right}rest")), 4, "nothing more is asked");
        let wrong = format!("{}\n{}\n", all[2], "no such word");
        assert_eq!(answer(&format!("{wrong}{wrong}{right}rest")), 4);
        assert_eq!(answer(&wrong), 0, "the end of the input ends it");
        for _ in 0..100 {
            let [first, second] = two_places();
            assert!(first < second && second < PHRASE_WORDS);
        }
    }

    #[test]
    fn a_phrase_is_read_from_every_form_in_which_it_was_kept() {
        let phrase = RecoveryPhrase::generate();
        let words = phrase.words();
        let json = json!({ "account": "a", "recovery_phrase": *words }).to_string();
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let latin1 = words.replace(' ', "\u{a0}").chars().map(|c| c as u8).collect::<Vec<u8>>();
        let kept = [
            words.as_bytes().to_vec(),
            format!("\u{feff}{}\r\n", *words).into_bytes(),
            format!("{:#}", json!({ "account": "a", "recovery_phrase": *words })).into_bytes(),
            format!("recovery_phrase: {}\n", *words).into_bytes(),
            format!("phrase={}", *words).into_bytes(),
            json.into_bytes(),
            utf16(&format!("\u{feff}{}\r\n", *words)),
            latin1,
        ];
        for bytes in kept {
            assert_eq!(RecoveryPhrase::parse(&written_phrase(&bytes)).unwrap().words(), words);
        }
    }
}
