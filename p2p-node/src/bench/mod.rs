//! Profiles of somebody who has used Starling for years, for benches: made without a network, from what real ones are made of.

mod groups;

use std::{path::Path, sync::Arc};

use starling_keys::{AccountId, AccountKey, Certificate, DeviceChain, DeviceKey, StorageKey, chain::Joining};
use starling_wire::{Body, Clock, Event, EventId, Text};

pub use self::groups::fill_groups;
use crate::{
    ChatId, ChatKind, ContactState, EngineError, OpenError, Via,
    contacts::Person,
    conversation::{ChatState, GroupEntry, group::GroupId},
    engine::Engine,
    events::key as key_of,
    mls::{KeyPackages, Mls, seal_keys},
    node::now_ms,
    roster::Roster,
    store::{AUTHORS, AuthorRow, CHATS, ContactRow, EventRow, GroupRow, ProfileDir, Store, TIMELINE},
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

/// Somebody else, with one device.
struct Somebody {
    account: AccountId,
    chain: DeviceChain,
    mls: Mls,
}

impl Somebody {
    fn number(n: u32) -> Result<Self, EngineError> {
        let (account, device) = (AccountKey::from_seed(&seed(1, n)), DeviceKey::from_seed(&seed(2, n)));
        let joining = Joining::sign(&device, &account.id(), seal_keys()?.1);
        let chain =
            DeviceChain::create(&account, now_ms() / 1000, [0; 32], &joining).map_err(|_| EngineError::Identity)?;
        let path = chain.path_to(&device.id()).ok_or(EngineError::Identity)?;
        let mls = Mls::new(&Certificate::from(&path), &device, KeyPackages::default())?;
        Ok(Self { account: account.id(), chain, mls })
    }
}

fn add_conversation(engine: &mut Engine, n: u32, is_contact: bool) -> Result<(), EngineError> {
    let now = now_ms();
    let Somebody { account: account_id, chain, mls: other } = Somebody::number(n)?;
    let package = other.key_package(false, now)?;
    let group: GroupId = rand::random();
    let chat = ChatId(group);
    let roster = Roster::of(engine.account.id(), &[account_id]);
    engine.conversations.chats.insert(ChatState::new(chat, ChatKind::Direct, roster));
    let (live, _) = engine.mls.create(&group, &[package.into()], now)?;
    let row = GroupRow { chat: chat.0.to_vec(), updated_ms: now, confirmed: true, ours: true, ..GroupRow::default() };
    engine.conversations.groups.insert_group(GroupEntry::new(group, live, row)?);
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
        engine.contacts.note_chain_change();
    }
    Ok(())
}

/// Adds messages to the first conversation of a profile that nobody has open: in turns from both sides, a second apart, all read.
///
/// # Errors
/// If the profile cannot be opened or written, or has no conversation.
pub fn fill_history(dir: &Path, key: &StorageKey, messages: u32, size: usize) -> Result<(), OpenError> {
    let store = Store::open(ProfileDir::lock(dir)?, key)?;
    let engine = Engine::load(Arc::new(store), now_ms(), Source::from_system())?;
    let (own, device, store) = (engine.account.id(), engine.account.device(), engine.store.clone());
    let (chat, with) = {
        let state = engine.conversations.chats.values().next().ok_or(EngineError::Identity)?;
        (state.id, state.roster.others().next().ok_or(EngineError::Identity)?)
    };
    let mut row = engine.conversations.chats.get(&chat).map(|state| state.row.clone()).unwrap_or_default();
    drop(engine);
    let authors = [(own, device, true), (with, DeviceKey::from_seed(&seed(2, 0)).id(), false)];
    let txn = store.begin()?;
    for (number, (account, device, own)) in (1u32..).zip(authors) {
        let author = AuthorRow {
            account: account.as_bytes().to_vec(),
            device: device.as_bytes().to_vec(),
            tag: device.tag().to_vec(),
            own,
            ..AuthorRow::default()
        };
        txn.put(AUTHORS, &number.to_be_bytes(), &author)?;
    }
    let begin = now_ms().saturating_sub(1_000 * u64::from(messages));
    for n in 0..messages {
        let (number, (_, device, own)) = if n % 2 == 0 { (1, authors[0]) } else { (2, authors[1]) };
        let clock = Clock::at(begin + 1_000 * u64::from(n));
        let id = EventId { clock, device: device.tag(), sequence: u64::from(n / 2) + 1 };
        let text = format!("{n:0size$}");
        let via = if own { Via::Own } else { Via::Direct };
        let body = Event::encode_body(&Body::Text(Text { text, ..Text::default() }));
        txn.put(
            TIMELINE,
            &key_of(chat, id),
            &EventRow { body, author: number, via: via.stored(), ..EventRow::default() },
        )?;
        (row.newest, row.read) = (clock.0, clock.0);
    }
    (row.last_sequence, row.sent_upto) = (u64::from(messages), u64::from(messages));
    txn.put(CHATS, &chat.0, &row)?;
    txn.commit()?;
    Ok(())
}

/// Of what is made for conversation `n`.
fn seed(kind: u8, n: u32) -> [u8; 32] {
    let mut seed = [kind; 32];
    seed[..4].copy_from_slice(&n.to_be_bytes());
    seed
}
