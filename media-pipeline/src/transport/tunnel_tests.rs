#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    future::poll_fn,
    net::UdpSocket,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use webrtc::runtime::{Runtime, TokioRuntime};

use super::*;

fn request(kind: u8, transaction: u8) -> Vec<u8> {
    [vec![0, kind, 0, 0, 0x21, 0x12, 0xa4, 0x42], vec![transaction; 12]].concat()
}

/// One server that can be reached by a tunnel, whose other ends come out here.
#[derive(Debug)]
struct One {
    server: SocketAddr,
    tunnel: Tunnel,
    sockets: Mutex<Vec<Weak<Shared>>>,
}

impl Tunnels for One {
    fn to(&self, server: SocketAddr) -> Option<Tunnel> {
        (server == self.server).then(|| self.tunnel.clone())
    }

    fn take(&self, server: SocketAddr, taker: &Arc<Shared>) -> bool {
        let sockets = self.sockets.lock().unwrap();
        !sockets
            .iter()
            .filter_map(Weak::upgrade)
            .any(|other| !Arc::ptr_eq(&other, taker) && other.reaches(server, |address| address == server))
    }
}

/// The server's ends of a way.
type AtServer = (mpsc::Receiver<Vec<u8>>, mpsc::Sender<Vec<u8>>);

struct World {
    server: UdpSocket,
    tunnels: Arc<One>,
    opened: Arc<AtomicU32>,
    ends: mpsc::Receiver<AtServer>,
}

impl World {
    fn new() -> Self {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_nonblocking(true).unwrap();
        let (sender, ends) = mpsc::channel(4);
        let opened = Arc::new(AtomicU32::new(0));
        let count = opened.clone();
        let tunnel = Tunnel::new(move || {
            count.fetch_add(1, Relaxed);
            let sender = sender.clone();
            Box::pin(async move {
                let (there, at_server) = mpsc::channel(4);
                let (from_server, back) = mpsc::channel(4);
                sender.send((at_server, from_server)).await.ok()?;
                Some(TunnelEnds { sender: there, receiver: back })
            })
        });
        let tunnels = Arc::new(One { server: server.local_addr().unwrap(), tunnel, sockets: Mutex::default() });
        Self { server, tunnels, opened, ends }
    }

    fn socket(&self) -> Arc<TunnelSocket> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = TunnelSocket::wrap(TokioRuntime.wrap_udp_socket(socket).unwrap(), self.tunnels.clone());
        self.tunnels.sockets.lock().unwrap().push(socket.shared());
        socket
    }

    async fn send(&self, socket: &TunnelSocket, message: &[u8]) {
        socket.send_to(message, self.tunnels.server).await.unwrap();
    }

    /// Datagrams that have reached the server.
    fn datagrams(&self) -> usize {
        std::iter::from_fn(|| self.server.recv_from(&mut [0; 2048]).ok()).count()
    }
}

async fn receive(socket: &TunnelSocket) -> (SocketAddr, Vec<u8>) {
    let mut buffer = [0; 2048];
    let mut meta = [RecvMeta::default()];
    let count = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta)).await.unwrap();
    assert_eq!(count, 1);
    (meta[0].addr, buffer[..meta[0].len].to_vec())
}

