//! What is stored, in all streams that count against an account, a conversation, and the server as a whole.
//!
//! Everything is counted before it is stored and discounted after it is removed. Whatever is cut short between, the count is then too high and
//! never too low, so that nobody stores more than they may by breaking off requests; the sweep corrects it.
//!
//! An account's logs share its space as the queues of a switch share a buffer: a conversation may have half as much as is left free ("Dynamic queue length
//! thresholds", Choudhury and Hahne 1998). However many of those who hold a log's key fill it, there is always room for the other conversations.
//! In the same way its writers share a conversation's logs: each may have as much as is left free, messages and commits apart, and all who are not of the
//! account that owns the logs leave it a quarter. So whoever writes without end keeps nobody else from writing.

use std::sync::Arc;

use starling_wire::limits::{MAX_KEY_PACKAGE, MAX_KEY_PACKAGES};

use crate::{
    clock::now_ms,
    limits::{
        CANDIDATE_OVERDRAFT, CANDIDATES_PER_AUTHOR, CANDIDATES_PER_LOG, CONVERSATION_FLOOR, FULL_AGE_DAYS,
        INBOXES_PER_ACCOUNT, KEY_PACKAGE_DEVICES, NEW_ACCOUNT_SHARE, PARTS_PER_AUTHOR, PARTS_PER_LOG, RECEIPT_BYTES,
        RECEIPTS_OVERDRAFT, YOUNG_PART,
    },
    services::Services,
    store::{
        Account, Appended, Batch, Bounds, Budget, CandidateBounds, Collection, Head, Key, Removed, Share, StoreError,
        StreamId, load,
    },
};

/// What bounds an append.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// The stream.
    pub stream: Bounds,
    /// What counts beyond it.
    pub limit: Limit,
    /// It counts as a young account's.
    pub is_young: bool,
}

impl Allowance {
    /// What commits take of a log is none of the room for messages in it.
    pub fn beside_commits(mut self, head: &Head) -> Self {
        let (entries, bytes) = head.of_authors();
        self.stream.entries = self.stream.entries.saturating_add(entries);
        self.stream.bytes = self.stream.bytes.saturating_add(bytes);
        self
    }

    /// A receipt may go a little over all bounds.
    pub fn for_receipt(mut self) -> Self {
        let (entries, bytes) = (RECEIPTS_OVERDRAFT, RECEIPTS_OVERDRAFT * RECEIPT_BYTES);
        self.stream.entries = self.stream.entries.saturating_add(entries);
        self.stream.bytes = self.stream.bytes.saturating_add(bytes);
        self.stream.share.entries = self.stream.share.entries.saturating_add(entries);
        self.stream.share.bytes = self.stream.share.bytes.saturating_add(bytes);
        self.limit = self.limit.beyond(bytes);
        self
    }
}

/// How long an account is registered, in days. Its quotas grow with that.
#[derive(Clone, Copy, Debug)]
pub struct Age(u64);

impl Age {
    /// That of an account which has registered on a day since 1970, today.
    pub fn since(day: u64) -> Self {
        Self((now_ms() / 86_400_000).saturating_sub(day))
    }

    /// Whether it has not all of its quotas yet.
    pub fn is_young(self) -> bool {
        self.0 < FULL_AGE_DAYS
    }

    /// Its part of what an old account has.
    fn part_of(self, most: u64) -> u64 {
        let first = most / NEW_ACCOUNT_SHARE;
        first + (most - first) / FULL_AGE_DAYS * self.0.min(FULL_AGE_DAYS)
    }
}

/// What bounds the streams of an account together.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// Its logs, and those of a conversation.
    Logs {
        /// Most of all logs of the account.
        account: u64,
        /// Most of all logs of the conversation.
        conversation: u64,
        /// So much may go beyond the latter.
        overdraft: u64,
        /// Who appends belongs to the account.
        is_owner: bool,
    },
    /// Its inboxes.
    Inboxes(u64),
    /// Its key packages.
    KeyPackages(u64),
}

