//! The files of a call, checked before it is made: whoever is called should not hear that a path has a typing error, and no recording is
//! overwritten by what was meant to play it.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::MediaError;

/// What tells one file from another, whatever it is called: device and inode.
type Identity = (u64, u64);

fn refused(path: &Path, why: impl std::fmt::Display) -> MediaError {
    MediaError::File(format!("{}: {why}", path.display()))
}

/// Checks that all of `inputs` can be read and all of `outputs` can be written, and that no output is an input or another output, under any name (another
/// path, a hard link, a symbolic link). Changes no file, and leaves none behind. Relative paths count from the working directory.
///
/// # Errors
/// [`MediaError::File`], which names the path and what is wrong with it.
pub fn check(inputs: &[PathBuf], outputs: &[PathBuf]) -> Result<(), MediaError> {
    let mut read = Vec::new();
    for path in inputs {
        let metadata = fs::metadata(path).map_err(|e| refused(path, e))?;
        if metadata.is_dir() {
            return Err(refused(path, "it is a directory"));
        }
        if metadata.is_file() {
            fs::File::open(path).map_err(|e| refused(path, e))?;
        }
        read.push((metadata.dev(), metadata.ino()));
    }
    let mut probes: Vec<Probe> = Vec::new();
    for path in outputs {
        let Some(probe) = Probe::of(path).map_err(|e| refused(path, e))? else { continue };
        if read.contains(&probe.identity) {
            return Err(refused(path, "it is read by this call, and would be overwritten"));
        }
        if let Some(other) = probes.iter().find(|other| other.identity == probe.identity) {
            return Err(refused(path, format!("it is the same file as {}", other.path.display())));
        }
        probes.push(probe);
    }
    Ok(())
}

/// A file that can be written. One that had to be made to find that out is removed when this is dropped.
struct Probe {
    path: PathBuf,
    identity: Identity,
    made: bool,
}

impl Probe {
    /// Opens a file for writing, but leaves its content alone. `None` for what is no regular file, such as `/dev/null`: it is not overwritten.
    fn of(path: &Path) -> io::Result<Option<Self>> {
        let there = match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(metadata) if !metadata.is_file() => return Ok(None),
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        let file = OpenOptions::new().write(true).create(!there).truncate(false).mode(0o600).open(path)?;
        let metadata = file.metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        // Where a symbolic link points to, if it is one.
        let path = fs::canonicalize(path)?;
        Ok(Some(Self { path, identity, made: !there && metadata.len() == 0 }))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if self.made {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::os::unix::fs::symlink;

    use super::*;

    fn texts(result: Result<(), MediaError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn an_output_that_is_an_input_under_any_name_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("a.wav");
        fs::write(&input, "sound").unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        let (hard, soft) = (dir.path().join("hard.wav"), dir.path().join("soft.wav"));
        fs::hard_link(&input, &hard).unwrap();
        symlink(&input, &soft).unwrap();
        let dots = dir.path().join("sub/../a.wav");
        for output in [input.clone(), hard, soft, dots] {
            let error = texts(check(std::slice::from_ref(&input), &[output]));
            assert!(error.contains("would be overwritten"), "{error}");
        }
        assert_eq!(fs::read_to_string(&input).unwrap(), "sound");
    }

    #[test]
    fn two_outputs_are_not_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let (one, link) = (dir.path().join("a.mp4"), dir.path().join("b.mp4"));
        assert!(texts(check(&[], &[one.clone(), dir.path().join("./a.mp4")])).contains("same file"));
        // Neither is there yet: the link points to nothing.
        symlink(&one, &link).unwrap();
        assert!(texts(check(&[], &[one.clone(), link])).contains("same file"));
        assert!(!one.exists());
    }

    #[test]
    fn what_cannot_be_read_or_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none/x.wav");
        assert!(texts(check(&[], std::slice::from_ref(&missing))).contains("none/x.wav"));
        assert!(texts(check(std::slice::from_ref(&missing), &[])).contains("none/x.wav"));
        for path in [dir.path().to_owned(), "/proc/x.wav".into()] {
            assert!(check(&[], &[path]).is_err());
        }
        assert!(check(&[dir.path().to_owned()], &[]).is_err());
    }

    #[test]
    fn a_good_output_is_neither_made_nor_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (new, old) = (dir.path().join("new.wav"), dir.path().join("old.wav"));
        fs::write(&old, "kept").unwrap();
        check(&[], &[new.clone(), old.clone(), "/dev/null".into(), "/dev/null".into()]).unwrap();
        assert!(!new.exists());
        assert_eq!(fs::read_to_string(old).unwrap(), "kept");
    }
}
