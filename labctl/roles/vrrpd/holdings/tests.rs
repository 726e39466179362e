//! The requests against a real kernel, in a network namespace that ends with its thread.

use nix::sched::{CloneFlags, unshare};
use rtnetlink::packet_route::link::LinkFlags;
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use super::*;
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
        let mut lookout = Lookout::open(&[]).unwrap();
        let here = Err(Errno::EEXIST);
        assert_eq!(results(holdings.put_back().unwrap()), [here, here, here]);
        assert_eq!(lookout.hear().unwrap(), Heard::default());

        let first = holdings.remove[1].request.clone();
        assert_eq!(holdings.netlink.run(&[first]).unwrap(), [Ok(())]);
        assert!(lookout.hear().unwrap().anything);
        assert_eq!(holdings.put_back().unwrap()[0].result, Ok(()));
        assert!(lookout.hear().unwrap().anything);
        assert_eq!(results(holdings.put_back().unwrap()), [here, here, here]);
        assert_eq!(lookout.hear().unwrap(), Heard::default());
    });
}
