//! Work inside a node without any tool there: this program runs itself once more, and before it has a second thread the
//! child moves to the node's network and does one small thing. It knows nothing of scenarios.

pub mod connection;
mod server;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use labctl::holder::client::Lab;
use labctl::kernel::netlink::{Netlink, Request};
use labctl::kernel::packet::{FrameSocket, Port};
use labctl::kernel::tap::Tap;
use labctl::kernel::{arp, link, wait};
use labctl::topology::NodeName;

use crate::world::WAIT_MAX;

/// Tells this program where to go and what to do there: lab, node, verb and its words, one a line.
pub const VISIT: &str = "LABCTL_VISIT";
/// A knock that nobody answers this soon is a knock at silence: an answer takes a hundredth of that.
const KNOCK_MAX: Duration = Duration::from_millis(50);
/// From one knock to the next.
const KNOCK_REST: Duration = Duration::from_millis(2);
/// How long an answer to a question on a link may take; the way is one cable.
const ANSWER_MAX: Duration = Duration::from_millis(5);
/// How long somebody who asks goes on when told to: many times as long as an election.
const GO_ON: Duration = Duration::from_secs(3);
/// Longest answer that a visitor reads.
const ANSWER_BYTES_MAX: usize = 4096;

/// A child inside a node. It ends with this value.
#[derive(Debug)]
pub struct Visitor {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Visitor {
    /// Sends somebody to do `work`, a verb and its words.
    pub fn send(lab: &Lab, node: &NodeName, work: &[&str]) -> Result<Self, String> {
        let me = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
        let mut order = vec![lab.name().as_str(), node.as_str()];
        order.extend(work);
        let mut child = Command::new(me)
            .env(VISIT, order.join("\n"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("send somebody to {node}: {error}"))?;
        let said = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        Ok(Self { child, said })
    }

    /// Sends somebody, and waits until it is done.
    pub fn send_and_wait(lab: &Lab, node: &NodeName, work: &[&str]) -> Result<(), String> {
        match Self::send(lab, node, work)?.hears()?.as_str() {
            "done" => Ok(()),
            other => Err(other.to_owned()),
        }
    }

    /// The next line that it says.
    pub fn hears(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.said.read_line(&mut line).map_err(|error| error.to_string())?;
        Ok(line.trim_end().to_owned())
    }

    /// Lets it go on.
    pub fn goes_on(&mut self) -> Result<(), String> {
        let stdin = self.child.stdin.as_mut().ok_or("no standard input")?;
        stdin.write_all(b"\n").map_err(|error| error.to_string())
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child's side, in a process with one thread.
pub fn run(order: &str) -> ExitCode {
    let words: Vec<&str> = order.split('\n').collect();
    let done = match words.as_slice() {
        [lab, node, work @ ..] => go(lab, node).and_then(|()| act(work)),
        _ => Err(format!("{VISIT} is for this program's own use")),
    };
    match done {
        Ok(()) => {
            println!("done");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn go(lab: &str, node: &str) -> Result<(), String> {
    let name = lab.parse().map_err(|error| format!("{lab}: {error}"))?;
    let node: NodeName = node.parse().map_err(|error| format!("{node}: {error}"))?;
    let init = Lab::find(Some(name)).and_then(|lab| lab.enter(&node)).map_err(|error| error.to_string())?;
    init.visit().map_err(|errno| format!("enter {node}: {errno}"))
}

fn act(work: &[&str]) -> Result<(), String> {
    match work {
        ["down", interface] => change(interface, link::down),
        ["up", interface] => change(interface, link::up),
        ["delete", address, interface] => {
            let mut parts = address.split('/');
            let mut part = || parts.next().ok_or("an address and its prefix length");
            let address: Ipv4Addr = part()?.parse().map_err(|error| format!("{error}"))?;
            let prefix_len: u8 = part()?.parse().map_err(|error| format!("{error}"))?;
            change(interface, |index| link::delete_address(index, address, prefix_len))
        }
        ["stay", target] => stay(target.parse().map_err(|error| format!("{error}"))?),
        ["who-has", address, interface] => {
            who_has(address.parse().map_err(|error| format!("{error}"))?, interface)
        }
        ["knock", target] => knock(target.parse().map_err(|error| format!("{error}"))?),
        ["download", source, target, len] => connection::download(source, target, len),
        ["draw", source, target, len] => connection::draw(source, target, len),
        ["converse", source, target] => connection::converse(source, target),
        ["answer-datagrams", on, name] => server::answer_datagrams(on, name),
        ["send-datagrams", source, target, count] => server::send_datagrams(source, target, count),
        ["take-in", on, name] => server::take_in(on, name),
        ["upload", source, target, len] => server::upload(source, target, len),
        other => Err(format!("no such work: {other:?}")),
    }
}

fn change(interface: &str, request: impl FnOnce(u32) -> Request) -> Result<(), String> {
    let mut netlink = Netlink::open().map_err(|error| error.to_string())?;
    let port = Port::find(&mut netlink, interface).map_err(|error| error.to_string())?;
    let results = netlink.run(&[request(port.index)]).map_err(|error| error.to_string())?;
    results.into_iter().collect::<Result<_, _>>().map_err(|errno| format!("{interface}: {errno}"))
}

/// Asks over one connection, and once more each time that it may go on; says each time who answered.
fn stay(target: SocketAddrV4) -> Result<(), String> {
    let mut stream = TcpStream::connect(target).map_err(|error| format!("connect: {error}"))?;
    stream.set_read_timeout(Some(WAIT_MAX)).map_err(|error| error.to_string())?;
    loop {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {target}\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(|error| format!("ask: {error}"))?;
        println!("{}", served_by(&mut stream).map_err(|error| format!("hear the answer: {error}"))?);
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).is_ok_and(|len| len == 0) {
            return Ok(());
        }
    }
}

/// Reads one answer, whose body is small enough to come along with its head.
fn served_by(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut answer = Vec::new();
    let mut buffer = [0; ANSWER_BYTES_MAX];
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") && answer.len() < ANSWER_BYTES_MAX {
        match stream.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            len => answer.extend_from_slice(&buffer[..len]),
        }
    }
    let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    let by = text.lines().find_map(|line| line.strip_prefix("x-served-by:"));
    Ok(by.map_or_else(|| format!("nobody signed {text:?}"), |by| by.trim().to_owned()))
}

/// Asks everybody on a link who has an address, again and again. Says how many machines answered one question whenever that
/// is more than ever; once it may go on, asks for some time more and says that it was that long, and how many the most were.
fn who_has(address: Ipv4Addr, interface: &str) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut netlink = Netlink::open().map_err(|error| error.to_string())?;
    let port = Port::find(&mut netlink, interface).map_err(|error| error.to_string())?;
    let held = link::addresses(&mut netlink).map_err(|error| error.to_string())?;
    let own = held.iter().find_map(|held| match held.address {
        std::net::IpAddr::V4(own) if held.index == port.index => Some(own),
        _ => None,
    });
    let question = arp::request(own.ok_or("nobody asks without an address")?, address, port.mac);
    let ears = Tap::open(&port).map_err(text)?;
    let mouth = FrameSocket::open(&port).map_err(|error| error.to_string())?;
    let (mut most, mut until) = (0, None);
    while until.is_none_or(|until| Instant::now() < until) {
        mouth.send(&question).map_err(text)?;
        std::thread::sleep(ANSWER_MAX);
        let mut answered = BTreeSet::new();
        while let Some(frame) = ears.next().map_err(text)? {
            // An announcement is no answer.
            let is_reply = frame.bytes.get(20..22) == Some(&[0, 2]);
            let claim = arp::claim(&frame.bytes).filter(|(claimed, _)| is_reply && *claimed == address);
            answered.extend(claim.map(|(_, mac)| mac));
        }
        if answered.len() > most {
            most = answered.len();
            println!("{most}");
        }
        if until.is_none()
            && wait::readable(std::io::stdin().as_fd(), Duration::ZERO).map_err(|errno| errno.to_string())?
        {
            until = Some(Instant::now() + GO_ON);
        }
    }
    println!("at most {most}");
    Ok(())
}

/// Connects again and again, until silence came and went. Says `answered` when there was a first answer.
fn knock(target: SocketAddrV4) -> Result<(), String> {
    let deadline = Instant::now() + WAIT_MAX;
    let (mut answered, mut silent) = (false, false);
    while Instant::now() < deadline {
        match TcpStream::connect_timeout(&target.into(), KNOCK_MAX) {
            Ok(_) if silent => return Ok(()),
            Ok(_) if answered => {}
            Ok(_) => {
                answered = true;
                println!("answered");
            }
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => silent |= answered,
            Err(error) => return Err(format!("connect: {error}")),
        }
        std::thread::sleep(KNOCK_REST);
    }
    Err(format!("answered: {answered}, then silent: {silent}, and no end of that in {WAIT_MAX:?}"))
}
