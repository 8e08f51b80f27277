//! Which folder of this crate may import which: each only those below it, so that there are no cycles.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The folders and files of `src`, from the bottom up. One imports only what stands before it.
const LAYERS: [&str; 26] = [
    "limits",
    "ranges",
    "store",
    "mls",
    "net",
    "api",
    "call_media",
    "turn",
    "roster",
    "events",
    "home",
    "account",
    "contacts",
    "conversation",
    "timeline",
    "delivery",
    "presence",
    "views",
    "sync",
    "meeting",
    "history",
    "linking",
    "devices",
    "inbox",
    "calls",
    "engine",
];

/// Those on top: the handle, and what fills profiles for benches.
const TOP: [&str; 3] = ["node", "bench", "lib"];

fn layer(module: &str) -> usize {
    let top = TOP.iter().position(|m| *m == module).map(|at| LAYERS.len() + at);
    LAYERS.iter().position(|m| *m == module).or(top).unwrap_or_else(|| panic!("{module} has no place among the layers"))
}

fn rust_files(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// A file without comments and without its tests.
fn code_of(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn word(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
}

/// The modules that paths in a piece of code begin with: `crate::a::…`, or `crate::{a::…, b::…}`.
fn imported(code: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for (at, start) in code.match_indices("crate::") {
        let rest = &code[at + start.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            modules.insert(word(rest).to_owned());
            continue;
        };
        let (mut depth, mut begins) = (0, true);
        for (at, char) in group.char_indices() {
            match char {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                _ if char.is_alphabetic() && depth == 0 && std::mem::take(&mut begins) => {
                    modules.insert(word(&group[at..]).to_owned());
                }
                _ => {}
            }
        }
    }
    modules
}

#[test]
fn no_folder_imports_one_that_stands_above_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut upward: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for file in files {
        let name = file.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        let module = word(&name).to_owned();
        if module == "testing" || name.ends_with("_tests.rs") {
            continue;
        }
        let is_module = |m: &String| m.starts_with(|c: char| c.is_lowercase()) && *m != module;
        for other in imported(&code_of(&file)).into_iter().filter(is_module) {
            if layer(&other) >= layer(&module) {
                upward.entry((module.clone(), other)).or_default().push(name.clone());
            }
        }
    }
    assert!(upward.is_empty(), "imports that run upward: {upward:?}");
}

#[test]
fn no_text_of_the_node_names_a_command() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    // Which command is the next step is known to the front end alone. Labels of keys begin with the name, too, and have a version or a year.
    let is_label = |text: &str| text.contains(" v1") || text.contains(" v2") || text.contains(" 2026 ");
    let mut naming = Vec::new();
    for file in files.iter().filter(|file| !file.to_str().is_some_and(|name| name.ends_with("_tests.rs"))) {
        let code = code_of(file);
        let texts = code.split('"').skip(1).step_by(2);
        let texts = texts.filter(|text| text.contains("starling ") && !is_label(text));
        naming.extend(texts.map(|text| format!("{}: {text}", file.display())));
    }
    assert!(naming.is_empty(), "{naming:#?}");
}

#[test]
fn all_ways_to_import_are_found() {
    let code = "use crate::{a::{b, c}, d::e,\n f};\nfn x() { crate::g::h(); }\nuse crate::i;";
    assert_eq!(imported(code).into_iter().collect::<Vec<_>>(), ["a", "d", "f", "g", "i"]);
}
