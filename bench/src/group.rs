//! Groups: real nodes in this process, each with a store of its own, over loopback and one real server. All share the processors of this machine, so
//! what is said of many members is what all of them do, on those.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use starling_keys::{AccountId, Invite};
use starling_node::{ChatId, DurableEventKind, Group, GroupKind, Node, Standing};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::{
    measure::{Percentiles, cpu_s, loopback_bytes, now_ns, rss_kib},
    pair::{create, open, text, until},
    processes::Process,
};

/// Whatever a group does is done by then, or never.
const GIVES_UP: Duration = Duration::from_secs(600);
/// Messages of the sender that are on their way to its store in a burst.
const AT_ONCE: usize = 64;

/// A member: its node, and what counts the messages that come to it.
struct Member {
    node: Node,
    dir: PathBuf,
    account: AccountId,
    counting: JoinHandle<()>,
}

/// What a member has got: which member, how many messages, and when it could show the last.
type Got = (usize, usize, u64);

impl Member {
    async fn open(dir: PathBuf, number: usize, got: mpsc::UnboundedSender<Got>) -> anyhow::Result<Self> {
        let node = open(&dir).await?;
        // What it has missed comes as soon as it is connected.
        let from = *node.last_event().borrow();
        until(&node, async || Ok(node.status().await?.homes.iter().any(|h| h.registered).then_some(()))).await?;
        let account = node.status().await?.account;
        let counting = tokio::spawn(count(node.clone(), from, number, got));
        Ok(Self { node, dir, account, counting })
    }

    async fn group(&self, chat: ChatId) -> anyhow::Result<Option<Group>> {
        Ok(self.node.groups().await?.into_iter().find(|group| group.id == chat))
    }

    /// Waits until the group is as it should be, as this member sees it.
    async fn sees(&self, chat: ChatId, is_so: impl Fn(&Group) -> bool) -> anyhow::Result<()> {
        let seen = until(&self.node, async || Ok(self.group(chat).await?.filter(|group| is_so(group)).map(drop)));
        timeout(GIVES_UP, seen).await.context("a group does not become what it should")?
    }

    async fn stop(self) {
        self.counting.abort();
        let _ = self.counting.await;
        self.node.stop().await;
    }
}

/// Counts the messages of others that come to a node after an event.
async fn count(node: Node, from: u64, number: usize, got: mpsc::UnboundedSender<Got>) {
    let mut last_event = node.last_event();
    let (mut at, mut count) = (from, 0);
    loop {
        let Ok(events) = node.events_after(at, 8_192) else { return };
        at = events.last().map_or(at, |event| event.sequence);
        let new = events.iter().filter(|e| e.kind == DurableEventKind::New && e.message.is_some()).count();
        count += new;
        if new > 0 && got.send((number, count, now_ns())).is_err() {
            return;
        }
        if events.is_empty() && last_event.changed().await.is_err() {
            return;
        }
    }
}

/// A group, and the server with its log.
struct Company {
    members: Vec<Member>,
    chat: ChatId,
    server: Process,
    home: String,
    invite: String,
    got: mpsc::UnboundedReceiver<Got>,
    tell: mpsc::UnboundedSender<Got>,
    /// How many messages each member has got.
    counts: Vec<usize>,
}

/// What an action has cost everybody together, but for the server.
struct Cost {
    seconds: f64,
    cpu_s: f64,
    server_cpu_s: f64,
    wire_bytes: f64,
}

/// Measures what happens until it is asked.
struct Meter {
    start: Instant,
    cpu: f64,
    server: (u32, f64),
    bytes: u64,
}

impl Meter {
    fn start(server: &Process) -> Self {
        let pid = server.pid();
        let cpu = cpu_s(std::process::id());
        Self { start: Instant::now(), cpu, server: (pid, cpu_s(pid)), bytes: loopback_bytes() }
    }

    fn cost(&self) -> Cost {
        let (pid, before) = self.server;
        Cost {
            seconds: self.start.elapsed().as_secs_f64(),
            cpu_s: cpu_s(std::process::id()) - self.cpu,
            server_cpu_s: cpu_s(pid) - before,
            wire_bytes: loopback_bytes().saturating_sub(self.bytes) as f64,
        }
    }
}

impl Company {
    /// Makes accounts, contacts of the first, and a group of them; with what it has cost that all came in.
    async fn found(dir: &Path, size: usize) -> anyhow::Result<(Self, Cost)> {
        let mut server = Process::start(&["serve", &dir.join("rendezvous").display().to_string()])?;
        let home = server.line().await?;
        let (tell, got) = mpsc::unbounded_channel();
        let owner = dir.join("0");
        create(&owner, "member 0", &home)?;
        let owner = Member::open(owner, 0, tell.clone()).await?;
        let (invite, _) = owner.node.invite(size as u32 + 1, 3_600_000).await?;
        let chat = ChatId([0; 16]);
        let counts = vec![0; size + 1];
        let mut this = Self { members: vec![owner], chat, server, home, invite, got, tell, counts };
        for number in 1..size {
            this.join(dir, number).await?;
        }
        let others: Vec<AccountId> = this.members[1..].iter().map(|member| member.account).collect();
        let meter = Meter::start(&this.server);
        this.chat = this.members[0].node.new_group("bench".into(), GroupKind::Group, others).await?;
        for member in &this.members[1..] {
            member.sees(this.chat, |group| group.standing == Standing::Invited).await?;
            member.node.accept_group(this.chat).await?;
        }
        this.all_see(size).await?;
        let cost = meter.cost();
        Ok((this, cost))
    }

