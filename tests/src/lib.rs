//! The test world: a rendezvous and people, all real processes on loopback, in a temporary directory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test support")]

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use watchdog::{Tail, Watch};

pub mod lab;
mod programs;
mod watchdog;

pub use programs::program;

/// Nothing here takes so long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Says that the running test cannot run here, and what it needs; the test then returns. On CI, where all tests must run, it fails.
#[track_caller]
pub fn skip(needs: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot run here, but must on CI: needs {needs}");
    println!("SKIPPED: needs {needs}");
    // Where `./test` counts and names what was skipped.
    if let Some(list) = std::env::var_os("STARLING_SKIPPED") {
        let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
        list.write_all(format!("{}: needs {needs}\n", watchdog::test_name()).as_bytes()).unwrap();
    }
}

/// Whether the memory and the open files of a program can be looked at: the programs close them to all but root. Where not, the test is skipped.
#[track_caller]
pub fn can_look_into(pid: u32) -> bool {
    let can = std::fs::File::open(format!("/proc/{pid}/mem")).is_ok();
    if !can {
        skip("root with the right to trace, to look into a program");
    }
    can
}

/// Gives the running test so much time from now on, instead of the time for one test.
pub fn allow_time(time: Duration) {
    watchdog::allow(time);
}

/// Looks until something is there, or patience is over.
fn look_for<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // A look that begins in time counts, however long it takes on a busy machine.
        let is_last = Instant::now() >= deadline;
        if let Some(found) = look() {
            return Some(found);
        }
        if is_last {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Looks until something is there. For what no program tells: files, other programs' state.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    look_for(look).unwrap_or_else(|| panic!("waited in vain for {what}"))
}

/// Looks until there is nothing any more that is not as it is to be, and fails with what there was last.
pub fn until_none(what: &str, mut look: impl FnMut() -> Option<String>) {
    let mut last = None;
    let is_gone = look_for(|| {
        last = look();
        last.is_none().then_some(())
    });
    assert!(is_gone.is_some(), "{what}: {}", last.unwrap_or_default());
}

/// A running process whose output lines are read in the background; killed when dropped, with all that it has started.
pub struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    _watch: Watch,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let tail = Tail::default();
        let watch = watchdog::watch(&child, format!("{command:?}"), tail.clone());
        let (tx, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                tail.push(&line);
                if tx.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, _watch: watch }
    }

    /// The next line of output.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the process said nothing more")
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"))
    }

    /// A line that is there already.
    pub fn try_line(&self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// Waits for a line that fits.
    pub fn wait_for(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("waited in vain for {what}; it said:\n{}", said.join("\n"));
            };
            let value = serde_json::from_str(&line).ok().filter(|value| fits(value));
            if let Some(value) = value {
                return value;
            }
            said.push(line);
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it has ended by itself; its exit code.
    pub fn wait(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Its exit code if it has ended by itself.
    pub fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    /// SIGTERM; waits for the end.
    pub fn terminate(&mut self) -> i32 {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            watchdog::kill_with_descendants(self.child.id());
        }
        self.kill();
    }
}

/// Runs a program to its end; its output.
pub fn run_to_end(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _watch = watchdog::watch(&child, format!("{command:?}"), Tail::default());
    child.wait_with_output().unwrap()
}

/// A rendezvous, and a place for profiles.
pub struct World {
    pub dir: TempDir,
    pub rendezvous: Option<Process>,
    pub address: String,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// A directory that is gone at the end, but for `STARLING_TEST_KEEP=1`.
pub(crate) fn kept_dir() -> TempDir {
    let keep = std::env::var_os("STARLING_TEST_KEEP").is_some();
    tempfile::Builder::new().prefix("starling-test-").disable_cleanup(keep).tempdir().unwrap()
}

/// Where a program adds what it logs.
pub(crate) fn log_in(dir: &Path, name: &str) -> std::fs::File {
    std::fs::OpenOptions::new().create(true).append(true).open(dir.join(format!("{name}.log"))).unwrap()
}

impl World {
    pub fn new() -> Self {
        Self::listening("/ip4/127.0.0.1/udp/0/quic-v1")
    }

