//! Recordings: what is said and seen in a call, in one file. Whether all have agreed is its caller's matter.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    MediaError,
    audio::{Tick, file::OggWriter},
    files,
    limits::{PACKET, TICK},
    switch::Switch,
    video::{Frame, Pace, mp4::Mp4Writer},
};

/// Size of a recording's pictures.
const SIZE: (usize, usize) = (640, 360);
/// Size of our own picture in its corner, while there is another.
const CORNER: (usize, usize) = (160, 90);
/// Pictures a second.
const PICTURES: u32 = 15;
/// Sound that waits to be mixed: clocks of devices differ, and threads are late.
const WAITING: usize = 30 * TICK;
/// Sound of 20 ms at a time.
const STEP: Duration = Duration::from_millis(20);

/// Sound on its way into a recording.
#[derive(Debug, Default)]
pub struct SoundTap(Mutex<VecDeque<f32>>);

impl SoundTap {
    /// 10 ms more.
    pub fn put(&self, tick: &Tick) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(tick);
        let much = waiting.len().saturating_sub(WAITING);
        waiting.drain(..much);
    }

    /// Adds what waits to `mixed`.
    fn mix(&self, mixed: &mut [f32; PACKET]) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let length = waiting.len().min(PACKET);
        for (sum, sample) in mixed.iter_mut().zip(waiting.drain(..length)) {
            *sum += sample;
        }
    }
}

/// A picture that changes.
pub type View = watch::Receiver<Option<Arc<Frame>>>;

/// What goes into a recording.
pub struct Inputs {
    /// What our microphone takes up, and what is played here.
    pub sound: [Arc<SoundTap>; 2],
    /// Everybody else.
    pub others: Vec<View>,
    /// Our own camera.
    pub own: View,
}

enum Writer {
    Video(Box<Mp4Writer<BufWriter<File>>>),
    Sound(Box<OggWriter<BufWriter<File>>>),
}

/// A file that is being recorded to.
pub struct Recorder {
    writer: Writer,
    /// For the last write to be durable.
    file: File,
    inputs: Inputs,
    canvas: Frame,
}

/// Whether a recording can have this name.
pub fn check(path: &Path) -> Result<(), MediaError> {
    let named = |kinds: &[&str]| path.extension().is_some_and(|e| kinds.iter().any(|k| e.eq_ignore_ascii_case(k)));
    if !named(&["mp4", "ogg", "opus"]) {
        return Err(MediaError::File(format!("{}: a recording is .mp4, or .ogg for sound alone", path.display())));
    }
    if path.exists() {
        return Err(MediaError::File(format!("{}: the file is there already; choose another name", path.display())));
    }
    files::check(&[], &[path.to_owned()])
}

