//! People for tests: accounts with devices, and what they ask of a server in the same process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::IpAddr;

use bytes::Bytes;
use starling_keys::{
    AccountKey, Certificate, DeviceChain, DeviceKey,
    chain::{Joining, Rights, SignWith},
    legacy,
};
use starling_wire::{
    LogKey, LogVerb, Puzzle,
    rendezvous::{InboxAppend, LogRequest, Page, Publish, Refusal, Request, RequestBody, ResponseBody, ServerHello},
};

use crate::{
    config::Config,
    local::{LocalServer, LocalSession},
    store::{Store, memory::MemoryStore},
};

/// The key in the address of every server of these tests.
pub const SERVER_KEY: [u8; 32] = [9; 32];

/// Bytes.
pub const MIB: u64 = 1024 * 1024;

/// An account with some devices, always the same for a number.
pub struct Person {
    pub account: AccountKey,
    pub devices: Vec<DeviceKey>,
    /// All devices that the account ever had, in order.
    history: Vec<DeviceKey>,
}

impl Person {
    /// Number `n`, with so many devices.
    pub fn new(n: u8, devices: u8) -> Self {
        let device = |d| DeviceKey::from_seed(&[n.wrapping_mul(16).wrapping_add(d).wrapping_add(100); 32]);
        let devices = || (0..devices).map(device).collect();
        Self { account: AccountKey::from_seed(&[n; 32]), devices: devices(), history: devices() }
    }

    /// An account with this device alone.
    pub fn with_device(n: u8, device: &DeviceKey) -> Self {
        let device = || vec![DeviceKey::from_seed(&device.seed())];
        Self { devices: device(), history: device(), ..Self::new(n, 0) }
    }

    pub fn id(&self) -> [u8; 32] {
        *self.account.id().as_bytes()
    }

    pub fn device(&self, index: usize) -> [u8; 32] {
        *self.devices[index].id().as_bytes()
    }

    /// The chain of all devices that there ever were, without those that are gone; longer by an entry for each version.
    pub fn list(&self, version: u64) -> Bytes {
        let joining = |device: &DeviceKey| Joining::sign(device, &self.account.id(), vec![1; 1216]);
        let first = &self.history[0];
        let mut chain = DeviceChain::create(&self.account, 1, [0; 32], &joining(first)).unwrap();
        for device in &self.history[1..] {
            chain = chain.add(&SignWith::Device(first), 1, &joining(device), Rights::Admin).unwrap();
            if self.devices.iter().all(|d| d.id() != device.id()) {
                chain = chain.remove(&SignWith::Device(first), 1, device.id()).unwrap();
            }
        }
        for _ in 1..version {
            chain = chain.set_homes(&SignWith::Device(first), 1, &[]).unwrap();
        }
        Bytes::copy_from_slice(chain.as_bytes())
    }

    /// What version 0.1 had in its place.
    pub fn old_list(&self, version: u64) -> Bytes {
        let entry = |device: &DeviceKey| legacy::DeviceEntry {
            certificate: Certificate::issue(&self.account, device.id(), 1),
            seal_key: vec![1; 1216],
        };
        let devices = self.devices.iter().map(entry).collect();
        let list = legacy::DeviceList { account: self.account.id(), version, issued_at: 1, devices, homes: Vec::new() };
        Bytes::copy_from_slice(list.sign(&self.account).as_bytes())
    }
}

/// A connected device.
pub struct Client {
    pub session: LocalSession,
    pub hello: ServerHello,
}

impl Client {
    pub async fn connect(server: &LocalServer, device: [u8; 32]) -> Self {
        let session = server.connect(device).await.unwrap();
        let Some(ResponseBody::Hello(hello)) = session.hello().body else { panic!("no greeting") };
        Self { session, hello }
    }

    /// A device at an address.
    pub async fn connect_from(server: &LocalServer, device: [u8; 32], ip: IpAddr) -> Self {
        let session = server.connect_from(device, ip).await;
        let Some(ResponseBody::Hello(hello)) = session.hello().body else { panic!("no greeting") };
        Self { session, hello }
    }

    /// A registered device of somebody.
    pub async fn registered(server: &LocalServer, person: &Person, index: usize) -> Self {
        let mut client = Self::connect(server, person.device(index)).await;
        assert_eq!(client.publish(person, 1, "").await, ResponseBody::Done(true));
        client
    }

    pub async fn ask(&mut self, ask: RequestBody) -> ResponseBody {
        self.session.ask(Request { id: 1, body: Some(ask) }).await.body.unwrap()
    }

