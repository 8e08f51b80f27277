//! Calls on the command line: made and answered by people, and by programs with files for a microphone.

use std::time::Duration;

use starling_control::{
    event::{EventKind, VERSION},
    lines::CallReady,
    methods::{
        calls::{self, Media},
        node::Subscribe,
    },
    objects::{Call, CallAt, CallEnd, CallId, CallPhase, CameraDevice, Contact, MediaDevices, SoundDevice},
};

use super::{
    call_media::{CallMedia, StatsFile, absolute},
    call_watch::{Preferences, show, watch},
    find, node_of,
    people::catch_up,
    print, print_object, say,
};
use crate::{
    cli::{Answer, Calls, Global, MediaArgs, no_time_span, parse_time_span},
    error::{CliError, CliResult},
    rpc::{self, Client},
    signals,
    terminal::safe_line,
};

pub async fn calls(global: &Global, command: Calls) -> CliResult {
    if let Calls::Devices = command {
        return devices(global).await;
    }
    if let Calls::Test { renderers } = command {
        return super::call_test::call_test(global, renderers).await;
    }
    let (_, client) = node_of(global).await?;
    let follows = matches!(command, Calls::Start { .. } | Calls::Answer { .. } | Calls::Take { .. });
    // A signal hangs up first, and ends a node of our own as it should.
    let _handled = signals::handle();
    let result = Box::pin(run(global, &client, command));
    let result = if follows { result.await } else { signals::unless_received(result).await };
    client.finish().await;
    result
}

async fn run(global: &Global, client: &Client, command: Calls) -> CliResult {
    match command {
        Calls::Start { who, audio: _, video, duration, media } => {
            start(global, client, &who, video, duration.as_deref(), &media).await
        }
        Calls::Answer { call, auto, count, duration, media } => {
            let preferences = preferences(duration.as_deref(), &media)?;
            let mut files = CallMedia::open(&media).await?;
            let video = Some(media.video_in.is_some());
            let media = Media { video, ..files.media.clone() };
            client.call(Subscribe::silent()).await?;
            if auto {
                return answer_all(global, client, &media, &preferences, count, &mut files.stats).await;
            }
            let id = match call {
                Some(id) => id.into(),
                None => ringing(client).await?,
            };
            client.call(calls::Answer::new(id.clone(), media)).await?;
            watch(global, client, id, &preferences, &mut files.stats).await?.result()
        }
        Calls::Take { who, video, media } => take(global, client, who.as_deref(), video, &media).await,
        Calls::Hangup { call, message } => {
            let call = named_or_only(client, call).await?;
            client.call(calls::HangUp { call, text: Some(message) }).await.map(|_| ())
        }
        Calls::Transfer { device, call } => {
            let call = named_or_only(client, call).await?;
            client.call(calls::Transfer { call, device: device.map(Into::into) }).await?;
            say(global, "It rings there, and goes on here until it is taken.");
            Ok(())
        }
        Calls::Record { file, call } => {
            let call = named_or_only(client, call).await?;
            client.call(calls::Record { call, path: file.as_deref().map(absolute) }).await?;
            if file.is_some() {
                say(global, "They were asked; it begins when they agree.");
            }
            Ok(())
        }
        Calls::Consent { answer, call } => {
            let call = named_or_only(client, call).await?;
            client.call(calls::AgreeToRecording { call, agree: answer == Answer::Yes }).await.map(|_| ())
        }
        Calls::List => list(global, client).await,
        Calls::Devices | Calls::Test { .. } => Ok(()),
    }
}

async fn start(
    global: &Global,
    client: &Client,
    who: &str,
    video: bool,
    duration: Option<&str>,
    media: &MediaArgs,
) -> CliResult {
    signals::unless_received(catch_up(global, client)).await?;
    if who.starts_with('#') {
        return Err(CliError::new("refused", 6, "groups cannot be called yet").hint("call its members one by one"));
    }
    let contact = find(client, who).await?;
    let preferences = preferences(duration, media)?;
    let mut files = CallMedia::open(media).await?;
    let video = Some(video || media.video_in.is_some());
    client.call(Subscribe::silent()).await?;
    let start = calls::Start::new(contact.chat, Media { video, ..files.media.clone() });
    let call = client.call(start).await?.call;
    say(global, format!("Calling {} … Ctrl-C hangs up", safe_line(&contact.name)));
    watch(global, client, call, &preferences, &mut files.stats).await?.result()
}

async fn take(global: &Global, client: &Client, who: Option<&str>, video: bool, media: &MediaArgs) -> CliResult {
    signals::unless_received(catch_up(global, client)).await?;
    let preferences = preferences(None, media)?;
    let mut files = CallMedia::open(media).await?;
    let video = Some(video || media.video_in.is_some());
    let chat = match who {
        Some(who) => Some(find(client, who).await?.chat),
        None => None,
    };
    client.call(Subscribe::silent()).await?;
    let call = client.call(calls::Take::new(chat, Media { video, ..files.media.clone() })).await?.call;
    let ended = watch(global, client, call, &preferences, &mut files.stats).await?;
    if ended.reason == CallEnd::Elsewhere && !ended.connected {
        return Err(CliError::timeout("your other device did not hand the call over"));
    }
    ended.result()
}