impl Limit {
    /// Of logs, so much more.
    pub fn beyond(self, more: u64) -> Self {
        match self {
            Self::Logs { account, conversation, overdraft, is_owner } => {
                Self::Logs { account, conversation, overdraft: overdraft.saturating_add(more), is_owner }
            }
            other => other,
        }
    }

    /// Of logs, for a writer of the account that owns them, or another.
    pub fn of_writer(self, is_owner: bool) -> Self {
        match self {
            Self::Logs { account, conversation, overdraft, .. } => {
                Self::Logs { account, conversation, overdraft, is_owner }
            }
            other => other,
        }
    }

    /// Whether sums are within it. `all` is what the budgets have, the new entries included.
    fn allows(&self, sum: impl Fn(fn(&Budget) -> bool) -> u64) -> bool {
        match self {
            Self::Logs { account, conversation, overdraft, is_owner } => {
                let of_account = sum(|budget| matches!(budget, Budget::Logs(_)));
                let of_messages = sum(|budget| matches!(budget, Budget::Conversation(_)));
                let of_commits = sum(|budget| matches!(budget, Budget::Commits(_)));
                let of_writer = sum(|budget| matches!(budget, Budget::Writer(_)));
                let free = account.saturating_sub(of_account);
                let floor = CONVERSATION_FLOOR.min(account / 64);
                let most = (free / 2).max(floor).min(*conversation);
                // A batch is of one or the other.
                let (used, most) = if of_commits > 0 { (of_commits, most / 2) } else { (of_messages, most) };
                // Who owns the logs deletes what is not needed, and changes its group by commits that may be large.
                let own = match *is_owner && of_commits > 0 {
                    true => most,
                    false => part_of_writers(most, *is_owner).saturating_sub(used),
                };
                // What goes beyond what is free, by overdrafts and floors, never takes the last quarter, which is for small conversations.
                let quarters = if used <= floor { 6 } else { 5 };
                used <= most.saturating_add(*overdraft)
                    && of_writer <= own.saturating_add(*overdraft)
                    && of_account <= account / 4 * quarters
            }
            Self::Inboxes(most) => sum(|budget| matches!(budget, Budget::Inboxes(_))) <= *most,
            Self::KeyPackages(most) => sum(|budget| matches!(budget, Budget::KeyPackages(_))) <= *most,
        }
    }
}

/// What all writers have together who are, like one of them, of the account that owns a log, or not.
fn part_of_writers(all: u64, is_owner: bool) -> u64 {
    if is_owner { all } else { (u128::from(all) * 3 / 4) as u64 }
}

/// What a writer may have of the messages of a log: as much as is left free, or one if there is room for one.
pub fn messages_share(log: &Bounds, head: &Head, batch: &Batch, is_owner: bool) -> Share {
    let (count, bytes) = head.messages();
    let left = part_of_writers(log.entries, is_owner).checked_sub(count + batch.entries.len() as u64);
    let entries = left.map_or(0, |left| left.max(1));
    let bytes = part_of_writers(log.bytes, is_owner).saturating_sub(bytes + batch.bytes());
    Share { entries, bytes, is_ring: false }
}

impl Services {
    /// What an account may append to its logs. It grows with the account's age.
    pub async fn log_allowance(&self, owner: Option<Key>) -> Result<Allowance, StoreError> {
        let limits = &self.policy().limits;
        let age = match owner {
            Some(owner) => self.age(owner).await?,
            None => Age(0),
        };
        let account = age.part_of(limits.account_bytes);
        let candidates = CandidateBounds {
            each: CANDIDATES_PER_AUTHOR,
            each_bytes: CANDIDATE_OVERDRAFT,
            others: CANDIDATES_PER_LOG,
            parts_each: PARTS_PER_AUTHOR,
            parts_of_others: PARTS_PER_LOG,
        };
        let stream = self.bounds(limits.log_entries, limits.log_bytes, candidates);
        let conversation = limits.conversation_bytes;
        let limit = Limit::Logs { account, conversation, overdraft: 0, is_owner: false };
        Ok(Allowance { stream, limit, is_young: owner.is_some() && age.is_young() })
    }

