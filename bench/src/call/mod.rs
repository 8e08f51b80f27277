//! `starling-bench call`: what a call costs, how late it is, and what bad networks do to it. Whole calls in this process, over real sockets,
//! through a link that loses, delays and limits.

mod lips;
mod rate;
mod reference;
mod renderers;
mod speech;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::json;
use starling_media::{
    Call, CallConfig, CallEvent, MediaError, PeerConfig,
    audio::{AudioSink, AudioSource, TICK_TIME, Tick, level},
    spec::{AudioIn, AudioOut, VideoIn, VideoOut},
    stats::RouteStats,
    transport::link::Link,
    video::{Frame, Pace, VideoSink, VideoSource, pattern},
};
use tokio::sync::mpsc;

use crate::measure::{Percentiles, cpu_s, rss_kib};

type Times = Arc<Mutex<HashMap<u32, Instant>>>;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pattern, and when each frame was taken.
struct TimedPattern {
    size: (usize, usize),
    pace: Pace,
    taken: Times,
}

impl VideoSource for TimedPattern {
    fn read(&mut self, frame: &mut Frame) -> Result<bool, MediaError> {
        let number = self.pace.wait();
        frame.resize(self.size.0, self.size.1);
        pattern::draw(number, frame);
        lock(&self.taken).insert(number, Instant::now());
        Ok(true)
    }
}

/// How long frames took, and when they came.
#[derive(Clone, Default)]
struct Seen {
    late: Arc<Mutex<Vec<f64>>>,
    at: Arc<Mutex<Vec<Instant>>>,
}

struct TimedSink {
    taken: Times,
    seen: Seen,
}

impl VideoSink for TimedSink {
    fn decoded(&mut self, frame: &Frame) {
        lock(&self.seen.at).push(Instant::now());
        if let Some(then) = pattern::read(frame).and_then(|number| lock(&self.taken).remove(&number)) {
            lock(&self.seen.late).push(then.elapsed().as_secs_f64() * 1e3);
        }
    }

    fn show(&mut self, _: &Frame, _: Duration) -> Result<(), MediaError> {
        Ok(())
    }
}

/// A beep of 100 ms every half second; tells when each was taken up.
struct Beeps {
    pace: Pace,
    begun: Arc<Mutex<Vec<Instant>>>,
}

impl AudioSource for Beeps {
    fn read(&mut self, tick: &mut Tick) -> Result<bool, MediaError> {
        let number = self.pace.wait();
        let on = number % 50 < 10;
        if number.is_multiple_of(50) {
            lock(&self.begun).push(Instant::now());
        }
        for (i, sample) in tick.iter_mut().enumerate() {
            *sample = if on { 0.5 * (i as f32 * 0.13).sin() } else { 0.0 };
        }
        Ok(true)
    }
}

/// Hears beeps.
struct Ear {
    pace: Pace,
    begun: Arc<Mutex<Vec<Instant>>>,
    late: Arc<Mutex<Vec<f64>>>,
    hears: bool,
}

impl AudioSink for Ear {
    fn play(&mut self, tick: &Tick) -> Result<(), MediaError> {
        self.pace.wait();
        let loud = level(tick) > 0.1;
        if loud
            && !self.hears
            && let Some(then) = lock(&self.begun).pop()
            && then.elapsed() < Duration::from_millis(450)
        {
            lock(&self.late).push(then.elapsed().as_secs_f64() * 1e3);
        }
        self.hears = loud;
        Ok(())
    }
}

/// Two or more calls, connected with one another.
struct Mesh {
    calls: Vec<Call>,
    connected: Duration,
}

/// A connection that is not there after so long is made again, so many times.
const TRY: Duration = Duration::from_secs(6);
const TRIES: u32 = 5;

