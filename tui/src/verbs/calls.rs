//! Calls on the command line: made and answered by people, and by programs with files for a microphone.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    call_media::{CallMedia, Stats, absolute},
    field, find, node_of,
    people::catch_up,
    print, say,
};
use crate::{
    cli::{Answer, Calls, Global, parse_duration},
    error::{CliError, CliResult},
    rpc::Client,
    signals,
    terminal::safe_line,
};

/// What is to be done in a watched call.
struct Preferences {
    /// Hang up after this time of talking.
    duration: Option<Duration>,
    /// Ask to record to this file.
    record: Option<PathBuf>,
    /// Agree to be recorded.
    allow: bool,
}

/// How a watched call ended.
struct Ended {
    reason: String,
    text: String,
    connected: bool,
}

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
            signals::unless_received(catch_up(global, client)).await?;
            let contact = find(client, &who).await?;
            let mut files = CallMedia::open(&media)?;
            let mut params = files.params.clone();
            params["video"] = (video || media.video_in.is_some()).into();
            params["chat"] = contact["chat"].clone();
            let duration = time(duration.as_deref())?;
            client.call("subscribe", json!({ "since": "now", "keepalive": false })).await?;
            let call = client.call("call.start", params).await?;
            let id = field(&call, "call").to_owned();
            say(global, format!("Calling {} … Ctrl-C hangs up", safe_line(field(&contact, "name"))));
            let preferences = Preferences { duration, record: media.record, allow: media.allow_recording };
            watch(global, client, &id, &preferences, &mut files.stats).await?.result()
        }
        Calls::Answer { call, auto, count, duration, media } => {
            let mut files = CallMedia::open(&media)?;
            let mut params = files.params.clone();
            params["video"] = (media.video_in.is_some()).into();
            let duration = time(duration.as_deref())?;
            client.call("subscribe", json!({ "since": "now", "keepalive": false })).await?;
            let preferences = Preferences { duration, record: media.record, allow: media.allow_recording };
            if auto {
                return answer_all(global, client, params, &preferences, count, &mut files.stats).await;
            }
            let id = match call {
                Some(id) => id,
                None => ringing(client).await?,
            };
            params["call"] = id.clone().into();
            client.call("call.answer", params).await?;
            watch(global, client, &id, &preferences, &mut files.stats).await?.result()
        }
        Calls::Hangup { call, message } => {
            let id = match call {
                Some(id) => id,
                None => only(client).await?,
            };
            client.call("call.hangup", json!({ "call": id, "text": message })).await?;
            Ok(())
        }
        Calls::Transfer { device, call } => {
            let id = match call {
                Some(id) => id,
                None => only(client).await?,
            };
            client.call("call.transfer", json!({ "call": id, "device": device })).await?;
            say(global, "It rings there, and goes on here until it is taken.");
            Ok(())
        }
        Calls::Take { who, video, media } => {
            signals::unless_received(catch_up(global, client)).await?;
            let mut files = CallMedia::open(&media)?;
            let mut params = files.params.clone();
            params["video"] = (video || media.video_in.is_some()).into();
            if let Some(who) = who {
                params["chat"] = find(client, &who).await?["chat"].clone();
            }
            client.call("subscribe", json!({ "since": "now", "keepalive": false })).await?;
            let call = client.call("call.take", params).await?;
            let preferences = Preferences { duration: None, record: media.record, allow: media.allow_recording };
            let ended = watch(global, client, field(&call, "call"), &preferences, &mut files.stats).await?;
            if ended.reason == "elsewhere" && !ended.connected {
                return Err(CliError::timeout("your other device did not hand the call over"));
            }
            ended.result()
        }
        Calls::Record { file, call } => {
            let id = match call {
                Some(id) => id,
                None => only(client).await?,
            };
            let path = file.as_deref().map(absolute);
            client.call("call.record", json!({ "call": id, "path": path })).await?;
            if path.is_some() {
                say(global, "They were asked; it begins when they agree.");
            }
            Ok(())
        }
        Calls::Consent { answer, call } => {
            let id = match call {
                Some(id) => id,
                None => only(client).await?,
            };
            client.call("call.consent", json!({ "call": id, "agree": answer == Answer::Yes })).await?;
            Ok(())
        }
        Calls::List => list(global, client).await,
        Calls::Devices | Calls::Test { .. } => Ok(()),
    }
}

