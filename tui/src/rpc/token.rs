//! The token of the control port. A TCP port has no owner: every user and every web page on the machine can connect to it.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use serde_json::Value;
use starling_control::{
    Error, Method,
    jsonrpc::Request,
    methods::{self, Done, node::Authenticate},
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::{CliError, CliResult};

/// Bytes of a token.
const LENGTH: usize = 32;

/// The token of a profile, and the file that it is in.
pub struct Token {
    pub file: PathBuf,
    text: Zeroizing<String>,
}

impl Token {
    /// Reads the token of a profile, or makes one. Its file can be read by the user alone.
    pub fn of_profile(dir: &Path) -> CliResult<Self> {
        let file = dir.join("control-token");
        let text = match fs::File::open(&file) {
            Ok(found) => read(found, &file)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(&file)?,
            Err(error) => return Err(CliError::internal(format!("cannot read {}: {error}", file.display()))),
        };
        Ok(Self { file, text })
    }

    /// Whether a request gives this token.
    pub(super) fn admit(&self, request: &Request) -> Result<Value, Error> {
        if request.method != Authenticate::NAME {
            let method = Authenticate::NAME;
            let hint =
                format!("first call “{method}” with the token from the file that `starling daemon --listen` names");
            let mut error = Error::unauthorized("this port needs a token");
            error.data.hint = Some(hint);
            return Err(error);
        }
        let given: Authenticate = methods::read(request.params.clone())?;
        // In a time that says nothing about how much of a guess is right.
        if bool::from(given.token.as_bytes().ct_eq(self.text.as_bytes())) {
            serde_json::to_value(Done {}).map_err(|error| Error::invalid_request(error.to_string()))
        } else {
            Err(Error::unauthorized("that is not the token of this profile"))
        }
    }
}

fn read(found: fs::File, file: &Path) -> CliResult<Zeroizing<String>> {
    let open_to_others = found.metadata().map_err(CliError::internal)?.mode() & 0o077 != 0;
    if open_to_others {
        return Err(CliError::locked(format!("others can read {}", file.display()))
            .hint("delete it: a new one is made, and give that to your programs"));
    }
    let mut text = Zeroizing::new(String::new());
    found.take(2 * LENGTH as u64 + 2).read_to_string(&mut text)?;
    let text = Zeroizing::new(text.trim_end().to_owned());
    if text.len() < 2 * LENGTH {
        return Err(CliError::locked(format!("{} holds no token", file.display())).hint("delete it: a new one is made"));
    }
    Ok(text)
}

fn make(file: &Path) -> CliResult<Zeroizing<String>> {
    let text = Zeroizing::new(HEXLOWER.encode(&rand::random::<[u8; LENGTH]>()));
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    out.write_all(format!("{}\n", *text).as_bytes())?;
    out.sync_all()?;
    Ok(text)
}
