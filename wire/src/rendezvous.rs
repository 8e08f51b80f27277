//! `/starling/rendezvous/1`: between a device and a rendezvous. The device opens one stream; the server greets, then answers requests by their
//! number and pushes what is new with number 0.

use bytes::Bytes;

use crate::{Frame, limits::MAX_RENDEZVOUS_FRAME};

/// From device to server.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// Chosen by the device, not 0; comes back in the answer.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// What is asked.
    #[prost(
        oneof = "RequestBody",
        tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30"
    )]
    pub body: Option<RequestBody>,
}

impl Frame for Request {
    const MAX_LEN: usize = MAX_RENDEZVOUS_FRAME;
}

/// What a device asks of the server.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum RequestBody {
    /// Store the account's device chain, or what follows what is stored; registers the account if it is new here.
    #[prost(message, tag = "2")]
    Publish(Publish),
    /// Take a user name, as programs before [`RequestBody::ClaimNameKey`] do.
    #[prost(string, tag = "3")]
    ClaimName(String),
    /// The device chain of an account (32 bytes).
    #[prost(bytes, tag = "4")]
    LookUp(Bytes),
    /// The device chain of the account with this user name, as programs before [`RequestBody::LookUpNameKey`] ask for it.
    #[prost(string, tag = "5")]
    LookUpName(String),
    /// Store key packages for the asking device.
    #[prost(message, tag = "6")]
    PublishKeyPackages(KeyPackages),
    /// One key package for each of these devices.
    #[prost(message, tag = "7")]
    ClaimKeyPackages(Devices),
    /// Let holders of an invite's token append to the inboxes of the asking device's account.
    #[prost(message, tag = "8")]
    RegisterInvite(InviteRecord),
    /// Leave a sealed item in a device's inbox.
    #[prost(message, tag = "9")]
    InboxAppend(InboxAppend),
    /// Read the asking device's inbox after this sequence number, delete up to it, and be told of new items.
    #[prost(uint64, tag = "10")]
    InboxRead(u64),
    /// Create a log.
    #[prost(message, tag = "11")]
    LogOpen(LogRequest),
    /// Append entries to a log.
    #[prost(message, tag = "12")]
    LogAppend(LogRequest),
    /// Read a log after a sequence number, and be told of new entries.
    #[prost(message, tag = "14")]
    LogRead(LogRequest),
    /// Pass a sealed signal to the others who read a log.
    #[prost(message, tag = "15")]
    LogSignal(LogRequest),
    /// No more news of this log (its address).
    #[prost(bytes, tag = "16")]
    LogLeave(Bytes),
    /// A place for a short code.
    #[prost(bool, tag = "17")]
    CodeOpen(bool),
    /// One attempt at a short code.
    #[prost(message, tag = "18")]
    CodeTry(CodeMessage),
    /// The answer to an attempt, by who opened the code.
    #[prost(message, tag = "19")]
    CodeReply(CodeMessage),
    /// Give up a short code (its place): used or burnt.
    #[prost(uint32, tag = "20")]
    CodeClose(u32),
    /// Store the sealed account snapshot.
    #[prost(message, tag = "21")]
    PutSnapshot(Snapshot),
    /// Fetch the sealed snapshot of the asking device's account.
    #[prost(bool, tag = "22")]
    GetSnapshot(bool),
    /// Delete entries of a log that every receiver has.
    #[prost(message, tag = "23")]
    LogTrim(LogRequest),
    /// STUN and TURN servers for a call, with credentials that last some minutes. The value does not matter.
    #[prost(bool, tag = "24")]
    TurnCredentials(bool),
    /// What follows the entries of an account's device chain that are known; answered like [`RequestBody::LookUp`].
    #[prost(message, tag = "25")]
    LookUpSince(ChainSince),
    /// The logs that count against the account of the asking device, after this one (its address; empty for the first page).
    #[prost(bytes, tag = "26")]
    ListLogs(Bytes),
    /// Delete a log of the asking device's account (its address) with all that is in it.
    #[prost(bytes, tag = "27")]
    DeleteLog(Bytes),
    /// Take the user name that has this key at the server (`starling_keys::username_key`): the server does not learn it.
    #[prost(bytes, tag = "28")]
    ClaimNameKey(Bytes),
    /// The device chain of the account whose user name has this key.
    #[prost(bytes, tag = "29")]
    LookUpNameKey(Bytes),
    /// Answered at once: a sign of life in three packets. The value does not matter.
    #[prost(bool, tag = "30")]
    Ping(bool),
}