impl Ended {
    fn result(self) -> CliResult {
        let word = if self.text.is_empty() { String::new() } else { format!(": {}", safe_line(&self.text)) };
        match self.reason.as_str() {
            "hung_up" | "elsewhere" => Ok(()),
            "cancelled" if self.connected => Ok(()),
            "cancelled" => Err(CliError::new("cancelled", 6, "the caller hung up before there was an answer")),
            "declined" => Err(CliError::new("declined", 6, format!("the call was declined{word}"))),
            "busy" => Err(CliError::new("busy", 6, format!("they are busy{word}"))),
            "no_answer" => Err(CliError::timeout("nobody answered").hint("they see a missed call")),
            "lost" => Err(CliError::new("lost", 3, format!("the call was lost{word}"))),
            _ => Err(CliError::new("failed", 3, format!("the call could not be connected{word}"))
                .hint("starling call test shows what works")),
        }
    }
}

fn time(text: Option<&str>) -> CliResult<Option<Duration>> {
    let parse = |t: &str| {
        let ms = parse_duration(t).ok_or_else(|| CliError::usage(format!("“{t}” is no time; try 30s")));
        ms.map(Duration::from_millis)
    };
    text.map(parse).transpose()
}

/// The call that waits for an answer.
async fn ringing(client: &Client) -> CliResult<String> {
    let calls = client.call("call.list", json!({})).await?;
    let calls = calls.as_array().map(Vec::as_slice).unwrap_or_default();
    let call = calls.iter().find(|c| c["outgoing"] == false && c["state"] == "ringing");
    call.map(|c| field(c, "id").to_owned())
        .ok_or_else(|| CliError::not_found("no call rings now").hint("with --auto, calls are answered as they come"))
}

async fn only(client: &Client) -> CliResult<String> {
    let calls = client.call("call.list", json!({})).await?;
    match calls.as_array().map(Vec::as_slice).unwrap_or_default() {
        [one] => Ok(field(one, "id").to_owned()),
        [] => Err(CliError::not_found("there is no call")),
        _ => Err(CliError::usage("there are several calls").hint("name one: see starling call list")),
    }
}

/// Answers calls as they come, until it is ended.
async fn answer_all(
    global: &Global,
    client: &Client,
    params: Value,
    preferences: &Preferences,
    count: Option<u64>,
    stats: &mut Stats,
) -> CliResult {
    say(global, "Waiting for calls … Ctrl-C ends");
    if global.json {
        print(json!({ "v": 1, "type": "call.ready" }))?;
    }
    let mut answered = 0;
    let mut stop = Box::pin(signals::received());
    let mut waiting: Vec<String> = Vec::new();
    let calls = client.call("call.list", json!({})).await?;
    for call in calls.as_array().into_iter().flatten() {
        if call["outgoing"] == false && call["state"] == "ringing" {
            waiting.push(field(call, "id").to_owned());
        }
    }
    loop {
        let id = match waiting.pop() {
            Some(id) => id,
            None => {
                let event = tokio::select! {
                    event = client.event() => event?,
                    _ = &mut stop => return Ok(()),
                };
                if event["type"] != "call.incoming" {
                    continue;
                }
                show(global, &event, "")?;
                field(&event["call"], "id").to_owned()
            }
        };
        let mut params = params.clone();
        params["call"] = id.clone().into();
        // It may have been taken back in the meantime.
        if let Err(error) = client.call("call.answer", params).await {
            say(global, format!("not answered: {}", error.message));
            continue;
        }
        let ended = watch(global, client, &id, preferences, stats).await?;
        if ended.reason == "interrupted" {
            return Ok(());
        }
        answered += 1;
        if count.is_some_and(|count| answered >= count) {
            return Ok(());
        }
    }
}

