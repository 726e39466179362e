//! The data plane of eBPF: loads `bpf/lb.bpf.o`, attaches it to two interfaces and keeps its maps. It knows what a service
//! looks like to the kernel only by `layout`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{Array, HashMap, HashOfMaps, Map, MapData, MapError, PerCpuArray, PerCpuValues, RingBuf};
use aya::programs::TcAttachType;
use aya::programs::links::LinkOrder;
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader};
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

use super::layout::{
    Standing, WireAnswer, WireCounters, WireEndpoint, WireFlow, WireFlowKey, WireFreshFlow, WireNetwork,
    WireReal, WireService, WireUsage, wire_address,
};
use super::registry::{Post, Registry};
use super::{
    Backend, Error, Plane, Settings, Stats, Switch, attach_program, errno, index_of, load_error, map,
    map_error, program,
};
use crate::balancer::forward::MTU_MIN;
use crate::balancer::{Endpoint, Flow, Method, Protocol, Service, Usage, check_together};

/// Built from `bpf/lb.bpf.c` by `bpf/build.sh`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("bpf/lb.bpf.o");

const FROM_STREET: &str = "from_street";
const FROM_REALS: &str = "from_reals";
/// `INSIDE_MAX` in bpf/maps.h.
const INSIDE_MAX: usize = 4;
/// Connections of which only the SYN was seen: enough for a flood of 100,000 a second to leave a handshake half a second.
const OPENINGS_MAX: u32 = 65_536;
/// Most entries that are read of a table at once: more than any table of ours has.
const ENTRIES_MAX: usize = 1 << 21;
/// The least a ring buffer may have: a page.
const RING_BYTES_MIN: u32 = 4096;

/// After how many seconds of silence a connection does not count as active any more; the kernel's own LVS has the same
/// (`ipvsadm --set`). Forgotten it is only when the table is full.
const TCP_SILENCE_MAX_S: u64 = 900;
/// The same of a connection of which only the SYN was seen.
const OPENING_SILENCE_MAX_S: u64 = 60;
/// The same of UDP.
const UDP_SILENCE_MAX_S: u64 = 300;

/// The programs on their interfaces. They leave them when this is dropped.
pub struct EbpfPlane {
    ebpf: Ebpf,
    settings: Settings,
    services: HashOfMaps<MapData, WireEndpoint, Array<MapData, WireService>>,
    reals: Array<MapData, WireReal>,
    loads: Array<MapData, u64>,
    usages: PerCpuArray<MapData, WireUsage>,
    answers: HashMap<MapData, WireEndpoint, WireAnswer>,
    openings: HashMap<MapData, WireFlowKey, WireFlow>,
    flows: HashMap<MapData, WireFlowKey, WireFlow>,
    fresh: RingBuf<MapData>,
    counters: PerCpuArray<MapData, WireCounters>,
    active: Array<MapData, u32>,
    registry: Registry,
    installed: BTreeMap<Endpoint, Service>,
    /// Services whose last change did not come to its end: the maps may hold some of it.
    in_doubt: BTreeSet<Endpoint>,
    /// The real servers that the kernel takes for installed, with the connections that were adopted for them.
    posts: BTreeMap<Post, u64>,
    /// The services that real servers' ports answer for.
    answering: BTreeMap<Endpoint, Endpoint>,
}

impl EbpfPlane {
    /// Attaches to the interface that clients come in by and the one that real servers answer on. Switched off, and
    /// without services.
    pub fn attach(settings: Settings) -> Result<(Self, Switch), Error> {
        let (front, back) = (index_of(&settings.front)?, index_of(&settings.back)?);
        let (mut plane, switch) = Self::load(settings, front, back)?;
        let Settings { front, back, .. } = plane.settings.clone();
        for (name, interface) in [(FROM_STREET, front), (FROM_REALS, back)] {
            attach_program(&mut plane.ebpf, name, &interface, TcAttachType::Ingress, LinkOrder::default())?;
        }
        Ok((plane, switch))
    }

