//! The daemon's loop: what comes in goes to the machines, what they say is done. One wait for everything, and between two
//! waits nothing that blocks but the kernel's own answer to a netlink request. Here is the only clock of the elections.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::Error;
use super::account::Account;
use super::checks::Checks;
use super::common::{Common, nanoseconds, now};
use super::complaints::Complaints;
use super::instance::{After, Instance, Taken};
use super::lookout::Lookout;
use super::opening::{self, Opened};
use super::punctuality::{Lateness, Punctuality, Turn};
use super::settings::Settings;
use crate::dataplane::gate::Leases;
use crate::kernel::protocol::QUEUE_PACKETS_MAX;
use crate::kernel::realtime::{self, Alarm};
use crate::report::What;
use crate::roles::Reporter;
use crate::roles::inquiry::Desk;
use crate::vrrp::{DATAGRAM_BYTES_MAX, Health, Input, Links};

/// Most packets of one socket handled before the timers get their turn: all that can have waited when the loop woke. A
/// flood, which goes on while they are handled, cannot keep the timers waiting for ever.
const DRAIN_MAX: usize = QUEUE_PACKETS_MAX;
/// Most inputs that may follow from one. Each router of a group makes all others follow once, and a virtual router has
/// a VRID of 255 and a family of two.
const FOLLOW_UPS_MAX: usize = 2 * 510 * 510;
/// Longest that a router which was told to stop may wait for its heir: more than any machine asks for at the usual
/// intervals, and less than a person waits before the second SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(5);

/// The daemon with everything it owns.
pub(super) struct Driver {
    election: String,
    sync: bool,
    instances: Vec<Instance>,
    common: Common,
    stop: SignalFd,
    alarm: Alarm,
    lookout: Lookout,
    checks: Checks,
    health: Health,
    desk: Option<Desk>,
    lacks: Vec<String>,
    punctuality: Punctuality,
    buffer: Vec<u8>,
}

/// Why the loop woke, and when.
struct Woken {
    at: Duration,
    /// Somebody wants it to stop.
    stop: bool,
    /// Somebody wants to know how it is.
    asked: bool,
}

impl Driver {
    /// Opens everything, so that nothing is left to fail in an election. `lacks` is what it already has to do without.
    pub(super) fn open(
        settings: &Settings,
        leases: Option<Leases>,
        desk: Option<Desk>,
        lacks: Vec<String>,
        reporter: Reporter,
    ) -> Result<Self, Error> {
        let system = |act| move |source| Error::System { act, source };
        let stop = stop_signals().map_err(system("watch for SIGTERM"))?;
        let alarm = Alarm::new().map_err(system("open a timer"))?;
        let Opened { instances, watches, ports } = opening::open(settings)?;
        let macvlans: Vec<_> = instances.iter().flat_map(Instance::macvlans).cloned().collect();
        let shortest = settings.routers.iter().map(|router| router.interval).min();
        Ok(Self {
            election: settings.interface.to_string(),
            sync: settings.sync,
            instances,
            common: Common { reporter, complaints: Complaints::default(), leases, watches },
            stop,
            alarm,
            lookout: Lookout::open(&ports, &macvlans)?,
            checks: Checks::start(&settings.checks).map_err(Error::Checks)?,
            health: Health::default(),
            desk,
            lacks,
            punctuality: Punctuality::new(shortest.map(|interval| interval.duration())),
            buffer: vec![0; DATAGRAM_BYTES_MAX],
        })
    }

    /// Takes part until told to stop.
    pub(super) fn run(mut self) -> Result<(), Error> {
        if let Err(errno) = realtime::run_first() {
            self.lack(format!("real-time priority, so a busy machine can make it late: SCHED_FIFO: {errno}"));
        }
        if let Err(errno) = realtime::stay_in_memory() {
            self.lack(format!("a place in memory for good, so it may be paged out: mlockall: {errno}"));
        }
        for lack in &self.lacks {
            tracing::warn!("does without {lack}");
        }
        let ended = self.take_part();
        // Whatever it still holds now, it has no time to hand over.
        for instance in &mut self.instances {
            instance.abandon(&mut self.common);
        }
        ended
    }

    fn lack(&mut self, what: String) {
        self.lacks.push(what);
    }

    fn take_part(&mut self) -> Result<(), Error> {
        self.begin()?;
        self.common.reporter.emit(What::Ready);
        let mut end = None;
        loop {
            let woken = self.wait(end)?;
            let mut turn = Turn::begin(woken.at);
            if woken.stop {
                // Told twice, it does not wait for an heir.
                if end.is_some() {
                    return Ok(());
                }
                end = Some(woken.at + STOP_MAX);
                self.feed_all(Input::Shutdown)?;
            }
            self.turn(woken.at, &mut turn)?;
            if woken.asked {
                self.answer();
            }
            turn.mark("questions", now());
            let slow = self.punctuality.ended(&turn);
            self.judge(slow);
            if end.is_some_and(|end| end <= woken.at || self.instances.iter().all(Instance::is_done)) {
                return Ok(());
            }
        }
    }

