//! What a Redis and a Sentinel say when they are asked, in their own protocol. It knows no files and starts nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Value, cmd};
use tokio::time::timeout;

use super::SITE;
use crate::roles::db::Seat;
use crate::roles::foreign::Error;
use crate::topology::{REDIS_PORT, SENTINEL_PORT};

/// Patience with a machine that does not take a connection, and with an answer.
const CONNECT_MAX: Duration = Duration::from_millis(150);
const ASK_MAX: Duration = Duration::from_millis(250);
/// How often a Sentinel looks, in its own words, in milliseconds: as many times as often as it is quicker here to take an
/// instance for dead. One that was not scheduled for 2 s distrusts its clock, for 30 s by default. It promotes no replica of
/// which it has heard nothing for five pings, and asks replicas of a dead primary once a second.
const PERIODS: [&str; 10] = [
    "info-period",
    "500",
    "ping-period",
    "500",
    "ask-period",
    "200",
    "publish-period",
    "300",
    "tilt-period",
    "1000",
];

/// A connection to whoever listens there.
pub(in crate::roles) async fn connect(address: SocketAddr) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_MAX))
        .set_response_timeout(Some(ASK_MAX));
    Client::open(format!("redis://{address}/"))?.get_multiplexed_async_connection_with_config(&config).await
}

/// Where the Sentinel of a seat listens.
pub(in crate::roles) fn sentinel_of(seat: &Seat) -> SocketAddr {
    SocketAddr::new(seat.address.ip(), SENTINEL_PORT)
}

/// What a Redis says of its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::roles) enum Part {
    /// With so many replicas that have acknowledged something: only from then on does a replica get what is written.
    Primary(usize),
    /// Of whom, if it has heard all that he says.
    Replica(Option<IpAddr>),
}

/// Asks a Redis for its part.
pub(in crate::roles) async fn part(connection: &mut MultiplexedConnection) -> Result<Part, RedisError> {
    Ok(part_of(&cmd("ROLE").query_async::<Vec<Value>>(connection).await?))
}

fn part_of(role: &[Value]) -> Part {
    let word = |at: usize| role.get(at).and_then(|value| redis::from_redis_value_ref::<String>(value).ok());
    if word(0).as_deref() == Some("master") {
        let replicas = role.get(2).and_then(|value| redis::from_redis_value_ref(value).ok());
        let replicas: Vec<(String, String, String)> = replicas.unwrap_or_default();
        return Part::Primary(replicas.iter().filter(|(.., acknowledged)| acknowledged != "0").count());
    }
    let connected = word(3).as_deref() == Some("connected");
    Part::Replica(word(1).filter(|_| connected).and_then(|address| address.parse().ok()))
}

/// What a Sentinel knows of the primary and its replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    primary: IpAddr,
    /// The failover that made it the primary.
    epoch: u64,
    replicas: usize,
    sentinels: usize,
}

async fn known(connection: &mut MultiplexedConnection) -> Option<Known> {
    let pairs: Vec<String> = cmd("SENTINEL").arg("MASTER").arg(SITE).query_async(connection).await.ok()?;
    known_from(&pairs)
}

fn known_from(pairs: &[String]) -> Option<Known> {
    let value = |key: &str| pairs.chunks_exact(2).find(|pair| pair[0] == key).map(|pair| pair[1].as_str());
    Some(Known {
        primary: value("ip")?.parse().ok()?,
        epoch: value("config-epoch")?.parse().ok()?,
        replicas: value("num-slaves")?.parse().ok()?,
        sentinels: value("num-other-sentinels")?.parse().ok()?,
    })
}

