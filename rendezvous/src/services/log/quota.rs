//! What is stored, in all streams that count against an account, a conversation, and the server as a whole.
//!
//! Everything is counted before it is stored and discounted after it is removed. Whatever is cut short between, the count is then too high and
//! never too low, so that nobody stores more than they may by breaking off requests; the sweep corrects it.
//!
//! An account's logs share its space as the queues of a switch share a buffer: a conversation may have half as much as is left free ("Dynamic queue length
//! thresholds", Choudhury and Hahne 1998). However many of those who hold a log's key fill it, there is always room for the other conversations.

use crate::{
    clock::now_ms,
    limits::{CANDIDATES_PER_LOG, CONVERSATION_FLOOR, FULL_AGE_DAYS, INBOXES_PER_ACCOUNT, NEW_ACCOUNT_SHARE},
    services::Services,
    store::{
        Account, Appended, Batch, Bounds, Budget, Collection, Head, Key, Removed, Share, StoreError, StreamId, load,
    },
};

/// What bounds an append.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// The stream.
    pub stream: Bounds,
    /// What counts beyond it.
    pub limit: Limit,
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
    },
    /// Its inboxes.
    Inboxes(u64),
    /// Its key packages, whose number is limited already.
    KeyPackages,
}

impl Limit {
    /// Of logs, so much more.
    pub fn beyond(self, more: u64) -> Self {
        match self {
            Self::Logs { account, conversation, overdraft } => {
                Self::Logs { account, conversation, overdraft: overdraft.saturating_add(more) }
            }
            other => other,
        }
    }

    /// Whether sums are within it. `all` is what the budgets have, the new entries included.
    fn allows(&self, sum: impl Fn(fn(&Budget) -> bool) -> u64) -> bool {
        match self {
            Self::Logs { account, conversation, overdraft } => {
                let of_account = sum(|budget| matches!(budget, Budget::Logs(_)));
                let of_conversation = sum(|budget| matches!(budget, Budget::Conversation(_)));
                let free = account.saturating_sub(of_account);
                let floor = CONVERSATION_FLOOR.min(account / 64);
                let most = (free / 2).max(floor).min(*conversation);
                // What goes beyond what is free, by overdrafts and floors, never takes the last quarter, which is for small conversations.
                let quarters = if of_conversation <= floor { 6 } else { 5 };
                of_conversation <= most.saturating_add(*overdraft) && of_account <= account / 4 * quarters
            }
            Self::Inboxes(most) => sum(|budget| matches!(budget, Budget::Inboxes(_))) <= *most,
            Self::KeyPackages => true,
        }
    }
}

impl Services {
    /// What an account may append to its logs. It grows with the account's age.
    pub async fn log_allowance(&self, owner: Option<Key>) -> Result<Allowance, StoreError> {
        let limits = &self.policy().limits;
        let days = match owner {
            Some(owner) => self.age_days(owner).await?,
            None => 0,
        };
        let first = limits.account_bytes / NEW_ACCOUNT_SHARE;
        let grown = (limits.account_bytes - first) / FULL_AGE_DAYS * days.min(FULL_AGE_DAYS);
        let stream = Bounds {
            entries: limits.log_entries,
            bytes: limits.log_bytes,
            expires_at: self.expiry(),
            share: Share::WHOLE,
            candidates: CANDIDATES_PER_LOG,
        };
        let limit = Limit::Logs { account: first + grown, conversation: limits.conversation_bytes, overdraft: 0 };
        Ok(Allowance { stream, limit })
    }

    /// What may be in an inbox.
    pub fn inbox_allowance(&self, share: Share) -> Allowance {
        let limits = &self.policy().limits;
        let (entries, bytes) = (limits.inbox_entries, limits.inbox_bytes);
        let stream = Bounds { entries, bytes, expires_at: self.expiry(), share, candidates: 0 };
        Allowance { stream, limit: Limit::Inboxes(limits.inbox_bytes.saturating_mul(INBOXES_PER_ACCOUNT)) }
    }

    /// How many days an account is registered; many, if it was before that was noted.
    async fn age_days(&self, account: Key) -> Result<u64, StoreError> {
        let (record, _) = load::<Account>(&*self.store.records, Collection::Accounts, account).await?;
        let since = record.map_or(u64::MAX, |record| record.since_day);
        Ok((now_ms() / 86_400_000).saturating_sub(since))
    }

