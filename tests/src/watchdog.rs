//! A time limit for each test with processes: what still runs then is killed with all of its descendants, and the last lines of its
//! output are printed. The test, which waits for one of them, goes on and fails.
//!
//! The test runner has a limit of its own, a little later (`.config/nextest.toml`): it ends what hangs in any other way, but with it
//! what a test would have taken away at its end: mounts, network namespaces.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    path::{Path, PathBuf},
    process::Child,
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Time for one test. The longest takes three minutes on a slow machine.
const LIMIT: Duration = Duration::from_secs(8 * 60);
/// How many lines of each output are printed at the end of that time.
const LINES: usize = 20;
const POLL: Duration = Duration::from_millis(200);

/// The last lines of a process's output.
#[derive(Clone, Default)]
pub(crate) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    pub(crate) fn push(&self, line: &str) {
        let mut lines = lock(&self.0);
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }
}

/// Ends the watch over a process when dropped.
pub(crate) struct Watch {
    id: u32,
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&REGISTRY).processes.remove(&self.id);
    }
}

struct Process {
    test: String,
    command: String,
    tail: Tail,
}

struct Registry {
    /// By process id.
    processes: BTreeMap<u32, Process>,
    tests: BTreeMap<String, Test>,
}

struct Test {
    deadline: Instant,
    /// Where its processes write logs.
    logs: Vec<PathBuf>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { processes: BTreeMap::new(), tests: BTreeMap::new() });

/// A test that panicked while it held the lock leaves the list as it is.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of the running test.
pub(crate) fn test_name() -> String {
    // The test runner gives each test a process of its own; without it each has a thread that is named for it.
    let name = std::env::var("NEXTEST_TEST_NAME").ok();
    name.or_else(|| std::thread::current().name().map(str::to_owned)).unwrap_or_default()
}

fn limit() -> Duration {
    let seconds = std::env::var("STARLING_TEST_LIMIT").ok().and_then(|limit| limit.parse().ok());
    seconds.map_or(LIMIT, Duration::from_secs)
}

/// Gives the running test so much time from now on.
pub(crate) fn allow(time: Duration) {
    lock(&REGISTRY).test(&test_name()).deadline = Instant::now() + time;
}

/// Watches a process, which belongs to the running test, until the result is dropped.
pub(crate) fn watch(child: &Child, command: String, tail: Tail) -> Watch {
    let test = test_name();
    let mut registry = lock(&REGISTRY);
    registry.test(&test);
    registry.processes.insert(child.id(), Process { test, command, tail });
    Watch { id: child.id() }
}

/// The log files (`*.log`) in this directory are of the running test's processes.
pub(crate) fn watch_logs(dir: &Path) {
    lock(&REGISTRY).test(&test_name()).logs.push(dir.to_owned());
}

impl Registry {
    /// The entry of a test, whose time begins with its first.
    fn test(&mut self, name: &str) -> &mut Test {
        static WATCHDOG: Once = Once::new();
        WATCHDOG.call_once(|| {
            std::thread::spawn(run);
        });
        let new = || Test { deadline: Instant::now() + limit(), logs: Vec::new() };
        self.tests.entry(name.to_owned()).or_insert_with(new)
    }
}

fn run() {
    // Where the test has this process to itself, what it has started without a watch is its own, too.
    let alone = std::env::var_os("NEXTEST_TEST_NAME").is_some();
    let mut reported = HashSet::new();
    loop {
        std::thread::sleep(POLL);
        let registry = lock(&REGISTRY);
        for (name, test) in registry.tests.iter().filter(|(_, test)| test.deadline <= Instant::now()) {
            let processes: Vec<_> = registry.processes.iter().filter(|(_, process)| process.test == *name).collect();
            if (alone || !processes.is_empty()) && reported.insert(name.clone()) {
                eprintln!("\n{name} took longer than {:?}: its processes are killed", limit());
                for (id, process) in &processes {
                    print_lines(&format!("{} (process {id})", process.command), &lock(&process.tail.0));
                }
                test.logs.iter().for_each(|dir| print_logs(dir));
            }
            // What the test starts after its time is killed, too.
            for (id, _) in processes {
                kill_with_descendants(*id);
            }
            if alone {
                kill_all(descendants(std::process::id()));
            }
        }
    }
}

fn print_lines(what: &str, lines: &VecDeque<String>) {
    eprintln!("--- the last lines of {what}:");
    for line in lines {
        eprintln!("{line}");
    }
}

fn print_logs(dir: &Path) {
    for path in std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "log") {
            let text = std::fs::read(&path).unwrap_or_default();
            let tail = Tail::default();
            String::from_utf8_lossy(&text).lines().for_each(|line| tail.push(line));
            print_lines(&path.display().to_string(), &lock(&tail.0));
        }
    }
}

/// Kills a process and all that it has started.
pub(crate) fn kill_with_descendants(id: u32) {
    let mut processes = descendants(id);
    processes.insert(0, id);
    kill_all(processes);
}

fn kill_all(processes: Vec<u32>) {
    for id in processes {
        if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(id, Signal::KILL);
        }
    }
}

/// What a process has started, and what these have started.
fn descendants(id: u32) -> Vec<u32> {
    let parents = parents();
    let mut found = vec![id];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(id, _)| *id));
        next += 1;
    }
    found.split_off(1)
}

/// The parent of each process of this machine.
fn parents() -> HashMap<u32, u32> {
    let mut parents = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
        // The program's name, in brackets, may contain anything; the state and the parent follow.
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if let (Some(id), Some(parent)) = (id, parent) {
            parents.insert(id, parent);
        }
    }
    parents
}
