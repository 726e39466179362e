//! Two routers in namespaces of their own, joined by one cable for the adverts and one for the public address.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use nix::sched::setns;
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use super::*;

/// One of the two, at work on a thread of its own.
struct Peer {
    orders: Sender<Order>,
    accounts: Receiver<Account>,
    kernel: Netlink,
    thread: JoinHandle<()>,
}

type Order = Box<dyn FnOnce(&mut Driver) + Send>;

impl Peer {
    fn start(mut driver: Driver, kernel: Netlink) -> Self {
        let (orders, ordered) = channel::<Order>();
        let (told, accounts) = channel();
        let thread = std::thread::spawn(move || {
            driver.begin().unwrap();
            loop {
                let woken = driver.wait(Some(now() + INTERVAL / 2)).unwrap();
                driver.turn(woken.at, &mut Turn::begin(woken.at)).unwrap();
                match ordered.try_recv() {
                    Ok(order) => order(&mut driver),
                    Err(TryRecvError::Disconnected) => return,
                    Err(TryRecvError::Empty) => {}
                }
                let _ = told.send(driver.account());
            }
        });
        Self { orders, accounts, kernel, thread }
    }

    fn order(&self, order: impl FnOnce(&mut Driver) + Send + 'static) {
        self.orders.send(Box::new(order)).unwrap();
    }

    /// The first account in which it is so, of those that were not looked at yet.
    fn until(&self, what: &str, so: impl Fn(&Account) -> bool) -> Account {
        let deadline = now() + WAIT_MAX;
        loop {
            let account = self.accounts.recv_timeout(deadline.saturating_sub(now()));
            let account = account.unwrap_or_else(|_| panic!("{what}: not within {WAIT_MAX:?}"));
            if so(&account) {
                return account;
            }
        }
    }

    fn has_the_vip(&mut self) -> bool {
        let vip: std::net::Ipv4Addr = VIP.parse().unwrap();
        link::addresses(&mut self.kernel).unwrap().iter().any(|one| one.address == vip)
    }

    fn end(self) {
        drop(self.orders);
        self.thread.join().unwrap();
    }
}

fn is(state: &'static str) -> impl Fn(&Account) -> bool {
    move |account| account.routers[0].state == state
}

fn all(state: &'static str) -> impl Fn(&Account) -> bool {
    move |account| account.routers.iter().all(|router| router.state == state)
}

fn namespace() -> OwnedFd {
    OwnedFd::from(std::fs::File::open("/proc/thread-self/ns/net").unwrap())
}

/// The better and the worse router, on cables between two namespaces.
fn pair(change: impl Fn(&mut Settings)) -> [(Driver, Netlink); 2] {
    let first = namespace();
    without_checks_for_duplicates();
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let second = namespace();
    without_checks_for_duplicates();
    setns(&first, CloneFlags::CLONE_NEWNET).unwrap();
    let mut kernel = Netlink::open().unwrap();
    for name in ["front", "back"] {
        let peer = LinkMessageBuilder::<LinkUnspec>::new().name(name).setns_by_fd(second.as_raw_fd()).build();
        let veth = LinkVeth::new(name, name).set_info_data(InfoData::Veth(InfoVeth::Peer(peer))).build();
        let message = RouteNetlinkMessage::NewLink(veth);
        assert_eq!(kernel.run(&[Request { message, flags: NLM_F_CREATE }]).unwrap(), [Ok(())]);
    }
    for namespace in [&first, &second] {
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
        let mut kernel = Netlink::open().unwrap();
        let requests = ["front", "back"].map(|name| link::up(index(&mut kernel, name)));
        assert_eq!(kernel.run(&requests).unwrap(), [Ok(()), Ok(())]);
    }
    [(first, "10.10.1.11", 150, 0), (second, "10.10.1.12", 100, 1)].map(|(namespace, own, priority, rank)| {
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
        let mut kernel = Netlink::open().unwrap();
        let back = index(&mut kernel, "back");
        let requests = [link::up(LOOPBACK), link::add_address(back, own.parse().unwrap(), PREFIX)];
        assert_eq!(kernel.run(&requests).unwrap(), [Ok(()), Ok(())]);
        let mut settings = settings(own, priority, rank);
        change(&mut settings);
        (open(&settings), kernel)
    })
}

