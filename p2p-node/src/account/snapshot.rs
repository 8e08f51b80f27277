//! The snapshot that a restored device reads: when it is written, and who opens it.

use bytes::Bytes;
use prost::Message as _;
use starling_keys::{
    DeviceId, StorageKey,
    chain::{LeafPath, Rights},
};
use starling_wire::snapshot::{SNAPSHOT_DOMAIN, SNAPSHOT_INFO, SealedKey, SealedSnapshot};

use super::Account;
use crate::{
    mls::{Mls, derived_seal_keys},
    store::SnapshotRow,
    turn::{Counters, EngineError, Turn},
};

/// What the content of a snapshot is sealed for.
const CONTENT: &[u8] = b"snapshot";

impl Account {
    /// Seals to our devices, and to what the phrase opens: with another key each time, so that a removed device reads nothing newer.
    pub fn seal_snapshot(&self, mls: &Mls, plain: &[u8]) -> Result<Vec<u8>, EngineError> {
        let (identity, key) = (&self.identity, StorageKey::generate());
        let sealed_to = |device: &[u8], public: &[u8]| -> Result<SealedKey, EngineError> {
            let sealed = mls.seal_to(public, SNAPSHOT_INFO, key.as_bytes())?;
            Ok(SealedKey { device: Bytes::copy_from_slice(device), sealed: sealed.into() })
        };
        // Bots are not to see what the account knows.
        let listed = identity.list.iter().flat_map(|l| &l.devices);
        let readers = listed.filter(|d| d.rights != Rights::Bot && !d.seal_key.is_empty());
        // A device whose key is no key reads nothing; it does not keep the others from it.
        let mut keys: Vec<SealedKey> = readers.filter_map(|d| sealed_to(d.id.as_bytes(), &d.seal_key).ok()).collect();
        if !identity.row.recovery_public.is_empty() {
            keys.push(sealed_to(&[], &identity.row.recovery_public)?);
        }
        let device = Bytes::copy_from_slice(identity.device_key.id().as_bytes());
        let content = key.seal(CONTENT, plain).into();
        let mut snapshot = SealedSnapshot { device, keys, content, signature: Bytes::new() };
        let signature = identity.device_key.sign(SNAPSHOT_DOMAIN, &snapshot.signed());
        snapshot.signature = Bytes::copy_from_slice(&signature);
        Ok(snapshot.to_bytes())
    }

    /// Opens a snapshot that one of our devices has written; with the root also one of version 0.1.
    pub fn open_snapshot(&self, mls: &Mls, sealed: &[u8]) -> Option<SnapshotRow> {
        let identity = &self.identity;
        let read = |padded: &[u8]| SnapshotRow::decode(starling_wire::unpad(padded).ok()?).ok();
        let Some(snapshot) = SealedSnapshot::from_bytes(sealed) else {
            return read(&identity.root.as_ref()?.snapshot_key().open(CONTENT, sealed).ok()?);
        };
        let writer = DeviceId::from_bytes(&snapshot.device).ok()?;
        writer.verify(SNAPSHOT_DOMAIN, &snapshot.signed(), &snapshot.signature).then_some(())?;
        let of = |device: &[u8]| snapshot.keys.iter().find(|k| k.device == device);
        let own = || {
            let key = of(identity.device_key.id().as_bytes())?;
            mls.open_sealed(&identity.row.seal_secret, &identity.seal_public, SNAPSHOT_INFO, &key.sealed).ok()
        };
        let recovered = || {
            let (secret, public) = derived_seal_keys(&identity.root.as_ref()?.recovery_seed()).ok()?;
            mls.open_sealed(&secret, &public, SNAPSHOT_INFO, &of(&[])?.sealed).ok()
        };
        let key = own().or_else(recovered)?;
        let row =
            read(&StorageKey::from_bytes(key.as_slice().try_into().ok()?).open(CONTENT, &snapshot.content).ok()?)?;
        self.may_have_written(&writer, &row.writer).then_some(row)
    }

    /// Whether a device is ours, or was until the account's recovery; also one that the chain which a home gave us does not have yet.
    fn may_have_written(&self, writer: &DeviceId, path: &[u8]) -> bool {
        let Some(list) = &self.identity.list else { return false };
        let shown = || LeafPath::from_bytes(path).ok().filter(|path| path.device() == *writer);
        list.belonged_until_recovery(writer) || shown().is_some_and(|path| list.may_lack(&path))
    }

    /// The snapshot of contacts is written soon: several changes travel together.
    pub fn snapshot_soon(&mut self, turn: &Turn<'_>, counters: &mut Counters) {
        counters.row.snapshot_pending = true;
        counters.dirty = true;
        self.snapshot_due = Some(turn.now() + 1_000);
    }

    /// The snapshot is written within a time, in milliseconds: for what changes often and is also sent to connected devices directly.
    pub fn snapshot_within(&mut self, turn: &Turn<'_>, counters: &mut Counters, ms: u64) {
        counters.row.snapshot_pending = true;
        counters.dirty = true;
        let due = turn.now() + ms;
        self.snapshot_due = Some(self.snapshot_due.map_or(due, |d| d.min(due)));
    }
}