    /// One whose rendezvous takes connections there.
    pub fn listening(listen: &str) -> Self {
        let mut world = Self { dir: kept_dir(), rendezvous: None, address: String::new() };
        watchdog::watch_logs(world.dir.path());
        world.start_rendezvous(listen);
        world
    }

    /// Starts the rendezvous, on a given address or a free one.
    pub fn start_rendezvous(&mut self, listen: &str) {
        self.start_rendezvous_with(listen, &[]);
    }

    /// The same with settings, as variables of its environment.
    pub fn start_rendezvous_with(&mut self, listen: &str, settings: &[(&str, &str)]) {
        let log = log_in(self.dir.path(), "rendezvous");
        let process = Process::start(
            Command::new(program("starling-rendezvous"))
                .args(["--listen", listen, "--http", "127.0.0.1:0", "--json", "--log-format", "json", "--data-dir"])
                .arg(self.dir.path().join("rendezvous"))
                .envs(settings.iter().copied())
                .stderr(log),
        );
        let ready = process.json();
        self.address = ready["addresses"][0].as_str().unwrap().to_owned();
        self.rendezvous = Some(process);
    }

    /// Starts it again where it was.
    pub fn restart_rendezvous(&mut self) {
        self.restart_rendezvous_with(&[]);
    }

    /// The same with settings, as variables of its environment.
    pub fn restart_rendezvous_with(&mut self, settings: &[(&str, &str)]) {
        self.rendezvous = None;
        let listen = self.address.split("/p2p/").next().unwrap().to_owned();
        self.start_rendezvous_with(&listen, settings);
    }

    pub fn starling(&self, profile: &str) -> Command {
        self.starter().starling(profile)
    }

    /// What starts programs for this world, for another thread.
    pub fn starter(&self) -> Starter {
        Starter { dir: self.dir.path().to_owned() }
    }

    /// Where a profile's programs log to: kept with `STARLING_TEST_KEEP=1`, filled with `STARLING_LOG=starling_node=debug`.
    fn log(&self, profile: &str) -> std::fs::File {
        log_in(self.dir.path(), profile)
    }

    /// Runs a verb; its output.
    pub fn run(&self, profile: &str, args: &[&str]) -> Output {
        run_to_end(self.starling(profile).args(args).stdin(Stdio::null()))
    }

