//! `labctl explain`: why a node is as it is, in sentences.

use std::process::ExitCode;

use super::{Failure, Format, Outcome, Which, witness};
use crate::diagnosis::{Facts, ServiceFacts, Testimony, explain};
use crate::holder::protocol::{NodeState, NodeStatus};
use crate::kernel::clock;
use crate::report::Event;
use crate::topology::NodeName;

const EXAMPLES: &str = "\
Examples:
  labctl explain proxy2                            why it is active, or is not
  labctl explain web1                              what became of its services
  labctl explain proxy1 --format json | jq '.account.routers[].peers'";

/// Events in the JSON document, counted from the end.
const EVENTS_MAX: usize = 16;

/// Say why a node is as it is
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// The node
    node: NodeName,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let lab = args.which.find()?;
    let (topology, status) = (lab.topology()?, lab.status()?);
    let Some(node) = status.node(&args.node) else {
        let names = status.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Failure::usage(
            format!("lab {} has no node {}", lab.name(), args.node),
            format!("it has {names}"),
        ));
    };
    let is_here = |event: &Event| event.node.as_deref() == Some(args.node.as_str());
    let events: Vec<Event> = lab.events(false)?.filter(is_here).collect();
    let witness = witness::hear(&lab, &topology, &status, std::slice::from_ref(&args.node)).pop();
    let facts = Facts {
        topology: &topology,
        node: &args.node,
        role: node.role,
        down: match &node.state {
            NodeState::Up => None,
            NodeState::Down { how } => Some(how),
        },
        services: services(node),
        witness: witness.as_ref(),
        events: &events,
        now_ns: clock::monotonic_ns(),
    };
    let sentences = explain(&facts);
    match args.format {
        Format::Table => print_line!("{}", sentences.join("\n"))?,
        Format::Json => {
            let account = witness.as_ref().and_then(|witness| match &witness.testimony {
                Testimony::Said(account) => Some(account),
                Testimony::Off(_) | Testimony::Silent(_) | Testimony::Mute => None,
            });
            let json = serde_json::json!({
                "lab": lab.name(), "node": args.node, "role": node.role, "sentences": sentences, "account": account,
                "status": node, "events": &events[events.len().saturating_sub(EVENTS_MAX)..],
            });
            print_line!("{json:#}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn services(node: &NodeStatus) -> std::collections::BTreeMap<String, ServiceFacts> {
    let facts = node.services.iter().map(|(name, status)| {
        let facts = ServiceFacts {
            running: status.running,
            ready: status.ready,
            starts: status.starts,
            last_exit: status.last_exit.clone(),
            says: status.says.clone(),
        };
        (name.to_string(), facts)
    });
    facts.collect()
}
