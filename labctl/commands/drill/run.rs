//! `labctl drill run`: the hands of [`Runner`]. It builds the lab, starts the load in the client node, does what the
//! runner says when it says so, and keeps every event. It decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::{Child, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;

use super::super::{Failure, Outcome, up, validate};
use super::watch::Watch;
use super::{Format, REPORTS};
use crate::drill::{self, Action, Do, Drill, Ending, Input, Runner, Seen};
use crate::holder::client::{self, Lab, READY_WITHIN};
use crate::holder::protocol::{Disk, NodeStatus};
use crate::kernel::process::{SELF, Spawn};
use crate::kernel::{clock, usage};
use crate::report::{ApartFrom, Began, Cable, Event, Usage, What, targets};
use crate::roles::init::Order;
use crate::roles::load;
use crate::topology::{LabName, NetworkName, Node, NodeName, Role, Topology};

/// Events that may wait for the runner; a load tells all its probes at once, and waits if the queue is full.
const HEARD_MAX: usize = 4_096;
/// After the end of the load, how long the lab may be silent before its last events count as here.
const SILENCE: Duration = Duration::from_millis(200);
/// A service that fails over and over is never silent; this is as long as it is listened to.
const REST_MAX: Duration = Duration::from_secs(3);

/// Why a drill cannot go on without the lab's word.
const LAB_SILENT: &str = "the events of the lab ended before the drill did";

const EXAMPLES: &str = "\
Examples:
  labctl drill run topologies/drills/proxy-crash.yaml
  labctl drill run topologies/drills/proxy-crash.yaml --keep      look around in the lab afterwards
  labctl drill run topologies/drills/proxy-crash.yaml --name mine --out /tmp/reports --format json
  labctl drill run topologies/drills/every-database-fault.yaml --topology topologies/ha-etcd.yaml";

/// Build the site of a drill, run the drill, report
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The drill
    file: PathBuf,
    /// Where the folder of the report is made
    #[arg(short, long, value_name = "DIR", default_value = REPORTS)]
    out: PathBuf,
    /// The site to break, instead of that of the drill
    #[arg(short, long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Name of the lab, instead of that of the drill
    #[arg(short, long)]
    name: Option<LabName>,
    /// Leave the lab up
    #[arg(short, long)]
    keep: bool,
    /// How the report is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What the runner may hear.
enum Heard {
    Lab(Event),
    Load(Event),
    LoadSilent,
    /// Something that was said did not get through.
    Broken(String),
    Interrupt,
}

