//! A member that lost its data must not come back under its old identity: raft would meet a voter that forgot its vote. Before
//! it starts it has the others strike it off and take it in anew. It knows no processes.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::gateway::{Error, Gateway, Listed};

/// Times that the others are asked to take it in: they refuse for five seconds after one of them was away.
const TRIES_MAX: u32 = 40;
const TRY_EVERY: Duration = Duration::from_millis(250);
/// Patience with one answer; a change of membership is a proposal like any other.
const ASK_MAX: Duration = Duration::from_secs(1);

/// How a member without data begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// With the others, who begin as well.
    New,
    /// In a cluster that has begun.
    Existing,
}

impl Beginning {
    /// The word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Existing => "existing",
        }
    }
}

/// What the list of members means for the one without data.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// It is a founder that has never run.
    Founder,
    /// It is expected, under a new identity.
    Expected,
    /// It has run under this identity.
    Old(u64),
    /// Nobody expects it.
    Unknown,
}

fn standing(members: &[Listed], me: &str) -> Standing {
    match members.iter().find(|member| member.peer_urls.iter().any(|url| url == me)) {
        None => Standing::Unknown,
        Some(member) if !member.client_urls.is_empty() => Standing::Old(member.id),
        // A founder has its name from the beginning, one that was added only once it has run.
        Some(member) if member.name.is_empty() => Standing::Expected,
        Some(_) => Standing::Founder,
    }
}

/// Finds out how to begin, and has the others do what is necessary for it.
pub(super) async fn begin(others: &[Gateway], me: &str) -> Beginning {
    let mut last = None;
    for _ in 0..TRIES_MAX {
        let mut reached = false;
        for other in others {
            match attempt(other, me).await {
                Ok(beginning) => return beginning,
                Err(Error::Connect(_)) => {}
                Err(error) => {
                    reached = true;
                    last = Some(error);
                }
            }
        }
        // Where nobody listens, nobody has begun yet.
        if !reached {
            break;
        }
        sleep(TRY_EVERY).await;
    }
    if let Some(error) = last {
        tracing::warn!("the others do not take this member in: {error}");
    }
    Beginning::New
}

async fn attempt(other: &Gateway, me: &str) -> Result<Beginning, Error> {
    match standing(&patiently(other.members()).await?, me) {
        Standing::Founder => return Ok(Beginning::New),
        Standing::Expected => return Ok(Beginning::Existing),
        Standing::Unknown => {}
        Standing::Old(id) => {
            tracing::info!("this member was {id:x} and lost its data: it comes back as another");
            patiently(other.remove(id)).await?;
        }
    }
    patiently(other.add(me)).await?;
    Ok(Beginning::Existing)
}

async fn patiently<T>(ask: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(ASK_MAX, ask).await.unwrap_or_else(|_| Err(Error::Http("no answer in time".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: &str = "http://10.10.2.32:2380";

    fn member(name: &str, client: &[&str]) -> Listed {
        Listed {
            id: 7,
            name: name.to_owned(),
            peer_urls: vec![ME.to_owned()],
            client_urls: client.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn only_one_that_has_run_is_struck_off() {
        assert_eq!(standing(&[member("db2", &["http://10.10.2.32:2379"])], ME), Standing::Old(7));
        assert_eq!(standing(&[member("db2", &[])], ME), Standing::Founder);
        assert_eq!(standing(&[member("", &[])], ME), Standing::Expected);
        assert_eq!(standing(&[], ME), Standing::Unknown);
    }

    #[tokio::test]
    async fn where_nobody_listens_a_cluster_begins() {
        let nobody = Gateway::new("http://127.0.0.1:1".to_owned());
        assert_eq!(begin(&[nobody], ME).await, Beginning::New);
    }
}
