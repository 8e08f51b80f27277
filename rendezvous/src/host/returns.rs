//! Where members are connected from over QUIC, so that a server which was killed can tell them that it is back. Who is at rest would notice only when
//! it asks next, after up to half a minute: libp2p's QUIC sends no stateless reset for connections of another process.
//!
//! It is kept in memory that outlives the process, and neither on a disk nor longer than the machine runs; a server that is stopped leaves nothing,
//! and what one that is not started again has left is removed by the next one of the same user. There are addresses alone, without keys. Whoever is
//! there learns who has called by the key of the server.
//!
//! All users of the machine can make files in that directory. So a file counts only if it is ours alone, and none is followed to another place: else
//! they could have the server dial what they like.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ffi::OsStr,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use libp2p::{
    Multiaddr,
    multiaddr::Protocol,
    swarm::{ConnectionId, dial_opts::DialOpts},
};
use rustix::{
    fs::{Mode, OFlags},
    process::geteuid,
};

use crate::limits::{CALLED_BACK_AT_ONCE, LAST_SEEN, LAST_SEEN_LIFE};

/// A file system that Linux keeps in memory, for all users.
const SHARED_MEMORY: &str = "/dev/shm";
/// What names of files begin with there. What follows is [`NAME`] hexadecimal digits, and [`UNFINISHED`] in a file that is being written.
const PREFIX: &str = "starling-";
const NAME: usize = 32;
const UNFINISHED: &str = ".new";
/// Files that are looked at for what others of our servers have left: anybody can have made any number.
const MAX_FILES: usize = 10_000;
/// Bytes of an address: IPv6, or IPv4 within that, and a port.
const RECORD: usize = 18;
/// Bytes of a file.
const MAX_FILE: u64 = (LAST_SEEN * RECORD) as u64;

fn encode(at: &SocketAddr) -> [u8; RECORD] {
    let ip = match at.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut record = [0; RECORD];
    record[..16].copy_from_slice(&ip.octets());
    record[16..].copy_from_slice(&at.port().to_be_bytes());
    record
}

fn decode(record: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = record.split_at_checked(16)?;
    let ip: [u8; 16] = ip.try_into().ok()?;
    let (ip, port) = (IpAddr::from(ip).to_canonical(), u16::from_be_bytes(port.try_into().ok()?));
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    (port != 0 && !ip.is_unspecified() && !ip.is_multicast() && !is_broadcast).then(|| SocketAddr::new(ip, port))
}

/// The places that a file names.
pub fn places(records: &[u8]) -> impl Iterator<Item = SocketAddr> {
    records.chunks_exact(RECORD).filter_map(decode)
}

