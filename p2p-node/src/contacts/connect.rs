//! Becoming contacts: looking somebody up, claiming key packages, making the conversation; requests; newer device lists.

use bytes::Bytes;
use starling_keys::{AccountId, DeviceChain, DeviceId, DeviceList, InviteToken, RendezvousAddr};
use starling_wire::rendezvous::RequestBody;

use super::Contacts;
use crate::{
    account::Account,
    api::{
        Reply,
        error::{NodeError, Unreachable},
        problem::HomeProblem,
    },
    contacts::{ChainNews, ChainRefused, Person, pending::ContactPending},
    home::{Homes, Subject},
    net::{ConnectionProblem, HomeId},
    turn::{EngineError, Fact, Turn},
};

/// The account to connect with: by its id or its user name.
#[derive(Clone, Debug)]
pub enum ConnectTarget {
    Account(AccountId),
    Name(String),
}

/// An operation that makes somebody a contact, or looks up a member of a group.
pub struct Connect {
    pub whom: ConnectTarget,
    pub homes: Vec<RendezvousAddr>,
    pub token: Option<InviteToken>,
    pub greeting: String,
    pub alias: String,
    /// The user name that was looked up, if one was.
    pub called: String,
    pub list: Option<DeviceChain>,
    /// Key packages claimed so far, the number of answers outstanding, and the attempt that they belong to.
    pub packages: Vec<(DeviceId, Bytes)>,
    pub waiting: u32,
    pub attempt: u32,
    pub asked: bool,
    /// Servers that have refused what was asked of them.
    pub refused: Vec<HomeId>,
    /// It is for a conversation whose log is at a lost server, and for nothing if that is back.
    pub moves: bool,
    /// It is for the chain of a member of a group alone, and makes nobody a contact.
    pub of_member: bool,
    pub gives_up_at: u64,
    pub reply: Option<Reply<AccountId>>,
}

impl Connect {
    /// An operation without a token or a greeting, and without a caller to answer.
    pub fn to(whom: ConnectTarget, homes: Vec<RendezvousAddr>, gives_up_at: u64) -> Self {
        Self {
            whom,
            homes,
            token: None,
            greeting: String::new(),
            alias: String::new(),
            called: String::new(),
            list: None,
            packages: Vec::new(),
            waiting: 0,
            attempt: 0,
            asked: false,
            refused: Vec::new(),
            moves: false,
            of_member: false,
            gives_up_at,
            reply: None,
        }
    }
}

impl Connect {
    /// What servers are visited for.
    pub(crate) fn subject(&self) -> Subject {
        match &self.whom {
            ConnectTarget::Account(account) => Subject::Account(*account),
            ConnectTarget::Name(name) => Subject::Name(name.clone()),
        }
    }
}

