//! What a screen keeps in the profile from one run to the next: drafts, the open chat, the place in it.
//!
//! One file, written whole and sealed with a key of the profile, because drafts are as private as messages. The node's owner holds it, so
//! that screens which use a daemon need no key. Rows are named by the screen and mean nothing here.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;
use starling_keys::StorageKey;

use crate::error::CliError;

/// Name of the file in the profile's directory.
const FILE: &str = "screen";
/// What the key is derived for, and what the seal is bound to.
const PURPOSE: &str = "screen state v1";
/// Longest name of a row, in bytes.
const MAX_NAME: usize = 128;
/// Longest row, in bytes of JSON: a draft of the longest message, with every byte escaped.
const MAX_ROW: usize = 512 * 1024;
/// All rows together, in bytes of JSON. It is read and written whole.
const MAX_ALL: usize = 2 * 1024 * 1024;

type Rows = BTreeMap<String, Value>;

/// The kept rows of a profile.
#[derive(Clone)]
pub struct ScreenState(Arc<Inner>);

struct Inner {
    path: PathBuf,
    key: StorageKey,
    rows: Mutex<Rows>,
}

impl ScreenState {
    /// Reads what is kept in a profile's directory. A file that is damaged or of another key counts as empty.
    pub fn open(dir: &Path, key: &StorageKey) -> Self {
        let (path, key) = (dir.join(FILE), key.derive(PURPOSE));
        let rows = fs::read(&path).ok().and_then(|sealed| {
            let opened = key.open(PURPOSE.as_bytes(), &sealed).ok()?;
            serde_json::from_slice(&opened).ok()
        });
        Self(Arc::new(Inner { path, key, rows: Mutex::new(rows.unwrap_or_default()) }))
    }

    /// All rows.
    pub fn rows(&self) -> Rows {
        self.0.rows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps a row, or removes it with `null`. It is on the disk when this returns.
    ///
    /// # Errors
    /// If the name or the row is too long, or the file cannot be written.
    pub async fn keep(&self, name: String, value: Value) -> Result<(), CliError> {
        let state = self.clone();
        // The disk may take its time.
        tokio::task::spawn_blocking(move || state.set(name, value)).await.map_err(CliError::internal)?
    }

    /// Sets a row, or removes it with `null`.
    fn set(&self, name: String, value: Value) -> Result<(), CliError> {
        if name.is_empty() || name.len() > MAX_NAME || value.to_string().len() > MAX_ROW {
            return Err(CliError::usage("a row to keep has no name, a name that is too long, or too long a value"));
        }
        // Held while it is written: of two screens the later one wins, whole.
        let mut rows = self.0.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = rows.clone();
        match value {
            Value::Null => drop(next.remove(&name)),
            value => drop(next.insert(name, value)),
        }
        let text = serde_json::to_vec(&next).map_err(CliError::internal)?;
        if text.len() > MAX_ALL {
            return Err(CliError::usage("the drafts are too long to be kept").hint("send or clear some of them"));
        }
        self.write(&text)?;
        *rows = next;
        Ok(())
    }

    fn write(&self, text: &[u8]) -> std::io::Result<()> {
        let new = self.0.path.with_extension("new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&self.0.key.seal(PURPOSE.as_bytes(), text))?;
        file.sync_all()?;
        fs::rename(&new, &self.0.path)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[tokio::test]
    async fn rows_are_kept_sealed_private_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let key = StorageKey::from_bytes([7; 32]);
        let state = ScreenState::open(dir.path(), &key);
        let set = async |row: &str, value: Value| state.keep(row.to_owned(), value).await;
        set("chat:a", json!({ "draft": "precious" })).await.unwrap();
        set("open", "a".into()).await.unwrap();
        set("open", Value::Null).await.unwrap();
        for (row, value) in [("", json!(1)), (&*"n".repeat(200), json!(1)), ("long", "x".repeat(MAX_ROW).into())] {
            assert!(set(row, value).await.is_err());
        }
        for n in 0..8 {
            let _ = set(&format!("chat:{n}"), "x".repeat(MAX_ROW - 10).into()).await;
        }
        let file = dir.path().join(FILE);
        let bytes = fs::read(&file).unwrap();
        assert!(bytes.len() <= MAX_ALL + 40 && !bytes.windows(8).any(|w| w == b"precious"));
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let again = ScreenState::open(dir.path(), &key).rows();
        assert_eq!(again["chat:a"]["draft"], "precious");
        assert!(!again.contains_key("open") && !again.contains_key("chat:7"));
        let other = ScreenState::open(dir.path(), &StorageKey::from_bytes([8; 32]));
        assert!(other.rows().is_empty());
    }
}
