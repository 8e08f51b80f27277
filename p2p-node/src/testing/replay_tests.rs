//! The same seed tells the same story, so that every failure can be looked at again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::{fork_story_tests, group_story, promise_tests, trace::traced};

/// With `STARLING_TRACE`, what has happened is written to a file of this name, to be compared with that of another process.
fn tells_the_same(name: &str, story: impl Fn()) {
    let (first, second) = (traced(&story), traced(&story));
    if let Ok(path) = std::env::var("STARLING_TRACE") {
        std::fs::write(format!("{path}-{name}"), first.join("\n")).unwrap();
    }
    if let Some(at) = first.iter().zip(&second).position(|(one, other)| one != other) {
        let before = first[at.saturating_sub(5)..at].join("\n");
        panic!("{name}: they part at line {at} of {}, after\n{before}\n- {}\n+ {}", first.len(), first[at], second[at]);
    }
    assert!(first.len() > 300 && first.len() == second.len(), "{name}: {} and {} lines", first.len(), second.len());
}

#[test]
fn the_same_seed_tells_the_same_story_of_changing_lists() {
    tells_the_same("lists", || promise_tests::story(1));
}

#[test]
fn the_same_seed_tells_the_same_story_of_a_fork() {
    tells_the_same("fork", || fork_story_tests::story(30));
}

#[test]
#[ignore = "open: as the stories of `group_story`"]
fn the_same_seed_tells_the_same_story_of_a_group() {
    tells_the_same("group", || drop(group_story::story(10)));
}
