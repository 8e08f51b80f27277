//! The sender's display name, and that it takes us for a contact.

use starling_wire::Profile;

use super::{Ahead, At, Fold, Kind, Refusal, Target};
use crate::{api::types::ChatKind, store::StoreError, turn::EventFact};

impl Kind for Profile {
    /// It is about its sender alone.
    fn authorize(&self, _: &At<'_>, _: Option<&Target>) -> Result<(), Refusal> {
        Ok(())
    }

    fn ahead(&self) -> Ahead {
        Ahead::Fold
    }

    fn fold(&self, fold: &mut Fold<'_>, at: &At<'_>, _: Option<Target>) -> Result<(), StoreError> {
        // Our own devices agree on our name otherwise.
        if at.origin.own {
            if at.id.device != fold.this {
                fold.facts.push(EventFact::Introduced(fold.chat));
            }
        } else {
            let (account, profile) = (at.origin.account, self.clone());
            fold.facts.push(match ChatKind::from_stored(fold.counters.kind) {
                ChatKind::Direct => EventFact::Profile { account, profile, event: at.id },
                // Who is in a group with us is no contact by that.
                ChatKind::Group => EventFact::MemberProfile { account, profile, event: at.id },
            });
        }
        Ok(())
    }
}
