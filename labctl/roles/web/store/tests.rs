//! Clients of databases that others wrote. What is common is tried with engines that fail as they are told to; each client is
//! held to our own store, on the real program where that is installed.

use std::ffi::OsStr;
use std::process::{Child, Stdio};
use std::sync::Mutex;

use super::*;
use crate::conversation::{self, Digest, TURN_BYTES_MAX, TurnKey};
use crate::kernel::process::{Spawn, find_program};
use crate::roles::db::tests::cluster;
use crate::topology::Memory;

/// Turns of a conversation that has more than one page.
const TURNS: usize = 150;
/// Turns that each of two says at once.
const AT_ONCE: usize = 20;

/// An engine whose databases answer as they are told, in the order of the questions.
struct Told {
    answers: Mutex<Vec<Result<Outcome, Trouble>>>,
    asked: Mutex<Vec<usize>>,
}

impl Engine for Told {
    const DURABILITY: &'static str = "none";

    async fn apply(&self, place: usize, _: &Command) -> Result<Outcome, Trouble> {
        self.asked.lock().unwrap().push(place);
        self.answers.lock().unwrap().remove(0)
    }

    async fn read(&self, _: usize, _: ConversationId) -> Result<Option<Transcript>, Trouble> {
        Ok(None)
    }

    async fn check(&self, _: usize) -> Result<(), Trouble> {
        Ok(())
    }
}

fn told(answers: &[Result<Outcome, Trouble>]) -> Client<Told> {
    let directory = Directory::of(&cluster::topology(3, Memory::Database));
    let engine = Told { answers: Mutex::new(answers.to_vec()), asked: Mutex::default() };
    Client::new(engine, &directory, 1)
}

const ID: [u8; 16] = [3; 16];

fn turn(key: &str, body: &str) -> Command {
    let (id, key) = (ConversationId::from(ID), key.parse::<TurnKey>().unwrap());
    Command::AppendTurn { id, key, body: body.to_owned() }
}

#[tokio::test]
async fn what_an_own_attempt_has_done_is_no_replay() {
    let (position, digest) = (0, Digest::EMPTY);
    let replayed = Outcome::Replayed { position, digest };
    let client = told(&[Err(Trouble::unknown("silence")), Ok(replayed.clone())]);
    assert_eq!(client.apply(turn("a", "x")).await.unwrap(), Outcome::Appended { position, digest });
    let client = told(&[Err(Trouble::refused("not the primary")), Ok(replayed.clone())]);
    assert_eq!(client.apply(turn("a", "x")).await.unwrap(), replayed);
}

#[tokio::test]
async fn whoever_answered_last_is_asked_first() {
    let no = || Err(Trouble::refused("not the primary"));
    let client = told(&[no(), no(), Ok(Outcome::Created), Ok(Outcome::Created), no(), Ok(Outcome::Created)]);
    for _ in 0..3 {
        client.apply(turn("a", "x")).await.unwrap();
    }
    assert_eq!(*client.engine.asked.lock().unwrap(), [1, 2, 0, 0, 0, 1]);
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program that is installed.
fn start(program: &str, args: &[String]) -> Option<Running> {
    let Some(path) = find_program(program) else {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "skipped: no {program}");
        return None;
    };
    let spawn = Spawn {
        program: path.as_os_str(),
        args: args.iter().map(OsStr::new).collect(),
        die_with_parent: true,
        stdout: Stdio::null(),
        stderr: Stdio::null(),
        ..Spawn::own(&[])
    };
    Some(Running(spawn.start().unwrap()))
}

/// The same commands for a client and for our own store.
struct Both<E: Engine> {
    client: Client<E>,
    ours: conversation::Store,
}

impl<E: Engine> Both<E> {
    async fn agree(&mut self, command: Command) -> Outcome {
        let theirs = self.client.apply(command.clone()).await.unwrap();
        assert_eq!(theirs, self.ours.apply(command));
        theirs
    }
}

/// Everything that a turn can lead to but full stores; `engine` gives one more client of the same database.
async fn is_like_our_own_store<E: Engine>(directory: &Directory, engine: impl Fn() -> E) {
    let client = || Client::new(engine(), directory, 0);
    let id = ConversationId::from(ID);
    let mut both = Both { client: client(), ours: conversation::Store::default() };
    cluster::eventually("the database works", async || both.client.check().await).await;

    assert_eq!(both.agree(turn("early", "x")).await, Outcome::NoSuchConversation);
    assert_eq!(both.client.read(id).await.unwrap(), None);
    both.agree(Command::Create { id }).await;
    assert_eq!(both.client.read(id).await.unwrap(), Some(Transcript::default()));
    for number in 0..TURNS {
        both.agree(turn(&format!("key/{number}"), &format!("wörds \"{number}\" \0"))).await;
    }
    both.agree(turn("key/3", "wörds \"3\" \0")).await;
    assert_eq!(both.agree(turn("key/3", "others")).await, Outcome::KeyReused);
    both.agree(turn("long", &"x".repeat(TURN_BYTES_MAX))).await;
    assert_eq!(both.agree(turn("longer", &"x".repeat(TURN_BYTES_MAX + 1))).await, Outcome::TurnTooLong);
    both.agree(Command::Create { id }).await;
    let whole = both.client.read(id).await.unwrap().unwrap();
    assert_eq!(&whole, both.ours.get(&id).unwrap().as_ref());

    let (one, other) = (client(), client());
    let say = async |client: &Client<E>, name: &str| {
        for number in 0..AT_ONCE {
            let said = client.apply(turn(&format!("{name}-{number}"), "at once")).await.unwrap();
            assert!(matches!(said, Outcome::Appended { .. }), "{said:?}");
        }
    };
    tokio::join!(say(&one, "one"), say(&other, "other"));
    // Its digest is right, or it could not be read.
    assert_eq!(one.read(id).await.unwrap().unwrap().turns().len(), TURNS + 1 + 2 * AT_ONCE);
}

#[tokio::test]
async fn etcd_is_like_our_own_store() {
    let directory = Directory::of(&cluster::topology(1, Memory::Database));
    let folder = tempfile::tempdir().unwrap();
    let client = crate::roles::etcd::client_url(&directory.seats()[0]);
    let peer = client.replace("2379", "2380");
    let args = [
        format!("--data-dir={}", folder.path().display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
    ];
    let Some(_running) = start("etcd", &args) else { return };
    is_like_our_own_store(&directory, || Etcd::new(&directory)).await;
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn redis_is_like_our_own_store() {
    let directory = Directory::of(&cluster::topology(1, Memory::Database));
    let folder = tempfile::tempdir().unwrap();
    let ip = directory.seats()[0].address.ip();
    let dir = folder.path().display();
    let server = ["--bind", &ip.to_string(), "--dir", &dir.to_string(), "--save", ""].map(str::to_owned);
    let file = folder.path().join("sentinel.conf");
    let text = format!("bind {ip}\nport 26379\nprotected-mode no\nsentinel monitor site {ip} 6379 1\n");
    std::fs::write(&file, text).unwrap();
    let Some(_server) = start("redis-server", &server) else { return };
    let Some(_sentinel) = start("redis-sentinel", &[file.display().to_string()]) else { return };
    is_like_our_own_store(&directory, || redis::Redis::new(&directory)).await;
}
