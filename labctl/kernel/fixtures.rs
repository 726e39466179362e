//! Two machines and a cable between them, for tests that need a real kernel: two network namespaces that end with the
//! value, each with the interface `front`.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{AddressMessageBuilder, LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::clock;
use super::link::{self, LOOPBACK};
use super::namespace::NetNs;
use super::netlink::Request;
use super::packet::{Mac, Port};

/// Longest that a fact may take to become true.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(10);
/// Most time between a question and its answer on a busy machine; then it is asked again.
pub(crate) const ANSWER_MAX: Duration = Duration::from_millis(500);
/// What the cable's ends are called.
pub(crate) const FRONT: &str = "front";
const FRONT_INDEX: u32 = 2;

/// One machine.
pub(crate) struct Machine {
    pub(crate) netns: NetNs,
    /// Its end of the cable.
    pub(crate) port: Port,
}

/// Two machines on one cable.
pub(crate) struct Cable {
    pub(crate) left: Machine,
    pub(crate) right: Machine,
}

impl Cable {
    /// `None`, and a line on the terminal, where this process may not have network namespaces.
    ///
    /// The calling thread stays on one processor from now on: frames, and answers to them, keep their order only there.
    pub(crate) fn new() -> Option<Self> {
        stay_on_this_processor();
        let (mut left, mut right) = match (Machine::new(1), Machine::new(2)) {
            (Ok(left), Ok(right)) => (left, right),
            (Err(error), _) | (_, Err(error)) => {
                // Not `println!`, which the test harness swallows when a test passes.
                let _ = writeln!(std::io::stderr(), "skipped: no network namespaces: {error}");
                return None;
            }
        };
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(FRONT)
            .index(FRONT_INDEX)
            .address(right.port.mac.to_vec())
            .setns_by_fd(right.netns.as_fd().as_raw_fd());
        let message = LinkVeth::new(FRONT, FRONT)
            .index(FRONT_INDEX)
            .address(left.port.mac.to_vec())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())))
            .build();
        let message = RouteNetlinkMessage::NewLink(message);
        left.ask(Request { message, flags: NLM_F_CREATE | NLM_F_EXCL });
        for machine in [&mut left, &mut right] {
            machine.ask(link::up(LOOPBACK));
            machine.ask(link::up(FRONT_INDEX));
        }
        for machine in [&mut left, &mut right] {
            machine.wait_until_it_carries();
        }
        Some(Self { left, right })
    }
}

impl Machine {
    fn new(number: u8) -> Result<Self, super::namespace::Error> {
        // Addresses answer on their own interface only, and are there at once.
        let settings = [
            ("net.ipv4.conf.all.arp_ignore", "1"),
            ("net.ipv4.conf.all.arp_announce", "2"),
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("?net.ipv6.conf.default.accept_dad", "0"),
            ("?net.ipv6.conf.all.forwarding", "1"),
        ];
        let netns = NetNs::create(&settings.map(|(key, value)| (key.to_owned(), value.to_owned())))?;
        let mac = [2, 0, 0, 0, 0, number];
        Ok(Self { netns, port: Port { name: FRONT.to_owned(), index: FRONT_INDEX, mac } })
    }

    /// A cable drops frames until the kernel has seen that both ends are up, and has no link-local address before.
    fn wait_until_it_carries(&mut self) {
        eventually("the cable carries", || {
            let links = link::links(&mut self.netns.netlink).expect("netlink answers");
            let own = SocketAddrV6::new(self.link_local(), 0, 0, FRONT_INDEX);
            links.iter().any(|link| link.index == FRONT_INDEX && link.operational)
                && self.on(|| UdpSocket::bind(own)).is_ok()
        });
    }

    /// Changes something, which must work.
    pub(crate) fn ask(&mut self, request: Request) {
        assert_eq!(self.netns.netlink.run(&[request]).expect("netlink answers"), [Ok(())]);
    }

    /// Gives the cable's end an address, without a check for duplicates.
    pub(crate) fn add(&mut self, address: IpAddr) {
        let message = match address {
            IpAddr::V4(address) => {
                AddressMessageBuilder::<Ipv4Addr>::new().index(FRONT_INDEX).address(address, 24).build()
            }
            IpAddr::V6(address) => {
                let builder = AddressMessageBuilder::<Ipv6Addr>::new().index(FRONT_INDEX);
                let mut message = builder.address(address, 64).build();
                message.header.flags = AddressHeaderFlags::Nodad;
                message
            }
        };
        self.ask(Request { message: RouteNetlinkMessage::NewAddress(message), flags: NLM_F_CREATE });
    }

    /// Tells it for ever where a neighbour lives.
    pub(crate) fn know(&mut self, address: IpAddr, mac: Mac) {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = FRONT_INDEX;
        message.header.state = NeighbourState::Permanent;
        let destination = match address {
            IpAddr::V4(address) => {
                message.header.family = AddressFamily::Inet;
                NeighbourAddress::Inet(address)
            }
            IpAddr::V6(address) => {
                message.header.family = AddressFamily::Inet6;
                NeighbourAddress::Inet6(address)
            }
        };
        let mac = NeighbourAttribute::LinkLayerAddress(mac.to_vec());
        message.attributes = vec![NeighbourAttribute::Destination(destination), mac];
        self.ask(Request { message: RouteNetlinkMessage::NewNeighbour(message), flags: NLM_F_CREATE });
    }

    /// Runs something on this machine.
    pub(crate) fn on<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.netns.enter(work).expect("the namespace can be entered")
    }

    /// The link-local address that the kernel makes of a hardware address (RFC 4291, appendix A).
    pub(crate) fn link_local(&self) -> Ipv6Addr {
        link_local(self.port.mac)
    }
}

fn stay_on_this_processor() {
    let mut processors = CpuSet::new();
    let here = sched_getcpu().expect("the number of this processor");
    processors.set(here).expect("a processor that is there");
    sched_setaffinity(Pid::from_raw(0), &processors).expect("a thread may stay where it is");
}

/// Asks again and again until it is so.
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = clock::monotonic_ns() + WAIT_MAX.as_nanos() as u64;
    while !so() {
        assert!(clock::monotonic_ns() < deadline, "{what}: not within {WAIT_MAX:?}");
        std::thread::yield_now();
    }
}

fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    let mut octets = [0; 16];
    octets[..2].copy_from_slice(&[0xfe, 0x80]);
    octets[8..].copy_from_slice(&[a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    octets.into()
}
