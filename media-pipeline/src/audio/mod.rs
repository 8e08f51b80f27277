//! Sound: 48 kHz, mono, in steps of 10 ms.

pub mod device;
pub mod file;
pub mod opus;
mod pause;
pub mod playout;
pub mod process;
pub mod receive;
mod reopen;
pub mod send;
mod stretch;
mod watch;
mod wav;

use std::{f32::consts::TAU, time::Duration};

use serde::Serialize;

use crate::{
    MediaError,
    limits::{SAMPLE_RATE, TICK},
    video::Pace,
};

/// 10 ms of sound, -1.0 to 1.0.
pub type Tick = [f32; TICK];

/// How long a tick is.
pub const TICK_TIME: Duration = Duration::from_millis(10);

/// Where sound comes from. Lives on a thread of its own; dropping it closes the device.
pub trait AudioSource: Send {
    /// Waits until 10 ms are there. Gives false at the end.
    fn read(&mut self, tick: &mut Tick) -> Result<bool, MediaError>;

    /// Whether it is a microphone: echo, noise and level are only cared for there.
    fn is_microphone(&self) -> bool {
        false
    }
}

/// Where sound goes. Lives on a thread of its own, and sets that thread's pace.
pub trait AudioSink: Send {
    /// Plays 10 ms; waits as long as it needs so that ten calls take 100 ms.
    fn play(&mut self, tick: &Tick) -> Result<(), MediaError>;
    /// Everything was played: files are completed.
    fn finish(&mut self) -> Result<(), MediaError> {
        Ok(())
    }
}

/// A steady tone.
#[derive(Debug)]
pub struct Tone {
    hertz: f32,
    at: u64,
    pace: Pace,
}

impl Tone {
    /// A tone that begins now.
    pub fn new(hertz: u32) -> Self {
        Self { hertz: hertz as f32, at: 0, pace: Pace::new(TICK_TIME) }
    }
}

impl AudioSource for Tone {
    fn read(&mut self, tick: &mut Tick) -> Result<bool, MediaError> {
        self.pace.wait();
        for sample in tick {
            // The phase in whole turns keeps its precision for days.
            let turns = (self.at as f64 * f64::from(self.hertz) / f64::from(SAMPLE_RATE)).fract();
            *sample = 0.3 * (turns as f32 * TAU).sin();
            self.at += 1;
        }
        Ok(true)
    }
}

/// Nobody listens.
#[derive(Debug)]
pub struct NoSink(Pace);

impl Default for NoSink {
    fn default() -> Self {
        Self(Pace::new(TICK_TIME))
    }
}

impl AudioSink for NoSink {
    fn play(&mut self, _tick: &Tick) -> Result<(), MediaError> {
        self.0.wait();
        Ok(())
    }
}

/// Root mean square of samples, 0.0 to 1.0.
pub fn level(samples: &[f32]) -> f32 {
    (samples.iter().map(|s| s * s).sum::<f32>() / samples.len().max(1) as f32).sqrt()
}

/// How much of a tone is in samples: amplitude, by Goertzel's algorithm.
pub fn amplitude_of(samples: &[f32], hertz: f32) -> f32 {
    let step = TAU * hertz / SAMPLE_RATE as f32;
    let (sin, cos) = samples.iter().enumerate().fold((0.0f64, 0.0f64), |(sin, cos), (i, s)| {
        let turn = f64::from(step) * i as f64;
        (sin + f64::from(*s) * turn.sin(), cos + f64::from(*s) * turn.cos())
    });
    (2.0 * sin.hypot(cos) / samples.len().max(1) as f64) as f32
}

/// The strongest tone between 100 and 2,000 Hz, in steps of 5 Hz, and its amplitude.
pub fn strongest_tone(samples: &[f32]) -> (u32, f32) {
    let mut best = (0, 0.0);
    for hertz in (100..2_000).step_by(5) {
        let amplitude = amplitude_of(samples, hertz as f32);
        if amplitude > best.1 {
            best = (hertz, amplitude);
        }
    }
    best
}

/// What was heard of a participant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Heard {
    /// Packets that were decoded.
    pub packets: u64,
    /// Of those, lost on the way, asked for, and come in time.
    pub again: u64,
    /// Packets that were missing when they had to be played.
    pub lost: u64,
    /// Of those, brought back from the next packet (in-band forward error correction).
    pub by_fec: u64,
    /// Of those, brought back by deep redundancy.
    pub by_dred: u64,
    /// Of those, concealed.
    pub concealed: u64,
    /// Packets that came after their time.
    pub late: u64,
    /// The longest time without sound that was sent, in milliseconds.
    pub longest_gap_ms: u64,
    /// Milliseconds that were added by stretching.
    pub stretched_ms: u64,
    /// Milliseconds that were left out, by shrinking or because they were old.
    pub shrunk_ms: u64,
    /// Delay of playout now, in milliseconds.
    pub delay_ms: u64,
    /// Level at the moment, 0.0 to 1.0.
    pub level: f32,
}
