//! Hears from the kernel that links, addresses or routes changed: which of the election's links are up, and when the
//! holder should see to what it holds, which is at once, but not all the time. It does not know what is held, nor who
//! changed it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkFlags, LinkMessage};

use crate::kernel::netlink::{self, Netlink};
use crate::kernel::packet::Port;

/// Least time between two rounds: a link that flaps is back soon enough, what somebody took away is back within 50 ms,
/// and whoever takes an address away in a loop costs forty rounds a second and no more.
const ROUND_GAP: Duration = Duration::from_millis(25);
/// Most times that a full queue is emptied in a row; what comes after that wakes the loop once more.
const OVERFLOWS_MAX: usize = 16;

/// Kernel notices, and the rounds that follow from them.
#[derive(Debug)]
pub(super) struct Lookout {
    notices: Netlink,
    /// For asking, so that no answer is mistaken for a notice.
    questions: Netlink,
    links: Vec<Watched>,
    macvlans: Vec<Watched>,
    rounds: Rounds,
}

#[derive(Debug)]
struct Watched {
    name: String,
    index: u32,
    up: bool,
    there: bool,
}

/// What the kernel told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Something changed.
    pub(super) anything: bool,
    /// A link that is watched came up: whoever is behind it may have missed an announcement.
    pub(super) link_up: bool,
}

impl Lookout {
    /// Listens from now on, in the network namespace of the calling thread, and watches those links above all, and the macvlans
    /// on them.
    pub(super) fn open(links: &[Port], macvlans: &[Port]) -> Result<Self, netlink::Error> {
        let groups = [
            libc::RTNLGRP_LINK,
            libc::RTNLGRP_IPV4_IFADDR,
            libc::RTNLGRP_IPV4_ROUTE,
            libc::RTNLGRP_IPV6_IFADDR,
            libc::RTNLGRP_IPV6_ROUTE,
        ];
        let watched =
            |port: &Port| Watched { name: port.name.clone(), index: port.index, up: false, there: false };
        let mut lookout = Self {
            notices: Netlink::open_groups(&groups)?,
            questions: Netlink::open()?,
            links: links.iter().map(watched).collect(),
            macvlans: macvlans.iter().map(watched).collect(),
            rounds: Rounds::default(),
        };
        lookout.look()?;
        Ok(lookout)
    }

    /// Takes what the kernel told since the last call. Never waits for anything but the kernel's own answer.
    pub(super) fn hear(&mut self) -> Result<Heard, netlink::Error> {
        let mut heard = Heard::default();
        let mut lost = false;
        for _ in 0..OVERFLOWS_MAX {
            match self.notices.notices() {
                Ok(notices) => {
                    heard.anything |= !notices.is_empty();
                    for notice in &notices {
                        heard.link_up |= self.learn(notice);
                    }
                    break;
                }
                Err(error) if is_lost(&error) => lost = true,
                Err(error) => return Err(error),
            }
        }
        if lost {
            self.look()?;
            heard = Heard { anything: true, link_up: true };
        }
        Ok(heard)
    }

    /// The links that matter, and whether each is up with a carrier.
    pub(super) fn links(&self) -> BTreeMap<&str, bool> {
        self.links.iter().map(|link| (link.name.as_str(), link.up)).collect()
    }

    /// Is it there, but down?
    pub(super) fn is_down(&self, macvlan: &Port) -> bool {
        self.macvlan(macvlan).is_some_and(|watched| watched.there && !watched.up)
    }

    /// Is it there?
    pub(super) fn has(&self, macvlan: &Port) -> bool {
        self.macvlan(macvlan).is_some_and(|watched| watched.there)
    }

    fn macvlan(&self, port: &Port) -> Option<&Watched> {
        self.macvlans.iter().find(|watched| watched.index == port.index)
    }

    /// Wishes for a round.
    pub(super) fn wish(&mut self, heard: Heard, now: Duration) {
        self.rounds.wish(heard, now);
    }

