//! What a layer-7 director decides of one request: which real servers may answer it, whom its cookie keeps it with, and who
//! of the rest is next. It sees heads of requests and never a connection.

use std::fmt::Write as _;
use std::net::SocketAddr;

use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, InvalidHeaderName, InvalidHeaderValue};
use sha2::{Digest, Sha256};

use super::{Endpoint, Real, Schedule, Service};

/// Bytes of a real server's opaque name in a cookie: two of a site never share one by chance.
const NAME_BYTES: usize = 8;
/// More requests than anybody has: whoever was tried is the last to be asked again.
const LOAD_OF_TRIED: u64 = u64::MAX / 2;

/// What is looked at before the scheduler is asked.
#[derive(Clone, Debug, Default)]
pub struct Layer7 {
    /// The cookie that keeps a visitor with a real server.
    pub sticky: Option<String>,
    /// The first rule that a request meets says who may answer it; whoever meets none may be answered by everybody.
    pub rules: Vec<Rule>,
}

/// Requests that belong to some of the real servers. All that is given must be met.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// The host that is asked for, without a port.
    pub host: Option<String>,
    /// What the path begins with, by whole segments.
    pub path: Option<String>,
    /// A header and its value.
    pub header: Option<(HeaderName, HeaderValue)>,
    /// A cookie and its value.
    pub cookie: Option<(String, String)>,
    /// The names of those who may answer.
    pub reals: Vec<String>,
}

/// The head of a request, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who asks.
    pub client: SocketAddr,
    /// The host that is asked for, perhaps with a port.
    pub host: &'a str,
    /// As it was sent, without the query.
    pub path: &'a str,
    /// The rest.
    pub headers: &'a HeaderMap,
}

impl Rule {
    fn is_met(&self, asked: &Asked) -> bool {
        let host = |host: &String| host.eq_ignore_ascii_case(without_port(asked.host));
        let header = |(name, value): &(HeaderName, HeaderValue)| {
            asked.headers.get_all(name).iter().any(|it| it == value)
        };
        let cookie = |(name, value): &(String, String)| {
            cookies(asked.headers).any(|(key, held)| key == name && held == value)
        };
        self.host.as_ref().is_none_or(host)
            && self.path.as_ref().is_none_or(|path| is_below(asked.path, path))
            && self.header.as_ref().is_none_or(header)
            && self.cookie.as_ref().is_none_or(cookie)
    }
}

/// Who is to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which of the service's real servers.
    pub real: usize,
    /// The visitor has its cookie already.
    pub kept: bool,
}

/// One service as its requests see it, until something about its real servers changes.
#[derive(Clone, Debug)]
pub struct Guide {
    reals: Vec<Real>,
    rules: Vec<Rule>,
    /// Those of each rule, and of everybody last.
    pools: Vec<Pool>,
    sticky: Option<Sticky>,
}

/// Those of whom one is to answer.
#[derive(Clone, Debug)]
struct Pool {
    members: Vec<usize>,
    /// Its slots are indexes into `members`.
    schedule: Schedule,
}

#[derive(Clone, Debug)]
struct Sticky {
    cookie: String,
    /// The opaque name of each real server.
    names: Vec<String>,
    /// What makes a visitor's browser keep it.
    set: Vec<HeaderValue>,
}

/// Why requests cannot be told apart in this way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// HTTP has no such header.
    #[error("{0:?} cannot be the name of a header")]
    Header(String),
    /// HTTP has no such value.
    #[error("{0:?} cannot be the value of a header")]
    Value(String),
    /// HTTP has no such cookie.
    #[error("{0:?} cannot be the name of a cookie")]
    Cookie(String),
}

impl Rule {
    /// The header that requests must have.
    pub fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Unusable> {
        let unusable = |_: InvalidHeaderName| Unusable::Header(name.to_owned());
        let name = HeaderName::try_from(name).map_err(unusable)?;
        let unusable = |_: InvalidHeaderValue| Unusable::Value(value.to_owned());
        Ok((name, HeaderValue::try_from(value).map_err(unusable)?))
    }
}

