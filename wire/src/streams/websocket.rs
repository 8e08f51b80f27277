//! WebSocket beside the other transports, with TLS and without. libp2p's own way to add it needs the system's name servers to be configured when the
//! program starts, and with TLS it trusts only what public authorities have signed.

use futures::{AsyncRead, AsyncWrite};
use libp2p::{
    PeerId, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, OrTransport},
        upgrade::Version,
    },
    identity::Keypair,
    noise, tcp, websocket, yamux,
};

use super::tls::{Authorities, Taken, TlsError, own_certificate, secured, small_segments};

/// Longest WebSocket message that is read from whoever has connected. Noise writes at most 192 KiB at a time.
const MAX_MESSAGE: usize = 1024 * 1024;

/// Why WebSocket cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum WebsocketError {
    /// Noise.
    #[error("Noise: {0}")]
    Noise(#[from] noise::Error),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Connections whose other end has proven who it is.
type Authenticated = Boxed<(PeerId, StreamMuxerBox)>;

/// WebSocket over TCP, to IP addresses.
pub fn websocket(key: &Keypair, muxing: yamux::Config) -> Result<Authenticated, WebsocketError> {
    websocket_over(plain(), small_segments(), key, muxing)
}

/// The same as a server. It has a certificate of its own for TLS: made here and kept in memory, as nobody compares it with the one before.
pub fn websocket_server(key: &Keypair, muxing: yamux::Config) -> Result<Authenticated, WebsocketError> {
    let mut plain = plain();
    plain.set_tls_config(own_certificate()?);
    websocket_over(plain, small_segments(), key, muxing)
}

fn plain() -> websocket::Config<tcp::tokio::Transport> {
    websocket::Config::new(tcp::tokio::Transport::new(tcp::Config::default()))
}

/// WebSocket over any transports of bytes: through a proxy, for example. TLS that is dialled goes over `below_tls`; all else is as `plain` is set up.
pub fn websocket_over<T, S>(
    mut plain: websocket::Config<T>,
    below_tls: Boxed<S>,
    key: &Keypair,
    muxing: yamux::Config,
) -> Result<Authenticated, WebsocketError>
where
    T: Transport<Output: AsyncRead + AsyncWrite + Send + Unpin + 'static, Error: Send + Sync + 'static>,
    T: Send + Unpin + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    plain.set_max_data_size(MAX_MESSAGE);
    // What is dialled with TLS is ours; all else, and listening, is libp2p's.
    let transport = OrTransport::new(secured(below_tls, Taken::Any)?, plain)
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(muxing);
    Ok(transport.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed())
}

/// WebSocket over TLS alone, to IP addresses, where one of the authorities says that the server has the name of the address.
pub fn vouched_websocket(
    authorities: Authorities,
    key: &Keypair,
    muxing: yamux::Config,
) -> Result<Authenticated, WebsocketError> {
    vouched_websocket_over(small_segments(), authorities, key, muxing)
}