impl Recorder {
    /// Makes the file, which only its owner can read. One that is there is left alone.
    pub fn create(path: &Path, inputs: Inputs) -> Result<Self, MediaError> {
        check(path)?;
        let failed = |e: std::io::Error| MediaError::File(format!("{}: {e}", path.display()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        let out = BufWriter::new(file.try_clone().map_err(failed)?);
        let video = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("mp4"));
        let writer = if video {
            Writer::Video(Box::new(Mp4Writer::new(out, true)?))
        } else {
            Writer::Sound(Box::new(OggWriter::new(out)?))
        };
        Ok(Self { writer, file, inputs, canvas: Frame::black(SIZE.0, SIZE.1) })
    }

    /// Records until the switch is ended; then the file is complete.
    pub fn run(mut self, switch: &Switch) -> Result<(), MediaError> {
        let result = self.record(switch);
        let finished = match &mut self.writer {
            Writer::Video(writer) => writer.finish(),
            Writer::Sound(writer) => writer.finish(),
        };
        result.and(finished)?;
        let durable = self.file.flush().and_then(|()| self.file.sync_all());
        durable.map_err(|e| MediaError::File(format!("the recording could not be completed: {e}")))
    }

    fn record(&mut self, switch: &Switch) -> Result<(), MediaError> {
        let mut pace = Pace::new(STEP);
        let (mut steps, mut pictures) = (0u64, 0u32);
        while !switch.is_ended() {
            pace.wait();
            let mut mixed = [0.0; PACKET];
            for tap in &self.inputs.sound {
                tap.mix(&mut mixed);
            }
            for sample in &mut mixed {
                *sample = sample.clamp(-1.0, 1.0);
            }
            match &mut self.writer {
                Writer::Sound(writer) => writer.add(&mixed)?,
                Writer::Video(writer) => {
                    writer.sound(&mixed)?;
                    // Time is what was recorded: sound and pictures stay together whatever the clock does.
                    let at = STEP * steps as u32;
                    if at >= Duration::from_secs(1) * pictures / PICTURES {
                        pictures += 1;
                        draw(&mut self.canvas, &mut self.inputs);
                        writer.picture(&self.canvas, at)?;
                    }
                }
            }
            steps += 1;
        }
        Ok(())
    }
}

/// The others side by side, ourselves in the corner; alone, we have all of it.
fn draw(canvas: &mut Frame, inputs: &mut Inputs) {
    let newest = |view: &mut View| view.borrow_and_update().clone();
    let others: Vec<Arc<Frame>> = inputs.others.iter_mut().filter_map(newest).collect();
    let own = newest(&mut inputs.own);
    *canvas = Frame::black(SIZE.0, SIZE.1);
    let columns = (others.len() as f64).sqrt().ceil().max(1.0) as usize;
    let rows = others.len().div_ceil(columns).max(1);
    let (width, height) = (SIZE.0 / columns, SIZE.1 / rows);
    for (i, frame) in others.iter().enumerate() {
        canvas.paste(&frame.scaled(width, height), i % columns * width, i / columns * height);
    }
    match own {
        Some(own) if others.is_empty() => *canvas = own.scaled(SIZE.0, SIZE.1),
        Some(own) => canvas.paste(&own.scaled(CORNER.0, CORNER.1), SIZE.0 - CORNER.0 - 8, SIZE.1 - CORNER.1 - 8),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::{
        audio::{self, AudioSource, Tone, strongest_tone},
        video::{mp4, pattern},
    };

    /// Both sides' sound, and both pictures, for a second.
    fn recorded(name: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        let sound = [Arc::<SoundTap>::default(), Arc::default()];
        let (mut theirs, mut ours) = (Frame::black(320, 180), Frame::black(320, 180));
        pattern::draw(7, &mut theirs);
        ours.planes_mut().0.fill(200);
        let (other, own) = (watch::Sender::new(Some(Arc::new(theirs))), watch::Sender::new(Some(Arc::new(ours))));
        let inputs = Inputs { sound: sound.clone(), others: vec![other.subscribe()], own: own.subscribe() };
        let recorder = Recorder::create(&path, inputs).unwrap();
        let switch = Arc::new(Switch::new(true));
        let ended = switch.clone();
        let tones = [440, 880].map(|hertz| {
            let mut tone = Tone::new(hertz);
            move |tap: &SoundTap| {
                let mut tick = [0.0; TICK];
                tone.read(&mut tick).unwrap();
                tap.put(&tick);
            }
        });
        let [mut first, mut second] = tones;
        // A busy machine may be late with some of the rest.
        for _ in 0..20 {
            first(&sound[0]);
            second(&sound[1]);
        }
        let thread = std::thread::spawn(move || recorder.run(&ended));
        for _ in 0..120 {
            first(&sound[0]);
            second(&sound[1]);
        }
        switch.end();
        thread.join().unwrap().unwrap();
        (dir, path)
    }

    #[test]
    fn both_sides_are_heard_and_seen() {
        let (_dir, path) = recorded("call.mp4");
        let (mut pictures, mut corner) = (0, 0);
        mp4::frames(&path, |frame| {
            pictures += 1;
            corner = frame.data[(frame.height - 40) * frame.width + frame.width - 60];
        })
        .unwrap();
        assert!((12..=25).contains(&pictures), "{pictures}");
        assert!(corner.abs_diff(200) < 12, "{corner}");
        let samples = audio::file::read(&path).unwrap();
        let [ours, theirs] = [440.0, 880.0].map(|hertz| audio::amplitude_of(&samples[9_600..], hertz));
        assert!(ours > 0.15 && theirs > 0.15, "{ours} {theirs}");
    }

    #[test]
    fn sound_alone_is_an_ogg_and_nothing_is_replaced() {
        let (_dir, path) = recorded("call.ogg");
        let samples = audio::file::read(&path).unwrap();
        assert!([440, 880].contains(&strongest_tone(&samples[9_600..]).0));
        assert!(check(&path).is_err());
        assert!(check(Path::new("/nowhere/at/all.mp4")).is_err());
        assert!(check(Path::new("call.txt")).is_err());
    }
}
