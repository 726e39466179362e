//! Internet checksums that follow a change. They are updated and never computed anew: a packet that was damaged on the way
//! must still look damaged to its receiver.

/// A checksum in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    /// Where it is.
    pub(super) at: usize,
    /// UDP: zero says that there is none, and a computed zero is sent as all ones (RFC 768).
    pub(super) optional: bool,
    /// The checksum of the ICMP message that quotes the packet, and so covers this checksum too.
    pub(super) quoted_by: Option<usize>,
}

impl Sum {
    /// One that is always there, in a packet that nobody quotes.
    pub(super) fn new(at: usize) -> Self {
        Self { at, optional: false, quoted_by: None }
    }
}

/// Puts new bytes into the frame, and updates the checksums that cover them. The bytes are whole words of 16 bits, as the
/// checksums see them.
pub(super) fn replace(frame: &mut [u8], at: usize, new: &[u8], sums: &[Sum]) {
    let old = frame[at..at + new.len()].to_vec();
    for sum in sums {
        let before = u16::from_be_bytes([frame[sum.at], frame[sum.at + 1]]);
        if sum.optional && before == 0 {
            continue;
        }
        let after = match updated(before, &old, new) {
            0 if sum.optional => 0xffff,
            after => after,
        };
        let quoted_by: Vec<Sum> = sum.quoted_by.map(Sum::new).into_iter().collect();
        replace(frame, sum.at, &after.to_be_bytes(), &quoted_by);
    }
    frame[at..at + new.len()].copy_from_slice(new);
}

/// The checksum after `old` became `new`: HC' = ~(~HC + ~m + m') (RFC 1624, equation 3).
fn updated(sum: u16, old: &[u8], new: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> Vec<u16> {
        bytes.chunks_exact(2).map(|word| u16::from_be_bytes([word[0], word[1]])).collect()
    };
    let mut total = u32::from(!sum);
    total += words(old).into_iter().map(|word| u32::from(!word)).sum::<u32>();
    total += words(new).into_iter().map(u32::from).sum::<u32>();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1624() {
        // Section 4: the header checksum is 0xdd2f, and a field changes from 0x5555 to 0x3285; the older equation gave 0xffff.
        assert_eq!(updated(0xdd2f, &[0x55, 0x55], &[0x32, 0x85]), 0x0000);
    }

    #[test]
    fn a_checksum_that_is_not_there_stays_away() {
        let mut frame = [0x12, 0x34, 0x00, 0x00];
        replace(&mut frame, 0, &[0xab, 0xcd], &[Sum { optional: true, ..Sum::new(2) }]);
        assert_eq!(frame, [0xab, 0xcd, 0x00, 0x00]);
    }

    #[test]
    fn a_udp_checksum_never_becomes_none() {
        let mut frame = [0x55, 0x55, 0xdd, 0x2f];
        replace(&mut frame, 0, &[0x32, 0x85], &[Sum { optional: true, ..Sum::new(2) }]);
        assert_eq!(frame, [0x32, 0x85, 0xff, 0xff]);
    }

    #[test]
    fn who_quotes_a_packet_covers_its_checksum_and_its_bytes() {
        // What changes in a header with its checksum is nothing to the sum over both.
        let mut frame = [0x55, 0x55, 0xdd, 0x2f, 0x12, 0x34];
        let sums = [Sum { quoted_by: Some(4), ..Sum::new(2) }, Sum::new(4)];
        replace(&mut frame, 0, &[0x32, 0x86], &sums);
        assert_eq!(frame, [0x32, 0x86, 0xff, 0xfe, 0x12, 0x34]);
    }
}
