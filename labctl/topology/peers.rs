//! `memory: peer`: which two webs remember for each other, on which network, and who has the third vote. It checks that
//! they can reach each other; what they say is another room's business.

use super::file::FileConversation;
use super::names::NetworkName;
use super::nodes::{Draft, Machines};
use super::problem::{Problem, ProblemKind, Problems, Span};
use super::read::{At, Slot};
use super::site::{Degrade, Memory, Peers, Role, Witness};

/// Port on which a web hears the other, of a file that names none: beside the database's.
const PEER_PORT_DEFAULT: u16 = 7100;
/// Port of the witness of a file that names none.
const WITNESS_PORT_DEFAULT: u16 = 7101;
/// Webs that remember for each other.
const PEERS: usize = 2;

impl Degrade {
    /// Its word in a topology.
    pub fn word(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Witness => "witness",
            Self::Always => "always",
        }
    }
}

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
        let shared = shared(&[one, other]);
        if shared.is_empty() {
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
        let witness = match degrade {
            Degrade::Witness => Some(self.witness([one, other], problems)?),
            Degrade::Never | Degrade::Always => {
                self.refuse_witness(degrade, problems);
                None
            }
        };
        // A web that is cut off from the other should not be taken for one that the witness cannot hear either, so where
        // there is a choice, all of them talk on one network.
        let with_db = || {
            let has = |network: &&NetworkName| {
                self.machines.of(Role::Db).any(|db| !db.addresses_on(network).is_empty())
            };
            shared.iter().copied().find(has)
        };
        let network = witness.as_ref().map(|witness| &witness.network).or_else(with_db).unwrap_or(shared[0]);
        let mut webs = [one, other].map(|web| web.name.value.clone());
        webs.sort();
        Some(Peers {
            webs,
            network: network.clone(),
            port: self.given.peer_port.value().map_or(PEER_PORT_DEFAULT, |port| port.0),
            degrade,
            witness,
        })
    }

    fn witness(&self, webs: [&Draft<'_>; PEERS], problems: &mut Problems) -> Option<Witness> {
        let (node, span) = match &self.given.witness {
            Slot::Broken => return None,
            Slot::Given(name) => (self.named(name, problems)?, &name.span),
            Slot::Absent => {
                let last = self.machines.of(Role::Db).max_by_key(|db| &db.name.value);
                let Some(db) = last else {
                    if self.machines.whole {
                        problems.push(self.without_witness());
                    }
                    return None;
                };
                (db, &db.name.span)
            }
        };
        let [one, other] = webs;
        let Some(network) = shared(&[one, other, node]).first().copied() else {
            if one.whole && other.whole && node.whole {
                let names = [node, one, other].map(|draft| draft.name.value.clone());
                let [witness, one, other] = names;
                let problem = Problem::new(ProblemKind::WitnessOffLink(witness, one, other), span);
                problems.push(problem.help("give all three an address on one network"));
            }
            return None;
        };
        let port = self.given.witness_port.value().map_or(WITNESS_PORT_DEFAULT, |port| port.0);
        Some(Witness { node: node.name.value.clone(), network: network.clone(), port })
    }

    /// The witness that the file names, if it can be one.
    fn named(&self, name: &At<super::names::NodeName>, problems: &mut Problems) -> Option<&Draft<'_>> {
        let node = self.machines.find(name, problems)?;
        if node.role == Some(Role::Web) {
            let problem = Problem::new(ProblemKind::WitnessIsPeer(name.value.clone()), &name.span);
            problems.push(problem.help("name a node that is no web, such as a database"));
            return None;
        }
        Some(node)
    }

    fn without_witness(&self) -> Problem {
        let problem = Problem::new(ProblemKind::NoWitness, self.memory);
        problem.help(
            "name one (`witness: NODE`), or say what a web does without: `degrade: never` stops, `degrade: always` \
             goes on and may leave two memories",
        )
    }

    fn refuse_witness(&self, degrade: Degrade, problems: &mut Problems) {
        for span in [
            self.given.witness.given().map(|at| &at.span),
            self.given.witness_port.given().map(|at| &at.span),
        ]
        .into_iter()
        .flatten()
        {
            let problem = Problem::new(ProblemKind::WitnessUnasked(degrade.word()), span);
            problems.push(problem.help("remove it, or say `degrade: witness`"));
        }
    }
}

/// The networks on which all of them have an address, in the order of the first.
fn shared<'d>(nodes: &[&'d Draft<'_>]) -> Vec<&'d NetworkName> {
    let Some(first) = nodes.first() else { return Vec::new() };
    let networks = first.interfaces.iter().map(|interface| &interface.network);
    networks.filter(|network| nodes.iter().all(|node| !node.addresses_on(network).is_empty())).collect()
}
