//! Whether this kernel can do a thing: asked by doing it in a network namespace that ends with the question. It does not
//! know who needs it.

use std::fs;

use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage};

use super::cgroup::{self, Controller};
use super::link::LOOPBACK;
use super::namespace::NetNs;
use super::netlink::Request;

/// tcx came with this version of Linux.
const TCX_SINCE: (u32, u32) = (6, 6);
const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// Why a feature cannot be had here; nothing if it can. Trying one may make the kernel load its module.
pub fn lacks(feature: &str) -> Option<String> {
    match feature {
        "tcx" => lacks_tcx(),
        "ipvs" => match fs::metadata("/proc/net/ip_vs") {
            Ok(_) => None,
            Err(_) => Some("no /proc/net/ip_vs".to_owned()),
        },
        "cpu-limits" => cgroup::lacks(&[Controller::Cpu]),
        "memory-limits" => cgroup::lacks(&[Controller::Memory]),
        "netem" | "fq" | "tbf" => attempt(add_qdisc(feature)),
        kind => attempt(add_link(kind)),
    }
}

/// The kernel's release, as `uname -r` has it.
pub fn release() -> String {
    let name = nix::sys::utsname::uname();
    name.map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
}

fn attempt(request: Request) -> Option<String> {
    let tried = NetNs::create(&[])
        .map_err(|error| error.to_string())
        .and_then(|mut namespace| namespace.netlink.run(&[request]).map_err(|error| error.to_string()));
    match tried.map(|results| results.into_iter().next()) {
        // A link that wants more than its kind is one that the kernel knows.
        Ok(None | Some(Ok(()) | Err(Errno::EINVAL | Errno::ENODEV | Errno::EEXIST))) => None,
        Ok(Some(Err(errno))) => Some(errno.desc().to_lowercase()),
        Err(error) => Some(error),
    }
}

fn add_link(kind: &str) -> Request {
    let kind = match kind {
        "macvlan" => InfoKind::MacVlan,
        "vxlan" => InfoKind::Vxlan,
        "veth" => InfoKind::Veth,
        "bridge" => InfoKind::Bridge,
        "dummy" => InfoKind::Dummy,
        "vrf" => InfoKind::Vrf,
        other => InfoKind::Other(other.to_owned()),
    };
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName("probe".to_owned()));
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]));
    Request { message: RouteNetlinkMessage::NewLink(message), flags: CREATE }
}

fn add_qdisc(kind: &str) -> Request {
    let mut message = TcMessage::with_index(LOOPBACK as i32);
    message.header.parent = TcHandle::ROOT;
    message.attributes.push(TcAttribute::Kind(kind.to_owned()));
    Request { message: RouteNetlinkMessage::NewQueueDiscipline(message), flags: CREATE }
}

fn lacks_tcx() -> Option<String> {
    let release = release();
    let mut numbers = release.split(['.', '-']).map_while(|word| word.parse().ok());
    let version: (u32, u32) = (numbers.next()?, numbers.next()?);
    (version < TCX_SINCE).then(|| format!("it came with Linux {}.{}", TCX_SINCE.0, TCX_SINCE.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cables_and_networks_can_be_had_wherever_labs_can_and_nonsense_cannot() {
        if NetNs::create(&[]).is_err() {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "skipped: no network namespace of its own");
            return;
        }
        assert_eq!((lacks("veth"), lacks("bridge")), (None, None));
        assert!(lacks("no-such-kind").is_some());
    }
}
