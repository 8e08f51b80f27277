//! Coming into a group by a link: the proof in a commit, what stands in a link's log, and the requests in its box.

use bytes::Bytes;
use prost::Message as _;

use crate::{Door, MAX_GROUP_NAME, MAX_TOPIC, limits::MAX_LARGE};

/// The domain of the signature in a [`JoinProof`].
pub const JOIN_DOMAIN: &str = "starling group join v1";
/// The domain of the signature in a [`JoinRequest`].
pub const JOIN_REQUEST_DOMAIN: &str = "starling group join request v1";
/// The domain of the signature in a [`JoinRefusal`].
pub const JOIN_REFUSAL_DOMAIN: &str = "starling group join refusal v1";
/// Largest device chain in a request to be let in: chains of common accounts have 1 to 8 KB.
pub const MAX_REQUEST_CHAIN: usize = 32 * 1024;
/// Bytes of a name in a card or a request.
const MAX_JOIN_NAME: usize = 512;

/// What is no card, proof or request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed: nothing of a link into a group")]
pub struct JoinError;

mod proto {
    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Proof {
        #[prost(bytes = "vec", tag = "1")]
        pub link: Vec<u8>,
        #[prost(uint64, tag = "2")]
        pub at: u64,
        #[prost(bytes = "vec", tag = "3")]
        pub signature: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    #[prost(skip_debug)]
    pub struct Card {
        #[prost(uint64, tag = "1")]
        pub epoch: u64,
        #[prost(bytes = "bytes", tag = "2")]
        pub secret: Bytes,
        #[prost(bytes = "bytes", tag = "3")]
        pub info: Bytes,
        #[prost(bytes = "vec", tag = "4")]
        pub conversation: Vec<u8>,
        #[prost(bytes = "vec", tag = "5")]
        pub group: Vec<u8>,
        #[prost(string, tag = "6")]
        pub name: String,
        #[prost(string, tag = "7")]
        pub topic: String,
        #[prost(uint32, tag = "8")]
        pub members: u32,
        #[prost(bytes = "vec", tag = "9")]
        pub by: Vec<u8>,
        #[prost(string, tag = "10")]
        pub by_name: String,
        #[prost(bool, tag = "11")]
        pub approve: bool,
        #[prost(uint64, tag = "12")]
        pub expires: u64,
        #[prost(bool, tag = "13")]
        pub ended: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Refusal {
        #[prost(bytes = "vec", tag = "16")]
        pub account: Vec<u8>,
        #[prost(bytes = "vec", tag = "17")]
        pub by: Vec<u8>,
        #[prost(bytes = "vec", tag = "18")]
        pub device: Vec<u8>,
        #[prost(uint64, tag = "19")]
        pub at: u64,
        #[prost(bytes = "vec", tag = "20")]
        pub signature: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Request {
        #[prost(bytes = "bytes", tag = "1")]
        pub chain: Bytes,
        #[prost(bytes = "vec", tag = "2")]
        pub account: Vec<u8>,
        #[prost(bytes = "vec", tag = "3")]
        pub device: Vec<u8>,
        #[prost(string, tag = "4")]
        pub name: String,
        #[prost(uint64, tag = "5")]
        pub at: u64,
        #[prost(bytes = "vec", tag = "6")]
        pub signature: Vec<u8>,
    }
}

pub(crate) use proto::Proof as ProofProto;

fn array<const LEN: usize>(bytes: &[u8]) -> Result<[u8; LEN], JoinError> {
    bytes.try_into().map_err(|_| JoinError)
}

/// The proof of a commit by which an account comes in by a link: its author has the link's secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinProof {
    /// The link's id.
    pub link: [u8; 16],
    /// When, milliseconds since 1970, as who comes in says: it stands in the audit log, and is before the link's end.
    pub at: u64,
    /// The signature of the link's key over [`JoinProof::statement`], in [`JOIN_DOMAIN`].
    pub signature: [u8; 64],
}

/// Who comes in where: what a proof is good for, and for nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Joiner<'a> {
    /// The MLS group.
    pub group: &'a [u8],
    /// The epoch that the commit ends.
    pub epoch: u64,
    /// The account that comes in.
    pub account: &'a [u8; 32],
    /// Its device, which makes the commit.
    pub device: &'a [u8; 32],
}

impl JoinProof {
    /// What the link's key signs.
    pub fn statement(joiner: Joiner<'_>, link: &[u8; 16], at: u64) -> Vec<u8> {
        let Joiner { group, epoch, account, device } = joiner;
        let length = (group.len() as u64).to_be_bytes();
        [&length[..], group, &epoch.to_be_bytes(), account, device, link, &at.to_be_bytes()].concat()
    }

