//! A device joins an account over the channel of a short code. No secret of the account travels: the new device asks, the user of this one
//! agrees, this one adds it to the chain, and answers when a home has that.

use bytes::Bytes;
use prost::Message as _;
use starling_keys::{
    AccountId, DeviceChain, DeviceId, DeviceKey, RendezvousAddr, ShortCode, StorageKey,
    chain::{Head, Joining, Rights, recovery_hash},
};
use starling_wire::{
    DeviceLabel,
    link::{LinkAnswer, LinkOffer, LinkRequest},
    rendezvous::{CodeMessage, RequestBody},
};
use zeroize::Zeroizing;

use super::{
    Account,
    codes::{CodeReply, UsedCode},
    limits::LINK_TIMEOUT_MS,
};
use crate::{
    account::pending::AccountPending,
    api::{
        Reply,
        error::{NodeError, NotAllowed, NotFound, Unreachable},
        problem::FalseAnswer,
        types::TransientEvent,
    },
    home::{Homes, Pending},
    mls::{GroupError, seal_keys},
    net::HomeId,
    store::{JoiningRow, META, Reading},
    turn::{EngineError, Turn},
};

/// Under what each step is sealed with the key of a code: one is not taken for another.
pub(crate) const OFFER: &[u8] = b"link offer";
const REQUEST: &[u8] = b"link request";
const ANSWER: &[u8] = b"link answer";

/// The keys of a device that belongs to no account yet.
pub struct NewDevice {
    pub(crate) key: DeviceKey,
    pub(crate) seal_secret: Zeroizing<Vec<u8>>,
    pub(crate) seal_public: Vec<u8>,
}

impl NewDevice {
    /// New keys.
    pub fn generate() -> Result<Self, GroupError> {
        let (seal_secret, seal_public) = seal_keys()?;
        Ok(Self { key: DeviceKey::generate(), seal_secret, seal_public })
    }

    /// The device.
    pub fn id(&self) -> DeviceId {
        self.key.id()
    }

    /// Its wish to belong to an account.
    pub fn joining(&self, account: &AccountId) -> Joining {
        Joining::sign(&self.key, account, self.seal_public.clone())
    }
}

impl std::fmt::Debug for NewDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewDevice({:?})", self.id())
    }
}

/// What a device that was linked knows of its account.
#[derive(Clone, Debug)]
pub struct AccountLink {
    /// The account's chain, with the device in it.
    pub chain: DeviceChain,
    /// The account's display name.
    pub name: String,
    /// The account is a program.
    pub bot: bool,
    /// Its user name; empty without one.
    pub username: String,
    /// The HPKE public key that is derived from the account's root.
    pub recovery_key: Vec<u8>,
    /// The permission to copy the history of the device that has linked it, 0 without one. `None` if that device's answer was lost, so that it is not known.
    pub history: Option<u64>,
}

/// A device that asks over a code that we gave, and its channel.
pub struct Candidate {
    pub code: u64,
    home: HomeId,
    place: u32,
    attempt: u64,
    key: StorageKey,
    pub joining: Joining,
    pub label: DeviceLabel,
    /// Who waits for it to be on the chain at a home, once the user has agreed.
    pub agreed: Option<Reply<()>>,
    /// A home has the chain with it: it waits for a snapshot that it can read.
    pub listed: bool,
    /// It may copy the history of this device.
    pub history: bool,
}

#[cfg(test)]
impl Candidate {
    /// One that asks without a code.
    pub fn of(joining: Joining, home: HomeId) -> Self {
        let device = Bytes::copy_from_slice(joining.device.as_bytes());
        let (key, label) =
            (StorageKey::generate(), DeviceLabel { device, name: "laptop".into(), kind: "linux".into() });
        Self { code: 0, home, place: 0, attempt: 0, key, joining, label, agreed: None, listed: false, history: false }
    }
}

/// A device that tries a code that it was given.
pub struct Joiner {
    pub device: NewDevice,
    pub name: String,
    pub kind: String,
    pub reply: Reply<(AccountLink, NewDevice)>,
    /// Who waits for the code to be right.
    asked: Option<Reply<()>>,
    /// The key of the code.
    channel: Option<StorageKey>,
    /// The account that it leads into.
    offer: Option<(AccountId, LinkOffer)>,
    answer: Option<LinkAnswer>,
    /// It has asked, and whatever was answered did not come: the account's chain says whether it was let in.
    lost: bool,
}

