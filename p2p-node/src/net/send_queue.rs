//! What TCP connections have sent and the other end has not acknowledged yet, as Linux tells. On a slow uplink an answer waits behind all that is in
//! there: as long as it becomes less, the path is alive, however late the answer is.

use std::{
    collections::HashSet,
    fs,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use libp2p::{Multiaddr, multiaddr::Protocol};

/// Between two looks.
pub const LOOK: Duration = Duration::from_millis(500);

/// The send queues of this process towards one address.
#[derive(Clone, Debug)]
pub struct SendQueue {
    remote: SocketAddr,
    /// Bytes in them at the last look; nothing, if the system does not tell.
    before: Option<u64>,
}

impl SendQueue {
    /// That of a connection with this address, if it goes over TCP.
    pub fn towards(remote: &Multiaddr) -> Option<Self> {
        let mut parts = remote.iter();
        let ip = match parts.next()? {
            Protocol::Ip4(ip) => IpAddr::V4(ip),
            Protocol::Ip6(ip) => IpAddr::V6(ip),
            _ => return None,
        };
        let Protocol::Tcp(port) = parts.next()? else { return None };
        Some(Self { remote: SocketAddr::new(ip, port), before: None })
    }

    /// Whether something of what was in there at the last look was acknowledged. The first look sees nothing.
    pub fn is_draining(&mut self) -> bool {
        let now = self.bytes();
        let before = std::mem::replace(&mut self.before, now);
        before.zip(now).is_some_and(|(before, now)| now < before)
    }

    /// The same in the course of a second; at once, if there is nothing in there.
    pub async fn drains(&mut self) -> bool {
        self.is_draining();
        for _ in 0..2 {
            if self.before.is_none_or(|bytes| bytes == 0) {
                return false;
            }
            tokio::time::sleep(LOOK).await;
            if self.is_draining() {
                return true;
            }
        }
        false
    }

    fn bytes(&self) -> Option<u64> {
        let table = fs::read_to_string(if self.remote.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" }).ok()?;
        Some(unacknowledged(&table, self.remote, &own_sockets()))
    }
}

/// The inodes of this process's sockets: others may be connected with the same server.
fn own_sockets() -> HashSet<u64> {
    let files = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let inode = |link: std::path::PathBuf| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    files.filter_map(|file| inode(fs::read_link(file.path()).ok()?)).collect()
}

/// Of the kernel's table of TCP sockets, the bytes that these ones have sent to an address and that it has not acknowledged.
fn unacknowledged(table: &str, remote: SocketAddr, own: &HashSet<u64>) -> u64 {
    let of_line = |line: &str| -> Option<u64> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, to, _, queues, _, _, _, _, inode, ..] = fields.as_slice() else { return None };
        let (sent, _) = queues.split_once(':')?;
        let is_meant = address(to)? == remote && own.contains(&inode.parse().ok()?);
        u64::from_str_radix(sent, 16).ok().filter(|_| is_meant)
    };
    table.lines().filter_map(of_line).sum()
}

/// An address as the kernel writes it: words of its bytes as numbers of this machine, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    if !ip.len().is_multiple_of(8) {
        return None;
    }
    let mut bytes = Vec::new();
    for word in ip.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes.as_slice()).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use std::{
        io::{ErrorKind, Read, Write},
        net::{TcpListener, TcpStream},
        thread::sleep,
    };

    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7 1 0 100 0 0 10 0\n\
        1: 0100007F:A2B4 0100007F:0FA1 01 00001000:00000000 01:00000014 00000000     0        0 8 2 0 20 4 30 10 -1\n\
        2: 0100007F:A2B6 0100007F:0FA1 01 00000010:00000000 01:00000014 00000000     0        0 9 2 0 20 4 30 10 -1\n\
        3: 0100007F:A2B8 0100007F:0FA2 01 00000001:00000000 01:00000014 00000000     0        0 8 2 0 20 4 30 10 -1\n\
        nonsense\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn of_the_kernels_table_own_sockets_towards_the_address_count() {
        let remote = "127.0.0.1:4001".parse().unwrap();
        assert_eq!(unacknowledged(TABLE, remote, &HashSet::from([7, 8])), 0x1000);
        assert_eq!(unacknowledged(TABLE, remote, &HashSet::from([8, 9])), 0x1010);
        assert_eq!(unacknowledged(TABLE, remote, &HashSet::new()), 0);
        let v6 = address("B80D0120000000000000000001000000:0FA1");
        assert_eq!(v6, Some("[2001:db8::1]:4001".parse().unwrap()));
        for bad in ["", ":", "01:02", "0100007F", "0100007F:", "0100007F:12345", "€€€:1"] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_connections_over_tcp_have_one() {
        let has_one = |text: &str| SendQueue::towards(&text.parse().unwrap()).is_some();
        assert!(has_one("/ip4/192.0.2.1/tcp/443/tls/ws") && has_one("/ip6/2001:db8::1/tcp/4001"));
        assert!(!has_one("/ip4/192.0.2.1/udp/4001/quic-v1") && !has_one("/dns/rendezvous.example/tcp/4001"));
    }

    /// A connection that has taken as much as it does while nobody reads, and its queue.
    pub(in crate::net) fn full() -> (SendQueue, TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let remote = listener.local_addr().unwrap();
        let mut sender = TcpStream::connect(remote).unwrap();
        let (receiver, _) = listener.accept().unwrap();
        sender.set_nonblocking(true).unwrap();
        let mut last = 0;
        loop {
            match sender.write(&[0; 65_536]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // The system may still move some of it.
                    let queue = SendQueue { remote, before: None };
                    let bytes = queue.bytes().unwrap();
                    if bytes == std::mem::replace(&mut last, bytes) {
                        return (queue, sender, receiver);
                    }
                    sleep(Duration::from_millis(50));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_the_other_end_reads_drains_and_what_it_does_not_stays() {
        let (mut queue, _sender, mut receiver) = full();
        assert!(queue.bytes().unwrap() > 0 && !queue.is_draining() && !queue.is_draining());
        let mut buffer = vec![0; 65_536];
        let mut reads = (0..1_000).map(|_| receiver.read_exact(&mut buffer).is_ok() && queue.is_draining());
        assert!(reads.any(|is_draining| is_draining));
    }
}
