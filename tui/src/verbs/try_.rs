//! `try`: a private rendezvous and a guide, both real processes on loopback, and a first chat. Everything is in a temporary directory and gone
//! afterwards.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde::{Deserialize, de::DeserializeOwned};
use starling_control::{
    Event,
    event::EventKind,
    methods::{
        calls, chats,
        contacts::{Add, Invitation, Invite},
        messages::{Read, Send, Typing},
        node::Subscribe,
    },
    objects::{DeliveryState, Message},
};
use starling_keys::{Protection, RecoveryPhrase};
use starling_text::SafeText;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::{find, init::parse_home, make_profile, node_of, print, print_object, say};
use crate::{
    cli::Global,
    error::{CliError, CliResult},
    profile::Profile,
    rpc::Client,
};

const READY: Duration = Duration::from_secs(20);
/// How long the invite of the guide is good, in milliseconds.
const INVITE_MS: u64 = 3_600_000;

/// The processes and files of a trial; all gone when it is dropped.
struct Trial {
    dir: tempfile::TempDir,
    _rendezvous: Child,
    _guide: Child,
    global: Global,
}

fn program_beside(name: &str) -> CliResult<PathBuf> {
    let own = std::env::current_exe().map_err(CliError::internal)?;
    let path = own.with_file_name(name);
    if path.exists() {
        Ok(path)
    } else {
        Err(CliError::new("not_installed", 5, format!("{name} is not beside starling ({})", path.display()))
            .hint("build or install both programs: `cargo build --release`"))
    }
}

/// What of the ready line of a rendezvous is needed.
#[derive(Deserialize)]
struct RendezvousReady {
    addresses: Vec<String>,
}

async fn first_line<T: DeserializeOwned>(child: &mut Child, what: &str) -> CliResult<T> {
    let stdout = child.stdout.take().ok_or_else(|| CliError::internal("no output"))?;
    let mut lines = BufReader::new(stdout).lines();
    let line = tokio::time::timeout(READY, lines.next_line()).await;
    let line =
        line.ok().and_then(Result::ok).flatten().ok_or_else(|| CliError::internal(format!("{what} did not start")))?;
    // Whatever it prints later must not fill the pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    serde_json::from_str(&line).map_err(|_| CliError::internal(format!("{what} said something unexpected")))
}

fn global_in(dir: &Path, profile: &str, base: &Global) -> Global {
    Global {
        profile: profile.into(),
        data_dir: Some(dir.join("profiles")),
        passphrase_file: None,
        listen_addr: vec!["/ip4/127.0.0.1/udp/0/quic-v1".into()],
        no_mdns: true,
        proxy: Some("none".into()),
        no_spawn: false,
        ..base.clone()
    }
}

