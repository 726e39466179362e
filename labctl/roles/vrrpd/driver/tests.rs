//! The loop against a real kernel, in network namespaces that end with their threads: one router alone, one turn after
//! the other; and two on a pair of cables.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::num::NonZeroU8;

use nix::sched::{CloneFlags, unshare};
use rtnetlink::LinkVeth;
use rtnetlink::packet_core::NLM_F_CREATE;
use rtnetlink::packet_route::RouteNetlinkMessage;

use super::*;
use crate::kernel::link::{self, LOOPBACK};
use crate::kernel::netlink::{Netlink, Request};
use crate::kernel::packet::Port;
use crate::roles::vrrpd::settings::{Floating, Gateway, Router};
use crate::vrrp::{self, ChecksumRule, Family, Interval, LabRules, Profile, State, Versions};

mod pair;

/// Longest that a fact may take to become true.
const WAIT_MAX: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_millis(20);
const VIP: &str = "203.0.113.10";
const INNER: &str = "10.10.1.1";
const PREFIX: u8 = 24;

/// The settings of a router of IPv4 with an address on each of two links.
fn settings(own: &str, priority: u8, rank: u32) -> Settings {
    let on = |interface: &str, address: &str| Floating {
        interface: interface.parse().unwrap(),
        address: address.parse().unwrap(),
        prefix_len: PREFIX,
    };
    let router = Router {
        vrid: NonZeroU8::new(51).unwrap(),
        family: Family::V4,
        priority: NonZeroU8::new(priority).unwrap(),
        interval: Interval::try_from(INTERVAL).unwrap(),
        preempt: true,
        preempt_delay: Duration::ZERO,
        versions: Versions::V3,
        checksum: ChecksumRule::MessageOnly,
        profile: Profile::Lab(LabRules { rank, probes: true, lease: false }),
        peers: vec![],
        members: None,
        virtual_mac: false,
        floating: vec![on("front", VIP), on("back", INNER)],
        gateway: Some(Gateway {
            interface: "front".parse().unwrap(),
            address: "203.0.113.1".parse().unwrap(),
        }),
    };
    Settings {
        interface: "back".parse().unwrap(),
        own: Some(own.parse().unwrap()),
        routers: vec![router],
        sync: false,
        checks: vec![],
    }
}

fn open(settings: &Settings) -> Driver {
    Driver::open(settings, None, None, vec![], Reporter::new(None, "vrrpd", None)).unwrap()
}

/// A router that waits for its first advert, and a socket to disturb it with.
struct Site {
    driver: Driver,
    kernel: Netlink,
    front: u32,
}

impl Site {
    fn new() -> Self {
        Self::of(|_| {})
    }

    fn of(change: impl FnOnce(&mut Settings)) -> Self {
        let mut kernel = Netlink::open().unwrap();
        for (name, peer) in [("front", "street"), ("back", "inside")] {
            let message = RouteNetlinkMessage::NewLink(LinkVeth::new(name, peer).build());
            assert_eq!(kernel.run(&[Request { message, flags: NLM_F_CREATE }]).unwrap(), [Ok(())]);
            for end in [name, peer] {
                let index = Port::find(&mut kernel, end).unwrap().index;
                assert_eq!(kernel.run(&[link::up(index)]).unwrap(), [Ok(())]);
            }
        }
        let own = "10.10.1.11";
        let (front, back) = (index(&mut kernel, "front"), index(&mut kernel, "back"));
        let requests = [link::up(LOOPBACK), link::add_address(back, own.parse().unwrap(), PREFIX)];
        assert_eq!(kernel.run(&requests).unwrap(), [Ok(()), Ok(())]);
        let mut settings = settings(own, 150, 0);
        change(&mut settings);
        let mut driver = open(&settings);
        driver.begin().unwrap();
        Self { driver, kernel, front }
    }

    /// Turns until it is so.
    fn until(&mut self, what: &str, mut so: impl FnMut(&mut Self) -> bool) {
        let deadline = now() + WAIT_MAX;
        while !so(self) {
            assert!(now() < deadline, "{what}: not within {WAIT_MAX:?}");
            let woken = self.driver.wait(None).unwrap();
            assert!(!woken.stop, "nobody told it to stop");
            self.turn(woken.at);
        }
    }

    fn turn(&mut self, woke: Duration) {
        self.driver.turn(woke, &mut Turn::begin(woke)).unwrap();
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

fn index(kernel: &mut Netlink, name: &str) -> u32 {
    Port::find(kernel, name).unwrap().index
}

/// Runs a test in an empty network namespace, or says why not.
fn in_a_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => test(),
        // Not `println!`, which the test harness swallows when a test passes.
        Err(errno) => {
            drop(writeln!(std::io::stderr(), "skipped: no network namespace of its own: {errno}"));
        }
    });
    thread.join().unwrap();
}

