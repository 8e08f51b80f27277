//! Where a profile's control socket is.
//!
//! Its place depends on the environment, which may differ between the process that serves it and the one that looks for it (cron, sudo, another
//! name of the same directory). The profile's directory therefore has a file that says where the socket is now. A second socket is in that directory
//! itself, where its path is short enough: runtime directories are emptied when their user logs out, while a node goes on.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

use crate::{
    error::{CliError, CliResult},
    profile::Profile,
};

/// Bytes of a socket's path: `sun_path` without its last, which is 0.
const MAX_PATH: usize = 107;
/// The file in the profile's directory.
const POINTER: &str = "control-socket";

/// The second socket's name.
const SPARE: &str = "control.sock";

/// A control socket. Its files are removed when it is dropped.
pub struct ControlSocket {
    listener: UnixListener,
    pub path: PathBuf,
    pointer: PathBuf,
    spare: Option<(UnixListener, PathBuf)>,
}

impl ControlSocket {
    /// Binds the control socket of a profile, at the first place that can be used. The caller holds the profile's lock, so an old socket is
    /// nobody's.
    pub fn bind(profile: &Profile) -> CliResult<Self> {
        let mut problem = None;
        for path in profile.socket_places() {
            match bind_at(&path) {
                Ok(listener) => {
                    let pointer = profile.dir.join(POINTER);
                    write_pointer(&pointer, &path)?;
                    let at = spare(&profile.dir);
                    let spare = bind_at(&at).map(|listener| (listener, at)).ok();
                    return Ok(Self { listener, path, pointer, spare });
                }
                Err(why) => drop(problem.get_or_insert(why)),
            }
        }
        let problem = problem.unwrap_or_else(|| "there is no directory for it".into());
        Err(CliError::new("no_socket", 1, format!("cannot make the control socket: {problem}"))
            .hint("set XDG_RUNTIME_DIR to a directory of your own with a short path (mkdir -m 700 /tmp/me)"))
    }

    /// The next connection, at either place. Can be cancelled.
    pub async fn accept(&self) -> std::io::Result<UnixStream> {
        let at_spare = async {
            match &self.spare {
                Some((listener, _)) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = self.listener.accept() => accepted,
            accepted = at_spare => accepted,
        }
        .map(|(stream, _)| stream)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // The pointer first: it never names a socket that another has made since.
        let _ = fs::remove_file(&self.pointer);
        let _ = fs::remove_file(&self.path);
        if let Some((_, path)) = &self.spare {
            let _ = fs::remove_file(path);
        }
    }
}

/// Where the second socket of the node that runs is.
pub fn spare(dir: &Path) -> PathBuf {
    dir.join(SPARE)
}

/// Where the socket of the node that runs was made, if one does.
pub fn pointed(dir: &Path) -> Option<PathBuf> {
    let pointer = dir.join(POINTER);
    // A pipe there would never be read to its end.
    fs::metadata(&pointer).ok().filter(fs::Metadata::is_file)?;
    let text = fs::read_to_string(pointer).ok()?;
    Some(PathBuf::from(text.trim_end_matches('\n'))).filter(|path| path.is_absolute())
}

fn write_pointer(pointer: &Path, socket: &Path) -> CliResult {
    let new = pointer.with_extension("new");
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(format!("{}\n", socket.display()).as_bytes())?;
        fs::rename(&new, pointer)
    };
    write().map_err(|e| {
        CliError::new("read_only", 1, format!("cannot write {}: {e}", pointer.display()))
            .hint("free some space, or check whose the profile's directory is: ls -ld")
    })
}

fn bind_at(path: &Path) -> Result<UnixListener, String> {
    let shown = path.display();
    if path.as_os_str().len() > MAX_PATH {
        return Err(format!("the path {shown} is longer than {MAX_PATH} bytes"));
    }
    if let Some(dir) = path.parent() {
        prepare(dir)?;
    }
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path).map_err(|e| format!("{shown}: {e}"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|e| format!("{shown}: {e}"))?;
    Ok(listener)
}

/// Makes the socket's directory; refuses one that is, or is in, a directory where somebody else could put another in its place.
fn prepare(dir: &Path) -> Result<(), String> {
    let user = rustix::process::getuid().as_raw();
    let shown = dir.display();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| format!("cannot make {shown}: {e}"))?;
    let found = fs::symlink_metadata(dir).map_err(|e| format!("{shown}: {e}"))?;
    if !found.is_dir() || found.uid() != user {
        return Err(format!("{shown} belongs to another user"));
    }
    if found.mode() & 0o022 != 0 {
        return Err(format!("others can write to {shown}"));
    }
    Ok(())
}
