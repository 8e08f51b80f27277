//! TLS below WebSocket, for networks that let out nothing else: on port 443 it passes for any other site.
//!
//! A client takes whatever certificate it is shown. Who the server is, Noise proves inside, by the key that is in the server's address: so the
//! address pins its server, whether that has a certificate of its own or a proxy in front of it has one of a public authority. A machine between
//! them can end the TLS, and then sees what any machine sees between a client and a server over TCP: who talks with whom, and nothing of what.
//!
//! A client that has no key yet takes those certificates alone that an authority has signed for the name that it asks for.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{
    AsyncRead, AsyncWrite, FutureExt, TryFutureExt,
    future::{BoxFuture, Pending},
};
use futures_rustls::{
    TlsConnector,
    rustls::{
        self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};
use libp2p::{
    Multiaddr, Transport,
    core::transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent},
    multiaddr::Protocol,
    tcp,
    websocket::{
        self,
        tls::{self, Certificate, PrivateKey},
    },
};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpSocket;

/// Largest TCP segment, in both directions: it fits the smallest packet that every path of IPv6 takes. Where TLS on port 443 is the way that is left,
/// routers that drop larger packets and do not say so are common, too.
const SEGMENT: u32 = 1200;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The configuration.
    #[error("TLS: {0}")]
    Config(#[from] rustls::Error),
    /// The certificate cannot be made.
    #[error("a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The certificate cannot be used.
    #[error("a certificate: {0}")]
    Unusable(#[from] tls::Error),
}

/// A certificate that nobody has signed, and its key.
pub(super) fn own_certificate() -> Result<tls::Config, TlsError> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivateKey::new(made.signing_key.serialize_der());
    Ok(tls::Config::new(key, [Certificate::new(made.cert.der().to_vec())])?)
}

/// Takes all certificates. See the top of this file.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Authorities whose signature says who has a name.
#[derive(Clone, Debug)]
pub struct Authorities(Arc<RootCertStore>);

impl Authorities {
    /// Those that browsers know (Mozilla's list).
    pub fn public() -> Self {
        Self(Arc::new(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()))
    }
}

/// Which certificates a client takes.
pub(super) enum Taken {
    /// Any: the key of the server is known.
    Any,
    /// What these have signed for the name of the server.
    SignedBy(Authorities),
}

fn connector(taken: Taken) -> Result<TlsConnector, rustls::Error> {
    let provider = rustls::crypto::ring::default_provider();
    let any = AnyCertificate(provider.signature_verification_algorithms);
    let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions()?;
    let mut config = match taken {
        Taken::Any => config.dangerous().with_custom_certificate_verifier(Arc::new(any)),
        Taken::SignedBy(Authorities(roots)) => config.with_root_certificates(roots),
    }
    .with_no_client_auth();
    // As browsers do for WebSocket; a proxy may prefer HTTP/2 otherwise.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

/// A connection that is being made.
type Dialing<S> = BoxFuture<'static, io::Result<S>>;

/// A transport that listens on nothing.
struct DialOnly<F>(F);

/// Dials with a function.
fn dial_only<F, S>(dial: F) -> DialOnly<F>
where
    F: FnMut(Multiaddr, DialOpts) -> Result<Dialing<S>, TransportError<io::Error>>,
{
    DialOnly(dial)
}

impl<F, S> Transport for DialOnly<F>
where
    F: FnMut(Multiaddr, DialOpts) -> Result<Dialing<S>, TransportError<io::Error>>,
{
    type Output = S;
    type Error = io::Error;
    type ListenerUpgrade = Pending<io::Result<S>>;
    type Dial = Dialing<S>;

    fn listen_on(&mut self, _: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        (self.0)(address, options)
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Poll::Pending
    }
}

/// An address of WebSocket over TLS, taken apart.
#[derive(Debug, PartialEq)]
struct Target {
    /// What is connected to.
    tcp: Multiaddr,
    /// The name that TLS asks for.
    name: ServerName<'static>,
    /// The same server without TLS, by the name that HTTP asks for.
    websocket: Multiaddr,
}

impl Target {
    /// Of `…/tcp/443/tls/ws`, `…/tcp/443/tls/sni/NAME/ws` or `…/tcp/443/wss`, with or without a peer at the end.
    fn of(address: &Multiaddr) -> Option<Self> {
        let mut parts: Vec<Protocol<'_>> = address.iter().collect();
        if matches!(parts.last(), Some(Protocol::P2p(_))) {
            parts.pop();
        }
        let (host, port, sni, path) = match parts.as_slice() {
            [host, Protocol::Tcp(port), Protocol::Wss(path)]
            | [host, Protocol::Tcp(port), Protocol::Tls, Protocol::Ws(path)] => (host, *port, None, path),
            [host, Protocol::Tcp(port), Protocol::Tls, Protocol::Sni(name), Protocol::Ws(path)] => {
                (host, *port, Some(name), path)
            }
            _ => return None,
        };
        let of_host = match host {
            Protocol::Ip4(ip) => ip.to_string(),
            Protocol::Ip6(ip) => ip.to_string(),
            Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => name.to_string(),
            _ => return None,
        };
        let name = ServerName::try_from(sni.map_or(of_host, |name| name.to_string())).ok()?;
        let asked = sni.map_or_else(|| host.clone(), |name| Protocol::Dns(name.clone()));
        let over = |host: Protocol<'_>| Multiaddr::empty().with(host).with(Protocol::Tcp(port));
        Some(Self { tcp: over(host.clone()), name, websocket: over(asked).with(Protocol::Ws(path.clone())) })
    }
}

/// Dials WebSocket over TLS, over connections of `bytes`.
pub(super) fn secured<S>(
    mut bytes: Boxed<S>,
    taken: Taken,
) -> Result<Boxed<impl AsyncRead + AsyncWrite + Send + Unpin + 'static>, TlsError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connector = connector(taken)?;
    let dialing = dial_only(move |address, options| {
        let Some(target) = Target::of(&address) else { return Err(TransportError::MultiaddrNotSupported(address)) };
        let Target { tcp: below, name, websocket: above } = target;
        let (connecting, connector) = (bytes.dial(below, options)?, connector.clone());
        let securing = async move { connector.connect(name, connecting.await?).await };
        // libp2p's WebSocket dials once.
        let mut securing = Some(securing.boxed());
        let once = dial_only(move |address, _| securing.take().ok_or(TransportError::MultiaddrNotSupported(address)));
        let upgrade = websocket::Config::new(once).dial(above, options);
        let upgrade = upgrade.map_err(|error| error.map(io::Error::other))?;
        Ok(upgrade.map_err(io::Error::other).boxed())
    });
    Ok(dialing.boxed())
}