/// The place of whom the Sentinels of the others take for the primary, if any of them answers.
pub(super) fn elected(seats: &[Seat], me: usize) -> Result<Option<usize>, Error> {
    let failed = |source| Error::Runtime { program: super::SENTINEL, source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let mut newest: Option<Known> = None;
    for (_, seat) in seats.iter().enumerate().filter(|(place, _)| *place != me) {
        let asked = async { known(&mut connect(sentinel_of(seat)).await.ok()?).await };
        let answer = runtime.block_on(async { timeout(CONNECT_MAX + ASK_MAX, asked).await });
        let answer = answer.ok().flatten();
        if answer.is_some_and(|it| newest.is_none_or(|newest| it.epoch > newest.epoch)) {
            newest = answer;
        }
    }
    Ok(newest.and_then(|it| seats.iter().position(|seat| seat.address.ip() == it.primary)))
}

/// A connection that is made anew when it is needed.
struct Line {
    to: SocketAddr,
    open: Option<MultiplexedConnection>,
}

impl Line {
    fn new(to: SocketAddr) -> Self {
        Self { to, open: None }
    }

    /// Whether it is a new one, and the connection.
    async fn connection(&mut self) -> Option<(bool, MultiplexedConnection)> {
        let new = self.open.is_none();
        if new {
            self.open = connect(self.to).await.ok();
        }
        self.open.clone().map(|open| (new, open))
    }
}

/// A Redis, asked by its own node whom it follows.
pub(super) struct Server {
    me: IpAddr,
    server: Line,
    sentinel: Line,
    others: usize,
    epoch: u64,
}

impl Server {
    pub(super) fn new(seats: &[Seat], me: usize) -> Self {
        let ip = seats[me].address.ip();
        Self {
            me: ip,
            server: Line::new(SocketAddr::new(ip, REDIS_PORT)),
            sentinel: Line::new(sentinel_of(&seats[me])),
            others: seats.len() - 1,
            epoch: 0,
        }
    }

    /// Whom it follows, itself if it is the primary, since which failover by its own Sentinel's word, and whether everybody has what
    /// it has.
    pub(super) async fn ask(&mut self) -> Option<(Option<IpAddr>, u64, bool)> {
        let (_, mut connection) = self.server.connection().await?;
        let Ok(part) = part(&mut connection).await else {
            self.server.open = None;
            return None;
        };
        let heard = match self.sentinel.connection().await {
            Some((_, mut connection)) => known(&mut connection).await,
            None => None,
        };
        match heard {
            Some(known) => self.epoch = known.epoch,
            None => self.sentinel.open = None,
        }
        let (follows, ready) = match part {
            Part::Primary(replicas) => (Some(self.me), replicas >= self.others),
            Part::Replica(of) => (of, of.is_some()),
        };
        Some((follows, self.epoch, ready))
    }
}

/// A Sentinel, asked by its own node whether it knows enough to choose.
pub(super) struct Sentinel {
    line: Line,
    others: usize,
}

impl Sentinel {
    pub(super) fn new(me: &Seat, others: usize) -> Self {
        Self { line: Line::new(sentinel_of(me)), others }
    }

    /// Does it know all others? Before that, it would find nobody to choose, or nobody to agree with.
    pub(super) async fn ask(&mut self) -> Option<bool> {
        let (new, mut connection) = self.line.connection().await?;
        if new {
            // Nothing of this can be written into its configuration.
            let set = cmd("SENTINEL").arg("DEBUG").arg(&PERIODS).query_async::<()>(&mut connection).await;
            if let Err(error) = set {
                tracing::warn!("this Sentinel is as slow as by default: {error}");
            }
        }
        let Some(known) = known(&mut connection).await else {
            self.line.open = None;
            return None;
        };
        Some(known.replicas >= self.others && known.sentinels >= self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(words: &[&str]) -> Vec<Value> {
        words.iter().map(|word| Value::BulkString(word.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_part_is_read_from_the_role() {
        let replica = |acknowledged| Value::Array(texts(&["10.10.2.32", "6379", acknowledged]));
        let mut primary = texts(&["master", "3129659"]);
        assert_eq!(part_of(&primary), Part::Primary(0));
        primary.push(Value::Array(vec![replica("0"), replica("3129543")]));
        assert_eq!(part_of(&primary), Part::Primary(1));
        let mut replica = texts(&["slave", "10.10.2.31", "6379", "connected"]);
        replica[2] = Value::Int(6379);
        assert_eq!(part_of(&replica), Part::Replica("10.10.2.31".parse().ok()));
        replica[3] = Value::BulkString(b"sync".to_vec());
        assert_eq!(part_of(&replica), Part::Replica(None));
        assert_eq!(part_of(&[]), Part::Replica(None));
    }

    /// As Redis 7.0.15 says it, shortened.
    #[test]
    fn what_a_sentinel_knows_comes_in_pairs() {
        let text = "name site ip 10.10.2.31 port 6379 flags master config-epoch 3 num-slaves 2 num-other-sentinels 1";
        let pairs: Vec<String> = text.split(' ').map(str::to_owned).collect();
        let known = Known { primary: "10.10.2.31".parse().unwrap(), epoch: 3, replicas: 2, sentinels: 1 };
        assert_eq!(known_from(&pairs), Some(known));
        assert_eq!(known_from(&pairs[2..10]), None);
    }
}
