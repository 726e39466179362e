//! A lab from outside: how commands, drills and scenarios find one, start one and talk to it. It trusts no file; what
//! runs is what listens.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Lines, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{ChildStdin, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::protocol::{
    ADDRESS_PREFIX, Answer, ApartFrom, Cable, Disk, Progress, Request, StartSpec, Status, address,
};
use super::tripwire::{self, Watcher};
use super::{shares, sweeper};
use crate::kernel::process::{PidFd, SELF, Spawn};
use crate::kernel::{cgroup, socket, wait};
use crate::report::Event;
use crate::roles::init::Order;
use crate::topology::{LabName, NetworkName, NodeName, Topology};

/// How long `labctl up` waits for a lab to be ready unless told otherwise.
pub const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long an answer may take: the longest is the return of a node, on a loaded machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How long the kernel may take to remove a lab that was told to end: a tenth of a second, unless connections to machines
/// that were already dead still repeat themselves, at intervals that double.
const GONE_WITHIN: Duration = Duration::from_secs(60);

/// Why a lab cannot be had, or does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's table of sockets cannot be read.
    #[error("look for running labs")]
    Look(#[source] io::Error),
    /// No lab at all.
    #[error("no lab is up")]
    NoLab,
    /// No lab of that name.
    #[error("no lab named {name} is up{}", others(.up))]
    NoSuchLab {
        /// The name.
        name: LabName,
        /// Those that are.
        up: Vec<LabName>,
    },
    /// Which of them?
    #[error("several labs are up: {}", list(.0))]
    Which(Vec<LabName>),
    /// The connection broke.
    #[error("talk to lab {lab}")]
    Talk {
        /// The lab.
        lab: LabName,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It said no.
    #[error("{0}")]
    Refused(String),
    /// It said something else.
    #[error("lab {lab} gave an answer that this labctl does not understand; is it of another version?")]
    Strange {
        /// The lab.
        lab: LabName,
    },
    /// Another user listens under its name.
    #[error("another user listens under the name of lab {lab}; not talking to that")]
    Stranger {
        /// The lab.
        lab: LabName,
    },
    /// The holder cannot be started.
    #[error("start the holder")]
    Start(#[source] io::Error),
    /// Somebody else was faster.
    #[error("a lab of that name is up; nothing changed")]
    Taken,
    /// The holder gave up.
    #[error("{0}")]
    Failed(String),
    /// The holder ended without a word.
    #[error("the holder ended while the lab was starting")]
    Vanished,
    /// Something is left of it.
    #[error(transparent)]
    Leftover(#[from] tripwire::Error),
    /// Its control groups are.
    #[error("still there: the control groups {}", .0.iter().map(|it| it.display().to_string()).collect::<Vec<_>>().join(", "))]
    Folders(Vec<PathBuf>),
    /// The holder does not end.
    #[error("the holder of {lab} still runs after {GONE_WITHIN:?}")]
    Undead {
        /// The lab.
        lab: LabName,
    },
}

fn list(names: &[LabName]) -> String {
    names.iter().map(LabName::as_str).collect::<Vec<_>>().join(", ")
}

fn others(up: &[LabName]) -> String {
    if up.is_empty() { "; none is".to_owned() } else { format!("; up: {}", list(up)) }
}

/// All labs of this network namespace.
pub fn labs() -> Result<Vec<LabName>, Error> {
    let addresses = socket::listening(ADDRESS_PREFIX).map_err(Error::Look)?;
    // What somebody else listens on is no lab of ours, whatever it calls itself.
    let ours = |address: &&String| {
        socket::connect(address).and_then(|stream| socket::peer_is_trusted(&stream)).unwrap_or(false)
    };
    let names = addresses.iter().filter(ours).filter_map(|address| address.strip_prefix(ADDRESS_PREFIX));
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}

/// Removes what labs left whose sweeper was killed with them.
pub fn sweep() {
    // Whoever sees no control groups has left none.
    let _ = cgroup::View::of_myself().map(|view| cgroup::sweep(&view));
}

/// A lab that is up.
#[derive(Clone, Debug)]
pub struct Lab {
    name: LabName,
}

/// How a start went.
#[derive(Clone, Copy, Debug)]
pub struct Started {
    /// Until packets passed on every cable.
    pub network: Duration,
    /// Until everything worked.
    pub ready: Duration,
}

/// Whoever has this keeps a lab up.
#[derive(Debug)]
pub struct Leash {
    stdin: ChildStdin,
    holder: PidFd,
}

impl Leash {
    /// Lets go, and waits until the lab has ended. One that does not end by itself is killed; then this is false.
    pub fn let_go(self) -> io::Result<bool> {
        drop(self.stdin);
        let ended = wait::readable(self.holder.as_fd(), GONE_WITHIN)?;
        if !ended {
            self.holder.signal(Signal::SIGKILL)?;
        }
        Ok(ended)
    }
}

impl Lab {
    /// The lab of that name, or the only one.
    pub fn find(name: Option<LabName>) -> Result<Self, Error> {
        let up = labs()?;
        match name {
            Some(name) if up.contains(&name) => Ok(Self { name }),
            Some(name) => Err(Error::NoSuchLab { name, up }),
            None => match up.as_slice() {
                [] => Err(Error::NoLab),
                [only] => Ok(Self { name: only.clone() }),
                _ => Err(Error::Which(up)),
            },
        }
    }

    /// Builds a lab and returns when it is ready. Whatever ends this process before that ends the lab as well.
    pub fn up(
        name: LabName,
        topology: &Topology,
        within: Duration,
        progress: impl FnMut(&Progress),
    ) -> Result<(Self, Started), Error> {
        let (lab, started, mut leash) = Self::up_on_a_leash(SELF.as_ref(), name, topology, within, progress)?;
        leash.stdin.write_all(b"keep\n").map_err(Error::Start)?;
        Ok((lab, started))
    }

    /// The same, for a lab that ends with the leash, and so with this process, which may be another than `labctl`: that
    /// is `program`.
    pub fn up_on_a_leash(
        program: &OsStr,
        name: LabName,
        topology: &Topology,
        within: Duration,
        mut progress: impl FnMut(&Progress),
    ) -> Result<(Self, Started, Leash), Error> {
        let (stdin, stdout) = (Stdio::piped(), Stdio::piped());
        let spawn = Spawn { program, stdin, stdout, ..Spawn::own(&["__holder"]) };
        let mut child = spawn.start_as_init().map_err(Error::Start)?;
        let holder = PidFd::open(child.id().cast_signed()).map_err(Error::Start)?;
        if !shares::wanted(topology).is_empty() {
            sweep();
            sweeper::start(program, &name, &holder).map_err(Error::Start)?;
        }
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::Vanished);
        };
        // Somebody has to collect it if it ends while this process goes on.
        thread::spawn(move || child.wait());
        let ready_within_ms = within.as_millis() as u64;
        let spec = StartSpec { lab: name.clone(), topology: topology.clone(), ready_within_ms };
        let mut line = serde_json::to_vec(&spec).map_err(|error| Error::Start(error.into()))?;
        line.push(b'\n');
        stdin.write_all(&line).map_err(Error::Start)?;
        let started = follow(BufReader::new(stdout).lines(), &mut progress)?;
        Ok((Self { name }, started, Leash { stdin, holder }))
    }

    /// Its name.
    pub fn name(&self) -> &LabName {
        &self.name
    }

    fn talk(&self, source: io::Error) -> Error {
        Error::Talk { lab: self.name.clone(), source }
    }

    fn strange(&self) -> Error {
        Error::Strange { lab: self.name.clone() }
    }

    fn send(&self, request: &Request, with: &[BorrowedFd]) -> Result<UnixStream, Error> {
        let stream = socket::connect(&address(&self.name)).map_err(|source| match source.kind() {
            io::ErrorKind::ConnectionRefused => {
                Error::NoSuchLab { name: self.name.clone(), up: labs().unwrap_or_default() }
            }
            _ => self.talk(source),
        })?;
        if !socket::peer_is_trusted(&stream).map_err(|source| self.talk(source))? {
            return Err(Error::Stranger { lab: self.name.clone() });
        }
        stream.set_read_timeout(Some(ANSWER_WITHIN)).map_err(|source| self.talk(source))?;
        let mut line = serde_json::to_vec(request).map_err(|error| self.talk(error.into()))?;
        line.push(b'\n');
        socket::send_with(&stream, &line, with).map_err(|source| self.talk(source))?;
        Ok(stream)
    }

    /// Sends a request and reads the first line of the answer, its descriptors, and what bytes came after it.
    fn ask_on(&self, stream: &UnixStream) -> Result<(Answer, Vec<OwnedFd>, Vec<u8>), Error> {
        let mut buffer = vec![0; 64 * 1024];
        let mut text = Vec::new();
        let mut descriptors = Vec::new();
        loop {
            let (len, with) =
                socket::receive_with(stream, &mut buffer).map_err(|source| self.talk(source))?;
            text.extend_from_slice(&buffer[..len]);
            descriptors.extend(with);
            if let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let answer = serde_json::from_slice(&text[..end]).map_err(|_| self.strange())?;
                return match answer {
                    Answer::Refused(why) => Err(Error::Refused(why)),
                    answer => Ok((answer, descriptors, text.split_off(end + 1))),
                };
            }
            if len == 0 {
                return Err(self.talk(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn ask(&self, request: &Request) -> Result<(Answer, Vec<OwnedFd>), Error> {
        let stream = self.send(request, &[])?;
        let (answer, descriptors, _) = self.ask_on(&stream)?;
        Ok((answer, descriptors))
    }

    fn tell(&self, request: &Request) -> Result<(), Error> {
        self.ask(request).map(drop)
    }

    /// The topology that it was made of.
    pub fn topology(&self) -> Result<Topology, Error> {
        match self.ask(&Request::Topology)?.0 {
            Answer::Topology(topology) => Ok(*topology),
            _ => Err(self.strange()),
        }
    }

    /// What it is like now.
    pub fn status(&self) -> Result<Status, Error> {
        let stream = self.send(&Request::Status, &[])?;
        let (Answer::Status(mut status), descriptors, _) = self.ask_on(&stream)? else {
            return Err(self.strange());
        };
        status.holder_pid = socket::peer_pid(&stream).ok().filter(|pid| *pid > 0);
        // Process ids differ between PID namespaces; descriptors say what they are here.
        let up = status.nodes.iter_mut().filter(|node| node.state == super::protocol::NodeState::Up);
        for (node, descriptor) in up.zip(descriptors) {
            node.pid = PidFd::from(descriptor).pid();
        }
        Ok(*status)
    }

    /// Who has the public floating address now.
    pub fn holders(&self) -> Result<Vec<NodeName>, Error> {
        match self.ask(&Request::Holders)?.0 {
            Answer::Holders(holders) => Ok(holders),
            _ => Err(self.strange()),
        }
    }

    /// A node's PID 1.
    pub fn enter(&self, node: &NodeName) -> Result<PidFd, Error> {
        let (_, descriptors) = self.ask(&Request::Enter { node: node.clone() })?;
        descriptors.into_iter().next().map(PidFd::from).ok_or_else(|| self.strange())
    }

    /// A node's log, to be read.
    pub fn log(&self, node: &NodeName) -> Result<File, Error> {
        let (_, descriptors) = self.ask(&Request::Log { node: node.clone() })?;
        descriptors.into_iter().next().map(File::from).ok_or_else(|| self.strange())
    }

    /// All events so far, and those to come until the lab ends if `follow`. A line that is none ends them: whoever
    /// follows must not take a part for the whole.
    pub fn events(&self, follow: bool) -> Result<impl Iterator<Item = Event> + Send + use<>, Error> {
        let stream = self.send(&Request::Events { follow }, &[])?;
        let (_, _, begun) = self.ask_on(&stream)?;
        stream.set_read_timeout(None).map_err(|source| self.talk(source))?;
        let lines = BufReader::new(io::Read::chain(io::Cursor::new(begun), stream)).lines();
        Ok(lines.map_while(|line| serde_json::from_str(&line.ok()?).ok()))
    }

    /// Cuts a node's cables and kills it: silence.
    pub fn power_off(&self, node: &NodeName) -> Result<(), Error> {
        self.tell(&Request::PowerOff { node: node.clone() })
    }

    /// Kills a node with its cables in.
    pub fn kill(&self, node: &NodeName) -> Result<(), Error> {
        self.tell(&Request::Kill { node: node.clone() })
    }

    /// Plugs a node in and starts it.
    pub fn power_on(&self, node: &NodeName) -> Result<(), Error> {
        self.tell(&Request::PowerOn { node: node.clone() })
    }

    /// Breaks or mends one of a node's cables.
    pub fn cable(&self, node: &NodeName, network: &NetworkName, becomes: Cable) -> Result<(), Error> {
        self.tell(&Request::Cable { node: node.clone(), network: network.clone(), becomes })
    }

    /// Cuts nodes off from all others or from each other, on one network or on all.
    pub fn set_apart(
        &self,
        nodes: &[NodeName],
        from: ApartFrom,
        network: Option<&NetworkName>,
    ) -> Result<(), Error> {
        self.tell(&Request::SetApart { nodes: nodes.to_vec(), from, network: network.cloned() })
    }

    /// Has all processes of a node hang, or go on.
    pub fn hang(&self, node: &NodeName, hangs: bool) -> Result<(), Error> {
        self.tell(&Request::Hang { node: node.clone(), hangs })
    }

    /// Does something to a node's disk.
    pub fn disk(&self, node: &NodeName, becomes: Disk) -> Result<(), Error> {
        self.tell(&Request::Disk { node: node.clone(), becomes })
    }

    /// Takes the floating addresses of a network from a node behind its daemon's back.
    pub fn delete_floating(&self, node: &NodeName, network: &NetworkName) -> Result<(), Error> {
        self.tell(&Request::DeleteFloating { node: node.clone(), network: network.clone() })
    }

    /// Gives a node's PID 1 an order.
    pub fn order(&self, node: &NodeName, order: Order) -> Result<(), Error> {
        self.tell(&Request::Order { node: node.clone(), order })
    }

    /// Ends it. Its name is free when this returns; the kernel removes what it was made of right after.
    pub fn down(&self) -> Result<(), Error> {
        self.tell(&Request::Down)
    }

    /// Somebody who notices when the last of its network namespaces is gone.
    pub fn watch(&self) -> Result<Watcher, Error> {
        let mut watcher = Watcher::create()?;
        let stream = self.send(&Request::Tie, &[watcher.netns()])?;
        match self.ask_on(&stream)?.0 {
            Answer::Tied(names) => watcher.tied(names),
            _ => return Err(self.strange()),
        }
        Ok(watcher)
    }

    /// Ends it and proves that nothing is left: the holder is gone, and so is every network namespace. Returns how many
    /// namespaces there were.
    pub fn down_and_wait(&self) -> Result<usize, Error> {
        let mut watcher = self.watch()?;
        let stream = self.send(&Request::Down, &[])?;
        let holder = socket::peer_pid(&stream).and_then(PidFd::open);
        self.ask_on(&stream)?;
        if let Ok(holder) = holder
            && !wait::readable(holder.as_fd(), GONE_WITHIN).unwrap_or(false)
        {
            return Err(Error::Undead { lab: self.name.clone() });
        }
        let namespaces = watcher.wait(GONE_WITHIN)?;
        match cgroup::sweep_of(self.name.as_str()) {
            left if left.is_empty() => Ok(namespaces),
            left => Err(Error::Folders(left)),
        }
    }
}

fn follow(lines: Lines<impl BufRead>, progress: &mut impl FnMut(&Progress)) -> Result<Started, Error> {
    let mut network = Duration::ZERO;
    for line in lines {
        let line = line.map_err(Error::Start)?;
        let Ok(said) = serde_json::from_str::<Progress>(&line) else { continue };
        progress(&said);
        match said {
            Progress::Network { took_us } => network = Duration::from_micros(took_us),
            Progress::Waiting { .. } => {}
            Progress::Ready { took_us } => {
                return Ok(Started { network, ready: Duration::from_micros(took_us) });
            }
            Progress::Taken => return Err(Error::Taken),
            Progress::Failed { because } => return Err(Error::Failed(because)),
        }
    }
    Err(Error::Vanished)
}
