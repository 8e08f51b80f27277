//! Following a call on the command line to its end.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use starling_control::{
    Event,
    event::EventKind,
    lines::CallChange,
    methods::calls::{AgreeToRecording, HangUp, Record, Stats},
    objects::{Call, CallEnd, CallId, CallPhase, CallStats, ChatRef, Consent},
};

use super::{
    call_media::{StatsFile, absolute},
    print, print_object, say,
};
use crate::{
    cli::Global,
    error::{CliError, CliResult},
    rpc::Client,
    signals,
    terminal::safe_line,
};

/// What is to be done in a watched call.
pub struct Preferences {
    /// Hang up after this time of talking.
    pub duration: Option<Duration>,
    /// Ask to record to this file.
    pub record: Option<PathBuf>,
    /// Agree to be recorded.
    pub allow: bool,
}

/// How a watched call ended.
pub struct Ended {
    pub reason: CallEnd,
    pub connected: bool,
    text: String,
}

impl Ended {
    /// The result of a verb that made or took the call.
    pub fn result(self) -> CliResult {
        let word = if self.text.is_empty() { String::new() } else { format!(": {}", safe_line(&self.text)) };
        match self.reason {
            CallEnd::HungUp | CallEnd::Elsewhere => Ok(()),
            CallEnd::Cancelled if self.connected => Ok(()),
            CallEnd::Cancelled => Err(CliError::new("cancelled", 6, "the caller hung up before there was an answer")),
            CallEnd::Declined => Err(CliError::new("declined", 6, format!("the call was declined{word}"))),
            CallEnd::Busy => Err(CliError::new("busy", 6, format!("they are busy{word}"))),
            CallEnd::NoAnswer => Err(CliError::timeout("nobody answered").hint("they see a missed call")),
            CallEnd::Lost => Err(CliError::new("lost", 3, format!("the call was lost{word}"))),
            CallEnd::Insecure => Err(CliError::new("insecure", 6, format!("the call was not safe{word}"))
                .hint("compare safety numbers by another way before you call again: starling safety")),
            CallEnd::Failed => Err(CliError::new("failed", 3, format!("the call could not be connected{word}"))
                .hint("starling call test shows what works")),
        }
    }
}

/// A call that is followed.
struct Watched<'a> {
    global: &'a Global,
    client: &'a Client,
    preferences: &'a Preferences,
    id: CallId,
    /// Since when the two talk.
    connected: Option<Instant>,
    hang_up_at: Option<Instant>,
    /// As it was shown last.
    shown: Option<Call>,
}

/// Follows a call to its end, and reports on standard output what happens to it. A signal hangs up.
///
/// # Errors
/// If the node stops, or a signal came before the two were connected (`interrupted`).
pub async fn watch(
    global: &Global,
    client: &Client,
    id: CallId,
    preferences: &Preferences,
    stats: &mut StatsFile,
) -> CliResult<Ended> {
    let mut watched = Watched { global, client, preferences, id, connected: None, hang_up_at: None, shown: None };
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut stop = Box::pin(signals::received());
    let mut interrupted = false;
    loop {
        let hang_up_at = watched.hang_up_at;
        let until = async {
            match hang_up_at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            event = client.event() => event?,
            _ = second.tick() => {
                if watched.connected.is_some() {
                    stats.write(watched.stats().await?.as_ref())?;
                }
                continue;
            }
            () = until => {
                watched.hang_up_at = None;
                watched.hang_up().await?;
                continue;
            }
            _ = &mut stop, if !interrupted => {
                interrupted = true;
                // It may be over by itself at this moment.
                let _ = watched.hang_up().await;
                continue;
            }
        };
        let Some((chat, call)) = watched.change(&event).await? else { continue };
        // Of a call that is over they come when its files are complete.
        let measured = watched.stats().await?;
        stats.write(measured.as_ref())?;
        show(global, &event, &chat, &call, watched.shown.as_ref(), measured)?;
        if interrupted && watched.connected.is_none() {
            return Err(CliError::new("interrupted", 130, "interrupted"));
        }
        return Ok(Ended {
            reason: call.reason.unwrap_or(CallEnd::Failed),
            text: call.text.unwrap_or_default(),
            connected: watched.connected.is_some(),
        });
    }
}

