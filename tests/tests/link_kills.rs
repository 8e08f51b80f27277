//! `kill -9` of each side at each moment of a link: the device ends on the account's list and works, or is not on it; no other is. `STARLING_LINK_KILLS`
//! says at how many moments each side is killed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use starling_tests::{Process, World, until};

/// A link has come to its end by then.
const LINK: Duration = Duration::from_millis(1500);

#[derive(Clone, Copy, Debug)]
enum Victim {
    New,
    Old,
    Server,
}

struct Links {
    world: World,
    daemon: Process,
}

impl Links {
    /// Kills somebody a while after a device has begun to join, and links it until it is there.
    fn kill(&mut self, profile: &str, victim: Victim, after: Duration) {
        let (mut link, code, home) = self.world.linking("alice", &["--yes"]);
        let mut join = self.world.joining(profile, &[&code, "--rendezvous", &home]);
        std::thread::sleep(after);
        match victim {
            Victim::New => join.kill(),
            Victim::Old => {
                self.daemon.kill();
                link.kill();
                self.daemon = self.world.daemon("alice");
            }
            Victim::Server => {
                self.world.restart_rendezvous();
                // Who owes nothing notices half a minute later, unless asked.
                for who in ["alice", "bob"] {
                    assert!(self.world.run(who, &["whoami"]).status.success());
                }
            }
        }
        let mut joined = join.wait() == 0;
        drop(link);
        let dir = self.world.dir.path().join("profiles").join(profile);
        // It goes on with what it has kept, or is not on the list and begins again.
        for _ in 0..3 {
            if joined || dir.join("profile.redb").exists() {
                return;
            }
            joined = dir.join("joining/profile.redb").exists() && self.world.joining(profile, &[]).wait() == 0;
            if !joined {
                let (_link, code, home) = self.world.linking("alice", &["--yes"]);
                joined = self.world.joining(profile, &[&code, "--rendezvous", &home]).wait() == 0;
            }
        }
        panic!("{profile} does not get in");
    }
}

#[test]
fn each_side_is_killed_at_each_moment_of_a_link() {
    let points: u32 = std::env::var("STARLING_LINK_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let world = World::of_friends();
    let daemon = world.daemon("alice");
    let _bob = world.daemon("bob");
    let mut links = Links { world, daemon };
    for point in 0..points {
        for victim in [Victim::New, Victim::Old, Victim::Server] {
            let after = LINK * (2 * point + 1) / (2 * points);
            let profile = format!("laptop-{point}-{victim:?}").to_lowercase();
            links.kill(&profile, victim, after);
            let laptop = links.world.daemon(&profile);
            let case = format!("{victim:?} killed after {after:?}");
            let devices = until(&format!("{case}: the list"), || {
                Some(links.world.devices("alice")).filter(|devices| devices.len() >= 2)
            });
            assert_eq!(devices.len(), 2, "{case}: there is a device that nobody has");
            let own = links.world.json(&profile, &["rpc", "status"])["device"].as_str().unwrap().to_owned();
            assert!(devices.iter().any(|device| device["device"] == *own), "{case}: {devices:?} without {own}");
            assert!(links.world.run("bob", &["send", "@alice", &case]).status.success());
            until(&format!("{case}: the text"), || {
                links.world.texts(&profile, "@bob", 100).contains(&case).then_some(())
            });
            let answer = format!("{case}, and answers");
            assert!(links.world.run(&profile, &["send", "@bob", &answer]).status.success());
            until(&answer, || links.world.texts("bob", "@alice", 100).contains(&answer).then_some(()));
            drop(laptop);
            // Its home may take it a moment later.
            let removed = links.world.run("alice", &["device", "remove", &own]).status.code();
            assert!(matches!(removed, Some(0 | 3)), "{case}: {removed:?}");
            println!("{case}: in, and out again");
        }
    }
}
