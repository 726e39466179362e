//! FRRouting in the place of our own VRRP daemon: zebra and vrrpd, and the macvlans that they want to find, one an address
//! family, with the virtual MAC and the floating addresses on it. vrrpd takes such a link down while it is in backup.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use nix::unistd::{User, chown};

use super::foreign::{self, Error, Instance, Program, Watched, instances};
use super::{Reporter, Site};
use crate::kernel::link;
use crate::kernel::macvlan;
use crate::kernel::netlink::Netlink;
use crate::kernel::packet::{Mac, Port};
use crate::topology::{Failover, MacMode, VrrpVersion};
use crate::vrrp::{self, Family, OWNER};

const ENGINE: &str = "FRRouting";
const PACKAGE: &str = "frr";
/// Where Debian has its daemons.
const FOLDER: &str = "/usr/lib/frr";
const ZEBRA: &str = "zebra";
/// The daemon that takes part in the election.
pub const PROGRAM: &str = "vrrpd";
/// Where its daemons meet, in the node's private `/run`.
const RUN: &str = "/run/frr";
/// User and group of its daemons on Debian.
const USER: &str = "frr";

/// The program and its package, if it is not installed.
pub fn missing() -> Option<(&'static str, &'static str)> {
    path(PROGRAM).is_none().then_some((PROGRAM, PACKAGE))
}

/// One of its daemons, if it is installed.
pub fn path(program: &str) -> Option<PathBuf> {
    Some(PathBuf::from(FOLDER).join(program)).filter(|path| path.is_file())
}

/// Takes part in the election through FRRouting until SIGTERM.
pub fn run(site: &Site, reporter: Reporter) -> Result<(), Error> {
    let lacking = |program| Error::Missing { program, package: PACKAGE };
    let (zebra, vrrpd) = (path(ZEBRA).ok_or(lacking(ZEBRA))?, path(PROGRAM).ok_or(lacking(PROGRAM))?);
    let routers = instances(site)?;
    let failover = foreign::failover(&site.topology)?;
    let text = configuration(failover, &routers)?;
    make_links(failover, &routers)?;
    make_folder().map_err(|source| Error::Write { path: RUN.into(), source })?;
    let program = |path: PathBuf, file: PathBuf, pid: &str| {
        let (file, pid) = (file.display().to_string(), format!("{RUN}/{pid}.pid"));
        let socket = format!("{RUN}/zserv.api");
        let args =
            ["-f", &file, "-i", &pid, "-z", &socket, "--vty_socket", RUN, "-P", "0", "-u", USER, "-g", USER];
        let mut args: Vec<String> = args.map(str::to_owned).into();
        args.extend(["--log", "stdout"].map(str::to_owned));
        Program { path, args }
    };
    let programs = [
        program(zebra, foreign::write("zebra.conf", &format!("hostname {}\n", site.me))?, ZEBRA),
        program(vrrpd, foreign::write("vrrpd.conf", &text)?, PROGRAM),
    ];
    let watched = routers.iter().map(|router| Watched {
        vrid: router.vrid.get(),
        addresses: router.addresses.iter().map(|floating| floating.address).collect(),
    });
    foreign::supervise(&programs, watched.collect(), reporter)
}

fn configuration(failover: &Failover, routers: &[Instance]) -> Result<String, Error> {
    let cannot = |what: &str| Err(Error::Cannot { engine: ENGINE, what: what.to_owned() });
    let version = match failover.version {
        VrrpVersion::V2 => 2,
        VrrpVersion::V3 => 3,
        VrrpVersion::Both => return cannot("speak VRRPv2 and VRRPv3 at the same time"),
    };
    let elsewhere = |router: &Instance| router.addresses.iter().any(|it| it.interface != failover.network);
    if routers.iter().any(elsewhere) {
        return cannot("hold an address on another network than that of the election");
    }
    if routers.iter().any(|router| router.priority == OWNER) {
        return cannot("be told that it is the owner: it concludes that from the addresses of the interface");
    }
    if failover.unicast {
        return cannot("send to one router alone");
    }
    if failover.mac == MacMode::Physical {
        tracing::warn!("{ENGINE} uses the virtual MAC, whatever the topology says");
    }
    let routes = failover.holder_gateway.is_some() || failover.holder_gateway6.is_some();
    if !failover.checks.is_empty() || failover.sync || routes {
        tracing::warn!(
            "{ENGINE} knows neither checks nor groups nor routes of the holder: they are left out"
        );
    }
    let mut text = format!("log stdout informational\ninterface {}\n", failover.network);
    let mut vrids: Vec<_> = routers.iter().map(|router| router.vrid).collect();
    vrids.dedup();
    for vrid in vrids {
        let _ = writeln!(text, " vrrp {vrid} version {version}");
        let _ =
            writeln!(text, " vrrp {vrid} advertisement-interval {}", failover.advert_interval.as_millis());
        if !failover.preempt {
            let _ = writeln!(text, " no vrrp {vrid} preempt");
        }
        for router in routers.iter().filter(|router| router.vrid == vrid) {
            let _ = writeln!(text, " vrrp {vrid} priority {}", router.priority);
            for floating in &router.addresses {
                let word = if router.ipv6 { "ipv6" } else { "ip" };
                let _ = writeln!(text, " vrrp {vrid} {word} {}", floating.address);
            }
        }
    }
    text += "exit\n";
    Ok(text)
}

/// Its daemons give up being root, and must still be able to meet.
fn make_folder() -> io::Result<()> {
    std::fs::create_dir_all(RUN)?;
    let user = User::from_name(USER)?.ok_or_else(|| io::Error::other(format!("there is no user {USER}")))?;
    Ok(chown(RUN, Some(user.uid), Some(user.gid))?)
}

/// What vrrpd looks for: a link above that of the election, with the virtual MAC of RFC 9568 section 7.3.
fn make_links(failover: &Failover, routers: &[Instance]) -> Result<(), Error> {
    let mut netlink = Netlink::open()?;
    let below = Port::find(&mut netlink, failover.network.as_str())?;
    for router in routers {
        let name = macvlan::name(router.vrid.get(), router.ipv6, &below);
        let family = if router.ipv6 { Family::V6 } else { Family::V4 };
        let mac = vrrp::virtual_mac(family, router.vrid);
        let port = macvlan::create(&mut netlink, &below, &name, mac)?;
        let mut requests = Vec::new();
        for floating in &router.addresses {
            requests.push(match floating.address {
                IpAddr::V4(address) => link::add_address(port.index, address, floating.prefix_len),
                IpAddr::V6(address) => link::add_address6(port.index, address, floating.prefix_len),
            });
        }
        // Without a link-local address of its own there, vrrpd would send from a virtual one; it takes the newest.
        requests.extend(router.ipv6.then(|| link::add_address6(port.index, link_local(below.mac), 64)));
        requests.push(link::up(port.index));
        let refused = |source| Error::Link { name: name.clone(), on: failover.network.clone(), source };
        netlink.run(&requests)?.into_iter().collect::<Result<(), _>>().map_err(refused)?;
    }
    Ok(())
}

/// Made of the hardware address of the link below, and unlike the one that the kernel makes of it for that link.
fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.map(u16::from);
    Ipv6Addr::new(0xfe80, 0, 0, 0, a << 8 | b, c << 8 | 0xff, 0xfd00 | d, e << 8 | f)
}