/// The beginning of an account's device chain that somebody knows.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ChainSince {
    /// The account (32 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub account: Bytes,
    /// How many entries are known.
    #[prost(uint32, tag = "2")]
    pub length: u32,
    /// The head after those (32 bytes).
    #[prost(bytes = "bytes", tag = "3")]
    pub head: Bytes,
}

/// STUN and TURN servers, and how to use them for a while (the long-term credentials of RFC 8489, with an expiry in the name).
#[derive(Clone, PartialEq, prost::Message)]
pub struct TurnCredentials {
    /// `stun:host:port` and `turn:host:port`.
    #[prost(string, repeated, tag = "1")]
    pub urls: Vec<String>,
    /// User name.
    #[prost(string, tag = "2")]
    pub username: String,
    /// Password.
    #[prost(string, tag = "3")]
    pub password: String,
    /// Seconds that they last.
    #[prost(uint64, tag = "4")]
    pub lifetime_s: u64,
    /// Another UDP port of the same hosts at which the same is answered, for networks that let the other ones not through: that of QUIC. 0 if there is
    /// none.
    #[prost(uint32, tag = "5")]
    pub other_port: u32,
}

/// From server to device.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Response {
    /// The request's number; 0 for what the server says by itself.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The answer.
    #[prost(oneof = "ResponseBody", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20")]
    pub body: Option<ResponseBody>,
}

impl Frame for Response {
    const MAX_LEN: usize = MAX_RENDEZVOUS_FRAME;
}

/// What a server says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum ResponseBody {
    /// First frame of the server.
    #[prost(message, tag = "2")]
    Hello(ServerHello),
    /// Done, and durable where there is something to keep.
    #[prost(bool, tag = "3")]
    Done(bool),
    /// Refused.
    #[prost(message, tag = "4")]
    Refused(Refused),
    /// A device chain, whole or from where it was asked for.
    #[prost(bytes, tag = "5")]
    DeviceList(Bytes),
    /// One key package per device that has any.
    #[prost(message, tag = "6")]
    KeyPackages(ClaimedKeyPackages),
    /// How many one-time key packages the device has left.
    #[prost(uint32, tag = "7")]
    KeyPackagesLeft(u32),
    /// A page of a log or inbox; also pushed.
    #[prost(message, tag = "8")]
    Page(Page),
    /// A sealed signal, pushed.
    #[prost(message, tag = "9")]
    Signal(LogSignal),
    /// How many others read a log now, pushed on change.
    #[prost(message, tag = "10")]
    Readers(Readers),
    /// The place for a short code.
    #[prost(uint32, tag = "11")]
    CodePlace(u32),
    /// An attempt at the code (pushed to who opened it), or the answer to one (to who tries).
    #[prost(message, tag = "12")]
    Code(CodeMessage),
    /// The sealed account snapshot; empty if there is none.
    #[prost(message, tag = "13")]
    Snapshot(Snapshot),
    /// The server is about to stop: come back after that many milliseconds.
    #[prost(uint64, tag = "14")]
    Drain(u64),
    /// An append: the sequence number of its last entry.
    #[prost(uint64, tag = "15")]
    Appended(u64),
    /// STUN and TURN servers.
    #[prost(message, tag = "17")]
    Turn(TurnCredentials),
    /// Logs of the account.
    #[prost(message, tag = "18")]
    Logs(Logs),
    /// An append behind candidates that its author has not read.
    #[prost(message, tag = "19")]
    Behind(Behind),
    /// There was no room for what somebody else wanted to append to a log (its address), pushed. A device of the account that owns the log may make
    /// some.
    #[prost(bytes, tag = "20")]
    LogFull(Bytes),
}

/// An append behind candidates that its author has not read: if one of them is valid, what was appended belongs into the log of a later epoch.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Behind {
    /// The sequence number of the last entry that was appended; 0 if a candidate was not stored because of this.
    #[prost(uint64, tag = "1")]
    pub last: u64,
    /// The candidates, in their order.
    #[prost(message, repeated, tag = "2")]
    pub candidates: Vec<LogEntry>,
    /// There are more, which are to be read in the log.
    #[prost(bool, tag = "3")]
    pub more: bool,
}

