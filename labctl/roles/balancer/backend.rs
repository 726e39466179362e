//! What gives connections to real servers. Of packets: the backend that was asked for, or the first that the kernel allows, and
//! whoever gets something else than the best is told why. Of requests: the proxy.

use super::{Error, described};
use crate::dataplane::ebpf::EbpfPlane;
use crate::dataplane::nft::{self, NftPlane};
use crate::dataplane::{self, Plane, Settings};
use crate::roles::proxy::{Gate, Proxy};
use crate::topology::{Backend, Balancer, BalancerEngine, Forward};

/// A data plane, and why it is this one.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) plane: Box<dyn Plane>,
    pub(super) switch: Switch,
    pub(super) because: String,
    /// It is what could be had in the place of something better.
    pub(super) second_best: bool,
}

/// Whether it does its work.
#[derive(Debug)]
pub(super) enum Switch {
    /// On packets.
    Packets(dataplane::Switch),
    /// On connections, by rules.
    Rules(nft::Switch),
    /// On requests.
    Requests(Gate),
}

impl Switch {
    pub(super) fn set(&mut self, active: bool) -> Result<(), dataplane::Error> {
        match self {
            Self::Packets(switch) => switch.set(active)?,
            Self::Rules(switch) => switch.set(active)?,
            Self::Requests(gate) => gate.set(active),
        }
        Ok(())
    }
}

/// Begins with what the topology asks for.
pub(super) fn choose(balancer: &Balancer, settings: Settings) -> Result<Chosen, Error> {
    let because = "the topology asks for it".to_owned();
    match (balancer.forward, balancer.engine) {
        (Forward::Proxy, _) => {
            let proxy = Proxy::open(&balancer.services)?;
            let switch = Switch::Requests(proxy.gate());
            Ok(Chosen { plane: Box::new(proxy), switch, because, second_best: false })
        }
        (_, BalancerEngine::Nft) => rules(balancer, because),
        _ => packets(balancer, settings),
    }
}

/// Attaches what was asked for, or the best that can be had.
fn packets(balancer: &Balancer, settings: Settings) -> Result<Chosen, Error> {
    let asked = "the topology asks for it".to_owned();
    match balancer.backend {
        Backend::Ebpf => ebpf(settings, asked),
        Backend::Nft => rules(balancer, asked),
        Backend::Auto => match ebpf(settings, "the kernel has it".to_owned()) {
            Err(Error::Dataplane(error)) if error.lacks_ebpf() => {
                let chosen = rules(balancer, format!("eBPF is not to be had ({})", described(&error)))?;
                Ok(Chosen { second_best: true, ..chosen })
            }
            chosen => chosen,
        },
    }
}

fn ebpf(settings: Settings, because: String) -> Result<Chosen, Error> {
    let (plane, switch) = EbpfPlane::attach(settings)?;
    Ok(Chosen { plane: Box::new(plane), switch: Switch::Packets(switch), because, second_best: false })
}

fn rules(balancer: &Balancer, because: String) -> Result<Chosen, Error> {
    if let Some(what) = balancer.beyond_nft() {
        let because = format!("{because}, and nftables cannot do {what}");
        return Err(Error::NoBackend { because });
    }
    let (plane, switch) = NftPlane::open()?;
    Ok(Chosen { plane: Box::new(plane), switch: Switch::Rules(switch), because, second_best: false })
}
