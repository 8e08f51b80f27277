//! Where members are connected from over QUIC, so that a server which was killed can tell them that it is back. Who is at rest would notice only when
//! it asks next, after up to half a minute: libp2p's QUIC sends no stateless reset for connections of another process.
//!
//! It is kept in memory that outlives the process, and neither on a disk nor longer than the machine runs; a server that is stopped leaves nothing.
//! There are addresses alone, without keys. Whoever is there learns who has called by the key of the server.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write},
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

use crate::limits::{CALLED_BACK_AT_ONCE, LAST_SEEN};

/// A file system that Linux keeps in memory, for all users.
const SHARED_MEMORY: &str = "/dev/shm";
/// Bytes of an address: IPv6, or IPv4 within that, and a port.
const RECORD: usize = 18;

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
    (port != 0 && !ip.is_unspecified() && !ip.is_multicast()).then(|| SocketAddr::new(ip, port))
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
    file: PathBuf,
    /// The connections over QUIC that are open.
    open: HashMap<ConnectionId, SocketAddr>,
    members: HashSet<ConnectionId>,
    /// Something has changed since it was written down.
    changed: bool,
    /// Who has not come back yet since the process before was killed.
    missing: VecDeque<SocketAddr>,
}

impl Returns {
    /// With what the process before has left under this name, which is then there no more.
    pub fn new(name: &[u8; 32]) -> Self {
        Self::in_directory(Path::new(SHARED_MEMORY), name)
    }

    fn in_directory(directory: &Path, name: &[u8; 32]) -> Self {
        let file = directory.join(format!("starling-{}", HEXLOWER.encode(&name[..16])));
        let missing = read(&file).unwrap_or_default();
        let returns = Self { file, open: HashMap::new(), members: HashSet::new(), changed: false, missing };
        returns.forget();
        returns
    }

    /// There is a connection.
    pub fn connected(&mut self, id: ConnectionId, remote: &Multiaddr) {
        if let Some(place) = place_of(remote) {
            self.open.insert(id, place);
        }
    }

    /// Its session is that of a registered account.
    pub fn is_member(&mut self, id: ConnectionId) {
        self.changed |= self.open.contains_key(&id) && self.members.insert(id);
    }

    /// It is closed.
    pub fn closed(&mut self, id: ConnectionId) {
        self.open.remove(&id);
        self.changed |= self.members.remove(&id);
    }

    /// Writes down where members are, if that has changed.
    pub fn save(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let places = self.members.iter().filter_map(|id| self.open.get(id));
        let records: Vec<u8> = places.take(LAST_SEEN).flat_map(encode).collect();
        if records.is_empty() {
            return self.forget();
        }
        if let Err(error) = write(&self.file, &records) {
            tracing::debug!(%error, "cannot remember who is connected, in case that the server is killed");
        }
    }

    /// Leaves nothing behind.
    pub fn forget(&self) {
        let _ = fs::remove_file(&self.file);
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

/// What a process of the same user has written.
fn read(file: &Path) -> io::Result<VecDeque<SocketAddr>> {
    let found = fs::symlink_metadata(file)?;
    let is_ours = found.is_file() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0;
    if !is_ours || found.len() > (LAST_SEEN * RECORD) as u64 {
        return Err(ErrorKind::PermissionDenied.into());
    }
    Ok(fs::read(file)?.chunks_exact(RECORD).filter_map(decode).collect())
}

/// Writes all of it or nothing.
fn write(file: &Path, records: &[u8]) -> io::Result<()> {
    let new = file.with_extension("new");
    // One that a process has left that was killed meanwhile.
    let _ = fs::remove_file(&new);
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    opened.write_all(records)?;
    fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NAME: [u8; 32] = [7; 32];

    fn id(n: usize) -> ConnectionId {
        ConnectionId::new_unchecked(n)
    }

    fn way(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn start(dir: &Path) -> Returns {
        Returns::in_directory(dir, &NAME)
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
        returns.changed = true;
        returns.save();
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
        let file = start(dir.path()).file;
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
        std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
        assert_eq!(start(dir.path()).missing.len(), 0);
    }
}
