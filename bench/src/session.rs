//! A device's session with a rendezvous, without a node.

use std::net::Ipv4Addr;

use anyhow::{Context, bail};
use bytes::Bytes;
use futures::{
    AsyncReadExt, StreamExt,
    io::{ReadHalf, WriteHalf},
};
use libp2p::{Multiaddr, PeerId, identity::Keypair, multiaddr::Protocol, swarm::SwarmEvent};
use starling_keys::{DeviceChain, DeviceKey, InviteTicket, RecoveryPhrase, chain::Joining};
use starling_wire::{
    LogKey, LogVerb, Puzzle, RENDEZVOUS_PROTOCOL,
    rendezvous::{
        InboxAppend, InviteRecord, LogRequest, Publish, Request, RequestBody, Response, ResponseBody, ServerHello,
    },
    streams::{FrameReader, FrameWriter},
};
use tokio::task::JoinHandle;

use crate::floor::bare_swarm;

/// A connected device.
pub struct Session {
    reader: FrameReader<ReadHalf<libp2p::Stream>>,
    writer: FrameWriter<WriteHalf<libp2p::Stream>>,
    hello: ServerHello,
    server: PeerId,
    id: u64,
    /// The server has said that there are new items in the inbox, and they have not been read.
    has_new_items: bool,
    /// The last item that was read.
    last_item: u64,
    swarm: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.swarm.abort();
    }
}