    /// What may be in an inbox of an account, of which nobody has a share yet. It grows with the account's age.
    pub async fn inbox_allowance(&self, owner: Key) -> Result<Allowance, StoreError> {
        let limits = &self.policy().limits;
        let age = self.age(owner).await?;
        let account = age.part_of(limits.inbox_bytes.saturating_mul(INBOXES_PER_ACCOUNT));
        let (entries, bytes) = (limits.inbox_entries, limits.inbox_bytes.min(account / 2));
        let stream = self.bounds(entries, bytes, CandidateBounds::default());
        Ok(Allowance { stream, limit: Limit::Inboxes(account), is_young: age.is_young() })
    }

    /// What an account may have of key packages. It grows with the account's age.
    pub async fn key_package_allowance(&self, owner: Key) -> Result<Allowance, StoreError> {
        let age = self.age(owner).await?;
        let (entries, bytes) = (MAX_KEY_PACKAGES as u64, (MAX_KEY_PACKAGES * MAX_KEY_PACKAGE) as u64);
        let stream = self.bounds(entries, bytes, CandidateBounds::default());
        let of_device = Head { count: entries, bytes, ..Head::default() }.cost();
        let (first, most) = KEY_PACKAGE_DEVICES;
        let limit = Limit::KeyPackages(age.part_of(most * of_device).max(first * of_device));
        Ok(Allowance { stream, limit, is_young: age.is_young() })
    }

    /// What one stream may have, kept as long as anything is, of which nobody has a share yet.
    fn bounds(&self, entries: u64, bytes: u64, candidates: CandidateBounds) -> Bounds {
        Bounds { entries, bytes, expires_at: self.expiry(), share: Share::WHOLE, candidates }
    }

    /// How long an account is registered; very long, if it was before that was noted.
    async fn age(&self, account: Key) -> Result<Age, StoreError> {
        let (record, _) = load::<Account>(&*self.store.records, Collection::Accounts, account).await?;
        Ok(record.map_or(Age(0), |record| Age::since(record.since_day)))
    }

    /// Creates a log of `owner`, in the conversation that begins with `root`, if that is another.
    pub async fn open_log(
        self: &Arc<Self>,
        address: Key,
        owner: Key,
        root: Option<Key>,
        allowance: Allowance,
    ) -> Result<(), StoreError> {
        let id = StreamId::log(address);
        if self.store.streams.head(id).await?.is_some() {
            return Ok(());
        }
        let (services, cost) = (self.clone(), Head::default().cost());
        let budgets = Budget::of_stream(id.kind, root.unwrap_or(address), Some(owner), cost, &[]);
        let budgets = with_young(budgets, cost, allowance.is_young);
        completed(async move {
            services.charge(&budgets, &allowance).await?;
            match services.store.streams.open(id, owner, root, allowance.stream.expires_at).await {
                Ok(true) => Ok(()),
                done => {
                    services.take(&budgets).await?;
                    done.map(|_| ())
                }
            }
        })
        .await
    }

    /// Appends to a stream whose head was just read; without one, it is created for `owner`. Gives the stream as it is then.
    pub async fn append(
        self: &Arc<Self>,
        id: StreamId,
        head: Option<&Head>,
        owner: Option<Key>,
        batch: Batch,
        allowance: Allowance,
    ) -> Result<Head, StoreError> {
        let cost = batch.cost() + if head.is_none() { Head::default().cost() } else { 0 };
        let root = head.map_or(id.address, |head| head.root(&id));
        let writers = batch.writers(head);
        let budgets = Budget::of_stream(id.kind, root, head.map_or(owner, Head::owner), cost, &writers);
        let budgets = with_young(budgets, cost, allowance.is_young);
        let owner = owner.filter(|_| head.is_none());
        let services = self.clone();
        completed(async move {
            services.charge(&budgets, &allowance).await?;
            match services.store.streams.append(id, owner, batch, allowance.stream).await {
                Ok(Appended { head, displaced }) => {
                    services.discount(displaced).await?;
                    Ok(head)
                }
                Err(error) => {
                    services.take(&budgets).await?;
                    Err(error)
                }
            }
        })
        .await
    }

