//! How the key packages of this device are stored.

use crate::{
    mls::{KeyPackageChange, KeyPackages},
    store::{KEY_PACKAGES, KeyPackageRow, Reading, prefix},
    turn::{EngineError, Turn},
};

/// Loads them from the profile.
pub fn load(read: &impl Reading) -> Result<KeyPackages, EngineError> {
    let packages = KeyPackages::default();
    for (key, row) in read.range::<KeyPackageRow>(KEY_PACKAGES, prefix(b""), usize::MAX, false)? {
        if !packages.load(key, &row.data) {
            return Err(EngineError::Identity);
        }
    }
    Ok(packages)
}

/// Writes which were made and used up in this turn. Gives whether there were any.
pub fn save(turn: &mut Turn<'_>, packages: &KeyPackages) -> Result<bool, EngineError> {
    let changes = packages.take_changes();
    let changed = !changes.is_empty();
    for change in changes {
        match change {
            KeyPackageChange::Put(id, data) => {
                turn.put(KEY_PACKAGES, &id, &KeyPackageRow { data: data.to_vec(), last_resort: false })?;
            }
            KeyPackageChange::Delete(id) => turn.delete(KEY_PACKAGES, &id)?,
        }
    }
    Ok(changed)
}
