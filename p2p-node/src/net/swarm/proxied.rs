//! TCP and WebSocket through a proxy. Nothing is listened on and no name is looked up here.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Either, Pending, Ready, ready},
};
use http::{HeaderValue, Uri};
use hyper_util::{client::legacy::connect::proxy::Tunnel, rt::TokioIo};
use libp2p::{
    Multiaddr, PeerId, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, DialOpts, ListenerId, OrTransport, TransportError, TransportEvent},
        upgrade::Version,
    },
    identity::Keypair,
    multiaddr::Protocol,
    noise, websocket, yamux,
};
use starling_wire::streams::{self, Authorities};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use tower_service::Service;

use super::{
    behaviour::BuildError,
    socks::{self, SocksError},
};
use crate::net::proxy::{Login, Proxy, ProxyKind};

/// A proxy that takes longer to be connected to does not answer.
const CONNECTING: Duration = Duration::from_secs(10);
/// And one that takes longer to reach what it is asked for: Tor builds a circuit meanwhile.
const ANSWERING: Duration = Duration::from_secs(30);
/// For both, and for the handshake with who is behind it.
pub(super) const PATIENCE: Duration = Duration::from_secs(50);

/// Why there is no connection through the proxy. What [`problem`](super::cause::dial_problem) makes of it goes by these words.
#[derive(Debug, thiserror::Error)]
enum ProxyError {
    #[error("the proxy does not answer")]
    Unreachable,
    #[error("the proxy does not take the user name and password")]
    Credentials,
    #[error("the proxy cannot connect: {0}")]
    Refused(String),
}

/// TCP connections that a proxy makes.
#[derive(Clone, Debug)]
struct ProxiedTcp(Proxy);

/// Host and port of an address that a proxy can connect to, as the authority of a URI.
fn target(address: &Multiaddr) -> Option<String> {
    let mut parts = address.iter();
    let host = match parts.next()? {
        Protocol::Ip4(ip) => ip.to_string(),
        Protocol::Ip6(ip) => format!("[{ip}]"),
        // What is a number is checked as one, elsewhere.
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => {
            Some(name.into_owned()).filter(|name| name.parse::<IpAddr>().is_err())?
        }
        _ => return None,
    };
    let Protocol::Tcp(port) = parts.next()? else { return None };
    matches!(parts.next(), None | Some(Protocol::P2p(_))).then(|| format!("{host}:{port}"))
}

/// The connection to the proxy that is there, for a client that would make one.
struct Connected(Option<TcpStream>);

impl Service<Uri> for Connected {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioIo<TcpStream>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().map(TokioIo::new).ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}

async fn connect(proxy: Proxy, target: Uri) -> Result<Compat<TcpStream>, ProxyError> {
    match connect_as(&proxy, proxy.login(), &target).await {
        // It asks for a user name where it can, and takes none but those that it knows: it may take who has none.
        Err(ProxyError::Credentials) if matches!(proxy.login(), Login::Offered(_)) => {
            connect_as(&proxy, Login::None, &target).await
        }
        connected => connected,
    }
}

async fn connect_as(proxy: &Proxy, login: Login<'_>, target: &Uri) -> Result<Compat<TcpStream>, ProxyError> {
    let connecting = TcpStream::connect((proxy.host(), proxy.port()));
    let stream = tokio::time::timeout(CONNECTING, connecting).await.map_err(|_| ProxyError::Unreachable)?;
    let stream = stream.map_err(|_| ProxyError::Unreachable)?;
    let _ = stream.set_nodelay(true);
    let asked = async {
        match proxy.kind() {
            ProxyKind::Socks5 => by_socks(login, stream, target).await,
            ProxyKind::Http => by_http(proxy, stream, target.clone()).await,
        }
    };
    let asked = tokio::time::timeout(ANSWERING, asked).await.map_err(|_| ProxyError::Unreachable)?;
    asked.map(TokioAsyncReadCompatExt::compat)
}

async fn by_socks(login: Login<'_>, mut stream: TcpStream, target: &Uri) -> Result<TcpStream, ProxyError> {
    let host = target.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = target.port_u16().unwrap_or_default();
    match socks::connect(&mut stream, login, host, port).await {
        Ok(()) => Ok(stream),
        Err(SocksError::Credentials) => Err(ProxyError::Credentials),
        Err(error) => Err(ProxyError::Refused(error.to_string())),
    }
}

