//! A terminal with a program in it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    num::NonZeroU16,
    process::Command,
    sync::{Arc, Condvar, Mutex},
};

use portable_pty::{CommandBuilder, MasterPty, PtySize, SlavePty, native_pty_system};
use starling_tests::{PATIENCE, World, program, until};

/// Of a shell that runs the screen.
pub const PROMPT: &str = "prompt$ ";

/// A title that is written after a program has ended.
const ENDED: &[u8] = b"\x1b]2;ended\x07";

fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap()
}

/// A terminal with the screen in it.
pub struct Terminal {
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    pub shown: Arc<Mutex<vt100::Parser>>,
    /// Notified when something was shown, and is in `written`.
    painted: Arc<Condvar>,
    child: Box<dyn portable_pty::Child + Send + Sync>,
    /// Held open, so that the terminal can be looked at after the program has ended.
    slave: Box<dyn SlavePty + Send>,
    /// Everything that was written to it.
    written: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    pub fn start(world: &World, profile: &str, width: u16, height: u16) -> Self {
        Self::start_with(world, profile, width, height, &[])
    }

    /// The same with some variables of its environment set; one that is empty is removed.
    pub fn start_with(world: &World, profile: &str, width: u16, height: u16, variables: &[(&str, &str)]) -> Self {
        Self::run(world, &Self::command_line(world, profile), width, height, variables)
    }

    /// A verb in place of the screen.
    pub fn verb(world: &World, profile: &str, args: &[&str]) -> Self {
        let mut line = Self::command_line(world, profile);
        line.extend(args.iter().map(|arg| (*arg).to_owned()));
        Self::run(world, &line, 80, 24, &[])
    }

    /// The screen as a job of a shell, whose prompt is [`PROMPT`].
    pub fn in_shell(world: &World, profile: &str, variables: &[(&str, &str)]) -> Self {
        let mut shell = Self::run(world, &["sh".into(), "-i".into()], 80, 24, variables);
        shell.sees(PROMPT);
        shell.type_keys(&format!("{}\r", Self::command_line(world, profile).join(" ")));
        shell
    }

    fn command_line(world: &World, profile: &str) -> Vec<String> {
        let options =
            ["--no-mdns", "--listen-addr", "/ip4/127.0.0.1/udp/0/quic-v1", "--profile", profile, "--data-dir"];
        let profiles = world.dir.path().join("profiles").display().to_string();
        let starling = program("starling").display().to_string();
        [starling].into_iter().chain(options.map(String::from)).chain([profiles]).collect()
    }

