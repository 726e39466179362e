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

/// Another member.
#[derive(Debug)]
pub(super) struct Other {
    /// Where clients ask it.
    pub(super) gateway: Gateway,
    /// Where its peers do.
    pub(super) peer_url: String,
}

/// Finds out how to begin, and has the others do what is necessary for it.
pub(super) async fn begin(others: &[Other], me: &str) -> Beginning {
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

async fn attempt(other: &Other, me: &str) -> Result<Beginning, Error> {
    let Other { gateway, peer_url } = other;
    // One that waits for its first leader answers no client, and may wait for nobody but this member.
    if !patiently(gateway.has_served(peer_url)).await? {
        return Ok(Beginning::New);
    }
    match standing(&patiently(gateway.members()).await?, me) {
        Standing::Founder => return Ok(Beginning::New),
        Standing::Expected => return Ok(Beginning::Existing),
        Standing::Unknown => {}
        Standing::Old(id) => {
            tracing::info!("this member was {id:x} and lost its data: it comes back as another");
            patiently(gateway.remove(id)).await?;
        }
    }
    patiently(gateway.add(me)).await?;
    Ok(Beginning::Existing)
}

async fn patiently<T>(ask: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(ASK_MAX, ask).await.unwrap_or_else(|_| Err(Error::Http("no answer in time".to_owned())))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

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

    /// A member that is not there.
    const NOBODY: &str = "http://127.0.0.1:1";

    #[tokio::test]
    async fn where_nobody_listens_a_cluster_begins() {
        let nobody = Other { gateway: Gateway::new(NOBODY.to_owned()), peer_url: NOBODY.to_owned() };
        assert_eq!(begin(&[nobody], ME).await, Beginning::New);
    }

    /// Where somebody takes connections, and answers every request with that if there is something to answer.
    async fn listening(answer: Option<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(answer) = answer else {
                    silent.push(stream);
                    continue;
                };
                let _ = stream.read(&mut [0; 4096]).await;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
                let _ = stream.write_all((head + answer).as_bytes()).await;
            }
        });
        url
    }

    #[tokio::test]
    async fn the_first_to_run_waits_for_this_member_and_not_the_other_way_round() {
        let founders = r#"[{"id":2841694871084752020,"peerURLs":["http://10.10.2.31:2380"],"name":"db1"}]"#;
        let (clients, peers) = (listening(None).await, listening(Some(founders)).await);
        let first = Other { gateway: Gateway::new(clients), peer_url: peers };
        let begun = timeout(ASK_MAX, begin(&[first], ME)).await;
        assert_eq!(begun.ok(), Some(Beginning::New));
    }

    #[tokio::test]
    async fn a_cluster_that_has_served_is_asked_whether_it_knows_this_member() {
        let served = r#"[{"id":1,"name":"db1","clientURLs":["http://10.10.2.31:2379"]}]"#;
        let members = r#"{"members":[{"ID":"1","name":"db1","clientURLs":["http://10.10.2.31:2379"]}]}"#;
        let clients = listening(Some(members)).await;
        let other = Other { gateway: Gateway::new(clients), peer_url: listening(Some(served)).await };
        assert_eq!(begin(&[other], ME).await, Beginning::Existing);
    }
}
