//! `memory: peer`: which two webs remember for each other, on which network, and who has the third vote. It checks that
//! they can reach each other; what they say is another room's business.

use super::file::FileConversation;
use super::names::NetworkName;
use super::nodes::{Draft, Machines};
use super::problem::{Problem, ProblemKind, Problems, Span};
use super::read::Slot;
use super::site::{Degrade, Memory, Peers, Role};

/// Port on which a web hears the other, of a file that names none: beside the database's.
const PEER_PORT_DEFAULT: u16 = 7100;
/// Port of the witness of a file that names none.
const WITNESS_PORT_DEFAULT: u16 = 7101;
/// Webs that remember for each other.
const PEERS: usize = 2;

/// The pair, if the memory is one.
pub(super) fn peers(
    given: Option<&FileConversation>,
    memory: Memory,
    machines: &Machines<'_>,
    problems: &mut Problems,
) -> Option<Peers> {
    let given = given?;
    match given.memory.given() {
        Some(at) if memory == Memory::Peer => Pair { given, memory: &at.span, machines }.find(problems),
        _ if given.memory.is_broken() => None,
        _ => {
            refuse_keys(given, problems);
            None
        }
    }
}

/// Keys that only peers have.
fn refuse_keys(given: &FileConversation, problems: &mut Problems) {
    fn span<T>(slot: &Slot<T>) -> Option<&Span> {
        slot.given().map(|at| &at.span)
    }
    let keys = [
        ("degrade", span(&given.degrade)),
        ("witness", span(&given.witness)),
        ("peer_port", span(&given.peer_port)),
        ("witness_port", span(&given.witness_port)),
    ];
    for (key, span) in keys {
        let Some(span) = span else { continue };
        let problem = Problem::new(ProblemKind::WithoutPeers(key), span);
        problems.push(problem.help("remove it, or keep conversations with `memory: peer`"));
    }
}

struct Pair<'a> {
    given: &'a FileConversation,
    memory: &'a Span,
    machines: &'a Machines<'a>,
}

impl Pair<'_> {
    fn find(&self, problems: &mut Problems) -> Option<Peers> {
        let webs: Vec<&Draft<'_>> = self.machines.of(Role::Web).collect();
        let [one, other] = webs.as_slice() else {
            if self.machines.whole {
                let problem = Problem::new(ProblemKind::PeersNotTwo(webs.len()), self.memory);
                let help = "have two nodes of role web, or keep conversations with `memory: database`";
                problems.push(problem.help(help));
            }
            return None;
        };
        if shared(&[one, other]).is_empty() {
            if one.whole && other.whole {
                let kind = ProblemKind::PeersOffLink(other.name.value.clone(), one.name.value.clone());
                let problem =
                    Problem::new(kind, &other.name.span).help("give both an address on one network");
                problems.push(problem.also(&one.name.span, "the other web"));
            }
            return None;
        }
        if self.given.degrade.is_broken() {
            return None;
        }
        let degrade = self.given.degrade.value().map(|choice| choice.0).unwrap_or_default();
        let mut pair = [*one, *other];
        pair.sort_by_key(|web| &web.name.value);
        let (node, span) = self.witness(degrade, pair, problems)?;
        // A web that is cut off from the other should not be one that the witness still hears, so all three talk on one
        // network.
        let all = shared(&[one, other, node]);
        let with_db = |network: &&&NetworkName| {
            self.machines.of(Role::Db).any(|db| !db.addresses_on(network).is_empty())
        };
        let Some(network) = all.iter().find(with_db).or(all.first()).copied() else {
            if one.whole && other.whole && node.whole {
                let [witness, one, other] = [node, one, other].map(|draft| draft.name.value.clone());
                let problem = Problem::new(ProblemKind::WitnessOffLink(witness, one, other), span);
                problems.push(problem.help("give all three an address on one network"));
            }
            return None;
        };
        Some(Peers {
            webs: pair.map(|web| web.name.value.clone()),
            network: network.clone(),
            port: self.given.peer_port.value().map_or(PEER_PORT_DEFAULT, |port| port.0),
            degrade,
            witness: node.name.value.clone(),
            witness_port: self.given.witness_port.value().map_or(WITNESS_PORT_DEFAULT, |port| port.0),
        })
    }

    /// Who has the third vote, and where the file says so. Where nobody's vote counts, the first web's node keeps the record.
    fn witness<'d>(
        &'d self,
        degrade: Degrade,
        webs: [&'d Draft<'d>; PEERS],
        problems: &mut Problems,
    ) -> Option<(&'d Draft<'d>, &'d Span)> {
        match &self.given.witness {
            Slot::Broken => None,
            Slot::Given(name) => {
                let node = self.machines.find(name, problems)?;
                if degrade == Degrade::Witness && node.role == Some(Role::Web) {
                    let problem = Problem::new(ProblemKind::WitnessIsPeer(name.value.clone()), &name.span);
                    problems.push(problem.help("name a node that is no web, such as a database"));
                    return None;
                }
                Some((node, &name.span))
            }
            Slot::Absent if degrade != Degrade::Witness => Some((webs[0], &webs[0].name.span)),
            Slot::Absent => {
                let last = self.machines.of(Role::Db).max_by_key(|db| &db.name.value);
                if last.is_none() && self.machines.whole {
                    problems.push(self.without_witness());
                }
                last.map(|db| (db, &db.name.span))
            }
        }
    }

    fn without_witness(&self) -> Problem {
        let problem = Problem::new(ProblemKind::NoWitness, self.memory);
        problem.help(
            "name one (`witness: NODE`), or say what a web does without: `degrade: never` stops, `degrade: always` \
             goes on and may leave two memories",
        )
    }
}

/// The networks on which all of them have an address, in the order of the first.
fn shared<'d>(nodes: &[&'d Draft<'_>]) -> Vec<&'d NetworkName> {
    let Some(first) = nodes.first() else { return Vec::new() };
    let networks = first.interfaces.iter().map(|interface| &interface.network);
    networks.filter(|network| nodes.iter().all(|node| !node.addresses_on(network).is_empty())).collect()
}
