//! Profiles of somebody who has used Starling for years, for benches: made without a network, from what real ones are made of.

use std::{path::Path, sync::Arc};

use starling_keys::{AccountKey, Certificate, DeviceChain, DeviceKey, StorageKey, chain::Joining};

use crate::{
    ChatId, ChatKind, ContactState, EngineError, OpenError,
    contacts::Person,
    conversation::{ChatState, GroupEntry, group::GroupId},
    engine::Engine,
    mls::{KeyPackages, Mls, seal_keys},
    node::now_ms,
    roster::Roster,
    store::{ContactRow, GroupRow, ProfileDir, Store},
    turn::{Now, Source},
};

/// Conversations that are written in one transaction.
const TOGETHER: u32 = 250;

/// Adds conversations to a profile that nobody has open, each with the encryption state of two devices. The first `contacts` of them are with
/// contacts, who have no rendezvous and are never there; the others are with accounts that are no contacts any more.
///
/// # Errors
/// If the profile cannot be opened or written.
pub fn fill(dir: &Path, key: &StorageKey, conversations: u32, contacts: u32) -> Result<(), OpenError> {
    let store = Arc::new(Store::open(ProfileDir::lock(dir)?, key)?);
    let mut engine = Engine::load(store, now_ms(), Source::from_system())?;
    for n in 0..conversations {
        add_conversation(&mut engine, n, n < contacts)?;
        if (n + 1) % TOGETHER == 0 || n + 1 == conversations {
            let now = now_ms();
            // Its effects are for a network that is not there.
            engine.turn([], Now { steady_ms: now, wall_ms: now, running_ms: 0 })?;
        }
    }
    Ok(())
}

fn add_conversation(engine: &mut Engine, n: u32, is_contact: bool) -> Result<(), EngineError> {
    let now = now_ms();
    let (account, device) = (AccountKey::from_seed(&seed(1, n)), DeviceKey::from_seed(&seed(2, n)));
    let joining = Joining::sign(&device, &account.id(), seal_keys()?.1);
    let chain = DeviceChain::create(&account, now / 1000, [0; 32], &joining).map_err(|_| EngineError::Identity)?;
    let path = chain.path_to(&device.id()).ok_or(EngineError::Identity)?;
    let other = Mls::new(&Certificate::from(&path), &device, KeyPackages::default())?;
    let package = other.key_package(false, now)?;
    let account_id = account.id();
    let group: GroupId = rand::random();
    let chat = ChatId(group);
    let roster = Roster::of(engine.account.id(), &[account_id]);
    engine.conversations.insert(ChatState::new(chat, ChatKind::Direct, roster));
    let (live, _) = engine.mls.create(&group, &[package.into()], now)?;
    let row = GroupRow { chat: chat.0.to_vec(), updated_ms: now, confirmed: true, ours: true, ..GroupRow::default() };
    engine.conversations.insert_group(GroupEntry::new(group, live, row)?);
    if let Some(state) = engine.conversations.chats.get_mut(&chat) {
        state.row.groups = vec![group.to_vec()];
    }
    if is_contact {
        let new = Person::new(&account_id, now);
        let row = ContactRow {
            device_list: chain.as_bytes().to_vec(),
            name: format!("contact {n}"),
            state: ContactState::Active.stored(),
            ..new.row
        };
        engine.contacts.people.insert(account_id, Person { row, list: Some(chain), ..Person::new(&account_id, now) });
    }
    Ok(())
}

/// Of what is made for conversation `n`.
fn seed(kind: u8, n: u32) -> [u8; 32] {
    let mut seed = [kind; 32];
    seed[..4].copy_from_slice(&n.to_be_bytes());
    seed
}
