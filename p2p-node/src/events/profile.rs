//! The sender's display name, and that it takes us for a contact.

use starling_wire::Profile;

use super::{At, Fact, Fold, Kind, Refusal, Target};
use crate::store::StoreError;

impl Kind for Profile {
    /// It is about its sender alone.
    fn authorize(&self, _: &At<'_>, _: Option<&Target>) -> Result<(), Refusal> {
        Ok(())
    }

    fn fold(&self, fold: &mut Fold<'_>, at: &At<'_>, _: Option<Target>) -> Result<(), StoreError> {
        if !at.origin.own {
            fold.facts.push(Fact::Profile { account: at.origin.account, profile: self.clone() });
        } else if !self.name.is_empty() {
            fold.facts.push(Fact::OwnName(self.name.clone()));
        }
        Ok(())
    }
}
