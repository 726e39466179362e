//! Conversations in etcd: one key a conversation, with how long it is, and one a turn. A turn is put together with the
//! conversation's key in one transaction, which takes effect only if nobody changed that key meanwhile.

use super::kept::{Head, Kept, from_json, to_json};
use super::{Engine, Trouble};
use crate::conversation::{Command, ConversationId, Outcome, Transcript, TurnKey};
use crate::roles::db::Directory;
use crate::roles::etcd::client_url;
use crate::roles::etcd::gateway::{Error, Gateway, Pair, Part, Range, Unchanged};

/// Turns that are read at once: with the longest texts, about a megabyte.
const PAGE_TURNS: u64 = 128;
/// Times that somebody else may be faster, in one attempt; each time a turn of his was taken.
const RACES_MAX: usize = 8;

/// The members of etcd.
pub(in crate::roles::web) struct Etcd {
    members: Vec<Gateway>,
}

impl Etcd {
    pub(super) fn new(directory: &Directory) -> Self {
        Self { members: directory.seats().iter().map(|seat| Gateway::new(client_url(seat))).collect() }
    }

    async fn create(&self, member: &Gateway, id: ConversationId) -> Result<Outcome, Trouble> {
        let key = head_key(id);
        let put = Part::RequestPut { key: key.as_str().into(), value: to_json(&Head::NEW)?.into() };
        // One that exists was made by an attempt before this one: identifiers are never given out twice.
        match member.transact(&[Unchanged::since(&key, 0)], &[put]).await {
            Err(Error::Full(_)) => Ok(Outcome::StoreFull),
            done => Ok(done.map(|_| Outcome::Created)?),
        }
    }

    async fn append(
        &self,
        member: &Gateway,
        id: ConversationId,
        key: &TurnKey,
        body: &str,
    ) -> Result<Outcome, Trouble> {
        let (head_key, turn_key) = (head_key(id), turn_key(id, key));
        for _ in 0..RACES_MAX {
            let both = [head_key.as_str(), turn_key.as_str()]
                .map(|key| Part::RequestRange(Range { key: key.into(), ..Range::default() }));
            let mut found =
                member.transact(&[], &both).await?.ranges().map(|range| range.kvs.into_iter().next());
            let (head, turn) = (found.next().flatten(), found.next().flatten());
            let Some(head) = head else { return Ok(Outcome::NoSuchConversation) };
            if let Some(turn) = turn {
                return Ok(from_json::<Kept>(&turn.value.0)?.again(body));
            }
            let (turn, longer) = match from_json::<Head>(&head.value.0)?.next(key, body) {
                Ok(both) => both,
                Err(refused) => return Ok(refused),
            };
            let puts = [
                Part::RequestPut { key: head_key.as_str().into(), value: to_json(&longer)?.into() },
                Part::RequestPut { key: turn_key.as_str().into(), value: to_json(&turn)?.into() },
            ];
            let unchanged = [Unchanged::since(&head_key, head.mod_revision)];
            match member.transact(&unchanged, &puts).await {
                Ok(done) if done.succeeded => {
                    return Ok(Outcome::Appended { position: turn.position, digest: turn.digest });
                }
                Ok(_) => {}
                Err(Error::Full(_)) => return Ok(Outcome::StoreFull),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Trouble::refused("others said something all the time"))
    }

    fn member(&self, place: usize) -> Result<&Gateway, Trouble> {
        self.members.get(place).ok_or_else(|| Trouble::refused("there is no such database"))
    }
}

impl Engine for Etcd {
    const DURABILITY: &'static str = "db-quorum";

    async fn apply(&self, place: usize, command: &Command) -> Result<Outcome, Trouble> {
        let member = self.member(place)?;
        match command {
            Command::Create { id } => self.create(member, *id).await,
            Command::AppendTurn { id, key, body } => self.append(member, *id, key, body).await,
        }
    }

    /// A transcript that is longer than a page is read as it was at the first one.
    async fn read(&self, place: usize, id: ConversationId) -> Result<Option<Transcript>, Trouble> {
        let member = self.member(place)?;
        let head = member.range(&Range { key: head_key(id).into(), ..Range::default() }).await?;
        let revision = head.revision();
        let Some(head) = head.kvs.first() else { return Ok(None) };
        let head: Head = from_json(&head.value.0)?;
        let prefix = turns_prefix(id);
        let mut turns: Vec<(TurnKey, Kept)> = Vec::new();
        let mut from = prefix.clone();
        loop {
            let range = Range {
                key: from.as_str().into(),
                range_end: Some(end_of(&prefix).into()),
                limit: PAGE_TURNS,
                revision,
            };
            let page = member.range(&range).await?;
            for pair in &page.kvs {
                turns.push((name_of(pair, &prefix)?, from_json(&pair.value.0)?));
            }
            match turns.last() {
                // The next possible key: keys have no zero bytes.
                Some((last, _)) if page.more => from = format!("{prefix}{last}\0"),
                _ => break,
            }
        }
        head.whole(turns).map(Some)
    }

    async fn check(&self, place: usize) -> Result<(), Trouble> {
        let range = Range { key: "labctl/".into(), limit: 1, ..Range::default() };
        self.member(place)?.range(&range).await?;
        Ok(())
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self { may_be_done: error.may_be_done(), why: crate::roles::described(&error) }
    }
}

fn head_key(id: ConversationId) -> String {
    format!("labctl/conversations/{id}")
}

fn turns_prefix(id: ConversationId) -> String {
    format!("labctl/turns/{id}/")
}

fn turn_key(id: ConversationId, key: &TurnKey) -> String {
    format!("{}{key}", turns_prefix(id))
}

/// The first key behind all that begin with this prefix, which ends with a slash.
fn end_of(prefix: &str) -> String {
    format!("{}0", prefix.strip_suffix('/').unwrap_or(prefix))
}

fn name_of(pair: &Pair, prefix: &str) -> Result<TurnKey, Trouble> {
    let text = std::str::from_utf8(&pair.key.0).ok().and_then(|key| key.strip_prefix(prefix));
    text.and_then(|name| name.parse().ok()).ok_or_else(|| Trouble::refused("a turn without a key"))
}
