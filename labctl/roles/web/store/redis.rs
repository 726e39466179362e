//! Conversations in Redis: one key a conversation, with how long it is, and a hash of its turns. A turn is put together with
//! the conversation's key by a script, which takes effect only if nobody changed that key meanwhile. Whom to ask, the
//! Sentinels say. The primary answers before any replica has heard of a turn: what is acknowledged may be lost with it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use redis::aio::MultiplexedConnection;
use redis::{RedisError, Value, cmd, pipe};

use super::kept::{Head, Kept, from_json, to_json};
use super::{Engine, Trouble};
use crate::conversation::{Command, ConversationId, Outcome, Transcript, TurnKey};
use crate::roles::db::Directory;
use crate::roles::redis::SITE;
use crate::roles::redis::speech::{Part, connect, part, sentinel_of};

/// Times that somebody else may be faster, in one attempt; each time a turn of his was taken.
const RACES_MAX: usize = 8;
/// What Redis says when its memory is full.
const FULL: &str = "OOM";
/// Puts a turn if the conversation is as it was, wholly or not at all.
const PUT: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
return 1";

/// The primary, and the Sentinels that know which it is.
pub(in crate::roles::web) struct Redis {
    sentinels: Vec<SocketAddr>,
    primary: Mutex<Option<MultiplexedConnection>>,
}

impl Redis {
    pub(super) fn new(directory: &Directory) -> Self {
        let sentinels = directory.seats().iter().map(sentinel_of).collect();
        Self { sentinels, primary: Mutex::default() }
    }

    fn keep(&self, connection: Option<MultiplexedConnection>) {
        *self.primary.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    /// The connection that worked last, or one to whom the Sentinel of this place names.
    async fn primary(&self, place: usize) -> Result<MultiplexedConnection, Trouble> {
        let open = self.primary.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(open) = open {
            return Ok(open);
        }
        let sentinel =
            self.sentinels.get(place).ok_or_else(|| Trouble::refused("there is no such database"))?;
        let mut sentinel = connect(*sentinel).await.map_err(Trouble::refused)?;
        let mut ask = cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(SITE);
        let (ip, port): (String, u16) = ask.query_async(&mut sentinel).await.map_err(Trouble::refused)?;
        let address = ip.parse().map_err(Trouble::refused)?;
        let mut primary = connect(SocketAddr::new(address, port)).await.map_err(Trouble::refused)?;
        // A Sentinel may not know yet that another was promoted, or the other not yet that it was.
        match part(&mut primary).await.map_err(Trouble::refused)? {
            Part::Primary(_) => Ok(primary),
            Part::Replica(_) => Err(Trouble::refused(format!("{ip} is a replica"))),
        }
    }

    /// Asks the primary something; a connection that did not answer is not asked again.
    async fn with<T>(
        &self,
        place: usize,
        ask: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut connection = self.primary(place).await?;
        // Whoever gives up waiting drops this future, and says nothing.
        let mut suspect = Suspect(Some(self));
        let answer = ask(&mut connection).await?;
        suspect.0 = None;
        self.keep(Some(connection));
        Ok(answer)
    }
}

/// A connection that is not asked again unless its answer comes.
struct Suspect<'a>(Option<&'a Redis>);

impl Drop for Suspect<'_> {
    fn drop(&mut self) {
        if let Some(redis) = self.0 {
            redis.keep(None);
        }
    }
}

async fn create(redis: &mut MultiplexedConnection, id: ConversationId) -> Result<Outcome, Trouble> {
    let mut set = cmd("SET");
    // One that exists was made by an attempt before this one: identifiers are never given out twice.
    set.arg(head_key(id)).arg(to_json(&Head::NEW)?).arg("NX");
    match set.query_async::<Value>(redis).await {
        Err(error) if error.code() == Some(FULL) => Ok(Outcome::StoreFull),
        done => Ok(done.map(|_| Outcome::Created)?),
    }
}

async fn append(
    redis: &mut MultiplexedConnection,
    id: ConversationId,
    key: &TurnKey,
    body: &str,
) -> Result<Outcome, Trouble> {
    let (head_key, turns_key) = (head_key(id), turns_key(id));
    for _ in 0..RACES_MAX {
        let mut look = pipe();
        look.atomic().get(&head_key).hget(&turns_key, key.as_str());
        let (head, turn): (Option<Vec<u8>>, Option<Vec<u8>>) = look.query_async(redis).await?;
        let Some(head) = head else { return Ok(Outcome::NoSuchConversation) };
        if let Some(turn) = turn {
            return Ok(from_json::<Kept>(&turn)?.again(body));
        }
        let (turn, longer) = match from_json::<Head>(&head)?.next(key, body) {
            Ok(both) => both,
            Err(refused) => return Ok(refused),
        };
        let mut put = cmd("EVAL");
        put.arg(PUT).arg(2).arg(&head_key).arg(&turns_key);
        put.arg(&head).arg(to_json(&longer)?).arg(key.as_str()).arg(to_json(&turn)?);
        match put.query_async::<bool>(redis).await {
            Ok(true) => return Ok(Outcome::Appended { position: turn.position, digest: turn.digest }),
            Ok(false) => {}
            Err(error) if error.code() == Some(FULL) => return Ok(Outcome::StoreFull),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Trouble::refused("others said something all the time"))
}

async fn whole(redis: &mut MultiplexedConnection, id: ConversationId) -> Result<Option<Transcript>, Trouble> {
    let mut look = pipe();
    look.atomic().get(head_key(id)).hgetall(turns_key(id));
    let (head, turns): (Option<Vec<u8>>, HashMap<String, Vec<u8>>) = look.query_async(redis).await?;
    let Some(head) = head else { return Ok(None) };
    let turns =
        turns.into_iter().map(|(key, turn)| Ok((key.parse().map_err(Trouble::refused)?, from_json(&turn)?)));
    from_json::<Head>(&head)?.whole(turns.collect::<Result<_, Trouble>>()?).map(Some)
}

impl Engine for Redis {
    const DURABILITY: &'static str = "db-async";

    async fn apply(&self, place: usize, command: &Command) -> Result<Outcome, Trouble> {
        match command {
            Command::Create { id } => self.with(place, async |redis| create(redis, *id).await).await,
            Command::AppendTurn { id, key, body } => {
                self.with(place, async |redis| append(redis, *id, key, body).await).await
            }
        }
    }

    /// Whatever the primary has; one that was replaced and does not know it yet has something else.
    async fn read(&self, place: usize, id: ConversationId) -> Result<Option<Transcript>, Trouble> {
        self.with(place, async |redis| whole(redis, id).await).await
    }

    async fn check(&self, place: usize) -> Result<(), Trouble> {
        self.with(place, async |redis| Ok(cmd("PING").query_async::<()>(redis).await?)).await
    }
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        // What it refuses in words it has not done: a command or a script is done wholly or not at all.
        let refused = error.code().is_some();
        Self { may_be_done: !refused, why: crate::roles::described(&error) }
    }
}

fn head_key(id: ConversationId) -> String {
    format!("labctl:conversation:{id}")
}

fn turns_key(id: ConversationId) -> String {
    format!("labctl:turns:{id}")
}
