//! What the node does for the methods about calls.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    time::{Duration, Instant},
};

use starling_control::{
    Error, Serve,
    methods::{
        Done,
        calls::{self, MAX_HEIGHT, MAX_MICROPHONE_MS, MAX_TERMINAL},
    },
    objects::{self, DeviceId, MediaDevices, RelayTest},
};
use starling_node::{
    CallId, CallSetup, Media, Node,
    media::{self, Call, CallConfig, CallEvent, IceServer, PeerConfig},
    spec::{AudioIn, AudioOut, VideoIn, VideoOut},
};
use tokio::sync::mpsc;

use super::{
    convert,
    serve::{id, optional_id},
    session::{Session, Then},
    stats,
};
use crate::error::CliError;

/// The route of a call with ourselves.
const TEST_ROUTE: u64 = 0;

fn call_id(call: &objects::CallId) -> Result<CallId, Error> {
    id("call", call.as_str())
}

/// Reads where something is captured or goes.
fn spec<T: FromStr<Err = media::MediaError>>(param: &str, given: Option<&str>, default: &str) -> Result<T, Error> {
    given.unwrap_or(default).parse().map_err(|error| Error::invalid_param(param, error))
}

/// Files of other processes have to be named in full: this one may run elsewhere.
fn absolute(param: &str, path: &Path) -> Result<(), Error> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(Error::invalid_param(param, "the path of a file has to be absolute here"))
}

fn setup(asked: &calls::Media) -> Result<CallSetup, Error> {
    let camera = asked.video.unwrap_or(false) || asked.video_in.is_some();
    let setup = CallSetup {
        audio_in: spec("audio_in", asked.audio_in.as_deref(), "default")?,
        audio_out: spec("audio_out", asked.audio_out.as_deref(), "default")?,
        video_in: spec("video_in", asked.video_in.as_deref(), "default")?,
        video_out: spec("video_out", asked.video_out.as_deref(), "none")?,
        camera,
        relay_only: asked.relay_only.unwrap_or(false),
    };
    if let AudioIn::File(path) = &setup.audio_in {
        absolute("audio_in", path)?;
    }
    if let AudioOut::File(path) = &setup.audio_out {
        absolute("audio_out", path)?;
    }
    if let VideoIn::File(path) = &setup.video_in {
        absolute("video_in", path)?;
    }
    if let VideoOut::File(path) = &setup.video_out {
        absolute("video_out", path)?;
    }
    Ok(CallSetup { camera: camera && setup.video_in != VideoIn::None, ..setup })
}

/// Checks the sound devices that are asked for by name, before somebody is called who would hear nothing. (The system's choice may come and go.)
async fn check_devices(setup: &CallSetup) -> Result<(), Error> {
    let named = |name: &String| (name != "default").then(|| name.clone());
    let microphone = if let AudioIn::Device(name) = &setup.audio_in { named(name) } else { None };
    let loudspeaker = if let AudioOut::Device(name) = &setup.audio_out { named(name) } else { None };
    for (param, name, input) in [("audio_in", microphone, true), ("audio_out", loudspeaker, false)] {
        let Some(name) = name else { continue };
        let found = tokio::task::spawn_blocking(move || media::audio::device::check(&name, input)).await;
        found.map_err(CliError::internal)?.map_err(|error| Error::invalid_param(param, error))?;
    }
    Ok(())
}

/// The media of a call.
fn media_of(node: &Node, call: &objects::CallId) -> Result<Media, Error> {
    let media = node.call_media(call_id(call)?);
    media.ok_or_else(|| CliError::not_found("this call has no media here").into())
}

/// Which participant is meant: the one on this route, or the first one if none is named.
fn route(media: &Media, route: Option<u64>) -> u64 {
    route.or_else(|| media.call.routes().first().copied()).unwrap_or_default()
}