    pub(crate) fn to_proto(&self) -> proto::Proof {
        proto::Proof { link: self.link.to_vec(), at: self.at, signature: self.signature.to_vec() }
    }

    pub(crate) fn from_proto(proof: &proto::Proof) -> Result<Self, JoinError> {
        Ok(Self { link: array(&proof.link)?, at: proof.at, signature: array(&proof.signature)? })
    }
}

/// What whoever has a link sees of the group, and the way in. It stands in a log of the link's own, sealed under a secret that follows from the
/// link's key. Any member, and whoever has the link, can write one: it is a claim.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkCard {
    /// The epoch that it is of.
    pub epoch: u64,
    /// The way into that epoch; none where somebody has to approve first, or the link does not count any more.
    pub door: Option<Door>,
    /// The conversation.
    pub conversation: [u8; 16],
    /// The MLS group.
    pub group: [u8; 16],
    /// What it is called.
    pub name: String,
    /// What it is about.
    pub topic: String,
    /// How many accounts it has.
    pub members: u32,
    /// Who has made the link.
    pub by: [u8; 32],
    /// What they are called there.
    pub by_name: String,
    /// Whether somebody who may invite has to approve.
    pub approve: bool,
    /// When the link ends, milliseconds since 1970; 0 if it does not end by itself.
    pub expires: u64,
    /// The link does not count any more.
    pub ended: bool,
}

impl std::fmt::Debug for LinkCard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LinkCard(epoch {})", self.epoch)
    }
}

impl LinkCard {
    /// The encoded form, before it is padded and sealed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (secret, info) = self
            .door
            .as_ref()
            .map_or_else(Default::default, |door| (Bytes::copy_from_slice(&door.secret), door.info.clone()));
        let card = proto::Card {
            epoch: self.epoch,
            secret,
            info,
            conversation: self.conversation.to_vec(),
            group: self.group.to_vec(),
            name: self.name.clone(),
            topic: self.topic.clone(),
            members: self.members,
            by: self.by.to_vec(),
            by_name: self.by_name.clone(),
            approve: self.approve,
            expires: self.expires,
            ended: self.ended,
        };
        card.encode_to_vec()
    }

    /// Reads what [`LinkCard::to_bytes`] has made.
    ///
    /// # Errors
    /// If it is none, or beyond its limits. Texts may have anything in them: they are cleaned before they are shown.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, JoinError> {
        let card = proto::Card::decode(bytes).map_err(|_| JoinError)?;
        let fits = card.name.len() <= MAX_GROUP_NAME
            && card.topic.len() <= MAX_TOPIC
            && card.by_name.len() <= MAX_JOIN_NAME
            && card.info.len() <= MAX_LARGE
            && card.secret.is_empty() == card.info.is_empty();
        if !fits {
            return Err(JoinError);
        }
        let door = match card.info.is_empty() {
            true => None,
            false => Some(Door { epoch: card.epoch, secret: array(&card.secret)?, info: card.info }),
        };
        Ok(Self {
            epoch: card.epoch,
            door,
            conversation: array(&card.conversation)?,
            group: array(&card.group)?,
            name: card.name,
            topic: card.topic,
            members: card.members,
            by: array(&card.by)?,
            by_name: card.by_name,
            approve: card.approve,
            expires: card.expires,
            ended: card.ended,
        })
    }
}

