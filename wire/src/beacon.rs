//! Beacons: members compare which commit each has followed, so that no server can keep them in different epochs.

use bytes::Bytes;
use prost::Message as _;

use crate::limits::MAX_ENTRY;

/// A [`Beacon`] as it travels: whoever is no member of its epoch can neither read nor make one.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct SealedBeacon {
    /// The MLS group's id (16 bytes); empty in a log of the group.
    #[prost(bytes = "bytes", tag = "1")]
    pub group: Bytes,
    /// The epoch from which the commit leads on.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// [`Beacon::to_bytes`], sealed under a key of that epoch.
    #[prost(bytes = "bytes", tag = "3")]
    pub sealed: Bytes,
    /// It comes with all others that its sender has of the group, in the same frame.
    #[prost(bool, tag = "4")]
    pub complete: bool,
}

/// Which commit a device has followed from an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beacon {
    /// None that it knows of: it asks for the commit that others have followed.
    Behind,
    /// The commit with this hash.
    Followed([u8; 32]),
    /// This commit.
    Commit(Bytes),
    /// This commit, and those that it has followed after it, one from each epoch: what they say of the author of a rival counts against the rival.
    Path(Vec<Bytes>),
}

/// Commits in a [`Beacon::Path`].
pub const MAX_BEACON_PATH: usize = 4;

/// The encoded form: at most one of the three is there.
#[derive(Clone, PartialEq, prost::Message)]
struct Encoded {
    #[prost(bytes = "bytes", tag = "1")]
    hash: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    commit: Bytes,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    path: Vec<Bytes>,
}

/// What is no beacon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a malformed beacon")]
pub struct BeaconError;

impl Beacon {
    /// The encoded form, before it is sealed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let nothing = Encoded::default();
        let encoded = match self {
            Self::Behind => nothing,
            Self::Followed(hash) => Encoded { hash: Bytes::copy_from_slice(hash), ..nothing },
            Self::Commit(commit) => Encoded { commit: commit.clone(), ..nothing },
            Self::Path(path) => Encoded { path: path.clone(), ..nothing },
        };
        encoded.encode_to_vec()
    }

    /// Reads what [`Beacon::to_bytes`] has made. Whether a commit is one is not looked at.
    ///
    /// # Errors
    /// If it is none, or if its commits are larger than [`MAX_ENTRY`] together.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, BeaconError> {
        let encoded = Encoded::decode(bytes).map_err(|_| BeaconError)?;
        let fits = encoded.commit.len() + encoded.path.iter().map(Bytes::len).sum::<usize>() <= MAX_ENTRY;
        match (encoded.hash.is_empty(), encoded.commit.is_empty(), encoded.path.len()) {
            (true, true, 0) => Ok(Self::Behind),
            (false, true, 0) => Ok(Self::Followed(encoded.hash[..].try_into().map_err(|_| BeaconError)?)),
            (true, false, 0) if fits => Ok(Self::Commit(encoded.commit)),
            (true, true, 2..=MAX_BEACON_PATH) if fits => Ok(Self::Path(encoded.path)),
            _ => Err(BeaconError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beacon_is_read_back_and_what_is_none_is_refused() {
        let path = Beacon::Path(vec!["a commit".into(), "the next".into()]);
        for beacon in [Beacon::Behind, Beacon::Followed([7; 32]), Beacon::Commit(Bytes::from("a commit")), path] {
            assert_eq!(Beacon::from_bytes(beacon.to_bytes().into()), Ok(beacon));
        }
        let encoded = |hash: &'static [u8], commit: Vec<u8>| {
            Encoded { hash: hash.into(), commit: commit.into(), ..Encoded::default() }.encode_to_vec()
        };
        let (short, both) = (encoded(&[7; 31], vec![]), encoded(&[7; 32], vec![1]));
        let path = |sizes: &[usize]| {
            let path = sizes.iter().map(|size| vec![1; *size].into()).collect();
            Encoded { path, ..Encoded::default() }.encode_to_vec()
        };
        let (alone, long, large) = (path(&[1]), path(&[1; MAX_BEACON_PATH + 1]), path(&[MAX_ENTRY, 1]));
        for bytes in [short, both, encoded(&[], vec![0; MAX_ENTRY + 1]), vec![0xff; 64], alone, long, large] {
            assert_eq!(Beacon::from_bytes(bytes.into()), Err(BeaconError));
        }
    }
}
