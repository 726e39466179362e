//! The loop against a real kernel, one turn after the other, in a network namespace that ends with its thread. What it
//! says to a peer is for the features to see; here it is alone.

use std::io::Write as _;

use nix::sched::{CloneFlags, unshare};
use rtnetlink::LinkVeth;
use rtnetlink::packet_core::NLM_F_CREATE;
use rtnetlink::packet_route::RouteNetlinkMessage;

use super::*;
use crate::kernel::link::{self, LOOPBACK};
use crate::kernel::netlink::Request;
use crate::roles::vrrpd::settings::{Floating, Gateway};
use crate::vrrp::Interval;

/// Longest that a fact may take to become true.
const WAIT_MAX: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_millis(20);
const VIP: &str = "203.0.113.10";
const FRONT_PREFIX: u8 = 24;

/// A router that waits for its first advert, and a socket to disturb it with.
struct Site {
    driver: Driver,
    kernel: Netlink,
    front: u32,
}

impl Site {
    fn new() -> Self {
        let mut kernel = Netlink::open().unwrap();
        for (name, peer) in [("front", "street"), ("back", "inside")] {
            let message = RouteNetlinkMessage::NewLink(LinkVeth::new(name, peer).build());
            assert_eq!(kernel.run(&[Request { message, flags: NLM_F_CREATE }]).unwrap(), [Ok(())]);
            for end in [name, peer] {
                let index = Port::find(&mut kernel, end).unwrap().index;
                assert_eq!(kernel.run(&[link::up(index)]).unwrap(), [Ok(())]);
            }
        }
        let index = |kernel: &mut Netlink, name| Port::find(kernel, name).unwrap().index;
        let (front, back) = (index(&mut kernel, "front"), index(&mut kernel, "back"));
        let own = "10.10.1.11".parse().unwrap();
        let requests = [link::up(LOOPBACK), link::add_address(back, own, FRONT_PREFIX)];
        assert_eq!(kernel.run(&requests).unwrap(), [Ok(()), Ok(())]);
        let on = |interface: &str, address: &str| Floating {
            interface: interface.parse().unwrap(),
            address: address.parse().unwrap(),
            prefix_len: FRONT_PREFIX,
        };
        let settings = Settings {
            vrid: 51.try_into().unwrap(),
            interface: "back".parse().unwrap(),
            own,
            priority: 150.try_into().unwrap(),
            interval: Interval::try_from(INTERVAL).unwrap(),
            preempt: true,
            floating: vec![on("front", VIP), on("back", "10.10.1.1")],
            gateway: Some(Gateway {
                interface: "front".parse().unwrap(),
                address: "203.0.113.1".parse().unwrap(),
            }),
        };
        let mut driver = Driver::open(settings, Reporter::new(None, "vrrpd", None)).unwrap();
        driver.feed(Input::Startup).unwrap();
        Self { driver, kernel, front }
    }

    /// Turns until it is so.
    fn until(&mut self, what: &str, mut so: impl FnMut(&mut Self) -> bool) {
        let deadline = now() + WAIT_MAX;
        while !so(self) {
            assert!(now() < deadline, "{what}: not within {WAIT_MAX:?}");
            assert!(!self.driver.wait().unwrap(), "nobody told it to stop");
            self.driver.turn(now()).unwrap();
        }
    }

    fn holds_everything(&mut self) -> bool {
        let addresses = link::addresses(&mut self.kernel).unwrap();
        let routes = link::default_routes(&mut self.kernel).unwrap();
        addresses.iter().filter(|one| one.index == self.front).count() == 1
            && routes.iter().any(|route| route.index == self.front)
    }

    fn ask(&mut self, request: Request) {
        assert_eq!(self.kernel.run(&[request]).unwrap(), [Ok(())]);
    }
}

/// Runs a test in an empty network namespace, or says why not.
fn with_site(test: impl FnOnce(Site) + Send + 'static) {
    let thread = std::thread::spawn(|| match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => test(Site::new()),
        // Not `println!`, which the test harness swallows when a test passes.
        Err(errno) => drop(writeln!(io::stderr(), "skipped: no network namespace of its own: {errno}")),
    });
    thread.join().unwrap();
}

#[test]
fn a_timer_is_due_by_the_time_at_which_the_loop_woke() {
    with_site(|mut site| {
        let due = site.driver.machine.deadline().unwrap();
        while now() < due {
            site.driver.wait().unwrap();
            site.driver.receive().unwrap();
            site.driver.listen(Duration::ZERO).unwrap();
        }
        site.driver.turn(due - Duration::from_nanos(1)).unwrap();
        assert_eq!(site.driver.machine.state(), State::Backup);
        site.driver.turn(due).unwrap();
        assert_eq!(site.driver.machine.state(), State::Active);
    });
}

#[test]
fn the_holder_puts_back_what_a_link_that_went_down_took_along() {
    with_site(|mut site| {
        site.until("it holds everything", Site::holds_everything);
        let front = site.front;
        site.ask(link::down(front));
        assert!(!site.holds_everything(), "the kernel drops routes with their link");
        site.ask(link::up(front));
        site.until("it holds everything again", Site::holds_everything);
    });
}

#[test]
fn the_holder_puts_back_an_address_that_somebody_deleted() {
    with_site(|mut site| {
        site.until("it holds everything", Site::holds_everything);
        let front = site.front;
        site.ask(link::delete_address(front, VIP.parse().unwrap(), FRONT_PREFIX));
        assert!(!site.holds_everything());
        site.until("it holds everything again", Site::holds_everything);
    });
}

#[test]
fn the_holder_does_not_answer_itself() {
    with_site(|mut site| {
        site.until("it holds everything", Site::holds_everything);
        site.until("nothing is left to be done", |site| {
            let heard = site.driver.lookout.hear().unwrap();
            !heard.anything && site.driver.lookout.deadline().is_none()
        });
    });
}

#[test]
fn who_gave_the_role_up_puts_nothing_back() {
    with_site(|mut site| {
        site.until("it holds everything", Site::holds_everything);
        // Its own changes are news, and a round is due.
        site.driver.listen(now()).unwrap();
        site.driver.feed(Input::Shutdown).unwrap();
        site.driver.turn(now() + WAIT_MAX).unwrap();
        assert!(!site.holds_everything());
    });
}