/// As a lab has it: nobody else can have the link-local addresses, and waiting for that takes a second.
fn without_checks_for_duplicates() {
    crate::kernel::sysctl::write("?net.ipv6.conf.default.accept_dad", "0").unwrap();
}

fn with_pair(test: impl FnOnce(&mut Peer, &mut Peer) + Send + 'static) {
    with_pair_of(|_| {}, test);
}

/// Runs a test with both at work and the better one active.
fn with_pair_of(
    change: impl Fn(&mut Settings) + Send + 'static,
    test: impl FnOnce(&mut Peer, &mut Peer) + Send + 'static,
) {
    in_a_namespace(|| {
        let [mut better, mut worse] = pair(change).map(|(driver, kernel)| Peer::start(driver, kernel));
        better.until("the better one is active", all("active"));
        worse.until("the worse one has heard of it", |account| {
            all("backup")(account) && account.routers.iter().all(|router| !router.peers.is_empty())
        });
        test(&mut better, &mut worse);
        better.end();
        worse.end();
    });
}

#[test]
fn the_better_one_is_active_and_the_other_knows_it() {
    with_pair(|better, worse| {
        assert!(better.has_the_vip() && !worse.has_the_vip());
        let account = worse.until("it has heard of the other", |_| true);
        let peer = &account.routers[0].peers[&"10.10.1.11".parse::<IpAddr>().unwrap()];
        assert_eq!((peer.priority, peer.interval_ms, peer.version.as_str()), (150, 20, "3"));
    });
}

#[test]
fn who_stops_hands_over_and_comes_back() {
    with_pair(|better, worse| {
        better.order(|driver| driver.feed_all(Input::Shutdown).unwrap());
        worse.until("the heir is active", is("active"));
        better.until("the other one has stopped", is("initialize"));
        assert!(worse.has_the_vip() && !better.has_the_vip());
        better.order(|driver| driver.begin().unwrap());
        better.until("the better one is back", is("active"));
        worse.until("the heir has given it back", is("backup"));
        assert!(better.has_the_vip() && !worse.has_the_vip());
    });
}

#[test]
fn a_packet_that_is_none_changes_nothing_and_is_counted() {
    with_pair(|better, worse| {
        better.order(|driver| {
            let socket = &driver.instances[0].socket;
            let group = socket.destinations()[0];
            // Another version, another virtual router, and too little of anything.
            let other = vrrp::encode(
                &vrrp::Advert {
                    vrid: NonZeroU8::new(52).unwrap(),
                    ..driver.instances[0].router.advert(vrrp::Version::V3, 150)
                },
                ChecksumRule::MessageOnly,
                "10.10.1.11".parse().unwrap(),
                group,
            );
            for message in [&[0x51, 51, 100, 1, 0, 2, 0, 0][..], &other, &[0x31]] {
                socket.send(group, message).unwrap();
            }
        });
        let account = worse.until("all three are counted", |account| account.complaints.len() == 3);
        assert_eq!(account.routers[0].state, "backup");
        let kinds: Vec<&str> = account.complaints.keys().map(String::as_str).collect();
        assert_eq!(kinds, ["truncated", "version", "vrid"]);
        assert!(account.complaints["version"].last.contains("10.10.1.11"), "{account:?}");
    });
}