/// The same over any transport of bytes.
pub fn vouched_websocket_over<S>(
    below_tls: Boxed<S>,
    authorities: Authorities,
    key: &Keypair,
    muxing: yamux::Config,
) -> Result<Authenticated, WebsocketError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let transport = secured(below_tls, Taken::SignedBy(authorities))?
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(muxing);
    Ok(transport.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use std::time::Duration;

    use futures::StreamExt;
    use libp2p::{
        Multiaddr, Swarm, SwarmBuilder,
        multiaddr::Protocol,
        swarm::{DialError, SwarmEvent, dial_opts::DialOpts, dummy},
    };

    use super::*;

    fn swarm(
        setup: impl FnOnce(&Keypair, yamux::Config) -> Result<Authenticated, WebsocketError>,
    ) -> Swarm<dummy::Behaviour> {
        SwarmBuilder::with_existing_identity(Keypair::generate_ed25519())
            .with_tokio()
            .with_other_transport(|key| -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
                Ok(setup(key, yamux::Config::default())?)
            })
            .unwrap()
            .with_behaviour(|_| dummy::Behaviour)
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
            .build()
    }

    async fn listening(listen: &str) -> (Swarm<dummy::Behaviour>, Multiaddr) {
        listening_on(swarm(websocket_server), listen).await
    }

    async fn listening_on(mut server: Swarm<dummy::Behaviour>, listen: &str) -> (Swarm<dummy::Behaviour>, Multiaddr) {
        server.listen_on(listen.parse().unwrap()).unwrap();
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = server.select_next_some().await {
                return (server, address);
            }
        }
    }

    /// The peer that a swarm is connected with next, or why it is not.
    async fn connected(swarm: &mut Swarm<dummy::Behaviour>) -> Result<PeerId, DialError> {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => return Ok(peer_id),
                SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error),
                SwarmEvent::IncomingConnectionError { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    }

    /// The TCP address of another one, with what is over it.
    fn over_tcp(address: &Multiaddr, over: &str) -> Multiaddr {
        let tcp: Multiaddr = address.iter().take(2).collect();
        format!("{tcp}{over}").parse().unwrap()
    }

    #[tokio::test]
    async fn clients_and_servers_know_each_other_over_a_certificate_that_nobody_has_signed() {
        for (listen, dialed) in [
            ("/ip4/127.0.0.1/tcp/0/tls/ws", "/tls/ws"),
            ("/ip4/127.0.0.1/tcp/0/tls/ws", "/wss"),
            ("/ip4/127.0.0.1/tcp/0/wss", "/tls/sni/other.example/ws"),
            ("/ip4/127.0.0.1/tcp/0/ws", "/ws"),
        ] {
            let (mut server, address) = listening(listen).await;
            let mut client = swarm(websocket);
            let to = DialOpts::peer_id(*server.local_peer_id()).addresses(vec![over_tcp(&address, dialed)]);
            client.dial(to.build()).unwrap();
            let (to_client, to_server) = futures::join!(connected(&mut server), connected(&mut client));
            assert_eq!(to_client.unwrap(), *client.local_peer_id(), "{dialed}");
            assert_eq!(to_server.unwrap(), *server.local_peer_id(), "{dialed}");
        }
    }

    #[tokio::test]
    async fn a_server_whose_key_is_not_known_is_taken_where_an_authority_knows_its_name() {
        let made = rcgen::generate_simple_self_signed(["rendezvous.example".to_owned()]).unwrap();
        let certificate = made.cert.der().to_vec();
        let config = websocket::tls::Config::new(
            websocket::tls::PrivateKey::new(made.signing_key.serialize_der()),
            [websocket::tls::Certificate::new(certificate.clone())],
        );
        let server = swarm(|key, muxing| {
            let mut plain = plain();
            plain.set_tls_config(config.unwrap());
            websocket_over(plain, small_segments(), key, muxing)
        });
        let (mut server, address) = listening_on(server, "/ip4/127.0.0.1/tcp/0/tls/ws").await;
        let (peer, known) = (*server.local_peer_id(), Authorities::of(certificate));
        for (authorities, name, taken) in [
            (known.clone(), "rendezvous.example", true),
            (known, "other.example", false),
            (Authorities::public(), "rendezvous.example", false),
        ] {
            let mut client = swarm(|key, muxing| vouched_websocket(authorities, key, muxing));
            let to = over_tcp(&address, &format!("/tls/sni/{name}/ws"));
            client.dial(DialOpts::unknown_peer_id().address(to).build()).unwrap();
            let answer = tokio::select! {
                answer = connected(&mut client) => answer,
                () = async { loop { server.select_next_some().await; } } => unreachable!(),
            };
            match answer {
                Ok(answered) => assert!(taken && answered == peer, "{name}"),
                Err(error) => assert!(!taken, "{name}: {error}"),
            }
        }
        // No other way is dialled, as nobody vouches for it.
        let mut client = swarm(|key, muxing| vouched_websocket(Authorities::public(), key, muxing));
        for over in ["", "/ws"] {
            let to = DialOpts::unknown_peer_id().address(over_tcp(&address, over));
            client.dial(to.build()).unwrap();
            connected(&mut client).await.unwrap_err();
        }
    }

    #[tokio::test]
    async fn a_server_with_another_key_than_the_one_in_its_address_is_refused() {
        let (mut server, address) = listening("/ip4/127.0.0.1/tcp/0/tls/ws").await;
        let mut client = swarm(websocket);
        let to = DialOpts::peer_id(PeerId::random()).addresses(vec![over_tcp(&address, "/tls/ws")]);
        client.dial(to.build()).unwrap();
        let refused = tokio::select! {
            outcome = connected(&mut client) => outcome,
            () = async { loop { server.select_next_some().await; } } => unreachable!(),
        };
        assert!(matches!(refused, Err(DialError::WrongPeerId { .. })), "{refused:?}");
        assert!(address.iter().any(|part| part == Protocol::Tls));
    }
}
