//! The encoding of chains: one for each chain, with fixed widths, and bounded before anything is allocated.

use super::{ChainError, DeviceChain, Entry, Head, Link, MAX_LINKS, MAX_SEAL_KEY, order::MAX_REMOVALS};
use crate::{AccountId, DeviceId, RendezvousAddr};

/// First byte of an encoded chain: no message of version 0.1 begins with it.
const FORMAT: u8 = 0xc1;
/// Largest encoded chain.
pub(super) const MAX_BYTES: usize = 256 * 1024;
/// Devices whose sealing keys are read: those that an account of version 0.1 could have.
const MAX_SEAL_KEYS: usize = 16;

/// Reads fixed-width values from the front of bytes.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], ChainError> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(ChainError::Malformed)?;
        self.0 = tail;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ChainError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(ChainError::Malformed)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, ChainError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, ChainError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, ChainError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, ChainError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(super) fn account(&mut self) -> Result<AccountId, ChainError> {
        AccountId::from_bytes(self.take(32)?).map_err(|_| ChainError::Malformed)
    }

    pub(super) fn device(&mut self) -> Result<DeviceId, ChainError> {
        DeviceId::from_bytes(self.take(32)?).map_err(|_| ChainError::Malformed)
    }

    pub(super) fn home(&mut self) -> Result<RendezvousAddr, ChainError> {
        RendezvousAddr::decode(&mut self.0).ok_or(ChainError::Malformed)
    }

    /// Bytes after their length.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], ChainError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// Values after their number.
    pub(super) fn list<T>(
        &mut self,
        max: usize,
        read: impl Fn(&mut Self) -> Result<T, ChainError>,
    ) -> Result<Vec<T>, ChainError> {
        let count = usize::from(self.u8()?);
        if count > max {
            return Err(ChainError::Malformed);
        }
        (0..count).map(|_| read(self)).collect()
    }

    pub(super) fn end(&self) -> Result<(), ChainError> {
        if self.0.is_empty() { Ok(()) } else { Err(ChainError::Malformed) }
    }
}

pub(super) fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    // Entries and sealing keys are far below 64 KB, which their decoders check.
    out.extend((bytes.len() as u16).to_be_bytes());
    out.extend(bytes);
}

/// What encoded bytes say of themselves, before anything is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Whose chain it is said to be.
    pub account: AccountId,
    /// How many entries stand before the encoded ones; 0 for a whole chain.
    pub after: u32,
    /// The head after those.
    pub base: Head,
}

struct Encoded {
    summary: Summary,
    links: Vec<Link>,
    seal_keys: Vec<(DeviceId, Vec<u8>)>,
}

fn header(reader: &mut Reader<'_>) -> Result<Summary, ChainError> {
    if reader.0.len() > MAX_BYTES || reader.u8()? != FORMAT {
        return Err(ChainError::Malformed);
    }
    let (account, after, base) = (reader.account()?, reader.u32()?, Head(reader.array()?));
    if (after == 0) != (base == Head::NONE) || after as usize > MAX_LINKS {
        return Err(ChainError::Malformed);
    }
    Ok(Summary { account, after, base })
}

fn parse(bytes: &[u8]) -> Result<Encoded, ChainError> {
    let mut reader = Reader(bytes);
    let summary = header(&mut reader)?;
    let entry = |r: &mut Reader<'_>| Entry::decode(summary.account, r.bytes()?);
    let count = usize::from(reader.u16()?);
    if count > MAX_LINKS - summary.after as usize {
        return Err(ChainError::Malformed);
    }
    let mut links = Vec::new();
    for _ in 0..count {
        links.push(match reader.u8()? {
            0 => Link::Entry(Box::new(entry(&mut reader)?)),
            1 => Link::Removals(reader.list(MAX_REMOVALS, entry)?),
            _ => return Err(ChainError::Malformed),
        });
    }
    let seal_keys = reader.list(MAX_SEAL_KEYS, |r| {
        let (device, key) = (r.device()?, r.bytes()?);
        if key.len() > MAX_SEAL_KEY { Err(ChainError::Malformed) } else { Ok((device, key.to_vec())) }
    })?;
    reader.end()?;
    Ok(Encoded { summary, links, seal_keys })
}

impl Summary {
    /// Reads it from the front of an encoded chain.
    pub fn of(bytes: &[u8]) -> Result<Self, ChainError> {
        header(&mut Reader(bytes))
    }
}