#[test]
fn whoever_loses_the_link_of_the_public_address_gives_everything_up_and_says_why() {
    with_pair(|better, worse| {
        let front = index(&mut better.kernel, "front");
        assert_eq!(better.kernel.run(&[link::down(front)]).unwrap(), [Ok(())]);
        // A cable without a bridge in between takes the carrier from both ends.
        for peer in [&*better, &*worse] {
            let account = peer.until("it is out of the election", is("initialize"));
            let last = account.routers[0].history.last().map(|last| last.because.as_str());
            assert_eq!(last, Some("a link is down"));
            assert!(account.routers[0].degraded.is_some());
            assert_eq!((account.links["front"], account.links["back"]), (false, true));
        }
        assert!(!better.has_the_vip());
        assert_eq!(better.kernel.run(&[link::up(front)]).unwrap(), [Ok(())]);
        better.until("it is active again", is("active"));
        worse.until("the other one is its backup", is("backup"));
    });
}

#[test]
fn routers_of_a_group_go_together_and_each_family_is_one_of_them() {
    let group = |settings: &mut Settings| {
        let first = settings.routers[0].clone();
        let address = |interface: &str, address: &str, prefix_len| Floating {
            interface: interface.parse().unwrap(),
            address: address.parse().unwrap(),
            prefix_len,
        };
        let inner = vec![address("back", "fe80::51", 64), address("back", "fd00::1", 64)];
        let second = Router { family: Family::V6, floating: inner, gateway: None, ..first.clone() };
        settings.routers = vec![Router { versions: Versions::BOTH, ..first }, second];
        settings.sync = true;
    };
    with_pair_of(group, |better, worse| {
        let account = worse.until("it has heard of both", |_| true);
        let peer = |at: usize| account.routers[at].peers.values().next().unwrap().version.clone();
        assert_eq!((peer(0), peer(1)), ("3".to_owned(), "3".to_owned()), "the older version does not count");
        // Only one of them resigns by itself.
        better.order(|driver| driver.feed(0, Input::Shutdown).unwrap());
        worse.until("both have gone over", all("active"));
        assert!(worse.has_the_vip() && !better.has_the_vip());
    });
}

#[test]
fn a_check_that_fails_takes_the_holder_out_and_lets_it_back_in() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken");
    let there = broken.to_str().unwrap().to_owned();
    let checked = move |settings: &mut Settings| {
        let words = match settings.routers[0].priority.get() {
            150 => vec!["test", "!", "-e", &there],
            _ => vec!["true"],
        };
        settings.checks = vec![crate::topology::TrackCheck {
            name: "file".parse().unwrap(),
            probe: crate::topology::TrackProbe::Command(words.into_iter().map(str::to_owned).collect()),
            weight: None,
            interval: INTERVAL,
            timeout: WAIT_MAX,
            rise: 1,
            fall: 1,
        }];
    };
    with_pair_of(checked, move |better, worse| {
        std::fs::write(&broken, "").unwrap();
        worse.until("the other one takes", is("active"));
        let account = better.until("it is out", is("initialize"));
        assert_eq!((account.checks[0].passes, account.routers[0].effective_priority), (false, 0));
        std::fs::remove_file(&broken).unwrap();
        better.until("it is back", is("active"));
        drop(folder);
    });
}

#[test]
fn the_virtual_hardware_address_is_on_an_interface_of_its_own() {
    with_pair_of(
        |settings| settings.routers[0].virtual_mac = true,
        |better, worse| {
            assert!(better.has_the_vip());
            let macvlan = Port::find(&mut better.kernel, "vr51-front").unwrap();
            assert_eq!(macvlan.mac, vrrp::virtual_mac(Family::V4, NonZeroU8::new(51).unwrap()));
            better.order(|driver| driver.feed_all(Input::Shutdown).unwrap());
            worse.until("the heir is active", is("active"));
            assert!(worse.has_the_vip());
            // Whoever comes back has the same hardware address as who is there, and must be heard all the same.
            better.order(|driver| driver.begin().unwrap());
            better.until("the better one is back", is("active"));
            worse.until("the heir has given it back", is("backup"));
            assert!(better.has_the_vip() && !worse.has_the_vip());
        },
    );
}

