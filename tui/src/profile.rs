//! Where a profile is, and how its key is opened.

use std::{
    fs,
    io::{IsTerminal, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use starling_keys::{KeyFile, KeyFileError, Protection, StorageKey};
use zeroize::Zeroizing;

use crate::{
    cli::Global,
    error::{CliError, CliResult, no_profile},
};

/// As much is read of a passphrase file, in bytes.
const MAX_PASSPHRASE_FILE: u64 = 64 * 1024;
/// The name under which keys are kept in the system keyring.
const KEYRING_SERVICE: &str = "starling";
/// Size from which a log file is begun again at the next start.
const MAX_LOG: u64 = 4 * 1024 * 1024;

/// A profile's places.
#[derive(Clone, Debug)]
pub struct Profile {
    pub name: String,
    pub dir: PathBuf,
    socket_name: String,
    passphrase_file: Option<PathBuf>,
    no_input: bool,
    /// One that was typed into the screen.
    typed: Arc<OnceLock<Zeroizing<String>>>,
}

impl Profile {
    pub fn new(global: &Global) -> CliResult<Self> {
        let name = global.profile.clone();
        let ok = !name.is_empty()
            && name.len() <= 32
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !ok {
            return Err(CliError::usage(format!("“{name}” is no profile name: use up to 32 letters, digits, - and _")));
        }
        let default = default_data_dir();
        let data_dir = global
            .data_dir
            .clone()
            .or_else(|| default.clone())
            .ok_or_else(|| CliError::usage("there is no home directory: choose a directory with --data-dir"))?;
        let socket_name = socket_name(&name, &data_dir, default.as_deref());
        Ok(Self {
            dir: data_dir.join(&name),
            name,
            socket_name,
            passphrase_file: global.passphrase_file.clone(),
            no_input: global.no_input,
            typed: Arc::default(),
        })
    }

    /// Where a device that joins an account keeps its keys until it is one of the account's devices.
    pub fn joining_dir(&self) -> PathBuf {
        self.dir.join("joining")
    }

    /// Whether it was asked here for an account, and no profile was made yet.
    pub fn is_joining(&self) -> bool {
        !self.exists() && starling_node::ProfileDir::has_profile(&self.joining_dir())
    }

    /// The error that there is no profile.
    pub fn missing(&self) -> CliError {
        let error = no_profile();
        match self.is_joining() {
            true => {
                error.hint("this device was being linked when that was interrupted; go on with `starling device join`")
            }
            false => error,
        }
    }

    /// Removes what a device has left that was to join an account.
    pub fn discard_joining(&self) -> CliResult {
        match fs::remove_dir_all(self.joining_dir()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(to_store_error(&e).into()),
            _ => Ok(()),
        }
    }

    /// Removes all that is left where no profile was made.
    pub fn discard_unmade(&self) -> CliResult {
        self.discard_joining()?;
        for name in ["key", "key.new", "lock"] {
            match fs::remove_file(self.dir.join(name)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(to_store_error(&e).into()),
                _ => {}
            }
        }
        // Somebody may keep something else there.
        let _ = fs::remove_dir(&self.dir);
        Ok(())
    }

    /// The same, with its files elsewhere.
    pub fn at(self, dir: &Path) -> Self {
        Self { dir: dir.to_owned(), ..self }
    }

    /// Where a control socket for this profile can be made, the best place first.
    pub fn socket_places(&self) -> Vec<PathBuf> {
        socket_dirs().iter().map(|dir| dir.join(&self.socket_name)).collect()
    }

    /// Where the control socket is if a node runs, the likeliest first.
    pub fn sockets(&self) -> Vec<PathBuf> {
        let mut sockets: Vec<PathBuf> = crate::rpc::pointed(&self.dir).into_iter().collect();
        for place in self.socket_places().into_iter().chain([crate::rpc::spare(&self.dir)]) {
            if !sockets.contains(&place) {
                sockets.push(place);
            }
        }
        sockets
    }

    /// Removes a profile that was made a moment ago and that nobody can use.
    pub fn discard(&self) -> CliResult {
        let removed = |path: PathBuf| match fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        };
        removed(self.key_path())?;
        starling_node::ProfileDir::lock(&self.dir)?.discard()?;
        Ok(())
    }

    pub fn exists(&self) -> bool {
        starling_node::ProfileDir::has_profile(&self.dir)
    }

    fn key_path(&self) -> PathBuf {
        self.dir.join("key")
    }

    /// Writes the key file of a new profile.
    pub fn write_key(&self, key: &StorageKey, protection: Protection) -> CliResult {
        let file = match protection {
            Protection::Plain => KeyFile::plain(key),
            Protection::Passphrase => {
                let passphrase = self.passphrase("Passphrase for this profile: ")?;
                if passphrase.is_empty() {
                    return Err(
                        CliError::usage("the passphrase is empty").hint("leave the passphrase out to have none")
                    );
                }
                KeyFile::with_passphrase(key, &passphrase)
            }
            Protection::Keyring => {
                self.keyring()?.set_secret(key.as_bytes()).map_err(|e| keyring_error(&e))?;
                KeyFile::keyring()
            }
        };
        self.put_key(&file).map_err(|e| CliError::from(to_store_error(&e)))
    }

    /// Writes the key file of a profile that is there again: with a passphrase, or without one.
    pub fn replace_key(&self, key: &StorageKey, passphrase: Option<&str>) -> CliResult {
        let bytes = fs::read(self.key_path()).map(Zeroizing::new).unwrap_or_default();
        let was_in_keyring = KeyFile::from_bytes(&bytes).is_ok_and(|file| file.protection() == Protection::Keyring);
        let file = passphrase.map_or_else(|| KeyFile::plain(key), |text| KeyFile::with_passphrase(key, text));
        self.put_key(&file).map_err(|e| CliError::from(to_store_error(&e)))?;
        if was_in_keyring && let Ok(entry) = self.keyring() {
            // What stays there opens nothing that the file does not.
            let _ = entry.delete_credential();
        }
        Ok(())
    }

    /// Puts a key file in the place of the one that may be there: after a power cut either of them is whole. What the old one opens is the same, so its
    /// bytes are overwritten, where the file system writes in place.
    fn put_key(&self, file: &KeyFile) -> std::io::Result<()> {
        let new = self.dir.join("key.new");
        match fs::remove_file(&new) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        out.write_all(&file.to_bytes())?;
        out.sync_all()?;
        // Only a file of this name: what a link leads to is not ours, and opening a pipe would wait for its reader.
        let is_file = fs::symlink_metadata(self.key_path()).is_ok_and(|found| found.is_file());
        let old = if is_file { fs::OpenOptions::new().write(true).open(self.key_path()).ok() } else { None };
        fs::rename(&new, self.key_path())?;
        fs::File::open(&self.dir)?.sync_all()?;
        // The new one counts, whether this works or not.
        let _ = old.map_or(Ok(()), overwrite);
        Ok(())
    }

    /// Opens the key file.
    pub fn open_key(&self) -> CliResult<StorageKey> {
        let path = self.key_path();
        // A pipe there would never be read to its end.
        if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(CliError::locked(format!("{} is no file", path.display()))
                .hint("restore the file “key” of the profile from a backup"));
        }
        let bytes = match fs::read(&path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && self.exists() => {
                return Err(CliError::locked("the profile's file “key” is missing").hint(format!(
                    "restore {} from a backup, or make a new profile with the recovery phrase: starling --profile NEW init --restore",
                    self.key_path().display()
                )));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(self.missing()),
            Err(e) => return Err(CliError::locked(format!("cannot read the key file {}: {e}", path.display()))),
        };
        let damaged = |e: KeyFileError| {
            match e {
            KeyFileError::Newer => CliError::new("newer_version", 11, e.to_string()).hint("update Starling"),
            KeyFileError::WrongPassphrase => CliError::locked(e.to_string()).hint("try again; without it the profile cannot be opened, but the recovery phrase makes a new one (`starling --profile NEW init --restore`)"),
            KeyFileError::Malformed => CliError::locked(e.to_string()).hint("restore the file “key” of the profile from a backup"),
        }
        };
        let file = KeyFile::from_bytes(&bytes).map_err(damaged)?;
        match file.protection() {
            Protection::Plain => file.open_plain().map_err(damaged),
            Protection::Passphrase => {
                let passphrase = self.passphrase(&format!("Passphrase of profile {}: ", self.name))?;
                file.open_with(&passphrase).map_err(damaged)
            }
            Protection::Keyring => {
                let secret = Zeroizing::new(self.keyring()?.get_secret().map_err(|e| keyring_error(&e))?);
                let bytes = secret
                    .as_slice()
                    .try_into()
                    .map_err(|_| CliError::locked("the system keyring holds something else under Starling's name"))?;
                Ok(StorageKey::from_bytes(bytes))
            }
        }
    }

    fn keyring(&self) -> CliResult<keyring::v1::Entry> {
        let user = self.dir.display().to_string();
        keyring::v1::Entry::new(KEYRING_SERVICE, &user).map_err(|e| keyring_error(&e))
    }

    /// Takes a passphrase that was typed already.
    pub fn remember_passphrase(&self, passphrase: Zeroizing<String>) {
        let _ = self.typed.set(passphrase);
    }

    /// A passphrase from its file, or from the terminal without echo.
    fn passphrase(&self, prompt: &str) -> CliResult<Zeroizing<String>> {
        if let Some(typed) = self.typed.get() {
            return Ok(typed.clone());
        }
        if let Some(path) = &self.passphrase_file {
            return read_passphrase_file(path);
        }
        if self.no_input || !std::io::stdin().is_terminal() {
            return Err(CliError::locked("the profile needs its passphrase")
                .hint("give it with --passphrase-file FILE (or STARLING_PASSPHRASE_FILE)"));
        }
        crate::terminal::read_secret(prompt)
    }
}

/// Reads a passphrase file, on ssh's terms: one of our own that others may read is refused.
pub fn read_passphrase_file(path: &Path) -> CliResult<Zeroizing<String>> {
    let failed =
        |e: std::io::Error| CliError::usage(format!("cannot read the passphrase file {}: {e}", path.display()));
    let file = fs::File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if meta.is_file() && meta.uid() == rustix::process::getuid().as_raw() && meta.mode() & 0o077 != 0 {
        let mode = meta.mode() & 0o777;
        return Err(CliError::usage(format!("others can read the passphrase file {} ({mode:04o})", path.display()))
            .hint(format!("run: chmod 600 {}", path.display())));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_PASSPHRASE_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_PASSPHRASE_FILE {
        return Err(failed(std::io::Error::other(format!("it has more than {MAX_PASSPHRASE_FILE} bytes"))));
    }
    Ok(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned()))
}

/// Writes zeros over a file, down to the disk.
fn overwrite(mut file: fs::File) -> std::io::Result<()> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or_default();
    file.write_all(&vec![0; length])?;
    file.sync_all()
}

