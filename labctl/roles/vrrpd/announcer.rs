//! Gratuitous ARP for the floating addresses: a short series after each start, because a single frame may be lost. It
//! does not know why it announces.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::settings::Floating;
use crate::kernel::arp;
use crate::kernel::packet::{self, FrameSocket, Port};

/// When the frames of a series go out. Three are enough for a link that loses a frame or has just come up, and few
/// enough not to be a burden; RFC 9568 asks for one.
const SERIES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(10)];

/// Announces all floating addresses, each on its own interface.
#[derive(Debug)]
pub(super) struct Announcer {
    targets: Vec<Target>,
    series: Option<Series>,
}

#[derive(Debug)]
struct Target {
    address: Ipv4Addr,
    socket: FrameSocket,
    frame: Vec<u8>,
}

/// A series under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Series {
    started: Duration,
    /// How many of [`SERIES`] are done with.
    done: usize,
}

impl Announcer {
    /// Opens a socket and builds a frame for each address; `ports` are the interfaces in the same order.
    pub(super) fn open(floating: &[Floating], ports: &[Port]) -> Result<Self, packet::Error> {
        let target = |(floating, port): (&Floating, &Port)| {
            let frame = arp::gratuitous(floating.address, port.mac);
            Ok(Target { address: floating.address, socket: FrameSocket::open(port)?, frame })
        };
        let targets = floating.iter().zip(ports).map(target).collect::<Result<_, _>>()?;
        Ok(Self { targets, series: None })
    }

    /// Begins a new series, whatever was under way.
    pub(super) fn start(&mut self, now: Duration) {
        self.series = Some(Series { started: now, done: 0 });
    }

    /// Is a series under way?
    pub(super) fn is_busy(&self) -> bool {
        self.series.is_some()
    }

    /// Ends the series.
    pub(super) fn stop(&mut self) {
        self.series = None;
    }

    /// When [`Self::send_due`] wants to be called.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.series.map(Series::next)
    }

    /// Announces each address once if it is time, and says how that went.
    pub(super) fn send_due(&mut self, now: Duration) -> Vec<(Ipv4Addr, io::Result<()>)> {
        let due = self.series.is_some_and(|series| series.next() <= now);
        if !due {
            return Vec::new();
        }
        self.series = self.series.and_then(|series| series.after(now));
        self.targets.iter().map(|target| (target.address, target.socket.send(&target.frame))).collect()
    }
}

impl Series {
    fn next(self) -> Duration {
        self.started + SERIES[self.done]
    }

    /// The rest of the series; what a late wake missed is not made good for.
    fn after(self, now: Duration) -> Option<Self> {
        let done = SERIES.iter().take_while(|&&at| self.started + at <= now).count();
        (done < SERIES.len()).then_some(Self { done, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_has_three_frames_and_a_late_one_fewer() {
        let started = Duration::from_secs(5);
        let series = Series { started, done: 0 };
        assert_eq!(series.next(), started);
        let second = series.after(started).unwrap();
        assert_eq!(second.next(), started + SERIES[1]);
        let third = second.after(started + SERIES[1]).unwrap();
        assert_eq!(third.next(), started + SERIES[2]);
        assert_eq!(third.after(started + SERIES[2]), None);
        assert_eq!(series.after(started + Duration::from_secs(1)), None);
    }
}