    /// Loads programs and maps without attaching them anywhere.
    fn load(settings: Settings, front: u32, back: u32) -> Result<(Self, Switch), Error> {
        check(&settings)?;
        let mut inside = [WireNetwork::default(); INSIDE_MAX];
        for (place, network) in inside.iter_mut().zip(&settings.inside) {
            *place = (*network).into();
        }
        let inside_count = settings.inside.len() as u32;
        let own = settings.tunnel_v4.map(|address| wire_address(address.into())).unwrap_or_default();
        let own6 = settings.tunnel_v6.map(|address| wire_address(address.into())).unwrap_or_default();
        let mtus = [settings.front_mtu, settings.back_mtu].map(u32::from);
        let tells = u32::from(settings.sync);
        let mut loader = EbpfLoader::new();
        loader
            .override_global("front_index", &front, true)
            .override_global("back_index", &back, true)
            .override_global("front_mtu", &mtus[0], true)
            .override_global("back_mtu", &mtus[1], true)
            .override_global("own", &own, true)
            .override_global("own6", &own6, true)
            .override_global("inside", &inside[..], true)
            .override_global("inside_count", &inside_count, true)
            .override_global("tells", &tells, true)
            .map_max_entries("openings", settings.flows_max.min(OPENINGS_MAX))
            .map_max_entries("flows", settings.flows_max);
        if !settings.sync {
            loader.map_max_entries("fresh", RING_BYTES_MIN);
        }
        let mut ebpf = loader.load(OBJECT).map_err(load_error)?;
        for name in [FROM_STREET, FROM_REALS] {
            program(&mut ebpf, name)?.load().map_err(|error| load_error(error.into()))?;
        }
        let [active, switch] = twice(ebpf.take_map("active").ok_or(Error::Missing("active"))?)?;
        let plane = Self {
            settings,
            services: map(&mut ebpf, "services")?,
            reals: map(&mut ebpf, "reals")?,
            loads: map(&mut ebpf, "loads")?,
            usages: map(&mut ebpf, "usages")?,
            answers: map(&mut ebpf, "answers")?,
            openings: map(&mut ebpf, "openings")?,
            flows: map(&mut ebpf, "flows")?,
            fresh: map(&mut ebpf, "fresh")?,
            counters: map(&mut ebpf, "counters")?,
            active,
            registry: Registry::default(),
            installed: BTreeMap::new(),
            in_doubt: BTreeSet::new(),
            posts: BTreeMap::new(),
            answering: BTreeMap::new(),
            ebpf,
        };
        Ok((plane, Switch { active: switch }))
    }

    /// Real servers before the services that name them.
    fn put(&mut self, service: &Service) -> Result<(), Error> {
        let id = self.registry.enter_service(service.address);
        let mut numbers = Vec::with_capacity(service.reals.len());
        for real in &service.reals {
            let post = (service.address, real.endpoint);
            let number = self.registry.enter_post(post);
            numbers.push(number);
            if !self.posts.contains_key(&post) {
                self.begin_count(number)?;
            }
            let on_link = self.settings.inside.iter().any(|network| network.contains(&real.endpoint.address));
            let standing = Standing { installed: true, takes_new: real.takes_new(), on_link };
            self.reals
                .set(number, WireReal::new(real.endpoint, standing), 0)
                .map_err(map_error("put a real server", "real servers"))?;
            self.posts.entry(post).or_default();
            if service.method == Method::Nat {
                self.answering.insert(real.endpoint, service.address);
                self.answers
                    .insert(WireEndpoint::from(real.endpoint), WireAnswer::new(service.address, number), 0)
                    .map_err(map_error("put a real server", "answers"))?;
            }
        }
        let mut value = Array::<_, WireService>::create(1, 0)
            .map_err(map_error("make room for a service", "services"))?;
        value
            .set(0, *WireService::new(service, id, &numbers), 0)
            .map_err(map_error("fill a service", "services"))?;
        self.services
            .insert(WireEndpoint::from(service.address), &value, 0)
            .map_err(map_error("put a service", "services"))
    }

    /// A real server that comes, or comes back, has done nothing yet.
    fn begin_count(&mut self, number: u32) -> Result<(), Error> {
        let cpus = nr_cpus().map_err(|(_, source)| Error::Descriptor(source))?;
        let nothing = PerCpuValues::try_from(vec![WireUsage::default(); cpus]).map_err(Error::Descriptor)?;
        self.usages.set(number, nothing, 0).map_err(map_error("clear a real server", "usages"))?;
        self.loads.set(number, 0, 0).map_err(map_error("clear a real server", "loads"))
    }

