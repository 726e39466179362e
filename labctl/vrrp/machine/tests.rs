//! The whole transition table as text, stories that one step cannot tell, and elections under every fault. Here is what all
//! of them use.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU8;
use std::time::Duration;

use super::*;
use crate::vrrp::SkewRule;

mod election;
mod lab;
mod lab_stories;
mod site;
mod stories;
mod table;

const SELF: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 1, 12));
const LESSER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 1, 11));
const GREATER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 1, 13));
/// When the one input of a table's line happens.
const NOW: Time = Duration::from_secs(60);

fn cs(centiseconds: u16) -> Interval {
    Interval::from_centiseconds(centiseconds).unwrap()
}

fn config(priority: u8, preempt: bool) -> Config {
    Config {
        priority: NonZeroU8::new(priority).unwrap(),
        interval: cs(100),
        preempt,
        preempt_delay: Duration::ZERO,
        skew: SkewRule::OfInterval,
        address: SELF,
        profile: Profile::Rfc9568,
    }
}

fn lab(config: Config) -> Config {
    Config { profile: Profile::Lab(LabRules { rank: 1, probes: true, lease: true }), ..config }
}

/// From a peer whose interval, 0.5 s, is not ours.
fn advert(from: IpAddr, priority: u8) -> Input {
    Input::Advert { from, priority, interval: cs(50) }
}

fn words(actions: &[Action]) -> String {
    let words = actions.iter().map(|action| match action {
        Action::SendAdvert { priority } => format!("advert({priority})"),
        Action::TakeAddresses => "take".to_owned(),
        Action::ReleaseAddresses => "release".to_owned(),
        Action::Announce => "announce".to_owned(),
        Action::Probe => "probe".to_owned(),
        Action::Grant { until, .. } => format!("grant until {until:?}"),
        Action::Lease { until } => format!("lease until {until:?}"),
        Action::Hush => "hush".to_owned(),
        Action::Transition { from, to, because } => format!("{from} -> {to}, because {because}"),
    });
    match words.collect::<Vec<_>>().join("; ") {
        nothing if nothing.is_empty() => "nothing".to_owned(),
        something => something,
    }
}
