//! Two chains of one account that contradict each other, and which of them counts.
//!
//! Two homes cannot compare and swap together, so two admins can each write an entry on one head. Everybody who learns of both comes to the
//! same result: what the root has signed counts first; then removals (of two where only one removes the other's signer, that one; all of
//! those that strike each other); then the lower hash. What was held for long is not questioned any more, except by the root; and whom a chain
//! has removed for some minutes strikes nobody with a removal that comes late: its key may be in other hands, and a home may have forgotten.

use super::{Age, ChainError, DeviceChain, DeviceId, Entry, Head, Link, Op, SignWith, Signer};

/// Removals at one place: each of 16 devices by some of the others is more than ever happens.
pub(super) const MAX_REMOVALS: usize = 64;

/// How another chain stands to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// It is the same.
    Same,
    /// It has entries more.
    Extends,
    /// It lacks entries.
    Behind,
    /// They contradict each other from this place on.
    Rival(u32),
}

/// Two chains that contradict each other, where the known one is too old to be questioned: somebody misuses a key, or a server has hidden
/// one of them for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the account's device chain has two ends from entry {at} on")]
pub struct Fork {
    /// The first entry that differs.
    pub at: u32,
}

/// A device that was removed some time ago has removed another, on a head before its own removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LateRemoval {
    /// The device that was removed: whoever has its key has signed this.
    pub by: DeviceId,
    /// The device that it has tried to remove.
    pub device: DeviceId,
}

impl DeviceChain {
    /// How `other`, of the same account, stands to this. A list of version 0.1 stands before every chain.
    pub fn relation(&self, other: &Self) -> Relation {
        let common = self.common(other) as usize;
        match (common == self.heads.len(), common == other.heads.len()) {
            (true, true) => Relation::Same,
            (true, false) => Relation::Extends,
            (false, true) => Relation::Behind,
            (false, false) => Relation::Rival(common as u32),
        }
    }

    /// The chain that counts when this and `other`, of the same account, are known. `age` is that of this one.
    ///
    /// # Errors
    /// [`Fork`] if `other` contradicts what is settled.
    pub fn reconcile(&self, other: &Self, age: Age) -> Result<Self, Fork> {
        Ok(self.winner(other, age)?.with_keys_of(self).with_keys_of(other))
    }

    fn winner(&self, other: &Self, age: Age) -> Result<Self, Fork> {
        let at = match self.relation(other) {
            Relation::Same | Relation::Behind => return Ok(self.clone()),
            Relation::Extends => return Ok(other.clone()),
            Relation::Rival(at) => at,
        };
        let (ours, theirs) = (self.newest_of_root(at), other.newest_of_root(at));
        if ours != theirs {
            return Ok(if ours > theirs { self.clone() } else { other.clone() });
        }
        if at < age.settled {
            return Err(Fork { at });
        }
        let all = self.winner_of(other, at, &other.removals_after(at), true)?;
        let late = self.signed_late(other, at, age);
        if late.is_empty() {
            return Ok(all);
        }
        let in_time: Vec<&Entry> = other.removals_after(at).into_iter().filter(|e| !late.contains(e)).collect();
        let without = self.winner_of(other, at, &in_time, false).unwrap_or_else(|_| self.clone());
        // Removals that come too late do no harm where they strike nobody: then all keep to the same chain.
        let alike = all.state.devices() == without.state.devices();
        Ok(if alike && late.iter().all(|e| e.removal().is_some()) { all } else { without })
    }

    /// How many entries of `next`, which has taken the place of this chain, were held here: the common ones, and removals that others were added to.
    pub fn kept_in(&self, next: &Self) -> u32 {
        let common = self.common(next);
        let mine = self.links.get(common as usize).map(Link::entries);
        let grown = match next.links.get(common as usize) {
            Some(Link::Removals(all)) => mine.is_some_and(|mine| mine.iter().all(|e| all.contains(e))),
            _ => false,
        };
        common + u32::from(grown)
    }

    /// The removals in `other` that come too late: a device that this chain has removed some time ago has signed them.
    pub fn late_removals(&self, other: &Self, age: Age) -> Vec<LateRemoval> {
        let Relation::Rival(at) = self.relation(other) else { return Vec::new() };
        let late = self.signed_late(other, at, age).into_iter().filter_map(Entry::removal);
        late.map(|(by, device)| LateRemoval { by, device }).collect()
    }