fn keyring_error(error: &keyring::Error) -> CliError {
    CliError::locked(format!("the system keyring cannot be used: {error}"))
        .hint("unlock it, or make the profile with --passphrase-file instead")
}

fn to_store_error(error: &std::io::Error) -> starling_node::StoreError {
    use starling_node::StoreError;
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreError::DiskFull,
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::ReadOnly(error.to_string())
        }
        _ => StoreError::Failed(error.to_string()),
    }
}

fn env_dir(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute())
}

fn home(below: &str) -> Option<PathBuf> {
    env_dir("HOME").map(|home| home.join(below))
}

/// `$XDG_DATA_HOME/starling`.
pub fn default_data_dir() -> Option<PathBuf> {
    env_dir("XDG_DATA_HOME").or_else(|| home(".local/share")).map(|d| d.join("starling"))
}

/// `$XDG_CONFIG_HOME/starling`.
pub fn config_dir() -> Option<PathBuf> {
    env_dir("XDG_CONFIG_HOME").or_else(|| home(".config")).map(|d| d.join("starling"))
}

/// `$XDG_STATE_HOME/starling`.
pub fn state_dir() -> Option<PathBuf> {
    env_dir("XDG_STATE_HOME").or_else(|| home(".local/state")).map(|d| d.join("starling"))
}

