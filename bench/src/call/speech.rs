//! How speech sounds after a bad network: our encoder and jitter buffer in virtual time, judged by PESQ-WB (ITU-T P.862.2).
//!
//! The speech is that of Debian's `alsa-utils`; `judge_speech.py` judges, with Python's `pesq`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, bail};
use rand::{RngExt as _, SeedableRng, rngs::StdRng};
use serde_json::json;
use starling_media::{
    audio::{
        self, AudioSink, TICK_TIME,
        file::FileSink,
        opus::{Encoder, Protection},
        playout::Playout,
    },
    limits::{AUDIO_BITS, MAX_AUDIO_BITS, PACKET, TICK},
};

use super::Report;

const PROMPTS: &str = "/usr/share/sounds/alsa";
const NAMES: [&str; 6] = ["Front_Center", "Rear_Left", "Front_Left", "Rear_Center", "Front_Right", "Rear_Right"];
const SEEDS: u64 = 3;

pub fn run(report: &mut Report) -> anyhow::Result<()> {
    let mut speech = Vec::new();
    for name in NAMES.iter().cycle().take(3 * NAMES.len()) {
        let path = PathBuf::from(format!("{PROMPTS}/{name}.wav"));
        speech.extend(audio::file::read(&path).context("speech: apt-get install alsa-utils brings some")?);
    }
    let dir = tempfile::tempdir()?;
    let reference = dir.path().join("reference.wav");
    write(&reference, &speech)?;
    println!(
        "\n  speech ({} s)                      PESQ-WB   lost   by FEC   by DRED   concealed   delay",
        speech.len() / 48_000
    );
    let mut table = serde_json::Map::new();
    let patterns = [("clean", 0.0, 1.0), ("10 % isolated", 0.1, 1.0), ("10 % in bursts of 3", 0.1, 3.0)];
    let runs = [MAX_AUDIO_BITS, AUDIO_BITS].map(|bits| patterns.map(|(name, loss, burst)| (bits, name, loss, burst)));
    for (bits, name, loss, burst) in runs.into_iter().flatten() {
        let name = format!("{name}, {} kbit/s", bits / 1000);
        let (mut scores, mut heard) = (Vec::new(), audio::Heard::default());
        for seed in 0..SEEDS {
            let (played, seen) = through(&speech, bits, loss, burst, seed)?;
            let path = dir.path().join("heard.wav");
            write(&path, &played)?;
            scores.push(score(&reference, &path)?);
            heard = seen;
        }
        scores.sort_by(f64::total_cmp);
        let median = scores[scores.len() / 2];
        println!(
            "  {name:<32} {median:>8.2} {:>6} {:>8} {:>9} {:>11} {:>5} ms",
            heard.lost, heard.by_fec, heard.by_dred, heard.concealed, heard.delay_ms
        );
        table.insert(name.replace(' ', "_").replace(',', ""), json!({ "pesq_wb": median, "all": scores }));
    }
    report.insert("speech".into(), table.into());
    Ok(())
}

/// What is heard of speech behind a network that loses packets, as a call does it: the loss that the receiver saw decides each second how the
/// sender protects its packets.
fn through(speech: &[f32], bits: u32, loss: f64, burst: f64, seed: u64) -> anyhow::Result<(Vec<f32>, audio::Heard)> {
    let (mut encoder, mut playout) = (Encoder::new()?, Playout::new()?);
    encoder.set_bits(bits)?;
    let mut random = StdRng::seed_from_u64(seed);
    // Gilbert's model: a state that loses all, left after `burst` packets in the mean. Isolated losses have a packet between them.
    let (enter, leave) = (loss / (burst * (1.0 - loss)), 1.0 / burst);
    let (mut losing, mut percent, mut sequence) = (false, 0u32, 0u16);
    let start = Instant::now();
    let mut played = Vec::with_capacity(speech.len());
    // A second of silence: the delay of playout is played, too.
    let silence = [0.0; 48_000];
    for (number, packet) in [speech, &silence].concat().chunks_exact(PACKET).enumerate() {
        let now = start + TICK_TIME * 2 * number as u32;
        let mut samples = [0.0; PACKET];
        samples.copy_from_slice(packet);
        let encoded = encoder.encode(&samples)?;
        losing = if losing { burst > 1.0 && random.random_bool(1.0 - leave) } else { random.random_bool(enter) };
        // Silence is not sent, and is no loss.
        sequence = sequence.wrapping_add(u16::from(encoded.is_some()));
        if let Some(payload) = encoded.filter(|_| !losing) {
            playout.push(sequence, (number * PACKET) as u32, payload.into(), now);
        }
        for half in 0..2 {
            let mut tick = [0.0; TICK];
            playout.pull(&mut tick, now + TICK_TIME * half)?;
            played.extend_from_slice(&tick);
        }
        if number % 50 == 49 {
            let (seen, length) = playout.loss();
            percent = (percent * 2 + u32::from(seen)).div_ceil(3);
            encoder.adapt(percent.clamp(5, 100) as u8, Protection::for_pattern(length))?;
        }
    }
    Ok((played, playout.heard()))
}

fn write(path: &Path, samples: &[f32]) -> anyhow::Result<()> {
    let mut sink = FileSink::create(path)?.unpaced();
    for tick in samples.chunks_exact(TICK) {
        let mut out = [0.0; TICK];
        out.copy_from_slice(tick);
        sink.play(&out)?;
    }
    sink.finish()?;
    Ok(())
}

fn score(reference: &Path, heard: &Path) -> anyhow::Result<f64> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("judge_speech.py");
    let output = Command::new("python3").arg(script).arg(reference).arg(heard).output().context("python3")?;
    if !output.status.success() {
        bail!("PESQ: pip install pesq scipy\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}