impl Contacts {
    /// A rendezvous is connected: starts the operations that wait for it.
    pub(crate) fn connects_up(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, home: HomeId) {
        if !homes.answers(&home) {
            return;
        }
        let waiting: Vec<u64> = self
            .connects
            .iter()
            .filter(|(_, c)| !c.asked && c.homes.iter().any(|h| h.peer == home) && homes.serves(&home, &c.subject()))
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            let Some(connect) = self.connects.get_mut(&id) else {
                continue;
            };
            let ask = match &connect.whom {
                ConnectTarget::Account(account) => {
                    Some(RequestBody::LookUp(Bytes::copy_from_slice(account.as_bytes())))
                }
                ConnectTarget::Name(name) => homes.username_key(home, name).map(RequestBody::LookUpNameKey),
            };
            let Some(ask) = ask else {
                let problem = ConnectionProblem::OlderVersion.into();
                self.connect_failed(turn, id, Unreachable::TheirHome { problem }.into());
                continue;
            };
            connect.asked = true;
            connect.homes.sort_by_key(|h| h.peer != home);
            homes.request(turn, home, ask, ContactPending::DeviceList(id));
        }
    }

    /// A rendezvous does not answer: what was asked of it is asked of another one that may know it.
    pub(crate) fn connects_silent(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, home: HomeId) {
        let mut others = Vec::new();
        for connect in self.connects.values_mut().filter(|c| c.asked && c.homes.first().is_some_and(|h| h.peer == home))
        {
            let before = others.len();
            others.extend(connect.homes.iter().map(|h| h.peer).filter(|other| homes.answers(other)));
            connect.asked = others.len() == before;
        }
        for other in others {
            self.connects_up(turn, homes, other);
        }
    }

    /// Somebody may have moved to other homes: what waits for an old one is asked of these.
    pub(crate) fn connects_moved(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, account: &AccountId) {
        let Some(now) = self.people.get(account).map(Person::homes) else { return };
        let is_lacking = |connect: &&mut Connect| {
            matches!(connect.whom, ConnectTarget::Account(whom) if whom == *account)
                && now.iter().any(|home| !connect.homes.contains(home))
        };
        for connect in self.connects.values_mut().filter(is_lacking) {
            let asked = connect.homes.first().filter(|home| connect.asked && homes.answers(&home.peer)).cloned();
            if asked.is_none() {
                (connect.asked, connect.attempt) = (false, connect.attempt + 1);
            }
            let others = now.iter().filter(|home| asked.as_ref() != Some(*home)).cloned();
            connect.homes = asked.iter().cloned().chain(others).collect();
        }
        for home in now {
            self.connects_up(turn, homes, home.peer);
        }
    }

    /// A home of theirs cannot give what is needed: another one that answers is asked, each once. Gives whether there is one.
    pub(crate) fn ask_another(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, id: u64, refused: HomeId) -> bool {
        let Some(connect) = self.connects.get_mut(&id) else { return false };
        connect.refused.push(refused);
        let may = |home: &HomeId| !connect.refused.contains(home) && homes.answers(home);
        let Some(next) = connect.homes.iter().map(|home| home.peer).find(may) else { return false };
        // What is still under way means nothing any more.
        (connect.asked, connect.attempt) = (false, connect.attempt + 1);
        self.connects_up(turn, homes, next);
        true
    }

    pub(crate) fn connect_failed(&mut self, turn: &mut Turn<'_>, id: u64, error: NodeError) {
        if let Some(mut connect) = self.end(id) {
            turn.fact(Fact::ReachChanged);
            if let Some(reply) = connect.reply.take() {
                turn.reply(reply, Err(error));
            }
        }
    }

    /// Ends the operations that have waited too long for a rendezvous.
    pub(crate) fn expire_connects(&mut self, turn: &mut Turn<'_>, homes: &Homes) {
        for id in self.give_up.take_due(turn.now()) {
            let problem = self
                .connects
                .get(&id)
                .and_then(|c| c.homes.first())
                .and_then(|h| homes.servers.get(&h.peer))
                .and_then(|h| h.problem.clone())
                .map(HomeProblem::given_up)
                .unwrap_or_else(|| ConnectionProblem::NoAnswer.into());
            self.connect_failed(turn, id, Unreachable::TheirHome { problem }.into());
        }
    }

    pub(crate) fn on_newer_list(
        &mut self,
        turn: &mut Turn<'_>,
        own: &Account,
        account: AccountId,
        bytes: &[u8],
    ) -> Result<(), EngineError> {
        let Some(person) = self.people.get(&account) else {
            return Ok(());
        };
        let read = match &person.list {
            Some(known) => DeviceChain::read(bytes, known),
            None => DeviceChain::from_bytes(bytes),
        };
        let Ok(list) = read.inspect_err(|error| tracing::debug!(%error, "a device chain was not taken")) else {
            return Ok(());
        };
        if list.account != account || self.check_devices(own, &list).is_err() {
            return Ok(());
        }
        match self.take_chain(turn, account, list)? {
            Ok(ChainNews::Known) | Err(ChainRefused::Fork(_)) => {}
            // They have said so themselves, or know less than we do.
            Ok(_) | Err(ChainRefused::Past) => turn.fact(Fact::ContactSentChain(account)),
        }
        Ok(())
    }
}

pub(crate) fn device_ids(list: &DeviceList) -> Vec<DeviceId> {
    let mut ids: Vec<DeviceId> = list.devices.iter().map(|d| d.id).collect();
    ids.sort();
    ids
}