impl Serve<calls::Start> for Session {
    async fn serve(&self, request: calls::Start) -> Result<calls::Started, Error> {
        let setup = setup(&request.media())?;
        check_devices(&setup).await?;
        let call = self.served.node.call_start(id("chat", request.chat.as_str())?, setup).await;
        let call = call.map_err(CliError::from)?;
        // It may be over already.
        let _ = self.attends(call).await;
        Ok(calls::Started { call: call.to_string().into() })
    }
}

impl Serve<calls::Answer> for Session {
    async fn serve(&self, request: calls::Answer) -> Result<Done, Error> {
        let (call, setup) = (call_id(&request.call)?, setup(&request.media())?);
        check_devices(&setup).await?;
        self.served.node.call_answer(call, setup).await.map_err(CliError::from)?;
        // It may be over already.
        let _ = self.attends(call).await;
        Ok(Done {})
    }
}

impl Serve<calls::Take> for Session {
    async fn serve(&self, request: calls::Take) -> Result<calls::Started, Error> {
        let chat = optional_id("chat", request.chat.as_ref().map(|chat| chat.as_str()))?;
        let call = self.served.node.call_fetch(chat, setup(&request.media())?).await.map_err(CliError::from)?;
        // It may be over already.
        let _ = self.attends(call).await;
        Ok(calls::Started { call: call.to_string().into() })
    }
}

impl Serve<calls::HangUp> for Session {
    async fn serve(&self, request: calls::HangUp) -> Result<Done, Error> {
        let call = call_id(&request.call)?;
        self.served.node.call_hang_up(call, request.text.unwrap_or_default()).await.map_err(CliError::from)?;
        Ok(Done {})
    }
}

impl Serve<calls::Transfer> for Session {
    async fn serve(&self, request: calls::Transfer) -> Result<Done, Error> {
        let node = &self.served.node;
        let device = match request.device.as_ref().map(DeviceId::as_str) {
            Some(text) => Some(super::devices::device(node, text).await?),
            None => None,
        };
        node.call_transfer(call_id(&request.call)?, device).await.map_err(CliError::from)?;
        Ok(Done {})
    }
}

impl Serve<calls::Elsewhere> for Session {
    async fn serve(&self, _: calls::Elsewhere) -> Result<Vec<objects::CallElsewhere>, Error> {
        let calls = self.served.node.calls_elsewhere().await.map_err(CliError::from)?;
        Ok(calls.iter().map(convert::call_elsewhere).collect())
    }
}

impl Serve<calls::Record> for Session {
    async fn serve(&self, request: calls::Record) -> Result<Done, Error> {
        let path = request.path.map(PathBuf::from);
        if let Some(path) = &path {
            absolute("path", path)?;
        }
        self.served.node.call_record(call_id(&request.call)?, path).await.map_err(CliError::from)?;
        Ok(Done {})
    }
}

impl Serve<calls::AgreeToRecording> for Session {
    async fn serve(&self, request: calls::AgreeToRecording) -> Result<Done, Error> {
        self.served.node.call_consent(call_id(&request.call)?, request.agree).await.map_err(CliError::from)?;
        Ok(Done {})
    }
}

impl Serve<calls::Attend> for Session {
    async fn serve(&self, request: calls::Attend) -> Result<Done, Error> {
        let call = call_id(&request.call)?;
        if !self.served.node.calls().await.map_err(CliError::from)?.iter().any(|c| c.id == call) {
            return Err(CliError::not_found("there is no such call").into());
        }
        self.attends(call).await?;
        Ok(Done {})
    }
}

impl Serve<calls::List> for Session {
    async fn serve(&self, _: calls::List) -> Result<Vec<objects::Call>, Error> {
        Ok(self.served.node.calls().await.map_err(CliError::from)?.iter().map(convert::call).collect())
    }
}

impl Serve<calls::Stats> for Session {
    async fn serve(&self, request: calls::Stats) -> Result<Option<objects::CallStats>, Error> {
        let call = call_id(&request.call)?;
        let media = self.served.node.call_media(call);
        let measured = self.served.node.call_stats(call).await;
        Ok(measured.map(|measured| stats::call(&measured, media.as_ref())))
    }
}