    /// Services before the real servers that they name: no slot is ever without.
    fn forget_all_but(&mut self, wanted: &BTreeMap<Endpoint, Service>) -> Result<(), Error> {
        let gone: BTreeSet<Endpoint> = self
            .installed
            .keys()
            .chain(&self.in_doubt)
            .filter(|it| !wanted.contains_key(it))
            .copied()
            .collect();
        for address in gone {
            let removed = self.services.remove(&WireEndpoint::from(address));
            unless_missing(removed).map_err(map_error("remove a service", "services"))?;
        }
        let (mut posts, mut answering) = (BTreeSet::new(), BTreeMap::new());
        for service in wanted.values() {
            posts.extend(service.reals.iter().map(|real| (service.address, real.endpoint)));
            if service.method == Method::Nat {
                answering.extend(service.reals.iter().map(|real| (real.endpoint, service.address)));
            }
        }
        for real in self.answering.keys().filter(|real| !answering.contains_key(real)) {
            let removed = self.answers.remove(&WireEndpoint::from(*real));
            unless_missing(removed).map_err(map_error("remove a real server", "answers"))?;
        }
        self.answering = answering;
        for post in self.posts.keys().filter(|post| !posts.contains(post)) {
            let Some(number) = self.registry.post(*post) else { continue };
            self.reals
                .set(number, WireReal::new(post.1, Standing::default()), 0)
                .map_err(map_error("remove a real server", "real servers"))?;
        }
        self.posts.retain(|post, _| posts.contains(post));
        Ok(())
    }

    /// Takes the numbers of those that are gone away, with all connections that they had, if there are not enough for these.
    fn make_room(&mut self, wanted: &BTreeMap<Endpoint, Service>) -> Result<(), Error> {
        let posts = |service: &Service| -> Vec<Post> {
            service.reals.iter().map(|real| (service.address, real.endpoint)).collect()
        };
        let needed: BTreeSet<Post> = wanted.values().flat_map(posts).collect();
        if self.registry.has_room_for(&needed) {
            return Ok(());
        }
        let kept: BTreeSet<Post> = needed.into_iter().chain(self.posts.keys().copied()).collect();
        for table in [&mut self.flows, &mut self.openings] {
            for (key, flow) in entries(table)? {
                if self.registry.bearer(flow.real()).is_none_or(|post| !kept.contains(&post)) {
                    unless_missing(table.remove(&key)).map_err(map_error("forget a connection", "flows"))?;
                }
            }
        }
        self.registry.retain(&kept);
        Ok(())
    }

    fn flow(&self, key: &WireFlowKey, real: u32) -> Option<Flow> {
        let (service, real) = self.registry.bearer(real)?;
        Some(Flow { client: key.client(), service, real })
    }

    /// What the tables have of a connection, which of the two has it, and whether it still counts as open.
    fn known(&self, key: &WireFlowKey) -> Result<Option<WireFlow>, Error> {
        let found =
            unless_missing(self.flows.get(key, 0)).map_err(map_error("look up a connection", "flows"))?;
        if found.is_some() {
            return Ok(found);
        }
        let found = unless_missing(self.openings.get(key, 0))
            .map_err(map_error("look up a connection", "openings"))?;
        Ok(found.filter(|opening| !opening.is_settled()))
    }

    /// Enters one connection of another director.
    fn enter(&mut self, flow: &Flow, seen: u32, is_active: bool) -> Result<bool, Error> {
        let post = (flow.service, flow.real);
        let (Some(service), Some(number)) = (self.registry.service(flow.service), self.registry.post(post))
        else {
            return Ok(false);
        };
        if !self.posts.contains_key(&post) {
            return Ok(false);
        }
        let key = WireFlowKey::new(flow.client, service);
        if let Some(before) = self.known(&key)? {
            if is_active || before.real() == number {
                return Ok(false);
            }
            unless_missing(self.openings.remove(&key))
                .map_err(map_error("forget a connection", "openings"))?;
            if !before.is_closed() && self.is_installed(before.real()) {
                self.add_load(before.real(), -1)?;
            }
        }
        self.flows
            .insert(key, WireFlow::new(number, seen), 0)
            .map_err(map_error("adopt a connection", "flows"))?;
        self.add_load(number, 1)?;
        *self.posts.entry(post).or_default() += 1;
        Ok(true)
    }