/// The log file, to append to; `None` where there is no place for one. One that has grown large becomes `starling.log.old`.
pub fn log_file() -> Option<fs::File> {
    let dir = state_dir()?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).ok()?;
    let path = dir.join("starling.log");
    if fs::metadata(&path).is_ok_and(|m| m.len() > MAX_LOG) {
        fs::rename(&path, dir.join("starling.log.old")).ok()?;
    }
    fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).ok()
}

/// The directories in which a control socket can be, the best first: `$XDG_RUNTIME_DIR/starling`, if that is a directory of this user (with sudo
/// it is not), and else a private one below a temporary directory.
fn socket_dirs() -> Vec<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let private = format!("starling-{user}");
    // One that others can write to is not what the XDG specification promises.
    let private_dir = |found: fs::Metadata| found.is_dir() && found.uid() == user && found.mode() & 0o022 == 0;
    let own = |dir: &PathBuf| fs::metadata(dir).is_ok_and(private_dir);
    let runtime = env_dir("XDG_RUNTIME_DIR").filter(own).map(|dir| dir.join("starling"));
    let temporary = [std::env::temp_dir(), PathBuf::from("/tmp")].map(|dir| dir.join(&private));
    runtime.into_iter().chain(temporary).collect()
}

/// `<profile>.sock`, with a hash of the data directory if it is not the default one. A directory has the same hash by all of its names.
fn socket_name(profile: &str, data_dir: &Path, default: Option<&Path>) -> String {
    let real = |dir: &Path| fs::canonicalize(dir).or_else(|_| std::path::absolute(dir)).unwrap_or_else(|_| dir.into());
    let data_dir = real(data_dir);
    if default.is_some_and(|default| real(default) == data_dir) {
        return format!("{profile}.sock");
    }
    let hash = StorageKey::from_bytes([0; 32]).name(data_dir.as_os_str().as_encoded_bytes());
    let hex: String = hash[..6].iter().map(|b| format!("{b:02x}")).collect();
    format!("{profile}-{hex}.sock")
}