    /// Begins with nothing: a run that was killed leaves its addresses behind, and two holders with it.
    fn begin(&mut self) -> Result<(), Error> {
        for instance in &mut self.instances {
            instance.release(&mut self.common)?;
        }
        self.relink()?;
        self.feed_all(Input::Startup)
    }

    /// Sleeps until something happens.
    fn wait(&mut self, end: Option<Duration>) -> Result<Woken, Error> {
        let machines = self.instances.iter().filter_map(Instance::deadline);
        let deadline = machines.chain(self.lookout.deadline()).chain(end).min();
        self.alarm.set(deadline).map_err(|source| Error::System { act: "set a timer", source })?;
        let desk = self.desk.as_ref().map(AsFd::as_fd);
        let always = [self.stop.as_fd(), self.alarm.as_fd(), self.lookout.as_fd(), self.checks.as_fd()];
        let sockets = self.instances.iter().map(|instance| instance.socket.as_fd());
        let watches = self.common.watches.iter().map(|watch| watch.neighbours.as_fd());
        let all = always.into_iter().chain(sockets).chain(watches).chain(desk);
        let mut ready: Vec<PollFd> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let asleep = now();
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(source) => return Err(Error::System { act: "wait", source }),
        }
        let is_ready = |fd: Option<&PollFd>| fd.and_then(PollFd::any).unwrap_or(false);
        let asked = self.desk.is_some() && is_ready(ready.last());
        let stop = is_ready(ready.first()) && matches!(self.stop.read_signal(), Ok(Some(_)));
        let at = now();
        let late = self.punctuality.woke(deadline, asleep, at);
        self.judge(late);
        Ok(Woken { at, stop, asked })
    }

    /// Tells of what was not on time.
    fn judge(&mut self, lateness: Option<Lateness>) {
        if let Some(Lateness { kind, example }) = lateness {
            self.common.complain(kind, example);
        }
    }

    /// Handles all that had happened when the loop woke. A timer is due by that time and not by a later one: an advert
    /// that came after the queue was emptied must not be overtaken by the timer that it would have moved.
    fn turn(&mut self, woke: Duration, turn: &mut Turn) -> Result<(), Error> {
        self.receive()?;
        turn.mark("adverts", now());
        self.watch()?;
        turn.mark("neighbours", now());
        self.listen(woke)?;
        turn.mark("the kernel's news", now());
        self.hear_checks()?;
        turn.mark("checks", now());
        self.put_back(woke)?;
        turn.mark("what was gone", now());
        self.expire(woke)?;
        turn.mark("timers", now());
        Ok(())
    }

    /// Handles all packets that wait. This comes before the timers: a loop that woke late must not conclude from its own
    /// lateness that the Active is gone, while that one's adverts are in the queue.
    fn receive(&mut self) -> Result<(), Error> {
        for which in 0..self.instances.len() {
            for _ in 0..DRAIN_MAX {
                match self.receive_one(which) {
                    Taken::Nothing => break,
                    Taken::Ignored => {}
                    Taken::Advert(input) => self.feed(which, input)?,
                }
            }
        }
        Ok(())
    }

    /// Every socket hears what is for any virtual router of its family. What is for none of them is for the first one to
    /// complain of.
    fn receive_one(&mut self, which: usize) -> Taken {
        let (before, rest) = self.instances.split_at_mut(which);
        let Some((instance, behind)) = rest.split_first_mut() else { return Taken::Nothing };
        let family = instance.router.family;
        let mut others = before.iter().chain(behind.iter()).filter(|other| other.router.family == family);
        let first = before.iter().all(|other| other.router.family != family);
        let elsewhere = |vrid| !first || others.any(|other| other.router.vrid.get() == vrid);
        instance.receive(&mut self.buffer, elsewhere, &mut self.common)
    }

    /// Hears who else says to have the addresses, or is about to take them.
    fn watch(&mut self) -> Result<(), Error> {
        let seen = self.common.neighbours();
        for which in 0..self.instances.len() {
            let instance = &self.instances[which];
            let answered = seen.had.iter().any(|&address| instance.has(address));
            let rival = instance.rival(&seen.asked);
            if answered {
                self.feed(which, Input::Answered)?;
            }
            if let Some(rival) = rival {
                self.feed(which, rival)?;
            }
        }
        Ok(())
    }

    /// Hears what changed in the kernel.
    fn listen(&mut self, woke: Duration) -> Result<(), Error> {
        let heard = self.lookout.hear()?;
        if heard.anything {
            self.relink()?;
            self.lookout.wish(heard, woke);
        }
        Ok(())
    }

    /// Tells every instance of its links, if that is news. A group shares them all: else those whose links are up would take,
    /// and give up again because one does not follow, for as long as its link is down.
    fn relink(&mut self) -> Result<(), Error> {
        let size = if self.sync { self.instances.len().max(1) } else { 1 };
        let groups = self.instances.chunks(size);
        let links: Vec<Links> =
            groups.flat_map(|group| std::iter::repeat_n(self.links(group), group.len())).collect();
        for (which, links) in links.into_iter().enumerate() {
            if let Some(input) = self.instances[which].relink(links) {
                self.feed(which, input)?;
            }
        }
        Ok(())
    }

    /// The links that these instances depend on. Where all addresses are on the link of the adverts, who is cut off from it
    /// cannot serve: it would only be in the way when the link is back.
    fn links(&self, instances: &[Instance]) -> Links {
        let up = self.lookout.links();
        let is_up = |name: &str| up.get(name).copied().unwrap_or(false);
        let mut elsewhere =
            instances.iter().flat_map(Instance::homes).filter(|name| *name != self.election).peekable();
        let reachable = match elsewhere.peek() {
            Some(_) => elsewhere.all(is_up),
            None => is_up(&self.election),
        };
        let lives = instances.iter().flat_map(Instance::macvlans).all(|macvlan| self.lookout.has(macvlan));
        Links { election: is_up(&self.election), service: reachable && lives }
    }

    fn hear_checks(&mut self) -> Result<(), Error> {
        for check in self.checks.hear() {
            let verdict = if check.passes { "passes" } else { "fails" };
            tracing::info!("the check {} {verdict}: {}", check.name, check.detail);
        }
        let health = self.checks.health();
        if health != self.health {
            self.health = health;
            self.feed_all(Input::Health(health))?;
        }
        Ok(())
    }

    /// Handles the timers that were due at that time.
    fn expire(&mut self, woke: Duration) -> Result<(), Error> {
        for which in 0..self.instances.len() {
            let after = self.instances[which].expire(woke, &mut self.common)?;
            self.follow(which, after)?;
        }
        Ok(())
    }

    /// Sees to it that holders have what they hold. This comes before the timers: what they take is not known to the lookout
    /// yet.
    fn put_back(&mut self, woke: Duration) -> Result<(), Error> {
        let Some(heard) = self.lookout.round(woke) else { return Ok(()) };
        for instance in &mut self.instances {
            instance.put_back(heard, &self.lookout, &mut self.common)?;
        }
        Ok(())
    }

    fn feed_all(&mut self, input: Input) -> Result<(), Error> {
        (0..self.instances.len()).try_for_each(|which| self.feed(which, input))
    }

    /// Lets an instance handle an input, and whoever follows from that.
    fn feed(&mut self, which: usize, input: Input) -> Result<(), Error> {
        let after = self.instances[which].feed(input, &mut self.common)?;
        self.follow(which, after)
    }

    fn follow(&mut self, which: usize, after: Vec<After>) -> Result<(), Error> {
        let mut queue = VecDeque::new();
        self.enqueue(which, after, &mut queue);
        for _ in 0..FOLLOW_UPS_MAX {
            let Some((which, input)) = queue.pop_front() else { return Ok(()) };
            let after = self.instances[which].feed(input, &mut self.common)?;
            self.enqueue(which, after, &mut queue);
        }
        self.common.complain("endless", "a change that no virtual router settles on".to_owned());
        Ok(())
    }

    fn enqueue(&self, which: usize, after: Vec<After>, queue: &mut VecDeque<(usize, Input)>) {
        let group =
            |input| (0..self.instances.len()).filter(|&n| self.sync && n != which).map(move |n| (n, input));
        for after in after {
            match after {
                After::Probed => queue.push_back((which, Input::Probed)),
                After::LeaseRefused => queue.push_back((which, Input::LeaseRefused)),
                After::Took => queue.extend(group(Input::GroupTook)),
                After::Released => queue.extend(group(Input::GroupReleased)),
            }
        }
    }

    /// Says how it is to one of those who ask.
    fn answer(&mut self) {
        let Some(desk) = &self.desk else { return };
        let answer = || {
            let mut line = serde_json::to_vec(&self.account()).unwrap_or_default();
            line.push(b'\n');
            line
        };
        if let Err(error) = desk.answer_one(answer) {
            // A listener that cannot accept would wake the loop for ever.
            tracing::error!("answers no more questions: {error}");
            self.lack(format!("a socket for questions: {error}"));
            self.desk = None;
        }
    }

    fn account(&self) -> Account {
        let links = self.lookout.links();
        Account {
            at_ns: nanoseconds(now()),
            routers: self.instances.iter().map(Instance::account).collect(),
            links: links.into_iter().map(|(name, up)| (name.to_owned(), up)).collect(),
            checks: self.checks.account(),
            complaints: self.common.complaints.account(),
            latest_wake_us: self.punctuality.latest_wake_us(),
            longest_turn_us: self.punctuality.longest_turn_us(),
            lacks: self.lacks.clone(),
        }
    }
}

/// A descriptor for the signals that end the daemon. They are blocked for good: from here on they are input.
fn stop_signals() -> Result<SignalFd, Errno> {
    let mask = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

#[cfg(test)]
mod tests;
