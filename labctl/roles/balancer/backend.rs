//! What gives connections to real servers. Of packets: the backend that was asked for, or the first that the kernel allows, and
//! whoever gets something else than the best is told why. Of requests: the proxy.

use super::{Error, described};
use crate::dataplane::ebpf::EbpfPlane;
use crate::dataplane::{self, Plane, Settings};
use crate::roles::dnat::Dnat;
use crate::roles::proxy::{Gate, Proxy};
use crate::topology::{Backend, Balancer, BalancerEngine, Forward};

/// A data plane, and why it is this one.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) plane: Box<dyn Plane>,
    pub(super) switch: Switch,
    pub(super) because: String,
}

/// Whether it does its work.
#[derive(Debug)]
pub(super) enum Switch {
    /// On packets.
    Packets(dataplane::Switch),
    /// On requests.
    Requests(Gate),
    /// On whatever comes to the virtual address; that is nothing where the address is not.
    None,
}

impl Switch {
    pub(super) fn set(&mut self, active: bool) -> Result<(), dataplane::Error> {
        match self {
            Self::Packets(switch) => switch.set(active)?,
            Self::Requests(gate) => gate.set(active),
            Self::None => {}
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
            Ok(Chosen { plane: Box::new(proxy), switch, because })
        }
        (_, BalancerEngine::Nft) => {
            Ok(Chosen { plane: Box::new(Dnat::default()), switch: Switch::None, because })
        }
        _ => packets(balancer.backend, settings),
    }
}

/// Attaches what was asked for, or the best that can be had.
fn packets(wanted: Backend, settings: Settings) -> Result<Chosen, Error> {
    match wanted {
        Backend::Ebpf => ebpf(settings, "the topology asks for it"),
        Backend::Nft => {
            Err(Error::NoBackend { because: "there is no nftables backend in this labctl".to_owned() })
        }
        Backend::Auto => match ebpf(settings, "the kernel has it") {
            Err(Error::Dataplane(error)) if error.lacks_ebpf() => {
                Err(Error::NoBackend { because: described(&error) })
            }
            chosen => chosen,
        },
    }
}

fn ebpf(settings: Settings, because: &str) -> Result<Chosen, Error> {
    let (plane, switch) = EbpfPlane::attach(settings)?;
    Ok(Chosen { plane: Box::new(plane), switch: Switch::Packets(switch), because: because.to_owned() })
}