/// Logs that count against an account.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Logs {
    /// In the order of their addresses.
    #[prost(message, repeated, tag = "1")]
    pub logs: Vec<LogUse>,
    /// There are more: ask again after the last.
    #[prost(bool, tag = "2")]
    pub more: bool,
}

/// What a log takes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogUse {
    /// Its address.
    #[prost(bytes = "bytes", tag = "1")]
    pub address: Bytes,
    /// The address of its conversation's first log, with which it shares a budget.
    #[prost(bytes = "bytes", tag = "2")]
    pub root: Bytes,
    /// How many entries.
    #[prost(uint64, tag = "3")]
    pub entries: u64,
    /// What counts against the budget: bytes, and something for each row.
    #[prost(uint64, tag = "4")]
    pub cost: u64,
}

/// What a server says of itself.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ServerHello {
    /// [`crate::VERSION`].
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// What the signatures and proofs of work of this session are bound to (32 bytes).
    #[prost(bytes = "bytes", tag = "2")]
    pub nonce: Bytes,
    /// The server's wall clock in milliseconds since 1970.
    #[prost(uint64, tag = "3")]
    pub time_ms: u64,
    /// How an account registers.
    #[prost(enumeration = "Registration", tag = "4")]
    pub registration: i32,
    /// Leading zero bits of a proof of work for registering.
    #[prost(uint32, tag = "5")]
    pub register_bits: u32,
    /// Leading zero bits of a proof of work for an inbox entry.
    #[prost(uint32, tag = "6")]
    pub inbox_bits: u32,
    /// The server knows [`LogRequest::eraser`].
    #[prost(bool, tag = "7")]
    pub erasers: bool,
    /// The server knows [`LogRequest::candidate`] and [`LogRequest::parent`].
    #[prost(bool, tag = "8")]
    pub candidates: bool,
    /// If this session breaks, the device connects again at a random moment of so many milliseconds: a server that was killed is not met by all of its
    /// devices at once.
    #[prost(uint64, tag = "9")]
    pub retry_window_ms: u64,
    /// The server knows [`RequestBody::ClaimNameKey`] and [`RequestBody::LookUpNameKey`].
    #[prost(bool, tag = "10")]
    pub name_keys: bool,
    /// The port of the server's host at which STUN answers over UDP, and also to another port than that of who asks (RESPONSE-PORT of RFC 5780); 0 if it
    /// does not.
    #[prost(uint32, tag = "11")]
    pub stun_port: u32,
    /// The server knows [`RequestBody::Ping`], and waits for no answers to pings of its own on connections over QUIC.
    #[prost(bool, tag = "12")]
    pub pings: bool,
    /// The server knows [`LogRequest::part`].
    #[prost(bool, tag = "13")]
    pub parts: bool,
    /// A number that each process of the server draws: if it is the same as before, a session broke, and not the server. 0 if it is not told.
    #[prost(fixed64, tag = "14")]
    pub run: u64,
}

impl ServerHello {
    /// Whether the server knows all that this version of the protocol asks of it: a server of an older version does not.
    pub fn is_current(&self) -> bool {
        self.erasers && self.candidates
    }
}

/// Who may register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Registration {
    /// Anyone who does the proof of work.
    Open = 0,
    /// Holders of a token of the operator.
    Invite = 1,
    /// Nobody.
    Closed = 2,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Refusal {
    /// Something else went wrong in the server.
    Internal = 0,
    /// The request makes no sense.
    Malformed = 1,
    /// No such account, name, log, place.
    NotFound = 2,
    /// A signature, token or proof of work is missing or wrong.
    Denied = 3,
    /// Too many requests: wait.
    RateLimited = 4,
    /// The log, inbox or account has no room: it clears as entries are fetched or expire.
    Full = 5,
    /// The name or place is taken.
    Taken = 6,
    /// Another device chain than the one that is stored here counts, or an older snapshot: look it up first.
    Stale = 7,
    /// The account is not registered here.
    NotRegistered = 8,
    /// The operator has banned the account.
    Banned = 9,
    /// The operator does not take registrations.
    RegistrationClosed = 10,
}

