//! VRRP (RFC 9568): packet codec and state machine, (input, now) -> actions. Pure, and imports nothing of ours: it
//! knows no socket, no clock and no site.

mod interval;
mod machine;
mod packet;

pub use interval::{Interval, IntervalError, SkewRule};
pub use machine::{
    Action, Cause, Config, Degraded, Health, Input, LabRules, Links, Machine, Profile, State, Time,
};
pub use packet::{
    Advert, ChecksumRule, DATAGRAM_BYTES_MAX, Expected, GROUP, PROTOCOL, Received, Rejection, TTL, decode,
    encode,
};