/// Dials TCP to IP addresses, for connections whose segments fit any path.
pub(super) fn small_segments() -> Boxed<tcp::tokio::TcpStream> {
    let dialing = dial_only(|address, _| match socket_address(&address) {
        Some(to) => Ok(connect(to).boxed()),
        None => Err(TransportError::MultiaddrNotSupported(address)),
    });
    dialing.boxed()
}

fn socket_address(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    let Protocol::Tcp(port) = parts.next()? else { return None };
    parts.next().is_none().then(|| SocketAddr::new(ip, port))
}

async fn connect(to: SocketAddr) -> io::Result<tcp::tokio::TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    // It holds for what we send, and is told to the other end, so it has to be set before. A system that does not take it connects all the same.
    let _ = socket.set_tcp_mss(SEGMENT);
    let stream = TcpSocket::from_std_stream(socket.into()).connect(to).await?;
    Ok(tcp::tokio::TcpStream(stream))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    impl Authorities {
        /// One that has signed nothing but its own certificate (DER).
        pub(in crate::streams) fn of(certificate: Vec<u8>) -> Self {
            let mut roots = RootCertStore::empty();
            roots.add(certificate.into()).unwrap();
            Self(Arc::new(roots))
        }
    }

    #[test]
    fn the_public_authorities_are_many() {
        assert!(Authorities::public().0.len() > 50);
    }

    #[test]
    fn an_address_says_where_to_connect_and_whom_to_ask_for() {
        let peer = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        for (address, tcp, name, websocket) in [
            ("/ip4/192.0.2.1/tcp/443/tls/ws", "/ip4/192.0.2.1/tcp/443", "192.0.2.1", "/ip4/192.0.2.1/tcp/443/ws"),
            (
                "/ip6/2001:db8::1/tcp/8443/wss",
                "/ip6/2001:db8::1/tcp/8443",
                "2001:db8::1",
                "/ip6/2001:db8::1/tcp/8443/ws",
            ),
            ("/dns/a.example/tcp/443/wss", "/dns/a.example/tcp/443", "a.example", "/dns/a.example/tcp/443/ws"),
            (
                "/ip4/192.0.2.1/tcp/443/tls/sni/a.example/ws",
                "/ip4/192.0.2.1/tcp/443",
                "a.example",
                "/dns/a.example/tcp/443/ws",
            ),
        ] {
            let target = Target {
                tcp: tcp.parse().unwrap(),
                name: ServerName::try_from(name.to_owned()).unwrap(),
                websocket: websocket.parse().unwrap(),
            };
            for end in [String::new(), format!("/p2p/{peer}")] {
                assert_eq!(
                    Target::of(&format!("{address}{end}").parse().unwrap()).as_ref(),
                    Some(&target),
                    "{address}"
                );
            }
        }
        for other in [
            "/ip4/192.0.2.1/tcp/443/ws",
            "/ip4/192.0.2.1/tcp/443",
            "/ip4/192.0.2.1/tcp/443/tls",
            &format!("/ip4/192.0.2.1/tcp/443/wss/p2p/{peer}/p2p-circuit"),
        ] {
            assert_eq!(Target::of(&other.parse().unwrap()), None, "{other}");
        }
    }

    #[tokio::test]
    async fn segments_are_small() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = connect(listener.local_addr().unwrap()).await.unwrap();
        assert!(socket2::SockRef::from(&stream.0).tcp_mss().unwrap() <= SEGMENT);
        let (accepted, _) = listener.accept().unwrap();
        assert!(socket2::SockRef::from(&accepted).tcp_mss().unwrap() <= SEGMENT);
    }
}
