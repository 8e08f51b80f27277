//! How speech sounds at the other end of a call: PESQ-WB (ITU-T P.862.2).
//!
//! The speech is that of Debian's `alsa-utils`; `bench/judge_speech.py` judges, with Python's `pesq`.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use starling_media::{
    audio::{self, AudioSink, file::FileSink},
    limits::TICK,
};
use starling_tests::{lab::Lab, run_to_end};

/// What it takes.
pub const NEEDS: &str = "Python's pesq and scipy, and alsa-utils";
const PROMPTS: &str = "/usr/share/sounds/alsa";
const NAMES: [&str; 6] = ["Front_Center", "Rear_Left", "Front_Left", "Rear_Center", "Front_Right", "Rear_Right"];

/// Some sentences, which are said again and again, and what arrives of them.
pub struct Speech {
    said: PathBuf,
    heard: PathBuf,
    python: OsString,
}

impl Speech {
    /// `None` where there is no speech, or nobody to judge.
    pub fn new(lab: &Lab) -> Option<Self> {
        let python = std::env::var_os("STARLING_PESQ_PYTHON").unwrap_or_else(|| "python3".into());
        let mut judge = Command::new(&python);
        judge.args(["-c", "import pesq, scipy"]).stdin(Stdio::null()).stderr(Stdio::null());
        if !judge.status().is_ok_and(|status| status.success()) {
            return None;
        }
        let speech = Self { said: lab.file("said.wav"), heard: lab.file("heard.wav"), python };
        let mut sink = FileSink::create(&speech.said).unwrap().unpaced();
        for name in NAMES {
            let samples = audio::file::read(&Path::new(PROMPTS).join(format!("{name}.wav"))).ok()?;
            for piece in samples.chunks(TICK) {
                let mut tick = [0.0; TICK];
                tick[..piece.len()].copy_from_slice(piece);
                sink.play(&tick).unwrap();
            }
        }
        sink.finish().unwrap();
        Some(speech)
    }

    pub fn said(&self) -> &str {
        self.said.to_str().unwrap()
    }

    pub fn heard(&self) -> &str {
        self.heard.to_str().unwrap()
    }

    /// Of what was heard after the beginning.
    pub fn score(&self, beginning: Duration) -> f64 {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/judge_speech.py");
        let mut judge = Command::new(&self.python);
        judge.arg(script).args([&self.said, &self.heard]).arg(beginning.as_secs_f64().to_string());
        let output = run_to_end(&mut judge);
        assert!(output.status.success(), "the judge failed: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }
}