/// Follows a call to its end, which is told on standard output.
async fn watch(
    global: &Global,
    client: &Client,
    id: &str,
    preferences: &Preferences,
    stats: &mut Stats,
) -> CliResult<Ended> {
    let mut id = id.to_owned();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut stop = Box::pin(signals::received());
    let (mut connected, mut interrupted): (Option<Instant>, bool) = (None, false);
    let mut hang_up_at: Option<Instant> = None;
    let (mut told, mut last) = (String::new(), Value::Null);
    loop {
        let until = async {
            match hang_up_at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            event = client.event() => event?,
            _ = second.tick() => {
                if connected.is_some() {
                    stats.write(&client.call("call.stats", json!({ "call": id })).await?)?;
                }
                continue;
            }
            () = until => {
                hang_up_at = None;
                client.call("call.hangup", json!({ "call": id })).await?;
                continue;
            }
            _ = &mut stop, if !interrupted => {
                interrupted = true;
                // It may be over by itself at this moment.
                let _ = client.call("call.hangup", json!({ "call": id })).await;
                continue;
            }
        };
        let call = &event["call"];
        if !field(&event, "type").starts_with("call.") || field(call, "id") != id || event["type"] == "call.ended" {
            continue;
        }
        if call["state"] == "ended"
            && let Some(next) = call["replaced_by"].as_str()
        {
            // Both called at once: the same call goes on under another name.
            id = next.to_owned();
            continue;
        }
        if call["state"] == "connected" && connected.is_none() {
            connected = Some(Instant::now());
            hang_up_at = preferences.duration.map(|d| Instant::now() + d);
            if let Some(file) = &preferences.record {
                let asked = client.call("call.record", json!({ "call": id, "path": absolute(file) })).await;
                if let Err(error) = asked {
                    say(global, format!("not recorded: {}", error.message));
                }
            }
        }
        if call["recorded"] == "asked" && preferences.allow {
            // It may have been taken back at this moment.
            let _ = client.call("call.consent", json!({ "call": id, "agree": true })).await;
        }
        if call["state"] != "ended" {
            show(global, &event, &told)?;
            show_recording(global, &event, &last);
            told = told_of(call);
            last.clone_from(call);
            continue;
        }
        // Of a call that is over they come when its files are complete.
        let last = client.call("call.stats", json!({ "call": id })).await?;
        stats.write(&last)?;
        let mut event = event.clone();
        event["stats"] = last;
        show(global, &event, &told)?;
        let reason = if interrupted && connected.is_none() { "interrupted" } else { field(&event["call"], "reason") };
        let (reason, text) = (reason.to_owned(), field(&event["call"], "text").to_owned());
        if interrupted && connected.is_none() {
            return Err(CliError::new("interrupted", 130, "interrupted"));
        }
        return Ok(Ended { reason, text, connected: connected.is_some() });
    }
}

/// Tells about recordings, ours and theirs, where something changed.
fn show_recording(global: &Global, event: &Value, before: &Value) {
    let (call, who) = (&event["call"], safe_line(field(&event["chat"], "name")));
    for (what, state) in [("recording", field(call, "recording")), ("recorded", field(call, "recorded"))] {
        let old = field(before, what);
        if global.json || old == state {
            continue;
        }
        match (what, state) {
            ("recording", "yes") => say(global, "recording"),
            ("recording", "asked") => say(global, format!("{who} is asked whether you may record")),
            ("recording", _) if !old.is_empty() => say(global, "not recording"),
            ("recorded", "asked") => {
                say(global, format!("{who} wants to record this call: starling call consent yes, or no"));
            }
            ("recorded", "yes") => say(global, format!("{who} records this call")),
            ("recorded", _) if !old.is_empty() => say(global, format!("{who} does not record")),
            _ => {}
        }
    }
}

/// What of a call is told when it changes: its state, and the emoji, which are others when the other side goes on on another device.
fn told_of(call: &Value) -> String {
    format!("{} {}", field(call, "state"), field(call, "emoji"))
}

