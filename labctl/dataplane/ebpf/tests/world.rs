//! Random things that happen to a director of the fixtures' world, which is small, so that packets meet each other's flows.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use proptest::sample::select;

use super::{FRAME_BYTES_MAX, FRAME_BYTES_MIN, FRAME_BYTES_MIN_V6, is_long_enough};
use crate::balancer::forward::fixtures::packet::{Complaint, Content, Sent};
use crate::balancer::forward::fixtures::{Side, services};
use crate::balancer::{Endpoint, Flow, Protocol};

/// One thing that happens to a director.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Frame(Side, Vec<u8>),
    Install([bool; 2]),
    /// Only the first of all services.
    InstallSome(usize),
    Active(bool),
    Adopt(Flow),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let some = 0..=services([true, true]).len();
    prop_oneof![
        2000 => frame().prop_map(|(side, frame)| Step::Frame(side, frame)),
        2 => any::<[bool; 2]>().prop_map(Step::Install),
        1 => Just(Step::Install([false, false])),
        3 => Just(Step::Install([true, true])),
        1 => some.prop_map(Step::InstallSome),
        3 => prop::bool::weighted(0.9).prop_map(Step::Active),
        40 => flow().prop_map(Step::Adopt),
    ]
}

/// Ends of a connection: a client, a service, and one of its real servers.
#[derive(Clone, Copy, Debug)]
struct Ends {
    client: SocketAddr,
    service: Endpoint,
    real: Endpoint,
}

fn ends() -> impl Strategy<Value = Ends> {
    let pairs: Vec<(Endpoint, Endpoint)> = services([true, true])
        .into_iter()
        .flat_map(|service| service.reals.into_iter().map(move |real| (service.address, real.endpoint)))
        .collect();
    (select(pairs), 10u8..14, 40_000u16..40_003).prop_map(|((service, real), host, port)| {
        let address = match service.address {
            IpAddr::V4(_) => IpAddr::from([198, 51, 100, host]),
            IpAddr::V6(_) => IpAddr::from([0x2001, 0xdb8, 0x100, 0, 0, 0, 0, u16::from(host)]),
        };
        Ends { client: SocketAddr::new(address, port), service, real }
    })
}

fn flow() -> impl Strategy<Value = Flow> {
    ends().prop_map(|Ends { client, service, real }| Flow { client, service, real })
}

fn frame() -> impl Strategy<Value = (Side, Vec<u8>)> {
    let side = |front: bool| if front { Side::Front } else { Side::Back };
    // Now and then by the wrong side.
    let astray = prop::bool::weighted(0.03);
    let whole = prop_oneof![
        12 => request().prop_map(|sent| (true, sent.frame())),
        4 => answer().prop_map(|sent| (false, sent.frame())),
        2 => error_to_real().prop_map(|frame| (true, frame)),
        1 => error_to_client().prop_map(|frame| (false, frame)),
    ];
    (whole, astray, damage()).prop_map(move |((front, mut frame), astray, damage)| {
        damage.apply(&mut frame);
        (side(front != astray), frame)
    })
}

