//! Microphones and loudspeakers through `cpal`.
//!
//! The system calls us on threads of its own, with as many samples as it likes: rings of one writer and one reader stand between, so that
//! nothing waits there. A device that goes away is looked for again, and until it is back there is silence. `default` is followed: when it stands for
//! another device, that one is opened.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use serde::Serialize;

use super::{
    AudioSink, AudioSource, TICK_TIME, Tick,
    reopen::{Open, Reopening, Source, Systems},
};
use crate::{
    MediaError,
    limits::{SAMPLE_RATE, TICK},
    video::Pace,
};

/// Room of a ring: 200 ms, above what any sound server hands over at once.
const RING: usize = SAMPLE_RATE as usize / 5;
/// How much is kept ready for a loudspeaker: three ticks.
const AHEAD: usize = 3 * TICK;
/// A microphone that gives nothing for so long is taken for gone.
const SILENT: Duration = Duration::from_secs(2);
/// A loudspeaker that takes nothing for so long is taken for gone. Those that are connected by radio, and some sound servers, need seconds to begin.
const STUCK: Duration = Duration::from_secs(6);
/// A loudspeaker that takes nothing is waited for so long: what fits into the ring. Then sound goes on without it, and is not late afterwards.
const BUSY: Duration = Duration::from_millis(200);

/// One device, as shown in lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AudioDevice {
    /// Sound system that it belongs to.
    pub system: String,
    /// Its name, for `--audio-in` and `--audio-out`.
    pub name: String,
    /// It can record.
    pub input: bool,
    /// It can play.
    pub output: bool,
    /// It is what `default` stands for.
    pub default: bool,
}

fn is_alsa(id: &cpal::HostId) -> bool {
    id.name().eq_ignore_ascii_case("alsa")
}

/// Our connection to each sound server. There is one for all devices and all attempts to open them: the client for PulseAudio in cpal 0.18 never
/// ends a connection by which nothing was played or recorded, and the server refuses all programs beyond 64.
static SERVERS: Mutex<Vec<(cpal::HostId, Arc<cpal::Host>)>> = Mutex::new(Vec::new());

/// The sound system with this id, if it is there.
fn host(id: cpal::HostId) -> Option<Arc<cpal::Host>> {
    if is_alsa(&id) {
        return cpal::host_from_id(id).ok().map(Arc::new);
    }
    let servers = || SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    let of_id = |servers: &[(cpal::HostId, Arc<cpal::Host>)]| {
        servers.iter().find(|(known, _)| *known == id).map(|(_, server)| server.clone())
    };
    let known = of_id(&servers());
    // Others do not wait for this: where a server hangs, it does not return.
    if let Some(server) = &known
        && server.devices().is_ok()
    {
        return known;
    }
    // The server has ended the connection, or there was none. Meanwhile another thread may have made one.
    let mut servers = servers();
    if let Some(server) = of_id(&servers)
        && known.is_none_or(|ended| !Arc::ptr_eq(&ended, &server))
    {
        return Some(server);
    }
    servers.retain(|(known, _)| *known != id);
    // Takes two seconds at most.
    let server = Arc::new(cpal::host_from_id(id).ok()?);
    servers.push((id, server.clone()));
    Some(server)
}

/// Sound systems, the best first. Without a sound server, ALSA is asked directly. Each is begun when it is its turn.
fn hosts(systems: Systems) -> impl Iterator<Item = Arc<cpal::Host>> {
    let mut ids = cpal::available_hosts();
    ids.retain(|id| systems == Systems::All || !is_alsa(id));
    ids.sort_by_key(is_alsa);
    ids.into_iter().filter_map(host)
}

fn name_of(device: &cpal::Device) -> String {
    device.description().map_or_else(|_| device.to_string(), |d| d.name().to_owned())
}

/// What the sound system calls a device, whatever else is changed about it.
fn id_of(device: &cpal::Device) -> Option<String> {
    device.id().ok().map(|id| id.to_string())
}

/// All devices. May take a second: sound systems are asked.
pub fn devices() -> Vec<AudioDevice> {
    let mut found = Vec::new();
    for host in hosts(Systems::All) {
        let default_in = host.default_input_device().map(|d| name_of(&d));
        let default_out = host.default_output_device().map(|d| name_of(&d));
        let Ok(devices) = host.devices() else { continue };
        for device in devices {
            let name = name_of(&device);
            let (input, output) = (device.supports_input(), device.supports_output());
            let default =
                (input && default_in.as_ref() == Some(&name)) || (output && default_out.as_ref() == Some(&name));
            found.push(AudioDevice { system: host.id().name().to_owned(), name, input, output, default });
        }
    }
    found
}