    /// Creates a log of `owner`, in the conversation that begins with `root`, if that is another.
    pub async fn open_log(
        &self,
        address: Key,
        owner: Key,
        root: Option<Key>,
        allowance: Allowance,
    ) -> Result<(), StoreError> {
        let id = StreamId::log(address);
        if self.store.streams.head(id).await?.is_some() {
            return Ok(());
        }
        let head = Head::default();
        let budgets: Vec<Budget> = Budget::of_stream(id.kind, root.unwrap_or(address), Some(owner)).collect();
        self.charge(&budgets, head.cost(), &allowance).await?;
        match self.store.streams.open(id, owner, root, allowance.stream.expires_at).await {
            Ok(true) => Ok(()),
            done => {
                self.add(&budgets, -signed(head.cost())).await?;
                done.map(|_| ())
            }
        }
    }

    /// Appends to a stream whose head was just read; without one, it is created for `owner`. Gives the stream as it is then.
    pub async fn append(
        &self,
        id: StreamId,
        head: Option<&Head>,
        owner: Option<Key>,
        batch: Batch,
        allowance: Allowance,
    ) -> Result<Head, StoreError> {
        let cost = batch.cost() + if head.is_none() { Head::default().cost() } else { 0 };
        let budgets = budgets_of(&id, head, owner);
        self.charge(&budgets, cost, &allowance).await?;
        let owner = owner.filter(|_| head.is_none());
        let done = self.store.streams.append(id, owner, batch, allowance.stream).await;
        match done {
            Ok(Appended { head, displaced }) => {
                self.discount(displaced).await?;
                Ok(head)
            }
            Err(error) => {
                self.add(&budgets, -signed(cost)).await?;
                Err(error)
            }
        }
    }

    /// Counts what is about to be stored, if there is room for it.
    async fn charge(&self, budgets: &[Budget], cost: u64, allowance: &Allowance) -> Result<(), StoreError> {
        let sums = self.add(budgets, signed(cost)).await?;
        let sum = |which: fn(&Budget) -> bool| {
            let found = budgets.iter().zip(&sums).find(|(budget, _)| which(budget));
            found.map_or(0, |(_, sum)| *sum)
        };
        if allowance.limit.allows(sum) && self.space.has_room(sum(|budget| *budget == Budget::All)) {
            return Ok(());
        }
        self.add(budgets, -signed(cost)).await?;
        Err(StoreError::Full)
    }

    /// Adds to budgets; gives the new sums.
    async fn add(&self, budgets: &[Budget], delta: i64) -> Result<Vec<u64>, StoreError> {
        let mut sums = Vec::with_capacity(budgets.len());
        for budget in budgets {
            sums.push(self.store.counters.add(*budget, delta).await?);
        }
        Ok(sums)
    }

    /// Counts a record of an account, if it has room for it.
    pub async fn charge_record(&self, account: Key, cost: u64, most: u64) -> Result<(), StoreError> {
        let budgets = [Budget::All, Budget::Records(account)];
        let sums = self.add(&budgets, signed(cost)).await?;
        if sums[1] <= most && self.space.has_room(sums[0]) {
            return Ok(());
        }
        self.add(&budgets, -signed(cost)).await?;
        Err(StoreError::Full)
    }

    /// Discounts records of an account that are gone.
    pub async fn discount_record(&self, account: Key, cost: u64) -> Result<(), StoreError> {
        self.add(&[Budget::All, Budget::Records(account)], -signed(cost)).await.map(|_| ())
    }

    /// Discounts what was removed.
    pub async fn discount(&self, removed: Removed) -> Result<(), StoreError> {
        if let (Some((kind, root)), cost @ 1..) = (removed.of, removed.cost()) {
            let budgets: Vec<Budget> = Budget::of_stream(kind, root, removed.owner).collect();
            self.add(&budgets, -signed(cost)).await?;
        }
        Ok(())
    }
}

fn budgets_of(id: &StreamId, head: Option<&Head>, owner: Option<Key>) -> Vec<Budget> {
    let root = head.map_or(id.address, |head| head.root(id));
    Budget::of_stream(id.kind, root, head.map_or(owner, Head::owner)).collect()
}

fn signed(cost: u64) -> i64 {
    i64::try_from(cost).unwrap_or(i64::MAX)
}