#[tokio::test]
async fn a_request_without_an_answer_goes_over_a_stream_and_so_does_all_after_it() {
    let mut world = World::new();
    let socket = world.socket();
    for _ in 0..SENT {
        world.send(&socket, &request(3, 1)).await;
    }
    assert_eq!(world.datagrams(), 3);
    let (mut at_server, from_server) = world.ends.recv().await.unwrap();
    assert_eq!(at_server.recv().await.unwrap(), request(3, 1));
    // Both ways, until the stream has shown to be one.
    world.send(&socket, &request(3, 1)).await;
    assert_eq!((at_server.recv().await.unwrap(), world.datagrams()), (request(3, 1), 1));
    from_server.send(vec![1, 2, 3]).await.unwrap();
    assert_eq!(receive(&socket).await, (world.tunnels.server, vec![1, 2, 3]));
    // An answer that comes as a datagram now is about the other path; what our address is, is still heard.
    for (answer, expected) in
        [(request(0x13, 1), vec![]), ([vec![1, 1], vec![0; 18]].concat(), [vec![1, 1], vec![0; 18]].concat())]
    {
        world.server.send_to(&answer, socket.local_addr().unwrap()).unwrap();
        assert_eq!(receive(&socket).await.1, expected);
    }
    // Data, too; but not a question for our address, which is about datagrams.
    world.send(&socket, &[0x40, 0, 0, 1, 9]).await;
    world.send(&socket, &request(1, 2)).await;
    assert_eq!(at_server.recv().await.unwrap(), [0x40, 0, 0, 1, 9]);
    assert_eq!(world.datagrams(), 1);
    // With the stream ends the way; with the socket, the stream.
    drop(from_server);
    while socket.shared.reaches(world.tunnels.server, |_| true) {
        tokio::task::yield_now().await;
    }
    for _ in 0..SENT {
        world.send(&socket, &request(3, 3)).await;
    }
    let (mut at_server, _from_server) = world.ends.recv().await.unwrap();
    assert_eq!(at_server.recv().await.unwrap(), request(3, 3));
    drop(socket);
    assert_eq!(at_server.recv().await, None);
}

#[tokio::test]
async fn where_datagrams_come_back_no_stream_is_used() {
    let world = World::new();
    let socket = world.socket();
    let client = socket.local_addr().unwrap();
    for transaction in 0..10 {
        // The answer to the first was lost.
        world.send(&socket, &request(3, transaction)).await;
        world.send(&socket, &request(3, transaction)).await;
        world.server.send_to(&[7], client).unwrap();
        assert_eq!(receive(&socket).await.1, [7]);
    }
    assert_eq!((world.datagrams(), world.opened.load(Relaxed)), (20, 0));
    // What is lost later belongs to that path, and so do those that other sockets lose.
    let other = world.socket();
    for _ in 0..2 * SENT {
        world.send(&socket, &request(3, 11)).await;
        world.send(&other, &request(3, 12)).await;
    }
    assert_eq!(world.opened.load(Relaxed), 0);
}

#[tokio::test]
async fn an_answer_that_comes_late_is_taken_before_one_of_the_stream() {
    let world = World::new();
    let socket = world.socket();
    for _ in 0..SENT {
        world.send(&socket, &request(3, 1)).await;
    }
    assert!(socket.shared.lock().ways.contains_key(&world.tunnels.server));
    world.server.send_to(&[8], socket.local_addr().unwrap()).unwrap();
    assert_eq!(receive(&socket).await.1, [8]);
    assert!(socket.shared.lock().ways.is_empty());
    world.datagrams();
    world.send(&socket, &[0x40, 0, 0, 1, 9]).await;
    assert_eq!(world.datagrams(), 1);
}

#[tokio::test]
async fn a_socket_without_datagrams_asks_over_a_stream_at_once_and_sends_nothing_else() {
    let mut world = World::new();
    let local = "127.0.0.1:9".parse().unwrap();
    let socket = TunnelSocket::without_datagrams(local, world.tunnels.clone());
    assert_eq!(socket.local_addr().unwrap(), local);
    // A question for our address, and what is for another machine, is lost.
    world.send(&socket, &request(1, 2)).await;
    socket.send_to(&[22, 1], "198.51.100.1:9".parse().unwrap()).await.unwrap();
    world.send(&socket, &request(3, 1)).await;
    let (mut at_server, from_server) = world.ends.recv().await.unwrap();
    assert_eq!(at_server.recv().await.unwrap(), request(3, 1));
    from_server.send(vec![1, 2, 3]).await.unwrap();
    assert_eq!(receive(&socket).await, (world.tunnels.server, vec![1, 2, 3]));
    world.send(&socket, &[0x40, 0, 0, 1, 9]).await;
    assert_eq!(at_server.recv().await.unwrap(), [0x40, 0, 0, 1, 9]);
    // Another stream takes the place of one that has ended.
    drop(from_server);
    while socket.shared.reaches(world.tunnels.server, |_| true) {
        tokio::task::yield_now().await;
    }
    world.send(&socket, &[0x40, 0, 0, 1, 9]).await;
    world.send(&socket, &request(3, 4)).await;
    let (mut at_server, _from_server) = world.ends.recv().await.unwrap();
    assert_eq!(at_server.recv().await.unwrap(), request(3, 4));
    assert_eq!(world.datagrams(), 0);
}

