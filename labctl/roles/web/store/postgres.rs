//! Conversations in PostgreSQL: one row a conversation, one a turn, and every question in a transaction of its own.
//!
//! Every transaction writes something, so that its end waits for the standby. What it saw is then on the standby, too: a primary
//! that was deposed without knowing it has no standby any more and answers nothing, and a turn that its primary committed alone,
//! because it was killed while it waited, is never shown nor replayed before the standby has it.

mod pool;

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use self::pool::{Connection, Pool};
use super::kept::{Head, Kept};
use super::{Engine, Trouble};
use crate::conversation::{Command, ConversationId, Digest, Outcome, TURN_BYTES_MAX, Transcript, TurnKey};
use crate::roles::db::{Directory, Seat};
use crate::roles::patroni::standbys;

/// Patience with one database: longer than it may wait for a lock, or somebody for a connection to it.
const ATTEMPT_MAX: Duration = Duration::from_millis(1_000);

/// Leaves a mark in the log of changes, which needs no table, and counts the standbys that are waited for. A transaction that
/// waits for one that is not there can be ended by nobody but the primary's end, so none is begun.
const MARK: &str = "SELECT pg_logical_emit_message(true, 'labctl', '') IS NOT NULL, \
                    (SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync')";
const HEAD: &str = "SELECT turns, digest FROM conversations WHERE id = $1";
const HEAD_LOCKED: &str = "SELECT turns, digest FROM conversations WHERE id = $1 FOR UPDATE";
const TURN: &str = "SELECT position, body, digest FROM turns WHERE conversation = $1 AND key = $2";
const TURNS: &str = "SELECT position, body, digest, key FROM turns WHERE conversation = $1 ORDER BY position";
const NEW: &str = "INSERT INTO conversations (id, turns, digest) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
const LONGER: &str = "UPDATE conversations SET turns = $2, digest = $3 WHERE id = $1";
const APPENDED: &str =
    "INSERT INTO turns (conversation, position, key, body, digest) VALUES ($1, $2, $3, $4, $5)";

/// What goes into a statement.
type Value<'a> = dyn ToSql + Sync + 'a;

/// PostgreSQL on the database nodes, of which one is the primary.
pub(in crate::roles::web) struct Postgres {
    pools: Vec<Pool>,
}

impl Postgres {
    pub(super) fn new(directory: &Directory) -> Self {
        let pool = |seat: &Seat| Pool::new(seat.address.ip(), standbys(directory) as i64);
        Self { pools: directory.seats().iter().map(pool).collect() }
    }

    fn pool(&self, place: usize) -> Result<&Pool, Trouble> {
        self.pools.get(place).ok_or_else(|| Trouble::refused("there is no such database"))
    }
}

impl Engine for Postgres {
    /// On the disks of the primary and of the standbys of which one may take over from it, which are a majority together.
    const DURABILITY: &'static str = "db-quorum";
    const ATTEMPT_MAX: Duration = ATTEMPT_MAX;

    async fn apply(&self, place: usize, command: &Command) -> Result<Outcome, Trouble> {
        let db = self.pool(place)?.take().await?;
        let outcome = match command {
            Command::Create { id } => create(&db, *id).await,
            Command::AppendTurn { id, key, body } => append(&db, *id, key, body).await,
        }?;
        db.give_back();
        Ok(outcome)
    }

    async fn read(&self, place: usize, id: ConversationId) -> Result<Option<Transcript>, Trouble> {
        let db = self.pool(place)?.take().await?;
        let transcript = transcript(&db, id).await?;
        db.give_back();
        Ok(transcript)
    }

    async fn check(&self, place: usize) -> Result<(), Trouble> {
        let db = self.pool(place)?.take().await?;
        db.begin("BEGIN", async { Ok(()) }).await?;
        db.commit().await?;
        db.give_back();
        Ok(())
    }
}

