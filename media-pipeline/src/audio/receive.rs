//! The thread that plays: mixes the participants, 10 ms at a time, at the pace of the loudspeaker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use super::{AudioSink, NoSink, Tick, process::Cleaner};
use crate::{MediaError, limits::TICK, participant::Participants, switch::Switch};

/// Opens a sink.
pub type MakeAudioSink = Arc<dyn Fn() -> Result<Box<dyn AudioSink>, MediaError> + Send + Sync>;

/// What the thread works with.
pub struct AudioReceive {
    /// Opens the sink; without one, nobody listens.
    pub sink: Option<MakeAudioSink>,
    /// Ended with the call.
    pub switch: Arc<Switch>,
    /// Who is heard.
    pub participants: Arc<Participants>,
    /// Is told what is played.
    pub cleaner: Cleaner,
    /// Whether anybody needs that.
    pub cleaning: Arc<AtomicBool>,
    /// Gets what is played, for a recording or an echo.
    pub tap: Arc<dyn Fn(&Tick) + Send + Sync>,
    /// Told when the sink failed.
    pub failed: Box<dyn Fn(MediaError) + Send>,
}

impl AudioReceive {
    /// Runs until the switch is ended.
    pub fn run(self) {
        let mut sink: Box<dyn AudioSink> = match self.sink.as_ref().map(|make| make()) {
            Some(Ok(sink)) => sink,
            Some(Err(error)) => {
                (self.failed)(error);
                Box::new(NoSink::default())
            }
            None => Box::new(NoSink::default()),
        };
        while !self.switch.is_ended() {
            let mixed = self.mix();
            if self.cleaning.load(Relaxed) {
                self.cleaner.played(&mixed);
            }
            (self.tap)(&mixed);
            if let Err(error) = sink.play(&mixed) {
                (self.failed)(error);
                sink = Box::new(NoSink::default());
            }
        }
        if let Err(error) = sink.finish() {
            (self.failed)(error);
        }
    }

    fn mix(&self) -> Tick {
        let (mut mixed, now) = ([0.0; TICK], Instant::now());
        let mut tick = [0.0; TICK];
        for participant in self.participants.all() {
            if participant.pull(&mut tick, now) {
                for (sum, sample) in mixed.iter_mut().zip(&tick) {
                    *sum += sample;
                }
            }
        }
        // Several loud voices: rounded off, not cut off.
        mixed.map(|s| if s.abs() <= 0.9 { s } else { s.signum() * (0.9 + 0.1 * ((s.abs() - 0.9) * 10.0).tanh()) })
    }
}