/// A refusal.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Refused {
    /// Why.
    #[prost(enumeration = "Refusal", tag = "1")]
    pub reason: i32,
    /// When it is worth to try again; 0 if that is not known.
    #[prost(uint64, tag = "2")]
    pub retry_after_ms: u64,
    /// With [`Refusal::Denied`], if the proof of work was too small: the leading zero bits that are asked for now.
    #[prost(uint32, tag = "3")]
    pub work_bits: u32,
}

/// A device chain to store.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Publish {
    /// The chain, or what follows the head that the server has.
    #[prost(bytes = "bytes", tag = "1")]
    pub device_list: Bytes,
    /// Proof of work, for a new account.
    #[prost(uint64, optional, tag = "2")]
    pub solution: Option<u64>,
    /// The operator's registration token, for a new account.
    #[prost(string, tag = "3")]
    pub token: String,
}

/// Key packages of one device.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeyPackages {
    /// Used once each.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub one_time: Vec<Bytes>,
    /// Handed out when there is no one-time package left; empty to keep the one stored.
    #[prost(bytes = "bytes", tag = "2")]
    pub last_resort: Bytes,
}

/// Devices (32 bytes each).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Devices {
    /// The devices.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub devices: Vec<Bytes>,
}

/// Key packages handed out.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClaimedKeyPackages {
    /// In the order of the devices asked for; empty bytes where there is none.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub packages: Vec<Bytes>,
}

/// An invite as the server knows it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InviteRecord {
    /// Hash of the ticket (32 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub token_hash: Bytes,
    /// How often it can be used; 0 revokes it.
    #[prost(uint32, tag = "2")]
    pub uses: u32,
    /// Seconds since 1970.
    #[prost(uint64, tag = "3")]
    pub expires_at: u64,
}

/// A sealed item for an inbox, with the right to leave it there.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InboxAppend {
    /// Whose inbox (32 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub device: Bytes,
    /// Sealed [`crate::inbox::InboxItem`]: HPKE `enc` length (two bytes), `enc`, ciphertext.
    #[prost(bytes = "bytes", tag = "2")]
    pub sealed: Bytes,
    /// The ticket of an invite …
    #[prost(bytes = "bytes", tag = "3")]
    pub token: Bytes,
    /// … or a proof of work …
    #[prost(uint64, optional, tag = "4")]
    pub solution: Option<u64>,
    /// … or the address of a log of the receiving account, with …
    #[prost(bytes = "bytes", tag = "5")]
    pub log: Bytes,
    /// … a signature of its key over [`InboxAppend::subject`]. Devices of the receiving account need none of these.
    #[prost(bytes = "bytes", tag = "6")]
    pub signature: Bytes,
}

impl InboxAppend {
    /// What is paid for or vouched for: this item in this inbox.
    pub fn subject(&self) -> Vec<u8> {
        [&self.device[..], blake3::hash(&self.sealed).as_bytes()].concat()
    }
}

/// A request to a log, signed with the log's key.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogRequest {
    /// The log's address (32 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub address: Bytes,
    /// Over session nonce, verb, address and [`LogRequest::signed_payload`].
    #[prost(bytes = "bytes", tag = "2")]
    pub signature: Bytes,
    /// Sealed entries: to append (several), or a signal (one).
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub entries: Vec<Bytes>,
    /// Read after this sequence number. To append: the author has read up to it.
    #[prost(uint64, tag = "4")]
    pub after: u64,
    /// Entries to delete; with a receipt, those that it replaces.
    #[prost(uint64, repeated, tag = "6")]
    pub sequences: Vec<u64>,
    /// The appended entry is a receipt: it may go a little over a full log's bounds, as others delete entries once they have it.
    #[prost(bool, tag = "7")]
    pub receipt: bool,
    /// To append: what [`crate::eraser_of`] makes of a secret. Only who shows the secret deletes the entries before they expire; empty: everybody.
    #[prost(bytes = "bytes", tag = "8")]
    pub eraser: Bytes,
    /// To delete entries, also with a receipt: the secret (32 bytes).
    #[prost(bytes = "bytes", tag = "9")]
    pub erasing: Bytes,
    /// The one entry that is appended is a candidate: a commit. It is not deleted one by one.
    #[prost(bool, tag = "10")]
    pub candidate: bool,
    /// A candidate is stored even behind others that its author has not read.
    #[prost(bool, tag = "11")]
    pub insist: bool,
    /// To append or read: the address of the log of the epoch before. If this log is not there yet, it counts as a part of the same conversation …
    #[prost(bytes = "bytes", tag = "12")]
    pub parent: Bytes,
    /// … with this signature ([`crate::LogKey::permit`]) of that log's key.
    #[prost(bytes = "bytes", tag = "13")]
    pub permit: Bytes,
    /// To read: who asks is not counted among the readers. The signature does not cover it, so that servers of before, which count all, check it as they do.
    #[prost(bool, tag = "14")]
    pub unseen: bool,
    /// The entries that are appended are parts of candidates, of [`crate::limits::MAX_PART_ENTRY`] bytes at most. They are not deleted one by one,
    /// and take room of the commits' share.
    #[prost(bool, tag = "15")]
    pub part: bool,
}