    /// Somebody more is a contact of the first member.
    async fn join(&mut self, dir: &Path, number: usize) -> anyhow::Result<()> {
        let dir = dir.join(number.to_string());
        create(&dir, &format!("member {number}"), &self.home)?;
        let member = Member::open(dir, number, self.tell.clone()).await?;
        let Invite { address, token, .. } = self.invite.parse()?;
        member.node.connect(address.account, address.homes, token, String::new(), String::new()).await?;
        let (owner, account) = (&self.members[0].node, member.account);
        let known = until(owner, async || {
            let contacts = owner.contacts().await?;
            Ok(contacts.iter().any(|contact| contact.account == account).then_some(()))
        });
        timeout(GIVES_UP, known).await.context("no contact was made")??;
        self.members.push(member);
        Ok(())
    }

    /// Waits until all members have so many in the group.
    async fn all_see(&self, count: usize) -> anyhow::Result<()> {
        let is_so = |group: &Group| {
            let there = group.members.iter().filter(|member| member.devices > 0).count();
            group.standing == Standing::Member && there == count && group.members.len() == count
        };
        for member in &self.members[..count] {
            member.sees(self.chat, is_so).await?;
        }
        Ok(())
    }

    /// Waits until some members have got so many messages more than `before`; nanoseconds since 1970 when each could show the last.
    async fn receive(&mut self, who: &[usize], before: &[usize], more: usize) -> anyhow::Result<Vec<u64>> {
        let mut times = vec![0; who.len()];
        let is_missing = |counts: &[usize]| who.iter().any(|n| counts[*n] < before[*n] + more);
        while is_missing(&self.counts) {
            let got = timeout(GIVES_UP, self.got.recv()).await.context("messages do not come")?;
            let (number, count, at) = got.context("nobody counts")?;
            self.counts[number] = count;
            if let Some(place) = who.iter().position(|n| *n == number) {
                times[place] = at;
            }
        }
        Ok(times)
    }

    /// Messages of the first member, each when all others have got the one before: milliseconds until each of them could show it.
    async fn one_at_a_time(&mut self, count: usize, size: usize) -> anyhow::Result<(Percentiles, Cost)> {
        let others: Vec<usize> = (1..self.members.len()).collect();
        let mut delays = Vec::new();
        let meter = Meter::start(&self.server);
        for n in 0..count {
            let (before, start) = (self.counts.clone(), now_ns());
            self.members[0].node.send(self.chat, vec![text(size, n)]).await?;
            let times = self.receive(&others, &before, 1).await?;
            delays.extend(times.into_iter().map(|at| at.saturating_sub(start) as f64 / 1e6));
        }
        Ok((Percentiles::of(delays), meter.cost()))
    }

    /// Messages of the first member, as fast as they go, until `who` have got them all.
    async fn burst(&mut self, who: &[usize], count: usize, size: usize) -> anyhow::Result<Cost> {
        let before = self.counts.clone();
        let meter = Meter::start(&self.server);
        self.send_all(count, size).await?;
        self.receive(who, &before, count).await?;
        Ok(meter.cost())
    }

    async fn send_all(&self, count: usize, size: usize) -> anyhow::Result<()> {
        let node = &self.members[0].node;
        for from in (0..count).step_by(AT_ONCE) {
            let sending = (from..count.min(from + AT_ONCE)).map(|n| node.send(self.chat, vec![text(size, n)]));
            futures::future::try_join_all(sending).await?;
        }
        Ok(())
    }

    /// One more comes in.
    async fn add(&mut self, dir: &Path) -> anyhow::Result<Cost> {
        let number = self.members.len();
        self.join(dir, number).await?;
        let (owner, new) = (&self.members[0], &self.members[number]);
        let meter = Meter::start(&self.server);
        owner.node.invite_into(self.chat, vec![new.account]).await?;
        new.sees(self.chat, |group| group.standing == Standing::Invited).await?;
        new.node.accept_group(self.chat).await?;
        self.all_see(number + 1).await?;
        Ok(meter.cost())
    }

    /// The last one is removed.
    async fn remove(&mut self) -> anyhow::Result<Cost> {
        let gone = self.members.pop().context("nobody is there")?;
        let meter = Meter::start(&self.server);
        self.members[0].node.remove_from(self.chat, gone.account).await?;
        self.all_see(self.members.len()).await?;
        let cost = meter.cost();
        gone.stop().await;
        Ok(cost)
    }