async fn mesh(configs: Vec<CallConfig>) -> anyhow::Result<Mesh> {
    let count = configs.len();
    let (mut calls, mut receivers) = (Vec::new(), Vec::new());
    for config in configs {
        let (call, events) = Call::start(config)?;
        calls.push(call);
        receivers.push(events);
    }
    let (ready, mut connected) = mpsc::channel(64);
    for (me, mut receiver) in receivers.into_iter().enumerate() {
        let (calls, ready) = (calls.clone(), ready.clone());
        tokio::spawn(async move {
            while let Some(event) = receiver.recv().await {
                match event {
                    CallEvent::Candidate(to, json) => {
                        let _ = calls[to as usize].candidate(me as u64, &json).await;
                    }
                    CallEvent::Connected(_) => {
                        let _ = ready.send(()).await;
                    }
                    _ => {}
                }
            }
        });
    }
    let began = Instant::now();
    let pairs = || (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
    for (a, b) in pairs() {
        let offer = calls[a].offer(b as u64).await?;
        agree(&calls, a, b, offer).await?;
    }
    let (mut left, mut tries) = (count * (count - 1), 1);
    while left > 0 {
        match tokio::time::timeout(TRY, connected.recv()).await {
            Ok(_) => left -= 1,
            Err(_) if tries == TRIES => anyhow::bail!("not connected after {TRIES} tries"),
            // As the node does it: a handshake that meets too much loss is given up, and another is made.
            Err(_) => {
                (tries, left) = (tries + 1, 0);
                for (a, b) in pairs() {
                    if let Some(offer) = calls[a].offer_again(b as u64).await? {
                        left += 2;
                        agree(&calls, a, b, offer).await?;
                    }
                }
            }
        }
    }
    Ok(Mesh { calls, connected: began.elapsed() })
}

async fn agree(calls: &[Call], a: usize, b: usize, offer: String) -> anyhow::Result<()> {
    let answer = calls[b].answer(a as u64, offer).await?;
    Ok(calls[a].accept(b as u64, answer).await?)
}

fn route(call: &Call, other: u64) -> RouteStats {
    call.stats().routes.into_iter().find(|r| r.route == other).unwrap_or_default()
}

fn config(audio: &str, video: &str, link: Option<&Link>) -> anyhow::Result<CallConfig> {
    let (audio, video): (AudioIn, VideoIn) = (audio.parse()?, video.parse()?);
    let mut config = CallConfig::from_specs(&audio, &AudioOut::None, &video, &VideoOut::None);
    config.peer = PeerConfig { loopback: true, link: link.cloned(), ..PeerConfig::default() };
    Ok(config)
}

/// A sender whose frames are timed, and a receiver that looks at them.
fn timed(size: (usize, usize), link: Option<&Link>) -> anyhow::Result<(CallConfig, CallConfig, Seen)> {
    let (taken, seen) = (Times::default(), Seen::default());
    let mut sender = config("tone", "pattern", link)?;
    let frames = taken.clone();
    sender.video_in = Some(Arc::new(move || {
        let pace = Pace::new(Duration::from_secs(1) / 30);
        Ok(Box::new(TimedPattern { size, pace, taken: frames.clone() }) as Box<dyn VideoSource>)
    }));
    let mut receiver = config("tone", "none", link)?;
    let looks = seen.clone();
    receiver.video_out = Some(Arc::new(move || {
        Ok(Box::new(TimedSink { taken: taken.clone(), seen: looks.clone() }) as Box<dyn VideoSink>)
    }));
    Ok((sender, receiver, seen))
}

async fn end(mesh: Mesh) {
    for call in &mesh.calls {
        call.end().await;
    }
}

/// Longest time without a frame since then.
fn freeze(seen: &Seen, since: Instant) -> f64 {
    let at = lock(&seen.at);
    let mut last = since;
    let mut longest = Duration::ZERO;
    for time in at.iter().filter(|t| **t >= since) {
        longest = longest.max(*time - last);
        last = *time;
    }
    longest.max(last.elapsed()).as_secs_f64()
}

fn frames_since(seen: &Seen, since: Instant) -> usize {
    lock(&seen.at).iter().filter(|t| **t >= since).count()
}

type Report = serde_json::Map<String, serde_json::Value>;

/// Runs all parts, or only one: `loopback`, `sound`, `lips`, `speech`, `loss`, `rate`, `mesh` or `renderers`.
pub async fn run(seconds: u64, only: Option<&str>) -> anyhow::Result<()> {
    let time = Duration::from_secs(seconds.max(3));
    println!("A call on this machine, {} s a run.", time.as_secs());
    let mut report = Report::new();
    let wanted = |part: &str| only.is_none_or(|only| only == part);
    if wanted("loopback") {
        loopback(time, &mut report).await?;
    }
    if wanted("sound") {
        sound(time, &mut report).await?;
    }
    if wanted("lips") {
        lips::run(time, &mut report).await?;
    }
    if wanted("loss") {
        loss(time, &mut report).await?;
    }
    if wanted("rate") {
        rate::run(time, &mut report).await?;
    }
    if wanted("mesh") {
        mesh_of_four(time, &mut report).await?;
    }
    if wanted("speech") {
        speech::run(&mut report)?;
    }
    if wanted("renderers") {
        renderers::run(&mut report)?;
    }
    println!("\n{}", serde_json::Value::Object(report));
    Ok(())
}

async fn loopback(time: Duration, report: &mut Report) -> anyhow::Result<()> {
    let own = std::process::id();
    println!("\n  size          fps   taken→decoded p50   p95      set-up   CPU a side   memory (both sides)");
    for size in [(640, 360), (1280, 720)] {
        let (sender, receiver, seen) = timed(size, None)?;
        let mesh = mesh(vec![sender, receiver]).await?;
        mesh.calls[1].want(0, size.1 as u32).await;
        // What the path carries has to be found first.
        tokio::time::sleep(Duration::from_secs(4)).await;
        lock(&seen.late).clear();
        let (since, cpu) = (Instant::now(), cpu_s(own));
        tokio::time::sleep(time).await;
        let cpu = (cpu_s(own) - cpu) / since.elapsed().as_secs_f64() * 50.0;
        let fps = frames_since(&seen, since) as f64 / since.elapsed().as_secs_f64();
        let late = Percentiles::of(lock(&seen.late).clone());
        let height = route(&mesh.calls[1], 0).video.height;
        let (set_up, memory) = (mesh.connected.as_secs_f64() * 1e3, rss_kib(own) / 1024);
        println!(
            "  {:>4}x{height:<4} {fps:>8.1} {:>14.1} ms {:>8.1} ms {set_up:>7.0} ms {cpu:>9.0} % {memory:>10} MB",
            size.0,
            late.at(50.0),
            late.at(95.0)
        );
        report.insert(
            format!("loopback_{}p", size.1),
            json!({ "fps": fps, "p50_ms": late.at(50.0), "p95_ms": late.at(95.0), "set_up_ms": set_up,
                    "cpu_percent_a_side": cpu, "height": height, "rss_mb": memory }),
        );
        end(mesh).await;
    }
    Ok(())
}

async fn sound(time: Duration, report: &mut Report) -> anyhow::Result<()> {
    let (begun, late) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let mut mouth = config("tone", "none", None)?;
    let beeps = begun.clone();
    mouth.audio_in = Some(Arc::new(move || {
        Ok(Box::new(Beeps { pace: Pace::new(TICK_TIME), begun: beeps.clone() }) as Box<dyn AudioSource>)
    }));
    let mut ear = config("none", "none", None)?;
    let heard = late.clone();
    ear.audio_out = Some(Arc::new(move || {
        let pace = Pace::new(TICK_TIME);
        Ok(Box::new(Ear { pace, begun: begun.clone(), late: heard.clone(), hears: false }) as Box<dyn AudioSink>)
    }));
    let sound = mesh(vec![mouth, ear]).await?;
    tokio::time::sleep(time).await;
    let late = Percentiles::of(lock(&late).clone());
    println!("\n  mouth to ear, without devices: p50 {:.0} ms, p95 {:.0} ms", late.at(50.0), late.at(95.0));
    report.insert("mouth_to_ear_ms".into(), json!({ "p50": late.at(50.0), "p95": late.at(95.0) }));
    end(sound).await;
    Ok(())
}

async fn loss(time: Duration, report: &mut Report) -> anyhow::Result<()> {
    println!(
        "\n  link (50 ms round trip)        fps  longest freeze  wire/media  sound again   lost  brought back  aims at     height  key frames asked  left out"
    );
    for (name, spec) in [
        ("no loss", "delay=25,seed=1"),
        ("10 % loss", "delay=25,loss=0.1,seed=2"),
        ("20 % loss", "delay=25,loss=0.2,seed=3"),
        ("10 % loss in bursts of 3", "delay=25,loss=0.1,burst=3,seed=4"),
    ] {
        let (out, mut back) = (Link::parse(spec).context("a link")?, Link::parse(spec).context("a link")?);
        back.seed += 100;
        let (mut sender, mut receiver, seen) = timed((640, 360), None)?;
        (sender.peer.link, receiver.peer.link) = (Some(out.clone()), Some(back));
        let mesh = mesh(vec![sender, receiver]).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (since, before, wire) = (Instant::now(), route(&mesh.calls[1], 0), out.seen.bytes.load(Relaxed));
        let payload = mesh.calls[0].payload_sent(1);
        let left_out = |mesh: &Mesh| mesh.calls[0].stats().skipped_frames + route(&mesh.calls[0], 1).dropped_frames;
        let left_before = left_out(&mesh);
        tokio::time::sleep(time).await;
        let after = route(&mesh.calls[1], 0);
        let fps = frames_since(&seen, since) as f64 / since.elapsed().as_secs_f64();
        let frozen = freeze(&seen, since);
        // All bytes of datagrams, beside the sound and video in them.
        let wire = (out.seen.bytes.load(Relaxed) - wire) as f64;
        let ratio = wire / (mesh.calls[0].payload_sent(1) - payload).max(1) as f64;
        let (again, lost) = (after.audio.again - before.audio.again, after.audio.lost - before.audio.lost);
        let back = after.audio.by_fec + after.audio.by_dred - before.audio.by_fec - before.audio.by_dred;
        let (target, asked) =
            (route(&mesh.calls[0], 1).target_bps / 1000, after.video.key_requests - before.video.key_requests);
        let (height, left) = (after.video.height, left_out(&mesh) - left_before);
        println!(
            "  {name:<26} {fps:>8.1} {frozen:>12.2} s {ratio:>10.2}x {again:>12} {lost:>6} {back:>13} {target:>8} kbit/s {height:>4}p {asked:>10} {left:>14}"
        );
        report.insert(
            name.replace(' ', "_"),
            json!({ "fps": fps, "freeze_s": frozen, "wire_ratio": ratio, "audio_lost": lost, "audio_back": back,
                    "audio_again": again, "target_kbit": target, "height": height, "key_requests": asked, "left_out": left }),
        );
        end(mesh).await;
    }
    Ok(())
}

async fn mesh_of_four(time: Duration, report: &mut Report) -> anyhow::Result<()> {
    let own = std::process::id();
    let configs: anyhow::Result<Vec<CallConfig>> = (0..4).map(|_| config("tone", "pattern", None)).collect();
    let mesh = mesh(configs?).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let frames = |mesh: &Mesh| -> u64 { (1..4).map(|other| route(&mesh.calls[0], other).video.frames).sum() };
    let (since, cpu, before) = (Instant::now(), cpu_s(own), frames(&mesh));
    tokio::time::sleep(time).await;
    let cpu = (cpu_s(own) - cpu) / since.elapsed().as_secs_f64() * 25.0;
    let fps = (frames(&mesh) - before) as f64 / since.elapsed().as_secs_f64() / 3.0;
    let sent: u64 = (1..4).map(|other| route(&mesh.calls[0], other).sent_bps).sum::<u64>() / 1000;
    println!("\n  mesh of 4 at 360p: {fps:.1} fps of each, {cpu:.0} % of a core and {sent} kbit/s up for each");
    end(mesh).await;
    report.insert("mesh_of_4".into(), json!({ "fps": fps, "cpu_percent_each": cpu, "kbit_up_each": sent }));
    Ok(())
}
