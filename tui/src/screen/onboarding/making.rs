//! What becomes of the form: a profile, registered at its rendezvous. Done beside the screen, which is told how far it is.

use starling_control::methods::{node, profile::SetRendezvous};
use starling_keys::{Protection, RecoveryPhrase};
use starling_node::{Introduction, Origin};
use tokio::{sync::mpsc::UnboundedSender, task::JoinHandle};
use zeroize::Zeroizing;

use super::form::Purpose;
use crate::{
    cli::Global,
    error::{CliError, CliResult, screen_hint},
    profile::Profile,
    rpc,
    verbs::{Joining, NewProfile, ensure_registered, introduced, make_profile, parse_home, place_of},
};

/// What the user wants.
pub struct Wanted {
    pub purpose: Purpose,
    pub name: String,
    /// The address of the rendezvous; empty for none.
    pub home: String,
    pub code: String,
    pub phrase: Zeroizing<String>,
    pub passphrase: Zeroizing<String>,
}

/// How far it is.
pub enum Progress {
    /// What is waited for.
    Notice(String),
    /// The rendezvous has told its key: its whole address, and what there is to compare, if nobody vouches for it.
    Introduced(String, Option<&'static str>),
    /// It has told none, and why.
    NotIntroduced(String),
    /// The profile of a new account is made: the words of its phrase, with a space between them.
    Made(Zeroizing<String>),
    /// There is no profile, and why.
    NotMade(String),
    /// There is one, and the rendezvous does not register it, and why.
    NotRegistered(String),
    /// It can be used.
    Ready,
}

type Told = UnboundedSender<Progress>;

/// What is wrong and what to do about it, in one line.
fn reason(error: &CliError) -> String {
    // A field for one is there.
    if error.message.contains("token") {
        return error.message.to_string();
    }
    let hint = error.reason.as_deref().and_then(screen_hint).or(error.hint.as_deref());
    format!("{}{}", error.message, hint.map(|hint| format!(" — {hint}")).unwrap_or_default())
}

/// Said of a key that nobody vouches for.
const COMPARE: &str = "This is the key that has answered, and nobody vouches for it: compare it with what the operator says. Enter goes on.";

/// Asks a rendezvous for its key.
pub fn introduce(global: &Global, home: String, told: Told) -> JoinHandle<()> {
    let global = global.clone();
    tokio::spawn(async move {
        let news = match introduced_by_text(&global, &home).await {
            Ok(Introduction { address, vouched }) => {
                Progress::Introduced(address.to_string(), (!vouched).then_some(COMPARE))
            }
            Err(error) => Progress::NotIntroduced(reason(&error)),
        };
        let _ = told.send(news);
    })
}

async fn introduced_by_text(global: &Global, home: &str) -> CliResult<Introduction> {
    match place_of(home) {
        Some(place) => introduced(global, &place).await,
        None => Ok(Introduction { address: parse_home(home)?, vouched: true }),
    }
}

/// Makes the profile.
pub fn make(global: &Global, profile: &Profile, wanted: Wanted, told: Told) -> JoinHandle<()> {
    let (global, profile) = (global.clone(), profile.clone());
    tokio::spawn(async move {
        let is_new = wanted.purpose == Purpose::New;
        let news = match Box::pin(made(&global, &profile, wanted, &told)).await {
            Ok(words) if is_new => Progress::Made(words),
            Ok(_) => registered(&global, &profile, String::new()).await,
            Err(error) => Progress::NotMade(reason(&error)),
        };
        let _ = told.send(news);
    })
}

/// Has the rendezvous register the profile, with a token if there is one.
pub fn register(global: &Global, profile: &Profile, token: String, told: Told) -> JoinHandle<()> {
    let (global, profile) = (global.clone(), profile.clone());
    tokio::spawn(async move {
        let _ = told.send(Progress::Notice("Your rendezvous is asked to register you …".into()));
        let _ = told.send(Box::pin(registered(&global, &profile, token)).await);
    })
}

async fn registered(global: &Global, profile: &Profile, token: String) -> Progress {
    match try_registering(global, profile, token).await {
        Ok(()) => Progress::Ready,
        Err(error) => Progress::NotRegistered(reason(&error)),
    }
}

async fn try_registering(global: &Global, profile: &Profile, token: String) -> CliResult {
    let quiet = Global { quiet: true, ..global.clone() };
    let client = rpc::acquire(profile, &quiet).await?;
    let registered = async {
        if !token.is_empty() {
            let status = client.call(node::Status::default()).await?;
            let rendezvous = status.homes().map(|home| home.address.clone()).collect();
            client.call(SetRendezvous { rendezvous, token: Some(token) }).await?;
        }
        ensure_registered(&quiet, &client, "it goes on as soon as the rendezvous answers").await
    };
    let result = registered.await;
    client.finish().await;
    result
}

/// Gives the words of the phrase.
async fn made(global: &Global, profile: &Profile, wanted: Wanted, told: &Told) -> CliResult<Zeroizing<String>> {
    let phrase = match wanted.purpose {
        Purpose::Recover => RecoveryPhrase::parse(&wanted.phrase).map_err(|e| CliError::usage(e.to_string()))?,
        _ => RecoveryPhrase::generate(),
    };
    let (words, root) = (phrase.words(), phrase.account_key());
    drop(phrase);
    let homes = if wanted.home.is_empty() { Vec::new() } else { vec![parse_home(&wanted.home)?] };
    let protection = if wanted.passphrase.is_empty() { Protection::Plain } else { Protection::Passphrase };
    let mut new = NewProfile {
        name: wanted.name,
        origin: if wanted.purpose == Purpose::Recover { Origin::Restored(root) } else { Origin::New(root) },
        homes,
        protection,
        registration_token: String::new(),
        username: String::new(),
        bot: false,
    };
    match wanted.purpose {
        Purpose::New | Purpose::Recover => {}
        Purpose::Link => {
            let home = parse_home(&wanted.home)?;
            let _ = told.send(Progress::Notice("Asking with the code …".into()));
            let asked = |device: &str| {
                let _ = told.send(Progress::Notice(format!("Say yes on the other device. This one is {device}.")));
            };
            profile.remember_passphrase(wanted.passphrase);
            let (joining, link, device) =
                Joining::ask(global, profile, protection, Some((&wanted.code, home)), asked).await?;
            new.name = if link.name.is_empty() { profile.name.clone() } else { link.name.clone() };
            (new.homes, new.username, new.bot) = (link.chain.homes.clone(), link.username.clone(), link.bot);
            new.origin = Origin::Linked(Box::new(link), device);
            tokio::task::spawn_blocking(move || joining.finish(new)).await.map_err(CliError::internal)??;
            return Ok(words);
        }
    }
    profile.remember_passphrase(wanted.passphrase);
    let profile = profile.clone();
    // Stretching a passphrase takes a moment.
    tokio::task::spawn_blocking(move || make_profile(&profile, new)).await.map_err(CliError::internal)??;
    Ok(words)
}
