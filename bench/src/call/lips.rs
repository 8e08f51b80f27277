//! Whether lips fit the voice: flashes and beeps that are taken at the same moments, and when each is shown and played at the other end.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::json;
use starling_media::{
    MediaError,
    audio::{AudioSink, AudioSource, TICK_TIME, Tick, level},
    transport::link::Link,
    video::{Frame, Pace, VideoSink, VideoSource},
};

use super::{Report, config, end, lock, mesh};
use crate::measure::Percentiles;

/// A flash and a beep begin this often …
const EVERY: Duration = Duration::from_millis(700);
/// … and last so long.
const LASTS: Duration = Duration::from_millis(150);

type Moments = Arc<Mutex<Vec<Instant>>>;

fn is_on(began: Instant) -> bool {
    began.elapsed().as_millis() % EVERY.as_millis() < LASTS.as_millis()
}

struct Flashes {
    pace: Pace,
    began: Instant,
}

impl VideoSource for Flashes {
    fn read(&mut self, frame: &mut Frame) -> Result<bool, MediaError> {
        self.pace.wait();
        *frame = Frame::black(320, 180);
        if is_on(self.began) {
            frame.planes_mut().0.fill(235);
        }
        Ok(true)
    }
}

struct Beeps {
    pace: Pace,
    began: Instant,
}

impl AudioSource for Beeps {
    fn read(&mut self, tick: &mut Tick) -> Result<bool, MediaError> {
        self.pace.wait();
        let loud = if is_on(self.began) { 0.5 } else { 0.0 };
        for (i, sample) in tick.iter_mut().enumerate() {
            *sample = loud * (i as f32 * 0.13).sin();
        }
        Ok(true)
    }
}

struct Eye {
    bright: bool,
    moments: Moments,
}

impl VideoSink for Eye {
    fn show(&mut self, frame: &Frame, _: Duration) -> Result<(), MediaError> {
        let (luma, ..) = frame.planes();
        let bright = luma.first().is_some_and(|y| *y > 128);
        if bright && !self.bright {
            lock(&self.moments).push(Instant::now());
        }
        self.bright = bright;
        Ok(())
    }
}

struct Ear {
    pace: Pace,
    loud: bool,
    moments: Moments,
}

impl AudioSink for Ear {
    fn play(&mut self, tick: &Tick) -> Result<(), MediaError> {
        self.pace.wait();
        let loud = level(tick) > 0.1;
        if loud && !self.loud {
            lock(&self.moments).push(Instant::now());
        }
        self.loud = loud;
        Ok(())
    }
}

/// How much later sound is than its picture, in milliseconds.
pub async fn run(time: Duration, report: &mut Report) -> anyhow::Result<()> {
    println!("\n  sound after its picture          p5        p50        p95");
    for (name, spec) in
        [("no loss", "delay=25,seed=1"), ("10 % loss, 60 ms of jitter", "delay=25,jitter=60,loss=0.1,seed=2")]
    {
        let link = Link::parse(spec).context("a link")?;
        let (began, seen, heard) = (Instant::now(), Moments::default(), Moments::default());
        let mut sender = config("tone", "pattern", Some(&link))?;
        sender.video_in = Some(Arc::new(move || {
            Ok(Box::new(Flashes { pace: Pace::new(Duration::from_secs(1) / 30), began }) as Box<dyn VideoSource>)
        }));
        sender.audio_in =
            Some(Arc::new(move || Ok(Box::new(Beeps { pace: Pace::new(TICK_TIME), began }) as Box<dyn AudioSource>)));
        let mut receiver = config("none", "none", None)?;
        let moments = seen.clone();
        receiver.video_out =
            Some(Arc::new(move || Ok(Box::new(Eye { bright: false, moments: moments.clone() }) as Box<dyn VideoSink>)));
        let moments = heard.clone();
        receiver.audio_out = Some(Arc::new(move || {
            let pace = Pace::new(TICK_TIME);
            Ok(Box::new(Ear { pace, loud: false, moments: moments.clone() }) as Box<dyn AudioSink>)
        }));
        let mesh = mesh(vec![sender, receiver]).await?;
        // The jitter buffer finds its depth, and the clocks of both streams have to be told.
        tokio::time::sleep(Duration::from_secs(6)).await;
        lock(&seen).clear();
        lock(&heard).clear();
        tokio::time::sleep(time * 2).await;
        let (seen, heard) = (lock(&seen).clone(), lock(&heard).clone());
        let after = |picture: &Instant| -> Option<f64> {
            let ms = |sound: &Instant| {
                let late = sound.saturating_duration_since(*picture).as_secs_f64();
                (late - picture.saturating_duration_since(*sound).as_secs_f64()) * 1e3
            };
            heard.iter().map(ms).filter(|ms| ms.abs() < 350.0).min_by(|a, b| a.abs().total_cmp(&b.abs()))
        };
        let all = Percentiles::of(seen.iter().filter_map(after).collect());
        let (low, median, high) = (all.at(5.0), all.at(50.0), all.at(95.0));
        println!("  {name:<26} {low:>7.0} ms {median:>7.0} ms {high:>7.0} ms");
        report.insert(
            format!("sound_after_picture_{}", name.replace(' ', "_")),
            json!({ "p5_ms": low, "p50_ms": median, "p95_ms": high }),
        );
        end(mesh).await;
    }
    Ok(())
}
