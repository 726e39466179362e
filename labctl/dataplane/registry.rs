//! Small numbers for services and real servers, which the maps of the kernel go by. A number is kept when its bearer leaves,
//! because flows may still name it: whoever comes back is found again by the connections it had. It knows no maps.

use std::collections::{BTreeMap, BTreeSet};

use crate::balancer::{Endpoint, REALS_MAX, SERVICES_MAX};

/// Numbers of real servers, as many as `reals` in bpf/maps.h has room for.
pub(super) const POSTS_MAX: usize = SERVICES_MAX * REALS_MAX;
/// Numbers of services: two bytes in the key of a flow.
const SERVICE_IDS_MAX: usize = 1 << 16;

/// A real server (second) in the service of a virtual service (first).
pub(super) type Post = (Endpoint, Endpoint);

/// Who has which number.
#[derive(Debug, Default)]
pub(super) struct Registry {
    services: Numbers<Endpoint>,
    posts: Numbers<Post>,
}

impl Registry {
    /// The number of a service, if it has one.
    pub(super) fn service(&self, service: Endpoint) -> Option<u16> {
        self.services.of(service).map(|number| number as u16)
    }

    /// The number of a real server, if it has one.
    pub(super) fn post(&self, post: Post) -> Option<u32> {
        self.posts.of(post)
    }

    /// Who has this number.
    pub(super) fn bearer(&self, number: u32) -> Option<Post> {
        self.posts.bearers.get(&number).copied()
    }

    /// Whether all of these can have numbers.
    pub(super) fn has_room_for(&self, wanted: &BTreeSet<Post>) -> bool {
        let services: BTreeSet<Endpoint> = wanted.iter().map(|(service, _)| *service).collect();
        // One more, for a service without real servers.
        self.services.missing(&services) + SERVICES_MAX + self.services.count() <= SERVICE_IDS_MAX
            && self.posts.missing(wanted) + self.posts.count() <= POSTS_MAX
    }

    /// Takes the numbers of all but these away. No flow may name them any more.
    pub(super) fn retain(&mut self, wanted: &BTreeSet<Post>) {
        self.posts.retain(|post| wanted.contains(post));
        self.services.retain(|service| wanted.iter().any(|(wanted, _)| wanted == service));
    }

    /// The number of a service, a new one if it has none.
    pub(super) fn enter_service(&mut self, service: Endpoint) -> u16 {
        self.services.enter(service) as u16
    }

    /// The number of a real server, a new one if it has none.
    pub(super) fn enter_post(&mut self, post: Post) -> u32 {
        self.posts.enter(post)
    }
}

#[derive(Debug)]
struct Numbers<T> {
    numbers: BTreeMap<T, u32>,
    bearers: BTreeMap<u32, T>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { numbers: BTreeMap::new(), bearers: BTreeMap::new() }
    }
}

impl<T: Copy + Ord> Numbers<T> {
    fn of(&self, bearer: T) -> Option<u32> {
        self.numbers.get(&bearer).copied()
    }

    fn count(&self) -> usize {
        self.numbers.len()
    }

    fn missing(&self, wanted: &BTreeSet<T>) -> usize {
        wanted.iter().filter(|bearer| !self.numbers.contains_key(bearer)).count()
    }

    fn retain(&mut self, keeps: impl Fn(&T) -> bool) {
        self.numbers.retain(|bearer, _| keeps(bearer));
        self.bearers.retain(|_, bearer| keeps(bearer));
    }

    fn enter(&mut self, bearer: T) -> u32 {
        if let Some(number) = self.of(bearer) {
            return number;
        }
        // The next one, unless some before it were taken away.
        let next = self.bearers.len() as u32;
        let free = match self.bearers.contains_key(&next) {
            false => next,
            true => (0..next).find(|number| !self.bearers.contains_key(number)).unwrap_or(next),
        };
        self.numbers.insert(bearer, free);
        self.bearers.insert(free, bearer);
        free
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn post(host: u8) -> Post {
        (Endpoint::tcp(Ipv4Addr::new(203, 0, 113, 10), 80), Endpoint::tcp(Ipv4Addr::new(10, 10, 1, host), 80))
    }

    #[test]
    fn a_number_stays_with_its_bearer_until_it_is_taken_away() {
        let mut registry = Registry::default();
        assert_eq!([1, 2, 1].map(|host| registry.enter_post(post(host))), [0, 1, 0]);
        assert_eq!(registry.bearer(1), Some(post(2)));
        registry.retain(&BTreeSet::from([post(2)]));
        assert_eq!((registry.post(post(1)), registry.post(post(2))), (None, Some(1)));
        assert_eq!(registry.enter_post(post(3)), 0, "a free number is given out again");
    }

    #[test]
    fn there_is_an_end_to_numbers() {
        let mut registry = Registry::default();
        let (service, _) = post(1);
        let many = |count: usize| {
            let real = |number: usize| Endpoint::udp(Ipv4Addr::from(number as u32), 53);
            (0..count).map(|number| (service, real(number))).collect::<BTreeSet<_>>()
        };
        for post in many(POSTS_MAX - 1) {
            registry.enter_post(post);
        }
        assert!(registry.has_room_for(&many(POSTS_MAX)));
        assert!(!registry.has_room_for(&many(POSTS_MAX + 1)));
    }
}