/// How many entries encoded bytes have. Follows their lengths only: costs far less than reading them.
///
/// # Errors
/// [`ChainError::Malformed`] if they cannot be followed.
pub fn count_entries(bytes: &[u8]) -> Result<usize, ChainError> {
    let mut reader = Reader(bytes);
    header(&mut reader)?;
    let mut count = 0;
    for _ in 0..reader.u16()? {
        let entries = match reader.u8()? {
            0 => 1,
            1 => usize::from(reader.u8()?),
            _ => return Err(ChainError::Malformed),
        };
        for _ in 0..entries {
            reader.bytes()?;
        }
        count += entries;
    }
    Ok(count)
}

/// A chain whose entries follow one another and whose signatures nobody has checked yet: anybody can make one for any account.
#[derive(Clone, Debug)]
pub struct UnverifiedChain {
    chain: DeviceChain,
    /// Which of its links are also in a chain that was checked: their signatures need no check.
    known: Vec<bool>,
}

impl UnverifiedChain {
    /// Reads a chain, or the end of one that is `known`.
    ///
    /// # Errors
    /// [`ChainError::Gap`] if it continues another chain than the known one; else why its entries cannot follow one another.
    pub fn read(bytes: &[u8], known: Option<&DeviceChain>) -> Result<Self, ChainError> {
        let chain = DeviceChain::decode(bytes, known)?;
        let is_known = |(n, link): (usize, &Link)| known.is_some_and(|known| known.links.get(n) == Some(link));
        let known = chain.links.iter().enumerate().map(is_known).collect();
        Ok(Self { chain, known })
    }

    /// What it claims. Nothing of it may be kept or shown before [`UnverifiedChain::verify`].
    pub fn claimed(&self) -> &DeviceChain {
        &self.chain
    }

    fn unknown(&self) -> impl Iterator<Item = &Entry> {
        let links = self.chain.links.iter().zip(&self.known).filter(|(_, known)| !**known);
        links.flat_map(|(link, _)| link.entries())
    }

    /// How many entries have signatures to check, at most two each.
    pub fn unverified(&self) -> usize {
        self.unknown().count()
    }

    /// Checks the signatures, up to the first that is wrong.
    pub fn verify(self) -> Result<DeviceChain, ChainError> {
        self.unknown().try_for_each(Entry::verify)?;
        Ok(self.chain)
    }
}

impl DeviceChain {
    /// The entries after the first `after`, for somebody who has those. Whole if it has not so many.
    pub fn encode_from(&self, after: u32) -> Vec<u8> {
        let (after, base) = self.head_at(after).map_or((0, Head::NONE), |head| (after, head));
        let links = &self.links[after as usize..];
        let mut out = vec![FORMAT];
        out.extend(self.account.as_bytes());
        out.extend(after.to_be_bytes());
        out.extend(base.0);
        out.extend((links.len() as u16).to_be_bytes());
        for link in links {
            match link {
                Link::Entry(entry) => {
                    out.push(0);
                    write_bytes(entry.as_bytes(), &mut out);
                }
                Link::Removals(entries) => {
                    out.extend([1, entries.len() as u8]);
                    for entry in entries {
                        write_bytes(entry.as_bytes(), &mut out);
                    }
                }
            }
        }
        let keys: Vec<_> = self.seal_keys().collect();
        out.push(keys.len() as u8);
        for (device, key) in &keys {
            out.extend(device.as_bytes());
            write_bytes(key, &mut out);
        }
        out
    }

    /// Reads a chain; `known` gives what stands before it. Signatures are not checked.
    pub(super) fn decode(bytes: &[u8], known: Option<&Self>) -> Result<Self, ChainError> {
        let Encoded { summary, links: new, mut seal_keys } = parse(bytes)?;
        let after = summary.after as usize;
        let mut links = match known {
            _ if after == 0 => Vec::new(),
            Some(known) if known.account == summary.account && known.head_at(summary.after) == Some(summary.base) => {
                known.links[..after].to_vec()
            }
            _ => return Err(ChainError::Gap),
        };
        links.extend(new);
        let given = seal_keys.clone();
        if let Some(known) = known {
            seal_keys.extend(known.seal_keys());
        }
        let chain = Self::build(summary.account, links, seal_keys)?;
        if !given.iter().all(|(id, key)| chain.device(id).is_some_and(|d| d.seal_key == *key)) {
            return Err(ChainError::Malformed);
        }
        Ok(chain)
    }
}