    /// Counts as [`Plane::recount`] does, when it is that late.
    fn recount_at(&mut self, now: u32) -> Result<u64, Error> {
        let mut loads: BTreeMap<u32, u64> = BTreeMap::new();
        let mut count = |flow: &WireFlow, silence_max_s: u64| {
            let silent = now.saturating_sub(flow.seen());
            if !flow.is_closed() && !flow.is_settled() && silent <= ticks(silence_max_s) {
                *loads.entry(flow.real()).or_default() += 1;
            }
        };
        for (_, opening) in entries(&self.openings)? {
            count(&opening, OPENING_SILENCE_MAX_S);
        }
        for (_, flow) in entries(&self.flows)? {
            let protocol = self.registry.bearer(flow.real()).map(|(service, _)| service.protocol);
            let is_udp = protocol == Some(Protocol::Udp);
            count(&flow, if is_udp { UDP_SILENCE_MAX_S } else { TCP_SILENCE_MAX_S });
        }
        for post in self.posts.keys() {
            let Some(number) = self.registry.post(*post) else { continue };
            let load = loads.get(&number).copied().unwrap_or_default();
            self.loads.set(number, load, 0).map_err(map_error("count connections", "loads"))?;
        }
        Ok(loads.values().sum())
    }

    fn is_installed(&self, number: u32) -> bool {
        self.registry.bearer(number).is_some_and(|post| self.posts.contains_key(&post))
    }

    /// Not atomic; [`Plane::recount`] puts right what a packet at the same moment makes wrong.
    fn add_load(&mut self, number: u32, change: i64) -> Result<(), Error> {
        let load = self.loads.get(&number, 0).map_err(map_error("read a real server", "loads"))?;
        let load = load.saturating_add_signed(change);
        self.loads.set(number, load, 0).map_err(map_error("count a connection", "loads"))
    }
}

impl Plane for EbpfPlane {
    /// It returns when no packet sees the old services any more, which takes the kernel some 10 ms for each service that
    /// changed.
    fn install(&mut self, services: &[Service]) -> Result<(), Error> {
        check_together(services)?;
        let wanted: BTreeMap<Endpoint, Service> =
            services.iter().map(|service| (service.address, service.clone())).collect();
        self.make_room(&wanted)?;
        let changed: Vec<&Service> = wanted
            .values()
            .filter(|service| {
                let address = &service.address;
                self.in_doubt.contains(address) || self.installed.get(address) != Some(*service)
            })
            .collect();
        self.in_doubt.extend(changed.iter().map(|service| service.address));
        for service in &changed {
            self.put(service)?;
        }
        self.forget_all_but(&wanted)?;
        self.installed = wanted;
        self.in_doubt.clear();
        Ok(())
    }

    fn stats(&self) -> Result<Stats, Error> {
        let each = self.counters.get(&0, 0).map_err(map_error("read", "counters"))?;
        Ok(each.iter().fold(Stats::default(), |sum, it| Stats {
            to_real: sum.to_real + it.to_real,
            to_client: sum.to_client + it.to_client,
            answered: sum.answered + it.answered,
            opened: sum.opened + it.opened,
            kept: sum.kept + it.kept,
            missed: sum.missed + it.missed,
            errors: sum.errors + it.errors,
            no_real: sum.no_real + it.no_real,
            no_tunnel: sum.no_tunnel + it.no_tunnel,
            ttl_ended: sum.ttl_ended + it.ttl_ended,
            fragments: sum.fragments + it.fragments,
            too_long: sum.too_long + it.too_long,
        }))
    }

    fn usage(&self) -> Result<BTreeMap<Post, Usage>, Error> {
        let mut usage = BTreeMap::new();
        for (post, adopted) in &self.posts {
            let Some(number) = self.registry.post(*post) else { continue };
            let each = self.usages.get(&number, 0).map_err(map_error("read a real server", "usages"))?;
            let active = self.loads.get(&number, 0).map_err(map_error("read a real server", "loads"))?;
            let start = Usage { connections: *adopted, active, ..Usage::default() };
            let sum = each.iter().fold(start, |sum, it| Usage {
                connections: sum.connections + it.connections,
                active: sum.active,
                packets_in: sum.packets_in + it.packets_in,
                packets_out: sum.packets_out + it.packets_out,
                bytes_in: sum.bytes_in + it.bytes_in,
                bytes_out: sum.bytes_out + it.bytes_out,
            });
            usage.insert(*post, sum);
        }
        Ok(usage)
    }

