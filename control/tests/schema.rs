//! The files of `docs/schema/` are what the types make. To write them again: `UPDATE_SCHEMA=1 cargo test -p starling-control --test schema`.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::{fs, path::Path};

#[test]
fn the_schema_in_the_repository_is_what_the_types_make() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema");
    let update = std::env::var_os("UPDATE_SCHEMA").is_some();
    for (name, content) in starling_control::schema::files() {
        let path = folder.join(name);
        if update {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &content).unwrap();
        }
        let same = fs::read_to_string(&path).is_ok_and(|found| found == content);
        assert!(same, "{} is out of date: run with UPDATE_SCHEMA=1", path.display());
    }
}
