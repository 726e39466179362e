//! The holder's threads: the owner of the lab's state, and around it one that listens to the `labctl up` which started
//! it, one that receives events, one that accepts clients and one for each client.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, dup2_stderr, dup2_stdout, setsid};

use super::lab::{self, Input, Lab, Reply, chain};
use super::network::{self, Network};
use super::protocol::{self, Answer, Progress, REQUEST_BYTES_MAX, Request, StartSpec};
use crate::kernel::{mount, process, socket};

/// Inputs that may wait for the owner; whoever finds the queue full waits too.
const INPUTS_MAX: usize = 4096;
/// Clients at a time. A `status` in a loop needs one, a drill three.
const CLIENTS_MAX: usize = 64;
/// How long a client may take to say what it wants, and to take what it asked for.
const CLIENT_WAIT_MAX: Duration = Duration::from_secs(5);
/// How often a follower is looked after when there is nothing to tell it.
const FOLLOWER_LOOK: Duration = Duration::from_millis(500);
/// How long to wait before the next client when there is no descriptor for this one.
const ACCEPT_REST: Duration = Duration::from_millis(10);
/// How often readiness is looked at while somebody waits for it.
const READY_LOOK: Duration = Duration::from_millis(5);
/// How long the last answer may take to be written.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);
/// Largest event.
const EVENT_BYTES_MAX: usize = 64 * 1024;
/// What the holder's own log may take, beside which each node's log has a file system of its own.
const LOGS_MIB: u32 = 16;
/// What lies beside the disks of the nodes, each of which is a file system of its own.
const DISKS_MIB: u32 = 16;
/// Where the lab's private file system is mounted, and the parts of it.
const HOME: &str = "/run/labctl-lab";
const LOGS: &str = "/run/labctl-lab/logs";
const DISKS: &str = "/run/labctl-lab/disks";
const HOLDER_LOG: &str = "/run/labctl-lab/logs/holder.log";