impl Watched<'_> {
    async fn stats(&self) -> CliResult<Option<CallStats>> {
        self.client.call(Stats { call: self.id.clone() }).await
    }

    async fn hang_up(&self) -> CliResult {
        self.client.call(HangUp { call: self.id.clone(), text: None }).await.map(|_| ())
    }

    /// Takes an event; gives the call when it is over.
    async fn change(&mut self, event: &Event) -> CliResult<Option<(ChatRef, Call)>> {
        let (EventKind::CallIncoming { chat, call } | EventKind::CallState { chat, call }) = &event.kind else {
            return Ok(None);
        };
        if call.id != self.id {
            return Ok(None);
        }
        if call.state == CallPhase::Ended {
            // Both called at once: the same call goes on under another name.
            if let Some(next) = &call.replaced_by {
                self.id = next.clone();
                return Ok(None);
            }
            return Ok(Some((chat.clone(), call.clone())));
        }
        if call.state == CallPhase::Connected && self.connected.is_none() {
            self.connect().await;
        }
        if call.recorded == Consent::Asked && self.preferences.allow {
            // It may have been taken back at this moment.
            let _ = self.client.call(AgreeToRecording { call: self.id.clone(), agree: true }).await;
        }
        show(self.global, event, chat, call, self.shown.as_ref(), None)?;
        show_recording(self.global, chat, call, self.shown.as_ref());
        self.shown = Some(call.clone());
        Ok(None)
    }

    /// The two talk from now on.
    async fn connect(&mut self) {
        self.connected = Some(Instant::now());
        self.hang_up_at = self.preferences.duration.map(|d| Instant::now() + d);
        if let Some(file) = &self.preferences.record {
            let asked = self.client.call(Record { call: self.id.clone(), path: Some(absolute(file)) }).await;
            if let Err(error) = asked {
                say(self.global, format!("not recorded: {}", error.message));
            }
        }
    }
}

/// Says what has changed about recordings, of this side and of the other.
fn show_recording(global: &Global, chat: &ChatRef, call: &Call, before: Option<&Call>) {
    let who = safe_line(chat.name.as_deref().unwrap_or_default());
    let old = before.map(|call| call.recording);
    match call.recording {
        now if old == Some(now) => {}
        Consent::Yes => say(global, "recording"),
        Consent::Asked => say(global, format!("{who} is asked whether you may record")),
        Consent::No if old.is_some() => say(global, "not recording"),
        Consent::No => {}
    }
    let old = before.map(|call| call.recorded);
    match call.recorded {
        now if old == Some(now) => {}
        Consent::Asked => say(global, format!("{who} wants to record this call: starling call consent yes, or no")),
        Consent::Yes => say(global, format!("{who} records this call")),
        Consent::No if old.is_some() => say(global, format!("{who} does not record")),
        Consent::No => {}
    }
}

/// Reports a change of a call; `before` is the call as it was reported last, `stats` what was measured of one that is over.
pub fn show(
    global: &Global,
    event: &Event,
    chat: &ChatRef,
    call: &Call,
    before: Option<&Call>,
    stats: Option<CallStats>,
) -> CliResult {
    if global.json {
        return print_object(&CallChange { event: event.clone(), stats });
    }
    if let Some(trouble) = &call.trouble {
        say(global, format!("note: {}", safe_line(trouble)));
    }
    // The emoji are others when the other side goes on on another device.
    if before.is_some_and(|before| (before.state, &before.emoji) == (call.state, &call.emoji)) {
        return Ok(());
    }
    let who = safe_line(chat.name.as_deref().unwrap_or_default());
    match call.state {
        CallPhase::Ringing if call.outgoing => print(format!("ringing {who}")),
        CallPhase::Ringing if call.moved => print(format!("your call with {who} can be taken here")),
        CallPhase::Ringing => print(format!("{who} calls")),
        CallPhase::Connected => print(format!("connected with {who}   {}", call.emoji)),
        CallPhase::Interrupted => print("interrupted; looking for another way"),
        CallPhase::Ended => show_end(&who, call, stats.as_ref()),
        CallPhase::Starting | CallPhase::Connecting => Ok(()),
    }
}

fn show_end(who: &str, call: &Call, stats: Option<&CallStats>) -> CliResult {
    match call.reason {
        Some(CallEnd::Elsewhere) => print("another device of yours has the call")?,
        Some(CallEnd::Declined) if call.outgoing => print(format!("{who} declined the call"))?,
        reason => {
            let reason = reason.map(CallEnd::as_str).unwrap_or_default().replace('_', " ");
            print(format!("the call is over: {reason}"))?;
        }
    }
    // A route that was never connected has nothing to tell.
    let routes = stats.map(|stats| stats.routes.as_slice()).unwrap_or_default();
    for (route, path) in routes.iter().filter_map(|route| Some((route, route.path.as_deref()?))) {
        let (audio, video) = (&route.audio, &route.video);
        print(format!(
            "{path} · round trip {:.0} ms · sound {} packets, {} lost · video {} frames, {}×{}",
            route.rtt_ms.unwrap_or_default(),
            audio.packets,
            audio.lost,
            video.frames,
            video.width,
            video.height,
        ))?;
    }
    Ok(())
}
