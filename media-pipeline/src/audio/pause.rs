//! When silence need not be sent.
//!
//! Discontinuous transmission makes the short pauses of speech, and the ends of its words, worse than they were (0.1 to 0.2 of PESQ-WB without
//! any loss: `starling-bench call --only speech`). So it is allowed only once a pause is long.

/// Packets of 20 ms after which a pause is long: a second.
const LONG: u32 = 50;
/// So much louder than the noise around is not a pause.
const LOUDER: f32 = 2.5;
/// Level of what is silence anyway: -66 dB.
const SILENT: f32 = 0.0005;
/// The noise around may have become louder: by a twentieth each packet.
const RISE: f32 = 1.05;

/// Follows the noise around and tells pauses from speech. Taking noise for speech costs bits; taking a steady sound for a pause costs nothing,
/// since the codec still decides whether it is silence.
#[derive(Debug, Default)]
pub struct Pause {
    noise: Option<f32>,
    packets: u32,
}

impl Pause {
    /// Takes the level (0.0 to 1.0) of the next packet; gives whether it is in a long pause.
    pub fn is_long(&mut self, level: f32) -> bool {
        let noise = self.noise.map_or(level, |noise| level.min(noise.max(SILENT / LOUDER) * RISE));
        self.noise = Some(noise);
        let quiet = level <= SILENT.max(noise * LOUDER);
        self.packets = if quiet { self.packets.saturating_add(1) } else { 0 };
        self.packets > LONG
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(pause: &mut Pause, level: f32, packets: u32) -> Vec<bool> {
        (0..packets).map(|_| pause.is_long(level)).collect()
    }

    #[test]
    fn only_a_long_pause_is_one() {
        let mut pause = Pause::default();
        feed(&mut pause, 0.01, 20);
        // Words with half a second between them.
        for _ in 0..10 {
            assert!(!feed(&mut pause, 0.2, 10).contains(&true));
            assert!(!feed(&mut pause, 0.01, 25).contains(&true));
        }
        let long = feed(&mut pause, 0.01, 200);
        assert_eq!(long.iter().position(|long| *long), Some(25), "a second with what was before");
        assert!(!pause.is_long(0.2), "speech is heard from its first packet on");
    }

    #[test]
    fn noise_that_becomes_louder_is_a_pause_after_a_while() {
        let mut pause = Pause::default();
        feed(&mut pause, 0.001, 100);
        let noise = feed(&mut pause, 0.05, 300);
        assert!(!noise[0]);
        assert!(noise[299]);
    }
}
