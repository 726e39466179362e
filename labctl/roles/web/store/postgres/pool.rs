//! Connections to one PostgreSQL while it is the primary, and the transactions on them. It knows no tables but by their
//! statements.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Statement};

use super::{APPENDED, HEAD, HEAD_LOCKED, LONGER, MARK, NEW, TURN, TURNS, Trouble, refused, unknown};
use crate::topology::POSTGRES_PORT;

/// The webs' user, as roles/patroni/schema.sql made it, and the database that every PostgreSQL begins with.
const USER: &str = "labctl";
const DATABASE: &str = "postgres";
/// Most connections of one web. A hundred are allowed, and those that a dead web leaves behind count for some seconds.
const CONNECTIONS_MAX: usize = 16;
/// Patience with a machine that does not take a connection, and with its first words.
const CONNECT_MAX: Duration = Duration::from_millis(300);
/// Rest after a connection was refused: each costs the database a process, and a standby stays one for a while.
const REST: Duration = Duration::from_millis(100);

/// The connections to one PostgreSQL.
pub(super) struct Pool {
    config: Config,
    /// How many must keep what this one keeps.
    standbys: i64,
    permits: Semaphore,
    idle: Mutex<Vec<Session>>,
    /// Why the last attempt to connect failed, and when. One at a time connects.
    refusal: tokio::sync::Mutex<Option<(Instant, Trouble)>>,
}

impl Pool {
    pub(super) fn new(ip: IpAddr, standbys: i64) -> Self {
        let mut config = Config::new();
        config.host(ip.to_string()).port(POSTGRES_PORT).user(USER).dbname(DATABASE).application_name("web");
        config.connect_timeout(CONNECT_MAX).target_session_attrs(TargetSessionAttrs::ReadWrite);
        Self {
            config,
            standbys,
            permits: Semaphore::new(CONNECTIONS_MAX),
            idle: Mutex::default(),
            refusal: tokio::sync::Mutex::default(),
        }
    }

    /// A connection that nobody else uses. If it is dropped and not given back, as after an error or in vain, it is closed,
    /// and so are those that nobody uses: what became of one may have become of all.
    pub(super) async fn take(&self) -> Result<Connection<'_>, Trouble> {
        let permit = self.permits.acquire().await.map_err(Trouble::refused)?;
        let idle = loop {
            match self.idle().pop() {
                Some(session) if session.client.is_closed() => {}
                other => break other,
            }
        };
        let session = match idle {
            Some(session) => session,
            None => self.connect().await?,
        };
        let doubt = Doubt { pool: self, settled: false };
        Ok(Connection { session, doubt, _permit: permit })
    }

    async fn connect(&self) -> Result<Session, Trouble> {
        let mut refusal = self.refusal.lock().await;
        if let Some((_, why)) = refusal.as_ref().filter(|(at, _)| at.elapsed() < REST) {
            return Err(why.clone());
        }
        let session = match timeout(CONNECT_MAX, Session::open(&self.config)).await {
            Ok(session) => session,
            Err(_) => Err(Trouble::refused("it does not answer")),
        };
        *refusal = session.as_ref().err().map(|why| (Instant::now(), why.clone()));
        session
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One conversation with one PostgreSQL.
struct Session {
    client: Client,
    statements: Statements,
    warned: Arc<AtomicBool>,
}

/// What is said on every connection again and again.
pub(super) struct Statements {
    mark: Statement,
    pub(super) head: Statement,
    pub(super) head_locked: Statement,
    pub(super) turn: Statement,
    pub(super) turns: Statement,
    pub(super) new: Statement,
    pub(super) longer: Statement,
    pub(super) appended: Statement,
}

impl Session {
    async fn open(config: &Config) -> Result<Self, Trouble> {
        let (client, mut connection) = config.connect(NoTls).await.map_err(refused)?;
        let warned = Arc::new(AtomicBool::new(false));
        let warning = warned.clone();
        // Ends with the connection, which ends when the client is dropped.
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notice(notice) = message {
                    tracing::warn!("PostgreSQL warns: {}", notice.message());
                    warning.store(true, Ordering::Release);
                }
            }
        });
        let prepare = async |text| client.prepare(text).await.map_err(refused);
        let (mark, head, head_locked, turn, turns, new, longer, appended) = tokio::try_join!(
            prepare(MARK),
            prepare(HEAD),
            prepare(HEAD_LOCKED),
            prepare(TURN),
            prepare(TURNS),
            prepare(NEW),
            prepare(LONGER),
            prepare(APPENDED),
        )?;
        let statements = Statements { mark, head, head_locked, turn, turns, new, longer, appended };
        Ok(Self { client, statements, warned })
    }
}

/// A connection in use.
pub(super) struct Connection<'a> {
    session: Session,
    doubt: Doubt<'a>,
    _permit: SemaphorePermit<'a>,
}

impl Connection<'_> {
    pub(super) fn client(&self) -> &Client {
        &self.session.client
    }

    pub(super) fn statements(&self) -> &Statements {
        &self.session.statements
    }

    /// Begins a transaction that leaves its mark and does the rest, all in one way there and back.
    pub(super) async fn begin<T>(
        &self,
        begin: &str,
        rest: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let begun = async { self.client().batch_execute(begin).await.map_err(refused) };
        tokio::try_join!(biased; begun, self.mark(), rest).map(|((), (), rest)| rest)
    }

    async fn mark(&self) -> Result<(), Trouble> {
        let row = self.client().query_one(&self.statements().mark, &[]).await.map_err(refused)?;
        let standbys: i64 = row.try_get(1).map_err(refused)?;
        if standbys >= self.doubt.pool.standbys {
            return Ok(());
        }
        let why = Trouble::refused("the primary has no standby that keeps what it keeps");
        *self.doubt.pool.refusal.lock().await = Some((Instant::now(), why.clone()));
        Err(why)
    }

    /// Ends a transaction in which all went well.
    pub(super) async fn commit(&self) -> Result<(), Trouble> {
        self.client().batch_execute("COMMIT").await.map_err(unknown)?;
        self.committed(())
    }

    /// What follows from a transaction that ended well. PostgreSQL only warns of one that ended without the standby.
    pub(super) fn committed<T>(&self, outcome: T) -> Result<T, Trouble> {
        match self.session.warned.load(Ordering::Acquire) {
            false => Ok(outcome),
            true => Err(Trouble::unknown("the primary warned that the standby may not have it")),
        }
    }

    /// For the next question.
    pub(super) fn give_back(self) {
        let Self { session, mut doubt, .. } = self;
        doubt.settled = true;
        doubt.pool.idle().push(session);
    }
}

/// That a connection ends in doubt, unless it is settled: the idle ones end with it.
struct Doubt<'a> {
    pool: &'a Pool,
    settled: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.pool.idle().clear();
        }
    }
}