    /// The last member is away while the first one writes, and comes back.
    async fn catch_up(&mut self, count: usize, size: usize) -> anyhow::Result<Cost> {
        let last = self.members.len() - 1;
        let away = self.members.pop().context("nobody is there")?;
        let (dir, account) = (away.dir.clone(), away.account);
        away.stop().await;
        let there: Vec<usize> = (1..last).collect();
        self.burst(&there, count, size).await?;
        self.counts[last] = 0;
        let meter = Meter::start(&self.server);
        let back = Member::open(dir, last, self.tell.clone()).await?;
        ensure!(back.account == account, "somebody else came back");
        self.members.push(back);
        let none = vec![0; self.counts.len()];
        self.receive(&[last], &none, count).await?;
        Ok(meter.cost())
    }

    async fn end(self) -> anyhow::Result<()> {
        let Self { members, mut server, .. } = self;
        for member in members {
            member.stop().await;
        }
        server.say("").await
    }
}

/// What is measured of one size.
async fn measure(members: usize, single: usize, burst: usize, size: usize) -> anyhow::Result<Value> {
    let dir = tempfile::Builder::new().prefix("starling-bench-").tempdir()?;
    let (mut company, founded) = Company::found(dir.path(), members).await?;
    let others: Vec<usize> = (1..members).collect();
    let (delays, one) = company.one_at_a_time(single, size).await?;
    let many = company.burst(&others, burst, size).await?;
    let added = company.add(dir.path()).await?;
    let removed = company.remove().await?;
    // In a group of two nobody else would be there.
    let caught_up = company.catch_up(burst, size).await?;
    let rss = rss_kib(std::process::id());
    company.end().await?;
    // Each member takes part in each message: its author, too.
    let each = |cost: &Cost, count: usize| cost.cpu_s * 1e6 / (count * members) as f64;
    let times_payload = |cost: &Cost, count: usize| cost.wire_bytes / (count * size * members) as f64;
    let row = |name: &str, value: String| println!("  {name:<52} {value:>14}");
    println!("{members} members, messages of {size} bytes");
    row("all came in, seconds (each by a commit)", format!("{:.1}", founded.seconds));
    row("one at a time: all have it, ms p50", format!("{:.1}", delays.at(50.0)));
    row("                             p99", format!("{:.1}", delays.at(99.0)));
    row("                             slowest", format!("{:.1}", delays.at(100.0)));
    row("  CPU µs for each message and member", format!("{:.0}", each(&one, single)));
    row("  bytes on the wire, times payload and members", format!("{:.2}", times_payload(&one, single)));
    row("burst: messages/s until all have them", format!("{:.0}", burst as f64 / many.seconds));
    row("  CPU µs for each message and member", format!("{:.0}", each(&many, burst)));
    row("  CPU µs of the server for each message", format!("{:.0}", many.server_cpu_s * 1e6 / burst as f64));
    row("  bytes on the wire, times payload and members", format!("{:.2}", times_payload(&many, burst)));
    row("one more: until all see it, ms", format!("{:.0}", added.seconds * 1e3));
    row("  KB on the wire", format!("{:.0}", added.wire_bytes / 1e3));
    row("one less: until all see it, ms", format!("{:.0}", removed.seconds * 1e3));
    row("  KB on the wire", format!("{:.0}", removed.wire_bytes / 1e3));
    row("catching up: messages/s, with the start", format!("{:.0}", burst as f64 / caught_up.seconds));
    row("memory of all nodes, MB", format!("{:.0}", rss as f64 / 1e3));
    Ok(json!({
        "members": members,
        "founded_s": founded.seconds,
        "single_ms": { "p50": delays.at(50.0), "p99": delays.at(99.0), "max": delays.at(100.0) },
        "single_cpu_us": each(&one, single), "single_times_payload": times_payload(&one, single),
        "burst_per_second": burst as f64 / many.seconds, "burst_cpu_us": each(&many, burst),
        "burst_server_cpu_us": many.server_cpu_s * 1e6 / burst as f64,
        "burst_times_payload": times_payload(&many, burst),
        "added_ms": added.seconds * 1e3, "added_bytes": added.wire_bytes,
        "removed_ms": removed.seconds * 1e3, "removed_bytes": removed.wire_bytes,
        "catch_up_per_second": burst as f64 / caught_up.seconds, "rss_kib": rss,
    }))
}

pub async fn run(members: &[usize], single: usize, burst: usize, size: usize) -> anyhow::Result<()> {
    ensure!(members.iter().all(|members| *members >= 2), "a group has two members at least");
    let mut sizes = Vec::new();
    for members in members {
        sizes.push(measure(*members, single, burst, size).await?);
    }
    println!("{}", json!({ "bench": "group", "single": single, "burst": burst, "size": size, "sizes": sizes }));
    Ok(())
}