impl Guide {
    /// The guide of a service in its present state.
    pub fn new(service: &Service, layer7: &Layer7) -> Result<Self, Unusable> {
        let reals = service.reals.clone();
        let pool = |members: Vec<usize>| {
            let own: Vec<Real> = members.iter().map(|&at| reals[at].clone()).collect();
            Pool { members, schedule: Schedule::new(service.scheduler, &own) }
        };
        let named = |rule: &Rule| {
            let all = 0..reals.len();
            pool(all.filter(|&at| rule.reals.contains(&reals[at].name)).collect())
        };
        let mut pools: Vec<Pool> = layer7.rules.iter().map(named).collect();
        pools.push(pool((0..reals.len()).collect()));
        let sticky = match &layer7.sticky {
            Some(cookie) => Some(Sticky::new(cookie, service)?),
            None => None,
        };
        Ok(Self { rules: layer7.rules.clone(), pools, sticky, reals })
    }

    /// Its real servers.
    pub fn reals(&self) -> &[Real] {
        &self.reals
    }

    /// How many turns are counted: one count for each rule, and one for requests that meet none.
    pub fn turns(&self) -> usize {
        self.pools.len()
    }

    /// Who is to answer a request, if it was not one of those who were `tried`. `turn` counts the requests of a rule, and
    /// `load` says how many requests a real server is busy with.
    pub fn choose(
        &self,
        asked: &Asked,
        turn: impl FnOnce(usize) -> u32,
        load: impl Fn(usize) -> u64,
        tried: &[usize],
    ) -> Option<Choice> {
        let met = self.rules.iter().position(|rule| rule.is_met(asked));
        let number = met.unwrap_or(self.rules.len());
        let pool = &self.pools[number];
        // Whoever has a cookie is no new visitor: a real server that drains ends with its visitors in peace.
        let keeps =
            |&at: &usize| self.reals[at].available && pool.members.contains(&at) && !tried.contains(&at);
        if let Some(real) = self.sticky.as_ref().and_then(|sticky| sticky.holder(asked)).filter(keeps) {
            return Some(Choice { real, kept: true });
        }
        let free = |at: usize| self.reals[at].takes_new() && !tried.contains(&at);
        let load = |at: usize| if tried.contains(&at) { LOAD_OF_TRIED } else { load(at) };
        let real = pool.choose(asked.client, turn(number), load, free)?;
        Some(Choice { real, kept: false })
    }

    /// What is to be set in the answer, so that the visitor comes back to this real server.
    pub fn cookie(&self, choice: Choice) -> Option<&HeaderValue> {
        self.sticky.as_ref().filter(|_| !choice.kept).map(|sticky| &sticky.set[choice.real])
    }
}

impl Pool {
    /// Whom the scheduler says; if that one is not free, the next one in the circle who is, so that all are tried in the end.
    fn choose(
        &self,
        client: SocketAddr,
        mut turn: u32,
        load: impl Fn(usize) -> u64,
        free: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let first = self.schedule.choose(client, &mut turn, |at| load(self.members[at]))?;
        let (before, from) = self.members.split_at(first);
        from.iter().chain(before).copied().find(|&member| free(member))
    }
}

impl Sticky {
    fn new(cookie: &str, service: &Service) -> Result<Self, Unusable> {
        let unusable = || Unusable::Cookie(cookie.to_owned());
        // The same characters that a header's name may have (RFC 6265 section 4.1.1).
        HeaderName::try_from(cookie).map_err(|_| unusable())?;
        let names: Vec<String> =
            service.reals.iter().map(|real| opaque(service.address, &real.name)).collect();
        let line = |name| HeaderValue::try_from(format!("{cookie}={name}; Path=/; HttpOnly; SameSite=Lax"));
        let set = names.iter().map(|name| line(name).map_err(|_| unusable())).collect::<Result<_, _>>()?;
        Ok(Self { cookie: cookie.to_owned(), names, set })
    }

    /// The real server that the visitor's cookie names.
    fn holder(&self, asked: &Asked) -> Option<usize> {
        let ours = cookies(asked.headers).filter(|(key, _)| *key == self.cookie);
        ours.into_iter().find_map(|(_, value)| self.names.iter().position(|name| name == value))
    }
}

/// A real server's name in a cookie: the same on every director, and nothing that tells a visitor how the site is built.
pub fn opaque(service: Endpoint, real: &str) -> String {
    let digest = Sha256::digest(format!("{service} {real}"));
    digest.iter().take(NAME_BYTES).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Every cookie of a request (RFC 6265 section 5.4).
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

/// `[2001:db8::1]:80` and `www.example:80` without their port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// `/shop/cart` is below `/shop` and below `/shop/`, and `/shopping` is not.
fn is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