fn with_site(test: impl FnOnce(Site) + Send + 'static) {
    in_a_namespace(|| test(Site::new()));
}

#[test]
fn a_timer_is_due_by_the_time_at_which_the_loop_woke() {
    with_site(|mut site| {
        let mut state = State::Initialize;
        while state != State::Active {
            let machine = &site.driver.instances[0].machine;
            let (before, due) = (machine.state(), machine.deadline().unwrap());
            while now() < due {
                site.driver.wait(None).unwrap();
                site.driver.receive().unwrap();
                site.driver.listen(Duration::ZERO).unwrap();
            }
            site.turn(due - Duration::from_nanos(1));
            assert_eq!(site.driver.instances[0].machine.state(), before);
            site.turn(due);
            state = site.driver.instances[0].machine.state();
        }
    });
}

#[test]
fn the_holder_puts_back_an_address_that_somebody_deleted() {
    with_site(|mut site| {
        site.until("it holds everything", Site::holds_everything);
        let front = site.front;
        site.ask(link::delete_address(front, VIP.parse().unwrap(), PREFIX));
        assert!(!site.holds_everything());
        site.until("it holds everything again", Site::holds_everything);
    });
}

#[test]
fn a_link_that_went_down_and_up_again_leaves_a_holder_with_everything() {
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
        site.driver.feed_all(Input::Shutdown).unwrap();
        site.until("it has stopped", |site| site.driver.instances[0].is_done());
        site.turn(now() + WAIT_MAX);
        assert!(!site.holds_everything());
    });
}

#[test]
fn the_account_says_what_there_is_to_say() {
    with_site(|mut site| {
        site.until("it holds everything", Site::holds_everything);
        let account = site.driver.account();
        let router = &account.routers[0];
        assert_eq!((router.vrid, router.family.as_str(), router.state.as_str()), (51, "IPv4", "active"));
        let addresses: [IpAddr; 2] = [VIP, INNER].map(|address| address.parse().unwrap());
        assert_eq!(router.addresses, addresses);
        assert_eq!(router.history.last().map(|last| last.to.as_str()), Some("active"));
        let links = [("back", true), ("front", true)].map(|(name, up)| (name.to_owned(), up));
        assert_eq!(account.links, BTreeMap::from(links));
    });
}

#[test]
fn a_link_that_is_none_of_the_elections_starts_no_announcements() {
    with_site(|mut site| {
        site.until("it holds everything", Site::holds_everything);
        site.driver.lookout.hear().unwrap();
        let street = index(&mut site.kernel, "lo");
        site.ask(link::down(street));
        site.ask(link::up(street));
        let heard = site.driver.lookout.hear().unwrap();
        assert!(heard.anything && !heard.link_up, "{heard:?}");
        let front = site.front;
        site.ask(link::down(front));
        site.ask(link::up(front));
        assert!(site.driver.lookout.hear().unwrap().link_up);
    });
}

#[test]
fn a_turn_ends_although_a_flood_does_not() {
    with_site(|mut site| {
        let street = Port::find(&mut site.kernel, "street").unwrap();
        let flood = crate::kernel::packet::FrameSocket::open(&street).unwrap();
        let stranger = crate::kernel::arp::gratuitous("203.0.113.99".parse().unwrap(), street.mac);
        let watch =
            site.driver.common.watches.iter().find(|watch| watch.addresses.contains(&VIP.parse().unwrap()));
        let watch = watch.unwrap();
        for _ in 0..3 {
            flood.send(&stranger).unwrap();
        }
        let mut budget = 2;
        assert_eq!(watch.neighbours.next_word(&mut budget).unwrap(), None);
        assert_eq!(budget, 0, "frames that say nothing count too");
        let mut rest = 2;
        assert_eq!(watch.neighbours.next_word(&mut rest).unwrap(), None);
        assert_eq!(rest, 0, "one more frame, and an empty queue");
    });
}

#[test]
fn nobody_hears_of_a_router_that_cannot_open_its_lease() {
    in_a_namespace(|| {
        let lease = |settings: &mut Settings| {
            settings.routers[0].profile = Profile::Lab(LabRules { rank: 0, probes: true, lease: true });
        };
        let mut site = Site::of(lease);
        site.until("it has tried", |site| site.driver.account().complaints.contains_key("lease"));
        let account = site.driver.account();
        let states = |one: &crate::diagnosis::account::TransitionAccount| one.to.clone();
        assert_eq!(account.routers[0].history.iter().map(states).collect::<Vec<_>>(), ["backup"]);
        assert_eq!(account.routers[0].lease_until_ns, None);
        assert!(!site.holds_everything());
    });
}
