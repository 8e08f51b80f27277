//! What version 0.1 had in place of the device chain: a list that the account's key signs.

use crate::{
    DeviceListError, Verified,
    chain::{DeviceEntry, DeviceList, Rights},
    device,
};

/// Reads a stored list of version 0.1, in which every device could do everything.
pub fn read_list(bytes: &[u8]) -> Result<DeviceList, DeviceListError> {
    let list = Verified::<device::DeviceList>::from_bytes(bytes)?;
    let devices = list.devices.iter().map(|d| DeviceEntry {
        id: d.certificate.device(),
        rights: Rights::Admin,
        added_at: d.certificate.created_at(),
        linked_by: None,
        seal_key: d.seal_key.clone(),
    });
    Ok(DeviceList { account: list.account, version: 0, devices: devices.collect(), homes: list.homes.clone() })
}
