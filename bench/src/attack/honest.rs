//! The honest clients, and how long they wait.

use std::time::{Duration, Instant};

use anyhow::bail;
use bytes::Bytes;
use libp2p::Multiaddr;
use starling_keys::{DeviceKey, InviteTicket, InviteToken};
use starling_wire::{
    LogKey, LogVerb,
    limits::MAX_INVITE_USES,
    rendezvous::{LogRequest, ResponseBody},
};
use tokio::time::{sleep, timeout};

use super::LOG;
use crate::session::Session;

/// Something that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an item in an inbox: with its seal, a request of somebody has about as many.
const ITEM: usize = 2_048;

/// What is measured, in the order of [`Latency`].
pub const MEASURED: &str =
    "to connect, to store an entry, to be told of it, until an inbox item of a guest and one of a member have come";

/// Medians of the honest clients, in milliseconds.
pub type Latency = [f64; 5];

/// Clients with accounts, but for one that connects again and again.
pub struct Honest {
    home: Multiaddr,
    /// Writes to a log, and has the inbox that is attacked.
    writer: Session,
    inbox: [u8; 32],
    /// Reads that log.
    reader: Session,
    log: LogKey,
    /// Has an invite of the writer's account, and is in the conversation of the log, too.
    guest: Session,
    ticket: InviteTicket,
}

impl Honest {
    /// Connects and registers them.
    pub async fn connect(home: Multiaddr) -> anyhow::Result<Self> {
        let (alice, bob, carol) = (DeviceKey::generate(), DeviceKey::generate(), DeviceKey::generate());
        let mut writer = registered(&home, &alice).await?;
        let mut reader = registered(&home, &bob).await?;
        let guest = registered(&home, &carol).await?;
        let (shared, log) = (LogKey::from_secret(&LOG), LogKey::from_secret(&[8; 32]));
        for log in [&shared, &log] {
            writer.log(log, LogVerb::Open, LogRequest::default()).await?;
            reader.log(log, LogVerb::Read, LogRequest::default()).await?;
        }
        let ticket = InviteToken::generate().proof().ticket();
        Ok(Self { home, writer, inbox: *alice.id().as_bytes(), reader, log, guest, ticket })
    }

    /// The device whose inbox is measured.
    pub fn inbox(&self) -> [u8; 32] {
        self.inbox
    }

    /// What they see for so long.
    pub async fn measure(&mut self, time: Duration) -> anyhow::Result<Latency> {
        let mut all: [Vec<Duration>; 5] = Default::default();
        let end = Instant::now() + time;
        let mut n = 0_u64;
        while Instant::now() < end {
            if n.is_multiple_of(u64::from(MAX_INVITE_USES)) {
                self.writer.register_invite(&self.ticket, MAX_INVITE_USES).await?;
            }
            n += 1;
            let connected = self.connected().await?;
            let [stored, told] = self.entry(n).await?;
            let of_guest = self.item_of_guest(n).await?;
            let of_member = self.item_of_member(n).await?;
            for (all, time) in all.iter_mut().zip([connected, stored, told, of_guest, of_member]) {
                all.push(time);
            }
            // New connections of one address have a rate.
            sleep(Duration::from_millis(100)).await;
        }
        Ok(all.map(|mut all| {
            all.sort_unstable();
            all.get(all.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
        }))
    }

    /// A new device connects.
    async fn connected(&self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let session = timeout(PATIENCE, Session::connect(&self.home, &DeviceKey::generate(), None)).await??;
        let connected = start.elapsed();
        drop(session);
        Ok(connected)
    }

    /// An entry is stored, and its reader told of it.
    async fn entry(&mut self, n: u64) -> anyhow::Result<[Duration; 2]> {
        let Self { writer, reader, log, .. } = self;
        let body = body(n, 7, 256);
        let request = LogRequest { entries: vec![body.clone()], ..LogRequest::default() };
        let start = Instant::now();
        let stored = async {
            match writer.log(log, LogVerb::Append, request).await? {
                ResponseBody::Appended(_) => Ok(start.elapsed()),
                other => bail!("an honest append was refused: {other:?}"),
            }
        };
        let told = async {
            while !reader.pushed_entries().await?.contains(&body) {}
            anyhow::Ok(start.elapsed())
        };
        let (stored, told) = timeout(PATIENCE, async { tokio::try_join!(stored, told) }).await??;
        Ok([stored, told])
    }

    /// An item is left with an invite's ticket.
    async fn item_of_guest(&mut self, n: u64) -> anyhow::Result<Duration> {
        let item = body(n, 1, ITEM);
        let left = self.guest.leave_item_as_guest(self.inbox, item.clone(), &self.ticket);
        delivered(left, &mut self.writer, &item).await
    }

    /// An item is left by who shares a conversation.
    async fn item_of_member(&mut self, n: u64) -> anyhow::Result<Duration> {
        let item = body(n, 2, ITEM);
        let left = self.guest.leave_item_as_member(self.inbox, item.clone(), &self.log);
        delivered(left, &mut self.writer, &item).await
    }
}

/// A device with a new account.
async fn registered(home: &Multiaddr, device: &DeviceKey) -> anyhow::Result<Session> {
    let mut session = Session::connect(home, device, None).await?;
    session.register(device).await?;
    Ok(session)
}

/// The time until a device has an item that is left in its inbox. As clients do, it reads and deletes whatever it is told of, so that strangers have
/// the least work for each of theirs.
async fn delivered(
    left: impl Future<Output = anyhow::Result<()>>,
    to: &mut Session,
    item: &Bytes,
) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let had = async {
        while !to.new_items().await?.contains(item) {}
        anyhow::Ok(start.elapsed())
    };
    let ((), time) = timeout(PATIENCE, async { tokio::try_join!(left, had) }).await??;
    Ok(time)
}

/// So many bytes that no other has.
fn body(n: u64, kind: u8, len: usize) -> Bytes {
    let mut body = vec![kind; len];
    body[..8].copy_from_slice(&n.to_le_bytes());
    Bytes::from(body)
}
