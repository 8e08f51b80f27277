//! A map that knows which of its values a turn has changed, so that the end of the turn looks at those alone.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

/// Values by key. A value that was reached for writing is *touched* until [`Tracked::take_touched`].
pub struct Tracked<K, V> {
    values: BTreeMap<K, V>,
    touched: BTreeSet<K>,
    /// How many values were looked at: what a turn costs.
    visits: Cell<u64>,
}

impl<K, V> Default for Tracked<K, V> {
    fn default() -> Self {
        Self { values: BTreeMap::new(), touched: BTreeSet::new(), visits: Cell::new(0) }
    }
}

impl<K: Copy + Ord, V> Tracked<K, V> {
    fn visit(&self, count: usize) {
        self.visits.set(self.visits.get().wrapping_add(count as u64));
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.visit(1);
        self.values.get(key)
    }

    /// A value to be changed: it is touched.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.visit(1);
        let value = self.values.get_mut(key)?;
        self.touched.insert(*key);
        Some(value)
    }

    /// A value to be written out: it is not touched by that.
    pub fn settle(&mut self, key: &K) -> Option<&mut V> {
        self.visit(1);
        self.values.get_mut(key)
    }

    /// The value of a key, made if it is not there. It is touched.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.visit(1);
        self.touched.insert(key);
        self.values.entry(key).or_insert_with(make)
    }

    pub fn insert(&mut self, key: K, value: V) {
        self.touched.insert(key);
        self.values.insert(key, value);
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.touched.remove(key);
        self.values.remove(key)
    }

    pub fn contains_key(&self, key: &K) -> bool {
        self.visit(1);
        self.values.contains_key(key)
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// All keys. Costs as much as there are values: not for every turn.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.visit(self.len());
        self.values.keys()
    }

    /// All values. Costs as much as there are: not for every turn.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.visit(self.len());
        self.values.values()
    }

    /// All keys and values. Costs as much as there are: not for every turn.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.visit(self.len());
        self.values.iter()
    }

    /// Has a value looked at again at the end of the turn.
    pub fn touch(&mut self, key: K) {
        if self.values.contains_key(&key) {
            self.touched.insert(key);
        }
    }

    /// Has all values looked at again.
    pub fn touch_all(&mut self) {
        self.visit(self.len());
        self.touched.extend(self.values.keys());
    }

    /// What was touched up to now.
    pub fn touched(&self) -> Vec<K> {
        self.touched.iter().copied().collect()
    }

    /// What was touched; from now on nothing is.
    pub fn take_touched(&mut self) -> BTreeSet<K> {
        std::mem::take(&mut self.touched)
    }

    /// How many values were looked at since the start.
    #[cfg(test)]
    pub fn visits(&self) -> u64 {
        self.visits.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_reached_for_writing_is_touched_and_what_was_read_is_not() {
        let mut map = Tracked::default();
        map.insert(1, 'a');
        map.insert(2, 'b');
        map.take_touched();
        assert_eq!(map.get(&1), Some(&'a'));
        *map.get_mut(&2).unwrap() = 'c';
        map.touch(3);
        assert_eq!(map.touched(), [2], "a key without a value is not touched");
        map.remove(&2);
        assert!(map.take_touched().is_empty());
    }
}
