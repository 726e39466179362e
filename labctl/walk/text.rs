//! A walk for people: one line a hop, under one another what belongs together, and a mark on every header that changed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};

use super::change::Change;
use super::conversation::{Conversation, End, Hop, Kind, Step, Walk};
use super::packet::IpHeader;
use super::record::{Outcome, Way};
use crate::topology::NodeName;

const COLUMNS: [&str; 10] = [
    "US",
    "NODE",
    "INTERFACE",
    "WAY",
    "FROM MAC OF",
    "TO MAC OF",
    " SOURCE",
    " DESTINATION",
    "TTL",
    " CHECKSUMS",
];
/// Columns whose cells end at the same place.
const RIGHT: [usize; 2] = [0, 8];
const LEGEND: &str = "* changed since the hop before, ~ checksum left to a network card that a cable between \
                      namespaces does not have, ! wrong checksum";

/// What of a walk is shown, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Show {
    /// Every packet, and not only those that tell the story.
    pub all: bool,
    /// Questions after hardware addresses, too.
    pub arp: bool,
    /// With the colours of a terminal.
    pub colour: bool,
}

/// A walk as text.
pub fn text(walk: &Walk, show: Show) -> String {
    let shown: Vec<&Step> = steps(walk).filter(|step| is_in_full(step, show)).collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(COLUMNS);
    if show.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let names = Names { walk };
    for hop in shown.iter().flat_map(|step| &step.hops) {
        names.rows(hop).into_iter().for_each(|row| {
            table.add_row(row);
        });
    }
    for column in RIGHT {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    // One table for all packets, so that their columns stand under one another, and their titles in between.
    let mut lines = table.lines().map(|line| line.trim_end().to_owned());
    let mut text = headline(walk);
    let header = lines.next().unwrap_or_default();
    for (number, conversation) in (1..).zip(&walk.conversations) {
        let _ = write!(text, "\n{}\n", title(conversation, number));
        if number == 1 {
            let _ = writeln!(text, "{header}");
        }
        let mut left_out: BTreeMap<&str, usize> = BTreeMap::new();
        for step in &conversation.steps {
            if is_in_full(step, show) {
                let rows: usize = step.hops.iter().map(|hop| 1 + usize::from(hop.tunnel.is_some())).sum();
                let _ = writeln!(text, "{}", heading(step));
                lines.by_ref().take(rows).for_each(|line| {
                    let _ = writeln!(text, "{line}");
                });
            } else if matches!(step.kind, Kind::Ack | Kind::Fin | Kind::Data) {
                *left_out.entry(group(step.kind)).or_default() += 1;
            } else {
                let _ = writeln!(text, "{}: {}", heading(step), path(step).join(" > "));
            }
        }
        if !left_out.is_empty() {
            let words: Vec<String> = left_out.iter().map(|(what, count)| format!("{count} {what}")).collect();
            let _ = writeln!(text, "and {}, which --all shows", words.join(", "));
        }
    }
    if show.arp {
        text += &neighbours(walk);
    }
    text + &footer(walk)
}

fn steps<'w>(walk: &'w Walk) -> impl Iterator<Item = &'w Step> {
    walk.conversations.iter().flat_map(|conversation| &conversation.steps)
}

/// How a connection is opened shows the way there and the way back; what goes wrong is always shown.
fn is_in_full(step: &Step, show: Show) -> bool {
    show.all
        || step.end != End::Arrived
        || matches!(step.kind, Kind::Syn | Kind::SynAck | Kind::Rst | Kind::Error)
}

fn group(kind: Kind) -> &'static str {
    match kind {
        Kind::Ack => "ACK",
        Kind::Fin => "FIN",
        _ => "more with data",
    }
}