/// Why there is no lab.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("read what to build")]
    Spec(#[source] io::Error),
    #[error("understand what to build")]
    Parse(#[source] serde_json::Error),
    #[error("a lab of that name is up already")]
    Taken,
    #[error("listen for clients")]
    Listen(#[source] io::Error),
    #[error("{act}")]
    Kernel {
        act: &'static str,
        #[source]
        source: nix::Error,
    },
    #[error(transparent)]
    Mount(#[from] mount::Error),
    #[error("make {path}")]
    Folder {
        path: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("make a socket pair for events")]
    Events(#[source] io::Error),
    #[error("start a thread")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Network(#[from] network::Error),
    #[error(transparent)]
    Lab(#[from] lab::Error),
    #[error("not ready after {after:?}; still waiting for {}", listing(.waiting_for))]
    NotReady { after: Duration, waiting_for: Vec<String> },
}

/// What is named of a long list before the rest is counted.
const NAMED_MAX: usize = 6;

fn listing(all: &[String]) -> String {
    match all.split_at_checked(NAMED_MAX) {
        Some((named, rest)) if !rest.is_empty() => format!("{} and {} more", named.join(", "), rest.len()),
        _ => all.join(", "),
    }
}

/// Builds the lab that standard input describes, tells standard output how it goes, and serves it until its end.
/// Returns only if that fails; whoever started it is told why.
pub fn run() -> std::process::ExitCode {
    match hold() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(Error::Taken) => {
            tell(&Progress::Taken);
            std::process::ExitCode::FAILURE
        }
        Err(error) => {
            tell(&Progress::Failed { because: chain(&error) });
            std::process::ExitCode::FAILURE
        }
    }
}

/// One line for the `labctl up` that waits; if it is gone, the thread that listens to it says so.
fn tell(progress: &Progress) {
    if let Ok(line) = serde_json::to_string(progress) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{line}");
        let _ = out.flush();
    }
}

#[expect(clippy::disallowed_methods, reason = "owns the clock of the start")]
fn hold() -> Result<(), Error> {
    let began = Instant::now();
    shed_the_caller()?;
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(Error::Spec)?;
    let spec: StartSpec = serde_json::from_str(&line).map_err(Error::Parse)?;
    let listener = match socket::listen(&protocol::address(&spec.lab)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(Error::Taken),
        result => result.map_err(Error::Listen)?,
    };
    move_in()?;
    let (inputs, queue) = sync_channel(INPUTS_MAX);
    let commit = inputs.clone();
    spawn(move || listen_to_parent(&commit))?;
    let signals = inputs.clone();
    spawn(move || listen_to_signals(&signals))?;
    let network = Network::create(&spec.topology)?;
    // A connected pair: its queue is bounded by bytes, not by the machine's `max_dgram_qlen` of 10.
    let (events, receiver) = UnixDatagram::pair().map_err(Error::Events)?;
    let mut lab = Lab::new(spec.lab, spec.topology, network, Path::new(HOME), events, inputs.clone());
    lab.build()?;
    tell(&Progress::Network { took_us: began.elapsed().as_micros() as u64 });
    let for_events = inputs.clone();
    spawn(move || receive_events(&receiver, &for_events))?;
    let (door, closed) = UnixStream::pair().map_err(Error::Events)?;
    let doorman = thread::Builder::new().spawn(move || accept(&listener, &closed, &inputs));
    let door = Door { open: Some(door), doorman: Some(doorman.map_err(Error::Thread)?) };
    lab.start_nodes()?;
    let within = Duration::from_millis(spec.ready_within_ms);
    serve(&mut lab, door, &queue, began, within)
}

/// The way in for clients, and the name of the lab with it.
struct Door {
    open: Option<UnixStream>,
    doorman: Option<thread::JoinHandle<()>>,
}

impl Door {
    /// Nobody comes in any more, and the name is free when this returns.
    fn close(&mut self) {
        drop(self.open.take());
        if let Some(doorman) = self.doorman.take() {
            let _ = doorman.join();
        }
    }
}

/// A lab outlives the shell that started it, and must hold on to nothing of it: terminal, folder, open files, umask.
fn shed_the_caller() -> Result<(), Error> {
    let failed = |act| move |source| Error::Kernel { act, source };
    // A terminal's Ctrl-C is for `labctl up`, which takes the lab with it if it is not finished.
    setsid().map_err(failed("leave the terminal"))?;
    chdir("/").map_err(failed("leave the folder"))?;
    umask(Mode::from_bits_truncate(0o022));
    process::close_others_on_exec().map_err(failed("keep the caller's descriptors from nodes"))?;
    // Each node costs some descriptors, and the usual limit is for a program with few.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed("read the limit of descriptors"))?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(failed("raise the limit of descriptors"))?;
    // Told to end (a machine that shuts down tells everybody), PID 1 of a namespace would not hear it.
    let mut ends = SigSet::empty();
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().for_each(|signal| ends.add(signal));
    ends.thread_block().map_err(failed("block signals"))
}

/// Waits for a signal that asks the lab to end.
fn listen_to_signals(inputs: &SyncSender<Input>) {
    let mut ends = SigSet::empty();
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().for_each(|signal| ends.add(signal));
    if ends.wait().is_ok() {
        let _ = inputs.send(Input::Abandoned);
    }
}

/// Own mounts, with the machine's untouched: `/proc` of the lab's PID namespace, and a home in memory.
fn move_in() -> Result<(), Error> {
    unshare(CloneFlags::CLONE_NEWNS)
        .map_err(|source| Error::Kernel { act: "make a mount namespace", source })?;
    mount::make_slave()?;
    mount::proc()?;
    mount::tmpfs(Path::new("/run"), "755", 1)?;
    for (path, mib) in [(LOGS, LOGS_MIB), (DISKS, DISKS_MIB)] {
        fs::create_dir_all(path).map_err(|source| Error::Folder { path, source })?;
        mount::tmpfs(Path::new(path), "755", mib)?;
    }
    Ok(())
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    thread::Builder::new().spawn(work).map(drop).map_err(Error::Thread)
}

/// `labctl up` writes one more line when it is content. If it ends before that, by whatever signal, so does the lab.
fn listen_to_parent(inputs: &SyncSender<Input>) {
    let mut line = String::new();
    let _ = io::stdin().lock().read_line(&mut line);
    let input = if line.is_empty() { Input::Abandoned } else { Input::Commit };
    let _ = inputs.send(input);
}

fn receive_events(socket: &UnixDatagram, inputs: &SyncSender<Input>) {
    let mut buffer = vec![0; EVENT_BYTES_MAX];
    while let Ok(len) = socket.recv(&mut buffer) {
        if let Ok(event) = serde_json::from_slice(&buffer[..len])
            && inputs.send(Input::Event(Box::new(event))).is_err()
        {
            return;
        }
    }
}

/// The owner's loop.
#[expect(clippy::disallowed_methods, reason = "owns the clock of burials")]
fn serve(
    lab: &mut Lab,
    mut door: Door,
    queue: &Receiver<Input>,
    began: Instant,
    within: Duration,
) -> Result<(), Error> {
    let mut start = Start { ready: false, said: Vec::new(), began, within, next_look: began };
    loop {
        start.look(lab)?;
        if let Err(error) = lab.bury_due(Instant::now()) {
            let _ = writeln!(io::stderr(), "holder: clear a dead node away: {}", chain(&error));
        }
        let burial = lab.next_burial().map(|due| due.saturating_duration_since(Instant::now()));
        let input = match burial.into_iter().chain((!start.ready).then_some(READY_LOOK)).min() {
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(wait) => queue.recv_timeout(wait),
        };
        match input {
            Ok(Input::Event(event)) => lab.remember(*event),
            Ok(Input::Exit(exit)) => {
                if let Err(error) = lab.node_ended(&exit) {
                    // One node that cannot be cleared away is no reason to end the others; `status` shows what is left.
                    let _ = writeln!(io::stderr(), "holder: bury {}: {}", exit.node, chain(&error));
                }
            }
            Ok(Input::Request { request, descriptors, reply }) => {
                let ends = matches!(request, Request::Down);
                let mut answer = lab.answer(request, descriptors);
                let (last_words, written) = sync_channel(0);
                let ends = ends && matches!(answer.answer, Answer::Done);
                answer.last_words = ends.then_some(last_words);
                if ends {
                    door.close();
                }
                let _ = reply.send(answer);
                if ends {
                    let _ = written.recv_timeout(LAST_WORDS_MAX);
                    return Ok(());
                }
            }
            Ok(Input::Commit) => detach()?,
            Ok(Input::Abandoned) => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// A lab on its way to be ready.
struct Start {
    ready: bool,
    said: Vec<String>,
    began: Instant,
    within: Duration,
    next_look: Instant,
}

impl Start {
    /// Looks whether it is ready, now and then, however much else there is to do.
    #[expect(clippy::disallowed_methods, reason = "owns the clock of the start")]
    fn look(&mut self, lab: &mut Lab) -> Result<(), Error> {
        if self.ready || Instant::now() < self.next_look {
            return Ok(());
        }
        let status = lab.status()?;
        self.next_look = Instant::now() + READY_LOOK;
        if status.is_ready() {
            self.ready = true;
            tell(&Progress::Ready { took_us: self.began.elapsed().as_micros() as u64 });
        } else if self.began.elapsed() > self.within {
            return Err(Error::NotReady { after: self.within, waiting_for: status.waiting_for });
        } else if status.waiting_for != self.said {
            self.said.clone_from(&status.waiting_for);
            tell(&Progress::Waiting { waiting_for: status.waiting_for });
        }
        Ok(())
    }
}

/// From now on nobody reads what this process prints but its log.
fn detach() -> Result<(), Error> {
    let path = HOLDER_LOG;
    let log = OpenOptions::new().create(true).append(true).open(path);
    let log = log.map_err(|source| Error::Folder { path, source })?;
    let failed = |source| Error::Kernel { act: "redirect output to the holder's log", source };
    dup2_stdout(log.as_fd()).map_err(failed)?;
    dup2_stderr(log.as_fd()).map_err(failed)
}

fn accept(listener: &UnixListener, closed: &UnixStream, inputs: &SyncSender<Input>) {
    let clients = Arc::new(AtomicUsize::new(0));
    loop {
        let mut ready = [
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(closed.as_fd(), PollFlags::POLLIN),
        ];
        let _ = poll(&mut ready, PollTimeout::NONE);
        if ready[1].any().unwrap_or(false) {
            return;
        }
        let Ok((stream, _)) = listener.accept() else {
            // Out of descriptors, most likely: a moment later some client will be done.
            thread::park_timeout(ACCEPT_REST);
            continue;
        };
        let timed = stream.set_read_timeout(Some(CLIENT_WAIT_MAX));
        if timed.and_then(|()| stream.set_write_timeout(Some(CLIENT_WAIT_MAX))).is_err() {
            continue;
        }
        // An abstract socket has no file mode, so the kernel's word on who calls is the lock on the door.
        if !socket::peer_is_trusted(&stream).unwrap_or(false) {
            let _ = write_answer(&stream, &Answer::Refused("this lab is another user's".to_owned()), &[]);
            continue;
        }
        if clients.fetch_add(1, Ordering::Relaxed) >= CLIENTS_MAX {
            clients.fetch_sub(1, Ordering::Relaxed);
            let _ = write_answer(&stream, &Answer::Refused("too many clients at a time".to_owned()), &[]);
            continue;
        }
        let (inputs, clients) = (inputs.clone(), clients.clone());
        let serving = thread::Builder::new().spawn(move || {
            let _ = attend(&stream, &inputs);
            clients.fetch_sub(1, Ordering::Relaxed);
        });
        drop(serving);
    }
}

fn write_answer(stream: &UnixStream, answer: &Answer, descriptors: &[OwnedFd]) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    let borrowed: Vec<_> = descriptors.iter().take(socket::DESCRIPTORS_MAX).map(|fd| fd.as_fd()).collect();
    socket::send_with(stream, &line, &borrowed)
}

/// One client, one request.
fn attend(stream: &UnixStream, inputs: &SyncSender<Input>) -> io::Result<()> {
    let mut buffer = vec![0; REQUEST_BYTES_MAX];
    let mut len = 0;
    let mut descriptors = Vec::new();
    while !buffer[..len].ends_with(b"\n") {
        let (more, with) = socket::receive_with(stream, &mut buffer[len..])?;
        if more == 0 {
            return Ok(());
        }
        if len + more == buffer.len() {
            return write_answer(stream, &Answer::Refused("the request is too long".to_owned()), &[]);
        }
        len += more;
        descriptors.extend(with);
    }
    let request = match serde_json::from_slice::<Request>(&buffer[..len]) {
        Ok(request) => request,
        Err(error) => {
            let answer = Answer::Refused(format!("understand the request: {error}"));
            return write_answer(stream, &answer, &[]);
        }
    };
    let (reply, replies) = sync_channel(1);
    if inputs.send(Input::Request { request, descriptors, reply }).is_err() {
        return Ok(());
    }
    let Ok(Reply { answer, descriptors, past, follow, last_words }) = replies.recv() else { return Ok(()) };
    write_answer(stream, &answer, &descriptors)?;
    drop(last_words);
    let mut out = BufWriter::new(stream);
    let write = |out: &mut BufWriter<&UnixStream>, event: &_| -> io::Result<()> {
        serde_json::to_writer(&mut *out, event)?;
        out.write_all(b"\n")
    };
    for event in past {
        write(&mut out, &*event)?;
    }
    out.flush()?;
    let Some(follow) = follow else { return Ok(()) };
    loop {
        match follow.recv_timeout(FOLLOWER_LOOK) {
            Ok(event) => {
                write(&mut out, &*event)?;
                out.flush()?;
            }
            Err(RecvTimeoutError::Timeout) if hung_up(stream) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Whether the other end is closed; a follower has nothing more to say.
fn hung_up(stream: &UnixStream) -> bool {
    let mut one = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    poll(&mut one, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}