async fn create(db: &Connection<'_>, id: ConversationId) -> Result<Outcome, Trouble> {
    let Head { turns, digest } = Head::NEW;
    let (client, new) = (db.client(), &db.statements().new);
    let row: [&Value<'_>; 3] = [&id.as_bytes(), &(turns as i64), &digest.as_bytes()];
    db.begin("BEGIN", async { Ok(()) }).await?;
    // One that exists was made by an attempt before this one: identifiers are never given out twice.
    let done = tokio::try_join!(biased; client.execute(new, &row), client.batch_execute("COMMIT"));
    match done {
        Ok(_) => db.committed(Outcome::Created),
        Err(error) => full_or_unknown(error),
    }
}

async fn append(
    db: &Connection<'_>,
    id: ConversationId,
    key: &TurnKey,
    body: &str,
) -> Result<Outcome, Trouble> {
    if body.len() > TURN_BYTES_MAX {
        return Ok(Outcome::TurnTooLong);
    }
    let (client, say) = (db.client(), db.statements());
    let (id, name) = (id.as_bytes(), key.as_str());
    let found = async {
        let named: [&Value<'_>; 2] = [&id, &name];
        tokio::try_join!(
            biased;
            client.query_opt(&say.head_locked, &named[..1]),
            client.query_opt(&say.turn, &named),
        )
        .map_err(refused)
    };
    let (head, turn) = db.begin("BEGIN", found).await?;
    let settled = match (&head, &turn) {
        (None, _) => Err(Outcome::NoSuchConversation),
        (Some(_), Some(turn)) => Err(kept(turn)?.again(body)),
        (Some(head), None) => head_of(head)?.next(key, body),
    };
    let (turn, longer) = match settled {
        Ok(both) => both,
        Err(outcome) => {
            db.commit().await?;
            return Ok(outcome);
        }
    };
    let position = turn.position as i64;
    let (digest, body, turns) = (turn.digest.as_bytes(), body.as_bytes(), longer.turns as i64);
    let row: [&Value<'_>; 5] = [&id, &position, &name, &body, &digest];
    let longer: [&Value<'_>; 3] = [&id, &turns, &digest];
    let done = tokio::try_join!(
        biased;
        client.execute(&say.appended, &row),
        client.execute(&say.longer, &longer),
        client.batch_execute("COMMIT"),
    );
    match done {
        Ok(_) => db.committed(Outcome::Appended { position: turn.position, digest: turn.digest }),
        Err(error) => full_or_unknown(error),
    }
}

async fn transcript(db: &Connection<'_>, id: ConversationId) -> Result<Option<Transcript>, Trouble> {
    let (client, say, id) = (db.client(), db.statements(), id.as_bytes());
    let found = async {
        let named: [&Value<'_>; 1] = [&id];
        tokio::try_join!(biased; client.query_opt(&say.head, &named), client.query(&say.turns, &named))
            .map_err(refused)
    };
    let (head, turns) = db.begin("BEGIN ISOLATION LEVEL REPEATABLE READ", found).await?;
    db.commit().await?;
    let Some(head) = head else { return Ok(None) };
    let turn = |row: &Row| {
        let name: String = row.try_get(3).map_err(refused)?;
        Ok((name.parse().map_err(Trouble::refused)?, kept(row)?))
    };
    let turns = turns.iter().map(turn).collect::<Result<Vec<_>, Trouble>>()?;
    head_of(&head)?.whole(turns).map(Some)
}

/// Before the transaction is asked to end, an error means that it has not.
fn refused(error: Error) -> Trouble {
    Trouble::refused(crate::roles::described(&error))
}

/// From then on nobody knows.
fn unknown(error: Error) -> Trouble {
    Trouble::unknown(crate::roles::described(&error))
}

fn full_or_unknown(error: Error) -> Result<Outcome, Trouble> {
    match error.code() {
        Some(code) if *code == SqlState::DISK_FULL => Ok(Outcome::StoreFull),
        _ => Err(unknown(error)),
    }
}

fn head_of(row: &Row) -> Result<Head, Trouble> {
    let turns: i64 = row.try_get(0).map_err(refused)?;
    Ok(Head { turns: turns as u64, digest: digest(row, 1)? })
}

fn kept(row: &Row) -> Result<Kept, Trouble> {
    let position: i64 = row.try_get(0).map_err(refused)?;
    let body = String::from_utf8(row.try_get(1).map_err(refused)?).map_err(Trouble::refused)?;
    Ok(Kept { position: position as u64, body, digest: digest(row, 2)? })
}

fn digest(row: &Row, column: usize) -> Result<Digest, Trouble> {
    let bytes: &[u8] = row.try_get(column).map_err(refused)?;
    let bytes: [u8; 32] = bytes.try_into().map_err(Trouble::refused)?;
    Ok(bytes.into())
}
