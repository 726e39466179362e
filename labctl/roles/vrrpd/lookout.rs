//! Hears from the kernel that links, addresses or routes changed, and says when the holder should see to what it holds:
//! at once, but not all the time. It does not know what is held, nor who changed it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkFlags;

use crate::kernel::netlink::{self, Netlink};

/// Least time between two rounds: a link that flaps is back soon enough, and whoever takes an address away in a loop
/// costs ten rounds a second and no more.
const ROUND_GAP: Duration = Duration::from_millis(100);
/// Most times that a full queue is emptied in a row; what comes after that wakes the loop once more.
const OVERFLOWS_MAX: usize = 16;

/// Kernel notices, and the rounds that follow from them.
#[derive(Debug)]
pub(super) struct Lookout {
    notices: Netlink,
    rounds: Rounds,
}

/// What the kernel told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Something changed.
    pub(super) anything: bool,
    /// A link is up, and perhaps was not before: whoever is behind it may have missed an announcement.
    pub(super) link_up: bool,
}

impl Lookout {
    /// Listens from now on, in the network namespace of the calling thread.
    pub(super) fn open() -> Result<Self, netlink::Error> {
        let groups = [libc::RTNLGRP_LINK, libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV4_ROUTE];
        Ok(Self { notices: Netlink::open_groups(&groups)?, rounds: Rounds::default() })
    }

    /// Takes what the kernel told since the last call. Never waits.
    pub(super) fn hear(&mut self) -> Result<Heard, netlink::Error> {
        let mut heard = Heard::default();
        for _ in 0..OVERFLOWS_MAX {
            match self.notices.notices() {
                Ok(notices) => {
                    heard.anything |= !notices.is_empty();
                    heard.link_up |= notices.iter().any(is_link_up);
                    break;
                }
                Err(error) if is_lost(&error) => heard = Heard { anything: true, link_up: true },
                Err(error) => return Err(error),
            }
        }
        Ok(heard)
    }

    /// Wishes for a round.
    pub(super) fn wish(&mut self, heard: Heard, now: Duration) {
        self.rounds.wish(heard, now);
    }

    /// Takes back every wish.
    pub(super) fn forget(&mut self) {
        self.rounds.wished = None;
    }

    /// When [`Self::round`] wants to be called.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.rounds.deadline()
    }

    /// The round that is due, with what was heard since the last one.
    pub(super) fn round(&mut self, now: Duration) -> Option<Heard> {
        self.rounds.take(now)
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

fn is_link_up(notice: &RouteNetlinkMessage) -> bool {
    let RouteNetlinkMessage::NewLink(link) = notice else { return false };
    link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp)
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
