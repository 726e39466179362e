//! The requests against a real kernel, in a network namespace that ends with its thread.

use nix::sched::{CloneFlags, unshare};
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::LinkFlags;
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use std::time::Duration;

use super::*;
use crate::kernel::fixtures::{Cable, eventually};
use crate::kernel::macvlan;
use crate::kernel::neighbour::{NeighbourWatch, Sighting};
use crate::roles::vrrpd::announcer::Announcer;
use crate::roles::vrrpd::lookout::{Heard, Lookout};

/// Runs a test in an empty network namespace, or says why not.
fn in_a_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => test(),
        Err(errno) => eprintln!("skipped: no network namespace of its own: {errno}"),
    });
    thread.join().unwrap();
}

/// Holdings on the loopback interface, which every namespace has.
fn holdings() -> Holdings {
    let mut netlink = Netlink::open().unwrap();
    let port = Port::find(&mut netlink, "lo").unwrap();
    let up = LinkMessageBuilder::<LinkUnspec>::default().index(port.index).up().build();
    assert!(up.header.flags.contains(LinkFlags::Up));
    let request = Request { message: RouteNetlinkMessage::SetLink(up), flags: 0 };
    assert_eq!(netlink.run(&[request]).unwrap(), [Ok(())]);

    let places = ["203.0.113.10", "10.10.1.1"].map(|address| Place {
        address: address.parse().unwrap(),
        prefix_len: 24,
        link: port.clone(),
        macvlan: None,
    });
    let way_out = WayOut { gateway: "203.0.113.1".parse().unwrap(), device: port };
    Holdings::new(netlink, &places, &[way_out])
}

fn results(changes: Vec<Change>) -> Vec<Result<(), Errno>> {
    changes.into_iter().map(|change| change.result).collect()
}

#[test]
fn what_is_held_can_be_taken_again_and_released_again() {
    in_a_namespace(|| {
        let mut holdings = holdings();
        for _ in 0..2 {
            assert_eq!(results(holdings.add_addresses().unwrap()), [Ok(()), Ok(())]);
            assert_eq!(results(holdings.add_routes().unwrap()), [Ok(())]);
        }
        assert_eq!(results(holdings.remove().unwrap()), [Ok(()), Ok(()), Ok(())]);
        let absent = results(holdings.remove().unwrap());
        assert!(absent.iter().all(|result| result.is_err_and(is_absence)), "{absent:?}");
    });
}

/// Each answer belongs to its object, even when some of it is gone already.
#[test]
fn a_partial_release_says_what_was_there() {
    in_a_namespace(|| {
        let mut holdings = holdings();
        holdings.add_addresses().unwrap();
        let released = holdings.remove().unwrap();
        let there: Vec<_> =
            released.iter().filter(|change| change.result.is_ok()).map(|c| c.object.clone()).collect();
        let address = |text: &str| Object::Address(text.parse().unwrap());
        assert_eq!(there, [address("203.0.113.10"), address("10.10.1.1")]);
        assert!(matches!(released[0].object, Object::Route(_)) && released[0].result.is_err_and(is_absence));
    });
}

/// Whoever listens for changes and puts back what is gone must not hear itself for ever.
#[test]
fn putting_back_says_what_was_gone_and_changes_nothing_else() {
    in_a_namespace(|| {
        let mut holdings = holdings();
        holdings.add_addresses().unwrap();
        holdings.add_routes().unwrap();
        let mut lookout = Lookout::open(&[], &[]).unwrap();
        let here = Err(Errno::EEXIST);
        assert_eq!(results(holdings.put_back(|_| false).unwrap()), [here, here, here]);
        assert_eq!(lookout.hear().unwrap(), Heard::default());

        let first = holdings.remove[1].request.clone();
        assert_eq!(holdings.netlink.run(&[first]).unwrap(), [Ok(())]);
        assert!(lookout.hear().unwrap().anything);
        assert_eq!(holdings.put_back(|_| false).unwrap()[0].result, Ok(()));
        assert!(lookout.hear().unwrap().anything);
        assert_eq!(results(holdings.put_back(|_| false).unwrap()), [here, here, here]);
        assert_eq!(lookout.hear().unwrap(), Heard::default());
    });
}

/// What a dump says of the addresses of an interface, both families, and whether each may be used at once.
fn held_by(netlink: &mut Netlink, index: u32) -> Vec<(IpAddr, bool)> {
    let found = netlink.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default())).unwrap();
    let messages = found.into_iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewAddress(message) if message.header.index == index => Some(message),
        _ => None,
    });
    let held = messages.filter_map(|message| {
        let tentative = message.header.flags.contains(AddressHeaderFlags::Tentative);
        let address = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
        Some((address?, !tentative))
    });
    let mut held: Vec<_> = held.collect();
    held.sort();
    held
}

#[test]
fn addresses_of_both_families_live_on_their_macvlan_which_is_up_only_meanwhile() {
    let Some(mut cable) = Cable::new() else { return };
    let link = cable.left.port.clone();
    let mac = [0x00, 0x00, 0x5e, 0x00, 0x01, 0x33];
    let made = macvlan::create(&mut cable.left.netns.netlink, &link, "vr51-front", mac).unwrap();
    let [v4, v6, link_local]: [IpAddr; 3] =
        ["203.0.113.10", "2001:db8::10", "fe80::10"].map(|address| address.parse().unwrap());
    let place = |address: IpAddr, prefix_len| Place {
        address,
        prefix_len,
        link: link.clone(),
        macvlan: Some(made.clone()),
    };
    let places = [place(v4, 24), place(v6, 64), place(link_local, 64)];
    let ways_out = ["203.0.113.1", "2001:db8::1"]
        .map(|gateway| WayOut { gateway: gateway.parse().unwrap(), device: made.clone() });
    let watched = [v4, v6];
    let watch = cable.right.on(|| NeighbourWatch::open(&cable.right.port, &watched)).unwrap();
    let (mut holdings, mut announcer) = cable.left.on(|| {
        let holdings = Holdings::new(Netlink::open().unwrap(), &places, &ways_out);
        (holdings, Announcer::open(&places).unwrap())
    });

    // The announcement does not wait for the macvlan.
    announcer.start(Duration::ZERO);
    let sent = announcer.send_due(Duration::ZERO);
    assert!(sent.len() == 3 && sent.iter().all(|(_, sent)| sent.is_ok()), "{sent:?}");
    let mut announced = Vec::new();
    eventually("the announcements arrive", || {
        announced.extend(watch.hear().unwrap());
        watched.map(|address| Sighting { address, mac }).iter().all(|sighting| announced.contains(sighting))
    });

    for _ in 0..2 {
        let netlink = &mut cable.left.netns.netlink;
        assert_eq!(results(holdings.add_addresses().unwrap()), [Ok(()); 4]);
        assert_eq!(results(holdings.add_routes().unwrap()), [Ok(()); 2]);
        assert_eq!(held_by(netlink, made.index), [(v4, true), (v6, true), (link_local, true)]);
        assert_eq!(results(holdings.put_back(|_| false).unwrap()), [Err(Errno::EEXIST); 5]);
        // Asked again and again: a link that came up a moment ago may drop a frame.
        for address in watched {
            eventually("it answers with the virtual hardware address", || {
                watch.probe(address).unwrap();
                watch.hear().unwrap() == Some(Sighting { address, mac })
            });
        }
        assert_eq!(results(holdings.remove().unwrap()), [Ok(()); 6]);
        assert_eq!(held_by(netlink, made.index), []);
        let links = link::links(netlink).unwrap();
        assert!(links.iter().any(|link| link.index == made.index && !link.admin_up));
    }
}
