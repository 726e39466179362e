//! Where a web node keeps conversations: by itself or in the databases. It knows nothing of HTTP.

use std::sync::{Mutex, PoisonError};

use super::databases::{Databases, NoAnswer};
use crate::conversation::{Command, ConversationId, Outcome, Store, Transcript};
use crate::roles::Site;
use crate::roles::db::Directory;
use crate::topology::{self, Role};

/// A memory.
pub(super) enum Memory {
    /// In this process only. It ends with the process, and the other web node knows nothing of it.
    Local(Mutex<Store>),
    /// In the replicated database.
    Databases(Databases),
}

impl Memory {
    /// The memory that the topology asks for.
    pub(super) fn of(site: &Site) -> Self {
        match site.topology.conversation.memory {
            topology::Memory::None => Self::Local(Mutex::default()),
            topology::Memory::Database => {
                let directory = Directory::of(&site.topology);
                // That of its own machine, if it shares one.
                let near = directory.place_of(&site.me);
                let favourite = || site.topology.nodes_of(Role::Web).position(|web| web.name == site.me);
                Self::Databases(Databases::new(&directory, near.or_else(favourite).unwrap_or(0)))
            }
        }
    }

    /// The word of the topology.
    pub(super) fn mode(&self) -> &'static str {
        match self {
            Self::Local(_) => "none",
            Self::Databases(_) => "database",
        }
    }

    /// What an acknowledged turn survives.
    pub(super) fn durability(&self) -> &'static str {
        match self {
            Self::Local(_) => "local",
            Self::Databases(_) => "db-quorum",
        }
    }

    /// Carries out a command.
    pub(super) async fn apply(&self, command: Command) -> Result<Outcome, NoAnswer> {
        match self {
            Self::Local(store) => Ok(store.lock().unwrap_or_else(PoisonError::into_inner).apply(command)),
            Self::Databases(databases) => databases.apply(command).await,
        }
    }

    /// Reads a conversation.
    pub(super) async fn read(&self, id: ConversationId) -> Result<Option<Transcript>, NoAnswer> {
        match self {
            Self::Local(store) => {
                let store = store.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(store.get(&id).map(|transcript| transcript.as_ref().clone()))
            }
            Self::Databases(databases) => databases.read(id).await,
        }
    }

    /// Whether a conversation could go on now.
    pub(super) async fn check(&self) -> Result<(), NoAnswer> {
        match self {
            Self::Local(_) => Ok(()),
            Self::Databases(databases) => databases.check().await,
        }
    }

    /// Does what a memory does in the background, until the future is dropped.
    pub(super) async fn watch(&self) {
        match self {
            Self::Local(_) => {}
            Self::Databases(databases) => databases.watch().await,
        }
    }
}
