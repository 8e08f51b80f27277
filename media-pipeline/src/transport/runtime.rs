//! What connections get of the system: sockets, which repeat handshakes and perhaps have a bad network below them, and the addresses of servers.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime, TokioRuntime,
};

use super::{handshake::HandshakeSocket, link::Link};

/// Everything of a connection waits while a server's name is looked up. After this time it goes on with what the name was before, or without it.
const LOOK_UP: Duration = Duration::from_millis(500);

/// The runtime of one connection.
#[derive(Debug)]
pub(super) struct MediaRuntime {
    inner: TokioRuntime,
    link: Option<Link>,
    /// Where servers were when they were looked up last. A connection has few of them.
    known: Mutex<HashMap<String, Vec<SocketAddr>>>,
}

impl MediaRuntime {
    /// Sockets send through the link, if there is one.
    pub fn new(link: Option<Link>) -> Self {
        Self { inner: TokioRuntime, link, known: Mutex::default() }
    }
}

impl Runtime for MediaRuntime {
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        self.inner.spawn(future)
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = self.inner.wrap_udp_socket(socket)?;
        Ok(HandshakeSocket::wrap(match &self.link {
            Some(link) => link.wrap(socket),
            None => socket,
        }))
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        self.inner.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        to: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        self.inner.connect_tcp(to)
    }

    fn resolve_host<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async move {
            let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned();
            if let Some(address) = literal(host) {
                return Ok(vec![address]);
            }
            match tokio::time::timeout(LOOK_UP, self.inner.resolve_host(host)).await {
                Ok(Ok(found)) => {
                    self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), found.clone());
                    Ok(found)
                }
                Ok(Err(error)) => known().ok_or(error),
                Err(_) => known().ok_or_else(|| io::ErrorKind::TimedOut.into()),
            }
        })
    }

    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        self.inner.sleep(time)
    }

    fn interval(&self, time: Duration) -> Box<dyn AsyncInterval> {
        self.inner.interval(time)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        self.inner.block_on(future);
    }
}

/// An IP address and a port. `webrtc` forgets the brackets around an IPv6 address in the URL of a TURN server.
fn literal(host: &str) -> Option<SocketAddr> {
    host.parse().ok().or_else(|| {
        let (ip, port) = host.rsplit_once(':')?;
        Some(SocketAddr::new(IpAddr::V6(ip.parse().ok()?), port.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn addresses_of_servers_are_read_with_and_without_brackets() {
        for (text, expected) in [
            ("192.0.2.1:3478", "192.0.2.1:3478"),
            ("[2001:db8::2]:3478", "[2001:db8::2]:3478"),
            ("2001:db8::2:3478", "[2001:db8::2]:3478"),
        ] {
            assert_eq!(literal(text), Some(expected.parse().unwrap()), "{text}");
        }
        for name in ["localhost:3478", "turn.example:1", "192.0.2.1", ""] {
            assert_eq!(literal(name), None, "{name}");
        }
    }

    #[tokio::test]
    async fn a_name_that_is_not_found_any_more_is_where_it_was() {
        let runtime = MediaRuntime::new(None);
        let found = runtime.resolve_host("localhost:7").await.unwrap();
        assert!(!found.is_empty());
        runtime.known.lock().unwrap().insert("nowhere.invalid:7".into(), found.clone());
        assert_eq!(runtime.resolve_host("nowhere.invalid:7").await.unwrap(), found);
        runtime.resolve_host("never.invalid:7").await.unwrap_err();
    }
}