/// Where the load goes to and comes from.
struct Way<'a> {
    client: &'a Node,
    sources: Vec<Ipv4Addr>,
    vip: Ipv4Addr,
    port: u16,
    webs: BTreeSet<String>,
    /// Where the cables of each node lead.
    cables: BTreeMap<NodeName, Vec<NetworkName>>,
    databases: BTreeSet<NodeName>,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Outcome {
    let mut drill = super::load(&args.file)?;
    let site = match &args.topology {
        Some(site) => {
            drill.topology.clone_from(site);
            site.clone()
        }
        None => args.file.parent().unwrap_or(&args.file).join(&drill.topology),
    };
    let topology = validate::load(&site)?;
    let misfits: Vec<_> = drill.misfits(&topology).iter().map(ToString::to_string).collect();
    let way = Way::through(&topology);
    let (Some(way), []) = (way, misfits.as_slice()) else {
        let (file, site) = (args.file.display(), site.display());
        let help = match args.topology {
            Some(_) => format!("the drill {file} cannot be run on {site}"),
            None => format!("`topology:` of {file} names {site}"),
        };
        return Err(Failure::usage(misfits.join("\n"), help));
    };
    up::check_privilege(&topology)?;
    super::check_out(&args.out)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => drill.name.as_str().parse().expect("names of drills and labs have the same form"),
    };
    let (say, heard) = sync_channel(HEARD_MAX);
    // Before there is a lab: an interrupt that came between its start and the drill's would leave it up.
    listen_for_interrupts(say.clone())?;
    let (lab, _) = up::start(name, &topology, READY_WITHIN)?;
    let code = conduct(&drill, &lab, &way, say, &heard).and_then(|events| report(args, &drill, &events));
    // The report is safe by now, and a lab that does not end is worth a word of its own.
    if !args.keep {
        match lab.down_and_wait() {
            // Somebody else ended it, and the report says so.
            Ok(_) | Err(client::Error::NoSuchLab { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    code
}

fn report(args: &Args, drill: &Drill, events: &[Event]) -> Outcome {
    let dir = super::fresh_folder(&args.out, &format!("{}-{}", stamp(events), drill.name))?;
    let report = super::write_all(&dir, events)?;
    super::print(&report, args.format)?;
    tell(&format!("{}: {}", report.verdict, dir.display()));
    Ok(ExitCode::from(report.verdict.exit_code()))
}

/// A reader that is gone is no reason to leave a lab behind.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// When the drill began, as the beginning of a file's name.
fn stamp(events: &[Event]) -> String {
    let began = events.iter().find_map(|event| match &event.what {
        What::DrillBegan(began) => Some(began.started_at.strftime("%Y%m%dT%H%M%SZ").to_string()),
        _ => None,
    });
    began.unwrap_or_default()
}

impl<'a> Way<'a> {
    fn through(topology: &'a Topology) -> Option<Self> {
        let services = &topology.balancer.as_ref()?.services;
        // The load speaks IPv4.
        let (service, vip) = services.iter().find_map(|service| match service.address {
            IpAddr::V4(vip) => Some((service, vip)),
            IpAddr::V6(_) => None,
        })?;
        let client = topology.nodes_of(Role::Client).next()?;
        Some(Self {
            client,
            sources: client.interfaces.first()?.addresses.clone(),
            vip,
            port: service.port,
            webs: service.reals.iter().map(|real| real.node.to_string()).collect(),
            cables: topology.nodes.iter().map(cables).collect(),
            databases: topology.nodes_of(Role::Db).map(|node| node.name.clone()).collect(),
        })
    }

    fn spec(&self, drill: &Drill) -> load::Spec {
        load::Spec {
            vip: self.vip,
            port: self.port,
            sources: self.sources.clone(),
            webs: self.webs.len(),
            conversations: drill.load.conversations,
            turns_per_s: drill.load.turns_per_s,
            timeout: drill.load.timeout,
            probe_interval: drill.load.probe_interval,
            duration: drill.duration,
            reads_percent: drill.load.reads_percent,
        }
    }
}

fn cables(node: &Node) -> (NodeName, Vec<NetworkName>) {
    (node.name.clone(), node.interfaces.iter().map(|interface| interface.network.clone()).collect())
}

/// A drill in a lab that somebody else has built, and keeps.
pub(in crate::commands) fn under_load(
    drill: &Drill,
    lab: &Lab,
    topology: &Topology,
) -> Result<Vec<Event>, Failure> {
    let misfits: Vec<_> = drill.misfits(topology).iter().map(ToString::to_string).collect();
    let Some(way) = Way::through(topology).filter(|_| misfits.is_empty()) else {
        return Err(Failure::usage(misfits.join("\n"), "`labctl status` shows what the lab has"));
    };
    let (say, heard) = sync_channel(HEARD_MAX);
    listen_for_interrupts(say.clone())?;
    conduct(drill, lab, &way, say, &heard)
}

/// The drill itself, in a lab that is ready. Whatever happens, it ends with a record that says so.
fn conduct(
    drill: &Drill,
    lab: &Lab,
    way: &Way,
    say: SyncSender<Heard>,
    heard: &Receiver<Heard>,
) -> Result<Vec<Event>, Failure> {
    let lab_says = say.clone();
    let mut of_lab = to_the_end(lab.events(true)?);
    thread::spawn(move || of_lab.all(|heard| lab_says.send(heard).is_ok()));

    let now_ns = clock::monotonic_ns();
    let (began, seen) = began(drill, lab, way)?;
    let (mut runner, todo) = Runner::start(drill, now_ns);
    let (spec, watch) = (way.spec(drill), Watch::new(way.vip, way.databases.clone(), seen));
    let mut hands =
        Hands { lab, way, spec, say, watch, events: Vec::new(), load: None, ends_ns: None, broken: None };
    hands.note(now_ns, What::DrillBegan(Box::new(began)));
    let mut ending = hands.act(todo, &mut runner);
    while ending.is_none() {
        let input = hands.next(heard, &runner);
        hands.weigh_from(|ends_ns| ends_ns);
        ending = match input {
            Some(input) => hands.act(runner.handle(input, clock::monotonic_ns()), &mut runner),
            None => None,
        };
    }
    let aborted = match ending {
        Some(Ending::Aborted { because }) => Some(because),
        Some(Ending::Complete) | None => None,
    };
    hands.hear_the_rest(heard);
    // Also where the drill had come to its end: what was lost may be what the verdict hangs on.
    let aborted = aborted.or(hands.broken.take());
    hands.note(clock::monotonic_ns(), What::DrillEnded { aborted });
    let mut events = hands.events;
    events.sort_by_key(|event| event.at_ns);
    Ok(events)
}

fn began(drill: &Drill, lab: &Lab, way: &Way) -> Result<(Began, Seen), Failure> {
    let status = lab.status()?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let processors = thread::available_parallelism()?;
    // Seconds are enough for people; what is measured goes by the monotonic clock.
    let started_at = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap_or_default();
    let (holder, leader) = (status.vip_holders.first().cloned(), status.raft_leader);
    let seen = Seen { holder, leader, ..Seen::default() };
    let began = Began {
        drill: drill.clone(),
        started_at,
        lab: lab.name().to_string(),
        machine: format!("Linux {}, {processors} processors", kernel.trim()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        vip: way.vip,
        webs: way.webs.clone(),
        holder: seen.holder.as_ref().map(ToString::to_string),
        leader: seen.leader.as_ref().map(ToString::to_string),
    };
    Ok((began, seen))
}

/// Ctrl-C and SIGTERM become something to hear, so that the lab is ended in order. Threads that are started from now on
/// leave them alone, too.
fn listen_for_interrupts(say: SyncSender<Heard>) -> Result<(), Failure> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().map_err(std::io::Error::from)?;
    let signals = SignalFd::new(&signals).map_err(std::io::Error::from)?;
    thread::spawn(move || {
        while let Ok(Some(_)) = signals.read_signal() {
            tell("interrupted: this ends as soon as it can");
            let _ = say.send(Heard::Interrupt);
        }
    });
    Ok(())
}

/// Everything that a drill touches.
struct Hands<'a> {
    lab: &'a Lab,
    way: &'a Way<'a>,
    spec: load::Spec,
    say: SyncSender<Heard>,
    watch: Watch,
    events: Vec<Event>,
    load: Option<Child>,
    /// When the timetable ends, while what it costs without faults is still to be found out.
    ends_ns: Option<u64>,
    /// Why the events are not all that happened.
    broken: Option<String>,
}

impl Hands<'_> {
    fn note(&mut self, at_ns: u64, what: What) {
        self.events.push(Event { at_ns, node: None, source: "drill".to_owned(), what });
    }

    /// What happens next, as far as it concerns the runner.
    fn next(&mut self, heard: &Receiver<Heard>, runner: &Runner) -> Option<Input> {
        let wait_ns = runner.deadline_ns()?.saturating_sub(clock::monotonic_ns());
        match heard.recv_timeout(Duration::from_nanos(wait_ns)) {
            Ok(heard) => self.hear(heard),
            Err(RecvTimeoutError::Timeout) => Some(Input::Due(self.watch.seen())),
            // This value holds a sender itself, so somebody can always speak.
            Err(RecvTimeoutError::Disconnected) => Some(Input::Interrupted),
        }
    }

    fn hear(&mut self, heard: Heard) -> Option<Input> {
        match heard {
            Heard::Lab(event) => {
                self.watch.learn(&event);
                self.events.push(event);
                None
            }
            Heard::Load(event) => {
                self.watch.learn(&event);
                let begins_ns = event.at_ns;
                let ready = event.what == What::Ready;
                self.events.push(event);
                if ready {
                    self.weigh();
                    self.ends_ns = Some(begins_ns + self.spec.duration.as_nanos() as u64);
                }
                ready.then_some(Input::LoadReady { begins_ns })
            }
            Heard::LoadSilent => {
                let ended = self.load.take().map(|mut load| load.wait());
                Some(Input::LoadEnded {
                    well: ended.is_some_and(|it| it.is_ok_and(|status| status.success())),
                })
            }
            Heard::Broken(because) => {
                self.broken.get_or_insert_with(|| because.clone());
                Some(Input::RecordBroken { because })
            }
            Heard::Interrupt => Some(Input::Interrupted),
        }
    }

    /// Once, at the first fault or at the end of the timetable.
    fn weigh_from(&mut self, at_ns: impl FnOnce(u64) -> u64) {
        if self.ends_ns.is_some_and(|ends_ns| clock::monotonic_ns() >= at_ns(ends_ns)) {
            self.ends_ns = None;
            self.weigh();
        }
    }

    /// Notes what each node has used so far.
    fn weigh(&mut self) {
        let at_ns = clock::monotonic_ns();
        match weights(self.lab) {
            Ok(all) => self.events.extend(all.into_iter().map(|(node, usage)| Event {
                at_ns,
                node: Some(node.to_string()),
                source: "drill".to_owned(),
                what: What::Usage(usage),
            })),
            Err(error) => {
                let text = format!("what the nodes used is not known: {error}");
                self.note(at_ns, What::Note { text });
            }
        }
    }

    /// Does what is to be done; the ending, if it is the end.
    fn act(&mut self, todo: Vec<Do>, runner: &mut Runner) -> Option<Ending> {
        for act in todo {
            let failure = match act {
                Do::StartLoad => self.start_load().err().map(|error| failed("start the load", error)),
                Do::Inject { action, nodes } => {
                    let failure = self.inject(&action, &nodes).err();
                    failure.map(|error| failed(&format!("{action} of {}", targets(&nodes)), error))
                }
                Do::StopLoad => {
                    self.stop_load();
                    None
                }
                Do::Finish(ending) => return Some(ending),
            };
            if let Some(failure) = failure {
                let todo = runner.handle(failure, clock::monotonic_ns());
                return self.act(todo, runner);
            }
        }
        None
    }

    fn inject(&mut self, action: &Action, nodes: &[NodeName]) -> Result<(), client::Error> {
        self.weigh_from(|_| 0);
        let at_ns = clock::monotonic_ns();
        let target = targets(nodes);
        tell(&format!("{action} of {target}"));
        self.note(at_ns, What::Fault { action: action.to_string(), target });
        match action {
            Action::Split(network) => self.lab.set_apart(nodes, ApartFrom::TheRest, network.as_ref()),
            Action::CutLink(network) => self.lab.set_apart(nodes, ApartFrom::EachOther, network.as_ref()),
            action => nodes.iter().try_for_each(|node| self.hit(action, node)),
        }
    }

    fn hit(&self, action: &Action, node: &NodeName) -> Result<(), client::Error> {
        match action {
            Action::PowerOff => self.lab.power_off(node),
            Action::PowerOn => self.lab.power_on(node),
            Action::KillNode => self.lab.kill(node),
            Action::KillService(service) => {
                let signal = Signal::SIGKILL as i32;
                self.lab.order(node, Order::Signal { service: service.clone(), signal })
            }
            Action::Stop(service) => self.lab.order(node, Order::Stop { service: service.clone() }),
            Action::Signal(service, signal) => {
                let signal = number(*signal) as i32;
                self.lab.order(node, Order::Signal { service: service.clone(), signal })
            }
            Action::LinkDown(network) => self.lab.cable(node, network, Cable::Down),
            Action::LinkUp(network) => self.lab.cable(node, network, Cable::Up),
            Action::Partition(network) => self.lab.cable(node, network, Cable::Partition),
            Action::Heal(Some(network)) => self.lab.cable(node, network, Cable::Heal),
            Action::Heal(None) => {
                let cables = self.way.cables.get(node).into_iter().flatten();
                cables.into_iter().try_for_each(|network| self.lab.cable(node, network, Cable::Heal))
            }
            Action::Split(_) | Action::CutLink(_) => Ok(()),
            Action::Freeze => self.lab.hang(node, true),
            Action::Thaw => self.lab.hang(node, false),
            Action::WipeDisk => self.lab.disk(node, Disk::Wiped),
            Action::FillDisk => self.lab.disk(node, Disk::Full),
            Action::FreeDisk => self.lab.disk(node, Disk::Free),
            Action::DeleteAddress(network) => self.lab.delete_floating(node, network),
        }
    }

    fn start_load(&mut self) -> std::io::Result<()> {
        // Entering a node's namespaces takes a process with one thread, which `labctl exec` is.
        let (lab, client) = (self.lab.name().as_str(), self.way.client.name.as_str());
        // On the node, this program may not be found where it lies: the node has a `/tmp` of its own.
        let command = ["exec", "--lab", lab, client, "--", SELF, "__role", "load", "--node", client];
        let mut spawn = Spawn::own(&command);
        spawn.stdin = Stdio::piped();
        spawn.stdout = Stdio::piped();
        let mut child = spawn.start()?;
        if let Some(mut stdin) = child.stdin.take() {
            serde_json::to_writer(&mut stdin, &self.spec)?;
            stdin.flush()?;
        }
        if let Some(stdout) = child.stdout.take() {
            let say = self.say.clone();
            thread::spawn(move || pass_on(BufReader::new(stdout).lines(), &say));
        }
        self.load = Some(child);
        Ok(())
    }

    /// The load itself ends when it finds that nobody reads what it says, at the latest with the lab.
    fn stop_load(&mut self) {
        if let Some(mut load) = self.load.take() {
            let _ = load.kill();
            let _ = load.wait();
        }
    }

    /// What is under way still, until nobody has said anything for a while.
    fn hear_the_rest(&mut self, heard: &Receiver<Heard>) {
        let until_ns = clock::monotonic_ns() + REST_MAX.as_nanos() as u64;
        while let Ok(last) = heard.recv_timeout(SILENCE) {
            self.hear(last);
            if clock::monotonic_ns() >= until_ns {
                return;
            }
        }
    }
}

/// What each node that is up has used since it started.
fn weights(lab: &Lab) -> Result<Vec<(NodeName, Usage)>, String> {
    let nodes = lab.status().map_err(|error| crate::holder::lab::chain(&error))?.nodes;
    let inits: Vec<i32> = nodes.iter().filter_map(|node| node.pid).collect();
    let used = usage::of_machines(&inits).map_err(|error| format!("read /proc: {error}"))?;
    let of_node = |node: NodeStatus| {
        let init = node.pid?;
        let used = used.get(&init)?;
        let usage = Usage {
            role: node.role,
            init,
            cpu_us: u64::try_from(used.cpu.as_micros()).unwrap_or(u64::MAX),
            memory_bytes: used.memory_bytes,
            written_bytes: used.written_bytes,
            received_bytes: used.received_bytes,
            sent_bytes: used.sent_bytes,
        };
        Some((node.name, usage))
    };
    Ok(nodes.into_iter().filter_map(of_node).collect())
}

fn number(signal: drill::Signal) -> Signal {
    match signal {
        drill::Signal::Stop => Signal::SIGSTOP,
        drill::Signal::Cont => Signal::SIGCONT,
        drill::Signal::Hup => Signal::SIGHUP,
        drill::Signal::Kill => Signal::SIGKILL,
        drill::Signal::Term => Signal::SIGTERM,
        drill::Signal::Usr1 => Signal::SIGUSR1,
        drill::Signal::Usr2 => Signal::SIGUSR2,
    }
}

/// What the lab says, and that it says no more: its events end with the lab, with a line that is no event, and with a
/// follower that cannot keep up.
fn to_the_end(events: impl Iterator<Item = Event>) -> impl Iterator<Item = Heard> {
    events.map(Heard::Lab).chain([Heard::Broken(LAB_SILENT.to_owned())])
}

/// Tells what the load says, to its end.
fn pass_on(lines: impl Iterator<Item = io::Result<String>>, say: &SyncSender<Heard>) {
    for line in lines {
        let event = line.and_then(|line| serde_json::from_str(&line).map_err(io::Error::from));
        let heard = event.map_or_else(
            |error| Heard::Broken(format!("the load said something that is no event: {error}")),
            Heard::Load,
        );
        let broken = matches!(heard, Heard::Broken(_));
        // After a line that cannot be understood, nothing is missed any more.
        if say.send(heard).is_err() || broken {
            break;
        }
    }
    let _ = say.send(Heard::LoadSilent);
}

fn failed(act: &str, error: impl std::error::Error) -> Input {
    Input::FaultFailed { because: format!("{act}: {}", crate::holder::lab::chain(&error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_load_that_is_no_event_breaks_the_record() {
        let ready = r#"{"at_ns":1,"source":"load","event":"ready"}"#;
        let (say, heard) = sync_channel(HEARD_MAX);
        let lines = [ready, r#"{"at_ns":2,"source":"lo"#, ready];
        pass_on(lines.into_iter().map(|line| Ok(line.to_owned())), &say);
        drop(say);
        assert_eq!(words(heard.into_iter()), ["load", "broken", "silent"]);
    }

    #[test]
    fn a_lab_that_says_no_more_breaks_the_record() {
        let ready = Event { at_ns: 1, node: None, source: "web".to_owned(), what: What::Ready };
        assert_eq!(words(to_the_end([ready].into_iter())), ["lab", "broken"]);
    }

    fn words(heard: impl Iterator<Item = Heard>) -> Vec<&'static str> {
        let word = |heard| match heard {
            Heard::Lab(_) => "lab",
            Heard::Load(_) => "load",
            Heard::LoadSilent => "silent",
            Heard::Broken(_) => "broken",
            Heard::Interrupt => "interrupt",
        };
        heard.map(word).collect()
    }
}
