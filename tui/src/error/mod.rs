//! What went wrong, for people and for scripts: a code, an exit status, a message, and the next step to take.

mod argument;
mod node;
pub mod problem;

use starling_control::{
    ClientError, ErrorData, FAILED,
    lines::{Failed, Failure},
};
use starling_node::{OpenError, StoreError};
use starling_text::SafeText;

pub use self::{
    argument::of_argument,
    node::{contact_asks_on_screen, old_programs, refused_in_group, screen_hint},
};

/// An error of a command.
#[derive(Debug, Clone)]
pub struct CliError {
    /// For scripts.
    pub code: String,
    /// The exit status.
    pub exit: u8,
    /// What was wrong: one line, which may quote others.
    pub message: SafeText,
    /// What to do about it.
    pub hint: Option<SafeText>,
    /// When it is worth to try again.
    pub retry_after_ms: Option<u64>,
    /// What exactly was wrong, such as `which_device`, if the node has refused something.
    pub reason: Option<String>,
}

/// The result of a command.
pub type CliResult<T = ()> = Result<T, CliError>;

impl CliError {
    pub fn new(code: &str, exit: u8, message: impl Into<SafeText>) -> Self {
        Self { code: code.into(), exit, message: message.into(), hint: None, retry_after_ms: None, reason: None }
    }

    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new("internal", 1, message.to_string())
    }

    pub fn usage(message: impl Into<SafeText>) -> Self {
        Self::new("usage", 2, message)
    }

    pub fn unreachable(message: impl Into<SafeText>) -> Self {
        Self::new("unreachable", 3, message)
    }

    pub fn locked(message: impl Into<SafeText>) -> Self {
        Self::new("locked", 4, message)
    }

    pub fn not_found(message: impl Into<SafeText>) -> Self {
        Self::new("not_found", 5, message)
    }

    pub fn timeout(message: impl Into<SafeText>) -> Self {
        Self::new("timeout", 9, message)
    }

    pub fn hint(mut self, hint: impl Into<SafeText>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With the group, and who is meant, in its hint as they were given.
    pub fn naming(mut self, group: &str, who: Option<&str>) -> Self {
        self.hint = self.hint.map(|hint| {
            let quoted = format!("'{}'", group.replace('\'', r"'\''"));
            let hint = hint.as_str().replace("'#GROUP'", &quoted);
            who.map_or_else(|| hint.clone(), |who| hint.replace("@WHO", who)).into()
        });
        self
    }

    /// Standard output was closed by its reader: no error.
    pub fn is_closed_pipe(&self) -> bool {
        self.code == "closed_pipe"
    }

    /// What `--json` prints of it.
    pub fn to_line(&self) -> Failed {
        let data = ErrorData {
            code: self.code.clone(),
            exit: self.exit,
            hint: self.hint.as_deref().map(Into::into),
            retry_after_ms: self.retry_after_ms,
            reason: self.reason.clone(),
            param: None,
        };
        Failed { error: Failure { message: self.message.as_str().to_owned(), data } }
    }
}

impl From<CliError> for starling_control::Error {
    fn from(error: CliError) -> Self {
        let CliError { code, exit, message, hint, retry_after_ms, reason } = error;
        let data = ErrorData { code, exit, hint: hint.map(Into::into), retry_after_ms, reason, param: None };
        Self::new(FAILED, message, data)
    }
}

impl From<starling_control::Error> for CliError {
    fn from(error: starling_control::Error) -> Self {
        let ErrorData { code, exit, hint, retry_after_ms, reason, .. } = *error.data;
        // From a node that does not fill it in.
        let (code, exit) = if code.is_empty() { ("internal".to_owned(), 1) } else { (code, exit) };
        Self { code, exit, message: error.message.into(), hint: hint.map(Into::into), retry_after_ms, reason }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(error) => error.into(),
            ClientError::Closed => Self::new("node_gone", 1, "the node has stopped").hint("run the command again"),
            ClientError::TimedOut => Self::timeout("the node of this profile does not answer").hint(
                "its process may be stopped or overloaded: let it go on (kill -CONT), or end it and run the command again",
            ),
            ClientError::TooLong => Self::usage(error.to_string()),
            ClientError::Unexpected(_) => Self::internal(error).hint("the node may be of another version: restart it"),
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Newer(_) => Self::new("newer_version", 11, text).hint("update Starling"),
            StoreError::Missing => no_profile(),
            StoreError::InUse => {
                Self::locked(text).hint("another program has the profile open without a control socket; stop it")
            }
            StoreError::WrongKey => {
                Self::locked(text).hint("the key file belongs to another profile: restore the right one from a backup")
            }
            StoreError::DiskFull => Self::new("disk_full", 1, text)
                .hint("free some space, then try again: nothing that was reported is lost"),
            StoreError::ReadOnly(_) => {
                Self::new("read_only", 1, text).hint("choose a directory that you may write to with --data-dir")
            }
            StoreError::Damaged(_) => Self::new("damaged", 1, text).hint(
                "restore the profile's directory from a backup, or make a new one with the recovery phrase: starling --profile NEW init --restore",
            ),
            StoreError::NoLocks(_) => Self::new("no_locks", 1, text).hint(
                "choose a directory on a local disk with --data-dir, or mount the network file system with locks (NFS: version 4, or with rpc.statd)",
            ),
            StoreError::Unreadable { .. } => Self::new("damaged", 1, text).hint(
                "nothing was changed in it. Make another profile: link this device again (`starling --profile NEW device join`, with a code of \
                 another device), or take the account back with its phrase (`starling --profile NEW init --restore`)",
            ),
            StoreError::Failed(_) => Self::internal(text),
        }
    }
}

impl From<OpenError> for CliError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Store(error) => error.into(),
            OpenError::Net(starling_node::NetError::Listen(..)) => Self::new("cannot_listen", 2, error.to_string())
                .hint("another program may hold the port: give another with --listen-addr, or 0 for a free one"),
            other => Self::internal(other),
        }
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::new("closed_pipe", 0, ""),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreError::DiskFull.into(),
            std::io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly(error.to_string()).into(),
            _ => Self::internal(error),
        }
    }
}

/// There is no profile.
pub fn no_profile() -> CliError {
    CliError::new("no_profile", 4, "there is no profile here yet").hint(
        "make one with `starling init --name NAME --rendezvous ADDR`, or try Starling without one: `starling try`",
    )
}
