//! Limits of what a LAN can make this device keep and dial.

use std::time::Duration;

/// Bytes of a datagram on the LAN that is read: what programs of before send that have many addresses.
pub const MAX_LAN_DATAGRAM: usize = 4096;
/// Records that are looked at in one.
pub const MAX_LAN_RECORDS: usize = 64;
/// Addresses that are taken from one, and kept under one name; half as many are told.
pub const MAX_LAN_ANNOUNCED: usize = 16;
/// Addresses on the LAN that are kept of whomever, also of those that are no contacts yet: everybody there can make up any number. 200 bytes each.
pub const MAX_LAN_HEARD: usize = 1024;
/// Datagrams that are read at once: all of a large office answer the same question …
pub const LAN_DATAGRAMS: u32 = 256;
/// … and between two more. One takes some microseconds; more are dropped by the system, whose buffer is bounded.
pub const LAN_DATAGRAM_EVERY: Duration = Duration::from_millis(10);
/// New addresses that are taken at once for those that we look for, each of which may be dialled …
pub const LAN_FOUND: u32 = 256;
/// … and between two more …
pub const LAN_FOUND_EVERY: Duration = Duration::from_secs(1);
/// … and of one device, whose name everybody on the LAN can repeat: two transports on a few networks …
pub const LAN_FOUND_OF_DEVICE: u32 = 8;
/// … and between two more.
pub const LAN_FOUND_OF_DEVICE_EVERY: Duration = Duration::from_secs(10);
/// Questions that are answered at once. Each answer goes to all, so that who asks before the next is due has heard the last one …
pub const LAN_ANSWERS: u32 = 4;
/// … and between two more (RFC 6762, section 6).
pub const LAN_ANSWER_EVERY: Duration = Duration::from_secs(1);
/// Who has not announced itself for so long is gone: that many questions, one in five minutes, were not answered twice.
pub const LAN_LIFE: Duration = Duration::from_secs(660);
