//! A group whose members are behind different NATs, in network namespaces. Needs root, `ip` and `nft`; skipped with a word where they are missing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::{Duration, Instant};

use serde_json::Value;
use starling_tests::{Process, lab::Lab, run_to_end, until};

const OPS: &str = "#ops";
/// A message is at all members within this time.
const AT_ALL: Duration = Duration::from_secs(2);
/// After the death of a server members who were connected through it have found each other again within this time: 45 s until all have noticed it, and two
/// rounds in which who is missing is looked for.
const MET: Duration = Duration::from_secs(120);
/// Hosts and the names of those who sit there. What comes to the first NAT is let in; the second lets in what is answered; the third has another port for
/// each connection; the fourth is behind that of a carrier.
const MEMBERS: [(&str, &str); 4] = [("ha", "alice"), ("hb", "bob"), ("hc", "carol"), ("hd", "dave")];

/// Four members of a group behind four NATs, and two servers: the group's home is the first, all but alice have the second, too.
struct Company {
    lab: Lab,
    home: Option<Process>,
    _other: Process,
    daemons: Vec<Process>,
    events: Vec<Process>,
}

fn behind_four_nats() -> Option<Lab> {
    let mut lab = Lab::new()?;
    lab.wire("rel", "198.18.0.1");
    lab.wire("other", "198.18.0.2");
    lab.behind_nat("ha", "na", "198.18.0.11", "192.168.11", false);
    lab.open_nat("na", "192.168.11.2");
    lab.behind_nat("hb", "nb", "198.18.0.12", "192.168.12", false);
    lab.behind_nat("hc", "nc", "198.18.0.13", "192.168.13", true);
    lab.wire("cg", "198.18.0.14");
    lab.nat("cg", false);
    lab.behind_carrier("hd", "nd", "cg", ("100.64.1", "192.168.14"));
    Some(lab)
}

/// What a device is in the group; empty if it has not heard of it yet.
fn standing(lab: &Lab, host: &str) -> String {
    let output = run_to_end(lab.starling(host).args(["group", "list", "--json"]));
    let group: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    group["standing"].as_str().unwrap_or_default().to_owned()
}

impl Company {
    fn new() -> Option<Self> {
        let lab = behind_four_nats()?;
        let (home, first) = lab.rendezvous("rel", "198.18.0.1");
        let (other, second) = lab.rendezvous("other", "198.18.0.2");
        let mut daemons = Vec::new();
        for (host, name) in MEMBERS {
            let homes = ["--rendezvous", first.as_str(), "--rendezvous", second.as_str()];
            let homes = if name == "alice" { &homes[..2] } else { &homes[..] };
            lab.json(host, &[&["init", "--name", name], homes].concat());
            daemons.push(lab.daemon(host));
        }
        for (host, name) in &MEMBERS[1..] {
            let invite = lab.json("ha", &["invite"]);
            lab.json(host, &["contacts", "add", invite["link"].as_str().unwrap()]);
            until("the name of alice", || (lab.json(host, &["contacts", "list"])["name"] == "alice").then_some(()));
            lab.json(host, &["send", "@alice", "hello", "--wait", "delivered"]);
            println!("{name} is a contact");
        }
        lab.json("ha", &["group", "new", "ops", "@bob", "@carol", "@dave"]);
        for (host, name) in &MEMBERS[1..] {
            until(&format!("the invitation of {name}"), || (standing(&lab, host) == "invited").then_some(()));
            lab.json(host, &["group", "accept", OPS]);
            until(&format!("that {name} is in"), || (standing(&lab, host) == "member").then_some(()));
        }
        let mut company = Self { lab, home: Some(home), _other: other, daemons, events: Vec::new() };
        company.events = MEMBERS.iter().map(|(host, _)| company.listen(host)).collect();
        Some(company)
    }

    fn listen(&self, host: &str) -> Process {
        let events = Process::start(self.lab.starling(host).args(["listen", "--json", "--since", "now"]));
        events.wait_for("the listener", |event| event["type"] == "stream.ready");
        events
    }

    /// Those that are there, but for one.
    fn others(&self, than: usize) -> impl Iterator<Item = usize> + use<> {
        (MEMBERS.len() - self.daemons.len()..MEMBERS.len()).filter(move |at| *at != than)
    }

    /// One of those that are there writes until the others hear it: those whom the home has relayed notice that it is gone, and find one another again.
    fn meet(&self, from: usize) {
        let (host, name) = MEMBERS[from];
        let began = Instant::now();
        for n in 0.. {
            let text = format!("{name} calls, {n}");
            self.lab.json(host, &["send", OPS, &text]);
            let has = |at: usize| {
                let output = run_to_end(self.lab.starling(MEMBERS[at].0).args(["history", OPS, "--json"]));
                String::from_utf8(output.stdout).unwrap().contains(&text)
            };
            let sent = Instant::now();
            while sent.elapsed() < AT_ALL {
                if self.others(from).all(has) {
                    println!("{name} is heard after {:.0?}", began.elapsed());
                    return;
                }
            }
            assert!(began.elapsed() < MET, "nobody hears {name}");
        }
    }

    /// One of those that are there writes to the group; how long it took until the others had it, and how it came to them.
    fn tell(&self, from: usize, text: &str) -> (Duration, Vec<Value>) {
        let began = Instant::now();
        self.lab.json(MEMBERS[from].0, &["send", OPS, text]);
        let came = self.others(from).map(|at| {
            let is_it = |event: &Value| event["type"] == "message.new" && event["message"]["text"] == text;
            self.events[at].wait_for(text, is_it)["via"].clone()
        });
        let came: Vec<Value> = came.collect();
        let took = began.elapsed();
        println!("{text}: at all after {took:.1?}, {came:?}");
        (took, came)
    }
}

#[test]
fn four_members_behind_different_nats_hear_each_other_within_seconds_also_by_relayed_gossip_alone() {
    starling_tests::allow_time(Duration::from_secs(300));
    let Some(mut company) = Company::new() else { return };
    for round in 0..3 {
        for (at, (_, name)) in MEMBERS.iter().enumerate() {
            let (took, _) = company.tell(at, &format!("{round} from {name}"));
            assert!(took <= AT_ALL, "{name}: {took:?}");
        }
    }
    // Who lets everybody in is gone, and so is the home with the group's log. Carol, whose NAT nobody gets through, is heard by circuits of the other server
    // alone.
    company.daemons.remove(0).terminate();
    company.home = None;
    (1..MEMBERS.len()).for_each(|at| company.meet(at));
    for (at, (_, name)) in MEMBERS.iter().enumerate().skip(1) {
        let (took, came) = company.tell(at, &format!("from {name} without the home"));
        assert!(took <= AT_ALL, "{name}: {took:?}");
        assert!(came.iter().all(|via| via == "gossip"), "{name}: {came:?}");
    }
}