    /// Counts what is about to be stored, if there is room for it.
    async fn charge(&self, budgets: &[(Budget, u64)], allowance: &Allowance) -> Result<(), StoreError> {
        let sums = self.add(budgets).await?;
        let sum = |which: fn(&Budget) -> bool| {
            let found = budgets.iter().zip(&sums).find(|((budget, _), _)| which(budget));
            found.map_or(0, |(_, sum)| *sum)
        };
        let fits = allowance.limit.allows(sum) && self.has_room_for_young(sum(|budget| *budget == Budget::Young));
        if fits && self.space.has_room(sum(|budget| *budget == Budget::All)) {
            return Ok(());
        }
        self.take(budgets).await?;
        Err(StoreError::Full)
    }

    /// Whether young accounts may have so much together.
    fn has_room_for_young(&self, young: u64) -> bool {
        young <= self.policy().limits.store_bytes / YOUNG_PART
    }

    /// Adds to budgets; gives the new sums.
    async fn add(&self, budgets: &[(Budget, u64)]) -> Result<Vec<u64>, StoreError> {
        let mut sums = Vec::with_capacity(budgets.len());
        for (budget, cost) in budgets {
            sums.push(self.store.counters.add(*budget, signed(*cost)).await?);
        }
        Ok(sums)
    }

    /// Takes from budgets what was added.
    async fn take(&self, budgets: &[(Budget, u64)]) -> Result<(), StoreError> {
        for (budget, cost) in budgets {
            self.store.counters.add(*budget, -signed(*cost)).await?;
        }
        Ok(())
    }

    /// Counts a record of an account, if it has room for it.
    pub async fn charge_record(&self, account: Key, cost: u64, most: u64) -> Result<(), StoreError> {
        let budgets = self.budgets_of_records(account, cost).await?;
        let sums = self.add(&budgets).await?;
        let young = sums.get(2).copied().unwrap_or(0);
        if sums[1] <= most && self.has_room_for_young(young) && self.space.has_room(sums[0]) {
            return Ok(());
        }
        self.take(&budgets).await?;
        Err(StoreError::Full)
    }

    /// Discounts records of an account that are gone.
    pub async fn discount_record(&self, account: Key, cost: u64) -> Result<(), StoreError> {
        self.take(&self.budgets_of_records(account, cost).await?).await
    }

    /// What records of an account count against: everything, the account, and young accounts together if it is one.
    async fn budgets_of_records(&self, account: Key, cost: u64) -> Result<Vec<(Budget, u64)>, StoreError> {
        let is_young = self.age(account).await?.is_young();
        Ok(with_young(vec![(Budget::All, cost), (Budget::Records(account), cost)], cost, is_young))
    }

    /// Discounts what was removed.
    pub async fn discount(&self, removed: Removed) -> Result<(), StoreError> {
        if let (Some((kind, root)), cost @ 1..) = (removed.of, removed.cost()) {
            let is_young = match removed.owner {
                Some(owner) => self.age(owner).await?.is_young(),
                None => false,
            };
            let budgets = Budget::of_stream(kind, root, removed.owner, cost, &removed.writers);
            self.take(&with_young(budgets, cost, is_young)).await?;
        }
        Ok(())
    }
}

/// What counts against some budgets counts against that of young accounts, too, if it is a young one's.
fn with_young(mut budgets: Vec<(Budget, u64)>, cost: u64, is_young: bool) -> Vec<(Budget, u64)> {
    budgets.extend(is_young.then_some((Budget::Young, cost)));
    budgets
}

/// Runs a step to its end also if who waits for it is gone, such as a session that a newer one replaces: what it has counted and cannot store is
/// discounted again.
pub async fn completed<T: Send + 'static, E: From<StoreError> + Send + 'static>(
    step: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E> {
    tokio::spawn(step).await.unwrap_or_else(|error| Err(StoreError::Failed(error.to_string()).into()))
}

fn signed(cost: u64) -> i64 {
    i64::try_from(cost).unwrap_or(i64::MAX)
}
