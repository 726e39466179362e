//! How much passed an interface, by the kernel's own count, and how much may: a token bucket in front of it. It does not
//! know what passes.

use std::collections::BTreeMap;

use rtnetlink::packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};

use super::netlink::{Error, Netlink, Request};

/// What may leave at once after a silence: some frames, so that a burst changes nothing about the rate of a second.
const BURST_BYTES: u32 = 16 * 1024;
/// What may wait for its turn before the kernel drops: enough for a sender to keep the link busy.
const QUEUE_BYTES: u32 = 128 * 1024;
/// `TCA_TBF_PARMS` and `TCA_TBF_BURST` of `linux/pkt_sched.h`.
const TBF_PARMS: u16 = 1;
const TBF_BURST: u16 = 6;
/// `TC_LINKLAYER_ETHERNET`: without it the kernel would want a table of rates.
const ETHERNET: u8 = 1;

/// Bytes that passed an interface since it was made, hardware addresses included. A packet that the kernel has not cut up
/// yet counts as one: its headers once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// In.
    pub received: u64,
    /// Out.
    pub sent: u64,
}

/// What passed every interface of a namespace, by name.
pub fn passed(netlink: &mut Netlink) -> Result<BTreeMap<String, Passed>, Error> {
    let found = netlink.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let links = found.into_iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewLink(link) => read_passed(link),
        _ => None,
    });
    Ok(links.collect())
}

fn read_passed(link: LinkMessage) -> Option<(String, Passed)> {
    let (mut name, mut passed) = (None, None);
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::IfName(found) => name = Some(found),
            LinkAttribute::Stats64(count) => {
                passed = Some(Passed { received: count.rx_bytes, sent: count.tx_bytes });
            }
            _ => {}
        }
    }
    Some((name?, passed?))
}

/// Lets no more than that leave by an interface, with the queueing discipline `tbf`, in the place of another limit.
pub fn limit(index: u32, bytes_per_s: u32) -> Request {
    let options = vec![
        TcOption::Other(DefaultNla::new(TBF_PARMS, bucket(bytes_per_s).to_vec())),
        TcOption::Other(DefaultNla::new(TBF_BURST, BURST_BYTES.to_ne_bytes().to_vec())),
    ];
    let mut message = TcMessage::with_index(index as i32);
    message.header.parent = TcHandle::ROOT;
    message.attributes.push(TcAttribute::Kind("tbf".to_owned()));
    message.attributes.push(TcAttribute::Options(options));
    Request { message: RouteNetlinkMessage::NewQueueDiscipline(message), flags: NLM_F_CREATE | NLM_F_REPLACE }
}

/// A `tc_tbf_qopt`: two `tc_ratespec` of 12 bytes, of which the second, the peak rate, is not used; then the length of the
/// queue; the last two fields are told otherwise.
fn bucket(bytes_per_s: u32) -> [u8; 36] {
    let mut bytes = [0; 36];
    bytes[1] = ETHERNET;
    bytes[8..12].copy_from_slice(&bytes_per_s.to_ne_bytes());
    bytes[24..28].copy_from_slice(&QUEUE_BYTES.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::kernel::feature;
    use crate::kernel::link::{self, LOOPBACK};
    use crate::kernel::namespace::NetNs;

    const DATAGRAM_BYTES: usize = 1_000;

    fn namespace() -> Option<NetNs> {
        let mut made = match NetNs::create(&[]) {
            Ok(made) => made,
            Err(error) => {
                eprintln!("skipped: no network namespace: {error}");
                return None;
            }
        };
        made.netlink.run(&[link::up(LOOPBACK)]).unwrap()[0].unwrap();
        Some(made)
    }

    /// Sends datagrams over loopback until that many have come through.
    fn send(namespace: &NetNs, count: usize) {
        let through = namespace.enter(|| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let here = socket.local_addr().unwrap();
            for _ in 0..count {
                socket.send_to(&[0; DATAGRAM_BYTES], here).unwrap();
                socket.recv(&mut [0; DATAGRAM_BYTES]).unwrap();
            }
        });
        through.unwrap();
    }

    #[test]
    fn every_byte_is_counted_on_both_ways() {
        let Some(mut namespace) = namespace() else { return };
        assert_eq!(passed(&mut namespace.netlink).unwrap()["lo"], Passed::default());
        send(&namespace, 10);
        // Ethernet, IPv4 and UDP.
        let bytes = 10 * (DATAGRAM_BYTES as u64 + 14 + 20 + 8);
        let counted = passed(&mut namespace.netlink).unwrap()["lo"];
        assert_eq!(counted, Passed { received: bytes, sent: bytes });
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a rate is bytes in a time")]
    fn no_more_leaves_than_may() {
        let Some(mut namespace) = namespace() else { return };
        if let Some(why) = feature::lacks("tbf") {
            return eprintln!("skipped: no tbf: {why}");
        }
        namespace.netlink.run(&[limit(LOOPBACK, 400_000)]).unwrap()[0].unwrap();
        let began = Instant::now();
        send(&namespace, 100);
        // What is sent faster than the rate fits into the burst; nothing bounds from above how slow a machine is.
        let allowed = 400_000.0 * began.elapsed().as_secs_f64() + f64::from(BURST_BYTES);
        assert!(100.0 * DATAGRAM_BYTES as f64 <= allowed, "only {allowed} bytes were allowed");
        // Another limit takes the place of the first.
        namespace.netlink.run(&[limit(LOOPBACK, 800_000)]).unwrap()[0].unwrap();
    }
}