    /// The removals in `other` that are not here, and whose signers this chain has removed, however short a time ago. Whether they count is another
    /// matter: two may have removed each other.
    pub fn removals_by_removed(&self, other: &Self) -> Vec<LateRemoval> {
        let Relation::Rival(at) = self.relation(other) else { return Vec::new() };
        let removals = self.signed_by_removed(other, at, &self.state).into_iter().filter_map(Entry::removal);
        removals.map(|(by, device)| LateRemoval { by, device }).collect()
    }

    /// The devices that this chain has removed and that have linked others in `other`, by entries that are not here.
    pub fn links_by_removed(&self, other: &Self) -> Vec<DeviceId> {
        let Relation::Rival(at) = self.relation(other) else { return Vec::new() };
        let entries = self.signed_by_removed(other, at, &self.state).into_iter();
        let mut by: Vec<DeviceId> = entries
            .filter_map(|entry| match (&entry.op, entry.signer) {
                (Op::Add { .. }, Signer::Device(by)) => Some(by),
                _ => None,
            })
            .collect();
        by.sort();
        by.dedup();
        by
    }

    /// The entries of `other` from `at` on that are not here, and whose signers this chain, as far as it was held for some time, has removed.
    fn signed_late<'a>(&self, other: &'a Self, at: u32, age: Age) -> Vec<&'a Entry> {
        let firm = Self::fold(&self.links[..(age.firm as usize).clamp(at as usize, self.links.len())]);
        self.signed_by_removed(other, at, &firm)
    }

    fn signed_by_removed<'a>(&self, other: &'a Self, at: u32, removed: &super::State) -> Vec<&'a Entry> {
        let is_known = |entry: &Entry| self.links[at as usize..].iter().flat_map(Link::entries).any(|e| e == entry);
        let counts = |e: &&Entry| matches!(e.signer, Signer::Device(by) if removed.has_removed(&by)) && !is_known(e);
        other.links[at as usize..].iter().flat_map(Link::entries).filter(counts).collect()
    }

    /// Which of two chains counts that contradict each other from `at` on, if these are the removals of the other one that count. It is not the
    /// other one as it is, unless that is taken `whole`.
    fn winner_of(&self, other: &Self, at: u32, theirs: &[&Entry], whole: bool) -> Result<Self, Fork> {
        let ours = self.removals_after(at);
        let covers = |a: &[&Entry], b: &[&Entry]| b.iter().all(|b| a.iter().any(|a| a.removal() == b.removal()));
        let (more, less) = (covers(&ours, theirs), covers(theirs, &ours));
        let place = at as usize;
        match (more, less) {
            (true, false) => Ok(self.clone()),
            (false, true) if whole => Ok(other.clone()),
            (true, true) if !whole || self.precedes(other, place) => Ok(self.clone()),
            (true, true) => Ok(other.clone()),
            // Cannot fail: every entry was checked against the state at this place.
            (false, _) => self.unite(other, at, ours, theirs).map_err(|_| Fork { at }),
        }
    }

    /// Whether this counts before `other` where the removals decide nothing: it has removed, by devices that were added after this place, who
    /// begins the other one there; else its head is lower.
    fn precedes(&self, other: &Self, place: usize) -> bool {
        let removes = |one: &Self, begun: &Link| {
            let signers = begun.entries().iter().map(|e| e.signer);
            signers.into_iter().any(|s| matches!(s, Signer::Device(by) if one.has_removed(&by)))
        };
        match (removes(self, &other.links[place]), removes(other, &self.links[place])) {
            (true, false) => true,
            (false, true) => false,
            _ => self.heads[place] < other.heads[place],
        }
    }

    /// When the root has last signed something from this place on, and the hash of that: the newest counts.
    fn newest_of_root(&self, at: u32) -> Option<(u64, std::cmp::Reverse<Head>)> {
        let entries = self.links[at as usize..].iter().flat_map(Link::entries);
        entries.filter(|e| e.signer == Signer::Root).map(|e| (e.time, std::cmp::Reverse(e.hash()))).max()
    }

    /// The removals from this place on that admins of the state before it have signed, of devices of that state.
    fn removals_after(&self, at: u32) -> Vec<&Entry> {
        let (before, after) = self.links.split_at(at as usize);
        let state = Self::fold(before);
        let mut found: Vec<&Entry> = Vec::new();
        for entry in after.iter().flat_map(Link::entries) {
            let Some((signer, target)) = entry.removal() else { continue };
            let counts = state.is_admin(&signer) && state.devices().iter().any(|d| d.id == target);
            if counts && !found.iter().any(|e| e.removal() == entry.removal()) {
                found.push(entry);
            }
        }
        found
    }

    /// The common beginning, and at its end the removals of both.
    fn unite(&self, other: &Self, at: u32, ours: Vec<&Entry>, theirs: &[&Entry]) -> Result<Self, ChainError> {
        let mut all = ours;
        for entry in theirs {
            match all.iter_mut().find(|e| e.removal() == entry.removal()) {
                Some(known) if entry.hash() < known.hash() => *known = entry,
                Some(_) => {}
                None => all.push(entry),
            }
        }
        all.sort_by_key(|e| e.hash());
        all.truncate(MAX_REMOVALS);
        let mut links = self.links[..at as usize].to_vec();
        links.push(Link::Removals(all.into_iter().cloned().collect()));
        Self::build(self.account, links, self.seal_keys().chain(other.seal_keys()).collect())
    }

    pub(super) fn fold(links: &[Link]) -> super::State {
        let mut state = super::State::default();
        for (seq, link) in links.iter().enumerate() {
            state.apply_link(seq as u32, link);
        }
        state
    }

    /// This chain, which counts, with what `signer` did in one that does not, as far as that still makes sense. `None` if there is nothing.
    pub fn with_lost(&self, signer: &SignWith<'_>, time: u64, lost: &Self) -> Option<Self> {
        let (Relation::Rival(at), SignWith::Device(key)) = (self.relation(lost), signer) else { return None };
        let mine = Signer::Device(key.id());
        let mut chain = self.clone();
        for entry in lost.links[at as usize..].iter().flat_map(Link::entries).filter(|e| e.signer == mine) {
            if !chain.still_makes_sense(&entry.op) {
                continue;
            }
            let again = match &entry.op {
                Op::Remove { device, .. } => chain.remove(signer, time, *device),
                op => chain.append(signer, time, op.clone(), &lost.seal_keys().collect::<Vec<_>>()),
            };
            chain = again.unwrap_or(chain);
        }
        (chain.len() > self.len()).then_some(chain)
    }

    /// Whether an operation that was in a chain that does not count can be done again.
    fn still_makes_sense(&self, op: &Op) -> bool {
        match op {
            Op::Open { .. } | Op::Recover { .. } => false,
            Op::Add { device, .. } => self.state.linked_by(device).is_none() && !self.state.has_removed(device),
            Op::Remove { device, .. } | Op::Rights { device, .. } => self.device(device).is_some(),
            Op::Homes(homes) => *homes != self.homes,
        }
    }
}

