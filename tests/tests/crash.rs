//! `kill -9` of any process at any moment: nothing that was reported as sent is lost, nothing is shown twice, and both sides see one order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::{collections::HashSet, process::Stdio, time::Duration};

use rand::RngExt;
use serde_json::Value;
use starling_tests::{Process, World, until_none};

/// Lines that one round sends.
const LINES: usize = 5;

struct Reader {
    process: Option<Process>,
    cursor: String,
    shown: Vec<String>,
}

impl Reader {
    fn start(&mut self, world: &World) {
        self.process = Some(world.listen("bob", &self.cursor));
    }

    fn take(&mut self) {
        let Some(process) = &self.process else { return };
        while let Some(line) = process.try_line() {
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            if let Some(cursor) = event["cursor"].as_str() {
                self.cursor = cursor.to_owned();
            }
            if event["type"] == "message.new" && event["message"]["from"]["self"] != true {
                self.shown.push(event["message"]["text"].as_str().unwrap().to_owned());
            }
        }
    }
}

#[test]
fn processes_are_killed_at_random_and_nothing_is_lost() {
    let rounds: usize = std::env::var("STARLING_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let mut world = World::new();
    world.person("alice");
    world.person("bob");
    world.befriend("alice", "bob");
    let mut reader = Reader { process: None, cursor: "all".into(), shown: Vec::new() };
    let mut rng = rand::rng();
    let mut promised = Vec::new();
    let (mut killed, mut unsure) = ([0usize; 3], 0usize);
    for round in 0..rounds {
        if reader.process.is_none() {
            reader.start(&world);
        }
        let mut command = world.starling("alice");
        command.args(["send", "@bob", "--lines", "--wait", "sent", "--timeout", "3s"]).stdin(Stdio::piped());
        let mut sender = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let lines: Vec<String> = (0..LINES).map(|n| format!("{round}-{n}")).collect();
        use std::io::Write;
        let mut input = sender.stdin.take().unwrap();
        let _ = input.write_all((lines.join("\n") + "\n").as_bytes());
        drop(input);
        // Any moment: which one is the point.
        std::thread::sleep(Duration::from_millis(rng.random_range(0..150)));
        let victim = rng.random_range(0..3);
        killed[victim] += 1;
        match victim {
            0 => {
                let _ = sender.kill();
            }
            1 => {
                reader.take();
                // What it has printed and we have not read is printed again from the last cursor.
                reader.process = None;
            }
            _ => world.restart_rendezvous(),
        }
        if sender.wait().unwrap().success() {
            promised.extend(lines);
        } else {
            unsure += 1;
        }
        reader.take();
    }
    reader.process = None;

    let (_alice, _bob) = (world.daemon("alice"), world.daemon("bob"));
    let most = rounds * LINES + 10;
    let mut b = Vec::new();
    until_none("both sides do not see one order", || {
        let a = world.texts("alice", "@bob", most);
        b = world.texts("bob", "@alice", most);
        (a != b).then(|| format!("alice has {a:?}, bob has {b:?}"))
    });
    let arrived: HashSet<&String> = b.iter().collect();
    assert_eq!(arrived.len(), b.len(), "a message is there twice");
    let lost: Vec<&String> = promised.iter().filter(|m| !arrived.contains(m)).collect();
    assert!(lost.is_empty(), "reported as sent and lost: {lost:?}");
    let once: HashSet<&String> = reader.shown.iter().collect();
    assert_eq!(once.len(), reader.shown.len(), "a message was shown twice");
    println!(
        "{rounds} rounds: killed the sender {} times, the receiver {}, the rendezvous {}; {} messages promised and there, {unsure} rounds without a promise",
        killed[0],
        killed[1],
        killed[2],
        promised.len(),
    );
}
