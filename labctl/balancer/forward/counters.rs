//! What a director counts: how often it forwarded, and why not.

/// Packets and what became of them, since the director was made. Whatever is not forwarded though it could have been
/// meant for a service is counted here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets to real servers, errors included.
    pub to_real: u64,
    /// Packets of real servers to clients, errors included.
    pub to_client: u64,
    /// Packets too big for the way, answered with the size that fits.
    pub answered: u64,
    /// Openings that were given a real server: SYNs without a connection, and first datagrams.
    pub opened: u64,
    /// Packets of connections that the tables knew.
    pub kept: u64,
    /// Segments within a connection that the tables did not know (begun with another director, or forgotten), given to a
    /// real server by the hash.
    pub missed: u64,
    /// ICMP errors forwarded, to either side.
    pub errors: u64,
    /// Packets for a service without a real server, left to the kernel.
    pub no_real: u64,
    /// Packets for a `tun` service of a family in which the director has no address, left to the kernel.
    pub no_tunnel: u64,
    /// Packets on their last hop, left to the kernel, which says "time exceeded".
    pub ttl_ended: u64,
    /// Fragments, left to the kernel.
    pub fragments: u64,
    /// Packets too big for the way that their sender allows to be fragmented, and ICMP errors of that size, which nobody
    /// may answer with another error: left to the kernel.
    pub too_long: u64,
}

/// Why a frame is left to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// It has nothing to do with a service.
    NotOurs,
    TtlEnded,
    Fragment,
    TooLong,
    NoTunnel,
    NoReal,
}

impl Counters {
    pub(super) fn leave(&mut self, left: Left) {
        match left {
            Left::NotOurs => {}
            Left::TtlEnded => self.ttl_ended += 1,
            Left::Fragment => self.fragments += 1,
            Left::TooLong => self.too_long += 1,
            Left::NoTunnel => self.no_tunnel += 1,
            Left::NoReal => self.no_real += 1,
        }
    }
}