impl Joiner {
    pub fn new(
        device: NewDevice,
        (name, kind): (String, String),
        asked: Reply<()>,
        reply: Reply<(AccountLink, NewDevice)>,
    ) -> Self {
        Self { device, name, kind, reply, asked: Some(asked), channel: None, offer: None, answer: None, lost: false }
    }

    /// A device that has asked in an earlier run, with what it has stored before that. The answer to it is lost: the account's chain says whether
    /// it was let in. `None` if what is stored cannot be read.
    pub fn resumed(
        row: &JoiningRow,
        reply: Reply<(AccountLink, NewDevice)>,
    ) -> Result<Self, Reply<(AccountLink, NewDevice)>> {
        let read = || {
            let offer = LinkOffer::from_bytes(&row.offer).ok()?;
            let seed: [u8; 32] = row.device_seed.as_slice().try_into().ok()?;
            let seed = Zeroizing::new(seed);
            let device = NewDevice {
                key: DeviceKey::from_seed(&seed),
                seal_secret: Zeroizing::new(row.seal_secret.clone()),
                seal_public: row.seal_public.clone(),
            };
            Some((device, (AccountId::from_bytes(&offer.account).ok()?, offer)))
        };
        let Some((device, offer)) = read() else { return Err(reply) };
        let (name, kind) = (String::new(), String::new());
        Ok(Self {
            device,
            name,
            kind,
            reply,
            asked: None,
            channel: None,
            offer: Some(offer),
            answer: None,
            lost: false,
        })
    }

    /// What is stored before it asks, so that it is this device that goes on if the process ends meanwhile.
    pub(super) fn row(&self, home: &RendezvousAddr) -> JoiningRow {
        JoiningRow {
            device_seed: self.device.key.seed().to_vec(),
            seal_secret: self.device.seal_secret.to_vec(),
            seal_public: self.device.seal_public.clone(),
            home: home.to_string(),
            offer: self.offer.as_ref().map(|(_, offer)| offer.encode_to_vec()).unwrap_or_default(),
        }
    }

    /// Its code was right, now or in an earlier run.
    pub fn is_connected(&self) -> bool {
        self.offer.is_some()
    }

    /// The account to look up, once it was answered or has come back.
    pub(super) fn looks_up(&self) -> Option<AccountId> {
        let (account, _) = self.offer.as_ref()?;
        (self.answer.is_some() || self.channel.is_none() || self.lost).then_some(*account)
    }

    /// The other side, or the rendezvous, is gone: no answer comes any more.
    pub(super) fn lose_answer(&mut self) {
        self.lost = self.offer.is_some() && self.answer.is_none();
    }

    /// Who waits for the code to be right, until it is.
    pub(super) fn take_asked(&mut self) -> Option<Reply<()>> {
        self.asked.take()
    }

    /// The code was right: asks to join. `None` if what came is no offer.
    pub(super) fn ask(&mut self, key: StorageKey, sealed: &[u8], place: u32, pake: Bytes) -> Option<CodeMessage> {
        let offer = LinkOffer::from_bytes(&key.open(OFFER, sealed).ok()?).ok()?;
        let account = AccountId::from_bytes(&offer.account).ok()?;
        let joining = self.device.joining(&account);
        let request = LinkRequest {
            device: Bytes::copy_from_slice(joining.device.as_bytes()),
            seal_key: joining.seal_key.into(),
            proof: Bytes::copy_from_slice(&joining.proof),
            name: self.name.clone(),
            kind: self.kind.clone(),
        };
        let sealed = key.seal(REQUEST, &request.encode_to_vec()).into();
        (self.channel, self.offer) = (Some(key), Some((account, offer)));
        Some(CodeMessage { place, pake, sealed, ..CodeMessage::default() })
    }

    /// The other side has answered, or the server says that it is gone: gives the account to look up.
    pub(super) fn answered(&mut self, sealed: &[u8]) -> Result<AccountId, NodeError> {
        let refused = NotAllowed::LinkDeclined;
        let (key, (account, _)) = self.channel.as_ref().zip(self.offer.as_ref()).ok_or(refused.clone())?;
        let Ok(plain) = key.open(ANSWER, sealed) else {
            let account = *account;
            self.lose_answer();
            return Ok(account);
        };
        let answer = LinkAnswer::from_bytes(&plain).ok().filter(|answer| answer.agreed).ok_or(refused)?;
        self.answer = Some(answer);
        Ok(*account)
    }