    fn flows(&self) -> Result<Vec<Flow>, Error> {
        let entries = entries(&self.flows)?;
        Ok(entries.iter().filter_map(|(key, flow)| self.flow(key, flow.real())).collect())
    }

    fn adopt(&mut self, flows: &[Flow]) -> Result<usize, Error> {
        let is_active = self.active.get(&0, 0).map_err(map_error("read the flag", "the active node"))? != 0;
        let seen = now();
        let mut adopted = 0;
        for flow in flows {
            adopted += usize::from(self.enter(flow, seen, is_active)?);
        }
        Ok(adopted)
    }

    fn fresh(&self) -> Option<BorrowedFd<'_>> {
        self.settings.sync.then(|| self.fresh.as_fd())
    }

    fn fresh_flows(&mut self) -> Result<Vec<Flow>, Error> {
        let mut fresh = Vec::new();
        while let Some(item) = self.fresh.next() {
            fresh.extend(WireFreshFlow::read(&item));
        }
        Ok(fresh.iter().filter_map(|flow| self.flow(&flow.key, flow.real)).collect())
    }

    fn recount(&mut self) -> Result<u64, Error> {
        self.recount_at(now())
    }

    fn backend(&self) -> Backend {
        Backend::Ebpf
    }
}

impl fmt::Debug for EbpfPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EbpfPlane").field("installed", &self.installed).finish_non_exhaustive()
    }
}

fn check(settings: &Settings) -> Result<(), Error> {
    if settings.inside.len() > INSIDE_MAX {
        return Err(Error::TooManyNetworks { found: settings.inside.len(), max: INSIDE_MAX });
    }
    for (interface, mtu) in [(&settings.front, settings.front_mtu), (&settings.back, settings.back_mtu)] {
        if mtu < MTU_MIN {
            return Err(Error::SmallMtu { interface: interface.clone(), mtu, least: MTU_MIN });
        }
    }
    Ok(())
}

/// The map twice, for two owners.
fn twice(map: Map) -> Result<[Array<MapData, u32>; 2], Error> {
    const ACTIVE: &str = "active";
    let Map::Array(data) = map else { return Err(Error::Missing(ACTIVE)) };
    let fd = data.fd().as_fd().try_clone_to_owned().map_err(Error::Descriptor)?;
    let open = |data| Array::try_from(Map::from_map_data(data)?);
    let second = MapData::from_fd(fd).and_then(open).map_err(map_error("open it", ACTIVE))?;
    Ok([Array::try_from(Map::Array(data)).map_err(map_error("open it", ACTIVE))?, second])
}

/// All entries of a table that the kernel may change at the same time: those that go while we read are left out. If the very one
/// that we are at goes, the kernel begins anew, so that some come twice; in a flood that must not go on for ever.
fn entries(table: &HashMap<MapData, WireFlowKey, WireFlow>) -> Result<Vec<(WireFlowKey, WireFlow)>, Error> {
    let mut found = Vec::new();
    for entry in table.iter() {
        match entry {
            Ok(entry) => found.push(entry),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(map_error("list connections", "flows")(error)),
        }
        if found.len() >= ENTRIES_MAX {
            break;
        }
    }
    Ok(found)
}

fn unless_missing<T>(outcome: Result<T, MapError>) -> Result<Option<T>, MapError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_missing(error: &MapError) -> bool {
    matches!(error, MapError::KeyNotFound) || errno(error) == Some(Errno::ENOENT)
}

/// The monotonic clock in the programs' units of 2^30 nanoseconds.
fn now() -> u32 {
    // The kernel always has this clock.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(std::time::Duration::from).unwrap_or_default();
    (now.as_nanos() >> 30) as u32
}

fn ticks(seconds: u64) -> u32 {
    ((seconds * 1_000_000_000) >> 30) as u32
}

#[cfg(test)]
mod tests;
