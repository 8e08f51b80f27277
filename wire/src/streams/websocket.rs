//! WebSocket beside the other transports. libp2p's own way to add it needs the system's name servers to be configured when the program starts.

use libp2p::{
    PeerId, Transport,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    identity::Keypair,
    noise, tcp, websocket, yamux,
};

/// WebSocket over TCP, to IP addresses and as a server.
pub fn websocket(key: &Keypair, muxing: yamux::Config) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
    let transport = websocket::Config::new(tcp::tokio::Transport::new(tcp::Config::default()))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(muxing);
    Ok(transport.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed())
}