    /// When [`Self::round`] wants to be called.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.rounds.deadline()
    }

    /// The round that is due, with what was heard since the last one.
    pub(super) fn round(&mut self, now: Duration) -> Option<Heard> {
        self.rounds.take(now)
    }

    /// Asks the kernel about every link.
    fn look(&mut self) -> Result<(), netlink::Error> {
        let found = self.questions.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        for watched in self.links.iter_mut().chain(&mut self.macvlans) {
            (watched.up, watched.there) = (false, false);
        }
        for notice in found {
            self.learn(&notice);
        }
        Ok(())
    }

    /// Takes in what a notice says of a link. True if it is a link that is watched, and came up.
    fn learn(&mut self, notice: &RouteNetlinkMessage) -> bool {
        let (link, there) = match notice {
            RouteNetlinkMessage::NewLink(link) => (&link.header, true),
            RouteNetlinkMessage::DelLink(link) => (&link.header, false),
            _ => return false,
        };
        let carries = there && link.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
        if let Some(macvlan) = self.macvlans.iter_mut().find(|macvlan| macvlan.index == link.index) {
            // Its carrier is that of the link below, which is watched for itself.
            (macvlan.up, macvlan.there) = (there && link.flags.contains(LinkFlags::Up), there);
        }
        let Some(watched) = self.links.iter_mut().find(|watched| watched.index == link.index) else {
            return false;
        };
        let was_up = watched.up;
        (watched.up, watched.there) = (carries, there);
        carries && !was_up
    }
}

impl AsFd for Lookout {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }
}

/// Rounds that are wished for, and how soon there may be one.
#[derive(Debug, Default)]
struct Rounds {
    wished: Option<(Heard, Duration)>,
    quiet_until: Duration,
}

impl Rounds {
    fn wish(&mut self, heard: Heard, now: Duration) {
        let (wished, _) = self.wished.get_or_insert((heard, now.max(self.quiet_until)));
        wished.anything |= heard.anything;
        wished.link_up |= heard.link_up;
    }

    fn deadline(&self) -> Option<Duration> {
        self.wished.map(|(_, due)| due)
    }

    fn take(&mut self, now: Duration) -> Option<Heard> {
        let (heard, _) = self.wished.take_if(|(_, due)| *due <= now)?;
        self.quiet_until = now + ROUND_GAP;
        Some(heard)
    }
}

/// The kernel told something that will never be known: the queue was full, or a newer kernel has words of its own.
fn is_lost(error: &netlink::Error) -> bool {
    match error {
        netlink::Error::Receive(error) => is_overflow(error),
        netlink::Error::Parse(_) => true,
        netlink::Error::Open(_) | netlink::Error::Send(_) | netlink::Error::Dump(_) => false,
    }
}

fn is_overflow(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOBUFS as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGE: Heard = Heard { anything: true, link_up: false };
    const LINK_UP: Heard = Heard { anything: true, link_up: true };

    #[test]
    fn the_first_round_is_at_once_and_the_next_after_a_gap() {
        let start = Duration::from_secs(100);
        let mut rounds = Rounds::default();
        assert_eq!(rounds.take(start), None);
        rounds.wish(CHANGE, start);
        assert_eq!(rounds.deadline(), Some(start));
        assert_eq!(rounds.take(start), Some(CHANGE));
        assert_eq!(rounds.deadline(), None);

        let soon = start + ROUND_GAP / 2;
        rounds.wish(CHANGE, soon);
        rounds.wish(LINK_UP, soon);
        rounds.wish(CHANGE, soon);
        assert_eq!(rounds.deadline(), Some(start + ROUND_GAP));
        assert_eq!(rounds.take(soon), None);
        assert_eq!(rounds.take(start + ROUND_GAP), Some(LINK_UP), "nothing that was heard is forgotten");
        assert_eq!(rounds.take(start + ROUND_GAP * 2), None, "one round for all of it");
    }
}