/// Somebody who has a link asks to be let in: an entry in the box of the link.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// The account.
    pub account: [u8; 32],
    /// Its device that asks.
    pub device: [u8; 32],
    /// The account's whole device chain, encoded: who approves finds its devices by it.
    pub chain: Bytes,
    /// What it calls itself.
    pub name: String,
    /// When, milliseconds since 1970, as it says.
    pub at: u64,
    /// The device's signature over [`JoinRequest::statement`], in [`JOIN_REQUEST_DOMAIN`].
    pub signature: [u8; 64],
}

impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JoinRequest(at {})", self.at)
    }
}

impl JoinRequest {
    /// What the device signs: it is of one group and link, and of no other.
    pub fn statement(&self, group: &[u8; 16], link: &[u8; 16]) -> Vec<u8> {
        let chain = blake3::hash(&self.chain);
        let name = blake3::hash(self.name.as_bytes());
        let at = self.at.to_be_bytes();
        [&group[..], link, &self.account, &self.device, chain.as_bytes(), name.as_bytes(), &at].concat()
    }

    /// Encoded.
    pub fn to_bytes(&self) -> Vec<u8> {
        let request = proto::Request {
            chain: self.chain.clone(),
            account: self.account.to_vec(),
            device: self.device.to_vec(),
            name: self.name.clone(),
            at: self.at,
            signature: self.signature.to_vec(),
        };
        request.encode_to_vec()
    }

    /// Reads one.
    ///
    /// # Errors
    /// If it is malformed, or beyond its limits. Its signature is not looked at.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, JoinError> {
        if bytes.len() > MAX_REQUEST_CHAIN + MAX_JOIN_NAME + 512 {
            return Err(JoinError);
        }
        let request = proto::Request::decode(bytes).map_err(|_| JoinError)?;
        if request.chain.is_empty() || request.chain.len() > MAX_REQUEST_CHAIN || request.name.len() > MAX_JOIN_NAME {
            return Err(JoinError);
        }
        Ok(Self {
            account: array(&request.account)?,
            device: array(&request.device)?,
            chain: request.chain,
            name: request.name,
            at: request.at,
            signature: array(&request.signature)?,
        })
    }
}

/// Somebody who may let others in has refused a request: an entry in the box, for all who may, and for their other devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefusal {
    /// Who has asked.
    pub account: [u8; 32],
    /// Who has refused.
    pub by: [u8; 32],
    /// The device that says so.
    pub device: [u8; 32],
    /// When, milliseconds since 1970, as it says.
    pub at: u64,
    /// The device's signature over [`JoinRefusal::statement`], in [`JOIN_REFUSAL_DOMAIN`].
    pub signature: [u8; 64],
}

impl JoinRefusal {
    /// What the device signs: it is of one group and link, and of no other.
    pub fn statement(&self, group: &[u8; 16], link: &[u8; 16]) -> Vec<u8> {
        [&group[..], link, &self.account, &self.by, &self.device, &self.at.to_be_bytes()].concat()
    }

    /// Encoded. It cannot be read as a request.
    pub fn to_bytes(&self) -> Vec<u8> {
        let refusal = proto::Refusal {
            account: self.account.to_vec(),
            by: self.by.to_vec(),
            device: self.device.to_vec(),
            at: self.at,
            signature: self.signature.to_vec(),
        };
        refusal.encode_to_vec()
    }

