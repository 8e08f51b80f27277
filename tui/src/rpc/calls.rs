//! Methods about calls.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use starling_node::{
    CallId, CallSetup, Media, Node,
    media::{self, Call, CallConfig, CallEvent, PeerConfig, audio, video},
    spec::{AudioIn, AudioOut, VideoIn, VideoOut},
};

use tokio::sync::mpsc;

use super::json as shape;
use crate::error::CliError;

/// The other side of a call of two.
const PEER: u64 = 0;

fn id(params: &Value) -> Result<CallId, CliError> {
    let text = params["call"].as_str().unwrap_or_default();
    text.parse().map_err(|_| CliError::usage("the parameter “call” is missing or no id of a call"))
}

fn spec<T: std::str::FromStr<Err = media::MediaError>>(
    params: &Value,
    name: &str,
    default: &str,
) -> Result<T, CliError> {
    params[name].as_str().unwrap_or(default).parse().map_err(|e| CliError::usage(format!("{name}: {e}")))
}

/// Files of other processes have to be named in full: this one may run elsewhere.
fn absolute(path: &Path, name: &str) -> Result<(), CliError> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(CliError::usage(format!("{name}: the path of a file has to be absolute here")))
}

/// What a call captures. Without a word: the system's microphone and loudspeaker, and the camera for video.
fn setup(params: &Value) -> Result<CallSetup, CliError> {
    let camera = params["video"].as_bool().unwrap_or(false) || params["video_in"].is_string();
    let setup = CallSetup {
        audio_in: spec(params, "audio_in", "default")?,
        audio_out: spec(params, "audio_out", "default")?,
        video_in: spec(params, "video_in", "default")?,
        video_out: spec(params, "video_out", "none")?,
        camera,
        relay_only: params["relay_only"].as_bool().unwrap_or(false),
    };
    if let AudioIn::File(path) = &setup.audio_in {
        absolute(path, "audio_in")?;
    }
    if let AudioOut::File(path) = &setup.audio_out {
        absolute(path, "audio_out")?;
    }
    if let VideoIn::File(path) = &setup.video_in {
        absolute(path, "video_in")?;
    }
    if let VideoOut::File(path) = &setup.video_out {
        absolute(path, "video_out")?;
    }
    Ok(CallSetup { camera: camera && setup.video_in != VideoIn::None, ..setup })
}

fn media(node: &Node, params: &Value) -> Result<Media, CliError> {
    node.call_media(id(params)?).ok_or_else(|| CliError::not_found("this call has no media here"))
}

