//! Who we are: the keys, the name and the device list of this account, as the profile has them.

use starling_keys::{AccountKey, Certificate, DeviceKey, DeviceList, RendezvousAddr, Verified};
use zeroize::Zeroizing;

use crate::{
    store::{HomesRow, IdentityRow, META, Reading},
    turn::EngineError,
};

pub struct Identity {
    pub account_key: AccountKey,
    pub device_key: DeviceKey,
    pub row: IdentityRow,
    pub list: Option<Verified<DeviceList>>,
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
    pub fn load(read: &impl Reading) -> Result<Self, EngineError> {
        let row: IdentityRow = read.get(META, b"identity")?.ok_or(EngineError::Identity)?;
        let seed = |bytes: &[u8]| -> Result<Zeroizing<[u8; 32]>, EngineError> {
            bytes.try_into().map(Zeroizing::new).map_err(|_| EngineError::Identity)
        };
        let homes: HomesRow = read.get(META, b"homes")?.unwrap_or_default();
        let list = if row.device_list.is_empty() {
            None
        } else {
            Some(Verified::<DeviceList>::from_bytes(&row.device_list).map_err(|_| EngineError::Identity)?)
        };
        Ok(Self {
            account_key: AccountKey::from_seed(&*seed(&row.account_seed)?),
            device_key: DeviceKey::from_seed(&*seed(&row.device_seed)?),
            seal_public: row.seal_public.clone(),
            list,
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

    /// What says that this device belongs to the account.
    pub fn certificate(&self) -> Certificate {
        Certificate::issue(&self.account_key, self.device_key.id(), self.row.created_at)
    }
}
