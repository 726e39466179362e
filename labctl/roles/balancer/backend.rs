//! What forwards packets: the backend that was asked for, or the first that the kernel allows. Whoever gets something else
//! than the best is told why.

use super::{Error, described};
use crate::dataplane::ebpf::EbpfPlane;
use crate::dataplane::{Plane, Settings, Switch};
use crate::topology::Backend;

/// A data plane, and why it is this one.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) plane: Box<dyn Plane>,
    pub(super) switch: Switch,
    pub(super) because: String,
}

/// Attaches what was asked for, or the best that can be had.
pub(super) fn choose(wanted: Backend, settings: Settings) -> Result<Chosen, Error> {
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
    Ok(Chosen { plane: Box::new(plane), switch, because: because.to_owned() })
}
