//! What is broken on purpose between a node and a network, or between nodes, and mended: a cable, the bridge's port, a
//! floating address. It knows how each is done; when, and to whom, is a drill's business.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Error, Lab};
use crate::holder::protocol::Cable;
use crate::kernel::clock;
use crate::plan::{Step, between};
use crate::report::{ApartFrom, Event, What};
use crate::topology::{NetworkName, NodeName};

impl Lab {
    /// Breaks a cable of a node, or mends it and whatever of the plan hung on it. Other damage stays.
    pub(super) fn change_cable(
        &mut self,
        node: &NodeName,
        network: &NetworkName,
        becomes: Cable,
    ) -> Result<(), Error> {
        self.plugged(node, network)?;
        match becomes {
            Cable::Down => self.network.take_down(node, network)?,
            Cable::Partition => self.network.cut(node, network)?,
            Cable::Up | Cable::Heal => self.mend(node, network, becomes)?,
        }
        self.note(node, What::Cable { network: network.to_string(), becomes });
        Ok(())
    }

    fn mend(&mut self, node: &NodeName, network: &NetworkName, becomes: Cable) -> Result<(), Error> {
        let (wanted, observed) = self.compare()?;
        let mut steps = between(&wanted, &observed);
        steps.retain(|step| match (becomes, step) {
            (Cable::Up, Step::LinkUp { node: of, network: on })
            | (Cable::Heal, Step::Join { node: of, network: on }) => of == node && on == network,
            // The kernel forgets IPv6 addresses and every route when the link goes down.
            (Cable::Up, Step::AddAddress { node: of, network: on, .. }) => of == node && on == network,
            (Cable::Up, Step::AddRoute { node: of, route }) => {
                of == node && self.is_on(route.gateway, network)
            }
            _ => false,
        });
        self.network.carry_out(&wanted, &steps)?;
        // A port that was taken out of its bridge comes back as any other; one that was isolated never left.
        if becomes == Cable::Heal {
            self.network.associate(node, network)?;
        }
        Ok(())
    }

    /// Cuts nodes off from everybody else, or from each other, on one network or on all; heals are cables' and mend it.
    pub(super) fn set_apart(
        &mut self,
        nodes: &[NodeName],
        from: ApartFrom,
        network: Option<&NetworkName>,
    ) -> Result<(), Error> {
        for node in nodes {
            match network {
                Some(network) => self.plugged(node, network)?,
                None => drop(self.running(node)?),
            }
        }
        let networks: Vec<NetworkName> = match network {
            Some(network) => vec![network.clone()],
            None => self.topology.networks.keys().cloned().collect(),
        };
        let mut done = BTreeSet::new();
        for network in networks {
            let on = |node: &&NodeName| self.topology.node(node).is_some_and(|it| it.on(&network).is_some());
            let there: Vec<&NodeName> = nodes.iter().filter(on).collect();
            match from {
                ApartFrom::TheRest if there.is_empty() => continue,
                ApartFrom::TheRest => self.network.split(&there, &network)?,
                ApartFrom::EachOther if there.len() < 2 => continue,
                ApartFrom::EachOther => {
                    let before = self.network.isolated(&network)?;
                    if let Some(stranger) = before.into_iter().find(|node| !nodes.contains(node)) {
                        return Err(Error::CutAlready { node: stranger, network });
                    }
                    self.network.isolate(&there, &network)?;
                }
            }
            done.insert(network.to_string());
        }
        if done.is_empty() {
            return Err(Error::NothingBetween);
        }
        let nodes = nodes.iter().map(ToString::to_string).collect();
        let what = What::Apart { nodes, from, networks: done };
        self.record.add(Event {
            at_ns: clock::monotonic_ns(),
            node: None,
            source: "holder".to_owned(),
            what,
        });
        Ok(())
    }

    /// Takes the floating addresses of a network from a node, as somebody with `ip address del` would.
    pub(super) fn delete_floating(&mut self, node: &NodeName, network: &NetworkName) -> Result<(), Error> {
        self.plugged(node, network)?;
        let (wanted, observed) = self.compare()?;
        let interface = observed.nodes.get(node).and_then(|seen| seen.interfaces.get(network));
        let held = interface.into_iter().flat_map(|interface| &interface.addresses);
        let steps: Vec<Step> = held
            .filter(|(address, _)| wanted.floating.contains(address))
            .map(|&(address, prefix_len)| {
                let (node, network) = (node.clone(), network.clone());
                Step::RemoveAddress { node, network, address, prefix_len }
            })
            .collect();
        if steps.is_empty() {
            return Err(Error::HoldsNothing { node: node.clone(), network: network.clone() });
        }
        self.network.carry_out(&wanted, &steps)?;
        for step in steps {
            if let Step::RemoveAddress { address, .. } = step {
                self.note(node, What::AddressDeleted { network: network.to_string(), address });
            }
        }
        Ok(())
    }

    fn is_on(&self, address: IpAddr, network: &NetworkName) -> bool {
        match address {
            IpAddr::V4(address) => {
                self.topology.networks.get(network).is_some_and(|it| it.contains(&address))
            }
            IpAddr::V6(address) => {
                self.topology.networks6.get(network).is_some_and(|it| it.contains(&address))
            }
        }
    }

    fn plugged(&self, node: &NodeName, network: &NetworkName) -> Result<(), Error> {
        self.running(node)?;
        let on = self.topology.node(node).and_then(|node| node.on(network));
        on.map(drop).ok_or_else(|| Error::NotPlugged { node: node.clone(), network: network.clone() })
    }
}