/// What is wrong with a frame.
#[derive(Clone, Debug)]
enum Damage {
    None,
    Byte(prop::sample::Index, u8),
    /// In the headers, where it matters more.
    HeaderByte(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Longer(u8),
    VirtualRouter(u8),
}

/// The headers that are always there, and some of what follows them.
const HEADER_BYTES: usize = 100;

impl Damage {
    fn apply(self, frame: &mut Vec<u8>) {
        match self {
            Self::None => {}
            Self::Byte(at, byte) => {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
            Self::HeaderByte(at, byte) => {
                let at = at.index(frame.len().min(HEADER_BYTES));
                frame[at] = byte;
            }
            Self::Cut(at) => frame.truncate(at.index(frame.len()).max(FRAME_BYTES_MIN)),
            Self::Longer(bytes) => frame.extend(vec![0xa5; bytes.into()]),
            Self::VirtualRouter(family) => frame[..6].copy_from_slice(&[0, 0, 0x5e, 0, family, 0x33]),
        }
        frame.truncate(FRAME_BYTES_MAX);
        if !is_long_enough(frame) {
            frame.resize(FRAME_BYTES_MIN_V6, 0);
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = || any::<prop::sample::Index>();
    prop_oneof![
        12 => Just(Damage::None),
        1 => (index(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        4 => (index(), any::<u8>()).prop_map(|(at, byte)| Damage::HeaderByte(at, byte)),
        1 => index().prop_map(Damage::Cut),
        1 => (1u8..60).prop_map(Damage::Longer),
        1 => (1u8..3).prop_map(Damage::VirtualRouter),
    ]
}

fn flags() -> impl Strategy<Value = &'static str> {
    select(vec!["S", "S", "S", "A", "A", "AP", "SA", "FA", "FA", "R", "RA", "SF", ""])
}

/// Some of everything that a packet may have beside its ends.
fn dressed(ends: impl Strategy<Value = (SocketAddr, SocketAddr, Protocol)>) -> impl Strategy<Value = Sent> {
    let content = (flags(), prop::bool::weighted(0.2));
    let ttl = prop_oneof![8 => 2u8.., 1 => 0u8..3];
    // Around what fits, whole and in a tunnel; there are 20 to 80 bytes of headers.
    let length = prop_oneof![8 => 0usize..64, 1 => 1340usize..1500, 1 => 1500usize..2000];
    (ends, content, ttl, any::<(u8, bool)>(), 0usize..=10, extensions(), length, any::<u8>()).prop_map(
        |(
            (from, to, protocol),
            (flags, unchecked),
            ttl,
            (class, dont_fragment),
            words,
            extensions,
            length,
            byte,
        )| {
            let content = match (protocol, unchecked) {
                (Protocol::Tcp, _) => Content::Tcp(flags.to_owned()),
                (Protocol::Udp, false) => Content::Udp,
                (Protocol::Udp, true) => Content::UdpUnchecked,
            };
            let is_v4 = from.is_ipv4();
            Sent {
                ttl,
                class,
                dont_fragment,
                options: if is_v4 { words.saturating_sub(5) * 4 } else { 0 },
                extensions: if is_v4 { Vec::new() } else { extensions },
                payload: vec![byte; length],
                ..Sent::new(from, to, content)
            }
        },
    )
}

/// Extension headers of IPv6: mostly none, sometimes too many, too long, or of a kind that is not skipped.
fn extensions() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let one = (select(vec![0u8, 43, 43, 60, 60, 44, 51]), prop_oneof![6 => 0u8..3, 1 => 0u8..32], 0u8..2);
    let one = one.prop_map(|(kind, words, left)| {
        let mut body = vec![0; 8 * (usize::from(words) + 1) - 1];
        body[0] = words;
        body[2] = left;
        (kind, body)
    });
    prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(one, 0..10)]
}

fn request() -> impl Strategy<Value = Sent> {
    // Now and then to a port of no service.
    let ends = (ends(), prop::bool::weighted(0.05)).prop_map(|(Ends { client, service, .. }, stray)| {
        let mut to = SocketAddr::from(service);
        to.set_port(to.port() + u16::from(stray));
        (client, to, service.protocol)
    });
    dressed(ends)
}

fn answer() -> impl Strategy<Value = Sent> {
    let inside = |address: IpAddr| match address {
        IpAddr::V4(_) => IpAddr::from([10, 10, 1, 11]),
        IpAddr::V6(_) => IpAddr::from([0xfd00, 0x10, 0x10, 1, 0, 0, 0, 0x11]),
    };
    let ends = (ends(), prop::bool::weighted(0.1)).prop_map(move |(Ends { client, real, .. }, stays)| {
        let to = if stays { SocketAddr::new(inside(client.ip()), client.port()) } else { client };
        (real.into(), to, real.protocol)
    });
    dressed(ends)
}

/// An error about a packet between these two: unreachable, too big, and so on, and some that are none.
fn error(
    ends: impl Strategy<Value = (SocketAddr, SocketAddr, Protocol, IpAddr)>,
) -> impl Strategy<Value = Vec<u8>> {
    let kinds = (select(vec![3u8, 3, 11, 12, 8, 4]), select(vec![1u8, 2, 3, 4, 128]));
    let router = prop::bool::weighted(0.5);
    let ends = ends.prop_flat_map(|(from, to, protocol, via)| {
        dressed(Just((from, to, protocol))).prop_map(move |sent| (sent, via))
    });
    (ends, kinds, 0u8..6, 20usize..700, prop_oneof![9 => 2u8.., 1 => 0u8..2], router).prop_map(
        |((about, via), kinds, code, bytes, ttl, by_router)| {
            let kind = if about.from.is_ipv4() { kinds.0 } else { kinds.1 };
            let from = if by_router { via } else { about.to.ip() };
            let complaint = Complaint::new(&from.to_string(), kind, code, &about, bytes);
            Complaint { ttl, ..complaint }.frame()
        },
    )
}

fn router(of: IpAddr) -> IpAddr {
    match of {
        IpAddr::V4(_) => IpAddr::from([198, 51, 100, 1]),
        IpAddr::V6(_) => IpAddr::from([0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 1]),
    }
}

fn error_to_real() -> impl Strategy<Value = Vec<u8>> {
    error(ends().prop_map(|Ends { client, service, .. }| {
        (service.into(), client, service.protocol, router(client.ip()))
    }))
}

fn error_to_client() -> impl Strategy<Value = Vec<u8>> {
    error(
        ends()
            .prop_map(|Ends { client, real, .. }| (client, real.into(), real.protocol, router(client.ip()))),
    )
}
