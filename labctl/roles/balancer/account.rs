//! What the balancer says when it is asked how it is: for the election, which may depend on it, and for people. One JSON
//! document; how it is asked for is another file's business.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its node has the virtual address, so it balances.
    pub active: bool,
    /// Its first tables are in the kernel.
    pub ready: bool,
    /// What forwards the packets.
    pub backend: String,
    /// Why that, and nothing else.
    pub because: String,
    /// Every virtual service by name.
    pub services: BTreeMap<String, ServiceAccount>,
}

/// One virtual service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAccount {
    /// Nobody who has a weight is well, so everybody who has one gets connections.
    pub fail_open: bool,
    /// Every real server by node name.
    pub reals: BTreeMap<String, RealAccount>,
}

/// One real server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealAccount {
    /// Its checks say that it is well.
    pub up: bool,
    /// Its share of new connections.
    pub weight: u32,
}

impl Account {
    /// The first virtual service without a real server that is well and gets new connections.
    pub fn unserved(&self) -> Option<&str> {
        let served = |service: &ServiceAccount| service.reals.values().any(|real| real.up && real.weight > 0);
        self.services.iter().find(|(_, service)| !served(service)).map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(reals: &[(bool, u32)]) -> Account {
        let real = |(at, &(up, weight))| (format!("web{at}"), RealAccount { up, weight });
        let reals = reals.iter().enumerate().map(real).collect();
        let service = ServiceAccount { fail_open: false, reals };
        let (backend, because) = ("eBPF on tcx".to_owned(), "the kernel has it".to_owned());
        Account {
            active: true,
            ready: true,
            backend,
            because,
            services: [("web".to_owned(), service)].into(),
        }
    }

    #[test]
    fn a_service_is_served_by_whoever_is_well_and_has_a_weight() {
        assert_eq!(account(&[(false, 1), (true, 1)]).unserved(), None);
        assert_eq!(account(&[(false, 1), (true, 0)]).unserved(), Some("web"));
        assert_eq!(account(&[]).unserved(), Some("web"));
    }
}
