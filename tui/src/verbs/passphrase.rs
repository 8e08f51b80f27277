//! `profile passphrase`: with what the profile is opened on this device.

use std::path::Path;

use starling_control::methods::Done;
use zeroize::Zeroizing;

use super::{print, print_object, say};
use crate::{
    cli::Global,
    error::{CliError, CliResult},
    profile::{Profile, read_passphrase_file},
    terminal::read_secret,
};

/// Sets, changes or takes away the passphrase. The profile's data stay as they are: only the file with their key is written again.
pub fn change(global: &Global, new_file: Option<&Path>, none: bool) -> CliResult {
    let profile = Profile::new(global)?;
    // Whoever changes the passphrase knows the one of now.
    let key = profile.open_key()?;
    let new = if none { None } else { Some(new_passphrase(global, new_file)?) };
    profile.replace_key(&key, new.as_deref().map(String::as_str))?;
    if global.json {
        return print_object(&Done {});
    }
    let done = if none {
        "the profile opens without a passphrase now"
    } else {
        "the profile opens with the new passphrase now"
    };
    say(global, "A copy of the profile that was made before, such as a backup, still opens as it did.");
    print(done)
}

fn new_passphrase(global: &Global, file: Option<&Path>) -> CliResult<Zeroizing<String>> {
    let missing = || {
        CliError::usage("the new passphrase is missing")
            .hint("give it with --new-file FILE, or take it away with --none")
    };
    let new = match file {
        Some(file) => read_passphrase_file(file)?,
        None if global.no_input || !std::io::IsTerminal::is_terminal(&std::io::stdin()) => return Err(missing()),
        None => {
            let new = read_secret("New passphrase: ")?;
            if *read_secret("The same once more: ")? != *new {
                return Err(CliError::usage("the two are not the same").hint("nothing was changed; try again"));
            }
            new
        }
    };
    if new.is_empty() {
        return Err(
            CliError::usage("the new passphrase is empty").hint("to have none, say --none; nothing was changed")
        );
    }
    Ok(new)
}
