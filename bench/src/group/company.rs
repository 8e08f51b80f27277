//! A group whose members are real nodes in this process, each with a store of its own, and the server with its log.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use starling_keys::{AccountId, Invite};
use starling_node::{ChatId, DurableEventKind, Group, GroupKind, Node, Standing};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinHandle},
    time::{interval, timeout},
};

use super::{
    GIVES_UP,
    cost::{Arrivals, Cost, Got, Meter, Paced},
};
use crate::{
    measure::{Percentiles, now_ns},
    pair::{create, open, text, until},
    processes::Process,
};

/// Texts that are given to a node at once in a burst.
const AT_ONCE: usize = 64;

/// A member: its node, and what counts the messages that come to it.
pub struct Member {
    pub node: Node,
    dir: PathBuf,
    account: AccountId,
    counting: JoinHandle<()>,
}

impl Member {
    async fn open(dir: PathBuf, number: usize, got: mpsc::UnboundedSender<Got>) -> anyhow::Result<Self> {
        let node = open(&dir).await?;
        // What it has missed comes as soon as it is connected.
        let from = *node.last_event().borrow();
        let counting = tokio::spawn(count(node.clone(), from, number, got));
        until(&node, async || Ok(node.status().await?.homes.iter().any(|h| h.registered).then_some(()))).await?;
        let account = node.status().await?.account;
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

/// How long a node makes others wait while it does something large: asked for its state every 10 ms.
struct Waits {
    asking: AbortHandle,
    waits: mpsc::UnboundedReceiver<Duration>,
}

impl Waits {
    fn of(node: &Node) -> Self {
        let (node, (tell, waits)) = (node.clone(), mpsc::unbounded_channel());
        let asking = tokio::spawn(async move {
            let mut ticks = interval(Duration::from_millis(10));
            loop {
                ticks.tick().await;
                let start = Instant::now();
                if node.status().await.is_err() || tell.send(start.elapsed()).is_err() {
                    return;
                }
            }
        });
        Self { asking: asking.abort_handle(), waits }
    }

    /// In milliseconds.
    fn end(mut self) -> Percentiles {
        self.asking.abort();
        let waits = std::iter::from_fn(|| self.waits.try_recv().ok());
        Percentiles::of(waits.map(|waited| waited.as_secs_f64() * 1e3).collect())
    }
}

/// The group.
pub struct Company {
    pub members: Vec<Member>,
    chat: ChatId,
    pub server: Process,
    home: String,
    invite: String,
    arrivals: Arrivals,
    tell: mpsc::UnboundedSender<Got>,
}

impl Company {
    /// Makes accounts, contacts of the first, and a group of them, who accept as soon as they are invited; with what it has cost that all came in, and
    /// how long others waited for the node of the first meanwhile, and for that of the last, which adds nobody: both share the processors with all.
    pub async fn found(dir: &Path, size: usize) -> anyhow::Result<(Self, Cost, [Percentiles; 2])> {
        let mut server = Process::start(&["serve", &dir.join("rendezvous").display().to_string()])?;
        let home = server.line().await?;
        let (tell, got) = mpsc::unbounded_channel();
        let owner = dir.join("0");
        create(&owner, "member 0", &home)?;
        let owner = Member::open(owner, 0, tell.clone()).await?;
        let (invite, _) = owner.node.invite(size as u32 + 1, 3_600_000).await?;
        let arrivals = Arrivals::new(got, size);
        let chat = ChatId([0; 16]);
        let mut this = Self { members: vec![owner], chat, server, home, invite, arrivals, tell };
        for number in 1..size {
            this.join(dir, number).await?;
        }
        let others: Vec<AccountId> = this.members[1..].iter().map(|member| member.account).collect();
        let waits = [0, size - 1].map(|number| Waits::of(&this.members[number].node));
        let meter = Meter::start(Some(&this.server));
        this.chat = this.members[0].node.new_group("bench".into(), GroupKind::Group, others).await?;
        let chat = this.chat;
        let accepting = this.members[1..].iter().map(|member| async move {
            member.sees(chat, |group| group.standing == Standing::Invited).await?;
            anyhow::Ok(member.node.accept_group(chat).await?)
        });
        futures::future::try_join_all(accepting).await?;
        this.all_see(size).await?;
        Ok((this, meter.cost(), waits.map(Waits::end)))
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
        for member in &self.members[..count] {
            member.sees(self.chat, |group| has_all(group, count)).await?;
        }
        Ok(())
    }

    /// Messages of the first member at a steady rate.
    pub async fn paced(&mut self, count: usize, size: usize, every: Duration) -> anyhow::Result<(Paced, Cost)> {
        let others: Vec<usize> = (1..self.members.len()).collect();
        self.arrivals.begin();
        let (meter, mut ticks) = (Meter::start(Some(&self.server)), interval(every));
        let mut sent = Vec::with_capacity(count);
        for n in 0..count {
            ticks.tick().await;
            sent.push(now_ns());
            self.members[0].node.send(self.chat, vec![text(size, n)]).await?;
        }
        self.arrivals.all(&others, count).await?;
        Ok((self.arrivals.paced(&others, &sent), meter.cost()))
    }

    /// Messages of so many members at once, each as fast as it goes, `together` in each call, until everybody has all of them.
    pub async fn burst(
        &mut self,
        senders: usize,
        (each, together): (usize, usize),
        size: usize,
    ) -> anyhow::Result<Cost> {
        let wanted = |number: usize| (senders - usize::from(number < senders)) * each;
        let wanted: Vec<_> = (0..self.members.len()).map(|number| (number, wanted(number))).collect();
        self.arrivals.begin();
        let (meter, start) = (Meter::start(Some(&self.server)), now_ns());
        let sending =
            self.members[..senders].iter().map(|member| send_all(&member.node, self.chat, (each, together), size));
        futures::future::try_join_all(sending).await?;
        self.arrivals.each(&wanted).await?;
        let seconds = self.arrivals.last().saturating_sub(start) as f64 / 1e9;
        Ok(Cost { seconds, ..meter.cost() })
    }

    /// One more comes in; with the time until they could read.
    pub async fn add(&mut self, dir: &Path) -> anyhow::Result<(Cost, f64)> {
        let number = self.members.len();
        self.arrivals.add_member();
        self.join(dir, number).await?;
        let (owner, new) = (&self.members[0], &self.members[number]);
        let (meter, start) = (Meter::start(Some(&self.server)), Instant::now());
        owner.node.invite_into(self.chat, vec![new.account]).await?;
        new.sees(self.chat, |group| group.standing == Standing::Invited).await?;
        new.node.accept_group(self.chat).await?;
        new.sees(self.chat, |group| group.standing == Standing::Member).await?;
        let reads_ms = start.elapsed().as_secs_f64() * 1e3;
        self.all_see(number + 1).await?;
        Ok((meter.cost(), reads_ms))
    }

    /// The last one is removed. The time is that until 99 of 100 are in the epoch without it.
    pub async fn remove(&mut self) -> anyhow::Result<Cost> {
        let gone = self.members.pop().context("nobody is there")?;
        let count = self.members.len();
        let meter = Meter::start(Some(&self.server));
        self.members[0].node.remove_from(self.chat, gone.account).await?;
        let seen = self.members.iter().map(|member| async {
            member.sees(self.chat, |group| has_all(group, count)).await.map(|()| meter.cost().seconds)
        });
        let mut seen = futures::future::try_join_all(seen).await?;
        seen.sort_by(f64::total_cmp);
        let seconds = seen[(count * 99).div_ceil(100).clamp(1, count) - 1];
        let cost = Cost { seconds, ..meter.cost() };
        gone.stop().await;
        Ok(cost)
    }

    /// The last members are away while the first one writes, `together` in each call, and come back at the same time. The seconds are those from when
    /// they are opened until all have everything.
    pub async fn catch_up(
        &mut self,
        away: usize,
        (count, together): (usize, usize),
        size: usize,
    ) -> anyhow::Result<Cost> {
        let there = self.members.len() - away;
        ensure!(there > 0, "nobody would write");
        let mut gone = Vec::new();
        for member in self.members.split_off(there) {
            gone.push((member.dir.clone(), member.account));
            member.stop().await;
        }
        self.burst(1, (count, together), size).await?;
        self.arrivals.begin();
        let wanted: Vec<_> = (there..there + away).map(|number| (number, count)).collect();
        wanted.iter().for_each(|(number, _)| self.arrivals.restart(*number));
        let (meter, start) = (Meter::start(Some(&self.server)), now_ns());
        let opening =
            gone.iter().zip(there..).map(|((dir, _), number)| Member::open(dir.clone(), number, self.tell.clone()));
        let back = futures::future::try_join_all(opening).await?;
        ensure!(back.iter().zip(&gone).all(|(back, gone)| back.account == gone.1), "somebody else came back");
        self.members.extend(back);
        self.arrivals.each(&wanted).await?;
        let seconds = self.arrivals.last().saturating_sub(start) as f64 / 1e9;
        Ok(Cost { seconds, ..meter.cost() })
    }

    pub async fn end(self) -> anyhow::Result<()> {
        let Self { members, mut server, .. } = self;
        futures::future::join_all(members.into_iter().map(Member::stop)).await;
        server.say("").await
    }
}

fn has_all(group: &Group, count: usize) -> bool {
    let there = group.members.iter().filter(|member| member.devices > 0).count();
    group.standing == Standing::Member && there == count && group.members.len() == count
}

async fn send_all(node: &Node, chat: ChatId, (count, together): (usize, usize), size: usize) -> anyhow::Result<()> {
    // One by one means that each is durable before the next; in a burst several calls are under way.
    let in_flight = if together == 1 { 1 } else { AT_ONCE };
    for from in (0..count).step_by(together * in_flight) {
        let calls = (from..count.min(from + together * in_flight)).step_by(together).map(|at| {
            let texts = (at..count.min(at + together)).map(|n| text(size, n)).collect();
            node.send(chat, texts)
        });
        futures::future::try_join_all(calls).await?;
    }
    Ok(())
}
