//! Makes sound a little longer or shorter without changing its pitch, by adding or leaving out one period (Waveform similarity
//! overlap-add; Verhelst and Roelands, 1993).

use super::level;

/// Periods that are looked for: 2.5 to 10 ms.
const MIN_LAG: usize = 120;
const MAX_LAG: usize = 480;
/// Below this level anything may be cut: it is a pause.
const PAUSE: f32 = 0.01;

/// The period at the beginning of the samples, and how alike two of them in a row are (-1.0 to 1.0).
fn period(samples: &[f32]) -> (usize, f32) {
    let mut best = (MIN_LAG, -1.0);
    for lag in (MIN_LAG..=MAX_LAG).step_by(4) {
        let (mut dot, mut one, mut two) = (0.0f32, 1e-9f32, 1e-9f32);
        for i in (0..MAX_LAG).step_by(3) {
            let (Some(a), Some(b)) = (samples.get(i), samples.get(i + lag)) else { break };
            dot += a * b;
            one += a * a;
            two += b * b;
        }
        let alike = dot / f32::sqrt(one * two);
        if alike > best.1 {
            best = (lag, alike);
        }
    }
    best
}

fn fits(samples: &[f32], urgent: bool) -> Option<usize> {
    if samples.len() < 2 * MAX_LAG {
        return None;
    }
    let (lag, alike) = period(samples);
    (urgent || alike > 0.8 || level(samples) < PAUSE).then_some(lag)
}

fn fade(from: &[f32], to: &[f32]) -> impl Iterator<Item = f32> {
    let length = from.len() as f32;
    from.iter().zip(to).enumerate().map(move |(i, (a, b))| a + (b - a) * i as f32 / length)
}

/// The samples without one period; nothing where a cut would be heard and is not urgent.
pub fn shrink(samples: &[f32], urgent: bool) -> Option<Vec<f32>> {
    let lag = fits(samples, urgent)?;
    let mut out: Vec<f32> = fade(&samples[..lag], &samples[lag..2 * lag]).collect();
    out.extend_from_slice(&samples[2 * lag..]);
    Some(out)
}

/// The samples with one period more.
pub fn grow(samples: &[f32], urgent: bool) -> Option<Vec<f32>> {
    let lag = fits(samples, urgent)?;
    let mut out = samples[..lag].to_vec();
    out.extend(fade(&samples[lag..2 * lag], &samples[..lag]));
    out.extend_from_slice(&samples[lag..]);
    Some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::f32::consts::TAU;

    use super::{super::strongest_tone, *};

    #[test]
    fn a_tone_keeps_its_pitch() {
        let tone: Vec<f32> = (0..9_600).map(|i| 0.3 * (TAU * 440.0 * i as f32 / 48_000.0).sin()).collect();
        let (mut short, mut long) = (Vec::new(), Vec::new());
        for frame in tone.chunks(960) {
            short.extend(shrink(frame, false).unwrap());
            long.extend(grow(frame, false).unwrap());
        }
        assert!(short.len() < 8_500 && long.len() > 10_700);
        for stretched in [short, long] {
            let (hertz, amplitude) = strongest_tone(&stretched);
            assert!((430..=450).contains(&hertz), "{hertz}");
            assert!(amplitude > 0.2, "{amplitude}");
        }
    }
}
