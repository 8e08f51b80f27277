//! WebSocket beside the other transports. libp2p's own way to add it needs the system's name servers to be configured when the program starts.

use futures::{AsyncRead, AsyncWrite};
use libp2p::{
    PeerId, Transport,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    identity::Keypair,
    noise, tcp, websocket, yamux,
};

/// WebSocket over TCP, to IP addresses and as a server.
pub fn websocket(key: &Keypair, muxing: yamux::Config) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
    websocket_over(tcp::tokio::Transport::new(tcp::Config::default()), key, muxing)
}

/// WebSocket over any transport of bytes: through a proxy, for example.
pub fn websocket_over<T>(
    bytes: T,
    key: &Keypair,
    muxing: yamux::Config,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error>
where
    T: Transport<Output: AsyncRead + AsyncWrite + Send + Unpin + 'static, Error: Send + Sync + 'static>,
    T: Send + Unpin + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
{
    let transport =
        websocket::Config::new(bytes).upgrade(Version::V1Lazy).authenticate(noise::Config::new(key)?).multiplex(muxing);
    Ok(transport.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed())
}