    fn run(world: &World, line: &[String], width: u16, height: u16, variables: &[(&str, &str)]) -> Self {
        let size = PtySize { rows: height, cols: width, ..PtySize::default() };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(&line[0]);
        command.args(&line[1..]);
        command.env("PS1", PROMPT);
        command.env_remove("ENV");
        for (name, dir) in [("XDG_RUNTIME_DIR", ""), ("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state")] {
            command.env(name, world.dir.path().join(dir));
        }
        command.env("TERM", "xterm-256color");
        // No devices: what stands for them.
        for (name, value) in [
            ("STARLING_AUDIO_IN", "tone"),
            ("STARLING_AUDIO_OUT", "none"),
            ("STARLING_VIDEO_IN", "pattern:320x180@15"),
            ("STARLING_PICTURES", "cells"),
        ] {
            command.env(name, value);
        }
        command.env("LANG", "C.UTF-8");
        command.env("TZ", "UTC");
        command.env_remove("SSLKEYLOGFILE");
        for (name, value) in variables {
            if value.is_empty() {
                command.env_remove(name);
            } else {
                command.env(name, value);
            }
        }
        let child = pair.slave.spawn_command(command).unwrap();
        let shown = Arc::new(Mutex::new(vt100::Parser::new(cells(height), cells(width), 0)));
        let written: Arc<Mutex<Vec<u8>>> = Arc::default();
        let painted: Arc<Condvar> = Arc::default();
        let (parser, log, paints) = (shown.clone(), written.clone(), painted.clone());
        let mut output = pair.master.try_clone_reader().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(n @ 1..) = output.read(&mut buffer) {
                // Under one lock: who waits for what was written is woken for it, too.
                let mut parser = parser.lock().unwrap();
                parser.process(&buffer[..n]);
                log.lock().unwrap().extend(&buffer[..n]);
                paints.notify_all();
            }
        });
        let keys = pair.master.take_writer().unwrap();
        Self { master: pair.master, keys, shown, painted, child, slave: pair.slave, written }
    }

    pub fn type_keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    pub fn text(&self) -> String {
        self.shown.lock().unwrap().screen().contents()
    }

    /// Waits until the screen shows this.
    pub fn sees(&self, what: &str) -> String {
        self.waits(what, |text| text.contains(what))
    }

    /// Waits until what is shown fits, or what was [written](Self::written). `fits` must not look at `shown` by itself: that is held.
    pub fn waits(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let waiting = |shown: &mut vt100::Parser| !fits(&shown.screen().contents());
        let shown = self.shown.lock().unwrap();
        let (shown, waited) = self.painted.wait_timeout_while(shown, PATIENCE, waiting).unwrap();
        let text = shown.screen().contents();
        drop(shown);
        assert!(!waited.timed_out(), "waited in vain for {what}:\n{text}");
        text
    }

    pub fn resize(&self, width: u16, height: u16) {
        // Under one lock: what the program paints for the new size must not meet the old one.
        let mut shown = self.shown.lock().unwrap();
        shown.screen_mut().set_size(cells(height), cells(width));
        self.master.resize(PtySize { rows: height, cols: width, ..PtySize::default() }).unwrap();
    }

    /// The exit code of the program.
    pub fn ends(&mut self) -> u32 {
        let code = self.child.wait().unwrap().exit_code();
        // What it wrote last is shown once something is that was written after it: a title, which changes nothing else.
        let mut title = CommandBuilder::new("printf");
        title.arg("\\033]2;ended\\007");
        self.slave.spawn_command(title).unwrap().wait().unwrap();
        let at = || self.written.lock().unwrap().windows(ENDED.len()).position(|bytes| bytes == ENDED);
        let end = until("the end of the output", at);
        self.written.lock().unwrap().truncate(end);
        code
    }

    pub fn pid(&self) -> u32 {
        self.child.process_id().unwrap()
    }

    /// Sends a signal to the program.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// What was written to the terminal so far, escape sequences and all.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// What keeps the terminal from being as a shell needs it; nothing if it is.
    pub fn not_restored(&self) -> Vec<&'static str> {
        let shown = self.shown.lock().unwrap();
        let screen = shown.screen();
        let modes = format!("{:?}", self.master.get_termios().unwrap().local_flags);
        let wrong = [
            (screen.alternate_screen(), "the other screen"),
            (screen.mouse_protocol_mode() != vt100::MouseProtocolMode::None, "the mouse"),
            (screen.bracketed_paste(), "bracketed paste"),
            (screen.hide_cursor(), "no cursor"),
            (!modes.contains("ICANON") || !modes.contains("ISIG"), "raw mode"),
            (!modes.replace("ECHOE", "").replace("ECHOK", "").replace("ECHOCTL", "").contains("ECHO"), "no echo"),
        ];
        wrong.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// The words of a recovery phrase as they are shown, by their numbers.
pub fn words_of(text: &str) -> BTreeMap<usize, String> {
    let tokens: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|token| !token.is_empty()).collect();
    let numbered = tokens.windows(2).filter_map(|pair| Some((pair[0].parse().ok()?, pair[1].to_owned())));
    let words: BTreeMap<usize, String> = numbered.filter(|(n, _)| (1..=24).contains(n)).collect();
    assert_eq!(words.len(), 24, "{text}");
    words
}

/// Types the two words that are asked for, on the screen or by `init`.
pub fn confirm(screen: &mut Terminal, words: &BTreeMap<usize, String>) {
    let mut asked = None;
    for _ in 0..2 {
        // Whole: of what is being written there may be the first digit alone.
        let number =
            |text: &str| -> Option<usize> { text.rsplit("hat is word ").next()?.split_once(" of it")?.0.parse().ok() };
        let text = screen.waits("a question", |text| number(text).is_some_and(|n| Some(n) != asked));
        asked = number(&text);
        screen.type_keys(&format!("{}\r", words[&asked.unwrap()]));
    }
}
