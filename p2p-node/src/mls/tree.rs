//! The ratchet tree of a group, stored beside its state: in a large group it is most of that, and changes with commits alone.

use mls_rs::group::ExportedTree;

use super::{GroupError, GroupValue, LiveGroup, Mls};

impl Mls {
    /// A group from a stored value without the ratchet tree, and the tree.
    pub fn load_with_tree(&self, id: &[u8], value: GroupValue, tree: &[u8]) -> Result<LiveGroup, GroupError> {
        let tree = ExportedTree::from_bytes(tree)?;
        self.states.put(id, value);
        let group = self.client.load_group_with_ratchet_tree(id, tree)?;
        Ok(self.live(group))
    }
}

impl LiveGroup {
    /// How many leaves the tree has, blank ones too.
    pub fn leaves(&self) -> u32 {
        self.group.export_tree().total_leaf_count()
    }

    /// The hash of the tree: other trees have other hashes.
    pub fn tree_hash(&self) -> &[u8] {
        &self.group.context().tree_hash
    }

    /// The tree, for [`Mls::load_with_tree`].
    pub fn tree(&self) -> Result<Vec<u8>, GroupError> {
        Ok(self.group.export_tree().to_bytes()?)
    }

    /// The group's state without the tree as a value.
    pub fn value_without_tree(&mut self) -> Result<GroupValue, GroupError> {
        self.group.change().write_to_storage_without_ratchet_tree()?;
        self.states.get(self.group.group_id()).ok_or(GroupError::Malformed)
    }
}
