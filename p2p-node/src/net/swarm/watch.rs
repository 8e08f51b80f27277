//! Notices that the network has changed (interfaces, addresses, routes), that other name servers are to be asked, and that the machine was suspended.
//!
//! There is no task: the driver waits in [`Watch::changed`]. What the kernel's messages say is not read, since the network is looked at as a whole
//! afterwards; a burst of them is one change. At rest nothing wakes up.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, bind, netlink, socket_with},
    time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
        timerfd_settime,
    },
};
use tokio::{net::unix::pipe::Receiver, time::sleep_until};

/// A change is looked at once it has been quiet for so long: an address comes with routes, and often with a second address.
const QUIET: Duration = Duration::from_millis(200);
/// ... or after so long, however much goes on: an interface that flaps is looked at no more often.
const LONGEST: Duration = Duration::from_secs(1);
/// A pause of the steady clock that is longer than this was a suspension.
const SUSPENDED: Duration = Duration::from_secs(1);
/// What rtnetlink(7) announces: links, addresses and routes, of both protocols (`RTMGRP_…`).
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// Some day after this program has ended, in seconds since 1970.
const NEVER: i64 = 7_258_118_400;

/// Where the system's resolver is told whom to ask.
const RESOLVER: &str = "/etc/resolv.conf";

/// Gathers changes that come together.
#[derive(Debug, Default)]
struct Settling {
    /// When the first and the last of them came.
    burst: Option<(Instant, Instant)>,
}

impl Settling {
    fn note(&mut self, now: Instant) {
        let first = self.burst.map_or(now, |(first, _)| first);
        self.burst = Some((first, now));
    }

    /// When they are looked at.
    fn due(&self) -> Option<Instant> {
        self.burst.map(|(first, last)| (last + QUIET).min(first + LONGEST))
    }

    fn clear(&mut self) {
        self.burst = None;
    }
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Changed {
    /// The machine was suspended: no connection is known to be there still.
    pub suspended: bool,
    /// Other name servers are to be asked.
    pub names: bool,
}

/// The configuration of the system's resolver.
#[derive(Debug)]
struct Resolver {
    file: PathBuf,
    /// What was in it when it was last looked at.
    text: Option<String>,
    changed: bool,
}

impl Resolver {
    fn of(file: &Path) -> Self {
        Self { file: file.to_owned(), text: fs::read_to_string(file).ok(), changed: false }
    }

    /// Looks at it, as something has happened beside it. Whether it is another one.
    fn look(&mut self) -> bool {
        let before = std::mem::replace(&mut self.text, fs::read_to_string(&self.file).ok());
        let is_other = self.text != before;
        self.changed |= is_other;
        is_other
    }
}

/// The watcher. What cannot be watched on this system is left out.
#[derive(Debug)]
pub(super) struct Watch {
    network: Option<Receiver>,
    clock: Option<Receiver>,
    names: Option<Receiver>,
    resolver: Resolver,
    settling: Settling,
    /// How long the machine was suspended since it was started, when that was last looked at.
    suspended_for: Duration,
    suspended: bool,
}

impl Watch {
    /// On the current runtime.
    pub fn new() -> Self {
        Self::with_resolver(Path::new(RESOLVER))
    }

    fn with_resolver(file: &Path) -> Self {
        let watched = |what: &str, opened: io::Result<Receiver>| {
            opened.inspect_err(|error| tracing::warn!(%error, "changes of the {what} cannot be watched")).ok()
        };
        Self {
            network: watched("network", network_changes()),
            clock: watched("clock", clock_changes()),
            names: watched("name servers", name_server_changes(file)),
            resolver: Resolver::of(file),
            settling: Settling::default(),
            suspended_for: suspended_for(),
            suspended: false,
        }
    }

    /// Waits for a change that has settled. Cancel safe.
    pub async fn changed(&mut self) -> Changed {
        loop {
            let due = self.settling.due();
            let settled = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = drained(self.network.as_ref()) => self.settling.note(Instant::now()),
                () = drained(self.clock.as_ref()) => {
                    let suspended_for = suspended_for();
                    if suspended_for.saturating_sub(self.suspended_for) >= SUSPENDED {
                        self.suspended = true;
                        self.settling.note(Instant::now());
                    }
                    self.suspended_for = suspended_for;
                }
                () = drained(self.names.as_ref()) => {
                    if self.resolver.look() {
                        self.settling.note(Instant::now());
                    }
                }
                () = settled => {
                    self.settling.clear();
                    let (suspended, names) = (&mut self.suspended, &mut self.resolver.changed);
                    return Changed { suspended: std::mem::take(suspended), names: std::mem::take(names) };
                }
            }
        }
    }
}

