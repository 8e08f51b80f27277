//! Echo cancellation, noise suppression and gain control for a microphone (`sonora`, a port of WebRTC's audio processing).
//!
//! Only for microphones: a test tone is noise to it, and music from a file loses.

use std::sync::{Arc, Mutex, PoisonError};

use sonora::{
    AudioProcessing, Config, StreamConfig,
    config::{AdaptiveDigital, EchoCanceller, GainController2, HighPassFilter, NoiseSuppression},
};

use super::Tick;
use crate::limits::{SAMPLE_RATE, TICK};

/// Shared by the thread that plays and the one that records; each holds it for a fifth of a millisecond.
#[derive(Clone)]
pub struct Cleaner(Arc<Mutex<AudioProcessing>>);

impl std::fmt::Debug for Cleaner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cleaner").finish_non_exhaustive()
    }
}

impl Default for Cleaner {
    fn default() -> Self {
        let config = Config {
            echo_canceller: Some(EchoCanceller::default()),
            noise_suppression: Some(NoiseSuppression::default()),
            gain_controller2: Some(GainController2 {
                adaptive_digital: Some(AdaptiveDigital::default()),
                ..GainController2::default()
            }),
            high_pass_filter: Some(HighPassFilter::default()),
            ..Config::default()
        };
        let stream = || StreamConfig::new(SAMPLE_RATE, 1);
        let inner = AudioProcessing::builder().config(config).capture_config(stream()).render_config(stream()).build();
        Self(Arc::new(Mutex::new(inner)))
    }
}

impl Cleaner {
    /// What is about to be played: its echo will be looked for.
    pub fn played(&self, tick: &Tick) {
        let mut unused = [0.0; TICK];
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = inner.process_render_f32(&[tick], &mut [&mut unused]) {
            tracing::debug!(?error, "echo cancellation missed a frame");
        }
    }

    /// Cleans what a microphone took up. `delay_ms`: from playing to being heard again, as far as devices tell.
    pub fn clean(&self, tick: &mut Tick, delay_ms: u32) {
        let heard = *tick;
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // An error says that the delay was brought into the range of 0 to 500.
        let _ = inner.set_stream_delay_ms(delay_ms.min(500) as i32);
        if let Err(error) = inner.process_capture_f32(&[&heard], &mut [tick]) {
            tracing::debug!(?error, "a frame was not cleaned");
            *tick = heard;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::SmallRng};

    use super::{super::level, *};

    /// Something like speech: bursts of coloured noise.
    fn talk(rng: &mut SmallRng, n: usize) -> Tick {
        let mut tick = [0.0; TICK];
        let loud = if (n / 30) % 3 == 2 { 0.01 } else { 0.3 };
        let mut last = 0.0f32;
        for sample in &mut tick {
            last = 0.85 * last + 0.15 * rng.random_range(-1.0..1.0);
            *sample = last * loud * 2.0;
        }
        tick
    }

    #[test]
    fn the_echo_of_the_other_side_is_taken_out() {
        let cleaner = Cleaner::default();
        let mut rng = SmallRng::seed_from_u64(1);
        let mut played: Vec<Tick> = Vec::new();
        let (mut before, mut after) = (0.0, 0.0);
        for n in 0..800 {
            let tick = talk(&mut rng, n);
            played.push(tick);
            cleaner.played(&tick);
            // The room gives it back 60 ms later, quieter.
            let mut heard = n.checked_sub(6).map_or([0.0; TICK], |at| played[at].map(|s| s * 0.4));
            let echo = level(&heard);
            cleaner.clean(&mut heard, 60);
            if n > 400 {
                before += echo;
                after += level(&heard);
            }
        }
        assert!(after < before / 5.0, "{before} became {after}");
    }
}