fn headline(walk: &Walk) -> String {
    let record = walk.record;
    let forward = record.forward.as_ref().map(|word| format!(", forward: {word}")).unwrap_or_default();
    let outcome = match &record.outcome {
        Outcome::Answered(status) => format!("answered with {status}"),
        Outcome::Failed(why) => format!("no answer: {why}"),
    };
    let mut text = format!("{} -> {} (lab {}{forward}): {outcome}\n", record.client, record.to, record.lab);
    if record.lost_frames > 0 {
        let _ = writeln!(text, "{} frames passed unseen: the machine was too busy", record.lost_frames);
    }
    if walk.conversations.is_empty() {
        let _ = writeln!(text, "no packet of it left {}", record.client);
    }
    text
}

fn title(conversation: &Conversation, number: usize) -> String {
    let Conversation { from, to, client, .. } = conversation;
    match number {
        1 => format!("Connection 1, of {client}: {from} to {to}"),
        _ => format!(
            "Connection {number}, of {client}: {from} to {to}\n\
             {client} has read the request and asks for itself: other addresses, other sequence numbers"
        ),
    }
}

fn heading(step: &Step) -> String {
    let again = if step.again { ", sent again" } else { "" };
    let (Some(first), Some(last)) = (step.hops.first(), step.hops.last()) else { return step.what.clone() };
    let us = micros(last.at_ns - first.at_ns);
    let (what, from, to) = (&step.what, &first.node, &last.node);
    let way = if last.way == Way::Out { "out" } else { "in" };
    match step.end {
        End::Arrived => format!("{what}{again}, {from} to {to} in {us} us"),
        End::Unanswered => format!(
            "{what}{again}, {from} to {to} in {us} us, which has {} and neither answered nor handed it on",
            last.ip.destination
        ),
        End::Lost => format!("{what}{again}, LOST: seen on {to} {} {way}, and nowhere after", last.interface),
    }
}

/// The nodes that a packet passed.
pub(super) fn path(step: &Step) -> Vec<&str> {
    let mut nodes: Vec<&str> = step.hops.iter().map(|hop| hop.node.as_str()).collect();
    nodes.dedup();
    nodes
}

pub(super) fn micros(ns: i64) -> String {
    format!("{:.1}", ns as f64 / 1e3)
}

/// Who is behind a hardware address.
pub(super) struct Names<'w, 'r> {
    pub(super) walk: &'w Walk<'r>,
}

impl Names<'_, '_> {
    /// The node, or the address where that says more.
    pub(super) fn of(&self, mac: &str) -> String {
        let octets: Option<Vec<u8>> = mac.split(':').map(|two| u8::from_str_radix(two, 16).ok()).collect();
        let octets: Option<[u8; 6]> = octets.and_then(|octets| octets.try_into().ok());
        let owner = octets.and_then(|octets| self.walk.record.owner(octets));
        owner.map_or_else(|| mac.to_owned(), NodeName::to_string)
    }

    /// One row; two for a packet in a packet.
    fn rows(&self, hop: &Hop) -> Vec<Vec<Cell>> {
        let is = |change| hop.changed.contains(&change);
        let way = if hop.way == Way::Out { "out" } else { "in" };
        let place = [micros(hop.at_ns), hop.node.to_string(), hop.interface.clone(), way.to_owned()];
        let mut row: Vec<Cell> = place.map(Cell::new).into();
        row.push(cell(self.of(&hop.source_mac), is(Change::SourceMac)));
        row.push(cell(self.of(&hop.destination_mac), is(Change::DestinationMac)));
        let ports = hop.tcp.as_ref().map(|tcp| (tcp.source, tcp.destination));
        let inner = vec![
            end(hop.ip.source, ports.map(|it| it.0), is(Change::Source), is(Change::SourcePort)),
            end(
                hop.ip.destination,
                ports.map(|it| it.1),
                is(Change::Destination),
                is(Change::DestinationPort),
            ),
            cell(hop.ip.ttl, is(Change::Ttl)),
            sums(hop),
        ];
        let Some(tunnel) = &hop.tunnel else {
            row.extend(inner);
            return vec![row];
        };
        row.extend(outer(tunnel, hop.ip.source, is(Change::Encapsulation)));
        let blank = (0..5).map(|_| Cell::new("")).chain([Cell::new("  inside:")]);
        vec![row, blank.chain(inner).collect()]
    }
}