#[test]
fn peers_are_told_one_by_one_where_there_is_no_group() {
    let unicast = |settings: &mut Settings| {
        let other = if settings.routers[0].priority.get() == 150 { "10.10.1.12" } else { "10.10.1.11" };
        settings.routers[0].peers = vec![other.parse().unwrap()];
    };
    with_pair_of(unicast, |better, worse| {
        better.order(|driver| driver.feed_all(Input::Shutdown).unwrap());
        worse.until("the heir is active", is("active"));
    });
}

/// Of two virtual routers of a group, each has its addresses on one of the links.
fn group_on_two_links(settings: &mut Settings) {
    let first = settings.routers[0].clone();
    let (front, back) = (first.floating[0].clone(), first.floating[1].clone());
    settings.routers = vec![
        Router { floating: vec![front], ..first.clone() },
        Router { vrid: NonZeroU8::new(52).unwrap(), floating: vec![back], gateway: None, ..first },
    ];
    settings.sync = true;
}

#[test]
fn a_group_waits_together_for_the_link_of_one_of_its_routers() {
    with_pair_of(group_on_two_links, |better, worse| {
        let front = index(&mut better.kernel, "front");
        assert_eq!(better.kernel.run(&[link::down(front)]).unwrap(), [Ok(())]);
        for peer in [&*better, &*worse] {
            let account = peer.until("all of it is out of the election", all("initialize"));
            let before: Vec<usize> = account.routers.iter().map(|router| router.history.len()).collect();
            // As long as a backup would need to take, and the group to give up again, a few times.
            let end = account.at_ns + nanoseconds(20 * INTERVAL);
            let account = peer.until("time passes", |account| account.at_ns > end);
            let after: Vec<usize> = account.routers.iter().map(|router| router.history.len()).collect();
            assert_eq!(before, after, "nothing happens while the link is down: {:?}", account.routers);
        }
        assert_eq!(better.kernel.run(&[link::up(front)]).unwrap(), [Ok(())]);
        better.until("all of it is active again", all("active"));
        worse.until("the other one is its backup", all("backup"));
    });
}

#[test]
fn whoever_is_cut_off_from_the_only_link_of_its_addresses_gives_them_up() {
    let inner = |settings: &mut Settings| {
        settings.routers[0].floating.remove(0);
        settings.routers[0].gateway = None;
    };
    with_pair_of(inner, |better, worse| {
        let back = index(&mut better.kernel, "back");
        assert_eq!(better.kernel.run(&[link::down(back)]).unwrap(), [Ok(())]);
        better.until("it is out of the election", is("initialize"));
        assert_eq!(better.kernel.run(&[link::up(back)]).unwrap(), [Ok(())]);
        better.until("it is active again", is("active"));
        worse.until("the other one is its backup", is("backup"));
    });
}

fn virtual_mac(settings: &mut Settings) {
    settings.routers[0].virtual_mac = true;
}

#[test]
fn the_holder_brings_up_a_macvlan_that_somebody_took_down() {
    with_pair_of(virtual_mac, |better, _| {
        let macvlan = index(&mut better.kernel, "vr51-front");
        assert_eq!(better.kernel.run(&[link::down(macvlan)]).unwrap(), [Ok(())]);
        let is_up = |kernel: &mut Netlink| {
            link::links(kernel).unwrap().iter().any(|link| link.index == macvlan && link.admin_up)
        };
        let deadline = now() + WAIT_MAX;
        while !is_up(&mut better.kernel) {
            assert!(now() < deadline, "the macvlan is still down");
        }
        better.until("it still is active", is("active"));
    });
}

#[test]
fn whoever_loses_a_macvlan_for_good_steps_down() {
    with_pair_of(virtual_mac, |better, worse| {
        let macvlan = index(&mut better.kernel, "vr51-front");
        assert_eq!(better.kernel.run(&[link::delete(macvlan)]).unwrap(), [Ok(())]);
        better.until("it is out of the election", is("initialize"));
        worse.until("the other one takes", is("active"));
        assert!(worse.has_the_vip());
    });
}