/// A device, and whether it belongs to a sound server.
fn find(name: &str, input: bool, systems: Systems) -> Result<(cpal::Device, bool), MediaError> {
    let what = if input { "microphone" } else { "loudspeaker" };
    let fits = |device: &cpal::Device| if input { device.supports_input() } else { device.supports_output() };
    for host in hosts(systems) {
        let of_server = !is_alsa(&host.id());
        if name == "default" {
            let device = if input { host.default_input_device() } else { host.default_output_device() };
            if let Some(device) = device {
                return Ok((device, of_server));
            }
            // Where a server is there, ALSA would lead to it, or take away the device that it waits for.
            break;
        }
        let Ok(devices) = host.devices() else { continue };
        for device in devices {
            if fits(&device) && name_of(&device) == name {
                return Ok((device, of_server));
            }
        }
    }
    let hint = if name == "default" {
        format!(
            "there is no {what}; plug one in or start the sound server, or say --audio-{} none",
            if input { "in" } else { "out" }
        )
    } else {
        format!("there is no {what} called “{name}”; see starling call devices")
    };
    Err(MediaError::NoDevice(hint))
}

fn refused(device: &cpal::Device, error: &cpal::Error) -> MediaError {
    let name = name_of(device);
    let why = match error.kind() {
        cpal::ErrorKind::DeviceBusy => {
            "another program is using it; close that one or choose another device".to_owned()
        }
        cpal::ErrorKind::PermissionDenied => {
            "this user may not use it; on Linux the group `audio` is needed".to_owned()
        }
        _ => error.to_string(),
    };
    MediaError::NoDevice(format!("cannot use “{name}”: {why}"))
}

fn config() -> cpal::StreamConfig {
    cpal::StreamConfig { channels: 1, sample_rate: SAMPLE_RATE, buffer_size: cpal::BufferSize::Fixed(TICK as u32) }
}

fn config_any() -> cpal::StreamConfig {
    cpal::StreamConfig { buffer_size: cpal::BufferSize::Default, ..config() }
}

/// Opens a device with small buffers, or with its own where it has no such. One that is gone is not tried again: PulseAudio's own buffers are of two
/// seconds.
fn open_with<T>(open: impl Fn(cpal::StreamConfig) -> Result<T, cpal::Error>) -> Result<T, cpal::Error> {
    use cpal::ErrorKind::{DeviceNotAvailable, HostUnavailable, StreamInvalidated};
    open(config()).or_else(|error| match error.kind() {
        DeviceNotAvailable | HostUnavailable | StreamInvalidated => Err(error),
        _ => open(config_any()),
    })
}

fn record(name: &str, systems: Systems) -> Result<Open<rtrb::Consumer<f32>>, MediaError> {
    let (device, of_server) = find(name, true, systems)?;
    let opened = open_with(|config| {
        let (mut writer, ring) = rtrb::RingBuffer::new(RING);
        let gone = Arc::new(AtomicBool::new(false));
        let lost = gone.clone();
        let stream = device.build_input_stream(
            config,
            move |samples: &[f32], _: &cpal::InputCallbackInfo| {
                // What does not fit is old: the reader is late.
                for sample in samples {
                    let _ = writer.push(*sample);
                }
            },
            move |error: cpal::Error| report(&error, &lost),
            None,
        )?;
        stream.play()?;
        Ok((stream, ring, gone))
    });
    let (stream, ring, gone) = opened.map_err(|e| refused(&device, &e))?;
    Ok(Open { stream: Some(stream), ring, gone, of_server, device: id_of(&device) })
}

fn play(name: &str, systems: Systems) -> Result<Open<rtrb::Producer<f32>>, MediaError> {
    let (device, of_server) = find(name, false, systems)?;
    let opened = open_with(|config| {
        let (ring, mut reader) = rtrb::RingBuffer::new(RING);
        let gone = Arc::new(AtomicBool::new(false));
        let lost = gone.clone();
        let stream = device.build_output_stream(
            config,
            move |samples: &mut [f32], _: &cpal::OutputCallbackInfo| {
                for sample in samples {
                    *sample = reader.pop().unwrap_or(0.0);
                }
            },
            move |error: cpal::Error| report(&error, &lost),
            None,
        )?;
        stream.play()?;
        Ok((stream, ring, gone))
    });
    let (stream, ring, gone) = opened.map_err(|e| refused(&device, &e))?;
    Ok(Open { stream: Some(stream), ring, gone, of_server, device: id_of(&device) })
}

/// A device of this name that is opened by `open`.
fn source<R: 'static>(name: &str, input: bool, open: fn(&str, Systems) -> Result<Open<R>, MediaError>) -> Source<R> {
    let (opens, finds) = (name.to_owned(), name.to_owned());
    Source {
        what: if input { "microphone" } else { "loudspeaker" },
        opener: Arc::new(move |systems| open(&opens, systems)),
        finder: Arc::new(move || find(&finds, input, Systems::Servers).ok().and_then(|(device, _)| id_of(&device))),
        patience: if input { SILENT } else { STUCK },
    }
}

fn report(error: &cpal::Error, lost: &AtomicBool) {
    match error.kind() {
        // A late thread, or another device that is the default one now; the next callback comes all the same.
        cpal::ErrorKind::Xrun | cpal::ErrorKind::RealtimeDenied | cpal::ErrorKind::DeviceChanged => {}
        _ => lost.store(true, Relaxed),
    }
}

