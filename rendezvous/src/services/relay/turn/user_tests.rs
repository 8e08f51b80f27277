//! A user of TURN for tests with sockets.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use rtc::{
    sansio::Protocol,
    shared::{TaggedBytesMut, TransportContext, TransportProtocol},
    turn::client::{Client, ClientConfig, Event},
};
use tokio::{net::UdpSocket, time::timeout};

use super::credentials;
use crate::clock::now_ms;

/// webrtc's client, on a socket.
pub struct User {
    socket: UdpSocket,
    pub client: Client,
    /// Datagrams with data of channels that it has sent.
    pub sent_in_channels: usize,
}

impl User {
    /// One who is to ask the server at this address, which has this secret.
    pub async fn new(secret: &[u8], name: &str, server: SocketAddr) -> Self {
        let credentials = credentials(secret, now_ms() / 1000 + 60, name).unwrap();
        let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0)).await.unwrap();
        let config = ClientConfig {
            turn_serv_addr: server.to_string(),
            local_addr: socket.local_addr().unwrap(),
            username: credentials.username,
            password: credentials.password,
            ..ClientConfig::default()
        };
        let client = Client::new(config, rtc::crypto::default_provider().unwrap()).unwrap();
        Self { socket, client, sent_in_channels: 0 }
    }

    /// Sends what is to be sent.
    pub async fn flush(&mut self) {
        while let Some(datagram) = self.client.poll_write() {
            self.sent_in_channels += usize::from(matches!(datagram.message.first(), Some(0x40..=0x4f)));
            self.socket.send_to(&datagram.message, datagram.transport.peer_addr).await.unwrap();
        }
    }

    /// The next event; what is to be sent is sent, and repeated in time.
    pub async fn event(&mut self) -> Event {
        let mut buffer = vec![0; 4096];
        for _ in 0..200 {
            self.flush().await;
            if let Some(event) = self.client.poll_event() {
                return event;
            }
            let wait = Duration::from_millis(50);
            if let Ok(Ok((length, from))) = timeout(wait, self.socket.recv_from(&mut buffer)).await {
                let transport = TransportContext {
                    local_addr: self.socket.local_addr().unwrap(),
                    peer_addr: from,
                    transport_protocol: TransportProtocol::UDP,
                    ecn: None,
                };
                let message = BytesMut::from(&buffer[..length]);
                self.client.handle_read(TaggedBytesMut { now: Instant::now(), transport, message }).unwrap();
            } else {
                self.client.handle_timeout(Instant::now()).unwrap();
            }
        }
        unreachable!("no event within ten seconds")
    }
}