impl LogRequest {
    /// What the signature covers besides verb, nonce and address.
    pub fn signed_payload(&self) -> Vec<u8> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.after.to_le_bytes());
        hasher.update(&[u8::from(self.receipt)]);
        // Version 0.1 had another field here, empty in what is still sent.
        hasher.update(&0_u64.to_le_bytes());
        hasher.update(&(self.sequences.len() as u64).to_le_bytes());
        for sequence in &self.sequences {
            hasher.update(&sequence.to_le_bytes());
        }
        for entry in &self.entries {
            hasher.update(&(entry.len() as u64).to_le_bytes());
            hasher.update(entry);
        }
        // Not there in version 0.1: what it signs is the same.
        for (name, secret) in [("eraser", &self.eraser), ("erasing", &self.erasing), ("parent", &self.parent)] {
            if !secret.is_empty() {
                hasher.update(name.as_bytes());
                hasher.update(secret);
            }
        }
        for (name, flag) in [("candidate", self.candidate), ("insist", self.insist), ("part", self.part)] {
            if flag {
                hasher.update(name.as_bytes());
            }
        }
        hasher.finalize().as_bytes().to_vec()
    }
}

/// One entry of a log or inbox.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogEntry {
    /// Counts from 1.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// The sealed bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub sealed: Bytes,
    /// It is a candidate, or a part of one: nobody deletes it before it expires.
    #[prost(bool, tag = "3")]
    pub stays: bool,
}

/// Some entries of a log or inbox.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Page {
    /// The log's address; empty for the device's inbox.
    #[prost(bytes = "bytes", tag = "1")]
    pub address: Bytes,
    /// In order.
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<LogEntry>,
    /// There are more: read on.
    #[prost(bool, tag = "3")]
    pub more: bool,
}

/// A signal that somebody passed to a log's readers.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogSignal {
    /// The log's address.
    #[prost(bytes = "bytes", tag = "1")]
    pub address: Bytes,
    /// The sealed signal.
    #[prost(bytes = "bytes", tag = "2")]
    pub sealed: Bytes,
}

/// How many others read a log who are seen to.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Readers {
    /// The log's address.
    #[prost(bytes = "bytes", tag = "1")]
    pub address: Bytes,
    /// Not counting the one who is told.
    #[prost(uint32, tag = "2")]
    pub others: u32,
}

/// One step of a short code.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CodeMessage {
    /// The place.
    #[prost(uint32, tag = "1")]
    pub place: u32,
    /// Which attempt; given by the server.
    #[prost(uint64, tag = "2")]
    pub attempt: u64,
    /// The PAKE message.
    #[prost(bytes = "bytes", tag = "3")]
    pub pake: Bytes,
    /// Sealed under the shared key.
    #[prost(bytes = "bytes", tag = "4")]
    pub sealed: Bytes,
    /// Said by the server with an attempt: who tries is in the network of who opened the code, an IPv4 /24 or IPv6 /64.
    #[prost(bool, tag = "5")]
    pub same_network: bool,
}

/// A sealed snapshot of an account's contacts.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Snapshot {
    /// Grows with each change.
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// Sealed under a key that only the recovery phrase gives.
    #[prost(bytes = "bytes", tag = "2")]
    pub sealed: Bytes,
}
