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
                driver.turn(woken.at).unwrap();
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

fn namespace() -> OwnedFd {
    OwnedFd::from(std::fs::File::open("/proc/thread-self/ns/net").unwrap())
}

/// The better and the worse router, on cables between two namespaces.
fn pair() -> [(Driver, Netlink); 2] {
    let first = namespace();
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let second = namespace();
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
        (open(&settings(own, priority, rank)), kernel)
    })
}

/// Runs a test with both at work and the better one active.
fn with_pair(test: impl FnOnce(&mut Peer, &mut Peer) + Send + 'static) {
    in_a_namespace(|| {
        let [mut better, mut worse] = pair().map(|(driver, kernel)| Peer::start(driver, kernel));
        better.until("the better one is active", is("active"));
        worse.until("the worse one has heard of it", |account| {
            account.routers[0].state == "backup" && !account.routers[0].peers.is_empty()
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
