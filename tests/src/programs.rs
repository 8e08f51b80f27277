//! The programs of the workspace that tests start.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A program of the workspace, from the directory where this test was built.
///
/// Building tests does not build the programs that they start: one that is older than its sources says nothing about them, so the test fails.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    if let Some(source) = newer_source(&path, workspace) {
        panic!("{} is older than {}: run `cargo build --workspace` first", path.display(), source.display());
    }
    path
}

/// A source in this directory that was changed after the program was built of it, by the list that cargo leaves beside a program.
fn newer_source(program: &Path, workspace: &Path) -> Option<PathBuf> {
    let list = fs::read_to_string(program.with_extension("d")).ok()?;
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let built = changed(program)?;
    let (_, sources) = list.lines().next()?.split_once(": ")?;
    // A space in a name is written with a backslash before it.
    let unescaped = sources.replace("\\ ", "\0");
    let mut sources = unescaped.split(' ').map(|source| PathBuf::from(source.replace('\0', " ")));
    sources.find(|source| source.starts_with(workspace) && changed(source).is_some_and(|changed| changed > built))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        time::{Duration, SystemTime},
    };

    use super::*;

    #[test]
    fn a_program_that_is_older_than_one_of_its_sources_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let [ours, others] = ["our sources", "others"].map(|name| dir.path().join(name));
        let now = SystemTime::now();
        let write = |path: &Path, text: &str, age: u64| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            File::options().write(true).open(path).unwrap().set_modified(now - Duration::from_secs(age)).unwrap();
        };
        let (program, main, used) = (dir.path().join("program"), ours.join("main.rs"), ours.join("used.rs"));
        let foreign = others.join("lib.rs");
        let escaped = |path: &Path| path.to_str().unwrap().replace(' ', "\\ ");
        let list = [&main, &used, &foreign].map(|path| escaped(path)).join(" ");
        write(&program, "", 10);
        write(&main, "", 20);
        write(&used, "", 20);
        // Of another copy of the sources: that says nothing about ours.
        write(&foreign, "", 0);
        assert_eq!(newer_source(&program, &ours), None, "without a list nothing is known");
        write(&program.with_extension("d"), &format!("{}: {list}\n", escaped(&program)), 10);
        assert_eq!(newer_source(&program, &ours), None);
        write(&used, "", 5);
        assert_eq!(newer_source(&program, &ours), Some(used.clone()));
        // Built again.
        write(&program, "", 0);
        assert_eq!(newer_source(&program, &ours), None);
    }
}
