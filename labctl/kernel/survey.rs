//! What the kernel says of the network namespace of the calling thread, as far as somebody may have set it otherwise than it
//! should be: addresses, default routes, and which packets are answered and taken. What it should be is not known here.

use super::link;
use super::netlink::{Error, Netlink};
use super::sysctl;
use crate::diagnosis::reals::{LinkSurvey, RouteSurvey, Survey};

/// Looks, and changes nothing.
pub fn look() -> Result<Survey, Error> {
    let mut netlink = Netlink::open()?;
    let mut addresses = link::addresses_and_loopback(&mut netlink)?;
    addresses.extend(link::addresses_and_loopback6(&mut netlink)?);
    let mut routes = link::default_routes(&mut netlink)?;
    routes.extend(link::default_routes6(&mut netlink)?);
    let links = link::links(&mut netlink)?;
    let name_of = |index: u32| {
        links.iter().find(|link| link.index == index).map(|link| link.name.clone()).unwrap_or_default()
    };
    let routes = routes.iter().map(|route| RouteSurvey {
        gateway: route.gateway,
        metric: route.metric,
        mss: route.mss,
        link: name_of(route.index),
    });
    let surveyed = links.iter().map(|link| {
        let own = addresses.iter().filter(|held| held.index == link.index);
        let survey = LinkSurvey {
            addresses: own.map(|held| held.address).collect(),
            arp_ignore: in_force(&link.name, "arp_ignore"),
            arp_announce: in_force(&link.name, "arp_announce"),
            rp_filter: in_force(&link.name, "rp_filter"),
            mtu: link.mtu,
        };
        (link.name.clone(), survey)
    });
    Ok(Survey { links: surveyed.collect(), routes: routes.collect() })
}

/// Of an interface's own setting and that of all interfaces, the kernel takes the higher one. (A dot in the name of an
/// interface would be a slash here; ours have none.)
fn in_force(link: &str, setting: &str) -> u8 {
    let of = |whose: &str| sysctl::read(&format!("net.ipv4.conf.{whose}.{setting}")).unwrap_or_default();
    of("all").max(of(link))
}
