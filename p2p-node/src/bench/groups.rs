//! Groups of many accounts in one profile.

use std::{path::Path, sync::Arc};

use starling_keys::StorageKey;
use starling_wire::{GroupKind, Policy, PolicyMember, Role};

use super::{Somebody, add_conversation};
use crate::{
    ChatId, EngineError, OpenError,
    conversation::group::GroupId,
    engine::Engine,
    mls::{Expected, Judged, LiveGroup},
    node::now_ms,
    store::{ProfileDir, Store},
    turn::{Now, Source},
};

/// Groups that are written in one transaction.
const TOGETHER: u32 = 50;

/// Adds groups of so many accounts, each with one device, to a profile that nobody has open and that has a home: its account owns them, and all others
/// are contacts who are never there.
///
/// # Errors
/// If the profile cannot be opened or written, or has no home.
pub fn fill_groups(dir: &Path, key: &StorageKey, groups: u32, members: u32) -> Result<(), OpenError> {
    let store = Arc::new(Store::open(ProfileDir::lock(dir)?, key)?);
    let mut engine = Engine::load(store, now_ms(), Source::from_system())?;
    let others: Vec<Somebody> = (1..members).map(Somebody::number).collect::<Result<_, _>>()?;
    for n in 1..members {
        add_conversation(&mut engine, n, true)?;
    }
    let home = engine.account.identity.homes.first().ok_or(EngineError::Identity)?.to_string();
    for first in (0..groups).step_by(TOGETHER as usize) {
        let made = (first..groups.min(first + TOGETHER)).map(|n| make(&engine, n, &others));
        let made: Vec<_> = made.collect::<Result<_, EngineError>>()?;
        let now = now_ms();
        let now = Now { steady_ms: now, wall_ms: now, running_ms: 0 };
        // Its effects are for a network that is not there.
        engine.turn_with(now, |engine, turn| {
            let (conversations, mut cx) = engine.conversing();
            for (chat, group) in made {
                conversations.add_made_group(turn, &mut cx, (chat, home.clone()), group)?;
            }
            engine.handle(turn, [])
        })?;
    }
    Ok(())
}

/// A group that all are in, each by an external commit, as they come in real ones.
fn make(engine: &Engine, n: u32, others: &[Somebody]) -> Result<(ChatId, (GroupId, LiveGroup)), EngineError> {
    let (chat, own) = (ChatId(rand::random()), *engine.account.id().as_bytes());
    let mut policy = Policy::new(chat.0, format!("group {n}"), own).with_rules(GroupKind::Group);
    for other in others {
        policy.add(PolicyMember { account: *other.account.as_bytes(), role: Role::Member, by: own, since: 0 });
    }
    let (group, now): (GroupId, _) = (rand::random(), now_ms());
    let mut live = engine.mls.create_with(&group, &policy, now)?;
    for other in others {
        let door = live.door()?.ok_or(EngineError::Identity)?;
        let entered = other.mls.enter(&door, (&group, live.epoch()), Expected::Group(chat.0), Vec::new(), now)?;
        other.mls.forget(&group);
        let Judged::Valid(after, _) = live.judge(&entered.commit) else { return Err(EngineError::Identity) };
        live = *after;
    }
    Ok((chat, (group, live)))
}
