//! Who we are: the keys, the name and the device chain of this account, as the profile has them.

use starling_keys::{
    AccountId, AccountKey, Certificate, DeviceChain, DeviceKey, RendezvousAddr,
    chain::{Held, Joining},
};
use zeroize::Zeroizing;

use crate::{
    mls::derived_seal_keys,
    net::LanKey,
    store::{HomesRow, IdentityRow, META, Reading, Store},
    turn::EngineError,
};

pub struct Identity {
    pub account: AccountId,
    /// The account's root, until a home has a chain with this device.
    pub root: Option<AccountKey>,
    pub device_key: DeviceKey,
    pub row: IdentityRow,
    /// The device chain; or the list that a profile of version 0.1 had.
    pub list: Option<DeviceChain>,
    /// What says that this device belongs to the account.
    pub certificate: Certificate,
    pub seal_public: Vec<u8>,
    /// The homes that the user has chosen.
    pub homes: Vec<RendezvousAddr>,
    /// `row` differs from what is stored.
    pub dirty: bool,
}

impl Identity {
    /// Loads it from the profile.
    ///
    /// # Errors
    /// [`EngineError::Identity`] if the profile has none, or a damaged one.
    pub fn load(store: &Store, read: &impl Reading) -> Result<Self, EngineError> {
        let row: IdentityRow = read.get(META, b"identity")?.ok_or(EngineError::Identity)?;
        let seed = |bytes: &[u8]| -> Result<Zeroizing<[u8; 32]>, EngineError> {
            bytes.try_into().map(Zeroizing::new).map_err(|_| EngineError::Identity)
        };
        let homes: HomesRow = read.get(META, b"homes")?.unwrap_or_default();
        let list = match row.device_list.as_slice() {
            [] => None,
            bytes => Some(DeviceChain::from_stored(bytes).map_err(|_| EngineError::Identity)?),
        };
        let root = match (row.account_seed.as_slice(), row.sealed_root.as_slice()) {
            ([], []) => {
                store.forget_root()?;
                None
            }
            ([], sealed) => Some(store.open_root(sealed)?),
            (bytes, _) => Some(AccountKey::from_seed(&*seed(bytes)?)),
        };
        let mut row = row;
        if let Some(root) = root.as_ref().filter(|_| row.recovery_public.is_empty()) {
            row.recovery_public = derived_seal_keys(&root.recovery_seed()).map_err(|_| EngineError::Identity)?.1;
        }
        let device_key = DeviceKey::from_seed(&*seed(&row.device_seed)?);
        let certificate = match (&root, row.certificate.as_slice()) {
            (Some(root), []) => Certificate::issue(root, device_key.id(), row.created_at),
            (_, bytes) => Certificate::from_bytes(bytes).map_err(|_| EngineError::Identity)?,
        };
        Ok(Self {
            account: certificate.account(),
            root,
            device_key,
            seal_public: row.seal_public.clone(),
            list,
            certificate,
            homes: homes.homes.iter().filter_map(|h| h.parse().ok()).collect(),
            row,
            dirty: false,
        })
    }

    /// Another device has given our account this name.
    pub fn rename(&mut self, name: String) {
        self.dirty |= self.row.name != name;
        self.row.name = name;
    }

    /// What the names follow from under which this device announces itself on a LAN. Contacts have it; it is renewed when the user removes or blocks one.
    pub fn lan_key(&self) -> LanKey {
        let mut hasher = blake3::Hasher::new_derive_key("starling 2026 LAN announcements v1");
        hasher.update(&*self.device_key.seed()).update(&self.row.lan_generation.to_le_bytes());
        LanKey(*hasher.finalize().as_bytes())
    }

    /// From now on the names on a LAN follow from another key.
    pub fn renew_lan_key(&mut self) {
        self.row.lan_generation = self.row.lan_generation.wrapping_add(1);
        self.dirty = true;
    }

    /// This device's wish to belong to the account.
    pub fn joining(&self) -> Joining {
        Joining::sign(&self.device_key, &self.account, self.seal_public.clone())
    }

    /// Takes a chain; gives whether what certifies this device is another now.
    pub fn set_list(&mut self, list: DeviceChain, held: &Held) -> bool {
        self.row.device_list = list.as_bytes().to_vec();
        self.row.held = crate::store::HeldRow::of(held);
        let path = list.path_to(&self.device_key.id()).map(|path| Certificate::from(&path));
        let certificate = path.filter(|path| *path != self.certificate);
        self.list = Some(list);
        self.dirty = true;
        let changed = certificate.is_some();
        if let Some(certificate) = certificate {
            self.row.certificate = certificate.as_bytes().to_vec();
            self.certificate = certificate;
        }
        changed
    }

    /// Since when the entries of the chain are known, from now on.
    pub fn set_held(&mut self, held: &Held) {
        self.row.held = crate::store::HeldRow::of(held);
        self.dirty = true;
    }

    /// Since when the entries of the chain are known.
    pub fn held(&self) -> Held {
        crate::store::HeldRow::held(&self.row.held)
    }

    /// Forgets the account's root for good, if it is here.
    pub fn forget_root(&mut self) {
        use zeroize::Zeroize;
        if self.root.take().is_some() {
            self.row.account_seed.zeroize();
            self.row.sealed_root.clear();
            self.dirty = true;
        }
    }
}
