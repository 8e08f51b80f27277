//! Deadlines, one for each job, in their order: what is due is found without looking at what is not.

use std::collections::{BTreeMap, BTreeSet};

/// When jobs are due, in milliseconds of whatever clock its owner asks it by.
pub struct Schedule<J> {
    due: BTreeMap<J, u64>,
    order: BTreeSet<(u64, J)>,
}

impl<J> Default for Schedule<J> {
    fn default() -> Self {
        Self { due: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<J: Copy + Ord> Schedule<J> {
    /// Sets a job's deadline, in place of the one that it had; `None` takes it away.
    pub fn set(&mut self, job: J, at: Option<u64>) {
        let before = match at {
            Some(at) => self.due.insert(job, at),
            None => self.due.remove(&job),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, job));
        }
        if let Some(at) = at {
            self.order.insert((at, job));
        }
    }

    /// Whether a job has a deadline.
    pub fn contains(&self, job: &J) -> bool {
        self.due.contains_key(job)
    }

    /// A job's deadline.
    pub fn due(&self, job: &J) -> Option<u64> {
        self.due.get(job).copied()
    }

    /// The first deadline.
    pub fn next(&self) -> Option<u64> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the jobs that are due, the earliest first.
    pub fn take_due(&mut self, now: u64) -> Vec<J> {
        let mut due = Vec::new();
        while let Some((at, job)) = self.order.first().copied().filter(|(at, _)| *at <= now) {
            self.order.remove(&(at, job));
            self.due.remove(&job);
            due.push(job);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_come_in_the_order_of_their_newest_deadlines_and_once() {
        let mut schedule = Schedule::default();
        schedule.set('a', Some(30));
        schedule.set('b', Some(20));
        schedule.set('c', Some(10));
        schedule.set('a', Some(5));
        schedule.set('c', None);
        assert_eq!(schedule.next(), Some(5));
        assert!(schedule.take_due(4).is_empty());
        assert_eq!(schedule.take_due(20), ['a', 'b']);
        assert_eq!(schedule.next(), None);
        assert!(schedule.take_due(u64::MAX).is_empty());
    }
}