/// As a firewall on this machine does.
#[tokio::test]
async fn where_the_system_refuses_to_send_a_stream_is_used() {
    #[derive(Debug)]
    struct Refusing(Arc<dyn AsyncUdpSocket>);
    impl AsyncUdpSocket for Refusing {
        fn local_addr(&self) -> io::Result<SocketAddr> {
            self.0.local_addr()
        }
        fn poll_send(&self, _: &mut Context<'_>, _: &Transmit<'_>) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::PermissionDenied.into()))
        }
        fn poll_recv(
            &self,
            cx: &mut Context<'_>,
            buffers: &mut [IoSliceMut<'_>],
            meta: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            self.0.poll_recv(cx, buffers, meta)
        }
    }
    let mut world = World::new();
    let socket = TunnelSocket::wrap(Arc::new(Refusing(world.socket())), world.tunnels.clone());
    for _ in 0..SENT {
        world.send(&socket, &request(3, 1)).await;
    }
    let (mut at_server, _from_server) = world.ends.recv().await.unwrap();
    assert_eq!(at_server.recv().await.unwrap(), request(3, 1));
    socket.send_to(&request(1, 1), world.tunnels.server).await.unwrap_err();
}

#[tokio::test]
async fn a_stream_that_floods_does_not_hold_up_datagrams() {
    let mut world = World::new();
    let socket = world.socket();
    for _ in 0..SENT {
        world.send(&socket, &request(3, 1)).await;
    }
    let (_at_server, from_server) = world.ends.recv().await.unwrap();
    for _ in 0..RECEIVED {
        from_server.send(vec![1]).await.unwrap();
    }
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.send_to(&[2], socket.local_addr().unwrap()).unwrap();
    let mut before = 0;
    while receive(&socket).await.1 != [2] {
        before += 1;
        // So that the system's word of the datagram is heard.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert!(before <= 3, "{before}");
}

#[tokio::test]
async fn one_socket_of_a_connection_has_the_stream() {
    let mut world = World::new();
    let (first, second) = (world.socket(), world.socket());
    for _ in 0..SENT {
        world.send(&first, &request(3, 1)).await;
        world.send(&second, &request(3, 2)).await;
    }
    assert!(
        first.shared.reaches(world.tunnels.server, |_| true) && !second.shared.reaches(world.tunnels.server, |_| true)
    );
    let (mut at_server, _from_server) = world.ends.recv().await.unwrap();
    assert_eq!(at_server.recv().await.unwrap(), request(3, 1));
    drop(first);
    for _ in 0..SENT {
        world.send(&second, &request(3, 4)).await;
    }
    let (mut at_server, _from_server) = world.ends.recv().await.unwrap();
    assert_eq!(at_server.recv().await.unwrap(), request(3, 4));
}

#[tokio::test]
async fn what_has_no_room_is_lost_and_nothing_waits_for_it() {
    let mut world = World::new();
    let socket = world.socket();
    for _ in 0..SENT {
        world.send(&socket, &request(3, 1)).await;
    }
    let (_at_server, from_server) = world.ends.recv().await.unwrap();
    for _ in 0..10 * WAITING {
        world.send(&socket, &[0x40, 0, 0, 1, 9]).await;
    }
    for n in 0..=255 {
        from_server.send(vec![n]).await.unwrap();
    }
    for n in 0..=255 {
        from_server.send(vec![n]).await.unwrap();
    }
    while from_server.capacity() < 4 {
        tokio::task::yield_now().await;
    }
    assert!(socket.shared.lock().received.len() <= RECEIVED);
}
