//! Which program keeps the conversations on the database nodes, as the rest of the site sees it: part of the site. It
//! knows nothing of how such a program is configured or spoken to.

use serde::{Deserialize, Serialize};

use super::Builtin;

/// Where etcd's clients find it.
pub const ETCD_PORT: u16 = 2379;
/// Where the members of etcd find each other.
pub const ETCD_PEER_PORT: u16 = 2380;
/// Where clients and replicas find Redis.
pub const REDIS_PORT: u16 = 6379;
/// Where clients and other Sentinels find a Sentinel.
pub const SENTINEL_PORT: u16 = 26379;
/// Where clients and standbys find PostgreSQL.
pub const POSTGRES_PORT: u16 = 5432;
/// Where Patroni tells what it knows of PostgreSQL.
pub const PATRONI_PORT: u16 = 8008;

/// The database that keeps the conversations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreEngine {
    /// Ours.
    #[default]
    Embedded,
    /// PostgreSQL, whose primary Patroni chooses by etcd.
    Postgres,
    /// etcd by itself.
    Etcd,
    /// Redis, whose primary Sentinel chooses: the control case that must lose turns under a partition.
    Redis,
}

impl StoreEngine {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Embedded, Self::Postgres, Self::Etcd, Self::Redis];

    /// Its word in a topology.
    pub fn word(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Postgres => "postgres",
            Self::Etcd => "etcd",
            Self::Redis => "redis",
        }
    }

    /// What it runs on every database node, and the ports that each of these listens on.
    pub fn services(self, db_port: u16) -> Vec<(Builtin, Vec<u16>)> {
        let etcd = (Builtin::Etcd, vec![ETCD_PORT, ETCD_PEER_PORT]);
        match self {
            Self::Embedded => vec![(Builtin::Db, vec![db_port])],
            // PostgreSQL itself comes and goes as Patroni wants it.
            Self::Postgres => vec![etcd, (Builtin::Patroni, vec![PATRONI_PORT])],
            Self::Etcd => vec![etcd],
            Self::Redis => {
                vec![(Builtin::Redis, vec![REDIS_PORT]), (Builtin::Sentinel, vec![SENTINEL_PORT])]
            }
        }
    }

    /// Which of these says whom it takes for the leader.
    pub fn member(self) -> Builtin {
        match self {
            Self::Embedded => Builtin::Db,
            Self::Postgres => Builtin::Patroni,
            Self::Etcd => Builtin::Etcd,
            Self::Redis => Builtin::Redis,
        }
    }

    /// Databases without which it cannot choose a leader when one of them is gone. Our own may be alone.
    pub fn members_min(self) -> usize {
        match self {
            Self::Embedded => 1,
            Self::Postgres | Self::Etcd | Self::Redis => 3,
        }
    }
}