async fn by_http(proxy: &Proxy, stream: TcpStream, target: Uri) -> Result<TcpStream, ProxyError> {
    // Asking for another one would be no use.
    let mut tunnel = Tunnel::new(Uri::from_static("http://proxy"), Connected(Some(stream)));
    if let Some(basic) = proxy.basic().and_then(|basic| HeaderValue::try_from(basic).ok()) {
        tunnel = tunnel.with_auth(basic);
    }
    let asked = tunnel.call(target).await.map_err(|error| error.to_string());
    asked.map(TokioIo::into_inner).map_err(|error| {
        if error.contains("auth") || error.contains("credentials") {
            ProxyError::Credentials
        } else {
            ProxyError::Refused(error)
        }
    })
}

impl Transport for ProxiedTcp {
    type Output = Compat<TcpStream>;
    type Error = io::Error;
    type ListenerUpgrade = Pending<Result<Self::Output, io::Error>>;
    type Dial = BoxFuture<'static, Result<Self::Output, io::Error>>;

    fn listen_on(&mut self, _: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let target = target(&address)
            .and_then(|target| Uri::builder().scheme("http").authority(target).path_and_query("/").build().ok());
        let Some(target) = target else { return Err(TransportError::MultiaddrNotSupported(address)) };
        Ok(connect(self.0.clone(), target).map(|connected| connected.map_err(io::Error::other)).boxed())
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Poll::Pending
    }
}

/// All that goes through the proxy.
pub(super) fn transport(key: &Keypair, proxy: &Proxy) -> Result<Boxed<(PeerId, StreamMuxerBox)>, BuildError> {
    let tcp = ProxiedTcp(proxy.clone())
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(yamux::Config::default());
    let (plain, below_tls) = (websocket::Config::new(ProxiedTcp(proxy.clone())), ProxiedTcp(proxy.clone()).boxed());
    let websocket = streams::websocket_over(plain, below_tls, key, yamux::Config::default())?;
    let both = OrTransport::new(websocket, tcp.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))));
    Ok(both
        .map(|either, _| match either {
            Either::Left(connected) | Either::Right(connected) => connected,
        })
        .boxed())
}

/// The same, to servers alone whose name is known to an authority.
pub(super) fn vouched(
    authorities: Authorities,
    key: &Keypair,
    proxy: &Proxy,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, BuildError> {
    let below_tls = ProxiedTcp(proxy.clone()).boxed();
    Ok(streams::vouched_websocket_over(below_tls, authorities, key, yamux::Config::default())?)
}

/// Whether an address can be reached through a proxy.
pub(super) fn is_reachable(address: &Multiaddr) -> bool {
    !address.iter().any(|part| matches!(part, Protocol::Udp(_)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn only_what_a_proxy_can_connect_to_is_asked_of_it() {
        for (address, expected) in [
            ("/ip4/192.0.2.1/tcp/4001", Some("192.0.2.1:4001")),
            ("/ip6/2001:db8::1/tcp/443", Some("[2001:db8::1]:443")),
            ("/dns/a.example/tcp/443", Some("a.example:443")),
            ("/dns/192.168.1.1/tcp/22", None),
            ("/ip4/192.0.2.1/udp/4001/quic-v1", None),
            ("/ip4/192.0.2.1/tcp/443/ws", None),
        ] {
            assert_eq!(target(&address.parse().unwrap()).as_deref(), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn a_proxy_that_does_not_take_made_up_user_names_is_asked_without_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy: Proxy = format!("socks5h://{}", listener.local_addr().unwrap()).parse().unwrap();
        let serve = async {
            let (mut first, _) = listener.accept().await.unwrap();
            let mut both = [0; 4];
            first.read_exact(&mut both).await.unwrap();
            assert_eq!(both, [5, 2, 0, 2]);
            first.write_all(&[5, 2, 1, 1]).await.unwrap();
            let (mut second, _) = listener.accept().await.unwrap();
            let mut none = [0; 3];
            second.read_exact(&mut none).await.unwrap();
            assert_eq!(none, [5, 1, 0]);
            second.write_all(&[5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
            (first, second)
        };
        let target = Uri::from_static("http://192.0.2.1:443/");
        let (connected, _open) = tokio::join!(connect(proxy.isolated(), target), serve);
        assert!(connected.is_ok());
    }
}