fn outer(ip: &IpHeader, inner: IpAddr, changed: bool) -> Vec<Cell> {
    let version = |address: IpAddr| if address.is_ipv4() { 4 } else { 6 };
    let kind = format!("IPv{} in IPv{}", version(inner), version(ip.source));
    let sum = ip.checksum.map(|sum| format!("IP {sum}, ")).unwrap_or_default();
    vec![
        cell(ip.source, changed),
        cell(ip.destination, changed),
        cell(ip.ttl, changed),
        cell(format!("{sum}{kind}"), changed),
    ]
}

/// A cell with a mark if it changed, seen also where there are no colours.
fn cell(value: impl ToString, changed: bool) -> Cell {
    coloured(format!("{}{}", if changed { "*" } else { " " }, value.to_string()), changed)
}

fn coloured(text: String, changed: bool) -> Cell {
    let cell = Cell::new(text);
    if changed { cell.fg(Color::Yellow).add_attribute(Attribute::Bold) } else { cell }
}

fn end(address: IpAddr, port: Option<u16>, new_address: bool, new_port: bool) -> Cell {
    let address = match address {
        IpAddr::V6(address) if port.is_some() => format!("[{address}]"),
        address => address.to_string(),
    };
    let mark = |is: bool| if is { "*" } else { "" };
    let port = port.map(|port| format!(":{}{port}", mark(new_port))).unwrap_or_default();
    let lead = if new_address { "*" } else { " " };
    coloured(format!("{lead}{address}{port}"), new_address || new_port)
}

fn sums(hop: &Hop) -> Cell {
    let (ip, tcp) = (hop.changed.contains(&Change::IpChecksum), hop.changed.contains(&Change::TcpChecksum));
    let mark = |is: bool| if is { "*" } else { " " };
    let of_ip = hop.ip.checksum.map(|sum| format!("{}IP {sum}", mark(ip)));
    let of_tcp = hop.tcp.as_ref().map(|it| format!("{}TCP {}", mark(tcp), it.checksum));
    coloured(of_ip.into_iter().chain(of_tcp).collect::<Vec<_>>().join(" "), ip || tcp)
}

fn neighbours(walk: &Walk) -> String {
    let mut text = String::from("\nMeanwhile, who has which hardware address:\n");
    for asked in &walk.neighbours {
        let Some(&(frame, at_ns)) = asked.seen.first() else { continue };
        let at = &walk.record.interfaces[walk.record.frames[frame].interface];
        let heard = asked.seen[1..]
            .iter()
            .map(|(frame, _)| walk.record.interfaces[walk.record.frames[*frame].interface].node.as_str());
        let heard: Vec<&str> = heard.collect();
        let by = if heard.is_empty() { "nobody".to_owned() } else { heard.join(", ") };
        let _ = writeln!(
            text,
            "{:>10} us  {} {}  {}; heard by {by}",
            micros(at_ns),
            at.node,
            at.name,
            asked.what
        );
    }
    text
}

/// What the marks mean, and whose hardware addresses the names stand for.
fn footer(walk: &Walk) -> String {
    let mut macs: BTreeMap<usize, String> = BTreeMap::new();
    for frame in walk.frames(false) {
        let at = walk.record.frames[frame].interface;
        let interface = &walk.record.interfaces[at];
        if let Some(mac) = interface.mac {
            macs.entry(at).or_insert_with(|| {
                format!("{} {} {}", interface.node, interface.name, super::packet::mac(mac))
            });
        }
    }
    if macs.is_empty() {
        return String::new();
    }
    let macs: Vec<String> = macs.into_values().collect();
    let macs: Vec<String> = macs.chunks(3).map(|three| format!("  {}", three.join(", "))).collect();
    format!("\n{LEGEND}\nhardware addresses:\n{}\n", macs.join("\n"))
}