/// Answers a method about calls; nothing if there is no such method.
pub async fn call(node: &Node, method: &str, params: &Value) -> Result<Option<Value>, CliError> {
    let done = json!({});
    Ok(Some(match method {
        "call.start" => {
            let chat = params["chat"].as_str().and_then(|c| c.parse().ok());
            let chat = chat.ok_or_else(|| CliError::usage("the parameter “chat” is missing or no id"))?;
            let id = node.call_start(chat, setup(params)?).await?;
            json!({ "call": id.to_string() })
        }
        "call.answer" => {
            node.call_answer(id(params)?, setup(params)?).await?;
            done
        }
        "call.hangup" => {
            let text = params["text"].as_str().unwrap_or_default().to_owned();
            node.call_hang_up(id(params)?, text).await?;
            done
        }
        "call.transfer" => {
            let device = match params["device"].as_str() {
                Some(text) => Some(super::server::device(node, text).await?),
                None => None,
            };
            node.call_transfer(id(params)?, device).await?;
            done
        }
        "call.take" => {
            let chat = params["chat"].as_str().and_then(|c| c.parse().ok());
            let id = node.call_fetch(chat, setup(params)?).await?;
            json!({ "call": id.to_string() })
        }
        "call.elsewhere" => node.calls_elsewhere().await?.iter().map(shape::call_elsewhere).collect(),
        "call.record" => {
            let path = params["path"].as_str().map(PathBuf::from);
            if let Some(path) = &path {
                absolute(path, "path")?;
            }
            node.call_record(id(params)?, path).await?;
            done
        }
        "call.consent" => {
            let agree = params["agree"].as_bool();
            let agree = agree.ok_or_else(|| CliError::usage("the parameter “agree” is true or false"))?;
            node.call_consent(id(params)?, agree).await?;
            done
        }
        "call.attend" => {
            let id = id(params)?;
            if !node.calls().await?.iter().any(|call| call.id == id) {
                return Err(CliError::not_found("there is no such call"));
            }
            done
        }
        "call.list" => node.calls().await?.iter().map(shape::call).collect(),
        "call.stats" => {
            let stats = node.call_stats(id(params)?).await;
            let mut stats = stats.map_or(Value::Null, |stats| serde_json::to_value(stats).unwrap_or_default());
            if let Some(media) = id(params).ok().and_then(|id| node.call_media(id)) {
                stats["has_hand"] = media.has_hand().into();
            }
            stats
        }
        "call.set" => {
            let call = media(node, params)?.call;
            if let Some(on) = params["microphone"].as_bool() {
                call.set_microphone(on).await;
            }
            if let Some(on) = params["camera"].as_bool() {
                call.set_camera(on).await;
            }
            if let Some(on) = params["hold"].as_bool() {
                call.set_hold(on).await;
            }
            serde_json::to_value(call.stats().state).unwrap_or_default()
        }
        "call.want" => {
            let height = params["height"].as_u64().unwrap_or(0).min(720) as u32;
            media(node, params)?.call.want(PEER, height).await;
            done
        }
        "call.share" => {
            let (columns, rows) = (params["columns"].as_u64().unwrap_or(80), params["rows"].as_u64().unwrap_or(24));
            let (columns, rows) = (columns.min(400) as u16, rows.min(400) as u16);
            let shared = media(node, params)?.call.share(params["command"].as_str(), columns, rows).await;
            shared.map_err(|e| CliError::usage(e.to_string()))?;
            done
        }
        "call.unshare" => {
            media(node, params)?.call.end_share().await;
            done
        }
        "call.hand" => {
            media(node, params)?.call.hand(PEER, params["given"].as_bool().unwrap_or(false)).await;
            done
        }
        "call.type" => {
            let bytes = params["text"].as_str().unwrap_or_default().as_bytes();
            let whose = (params["own"].as_bool() != Some(true)).then_some(PEER);
            media(node, params)?.call.type_in(whose, bytes).await;
            done
        }
        "call.devices" => devices().await,
        "call.test" => relay_test(node).await,
        _ => return Ok(None),
    }))
}

/// A call with ourselves through the relay of a rendezvous.
async fn relay_test(node: &Node) -> Value {
    match loop_through_relay(node).await {
        Ok((set_up, packets)) => {
            json!({ "ok": packets > 20, "set_up_ms": set_up.as_millis() as u64, "packets": packets })
        }
        Err(error) => json!({ "ok": false, "problem": error }),
    }
}

async fn loop_through_relay(node: &Node) -> Result<(Duration, u64), String> {
    let servers = node.call_servers().await.map_err(|e| e.to_string())?;
    if servers.is_empty() {
        return Err("no rendezvous of yours gave a relay".into());
    }
    let config = || {
        let mut config = CallConfig::from_specs(&AudioIn::Tone(440), &AudioOut::None, &VideoIn::None, &VideoOut::None);
        config.peer = PeerConfig { servers: servers.clone(), relay_only: true, loopback: true, link: None };
        config
    };
    let started = |call: Result<(Call, mpsc::Receiver<CallEvent>), media::MediaError>| call.map_err(|e| e.to_string());
    let (one, mut events) = started(Call::start(config()))?;
    let (two, mut others) = started(Call::start(config()))?;
    let began = Instant::now();
    let talk = async {
        let offer = one.offer(PEER).await.map_err(|e| e.to_string())?;
        let answer = two.answer(PEER, offer).await.map_err(|e| e.to_string())?;
        one.accept(PEER, answer).await.map_err(|e| e.to_string())?;
        let mut connected = (false, false);
        while connected != (true, true) {
            let (event, to) = tokio::select! {
                event = events.recv() => (event, &two),
                event = others.recv() => (event, &one),
            };
            match event {
                Some(CallEvent::Candidate(_, json)) => drop(to.candidate(PEER, &json).await),
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
    result.unwrap_or_else(|_| Err("the relay does not answer: its UDP port may be closed".into()))
}

/// Sound devices and cameras; asking the system takes a moment.
async fn devices() -> Value {
    let found = tokio::task::spawn_blocking(|| (audio::device::devices(), video::camera::cameras())).await;
    let (sound, cameras) = found.unwrap_or_default();
    json!({ "audio": sound, "cameras": cameras })
}