fn preferences(duration: Option<&str>, media: &MediaArgs) -> CliResult<Preferences> {
    let parse = |text: &str| parse_time_span(text).ok_or_else(|| no_time_span(text, "30s"));
    let duration = duration.map(parse).transpose()?.map(Duration::from_millis);
    Ok(Preferences { duration, record: media.record.clone(), allow: media.allow_recording })
}

/// Whether a call of somebody else waits for an answer.
fn rings(call: &Call) -> bool {
    !call.outgoing && call.state == CallPhase::Ringing
}

/// The call that waits for an answer.
async fn ringing(client: &Client) -> CliResult<CallId> {
    let call = client.call(calls::List {}).await?.into_iter().find(rings);
    let none = || CliError::not_found("no call rings now").hint("with --auto, calls are answered as they come");
    Ok(call.ok_or_else(none)?.id)
}

/// The call that is named, or the only one.
async fn named_or_only(client: &Client, named: Option<String>) -> CliResult<CallId> {
    if let Some(id) = named {
        return Ok(id.into());
    }
    match client.call(calls::List {}).await?.as_slice() {
        [one] => Ok(one.id.clone()),
        [] => Err(CliError::not_found("there is no call").hint("`starling call start WHO` makes one")),
        _ => Err(CliError::usage("there are several calls").hint("name one: see starling call list")),
    }
}

/// Answers calls as they come, until it is ended.
async fn answer_all(
    global: &Global,
    client: &Client,
    media: &Media,
    preferences: &Preferences,
    count: Option<u64>,
    stats: &mut StatsFile,
) -> CliResult {
    say(global, "Waiting for calls … Ctrl-C ends");
    if global.json {
        print_object(&CallReady { v: VERSION, kind: "call.ready".into() })?;
    }
    let mut answered = 0;
    let mut stop = Box::pin(signals::received());
    let waiting = client.call(calls::List {}).await?;
    let mut waiting: Vec<CallId> = waiting.into_iter().filter(rings).map(|call| call.id).collect();
    while count.is_none_or(|count| answered < count) {
        let id = match waiting.pop() {
            Some(id) => id,
            None => {
                let event = tokio::select! {
                    event = client.event() => event?,
                    _ = &mut stop => return Ok(()),
                };
                let EventKind::CallIncoming { chat, call } = &event.kind else { continue };
                show(global, &event, chat, call, None, None)?;
                call.id.clone()
            }
        };
        // It may have been taken back in the meantime.
        if let Err(error) = client.call(calls::Answer::new(id.clone(), media.clone())).await {
            say(global, format!("not answered: {}", error.message));
            continue;
        }
        watch(global, client, id, preferences, stats).await?;
        answered += 1;
    }
    Ok(())
}

async fn list(global: &Global, client: &Client) -> CliResult {
    let calls = client.call(calls::List {}).await?;
    if global.json {
        return calls.iter().try_for_each(print_object);
    }
    let contacts = super::contacts_in_short(client).await?;
    for call in &calls {
        let kind = if call.video { "video" } else { "audio" };
        print(format!("{}  {}  {kind}  {}", call.id, name_at(&contacts, &call.chat), call.state.as_str()))?;
    }
    for call in client.call(calls::Elsewhere {}).await? {
        let (who, device) = (name_at(&contacts, &call.chat), super::devices::short(&call.device));
        print(format!("with {who} on your device {device}: starling call take brings it here"))?;
    }
    Ok(())
}

/// The name of the contact in the conversation of a call.
fn name_at(contacts: &[Contact], chat: &CallAt) -> String {
    contacts.iter().find(|c| c.chat == chat.id).map_or_else(String::new, |c| safe_line(&c.name))
}

/// What this machine has, asked without a node.
async fn devices(global: &Global) -> CliResult {
    let found = tokio::task::spawn_blocking(rpc::media_devices).await.map_err(CliError::internal)?;
    if global.json {
        return print_object(&found);
    }
    let MediaDevices { audio, cameras } = found;
    for SoundDevice { system, name, input, output, default } in &audio {
        let kind = match (input, output) {
            (true, true) => "microphone and loudspeaker",
            (true, false) => "microphone",
            _ => "loudspeaker",
        };
        let default = if *default { "  (default)" } else { "" };
        print(format!("{kind}: {}  [{system}]{default}", safe_line(name)))?;
    }
    for CameraDevice { name, .. } in &cameras {
        print(format!("camera: {}", safe_line(name)))?;
    }
    if audio.is_empty() {
        say(global, "no sound devices: plug one in, or start the sound server");
    }
    if cameras.is_empty() {
        say(global, "no cameras");
    }
    Ok(())
}