    /// The chain that the home has, if it is the one that the other side has made.
    ///
    /// # Errors
    /// If it is another one; or if this device, whose answer was lost, is not in it.
    fn joined(&self, bytes: &[u8]) -> Result<AccountLink, NodeError> {
        let problem = || NotAllowed::FalseAnswer(FalseAnswer::OtherChain);
        let (account, offer) = self.offer.as_ref().ok_or_else(problem)?;
        let chain = DeviceChain::from_bytes(bytes).ok().filter(|c| c.account == *account).ok_or_else(problem)?;
        let is_in = chain.device(&self.device.id()).is_some();
        let Some(answer) = &self.answer else {
            let known = recovery_hash(&offer.recovery_key) == *chain.state().recovery();
            return match is_in && known {
                true => Ok(offered(offer, chain)),
                // It may still be let in.
                false if self.lost => Err(Unreachable::CodeOwner.into()),
                false => Err(NotAllowed::LinkDeclined.into()),
            };
        };
        let head = answer.head.as_ref().try_into().map(Head).map_err(|_| problem())?;
        if !is_in || chain.head_at(answer.length) != Some(head) {
            return Err(problem().into());
        }
        Ok(AccountLink {
            chain,
            name: answer.name.clone(),
            bot: answer.bot,
            username: answer.username.clone(),
            recovery_key: answer.recovery_key.to_vec(),
            history: Some(answer.history),
        })
    }
}

/// What a device knows of its account whose answer was lost.
fn offered(offer: &LinkOffer, chain: DeviceChain) -> AccountLink {
    AccountLink {
        chain,
        name: offer.name.clone(),
        bot: offer.bot,
        username: offer.username.clone(),
        recovery_key: offer.recovery_key.to_vec(),
        history: None,
    }
}

impl Account {
    /// What whoever has a code for a device is shown of the account.
    pub(crate) fn link_offer(&self) -> LinkOffer {
        LinkOffer {
            account: Bytes::copy_from_slice(self.id().as_bytes()),
            name: self.identity.row.name.clone(),
            bot: self.identity.row.bot,
            username: self.identity.row.username.clone(),
            recovery_key: self.identity.row.recovery_public.clone().into(),
        }
    }

    /// A device that has asked to join in an earlier run goes on.
    pub(crate) fn resume_join(
        &mut self,
        turn: &mut Turn<'_>,
        homes: &mut Homes,
        reply: Reply<(AccountLink, NewDevice)>,
    ) -> Result<(), EngineError> {
        let row: Option<JoiningRow> = turn.get(META, b"joining")?;
        let home = row.as_ref().and_then(|row| row.home.parse::<RendezvousAddr>().ok());
        let Some((row, home)) = row.zip(home) else {
            turn.reply(reply, Err(NotFound::Code.into()));
            return Ok(());
        };
        match Joiner::resumed(&row, reply) {
            // The code has done its work.
            Ok(joiner) => self.use_code(
                turn,
                homes,
                ShortCode::generate_for_device(0),
                Some(home),
                CodeReply::Account(Box::new(joiner)),
            ),
            Err(reply) => turn.reply(reply, Err(NotFound::Code.into())),
        }
        Ok(())
    }

    /// A device asks over a code of ours: the user is to say whether it may join.
    pub(crate) fn on_link_request(&mut self, turn: &mut Turn<'_>, code: u64, home: HomeId, message: &CodeMessage) {
        let exchange = self.codes.iter().find(|c| c.id == code).and_then(|c| c.exchange(&message.pake));
        let Some((key, plain)) = exchange.and_then(|key| Some((key.clone(), key.open(REQUEST, &message.sealed).ok()?)))
        else {
            return;
        };
        // One asks at a time: who has the code has asked already.
        if self.candidates.iter().any(|c| c.code == code) {
            return;
        }
        let Some((joining, request)) = LinkRequest::from_bytes(&plain).ok().and_then(|request| {
            let device = DeviceId::from_bytes(&request.device).ok()?;
            let proof = request.proof.as_ref().try_into().ok()?;
            Some((Joining { device, seal_key: request.seal_key.to_vec(), proof }, request))
        }) else {
            return;
        };
        if joining.verify(&self.id()).is_err() {
            return;
        }
        let Some(text) =
            self.codes.iter().find(|c| c.id == code).and_then(|c| c.code.as_ref()).map(ToString::to_string)
        else {
            return;
        };
        let (name, kind) = (request.name, starling_text::received_name(&request.kind));
        let label = DeviceLabel { device: request.device, name: name.clone(), kind: kind.clone() };
        let same_network = message.same_network;
        turn.transient_event(TransientEvent::LinkRequested {
            code: text,
            device: joining.device,
            name,
            kind,
            same_network,
        });
        if let Some(open) = self.codes.iter_mut().find(|c| c.id == code) {
            // The user is given time.
            open.expires_ms = turn.now() + LINK_TIMEOUT_MS;
        }
        let (place, attempt) = (message.place, message.attempt);
        let agreed = None;
        self.candidates.push(Candidate {
            code,
            home,
            place,
            attempt,
            key,
            joining,
            label,
            agreed,
            listed: false,
            history: false,
        });
    }