/// Checks that there is a device of this name, a microphone or a loudspeaker. May take a second: sound systems are asked.
///
/// # Errors
/// [`MediaError::NoDevice`].
pub fn check(name: &str, input: bool) -> Result<(), MediaError> {
    find(name, input, Systems::All).map(drop)
}

/// A microphone.
pub struct Microphone {
    name: String,
    device: Reopening<rtrb::Consumer<f32>>,
    pace: Pace,
}

impl std::fmt::Debug for Microphone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Microphone").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Microphone {
    /// Opens a device by its name; `default` is the system's choice.
    pub fn open(name: &str) -> Result<Self, MediaError> {
        let device = Reopening::open(source(name, true, record))?;
        Ok(Self { name: name.to_owned(), device, pace: Pace::new(TICK_TIME) })
    }
}

impl AudioSource for Microphone {
    fn read(&mut self, tick: &mut Tick) -> Result<bool, MediaError> {
        loop {
            let now = Instant::now();
            let Some(open) = self.device.get(now) else {
                // Silence, at the pace of the clock, until the device is back.
                self.pace.wait();
                tick.fill(0.0);
                return Ok(true);
            };
            if open.ring.slots() >= TICK {
                for sample in tick.iter_mut() {
                    *sample = open.ring.pop().unwrap_or(0.0);
                }
                self.device.moved(now);
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn is_microphone(&self) -> bool {
        true
    }
}

/// What a loudspeaker does with sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offer {
    /// It plays it.
    Taken,
    /// It has enough for now.
    Later,
    /// It is not there, or does not play.
    Dropped,
}

/// A loudspeaker.
pub struct Loudspeaker {
    name: String,
    device: Reopening<rtrb::Producer<f32>>,
    pace: Pace,
}

impl std::fmt::Debug for Loudspeaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loudspeaker").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Loudspeaker {
    /// Opens a device by its name; `default` is the system's choice.
    pub fn open(name: &str) -> Result<Self, MediaError> {
        let device = Reopening::open(source(name, false, play))?;
        Ok(Self { name: name.to_owned(), device, pace: Pace::new(TICK_TIME) })
    }

    /// Hands sound to the device, if that takes it.
    fn offer(&mut self, tick: &Tick, now: Instant) -> Offer {
        let Some(open) = self.device.get(now) else { return Offer::Dropped };
        if RING - open.ring.slots() <= AHEAD {
            for sample in tick {
                let _ = open.ring.push(*sample);
            }
            self.device.moved(now);
            return Offer::Taken;
        }
        if self.device.waits(now) > BUSY { Offer::Dropped } else { Offer::Later }
    }
}

impl AudioSink for Loudspeaker {
    fn play(&mut self, tick: &Tick) -> Result<(), MediaError> {
        loop {
            match self.offer(tick, Instant::now()) {
                Offer::Taken => return Ok(()),
                Offer::Later => std::thread::sleep(Duration::from_millis(2)),
                Offer::Dropped => {
                    // At the pace of the clock.
                    self.pace.wait();
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_loudspeaker_that_takes_nothing_holds_up_nothing_and_is_opened_again() {
        let readers = Arc::new(Mutex::new(Vec::new()));
        let opened = readers.clone();
        let opener = move |_: Systems| -> Result<Open<rtrb::Producer<f32>>, MediaError> {
            let (ring, reader) = rtrb::RingBuffer::<f32>::new(RING);
            opened.lock().unwrap().push(reader);
            Ok(Open { stream: None, ring, gone: Arc::default(), of_server: true, device: None })
        };
        let finder = Arc::new(|| None::<String>);
        let device =
            Reopening::open(Source { what: "loudspeaker", opener: Arc::new(opener), finder, patience: STUCK }).unwrap();
        let (tick, mut now) = ([0.1; TICK], Instant::now());
        let mut loudspeaker = Loudspeaker { name: "default".into(), device, pace: Pace::new(TICK_TIME) };
        let fill = |loudspeaker: &mut Loudspeaker, now| while loudspeaker.offer(&tick, now) == Offer::Taken {};
        fill(&mut loudspeaker, now);
        assert_eq!(loudspeaker.offer(&tick, now + BUSY), Offer::Later);
        assert_eq!(loudspeaker.offer(&tick, now + STUCK), Offer::Dropped);
        // It begins at last.
        readers.lock().unwrap()[0].read_chunk(TICK).unwrap().commit_all();
        now += STUCK;
        assert_eq!(loudspeaker.offer(&tick, now), Offer::Taken);
        fill(&mut loudspeaker, now);
        // It stops for good.
        assert_eq!(loudspeaker.offer(&tick, now + 2 * STUCK), Offer::Dropped);
        assert!(readers.lock().unwrap()[0].is_abandoned());
        while loudspeaker.offer(&tick, now + 3 * STUCK) == Offer::Dropped {
            std::thread::yield_now();
        }
        assert_eq!(readers.lock().unwrap().len(), 2);
    }
}