impl Serve<calls::Set> for Session {
    async fn serve(&self, request: calls::Set) -> Result<objects::SelfState, Error> {
        let call = media_of(&self.served.node, &request.call)?.call;
        if request.microphone_ms > Some(MAX_MICROPHONE_MS) {
            return Err(Error::invalid_param("microphone_ms", format!("at most {MAX_MICROPHONE_MS}")));
        }
        if let Some(on) = request.microphone {
            // A key that is held opens it for a moment, again and again.
            let time = request.microphone_ms.filter(|_| on).map(Duration::from_millis);
            self.served.node.call_talk(call_id(&request.call)?, time).await.map_err(CliError::from)?;
            call.set_microphone(on).await;
        }
        if let Some(on) = request.camera {
            call.set_camera(on).await;
        }
        if let Some(on) = request.hold {
            call.set_hold(on).await;
        }
        Ok(stats::state(call.stats().state))
    }
}

impl Serve<calls::Want> for Session {
    async fn serve(&self, request: calls::Want) -> Result<Done, Error> {
        if request.height > MAX_HEIGHT {
            return Err(Error::invalid_param("height", format!("at most {MAX_HEIGHT}")));
        }
        let media = media_of(&self.served.node, &request.call)?;
        media.call.want(route(&media, request.route), request.height).await;
        Ok(Done {})
    }
}

impl Serve<calls::Share> for Session {
    async fn serve(&self, request: calls::Share) -> Result<Done, Error> {
        let (columns, rows) = (request.columns.unwrap_or(80), request.rows.unwrap_or(24));
        for (param, size) in [("columns", columns), ("rows", rows)] {
            if size > MAX_TERMINAL {
                return Err(Error::invalid_param(param, format!("at most {MAX_TERMINAL}")));
            }
        }
        let call = media_of(&self.served.node, &request.call)?.call;
        let shared = call.share(request.command.as_deref(), columns, rows).await;
        shared.map_err(|error| Error::invalid_param("command", error))?;
        Ok(Done {})
    }
}

impl Serve<calls::Unshare> for Session {
    async fn serve(&self, request: calls::Unshare) -> Result<Done, Error> {
        media_of(&self.served.node, &request.call)?.call.end_share().await;
        Ok(Done {})
    }
}

impl Serve<calls::Hand> for Session {
    async fn serve(&self, request: calls::Hand) -> Result<Done, Error> {
        let media = media_of(&self.served.node, &request.call)?;
        let handed = media.call.hand(route(&media, request.route), request.given).await;
        handed.map_err(|error| Error::invalid_param("given", error))?;
        Ok(Done {})
    }
}

impl Serve<calls::Type> for Session {
    async fn serve(&self, request: calls::Type) -> Result<Done, Error> {
        let media = media_of(&self.served.node, &request.call)?;
        let own = request.own.unwrap_or_else(|| request.route.is_none() && media.call.is_sharing());
        if own && !media.call.is_sharing() {
            return Err(Error::invalid_param("own", "no terminal is shared here"));
        }
        if !own && !media.has_hand() {
            return Err(Error::invalid_param("own", "the other side has not handed over the keyboard of its terminal"));
        }
        let whose = (!own).then(|| route(&media, request.route));
        media.call.type_in(whose, request.text.as_bytes()).await;
        Ok(Done {})
    }
}

impl Serve<calls::Watch> for Session {
    async fn serve(&self, request: calls::Watch) -> Result<calls::Watching, Error> {
        if self.follows() {
            return Err(Error::invalid_request("pictures need a connection of their own"));
        }
        let media = media_of(&self.served.node, &request.call)?;
        let route = route(&media, request.route);
        self.then(Then::Watch(Box::new(media), route));
        Ok(calls::Watching { frames: true })
    }
}

impl Serve<calls::Devices> for Session {
    /// Asking the system takes a moment.
    async fn serve(&self, _: calls::Devices) -> Result<MediaDevices, Error> {
        Ok(tokio::task::spawn_blocking(convert::media_devices).await.unwrap_or_default())
    }
}

