//! What is for STUN and TURN of the datagrams that come to a port of QUIC (RFC 9443).

use rtc_stun::message::{MAGIC_COOKIE, MESSAGE_HEADER_SIZE};

/// Before the data of a channel.
const CHANNEL_HEADER: usize = 4;
/// Data of channels may be filled up to a multiple of this.
const PADDING: usize = 4;

/// Whether a datagram is a message of STUN or TURN, by its first byte (RFC 9443, section 3). That can be the one of a packet of QUIC, too: with a short
/// header for 64 to 79, and where an extension of QUIC is used also for 0 to 3. So the length that the message says it has must be its own; STUN has to
/// have its cookie, and data of a channel to come from somebody with an allocation.
pub fn is_turn(datagram: &[u8], has_allocation: impl FnOnce() -> bool) -> bool {
    let [first, _, high, low, rest @ ..] = datagram else { return false };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    match first {
        0..=3 => rest.starts_with(&MAGIC_COOKIE.to_be_bytes()) && datagram.len() == MESSAGE_HEADER_SIZE + length,
        64..=79 => {
            let least = CHANNEL_HEADER + length;
            (least..least + PADDING).contains(&datagram.len()) && has_allocation()
        }
        _ => false,
    }
}

/// Takes datagrams out of a buffer in which each but the last has `stride` bytes. Those that are not taken are moved together; the length of what is left.
pub fn take_out(buffer: &mut [u8], stride: usize, mut takes: impl FnMut(&[u8]) -> bool) -> usize {
    let stride = stride.max(1);
    let (mut at, mut left) = (0, 0);
    while at < buffer.len() {
        let end = (at + stride).min(buffer.len());
        if !takes(&buffer[at..end]) {
            if left < at {
                buffer.copy_within(at..end, left);
            }
            left += end - at;
        }
        at = end;
    }
    left
}

#[cfg(test)]
mod tests {
    use rtc_stun::message::{CLASS_REQUEST, METHOD_BINDING, MessageType, TransactionId};

    use super::{super::codec::begin, *};

    fn binding() -> Vec<u8> {
        begin(MessageType::new(METHOD_BINDING, CLASS_REQUEST), TransactionId::new()).raw
    }

    /// Data of a channel, filled up by so many bytes.
    fn channel_data(length: u16, padding: usize) -> Vec<u8> {
        let mut data = vec![0x40, 1];
        data.extend(length.to_be_bytes());
        data.resize(data.len() + usize::from(length) + padding, 7);
        data
    }

    #[test]
    fn a_message_of_stun_is_told_by_its_cookie_and_length() {
        let nobody = || -> bool { unreachable!("nobody is looked for") };
        let message = binding();
        assert!(is_turn(&message, nobody));
        let longer = [&message[..], &[0]].concat();
        let mut other = message.clone();
        other[4] ^= 1;
        for datagram in [&message[..19], &longer[..], &other[..], &message[..3], &[0; 20][..], &[][..]] {
            assert!(!is_turn(datagram, nobody), "{datagram:?}");
        }
    }

    #[test]
    fn data_of_a_channel_is_that_of_who_has_an_allocation() {
        for padding in 0..4 {
            assert!(is_turn(&channel_data(5, padding), || true));
            assert!(!is_turn(&channel_data(5, padding), || false));
        }
        assert!(is_turn(&channel_data(0, 0), || true));
        // Not its length: a packet of QUIC.
        let nobody = || -> bool { unreachable!("nobody is looked for") };
        let message = channel_data(5, 0);
        for datagram in [&channel_data(5, 4)[..], &message[..8], &message[..3]] {
            assert!(!is_turn(datagram, nobody), "{datagram:?}");
        }
    }

    #[test]
    fn all_else_is_for_quic() {
        // Long headers; short headers; what is between, also of who has an allocation.
        for first in (4..=63).chain(80..=255) {
            let mut datagram = binding();
            datagram[0] = first;
            assert!(!is_turn(&datagram, || true), "{first}");
        }
    }

    #[test]
    fn of_datagrams_in_one_buffer_those_of_quic_stay_in_their_order() {
        let message = binding();
        let packet = |n: u8| vec![0x50 + n; message.len()];
        let is_taken = |datagram: &[u8]| is_turn(datagram, || false);
        for (all, kept) in [
            (vec![packet(1), message.clone(), packet(2), message.clone(), packet(3)[..5].to_vec()], vec![0, 2, 4]),
            (vec![message.clone(), message.clone()], vec![]),
            (vec![packet(1), packet(2)], vec![0, 1]),
            (vec![packet(1), message.clone()], vec![0]),
            (vec![], vec![]),
        ] {
            let mut buffer = all.concat();
            let left = take_out(&mut buffer, message.len(), is_taken);
            let kept: Vec<_> = kept.into_iter().map(|index: usize| all[index].clone()).collect();
            assert_eq!(buffer[..left], kept.concat());
        }
        // A buffer of one, however long, and one that says nothing of its datagrams.
        assert_eq!(take_out(&mut message.clone(), 65_536, is_taken), 0);
        assert_eq!(take_out(&mut message.clone(), 0, is_taken), message.len());
    }
}