async fn set_up(global: &Global) -> CliResult<Trial> {
    let dir = tempfile::Builder::new().prefix("starling-try-").tempdir().map_err(CliError::internal)?;
    let mut rendezvous = Command::new(program_beside("starling-rendezvous")?)
        .args(["--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--http", "127.0.0.1:0", "--json", "--data-dir"])
        .arg(dir.path().join("rendezvous"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(CliError::internal)?;
    let ready: RendezvousReady = first_line(&mut rendezvous, "the rendezvous").await?;
    let home = parse_home(ready.addresses.first().map(String::as_str).unwrap_or_default())?;

    for (name, bot) in [("guide", true), ("you", false)] {
        let profile = Profile::new(&global_in(dir.path(), name, global))?;
        let new = super::NewProfile {
            name: name.into(),
            origin: starling_node::Origin::New(RecoveryPhrase::generate().account_key()),
            homes: vec![home.clone()],
            protection: Protection::Plain,
            registration_token: String::new(),
            username: String::new(),
            bot,
        };
        make_profile(&profile, new)?;
    }
    let mut guide = Command::new(std::env::current_exe().map_err(CliError::internal)?)
        .args([
            "--profile",
            "guide",
            "--no-mdns",
            "--proxy",
            "none",
            "--listen-addr",
            "/ip4/127.0.0.1/udp/0/quic-v1",
            "--data-dir",
        ])
        .arg(dir.path().join("profiles"))
        .arg("guide")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(CliError::internal)?;
    let invite: Invitation = first_line(&mut guide, "the guide").await?;
    let ours = global_in(dir.path(), "you", global);
    let (_, client) = node_of(&ours).await?;
    client.call(Add { invite: Some(invite.link), ..Add::default() }).await?;
    client.finish().await;
    Ok(Trial { dir, _rendezvous: rendezvous, _guide: guide, global: ours })
}

pub async fn try_starling(global: &Global, headless: bool) -> CliResult {
    use std::io::IsTerminal;
    let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let headless = headless || !terminal || !crate::terminal::can_show_the_screen();
    let began = Instant::now();
    if headless {
        say(global, "Starting a private rendezvous and a guide on this machine …");
    }
    let trial = set_up(global).await?;
    if headless {
        transcript(&trial, began).await?;
    } else {
        Box::pin(crate::screen::run(&trial.global)).await?;
    }
    drop(trial.dir);
    Ok(())
}

/// The same conversation without a screen.
async fn transcript(trial: &Trial, began: Instant) -> CliResult {
    let global = &trial.global;
    let (_, client) = node_of(global).await?;
    client.call(Subscribe::since("all")).await?;
    // Its name may still be on the way.
    let guide = super::contacts_in_short(&client).await?.into_iter().next();
    let chat = guide.ok_or_else(|| CliError::internal("the guide is no contact"))?.chat;
    if !global.json {
        print(format!("── a chat with the guide · ready after {} ms ──", began.elapsed().as_millis()))?;
    }
    loop {
        let event = next(global, &client).await?;
        if let Some((message, _)) = from_guide(&event) {
            if !global.json {
                print(said_by_guide(message))?;
            }
            break;
        }
    }
    for question in ["hello", "what can you do?", "thank you"] {
        let sent = Instant::now();
        let ids = client.call(Send::text(chat.clone(), question)).await?.ids;
        if !global.json {
            print(format!("you: {question}"))?;
        }
        let mut states: Vec<(DeliveryState, Duration)> = Vec::new();
        let mut answered = None;
        while answered.is_none() || !states.iter().any(|(state, _)| *state == DeliveryState::Delivered) {
            let event = next(global, &client).await?;
            match &event.kind {
                EventKind::MessageState { message, state, .. } if ids.contains(&message.id) => {
                    states.push((*state, sent.elapsed()));
                }
                _ => {}
            }
            if let Some((message, via)) = from_guide(&event) {
                answered = Some((said_by_guide(message), via, sent.elapsed()));
            }
        }
        if !global.json {
            let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
            let states: Vec<String> = states.iter().map(|(s, t)| format!("{} after {}", s.as_str(), ms(*t))).collect();
            print(format!("     {}", states.join(", ")))?;
            if let Some((said, via, after)) = answered {
                print(said)?;
                print(format!("     answered after {}, {via}", ms(after)))?;
            }
        }
    }
    if !global.json {
        for chat in client.call(chats::List {}).await? {
            print(format!("── end-to-end encrypted with {} ──", chat.cipher))?;
        }
    }
    client.finish().await;
    Ok(())
}

/// The next event, printed if that is wanted.
async fn next(global: &Global, client: &Client) -> CliResult<Event> {
    let event = tokio::time::timeout(READY, client.event()).await;
    let event = event.map_err(|_| CliError::timeout("the guide does not answer"))??;
    if global.json {
        print_object(&event)?;
    }
    Ok(event)
}

/// A new message of the guide, and how it came.
fn from_guide(event: &Event) -> Option<(&Message, &'static str)> {
    let EventKind::MessageNew(new) = &event.kind else { return None };
    let message = new.message.whole().filter(|message| !message.from.own)?;
    Some((message, message.via.as_str()))
}

fn said_by_guide(message: &Message) -> SafeText {
    SafeText::block(&format!("guide: {}", message.text.replace('\n', "\n     ")))
}

const WELCOME: &str = "Hi! I am the *guide*, a bot on your own machine. You are in a real, end-to-end encrypted chat: I am another process, and the rendezvous between us sees only ciphertext.\n\nAsk me about `invites`, `keys`, `servers`, `calls` or `bots`, call me with `/call video`, or say `quiet` and I am silent.";

/// What the guide knows about what a text in lower case asks.
fn reply(text: &str) -> &'static str {
    let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
    if has(&["invite", "friend", "contact", "qr"]) {
        "To talk to somebody, run `starling invite --qr` and let them scan it or paste the link: `starling contacts add LINK`. On the phone, `starling invite --code` gives words that you can read out, like `271828-unicorn-quiver`."
    } else if has(&["key", "safe", "verif", "encrypt", "phrase"]) {
        "Your account is a key that only you have; its 24-word *recovery phrase* is shown once, at `starling init`. Messages use MLS with a post-quantum key exchange. Compare the safety number with `starling contacts verify WHO` to be sure that nobody sits between you."
    } else if has(&["server", "rendezvous", "host"]) {
        "A rendezvous helps peers find each other and keeps sealed messages for those who are away. Anyone can run one:\n```sh\nstarling-rendezvous\n```"
    } else if has(&["call", "video", "voice"]) {
        "Call me: `/call video`. I answer with a test pattern, and you hear yourself after a moment. F7 and F8 turn your microphone and camera off and on, F10 makes the call small, F9 hangs up."
    } else if has(&["bot", "script", "json", "exec"]) {
        "I am one. A bot is a few lines:\n```sh\nstarling listen --exec 'jq -r .message.text | rev'\n```\nEvery event is a line of JSON: `starling listen --json`."
    } else if has(&["what", "help", "how", "?"]) {
        "Write to me as you would to anybody: **bold**, _italic_, `code`, :wave: and links work. `r` on a message replies, `e` edits yours, `d` deletes it for everyone. F1 shows all keys, F2 finds everything.\n\nAsk about `invites`, `keys`, `servers` or `bots`."
    } else if has(&["thank", "bye"]) {
        "You are welcome! When you are ready: `starling init --name YOU --rendezvous ADDR`."
    } else if has(&["hello", "hi", "hey"]) {
        "Hello! Nice to meet you. Ask me `what can you do?`"
    } else {
        "I am a small bot and did not get that. Try `help`, or ask about `invites`, `keys`, `servers` or `bots`."
    }
}

/// The guide: invites, greets, answers, and can be told to be silent.
pub async fn guide(global: &Global) -> CliResult {
    let (_, client) = node_of(global).await?;
    client.call(Subscribe::since("all")).await?;
    let invite = client.call(Invite { uses: Some(1), lifetime_ms: Some(INVITE_MS) }).await?;
    super::people::wait_registered(global, &client).await?;
    print_object(&invite)?;
    let mut quiet = false;
    loop {
        match client.event().await?.kind {
            EventKind::ContactAccepted { contact } => {
                let contact = find(&client, contact.account.as_str()).await?;
                client.call(Send::text(contact.chat, WELCOME)).await?;
            }
            // A test pattern, and an echo of what is heard.
            EventKind::CallIncoming { call, .. } => {
                let media = calls::Media {
                    audio_in: Some("echo".into()),
                    audio_out: Some("none".into()),
                    video_in: Some("pattern:640x360@20".into()),
                    ..calls::Media::default()
                };
                client.notify(calls::Answer::new(call.id, media)).await?;
            }
            EventKind::MessageNew(new) => {
                let chat = new.chat.id;
                let Some(message) = new.message.whole().filter(|message| !message.from.own) else { continue };
                client.call(Read { chat: chat.clone(), message: None }).await?;
                if let Some(answer) = answer(&message.text.to_lowercase(), &mut quiet) {
                    client.notify(Typing { chat: chat.clone(), typing: None }).await?;
                    client.call(Send::text(chat, answer)).await?;
                }
            }
            _ => {}
        }
    }
}

/// What the guide says to a text in lower case; nothing while it is to be quiet.
fn answer(text: &str, quiet: &mut bool) -> Option<&'static str> {
    let was_quiet = *quiet;
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["quiet", "silent", "shut up"]) {
        *quiet = true;
    } else if has(&["speak", "talk"]) {
        *quiet = false;
    }
    match (was_quiet, *quiet) {
        (false, true) => Some("I am silent now. Say `speak` when you want me back."),
        (true, false) => Some("Here I am again."),
        (true, true) => None,
        (false, false) => Some(reply(text)),
    }
}