impl Serve<calls::Test> for Session {
    /// A call with ourselves through the relay of a rendezvous: over UDP, or over the connection with the rendezvous, as calls do. Through a proxy
    /// nothing is sent by UDP.
    async fn serve(&self, _: calls::Test) -> Result<RelayTest, Error> {
        let failed = |problem| RelayTest { ok: false, set_up_ms: None, packets: None, problem: Some(problem) };
        let worked = |(set_up, packets): (Duration, u64), problem| RelayTest {
            ok: packets > ENOUGH_PACKETS,
            set_up_ms: Some(set_up.as_millis() as u64),
            packets: Some(packets),
            problem,
        };
        let servers = match self.served.node.call_servers().await {
            Ok(servers) => servers,
            Err(error) => return Ok(failed(error.to_string())),
        };
        let relayed = PeerConfig { servers, relay_only: true, loopback: true, ..PeerConfig::default() };
        if self.served.node.is_proxied() {
            let through_proxy = PeerConfig { tunnel_only: true, ..relayed };
            return Ok(match loop_through_relay(through_proxy).await {
                Ok(result) => worked(result, None),
                Err(problem) => failed(problem),
            });
        }
        let without_tunnel = |server: &IceServer| IceServer { tunnel: None, ..server.clone() };
        let by_udp = PeerConfig { servers: relayed.servers.iter().map(without_tunnel).collect(), ..relayed.clone() };
        Ok(match loop_through_relay(by_udp).await {
            Ok(result) => worked(result, None),
            Err(problem) => match loop_through_relay(relayed).await {
                Ok(result) => {
                    let but = format!("{problem}: calls go over the connection with the rendezvous");
                    worked(result, Some(but))
                }
                Err(_) => failed(problem),
            },
        })
    }
}

/// Packets of sound that come within a second through a relay that works; there are 50.
const ENOUGH_PACKETS: u64 = 20;

async fn loop_through_relay(peer: PeerConfig) -> Result<(Duration, u64), String> {
    if peer.servers.is_empty() {
        return Err("no rendezvous of yours gave a relay".into());
    }
    let config = || {
        let mut config = CallConfig::from_specs(&AudioIn::Tone(440), &AudioOut::None, &VideoIn::None, &VideoOut::None);
        config.peer = peer.clone();
        config
    };
    let started = |call: Result<(Call, mpsc::Receiver<CallEvent>), media::MediaError>| call.map_err(|e| e.to_string());
    let (one, mut events) = started(Call::start(config()))?;
    let (two, mut others) = started(Call::start(config()))?;
    let began = Instant::now();
    let talk = async {
        let offer = one.offer(TEST_ROUTE).await.map_err(|e| e.to_string())?;
        let answer = two.answer(TEST_ROUTE, offer).await.map_err(|e| e.to_string())?;
        one.accept(TEST_ROUTE, answer).await.map_err(|e| e.to_string())?;
        let mut connected = (false, false);
        while connected != (true, true) {
            let (event, to) = tokio::select! {
                event = events.recv() => (event, &two),
                event = others.recv() => (event, &one),
            };
            match event {
                Some(CallEvent::Candidate(_, json)) => drop(to.candidate(TEST_ROUTE, &json).await),
                Some(CallEvent::Connected(_)) if std::ptr::eq(to, &two) => connected.0 = true,
                Some(CallEvent::Connected(_)) => connected.1 = true,
                Some(CallEvent::Failed(_)) | None => return Err("the relay does not connect".to_owned()),
                _ => {}
            }
        }
        let set_up = began.elapsed();
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok((set_up, two.stats().routes.first().map_or(0, |r| r.audio.packets)))
    };
    let result = tokio::time::timeout(Duration::from_secs(12), talk).await;
    one.end().await;
    two.end().await;
    let why = if peer.tunnel_only { "through the proxy" } else { "its UDP port may be closed" };
    result.unwrap_or_else(|_| Err(format!("the relay does not answer: {why}")))
}
