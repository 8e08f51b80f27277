//! The thread that captures and encodes sound: one encoder for all routes.
//!
//! Muted, it holds no microphone: the device is closed, and the system's light goes out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Instant,
};

use bytes::Bytes;

use super::{
    AudioSource, Tick, level,
    opus::{Encoder, Protection},
    process::Cleaner,
};
use crate::{
    MediaError,
    limits::{AUDIO_BITS, MAX_AUDIO_BITS, PACKET, TICK},
    outlets::Outlets,
    switch::Switch,
};

/// Opens a source, each time the microphone is turned on.
pub type MakeAudioSource = Arc<dyn Fn() -> Result<Box<dyn AudioSource>, MediaError> + Send + Sync>;

/// From what is played to what is heard of it, in milliseconds: three ticks of ours, and what sound servers have.
const ECHO_DELAY_MS: u32 = 60;

/// A path that carries so much has room for better sound.
const ROOM: u32 = 300_000;

/// What the thread works with.
pub struct AudioSend {
    /// Opens the source.
    pub source: MakeAudioSource,
    /// On while the microphone is to run.
    pub switch: Arc<Switch>,
    /// Where packets go.
    pub outlets: Arc<Outlets>,
    /// Cleans what a microphone takes up.
    pub cleaner: Cleaner,
    /// A microphone is open: what is played has to be known to the cleaner.
    pub cleaning: Arc<AtomicBool>,
    /// Level now, as the bits of an `f32`.
    pub level: Arc<AtomicU32>,
    /// Gets what was captured, for a recording.
    pub tap: Arc<dyn Fn(&Tick) + Send + Sync>,
    /// Told why the microphone was turned off by itself; nothing at the end of a file.
    pub ended: Box<dyn Fn(Option<MediaError>) + Send>,
    /// When the call began: the zero of all time stamps.
    pub start: Instant,
    /// Added to time stamps.
    pub base: u32,
}

impl AudioSend {
    /// Runs until the switch is ended.
    pub fn run(self) {
        while self.switch.wait_on() {
            let result = (self.source)().and_then(|source| self.stream(source));
            self.cleaning.store(false, Relaxed);
            self.level.store(0, Relaxed);
            match result {
                Ok(true) => continue,
                Ok(false) => (self.ended)(None),
                Err(error) => (self.ended)(Some(error)),
            }
            self.switch.set(false);
        }
    }

    fn stream(&self, mut source: Box<dyn AudioSource>) -> Result<bool, MediaError> {
        let mut encoder = Encoder::new()?;
        let microphone = source.is_microphone();
        self.cleaning.store(microphone, Relaxed);
        let mut tick = [0.0; TICK];
        let mut packet = [0.0; PACKET];
        let mut filled = 0;
        let mut timestamp = None;
        while self.switch.is_on() {
            if !source.read(&mut tick)? {
                return Ok(false);
            }
            if microphone {
                self.cleaner.clean(&mut tick, ECHO_DELAY_MS);
            }
            self.level.store(level(&tick).to_bits(), Relaxed);
            (self.tap)(&tick);
            packet[filled..filled + TICK].copy_from_slice(&tick);
            filled += TICK;
            if filled < PACKET {
                continue;
            }
            filled = 0;
            let at = *timestamp
                .get_or_insert_with(|| self.base.wrapping_add((self.start.elapsed().as_micros() * 48 / 1000) as u32));
            timestamp = Some(at.wrapping_add(PACKET as u32));
            self.send(&mut encoder, &packet, at)?;
        }
        Ok(true)
    }

    fn send(&self, encoder: &mut Encoder, packet: &[f32; PACKET], timestamp: u32) -> Result<(), MediaError> {
        let routes = self.outlets.all();
        // The worst route decides; a call of two has one.
        let worst = routes.iter().max_by_key(|r| r.loss_percent.load(Relaxed));
        let narrowest = routes.iter().map(|r| r.outlet.estimate.target()).min();
        if let Some(worst) = worst {
            let burst = f32::from(worst.loss_burst.load(Relaxed)) / 10.0;
            encoder.adapt(worst.loss_percent.load(Relaxed).max(5), Protection::for_pattern(burst))?;
        }
        if let Some(carried) = narrowest {
            encoder.set_bits(if carried >= ROOM { MAX_AUDIO_BITS } else { AUDIO_BITS })?;
        }
        if let Some(encoded) = encoder.encode(packet)? {
            let payload = Bytes::from(encoded);
            for route in routes.iter().filter(|r| !r.held.load(Relaxed)) {
                route.outlet.audio(payload.clone(), timestamp);
            }
        }
        Ok(())
    }
}