impl Session {
    /// Connects over the transport of the address, and waits for the greeting; over QUIC from one of the addresses of this machine, if it matters.
    pub async fn connect(home: &Multiaddr, device: &DeviceKey, from: Option<Ipv4Addr>) -> anyhow::Result<Self> {
        let server = home
            .iter()
            .find_map(|p| if let Protocol::P2p(peer) = p { Some(peer) } else { None })
            .context("an address without a peer")?;
        let mut swarm = bare_swarm(Keypair::ed25519_from_bytes(*device.seed())?, "/nothing")?;
        if let Some(from) = from {
            swarm.listen_on(format!("/ip4/{from}/udp/0/quic-v1").parse()?)?;
            while !matches!(swarm.select_next_some().await, SwarmEvent::NewListenAddr { .. }) {}
        }
        swarm.dial(home.clone())?;
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { .. } => break,
                SwarmEvent::OutgoingConnectionError { error, .. } => bail!("cannot connect: {error}"),
                _ => {}
            }
        }
        let opened = swarm.behaviour_mut().streams.open(server, RENDEZVOUS_PROTOCOL);
        let swarm = tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        let (read, writer) = opened.await?.stream.split();
        let mut reader = FrameReader::new(read);
        match reader.next::<Response>().await? {
            Some(Response { body: Some(ResponseBody::Hello(hello)), .. }) => {
                let writer = FrameWriter::new(writer);
                Ok(Self { reader, writer, hello, server, id: 0, has_new_items: false, last_item: 0, swarm })
            }
            _ => bail!("the server does not greet"),
        }
    }

    /// The answer to a request.
    pub async fn ask(&mut self, ask: RequestBody) -> anyhow::Result<ResponseBody> {
        self.id += 1;
        self.writer.send(&Request { id: self.id, body: Some(ask) }).await?;
        loop {
            match self.receive().await? {
                Response { id, body: Some(answer) } if id == self.id => return Ok(answer),
                _ => {}
            }
        }
    }

    /// What the server says next. That there are new items in the inbox is noted, whatever is waited for.
    async fn receive(&mut self) -> anyhow::Result<Response> {
        let said = self.reader.next::<Response>().await?.context("the server has closed the connection")?;
        if let Response { id: 0, body: Some(ResponseBody::Page(page)) } = &said {
            self.has_new_items |= page.address.is_empty();
        }
        Ok(said)
    }

    /// The next entries of a log that are pushed.
    pub async fn pushed_entries(&mut self) -> anyhow::Result<Vec<Bytes>> {
        loop {
            match self.receive().await? {
                Response { id: 0, body: Some(ResponseBody::Page(page)) } if !page.entries.is_empty() => {
                    return Ok(page.entries.into_iter().map(|entry| entry.sealed).collect());
                }
                _ => {}
            }
        }
    }

    /// Waits until there are new items in the inbox, and reads them, which deletes those that were read before.
    pub async fn new_items(&mut self) -> anyhow::Result<Vec<Bytes>> {
        while !self.has_new_items {
            self.receive().await?;
        }
        self.has_new_items = false;
        let mut items = Vec::new();
        loop {
            match self.ask(RequestBody::InboxRead(self.last_item)).await? {
                ResponseBody::Page(page) => {
                    self.last_item = page.entries.last().map_or(self.last_item, |item| item.sequence);
                    items.extend(page.entries.into_iter().map(|item| item.sealed));
                    if !page.more {
                        return Ok(items);
                    }
                }
                other => bail!("the inbox was not read: {other:?}"),
            }
        }
    }

    /// Lets who has a ticket leave so many items in the inboxes of this device's account.
    pub async fn register_invite(&mut self, ticket: &InviteTicket, uses: u32) -> anyhow::Result<()> {
        let token_hash = Bytes::copy_from_slice(&ticket.hash());
        let invite = InviteRecord { token_hash, uses, expires_at: u64::MAX };
        match self.ask(RequestBody::RegisterInvite(invite)).await? {
            ResponseBody::Done(_) => Ok(()),
            other => bail!("an invite was refused: {other:?}"),
        }
    }

    /// Registers a new account with this device.
    pub async fn register(&mut self, device: &DeviceKey) -> anyhow::Result<()> {
        let account = RecoveryPhrase::generate().account_key();
        let joining = Joining::sign(device, &account.id(), vec![1; 1216]);
        let chain = DeviceChain::create(&account, 1, [0; 32], &joining)?;
        let (id, bits) = (account.id(), self.hello.register_bits);
        let puzzle = Puzzle::new("register", &self.server_key(), &self.hello.nonce, id.as_bytes(), bits);
        let device_list = Bytes::copy_from_slice(chain.as_bytes());
        let publish = Publish { device_list, solution: Some(puzzle.solve().0), token: String::new() };
        match self.ask(RequestBody::Publish(publish)).await? {
            ResponseBody::Done(_) => Ok(()),
            other => bail!("cannot register: {other:?}"),
        }
    }

    /// A signed request to a log.
    pub async fn log(&mut self, key: &LogKey, verb: LogVerb, request: LogRequest) -> anyhow::Result<ResponseBody> {
        self.ask(key.request(verb, &self.hello.nonce, request)).await
    }

    /// Appends to a log, which is opened behind another.
    pub async fn append_behind(&mut self, parent: &LogKey, key: &LogKey, entry: Bytes) -> anyhow::Result<ResponseBody> {
        let request = LogRequest { entries: vec![entry], ..LogRequest::default() };
        let request = parent.followed_by(&self.hello.nonce, &key.address(), request);
        self.log(key, LogVerb::Append, request).await
    }

    /// Leaves an item in a device's inbox with the ticket of an invite.
    pub async fn leave_item_as_guest(
        &mut self,
        device: [u8; 32],
        sealed: Bytes,
        ticket: &InviteTicket,
    ) -> anyhow::Result<()> {
        let token = Bytes::copy_from_slice(&ticket.0);
        self.leave(InboxAppend { device: Bytes::copy_from_slice(&device), sealed, token, ..InboxAppend::default() })
            .await
    }

    /// Leaves an item in a device's inbox as one who has the key of a log of its account.
    pub async fn leave_item_as_member(&mut self, device: [u8; 32], sealed: Bytes, log: &LogKey) -> anyhow::Result<()> {
        let mut append = InboxAppend { device: Bytes::copy_from_slice(&device), sealed, ..InboxAppend::default() };
        append.log = Bytes::copy_from_slice(&log.address());
        append.signature = Bytes::copy_from_slice(&log.vouch(&self.hello.nonce, &append.subject()));
        self.leave(append).await
    }

    async fn leave(&mut self, append: InboxAppend) -> anyhow::Result<()> {
        match self.ask(RequestBody::InboxAppend(append)).await? {
            ResponseBody::Appended(_) => Ok(()),
            other => bail!("an item was refused: {other:?}"),
        }
    }

    /// Leaves an item in a device's inbox for so much work; gives what is asked for if that is too little.
    pub async fn leave_item(&mut self, device: [u8; 32], sealed: Bytes, bits: u32) -> anyhow::Result<Option<u32>> {
        let bits = bits.max(self.hello.inbox_bits);
        let mut append = InboxAppend { device: Bytes::copy_from_slice(&device), sealed, ..InboxAppend::default() };
        let puzzle = Puzzle::new("inbox", &self.server_key(), &self.hello.nonce, &append.subject(), bits);
        append.solution = Some(puzzle.solve().0);
        match self.ask(RequestBody::InboxAppend(append)).await? {
            ResponseBody::Refused(refused) if refused.work_bits > 0 => Ok(Some(refused.work_bits)),
            ResponseBody::Appended(_) => Ok(None),
            other => bail!("an item was refused: {other:?}"),
        }
    }

    /// The Ed25519 key in the server's peer id, which follows a header of six bytes.
    fn server_key(&self) -> Vec<u8> {
        self.server.to_bytes().split_off(6)
    }
}
