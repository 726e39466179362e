//! Who answers for the VIP: a question to everybody on the public network every millisecond, from a thread with real-time
//! priority on a node of its own, and every announcement that is heard meanwhile. Each question is asked in the name of
//! another address, so that an answer that comes late is still known for the question it answers.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etherparse::{ArpOperation, ArpPacketSlice};
use labctl::kernel::netlink::Netlink;
use labctl::kernel::packet::{FrameSocket, Mac, Port};
use labctl::kernel::realtime::{self, Alarm};
use labctl::kernel::tap::{Tap, Way};
use labctl::kernel::{arp, clock};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::site::{ASKERS, Names, asker, asker_of};

/// From one question to the next.
pub const INTERVAL: Duration = Duration::from_millis(1);
/// More hardware addresses than two proxies and a virtual router have.
const MACS_MAX: usize = 8;
/// How long a wait may last before the wish to stop is looked at.
const LOOK: u16 = 50;
const ETHERNET_BYTES: usize = 14;
const ETHERTYPE: std::ops::Range<usize> = 12..14;
const ARP: [u8; 2] = [0x08, 0x06];

/// One question.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    pub asked_ns: u64,
    pub late_ns: u64,
    /// A bit for each hardware address that answered it.
    pub who: u8,
}

/// All that was seen.
#[derive(Debug, Default)]
pub struct Sightings {
    /// In order of appearance; the place of one is its bit.
    pub macs: Vec<Mac>,
    pub rounds: Vec<Round>,
    /// Gratuitous ARP for the VIP: when, and of whom.
    pub announcements: Vec<(u64, u8)>,
}

/// Asks until told to stop, in the network namespace of the calling thread.
pub fn watch(vip: Ipv4Addr, stop: &AtomicBool) -> io::Result<Sightings> {
    let mut netlink = Netlink::open().map_err(io::Error::other)?;
    let port = Port::find(&mut netlink, Names::new().front.as_str()).map_err(io::Error::other)?;
    // Apart from the daemons' own sockets on purpose: it is a witness.
    let ears = Tap::open(&port)?;
    let mouth = FrameSocket::open(&port).map_err(io::Error::other)?;
    realtime::observe_first()?;
    let alarm = Alarm::new()?;
    let mut seen = Sightings::default();
    let mut due_ns = clock::monotonic_ns();
    while !stop.load(Ordering::Relaxed) {
        alarm.set(Some(Duration::from_nanos(due_ns)))?;
        let mut ready =
            [PollFd::new(alarm.as_fd(), PollFlags::POLLIN), PollFd::new(ears.as_fd(), PollFlags::POLLIN)];
        poll(&mut ready, PollTimeout::from(LOOK))?;
        let now_ns = clock::monotonic_ns();
        if now_ns >= due_ns {
            let number = seen.rounds.len() as u64;
            // A question that cannot be sent has no answer; the links of this node are never touched.
            let _ = mouth.send(&arp::request(asker(number), vip, port.mac));
            seen.rounds.push(Round { asked_ns: now_ns, late_ns: now_ns - due_ns, who: 0 });
            let step = INTERVAL.as_nanos() as u64;
            // Questions that were slept through are not asked all at once.
            due_ns += step * ((now_ns - due_ns) / step + 1);
        }
        hear(&ears, vip, &mut seen)?;
    }
    Ok(seen)
}

fn hear(ears: &Tap, vip: Ipv4Addr, seen: &mut Sightings) -> io::Result<()> {
    while let Some(frame) = ears.next()? {
        let at_ns = clock::monotonic_ns();
        let Some((operation, mac, sender, target)) = read(&frame.bytes) else { continue };
        if frame.way == Way::Out || sender != vip {
            continue;
        }
        let Some(bit) = seen.bit(mac) else { continue };
        if target == vip {
            seen.announcements.push((at_ns, bit));
        } else if let (ArpOperation::REPLY, Some(place)) = (operation, asker_of(target)) {
            seen.answer(place, bit);
        }
    }
    Ok(())
}

impl Sightings {
    fn bit(&mut self, mac: Mac) -> Option<u8> {
        let place = self.macs.iter().position(|known| *known == mac).unwrap_or_else(|| {
            self.macs.push(mac);
            self.macs.len() - 1
        });
        (place < MACS_MAX).then_some(place as u8)
    }

    /// Notes who answered the last question that was asked in the name of this asker.
    fn answer(&mut self, asker: u64, bit: u8) {
        let Some(last) = (self.rounds.len() as u64).checked_sub(1) else { return };
        let askers = u64::from(ASKERS);
        let back = (last % askers + askers - asker) % askers;
        if let Some(round) = last.checked_sub(back).and_then(|number| self.rounds.get_mut(number as usize)) {
            round.who |= 1 << bit;
        }
    }
}

fn read(frame: &[u8]) -> Option<(ArpOperation, Mac, Ipv4Addr, Ipv4Addr)> {
    if frame.get(ETHERTYPE)? != ARP {
        return None;
    }
    let packet = ArpPacketSlice::from_slice(frame.get(ETHERNET_BYTES..)?).ok()?;
    let mac = Mac::try_from(packet.sender_hw_addr()).ok()?;
    let address = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from);
    let (sender, target) = (address(packet.sender_protocol_addr())?, address(packet.target_protocol_addr())?);
    Some((packet.operation(), mac, sender, target))
}