// Tokio has a safe way to wait for a descriptor that is read: that of pipes, which asks for no more than that it does not block.

/// Readable when the kernel announces a change of the network.
fn network_changes() -> io::Result<Receiver> {
    // Protocol 0 is that of rtnetlink.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &netlink::SocketAddrNetlink::new(0, GROUPS))?;
    Receiver::from_owned_fd_unchecked(socket)
}

/// Readable when the wall clock has been set, which it also is when the machine wakes up.
fn clock_changes() -> io::Result<Receiver> {
    let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    let never = Itimerspec {
        it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: Timespec { tv_sec: NEVER, tv_nsec: 0 },
    };
    timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &never)?;
    Receiver::from_owned_fd_unchecked(timer)
}

/// Readable when something is written beside the configuration of the resolver, or beside what that is a link to; or to it in another place.
fn name_server_changes(file: &Path) -> io::Result<Receiver> {
    let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let flags = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::CREATE;
    let target = fs::canonicalize(file).ok();
    let files = [Some(file), target.as_deref()].into_iter().flatten();
    let places: BTreeSet<&Path> = files.flat_map(|file| [Some(file), file.parent()]).flatten().collect();
    for place in places {
        // There may be none before there is a network.
        let _ = inotify::add_watch(&changes, place, flags);
    }
    Receiver::from_owned_fd_unchecked(changes)
}

/// How long the machine was suspended since it was started: only one of these clocks goes on meanwhile.
fn suspended_for() -> Duration {
    let time = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    time(ClockId::Boottime).saturating_sub(time(ClockId::Monotonic))
}

/// Waits until there is something to read, and drops all of it.
async fn drained(from: Option<&Receiver>) {
    let Some(from) = from else { return std::future::pending().await };
    loop {
        if from.readable().await.is_err() {
            return std::future::pending().await;
        }
        if drain(from) {
            return;
        }
    }
}

/// Reads all that there is. Whether there was anything.
fn drain(from: &Receiver) -> bool {
    let (mut any, mut buffer) = (false, [0; 8192]);
    loop {
        match from.try_read(&mut buffer) {
            Ok(1..) => any = true,
            // Messages were lost, or the clock was set: there may be more to read.
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOBUFS | Errno::CANCELED)) => any = true,
            Ok(0) | Err(_) => return any,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_interface_that_flaps_ten_times_a_second_is_looked_at_once_a_second() {
        let start = Instant::now();
        let mut settling = Settling::default();
        let mut looks = 0;
        for tenth in 0..600 {
            let now = start + Duration::from_millis(100 * tenth);
            if settling.due().is_some_and(|due| due <= now) {
                settling.clear();
                looks += 1;
            }
            settling.note(now);
        }
        assert!((30..=60).contains(&looks), "{looks} in a minute");
    }

    #[test]
    fn a_single_change_is_looked_at_soon() {
        let now = Instant::now();
        let mut settling = Settling::default();
        assert_eq!(settling.due(), None);
        settling.note(now);
        assert_eq!(settling.due(), Some(now + QUIET));
    }

    #[tokio::test]
    async fn nothing_changes_by_itself() {
        let mut watch = Watch::new();
        assert!(watch.network.is_some() && watch.clock.is_some());
        assert!(tokio::time::timeout(Duration::from_millis(1), drained(watch.clock.as_ref())).await.is_err());
        watch.settling.note(Instant::now());
        assert_eq!(watch.changed().await, Changed { suspended: false, names: false });
    }

    #[tokio::test]
    async fn other_name_servers_are_noticed_however_the_file_is_written_and_other_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("resolv.conf");
        let mut watch = Watch::with_resolver(&file);
        // The network of the machine that runs this may change, too.
        watch.network = None;
        fs::write(dir.path().join("hosts"), "").unwrap();
        fs::write(&file, "nameserver 192.0.2.1").unwrap();
        assert!(watch.changed().await.names);
        let new = dir.path().join("new");
        fs::write(&new, "nameserver 192.0.2.2").unwrap();
        fs::rename(&new, &file).unwrap();
        assert!(watch.changed().await.names);
        fs::write(dir.path().join("hosts"), "127.0.0.1 localhost").unwrap();
        watch.settling.note(Instant::now());
        assert!(!watch.changed().await.names);
    }
}