/// Which of some removals (signer, removed) stand: those that none strikes that stands; and of those that strike each other in a circle all.
pub(super) fn standing(pairs: &[(DeviceId, DeviceId)]) -> Vec<bool> {
    let strikes = |a: usize, b: usize| pairs[a].1 == pairs[b].0;
    let mut known: Vec<Option<bool>> = vec![None; pairs.len()];
    while let Some(first) = known.iter().position(Option::is_none) {
        let open: Vec<usize> = (0..pairs.len()).filter(|n| known[*n].is_none()).collect();
        if let Some(n) = open.iter().find(|b| (0..pairs.len()).any(|a| known[a] == Some(true) && strikes(a, **b))) {
            known[*n] = Some(false);
            continue;
        }
        // Of those that are left, a group that nothing outside of it strikes: go against the strikes until there is nothing new behind.
        let behind = |from: usize| {
            let (mut found, mut is_found) = (vec![from], vec![false; pairs.len()]);
            is_found[from] = true;
            let mut next = 0;
            while let Some(struck) = found.get(next).copied() {
                for striker in open.iter().filter(|a| strikes(**a, struck)) {
                    if !std::mem::replace(&mut is_found[*striker], true) {
                        found.push(*striker);
                    }
                }
                next += 1;
            }
            found
        };
        let source = open.iter().map(|n| behind(*n)).min_by_key(Vec::len).unwrap_or_else(|| vec![first]);
        for n in source {
            known[n] = Some(true);
        }
    }
    known.into_iter().map(|stands| stands == Some(true)).collect()
}
