//! Where a web node keeps conversations: by itself, in the databases, or in both webs. It knows nothing of HTTP.

use std::sync::{Arc, Mutex, PoisonError};

use super::databases::{Databases, NoAnswer};
use super::peer::Peer;
use super::store::Store as Foreign;
use crate::conversation::peer::Refusal;
use crate::conversation::{Command, ConversationId, Outcome, Store, Transcript};
use crate::roles::db::Directory;
use crate::roles::{Reporter, Site};
use crate::topology::{self, NodeName, Role, StoreEngine};

/// A memory.
pub(super) enum Memory {
    /// In this process only. It ends with the process, and the other web node knows nothing of it.
    Local(Mutex<Store>),
    /// In the replicated database.
    Databases(Databases),
    /// In databases that others wrote.
    Store(Foreign),
    /// In this process and that of the other web.
    Peer(Peer),
}

/// What an answer is worth.
#[derive(Clone, Debug)]
pub(super) struct Worth {
    /// What it survives.
    pub(super) durability: &'static str,
    /// Who decided it, where conversations have an owner.
    pub(super) claim: Option<Claim>,
}

/// Whose a conversation was when it was answered about.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// How often it changed hands.
    pub(super) epoch: u64,
    /// Whose it was.
    pub(super) owner: NodeName,
}

/// Why there is no answer; asking again may help.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unavailable {
    /// The databases gave none.
    #[error(transparent)]
    Databases(#[from] NoAnswer),
    /// The webs cannot give one.
    #[error(transparent)]
    Peer(#[from] Refusal),
}

/// In this process only.
const LOCAL: Worth = Worth { durability: "local", claim: None };
/// On the disks of most databases.
const DB_QUORUM: Worth = Worth { durability: "db-quorum", claim: None };

impl Worth {
    fn of(store: &Foreign) -> Self {
        Self { durability: store.durability(), claim: None }
    }
}

impl Memory {
    /// The memory that the topology asks for.
    pub(super) async fn open(site: &Site, reporter: &Reporter) -> Result<Self, super::Error> {
        match site.topology.conversation.memory {
            topology::Memory::None => Ok(Self::Local(Mutex::default())),
            topology::Memory::Database => {
                let directory = Directory::of(&site.topology);
                // That of its own machine, if it shares one.
                let near = directory.place_of(&site.me);
                let favourite = || site.topology.nodes_of(Role::Web).position(|web| web.name == site.me);
                let favourite = near.or_else(favourite).unwrap_or(0);
                Ok(match site.topology.conversation.engine {
                    StoreEngine::Embedded => Self::Databases(Databases::new(&directory, favourite)),
                    _ => Self::Store(Foreign::of(&site.topology, favourite)),
                })
            }
            topology::Memory::Peer => Ok(Self::Peer(Peer::open(site, reporter).await?)),
        }
    }

    /// The word of the topology.
    pub(super) fn mode(&self) -> &'static str {
        match self {
            Self::Local(_) => "none",
            Self::Databases(_) | Self::Store(_) => "database",
            Self::Peer(_) => "peer",
        }
    }

    /// What a turn that is acknowledged now survives; nothing if none is.
    pub(super) fn durability(&self) -> Option<&'static str> {
        match self {
            Self::Local(_) => Some(LOCAL.durability),
            Self::Databases(_) => Some(DB_QUORUM.durability),
            Self::Store(store) => Some(store.durability()),
            Self::Peer(peer) => peer.durability(),
        }
    }

    /// Carries out a command.
    pub(super) async fn apply(&self, command: Command) -> Result<(Outcome, Worth), Unavailable> {
        match self {
            Self::Local(store) => {
                let outcome = store.lock().unwrap_or_else(PoisonError::into_inner).apply(command);
                Ok((outcome, LOCAL))
            }
            Self::Databases(databases) => Ok((databases.apply(command).await?, DB_QUORUM)),
            Self::Store(store) => Ok((store.apply(command).await?, Worth::of(store))),
            Self::Peer(peer) => Ok(peer.apply(command).await?),
        }
    }

    /// Reads a conversation.
    pub(super) async fn read(
        &self,
        id: ConversationId,
    ) -> Result<(Option<Arc<Transcript>>, Worth), Unavailable> {
        match self {
            Self::Local(store) => {
                let store = store.lock().unwrap_or_else(PoisonError::into_inner);
                Ok((store.get(&id).cloned(), LOCAL))
            }
            Self::Databases(databases) => Ok((databases.read(id).await?.map(Arc::new), DB_QUORUM)),
            Self::Store(store) => Ok((store.read(id).await?.map(Arc::new), Worth::of(store))),
            Self::Peer(peer) => Ok(peer.read(id).await?),
        }
    }

    /// Whether a conversation could go on now.
    pub(super) async fn check(&self) -> Result<(), Unavailable> {
        match self {
            Self::Local(_) => Ok(()),
            Self::Databases(databases) => Ok(databases.check().await?),
            Self::Store(store) => Ok(store.check().await?),
            Self::Peer(peer) => Ok(peer.check()?),
        }
    }

    /// Does what a memory does in the background, until the future is dropped.
    pub(super) async fn watch(&self) {
        match self {
            // A database of others that is gone is asked last, which needs nobody to watch it.
            Self::Local(_) | Self::Store(_) | Self::Peer(_) => {}
            Self::Databases(databases) => databases.watch().await,
        }
    }
}