    pub async fn refused(&mut self, ask: RequestBody) -> Refusal {
        refusal(&self.ask(ask).await)
    }

    pub async fn publish(&mut self, person: &Person, version: u64, token: &str) -> ResponseBody {
        let bits = self.hello.register_bits;
        let puzzle = Puzzle::new("register", &SERVER_KEY, &self.hello.nonce, &person.id(), bits);
        let solution = Some(puzzle.solve().0);
        self.ask(RequestBody::Publish(Publish { device_list: person.list(version), solution, token: token.into() }))
            .await
    }

    /// A signed request to a log.
    pub async fn log(&mut self, key: &LogKey, verb: LogVerb, request: LogRequest) -> ResponseBody {
        self.ask(key.request(verb, &self.hello.nonce, request)).await
    }

    pub async fn open(&mut self, key: &LogKey) {
        assert_eq!(self.log(key, LogVerb::Open, LogRequest::default()).await, ResponseBody::Done(true));
    }

    pub async fn append(&mut self, key: &LogKey, entries: &[&[u8]]) -> ResponseBody {
        let entries = entries.iter().map(|e| Bytes::copy_from_slice(e)).collect();
        self.log(key, LogVerb::Append, LogRequest { entries, ..LogRequest::default() }).await
    }

    /// Appends a commit by somebody who has read the log up to `after`.
    pub async fn commit(&mut self, key: &LogKey, entry: &[u8], after: u64, insist: bool) -> ResponseBody {
        let entries = vec![Bytes::copy_from_slice(entry)];
        self.log(key, LogVerb::Append, LogRequest { entries, after, insist, candidate: true, ..LogRequest::default() })
            .await
    }

    /// Appends parts of a commit.
    pub async fn parts(&mut self, key: &LogKey, parts: &[&[u8]]) -> ResponseBody {
        let entries = parts.iter().map(|part| Bytes::copy_from_slice(part)).collect();
        self.log(key, LogVerb::Append, LogRequest { entries, part: true, ..LogRequest::default() }).await
    }

    /// A request to the log after another, as members of its conversation may make it before it is there.
    pub fn behind(&self, parent: &LogKey, key: &LogKey, request: LogRequest) -> LogRequest {
        parent.followed_by(&self.hello.nonce, &key.address(), request)
    }

    /// Appends an entry to a log, which is opened if it is not there.
    pub async fn append_behind(&mut self, parent: &LogKey, key: &LogKey, entry: &[u8]) -> ResponseBody {
        let entries = vec![Bytes::copy_from_slice(entry)];
        let request = self.behind(parent, key, LogRequest { entries, ..LogRequest::default() });
        self.log(key, LogVerb::Append, request).await
    }

    pub async fn trim(&mut self, key: &LogKey, sequences: &[u64]) -> ResponseBody {
        let sequences = sequences.to_vec();
        self.log(key, LogVerb::Trim, LogRequest { sequences, ..LogRequest::default() }).await
    }

    /// The whole log: sequence numbers and texts.
    pub async fn read(&mut self, key: &LogKey) -> Vec<(u64, Vec<u8>)> {
        entries(self.log(key, LogVerb::Read, LogRequest::default()).await)
    }

    /// Leaves an item in an inbox, by an invite's token or else by the work that the greeting asks for.
    pub async fn leave_item(&mut self, device: [u8; 32], sealed: &[u8], token: &[u8]) -> ResponseBody {
        self.leave_item_for(device, sealed, token, self.hello.inbox_bits).await
    }

    /// Leaves an item in an inbox, by an invite's token or else by so much work.
    pub async fn leave_item_for(&mut self, device: [u8; 32], sealed: &[u8], token: &[u8], bits: u32) -> ResponseBody {
        let mut append = InboxAppend {
            device: Bytes::copy_from_slice(&device),
            sealed: Bytes::copy_from_slice(sealed),
            token: Bytes::copy_from_slice(token),
            ..InboxAppend::default()
        };
        let puzzle = Puzzle::new("inbox", &SERVER_KEY, &self.hello.nonce, &append.subject(), bits);
        append.solution = token.is_empty().then(|| puzzle.solve().0);
        self.ask(RequestBody::InboxAppend(append)).await
    }

    /// Leaves an item in an inbox of an account that owns a log.
    pub async fn leave_vouched(&mut self, device: [u8; 32], sealed: &[u8], log: &LogKey) -> ResponseBody {
        let append = self.vouched(device, sealed, log);
        self.ask(RequestBody::InboxAppend(append)).await
    }

