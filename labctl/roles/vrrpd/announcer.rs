//! Announcements of the floating addresses: a short series after each start, because a single frame may be lost, and one
//! frame from time to time while they are held. It does not know why it announces.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::holdings::Place;
use crate::kernel::packet::{self, FrameSocket};
use crate::kernel::{arp, ndp};

/// When the frames of a series go out. Three are enough for a link that loses a frame or has just come up, and few
/// enough not to be a burden; RFC 9568 asks for one.
const SERIES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(10)];
/// From one announcement to the next while the addresses are held: whoever missed all of a series, or believed somebody
/// else since, is wrong for no longer than this.
const REFRESH: Duration = Duration::from_secs(30);

/// Announces all addresses of one virtual router, each on its own link.
#[derive(Debug)]
pub(super) struct Announcer {
    targets: Vec<Target>,
    schedule: Option<Schedule>,
}

#[derive(Debug)]
struct Target {
    address: IpAddr,
    socket: FrameSocket,
    frame: Vec<u8>,
}

/// What is still to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Schedule {
    /// A series under way, and how many of [`SERIES`] are done with.
    Series { started: Duration, done: usize },
    /// The series is over.
    Refresh { due: Duration },
}

impl Announcer {
    /// Opens a socket and builds a frame for each address. Frames leave by the physical link with the hardware address that
    /// the floating address answers with, so that they can go before a macvlan is up.
    pub(super) fn open(places: &[Place]) -> Result<Self, packet::Error> {
        let target = |place: &Place| {
            let frame = match place.address {
                IpAddr::V4(address) => arp::gratuitous(address, place.mac()),
                IpAddr::V6(address) => ndp::unsolicited(address, place.mac()),
            };
            Ok(Target { address: place.address, socket: FrameSocket::open(&place.link)?, frame })
        };
        Ok(Self { targets: places.iter().map(target).collect::<Result<_, _>>()?, schedule: None })
    }

    /// Begins a new series, whatever was under way; then one announcement every 30 s, until [`Self::stop`].
    pub(super) fn start(&mut self, now: Duration) {
        self.schedule = Some(Schedule::Series { started: now, done: 0 });
    }

    /// Is a series under way?
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.schedule, Some(Schedule::Series { .. }))
    }

    /// Announces no more.
    pub(super) fn stop(&mut self) {
        self.schedule = None;
    }

    /// When [`Self::send_due`] wants to be called.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.schedule.map(Schedule::next)
    }

    /// Announces each address once if it is time, and says how that went.
    pub(super) fn send_due(&mut self, now: Duration) -> Vec<(IpAddr, io::Result<()>)> {
        let Some(schedule) = self.schedule.filter(|schedule| schedule.next() <= now) else {
            return Vec::new();
        };
        self.schedule = Some(schedule.after(now));
        self.targets.iter().map(|target| (target.address, target.socket.send(&target.frame))).collect()
    }
}

impl Schedule {
    fn next(self) -> Duration {
        match self {
            Self::Series { started, done } => started + SERIES[done],
            Self::Refresh { due } => due,
        }
    }

    /// The rest; what a late wake missed is not made good for.
    fn after(self, now: Duration) -> Self {
        match self {
            Self::Series { started, .. } => {
                let done = SERIES.iter().take_while(|&&at| started + at <= now).count();
                if done < SERIES.len() {
                    Self::Series { started, done }
                } else {
                    Self::Refresh { due: now + REFRESH }
                }
            }
            Self::Refresh { .. } => Self::Refresh { due: now + REFRESH },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_has_three_frames_and_a_late_one_fewer() {
        let started = Duration::from_secs(5);
        let series = Schedule::Series { started, done: 0 };
        assert_eq!(series.next(), started);
        let second = series.after(started);
        assert_eq!(second.next(), started + SERIES[1]);
        let third = second.after(started + SERIES[1]);
        assert_eq!(third.next(), started + SERIES[2]);
        assert_eq!(
            series.after(started + Duration::from_secs(1)).next(),
            started + Duration::from_secs(1) + REFRESH
        );
    }

    #[test]
    fn after_a_series_there_is_one_announcement_every_half_minute() {
        let end = Duration::from_secs(5) + SERIES[2];
        let refresh = Schedule::Series { started: Duration::from_secs(5), done: 2 }.after(end);
        assert_eq!(refresh, Schedule::Refresh { due: end + REFRESH });
        assert_eq!(refresh.after(end + REFRESH), Schedule::Refresh { due: end + REFRESH * 2 });
        let late = end + REFRESH * 5;
        assert_eq!(refresh.after(late), Schedule::Refresh { due: late + REFRESH }, "no burst");
    }
}