    /// The user answers a device that asks. Ready when a home has the chain with it.
    pub(crate) fn answer_link(
        &mut self,
        turn: &mut Turn<'_>,
        homes: &mut Homes,
        device: DeviceId,
        (rights, history): (Option<Rights>, bool),
        reply: Reply<()>,
    ) {
        let Some(at) = self.candidates.iter().position(|c| c.joining.device == device && c.agreed.is_none()) else {
            return turn.reply(reply, Err(NotFound::Device.into()));
        };
        let Some(rights) = rights else {
            let candidate = self.candidates.remove(at);
            self.answer_candidate(turn, homes, &candidate, &LinkAnswer::default());
            self.end_code_numbered(turn, homes, candidate.code, false);
            return turn.reply(reply, Ok(()));
        };
        let joining = self.candidates[at].joining.clone();
        match self.change_chain(turn, |chain, key, now| chain.add(key, now, &joining, rights)) {
            Ok(()) => {
                self.candidates[at].agreed = Some(reply);
                self.candidates[at].history = history;
                self.own_devices.schedule_added();
                self.publish_at_homes(turn, homes);
            }
            Err(error) => turn.reply(reply, Err(error)),
        }
    }

    pub(crate) fn answer_candidate(
        &self,
        turn: &mut Turn<'_>,
        homes: &mut Homes,
        candidate: &Candidate,
        answer: &LinkAnswer,
    ) {
        let sealed = candidate.key.seal(ANSWER, &answer.encode_to_vec()).into();
        let (place, attempt) = (candidate.place, candidate.attempt);
        let message = CodeMessage { place, attempt, sealed, ..CodeMessage::default() };
        homes.request(turn, candidate.home, RequestBody::CodeReply(message), Pending::Nothing);
    }

    /// Whether the user has agreed to a device that asked over a code.
    pub(super) fn lets_in(&self, code: u64) -> bool {
        self.candidates.iter().any(|c| c.code == code && c.agreed.is_some())
    }

    /// A code has ended: who asked over it is declined.
    pub(super) fn drop_candidates(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, code: u64) {
        for mut candidate in self.candidates.extract_if(.., |c| c.code == code).collect::<Vec<_>>() {
            self.answer_candidate(turn, homes, &candidate, &LinkAnswer::default());
            if let Some(reply) = candidate.agreed.take() {
                turn.reply(reply, Err(NotFound::Code.into()));
            }
        }
    }

    /// What a device gets that has joined.
    pub(crate) fn link_answer(&self, chain: &DeviceChain, history: u64) -> LinkAnswer {
        LinkAnswer {
            agreed: true,
            length: chain.len(),
            head: Bytes::copy_from_slice(&chain.head().0),
            name: self.identity.row.name.clone(),
            bot: self.identity.row.bot,
            homes: self.identity.homes.iter().map(RendezvousAddr::to_string).collect(),
            username: self.identity.row.username.clone(),
            recovery_key: self.identity.row.recovery_public.clone().into(),
            history,
        }
    }

    /// A home shows the chain of the account that this device joins.
    pub(crate) fn on_joined_chain(&mut self, turn: &mut Turn<'_>, id: u64, bytes: &[u8]) {
        let Some(UsedCode { reply: Some(CodeReply::Account(joiner)), .. }) = self.take_used(turn, id) else {
            return;
        };
        let link = joiner.joined(bytes);
        let Joiner { reply, device, .. } = *joiner;
        turn.reply(reply, link.map(|link| (link, device)));
    }
}

/// Looks up the account that this device joins.
pub(super) fn look_up_joined(turn: &mut Turn<'_>, homes: &mut Homes, used: &mut UsedCode, account: AccountId) {
    used.gives_up_at = turn.now() + LINK_TIMEOUT_MS;
    let ask = RequestBody::LookUp(Bytes::copy_from_slice(account.as_bytes()));
    homes.request(turn, used.home.peer, ask, AccountPending::JoinedChain(used.id));
}
