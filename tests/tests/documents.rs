//! What the documents name is there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};

/// Directories of builds and of git.
const NOT_OURS: [&str; 3] = ["target", ".git", "artifacts"];

/// All files below a directory.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let name = entry.file_name();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() && NOT_OURS.iter().all(|other| name != **other) => files(&entry.path(), found),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

/// Whether a quoted text is the path of a file of the repository; a name in capitals stands for any.
fn is_path(quoted: &str) -> bool {
    let ends = [".rs", ".md", ".py", ".json", ".yml"].iter().any(|end| quoted.ends_with(end));
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-./".contains(c);
    ends && quoted.contains('/') && quoted.chars().all(letters)
}

#[test]
fn every_path_that_a_document_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut all = Vec::new();
    files(root, &mut all);
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for document in all.iter().filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = std::fs::read_to_string(document).unwrap();
        for quoted in text.split('`').skip(1).step_by(2).filter(|quoted| is_path(quoted)) {
            checked += 1;
            if !all.iter().any(|file| file.ends_with(quoted)) {
                wrong.push(format!("{}: {quoted}", document.display()));
            }
        }
    }
    assert!(checked > 20, "only {checked} paths were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