    /// Runs a verb that must work; its output as JSON.
    pub fn json(&self, profile: &str, args: &[&str]) -> Value {
        let output = self.run(profile, &[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?} failed: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(output.stdout.split(|b| *b == b'\n').next().unwrap()).unwrap()
    }

    /// The exit code and error object of a verb that must fail.
    pub fn error(&self, profile: &str, args: &[&str]) -> (i32, String) {
        let output = self.run(profile, &[args, &["--json"]].concat());
        let error: Value = serde_json::from_slice(&output.stderr).unwrap_or_default();
        (output.status.code().unwrap(), error["error"]["message"].as_str().unwrap_or_default().to_owned())
    }

    /// One with alice and bob, who have met.
    pub fn of_friends() -> Self {
        let world = Self::new();
        world.person("alice");
        world.person("bob");
        world.befriend("alice", "bob");
        world
    }

    pub fn person(&self, name: &str) {
        self.json(name, &["init", "--name", name, "--rendezvous", &self.address]);
    }

    /// A daemon for a profile.
    pub fn daemon(&self, profile: &str) -> Process {
        let process = Process::start(self.starling(profile).args(["daemon", "--json"]).stderr(self.log(profile)));
        assert_eq!(process.json()["type"], "daemon.ready");
        process
    }

    /// A listener that has caught up.
    pub fn listen(&self, profile: &str, since: &str) -> Process {
        Process::start(self.starling(profile).args(["listen", "--json", "--since", since]).stderr(self.log(profile)))
    }

    /// Makes two people contacts.
    pub fn befriend(&self, a: &str, b: &str) {
        let invite = self.json(a, &["invite"]);
        let listener = self.listen(a, "now");
        listener.wait_for("the listener", |e| e["type"] == "stream.ready");
        self.json(b, &["contacts", "add", invite["link"].as_str().unwrap()]);
        listener.wait_for("the contact", |e| e["type"] == "contact.accepted");
        let other = self.listen(b, "all");
        other.wait_for("the acceptance", |e| e["type"] == "contact.accepted");
    }

    /// A device links another: the process, the code, and the rendezvous that is shown with it.
    pub fn linking(&self, profile: &str, args: &[&str]) -> (Process, String, String) {
        let mut command = self.starling(profile);
        let process = Process::start(command.args(["device", "link", "--json"]).args(args).stderr(self.log(profile)));
        let offered = process.json();
        let text = |field: &str| offered[field].as_str().unwrap().to_owned();
        (process, text("code"), text("rendezvous"))
    }

    /// A device joins an account.
    pub fn joining(&self, profile: &str, args: &[&str]) -> Process {
        let mut command = self.starling(profile);
        Process::start(command.args(["device", "join", "--json"]).args(args).stderr(self.log(profile)))
    }

    /// The devices of an account, as one of them lists them.
    pub fn devices(&self, of: &str) -> Vec<Value> {
        let lines = String::from_utf8(self.run(of, &["device", "list", "--json"]).stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Links another profile as a device of an account; the device's id.
    pub fn link(&self, profile: &str, other: &str) -> String {
        self.link_with(profile, other, &["--yes"])
    }

    /// The same, with what the command is told; the history is there when it gives some.
    pub fn link_with(&self, profile: &str, other: &str, args: &[&str]) -> String {
        let (linking, code, home) = self.linking(profile, args);
        let joined = self.json(other, &["device", "join", &code, "--rendezvous", &home]);
        let linked = linking.json();
        assert_eq!((&linked["done"], &linked["device"]), (&"linked".into(), &joined["device"]));
        joined["device"].as_str().unwrap().to_owned()
    }

    /// Sends lines; the process's exit code.
    pub fn send_lines(&self, profile: &str, to: &str, lines: &str) -> i32 {
        let mut child = self
            .starling(profile)
            .args(["send", to, "--lines"])
            .stdin(Stdio::piped())
            .stderr(self.log(profile))
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        child.wait().unwrap().code().unwrap_or(-1)
    }

    /// The texts of a conversation, without lines about devices.
    pub fn texts(&self, profile: &str, with: &str, limit: usize) -> Vec<String> {
        let output = self.run(profile, &["history", with, "--json", "--limit", &limit.to_string()]);
        let lines = String::from_utf8(output.stdout).unwrap();
        let messages = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        messages.filter(|m| m["device_note"].is_null()).map(|m| m["text"].as_str().unwrap().to_owned()).collect()
    }
}

/// Starts programs for a world.
#[derive(Clone, Debug)]
pub struct Starter {
    dir: PathBuf,
}

impl Starter {
    /// A verb of a profile.
    pub fn starling(&self, profile: &str) -> Command {
        let mut command = Command::new(program("starling"));
        command
            .args(["--no-mdns", "--listen-addr", "/ip4/127.0.0.1/udp/0/quic-v1", "--profile", profile, "--data-dir"])
            .arg(self.dir.join("profiles"))
            .env("XDG_RUNTIME_DIR", &self.dir)
            .env_remove("SSLKEYLOGFILE");
        for proxy in ["ALL_PROXY", "all_proxy", "STARLING_PROXY"] {
            command.env_remove(proxy);
        }
        command
    }
}

/// All bytes of the files below a directory.
pub fn bytes_below(dir: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(bytes_below(&path));
        } else if path.is_file() {
            all.extend(std::fs::read(&path).unwrap());
        }
    }
    all
}
