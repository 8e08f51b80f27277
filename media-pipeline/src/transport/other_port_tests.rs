#![allow(clippy::unwrap_used, reason = "tests")]

use std::{future::poll_fn, net::UdpSocket};

use webrtc::runtime::{Runtime, TokioRuntime};

use super::*;

fn message(kind: [u8; 2], transaction: u8) -> Vec<u8> {
    [vec![kind[0], kind[1], 0, 0, 0x21, 0x12, 0xa4, 0x42], vec![transaction; 12]].concat()
}

fn allocate(transaction: u8) -> Vec<u8> {
    message([0x00, 0x03], transaction)
}

#[derive(Debug)]
struct One {
    first: SocketAddr,
    other: SocketAddr,
}

impl OtherPorts for One {
    fn of(&self, server: SocketAddr) -> Option<SocketAddr> {
        (server == self.first).then_some(self.other)
    }
}

/// A server with two ports, and a socket.
struct World {
    first: UdpSocket,
    other: UdpSocket,
    socket: Arc<OtherPortSocket>,
}

fn bound() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

impl World {
    fn new() -> Self {
        let (first, other) = (bound(), bound());
        let one = One { first: first.local_addr().unwrap(), other: other.local_addr().unwrap() };
        let socket = OtherPortSocket::wrap(TokioRuntime.wrap_udp_socket(bound()).unwrap(), Arc::new(one));
        Self { first, other, socket }
    }

    /// Sends to the server, as the library knows it.
    async fn send(&self, message: &[u8]) {
        self.socket.send_to(message, self.first.local_addr().unwrap()).await.unwrap();
    }

    /// Datagrams that have come to both ports.
    fn came(&self) -> (usize, usize) {
        let count = |at: &UdpSocket| std::iter::from_fn(|| at.recv_from(&mut [0; 2048]).ok()).count();
        (count(&self.first), count(&self.other))
    }

    /// What the library gets of an answer by one of the ports, and whether that is from the port it knows.
    async fn answered(&self, by: &UdpSocket, message: &[u8]) -> (bool, Vec<u8>) {
        by.send_to(message, self.socket.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 2048];
        let mut meta = [RecvMeta::default()];
        let received = poll_fn(|cx| self.socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta));
        assert_eq!(received.await.unwrap(), 1);
        (meta[0].addr == self.first.local_addr().unwrap(), buffer[..meta[0].len].to_vec())
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_asked_at_its_other_port_and_stays_there() {
    let world = World::new();
    world.send(&allocate(1)).await;
    assert_eq!(world.came(), (1, 0));
    world.send(&allocate(1)).await;
    assert_eq!(world.came(), (1, 1));
    let challenge = message([0x01, 0x13], 1);
    assert_eq!(world.answered(&world.other, &challenge).await, (true, challenge.clone()));
    // The next request, and data, go there alone.
    world.send(&allocate(2)).await;
    world.send(&[0x40, 0, 0, 1, 9]).await;
    assert_eq!(world.came(), (0, 2));
    assert_eq!(world.answered(&world.other, &[0x40, 0, 0, 1, 9]).await, (true, vec![0x40, 0, 0, 1, 9]));
    // What the first one says now is about no allocation of ours, but what our address is.
    assert!(world.answered(&world.first, &challenge).await.1.is_empty());
    let binding = message([0x01, 0x01], 3);
    assert_eq!(world.answered(&world.first, &binding).await, (true, binding));
}

#[tokio::test]
async fn a_server_that_answers_is_asked_at_one_port_and_has_one_allocation() {
    let world = World::new();
    for transaction in 0..4 {
        // The answer to the first was lost.
        world.send(&allocate(transaction)).await;
        if transaction == 0 {
            world.send(&allocate(transaction)).await;
        }
        let answer = message([0x01, 0x03], transaction);
        assert_eq!(world.answered(&world.first, &answer).await, (true, answer));
    }
    assert_eq!(world.came(), (5, 1));
    assert!(world.answered(&world.other, &message([0x01, 0x13], 0)).await.1.is_empty(), "it comes late");
    world.send(&allocate(9)).await;
    world.send(&allocate(9)).await;
    world.send(&[0x40, 0, 0, 1, 9]).await;
    assert_eq!(world.came(), (3, 0));
}

#[tokio::test]
async fn our_address_is_asked_at_the_other_port_where_the_first_one_does_not_tell_it() {
    let world = World::new();
    let (request, answer) = (message([0x00, 0x01], 1), message([0x01, 0x01], 1));
    world.send(&request).await;
    assert_eq!(world.came(), (1, 0));
    // What was not asked for is from whom it is from.
    assert_eq!(world.answered(&world.other, &answer).await, (false, answer.clone()));
    world.send(&request).await;
    assert_eq!(world.came(), (1, 1));
    assert_eq!(world.answered(&world.other, &answer).await, (true, answer));
    // That says nothing of allocations.
    world.send(&allocate(2)).await;
    assert_eq!(world.came(), (1, 0));
}

#[tokio::test]
async fn all_else_goes_where_it_is_sent() {
    let world = World::new();
    let peer = bound();
    for datagram in [message([0x00, 0x01], 1), message([0x00, 0x01], 1), allocate(1), allocate(1), vec![0x80; 20]] {
        world.socket.send_to(&datagram, peer.local_addr().unwrap()).await.unwrap();
    }
    world.send(&[22, 1]).await;
    assert_eq!(world.came(), (1, 0));
    assert_eq!(std::iter::from_fn(|| peer.recv_from(&mut [0; 2048]).ok()).count(), 5);
    assert_eq!(world.answered(&peer, &[0x80, 1]).await, (false, vec![0x80, 1]));
}
