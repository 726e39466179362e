//! VRRP (RFC 9568): packet codec and state machine, (input, now) -> actions. Pure, and imports nothing of ours: it
//! knows no socket, no clock and no site.

mod interval;
mod machine;
mod packet;
mod versions;

pub use interval::{Interval, IntervalError, SkewRule};
pub use machine::{
    Action, Cause, Config, Degraded, Health, Input, LabRules, Links, Machine, Profile, State, Time,
};
pub use packet::{
    Advert, ChecksumRule, DATAGRAM_BYTES_MAX, Envelope, Expected, Family, GROUP_V4, GROUP_V6, OWNER,
    PROTOCOL, Received, Rejection, TTL, Version, Versions, decode, encode, group, virtual_link_local,
    virtual_mac,
};
pub use versions::NewerPeers;