/// Tells an event; `before` is what was told last.
fn show(global: &Global, event: &Value, before: &str) -> CliResult {
    if global.json {
        return print(event);
    }
    let call = &event["call"];
    let who = safe_line(field(&event["chat"], "name"));
    let trouble = field(call, "trouble");
    if !trouble.is_empty() {
        say(global, format!("note: {}", safe_line(trouble)));
    }
    match field(call, "state") {
        _ if told_of(call) == before => Ok(()),
        "ringing" if call["outgoing"] == true => print(format!("ringing {who}")),
        "ringing" if call["moved"] == true => print(format!("your call with {who} can be taken here")),
        "ringing" => print(format!("{who} calls")),
        "connected" => print(format!("connected with {who}   {}", field(call, "emoji"))),
        "interrupted" => print("interrupted; looking for another way"),
        "ended" => {
            match field(call, "reason") {
                "elsewhere" => print("another device of yours has the call")?,
                "declined" if call["outgoing"] == true => print(format!("{who} declined the call"))?,
                reason => print(format!("the call is over: {}", reason.replace('_', " ")))?,
            }
            // A route that was never connected has nothing to tell.
            let routes = event["stats"]["routes"].as_array().into_iter().flatten();
            for route in routes.filter(|route| !field(route, "path").is_empty()) {
                let number = |value: &Value| value.as_f64().unwrap_or(0.0);
                print(format!(
                    "{} · round trip {:.0} ms · sound {} packets, {} lost · video {} frames, {}×{}",
                    field(route, "path"),
                    number(&route["rtt_ms"]),
                    route["audio"]["packets"],
                    route["audio"]["lost"],
                    route["video"]["frames"],
                    route["video"]["width"],
                    route["video"]["height"],
                ))?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn list(global: &Global, client: &Client) -> CliResult {
    let calls = client.call("call.list", json!({})).await?;
    let chats = super::contacts_in_short(client).await?;
    for call in calls.as_array().into_iter().flatten() {
        if global.json {
            print(call)?;
            continue;
        }
        let contact = chats.as_array().into_iter().flatten().find(|c| c["chat"] == call["chat"]["id"]);
        let who = contact.map_or_else(String::new, |c| safe_line(field(c, "name")));
        let kind = if call["video"] == true { "video" } else { "audio" };
        print(format!("{}  {who}  {kind}  {}", field(call, "id"), field(call, "state")))?;
    }
    if global.json {
        return Ok(());
    }
    let elsewhere = client.call("call.elsewhere", json!({})).await?;
    for call in elsewhere.as_array().into_iter().flatten() {
        let contact = chats.as_array().into_iter().flatten().find(|c| c["chat"] == call["chat"]["id"]);
        let who = contact.map_or_else(String::new, |c| safe_line(field(c, "name")));
        let device = super::devices::short(field(call, "device"));
        print(format!("with {who} on your device {device}: starling call take brings it here"))?;
    }
    Ok(())
}

async fn devices(global: &Global) -> CliResult {
    use starling_node::media::{audio::device, video::camera};
    let found = tokio::task::spawn_blocking(|| (device::devices(), camera::cameras())).await;
    let (sound, cameras) = found.map_err(CliError::internal)?;
    if global.json {
        return print(json!({ "audio": sound, "cameras": cameras }));
    }
    for device in &sound {
        let kind = match (device.input, device.output) {
            (true, true) => "microphone and loudspeaker",
            (true, false) => "microphone",
            _ => "loudspeaker",
        };
        let default = if device.default { "  (default)" } else { "" };
        print(format!("{kind}: {}  [{}]{default}", safe_line(&device.name), device.system))?;
    }
    for camera in &cameras {
        print(format!("camera: {}", safe_line(&camera.name)))?;
    }
    if sound.is_empty() {
        say(global, "no sound devices: plug one in, or start the sound server");
    }
    if cameras.is_empty() {
        say(global, "no cameras");
    }
    Ok(())
}