    /// Reads one.
    ///
    /// # Errors
    /// If it is malformed. Its signature is not looked at.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, JoinError> {
        let refusal = proto::Refusal::decode(bytes).map_err(|_| JoinError)?;
        Ok(Self {
            account: array(&refusal.account)?,
            by: array(&refusal.by)?,
            device: array(&refusal.device)?,
            at: refusal.at,
            signature: array(&refusal.signature)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> LinkCard {
        LinkCard {
            epoch: 7,
            door: Some(Door { epoch: 7, secret: [1; 32], info: Bytes::from("a group") }),
            conversation: [2; 16],
            group: [3; 16],
            name: "ops".into(),
            topic: "what runs".into(),
            members: 5,
            by: [4; 32],
            by_name: "alice".into(),
            approve: false,
            expires: 9,
            ended: false,
        }
    }

    #[test]
    fn a_card_is_read_back_and_is_a_door_for_whoever_looks_for_one() {
        let card = card();
        assert_eq!(LinkCard::from_bytes(card.to_bytes().into()), Ok(card.clone()));
        assert_eq!(Door::from_bytes(card.to_bytes().into()).ok(), card.door);
        let closed = LinkCard { door: None, ended: true, ..card.clone() };
        assert_eq!(LinkCard::from_bytes(closed.to_bytes().into()), Ok(closed.clone()));
        assert!(Door::from_bytes(closed.to_bytes().into()).is_err());
        for broken in [
            LinkCard { name: "x".repeat(MAX_GROUP_NAME + 1), ..card.clone() },
            LinkCard { topic: "x".repeat(MAX_TOPIC + 1), ..card.clone() },
            LinkCard { by_name: "x".repeat(MAX_JOIN_NAME + 1), ..card.clone() },
        ] {
            assert_eq!(LinkCard::from_bytes(broken.to_bytes().into()), Err(JoinError));
        }
        assert_eq!(format!("{card:?}"), "LinkCard(epoch 7)", "its secret is not shown");
    }

    #[test]
    fn a_request_is_read_back_and_is_of_one_group_and_link() {
        let request = JoinRequest {
            account: [1; 32],
            device: [2; 32],
            chain: Bytes::from_static(b"chain"),
            name: "bob".into(),
            at: 7,
            signature: [3; 64],
        };
        assert_eq!(JoinRequest::from_bytes(request.to_bytes().into()), Ok(request.clone()));
        let statement = request.statement(&[4; 16], &[5; 16]);
        assert!(
            statement != request.statement(&[5; 16], &[5; 16]) && statement != request.statement(&[4; 16], &[4; 16])
        );
        for broken in [
            JoinRequest { chain: Bytes::new(), ..request.clone() },
            JoinRequest { chain: vec![1; MAX_REQUEST_CHAIN + 1].into(), ..request.clone() },
            JoinRequest { name: "x".repeat(MAX_JOIN_NAME + 1), ..request },
        ] {
            assert_eq!(JoinRequest::from_bytes(broken.to_bytes().into()), Err(JoinError));
        }
    }

    #[test]
    fn a_refusal_is_read_back_and_is_no_request() {
        let refusal = JoinRefusal { account: [1; 32], by: [2; 32], device: [3; 32], at: 7, signature: [4; 64] };
        assert_eq!(JoinRefusal::from_bytes(&refusal.to_bytes()), Ok(refusal.clone()));
        assert_eq!(JoinRequest::from_bytes(refusal.to_bytes().into()), Err(JoinError));
        let statement = refusal.statement(&[5; 16], &[6; 16]);
        assert_ne!(statement, refusal.statement(&[6; 16], &[5; 16]));
        for broken in [Vec::new(), vec![0xff; 16], refusal.to_bytes()[2..].to_vec()] {
            assert_eq!(JoinRefusal::from_bytes(&broken), Err(JoinError));
        }
    }

    #[test]
    fn a_proof_is_good_for_one_joiner_at_one_place() {
        let joiner = Joiner { group: &[1; 16], epoch: 7, account: &[2; 32], device: &[3; 32] };
        let statement = JoinProof::statement(joiner, &[4; 16], 9);
        for (other, link, at) in [
            (Joiner { group: &[2; 16], ..joiner }, [4; 16], 9),
            (Joiner { epoch: 8, ..joiner }, [4; 16], 9),
            (Joiner { account: &[9; 32], ..joiner }, [4; 16], 9),
            (Joiner { device: &[9; 32], ..joiner }, [4; 16], 9),
            (joiner, [5; 16], 9),
            (joiner, [4; 16], 10),
        ] {
            assert_ne!(JoinProof::statement(other, &link, at), statement);
        }
    }
}
