//! What users of the test world do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_keys::{AccountId, AccountKey, Invite};
use starling_wire::Text;
use tokio::sync::oneshot;

use super::{Packet, Who, Wire, World};
use crate::{
    ProfileDir,
    api::{Reply, error::NodeError, types::MessageId},
    call_media::CallInput,
    engine::{AccountCommand, Command, ContactCommand, ConversationCommand, Input},
    store::{CHATS, CONTACTS, ChatRow, ContactRow, MEMBERS, MemberRow, Reading, Store, Table},
    testing::servers::At,
};

impl World {
    /// The media of a call say something.
    pub fn media(&mut self, who: Who, input: CallInput) {
        self.put(Wire::Local(who), Packet::In(Box::new(Input::Call(input))));
        self.settle();
    }

    /// Starts a call of a user; the answer comes when the world goes on.
    pub fn begin<T, C: Into<Command>>(
        &mut self,
        who: Who,
        command: impl FnOnce(Reply<T>) -> C,
    ) -> oneshot::Receiver<Result<T, NodeError>> {
        let (reply, answer) = oneshot::channel();
        self.put(Wire::Local(who), Packet::In(Box::new(Input::Command(command(reply).into()))));
        answer
    }

    /// A call, and everything that follows from it.
    pub fn call<T, C: Into<Command>>(&mut self, who: Who, command: impl FnOnce(Reply<T>) -> C) -> Result<T, NodeError> {
        let mut answer = self.begin(who, command);
        self.settle();
        answer.try_recv().expect("no answer")
    }

    /// Gives somebody contacts that never come online, each with a conversation, as a stored profile has them; then starts again.
    pub fn fill(&mut self, who: Who, contacts: u32) {
        self.kill(who);
        let person = &self.people[who];
        let store = Store::open(ProfileDir::lock(&person.dir).unwrap(), &person.key).unwrap();
        let own = person.account.as_bytes().to_vec();
        let txn = store.begin().unwrap();
        for n in 0..contacts {
            let mut seed = [9; 32];
            seed[..4].copy_from_slice(&n.to_be_bytes());
            let account = AccountKey::from_seed(&seed).id().as_bytes().to_vec();
            let chat = store.name("direct", &account);
            txn.put(CHATS, &chat, &ChatRow::default()).unwrap();
            for (account, own) in [(&own, true), (&account, false)] {
                let member = MemberRow { account: account.clone(), own, ..MemberRow::default() };
                txn.put(MEMBERS, &store.member_key(&chat, account), &member).unwrap();
            }
            let contact =
                ContactRow { account: account.clone(), name: format!("contact {n}"), ..ContactRow::default() };
            txn.put(CONTACTS, &store.name("contact", &account), &contact).unwrap();
        }
        txn.commit().unwrap();
        drop(store);
        self.start(who);
        self.settle();
    }

    /// Makes the rows unreadable that a table has for the group of somebody's conversation with another; nothing of theirs runs meanwhile.
    pub fn damage_group(&mut self, who: Who, other: Who, table: Table) {
        self.start(who);
        let chat = self.chat_id(who, other);
        let (engine, _) = self.people[who].running.as_ref().unwrap();
        let group = engine.active_group(chat).unwrap();
        self.kill(who);
        let person = &self.people[who];
        let store = Store::open(ProfileDir::lock(&person.dir).unwrap(), &person.key).unwrap();
        let txn = store.begin().unwrap();
        for key in txn.keys(table).unwrap().iter().filter(|key| key.starts_with(&group)) {
            txn.damage(table, key).unwrap();
        }
        txn.commit().unwrap();
    }

    pub fn invite(&mut self, who: Who) -> Invite {
        let (link, _) =
            self.call(who, |reply| ContactCommand::Invite { uses: 1, lifetime_ms: 86_400_000, reply }).unwrap();
        link.parse().unwrap()
    }

    /// Begins to add somebody.
    pub fn add(&mut self, who: Who, invite: &Invite) -> oneshot::Receiver<Result<AccountId, NodeError>> {
        let (account, homes, token) = (invite.address.account, invite.address.homes.clone(), invite.token.clone());
        self.begin(who, |reply| ContactCommand::Connect {
            account: Some(account),
            name: None,
            homes,
            token,
            greeting: "hello".into(),
            alias: String::new(),
            reply,
        })
    }

    /// Two people who are contacts.
    pub fn friends(&mut self) -> (Who, Who) {
        self.friends_at(0, 0)
    }

    /// Two people who are contacts, with these homes. The log is at the second's.
    pub fn friends_at(&mut self, first: At, second: At) -> (Who, Who) {
        let (alice, bob) = (self.person_at("alice", &[first]), self.person_at("bob", &[second]));
        let invite = self.invite(alice);
        let mut added = self.add(bob, &invite);
        self.pass(5_000);
        added.try_recv().expect("no answer").unwrap();
        (alice, bob)
    }

    pub fn say(&mut self, who: Who, to: Who, text: &str) -> MessageId {
        let chat = self.chat(who, to);
        let texts = vec![Text { text: text.into(), ..Text::default() }];
        self.call(who, |reply| ConversationCommand::Send { chat, texts, reply }).unwrap()[0]
    }

    /// Makes somebody's device the only one of their account, with the phrase.
    pub fn recover(&mut self, who: Who) {
        let chain = self.signed_recovery(who).unwrap();
        let bytes = chain.as_bytes().to_vec();
        let mut done = self.begin(who, |reply| AccountCommand::Recover(bytes, reply));
        self.pass(20_000);
        done.try_recv().expect("no answer").unwrap();
    }

    /// Everybody who runs, in both directions, can be reached again; then time passes.
    pub fn heal(&mut self) {
        self.direct = true;
        for who in 0..self.people.len() {
            if self.people[who].running.is_none() {
                self.start(who);
            }
        }
        self.start_server();
        self.pass(180_000);
    }
}