/// Where a connection comes from, if it goes over QUIC.
fn place_of(remote: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = remote.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match (parts.next()?, parts.next()?) {
        (Protocol::Udp(port), Protocol::QuicV1) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

fn way_to(place: SocketAddr) -> Multiaddr {
    Multiaddr::from(place.ip()).with(Protocol::Udp(place.port())).with(Protocol::QuicV1)
}

/// Where members are, and where they were.
pub(super) struct Returns {
    /// Where that is kept, if there is such memory.
    file: Option<PathBuf>,
    /// The connections over QUIC that are open.
    open: HashMap<ConnectionId, SocketAddr>,
    members: HashSet<ConnectionId>,
    /// Who has not come back yet since the process before was killed.
    missing: VecDeque<SocketAddr>,
}

impl Returns {
    /// With what the process before has left under this name, which is then there no more.
    pub fn new(name: &[u8; 32]) -> Self {
        let directory = Path::new(SHARED_MEMORY);
        if is_memory(directory) && fs::metadata(directory).is_ok_and(|found| is_guarded(&found)) {
            return Self::in_directory(directory, name);
        }
        tracing::debug!("there is no memory to remember in who is connected, in case that the server is killed");
        Self::with(None, VecDeque::new())
    }

    fn in_directory(directory: &Path, name: &[u8; 32]) -> Self {
        let file = directory.join(format!("{PREFIX}{}", HEXLOWER.encode(&name[..NAME / 2])));
        let missing = read(&file).unwrap_or_default();
        let returns = Self::with(Some(file), missing);
        returns.forget();
        remove_stale(directory);
        returns
    }

    fn with(file: Option<PathBuf>, missing: VecDeque<SocketAddr>) -> Self {
        Self { file, open: HashMap::new(), members: HashSet::new(), missing }
    }

    /// There is a connection.
    pub fn connected(&mut self, id: ConnectionId, remote: &Multiaddr) {
        if let Some(place) = place_of(remote) {
            self.open.insert(id, place);
        }
    }

    /// Its session is that of a registered account.
    pub fn is_member(&mut self, id: ConnectionId) {
        if self.open.contains_key(&id) {
            self.members.insert(id);
        }
    }

    /// It is closed.
    pub fn closed(&mut self, id: ConnectionId) {
        self.open.remove(&id);
        self.members.remove(&id);
    }

    /// Writes down where members are: also if that has not changed, as what was not written for [`LAST_SEEN_LIFE`] does not count.
    pub fn save(&self) {
        let Some(file) = &self.file else { return };
        let places = self.members.iter().filter_map(|id| self.open.get(id));
        let records: Vec<u8> = places.take(LAST_SEEN).flat_map(encode).collect();
        if records.is_empty() {
            return self.forget();
        }
        if let Err(error) = write(file, &records) {
            tracing::debug!(%error, "cannot remember who is connected, in case that the server is killed");
        }
    }

    /// Leaves nothing behind.
    pub fn forget(&self) {
        if let Some(file) = &self.file {
            let _ = (fs::remove_file(file), fs::remove_file(unfinished(file)));
        }
    }

    /// Whether there are some to be called back.
    pub fn has_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// How to reach the next of them, but for those who are back already.
    pub fn next_dials(&mut self) -> Vec<DialOpts> {
        let next: Vec<SocketAddr> = self.missing.drain(..self.missing.len().min(CALLED_BACK_AT_ONCE)).collect();
        let is_back = |place: &SocketAddr| self.open.values().any(|open| open == place);
        let away = next.into_iter().filter(|place| !is_back(place));
        // From the port that it was connected to, which is where its network lets answers in from.
        away.map(|place| DialOpts::unknown_peer_id().address(way_to(place)).build()).collect()
    }
}

/// Whether a directory is kept in memory: in some containers this one is on a disk.
fn is_memory(directory: &Path) -> bool {
    // TMPFS_MAGIC of statfs(2).
    rustix::fs::statfs(directory).is_ok_and(|found| found.f_type == 0x0102_1994)
}

/// Whether nobody but the system's administrator can take our files away from a directory, or put others in their place.
fn is_guarded(directory: &Metadata) -> bool {
    let is_of_others = directory.uid() != 0 && directory.uid() != geteuid().as_raw();
    let (is_writable, is_sticky) = (directory.mode() & 0o022 != 0, directory.mode() & 0o1000 != 0);
    directory.is_dir() && !is_of_others && (!is_writable || is_sticky)
}

/// A file of this user, under one name alone.
fn is_ours(file: &Metadata) -> bool {
    file.is_file() && file.uid() == geteuid().as_raw() && file.nlink() == 1
}

/// Whether it was written a short time ago. By a clock that was set back meanwhile nobody can tell.
fn is_recent(file: &Metadata) -> bool {
    let age = file.modified().and_then(|at| at.elapsed().map_err(io::Error::other));
    age.is_ok_and(|age| age < LAST_SEEN_LIFE)
}

fn unfinished(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

/// Whether a file is one of those that are written here.
fn is_name(name: &OsStr) -> bool {
    let name = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).unwrap_or_default();
    let name = name.strip_suffix(UNFINISHED).unwrap_or(name);
    name.len() == NAME && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Removes what servers of the same user have left that were not started again.
fn remove_stale(directory: &Path) {
    let Ok(files) = fs::read_dir(directory) else { return };
    for file in files.take(MAX_FILES).flatten().filter(|file| is_name(&file.file_name())) {
        if file.metadata().is_ok_and(|found| is_ours(&found) && !is_recent(&found)) {
            let _ = fs::remove_file(file.path());
        }
    }
}

/// What a process of the same user has written.
fn read(file: &Path) -> io::Result<VecDeque<SocketAddr>> {
    // A link is not followed, and a pipe not waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = File::from(rustix::fs::open(file, flags, Mode::empty())?);
    let found = opened.metadata()?;
    let counts = is_ours(&found) && found.mode() & 0o077 == 0 && found.len() <= MAX_FILE && is_recent(&found);
    if !counts {
        return Err(ErrorKind::PermissionDenied.into());
    }
    let mut records = Vec::new();
    opened.take(MAX_FILE).read_to_end(&mut records)?;
    Ok(places(&records).collect())
}

/// Writes all of it or nothing.
fn write(file: &Path, records: &[u8]) -> io::Result<()> {
    let new = unfinished(file);
    // One that a process has left that was killed meanwhile.
    let _ = fs::remove_file(&new);
    let written = create(&new, records).and_then(|()| fs::rename(&new, file));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// Makes a file that was not there, also not as a link.
fn create(file: &Path, records: &[u8]) -> io::Result<()> {
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    opened.write_all(records)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::{
        os::unix::fs::{PermissionsExt, symlink},
        time::{Duration, SystemTime},
    };

    use super::*;

    const SERVER: [u8; 32] = [7; 32];
    const OTHER: [u8; 32] = [8; 32];

    fn id(n: usize) -> ConnectionId {
        ConnectionId::new_unchecked(n)
    }

    fn way(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn start(dir: &Path) -> Returns {
        Returns::in_directory(dir, &SERVER)
    }

    #[test]
    fn members_that_were_connected_when_the_server_was_killed_are_called_back_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut returns = start(dir.path());
        for (n, from) in [
            "/ip4/192.0.2.1/udp/4001/quic-v1",
            "/ip6/2001:db8::1/udp/4001/quic-v1",
            "/ip4/192.0.2.2/udp/4001/quic-v1",
            "/ip4/192.0.2.3/udp/4001/quic-v1",
            "/ip4/192.0.2.4/tcp/4001",
        ]
        .iter()
        .enumerate()
        {
            returns.connected(id(n), &way(from));
        }
        // The third is a stranger, and the fourth has left.
        for n in [0, 1, 3, 4] {
            returns.is_member(id(n));
        }
        returns.closed(id(3));
        returns.save();
        drop(returns);
        let mut returns = start(dir.path());
        let mut missing: Vec<String> = returns.missing.iter().map(|at| at.to_string()).collect();
        missing.sort();
        assert_eq!(missing, ["192.0.2.1:4001", "[2001:db8::1]:4001"]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "it is used once");
        // One is back before.
        returns.connected(id(9), &way("/ip4/192.0.2.1/udp/4001/quic-v1"));
        assert_eq!(returns.next_dials().len(), 1);
        assert!(!returns.has_missing());
    }

    #[test]
    fn a_server_that_is_stopped_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut returns = start(dir.path());
        returns.connected(id(1), &way("/ip4/192.0.2.1/udp/4001/quic-v1"));
        returns.is_member(id(1));
        returns.save();
        let mode = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        returns.forget();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        // Nor one whose last member has left.
        returns.save();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        returns.closed(id(1));
        returns.save();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_remembered_and_called_back_at_a_time_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let mut returns = start(dir.path());
        for n in 1..=2 * LAST_SEEN {
            returns.connected(id(n), &way(&format!("/ip4/192.0.2.1/udp/{n}/quic-v1")));
            returns.is_member(id(n));
        }
        returns.save();
        let mut returns = start(dir.path());
        assert_eq!(returns.missing.len(), LAST_SEEN);
        assert_eq!(returns.next_dials().len(), CALLED_BACK_AT_ONCE);
        assert_eq!(returns.missing.len(), LAST_SEEN - CALLED_BACK_AT_ONCE);
    }

    #[test]
    fn what_is_not_as_it_was_written_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let file = start(dir.path()).file.unwrap();
        let record = encode(&"192.0.2.1:4001".parse().unwrap());
        let missing = |contents: &[u8], mode| {
            fs::write(&file, contents).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            start(dir.path()).missing.len()
        };
        assert_eq!(missing(&record, 0o600), 1);
        assert_eq!(missing(&record, 0o644), 0, "others may have written it");
        assert_eq!(missing(&record[1..], 0o600), 0);
        assert_eq!(missing(&[0; RECORD], 0o600), 0);
        assert_eq!(missing(&record.repeat(LAST_SEEN + 1), 0o600), 0);
        symlink("/dev/zero", &file).unwrap();
        assert_eq!(start(dir.path()).missing.len(), 0);
    }

    /// Members of one server, written down by it.
    fn saved(dir: &Path, name: &[u8; 32], from: &str) -> PathBuf {
        let mut returns = Returns::in_directory(dir, name);
        returns.connected(id(1), &way(from));
        returns.is_member(id(1));
        returns.save();
        returns.file.unwrap()
    }

    fn age(file: &Path, age: Duration) {
        OpenOptions::new().write(true).open(file).unwrap().set_modified(SystemTime::now() - age).unwrap();
    }

    #[test]
    fn servers_on_one_machine_have_each_its_own() {
        let dir = tempfile::tempdir().unwrap();
        saved(dir.path(), &SERVER, "/ip4/192.0.2.1/udp/4001/quic-v1");
        let other = saved(dir.path(), &OTHER, "/ip4/192.0.2.2/udp/4001/quic-v1");
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        assert_eq!(start(dir.path()).missing, [at("192.0.2.1:4001")]);
        assert!(other.exists(), "that of a server that runs is left to it");
        assert_eq!(Returns::in_directory(dir.path(), &OTHER).missing, [at("192.0.2.2:4001")]);
    }

    #[test]
    fn what_is_written_for_another_purpose_or_by_way_of_a_link_is_not_used_and_not_changed() {
        let dir = tempfile::tempdir().unwrap();
        let file = start(dir.path()).file.unwrap();
        let elsewhere = dir.path().join("elsewhere");
        create(&elsewhere, &encode(&"192.0.2.1:4001".parse().unwrap())).unwrap();
        let contents = fs::read(&elsewhere).unwrap();
        symlink(&elsewhere, &file).unwrap();
        assert!(start(dir.path()).missing.is_empty(), "a symbolic link was followed");
        fs::hard_link(&elsewhere, &file).unwrap();
        assert!(start(dir.path()).missing.is_empty(), "a file with another name was taken");
        let pipe = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &file, pipe, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(start(dir.path()).missing.is_empty(), "and a pipe is not waited for");
        // Nor is it written through links that others have laid.
        symlink(&elsewhere, &file).unwrap();
        symlink(&elsewhere, unfinished(&file)).unwrap();
        write(&file, &[1; RECORD]).unwrap();
        assert_eq!(fs::read(&elsewhere).unwrap(), contents);
        let found = fs::symlink_metadata(&file).unwrap();
        assert!(is_ours(&found) && found.mode() & 0o777 == 0o600);
    }

    #[test]
    fn what_is_old_is_not_used_and_removed_also_that_of_servers_that_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let own = saved(dir.path(), &SERVER, "/ip4/192.0.2.1/udp/4001/quic-v1");
        let gone = saved(dir.path(), &OTHER, "/ip4/192.0.2.2/udp/4001/quic-v1");
        age(&own, LAST_SEEN_LIFE);
        age(&gone, LAST_SEEN_LIFE);
        fs::write(unfinished(&gone), "killed while it was written").unwrap();
        age(&unfinished(&gone), LAST_SEEN_LIFE);
        let picture = dir.path().join("starling-0123456789abcdef-7");
        fs::write(&picture, "of a call").unwrap();
        age(&picture, LAST_SEEN_LIFE);
        assert!(start(dir.path()).missing.is_empty());
        let left: Vec<PathBuf> = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().path()).collect();
        assert_eq!(left, [picture]);
        // A server at rest goes on writing, so that what it has does not grow old.
        let mut returns = start(dir.path());
        returns.connected(id(1), &way("/ip4/192.0.2.1/udp/4001/quic-v1"));
        returns.is_member(id(1));
        returns.save();
        age(&own, LAST_SEEN_LIFE);
        returns.save();
        assert_eq!(start(dir.path()).missing.len(), 1);
    }

    #[test]
    fn a_directory_in_which_others_can_exchange_our_files_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let is_guarded = |mode| {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            is_guarded(&fs::metadata(dir.path()).unwrap())
        };
        assert!(is_guarded(0o700) && is_guarded(0o1777));
        assert!(!is_guarded(0o777) && !is_guarded(0o770));
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(!super::is_guarded(&fs::metadata(&file).unwrap()));
    }

    #[test]
    fn a_write_that_fails_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let file = start(dir.path()).file.unwrap();
        // A directory of this name cannot be replaced.
        fs::create_dir_all(file.join("in it")).unwrap();
        assert!(write(&file, &[1; RECORD]).is_err());
        assert!(!unfinished(&file).exists());
    }
}
