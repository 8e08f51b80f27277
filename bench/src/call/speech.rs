//! How speech sounds after a bad network: our encoder, requests for lost packets and jitter buffer in virtual time, judged by PESQ-WB (ITU-T
//! P.862.2).
//!
//! The speech is that of Debian's `alsa-utils`; `judge_speech.py` judges, with Python's `pesq`.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bytes::Bytes;
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
    transport::nack,
};

use super::Report;

const PROMPTS: &str = "/usr/share/sounds/alsa";
const NAMES: [&str; 6] = ["Front_Center", "Rear_Left", "Front_Left", "Rear_Center", "Front_Right", "Rear_Right"];
const SEEDS: u64 = 3;

/// What a network does to packets.
#[derive(Clone, Copy)]
struct Network {
    name: &'static str,
    loss: f64,
    burst: f64,
    /// Lost packets are asked for, if there is one.
    round_trip: Option<Duration>,
}

impl Network {
    const fn new(name: &'static str, loss: f64, burst: f64) -> Self {
        Self { name, loss, burst, round_trip: None }
    }

    const fn over(self, round_trip: Duration) -> Self {
        Self { round_trip: Some(round_trip), ..self }
    }
}

const NETWORKS: [Network; 3] = [
    Network::new("clean", 0.0, 1.0),
    Network::new("10 % isolated", 0.1, 1.0),
    Network::new("10 % in bursts of 3", 0.1, 3.0),
];
const EIGHT_PERCENT: Network = Network::new("8 %", 0.08, 1.0);
const ASKED_FOR: [Network; 4] = [
    EIGHT_PERCENT,
    EIGHT_PERCENT.over(Duration::from_micros(100)),
    EIGHT_PERCENT.over(Duration::from_millis(50)),
    EIGHT_PERCENT.over(Duration::from_millis(150)),
];

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
        "\n  speech ({} s)                round trip  PESQ-WB   sent again   lost   by FEC   by DRED   concealed   delay",
        speech.len() / 48_000
    );
    let mut table = serde_json::Map::new();
    let runs = [MAX_AUDIO_BITS, AUDIO_BITS].map(|bits| NETWORKS.map(|network| (bits, network)));
    let asked_for = ASKED_FOR.map(|network| (MAX_AUDIO_BITS, network));
    for (bits, network) in runs.into_iter().flatten().chain(asked_for) {
        let name = format!("{}, {} kbit/s", network.name, bits / 1000);
        let round_trip = network.round_trip.map(|time| format!("{} ms", time.as_secs_f64() * 1e3));
        let round_trip = round_trip.unwrap_or_default();
        let (mut scores, mut heard) = (Vec::new(), audio::Heard::default());
        for seed in 0..SEEDS {
            let (played, seen) = through(&speech, bits, network, seed)?;
            let path = dir.path().join("heard.wav");
            write(&path, &played)?;
            scores.push(score(&reference, &path)?);
            heard = seen;
        }
        scores.sort_by(f64::total_cmp);
        let median = scores[scores.len() / 2];
        let concealed = heard.concealed as f64 * 100.0 / (heard.packets + heard.lost).max(1) as f64;
        println!(
            "  {name:<32} {round_trip:>7} {median:>8.2} {:>12} {:>6} {:>8} {:>9} {concealed:>9.1} % {:>5} ms",
            heard.again, heard.lost, heard.by_fec, heard.by_dred, heard.delay_ms
        );
        let key = format!("{name} {round_trip}").trim().replace(' ', "_").replace(',', "");
        table.insert(
            key,
            json!({ "pesq_wb": median, "all": scores, "again": heard.again, "concealed_percent": concealed }),
        );
    }
    report.insert("speech".into(), table.into());
    Ok(())
}

/// What is heard of speech behind a network that loses packets, as a call does it: the loss that the receiver saw decides each second how the
/// sender protects its packets. What is asked for, and its answer, may be lost as well.
fn through(speech: &[f32], bits: u32, network: Network, seed: u64) -> anyhow::Result<(Vec<f32>, audio::Heard)> {
    let Network { loss, burst, round_trip, .. } = network;
    let time = round_trip.unwrap_or_default();
    let (mut stream, mut sent, mut came) = (nack::Stream::audio(), HashMap::new(), HashSet::new());
    // When they arrive, their number, and whether they were asked for.
    let mut under_way: Vec<(Instant, u16, bool)> = Vec::new();
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
        let begins = start + TICK_TIME * 2 * number as u32;
        let mut samples = [0.0; PACKET];
        samples.copy_from_slice(packet);
        let encoded = encoder.encode(&samples)?;
        losing = if losing { burst > 1.0 && random.random_bool(1.0 - leave) } else { random.random_bool(enter) };
        // Silence is not sent, and is no loss.
        sequence = sequence.wrapping_add(u16::from(encoded.is_some()));
        if let Some(payload) = encoded {
            sent.insert(sequence, ((number * PACKET) as u32, Bytes::from(payload)));
            if !losing {
                under_way.push((begins + time / 2, sequence, false));
            }
        }
        for ms in 0..20 {
            let now = begins + Duration::from_millis(ms);
            for (_, number, again) in under_way.extract_if(.., |(at, ..)| *at <= now).collect::<Vec<_>>() {
                let Some((timestamp, payload)) = sent.get(&number).filter(|_| came.insert(number)) else { continue };
                stream.saw(number, now);
                playout.set_repair(round_trip);
                let push = if again { Playout::push_again } else { Playout::push };
                push(&mut playout, number, *timestamp, payload.clone(), now);
            }
            for number in stream.due(now, time, playout.wait()) {
                if !random.random_bool(loss) && !random.random_bool(loss) {
                    under_way.push((now + time, number, true));
                }
            }
            if ms % 10 == 0 {
                let mut tick = [0.0; TICK];
                playout.pull(&mut tick, now)?;
                played.extend_from_slice(&tick);
            }
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
