//! A walk as a Mermaid sequence diagram: nodes are participants, what passes a cable is an arrow, and what a node does to a
//! packet stands beside it.

use std::fmt::Write;

use super::change::Change;
use super::conversation::{End, Hop, Kind, Side, Step, Walk};
use super::record::Way;
use super::text::{Names, Show};

/// A walk as a diagram. Acknowledgments and the end of the connection are only shown if all is.
pub fn mermaid(walk: &Walk, show: Show) -> String {
    let mut steps: Vec<(usize, &Step)> = Vec::new();
    for (number, conversation) in (1..).zip(&walk.conversations) {
        steps.extend(conversation.steps.iter().map(|step| (number, step)));
    }
    steps.retain(|(_, step)| {
        show.all || step.end != End::Arrived || !matches!(step.kind, Kind::Ack | Kind::Fin | Kind::Data)
    });
    // A proxy's two conversations are interleaved.
    steps.sort_by_key(|(_, step)| step.hops.first().map(|hop| hop.at_ns));
    let mut text = String::from("sequenceDiagram\n");
    for node in participants(&steps) {
        let _ = writeln!(text, "    participant {node}");
    }
    for (number, step) in steps {
        let which = if walk.conversations.len() > 1 { format!("[{number}] ") } else { String::new() };
        arrows(&mut text, walk, step, &which);
    }
    text
}

fn participants<'w>(steps: &[(usize, &'w Step)]) -> Vec<&'w str> {
    let mut nodes: Vec<&str> = Vec::new();
    for hop in steps.iter().flat_map(|(_, step)| &step.hops) {
        if !nodes.contains(&hop.node.as_str()) {
            nodes.push(hop.node.as_str());
        }
    }
    nodes
}

fn arrows(text: &mut String, walk: &Walk, step: &Step, which: &str) {
    let line = if step.side == Side::Client { "->>" } else { "-->>" };
    let again = if step.again { " (again)" } else { "" };
    for pair in step.hops.windows(2) {
        let [from, to] = pair else { continue };
        if from.node == to.node {
            if !to.changed.is_empty() {
                let _ = writeln!(text, "    Note over {}: {}", to.node, changes(walk, from, to));
            }
        } else {
            let what = escaped(&step.what);
            let _ =
                writeln!(text, "    {}{line}{}: {which}{what}{again}, {}", from.node, to.node, addresses(to));
        }
    }
    let Some(last) = step.hops.last() else { return };
    let why = match step.end {
        End::Arrived => return,
        End::Unanswered => "neither answered nor handed on",
        End::Lost if last.way == Way::Out => "left and was seen nowhere after",
        End::Lost => "came in and was seen nowhere after",
    };
    let _ = writeln!(text, "    {}-x{}: {which}{} {why}", last.node, last.node, escaped(&step.what));
}

fn addresses(hop: &Hop) -> String {
    let inner = format!("{} to {}", hop.ip.source, hop.ip.destination);
    match &hop.tunnel {
        Some(outer) => format!("{} to {} carries {inner}", outer.source, outer.destination),
        None => inner,
    }
}

/// What a node does to a packet between two of its interfaces.
fn changes(walk: &Walk, before: &Hop, after: &Hop) -> String {
    let names = Names { walk };
    let words = after.changed.iter().filter_map(|change| {
        let value = match change {
            Change::DestinationMac => names.of(&after.destination_mac),
            Change::Source => after.ip.source.to_string(),
            Change::Destination => after.ip.destination.to_string(),
            Change::SourcePort => after.tcp.as_ref()?.source.to_string(),
            Change::DestinationPort => after.tcp.as_ref()?.destination.to_string(),
            Change::Ttl => format!("{} to {}", before.ip.ttl, after.ip.ttl),
            Change::Encapsulation => match &after.tunnel {
                Some(outer) => format!("into {} to {}", outer.source, outer.destination),
                None => "taken out".to_owned(),
            },
            // They follow from the others.
            Change::SourceMac | Change::IpChecksum | Change::TcpChecksum => return None,
        };
        Some(format!("{} {value}", change.words()))
    });
    words.collect::<Vec<_>>().join("<br/>")
}

/// Two characters mean something to Mermaid wherever they stand.
fn escaped(text: &str) -> String {
    text.replace('#', "#35;").replace(';', "#59;")
}