    /// The same, with so much work in case that there is no room otherwise.
    pub async fn leave_vouched_for(
        &mut self,
        device: [u8; 32],
        sealed: &[u8],
        log: &LogKey,
        bits: u32,
    ) -> ResponseBody {
        let mut append = self.vouched(device, sealed, log);
        let puzzle = Puzzle::new("inbox", &SERVER_KEY, &self.hello.nonce, &append.subject(), bits);
        append.solution = Some(puzzle.solve().0);
        self.ask(RequestBody::InboxAppend(append)).await
    }

    fn vouched(&self, device: [u8; 32], sealed: &[u8], log: &LogKey) -> InboxAppend {
        let mut append = InboxAppend {
            device: Bytes::copy_from_slice(&device),
            sealed: Bytes::copy_from_slice(sealed),
            log: Bytes::copy_from_slice(&log.address()),
            ..InboxAppend::default()
        };
        append.signature = Bytes::copy_from_slice(&log.vouch(&self.hello.nonce, &append.subject()));
        append
    }

    /// All logs of the account: addresses, and the first of the conversation.
    pub async fn logs(&mut self) -> Vec<(Bytes, Bytes)> {
        let (mut all, mut after) = (Vec::new(), Bytes::new());
        loop {
            let ResponseBody::Logs(page) = self.ask(RequestBody::ListLogs(after)).await else { panic!("no logs") };
            all.extend(page.logs.into_iter().map(|log| (log.address, log.root)));
            after = all.last().map(|(address, _)| address.clone()).unwrap_or_default();
            if !page.more {
                return all;
            }
        }
    }

    /// What is in the own inbox.
    pub async fn inbox(&mut self) -> Vec<(u64, Vec<u8>)> {
        entries(self.ask(RequestBody::InboxRead(0)).await)
    }
}

fn entries(answer: ResponseBody) -> Vec<(u64, Vec<u8>)> {
    let ResponseBody::Page(Page { entries, more: false, .. }) = answer else { panic!("no whole page: {answer:?}") };
    entries.into_iter().map(|e| (e.sequence, e.sealed.to_vec())).collect()
}

/// The claim of a user name. Its key is another than that of a client, and made sooner.
pub fn claim(name: &str) -> RequestBody {
    RequestBody::ClaimNameKey(Bytes::copy_from_slice(blake3::hash(name.as_bytes()).as_bytes()))
}

/// The look-up of a user name that was claimed so.
pub fn look_up(name: &str) -> RequestBody {
    RequestBody::LookUpNameKey(Bytes::copy_from_slice(blake3::hash(name.as_bytes()).as_bytes()))
}

/// Why an answer is a refusal.
pub fn refusal(answer: &ResponseBody) -> Refusal {
    let ResponseBody::Refused(refused) = answer else { panic!("not refused: {answer:?}") };
    refused.reason()
}

/// An entry of a page.
pub fn entry(sequence: u64, text: &str) -> (u64, Vec<u8>) {
    (sequence, text.as_bytes().to_vec())
}

/// A key of a log.
pub fn log(n: u8) -> LogKey {
    LogKey::from_secret(&[n; 32])
}

/// A server in memory that asks for no work and has no rates, else as configured.
pub fn server(configure: impl FnOnce(&mut Config)) -> LocalServer {
    server_on(MemoryStore::default().parts(), configure)
}

/// The same, on a store.
pub fn server_on(store: Store, configure: impl FnOnce(&mut Config)) -> LocalServer {
    let mut config = Config::default();
    config.registration.work_bits = 0;
    config.limits.inbox_work_bits = 0;
    config.limits.request_burst = 1_000_000;
    config.limits.total_requests_per_second = 1_000_000;
    configure(&mut config);
    LocalServer::with_store(store, &config, SERVER_KEY)
}

/// Whether an append was taken.
pub fn is_stored(answer: &ResponseBody) -> bool {
    matches!(answer, ResponseBody::Appended(_) | ResponseBody::Behind(_))
}

/// Whether there was no room.
pub fn is_full(answer: &ResponseBody) -> bool {
    matches!(answer, ResponseBody::Refused(refused) if refused.reason() == Refusal::Full)
}

/// A server whose accounts have four megabytes on their first day.
pub fn small_server() -> LocalServer {
    server(|config| {
        config.limits.account_bytes = 64 * MIB;
        config.limits.conversation_bytes = MIB;
    })
}
