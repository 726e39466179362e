//! One member of etcd 3.4 by its gateway: gRPC as JSON over HTTP. It knows requests and answers, not what keys mean.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Patience with a machine that does not take a connection.
const CONNECT_MAX: Duration = Duration::from_millis(150);
/// gRPC's numbers of the errors that matter here.
const RESOURCE_EXHAUSTED: i64 = 8;
/// What it says where a proposal found no leader to go to.
const NO_LEADER: &str = "etcdserver: no leader";

/// Which member, by the number that the cluster gave it.
pub(in crate::roles) type MemberId = u64;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::roles) enum Error {
    /// Nothing was asked.
    #[error("connect to etcd: {0}")]
    Connect(String),
    /// It was asked, and what became of that is not known.
    #[error("ask etcd: {0}")]
    Http(String),
    /// Its store is full.
    #[error("{0}")]
    Full(String),
    /// It knew beforehand that it could not.
    #[error("{0}")]
    Refused(String),
    /// It gave up, or says something else.
    #[error("etcd: {0}")]
    Failed(String),
}

impl Error {
    /// Whether the work may have been done all the same.
    pub(in crate::roles) fn may_be_done(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Full(_) | Self::Refused(_) => false,
            Self::Http(_) | Self::Failed(_) => true,
        }
    }
}

/// Bytes, which JSON has as base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::roles) struct Bytes(pub(in crate::roles) Vec<u8>);

impl<T: AsRef<[u8]>> From<T> for Bytes {
    fn from(bytes: T) -> Self {
        Self(bytes.as_ref().to_vec())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A number of 64 bits, which JSON has as text, and not at all if it is 0.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn some_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    number(deserializer).map(Some)
}

fn as_text<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// What a member knows of the cluster.
#[derive(Debug, Deserialize)]
pub(in crate::roles) struct Status {
    /// Whom it follows; 0 is nobody.
    #[serde(default, deserialize_with = "some_number")]
    pub(in crate::roles) leader: Option<MemberId>,
    /// Since when.
    #[serde(default, rename = "raftTerm", deserialize_with = "number")]
    pub(in crate::roles) raft_term: u64,
}

/// A member as the cluster lists it.
#[derive(Debug, Deserialize)]
pub(in crate::roles) struct Listed {
    #[serde(rename = "ID", deserialize_with = "number")]
    pub(in crate::roles) id: MemberId,
    #[serde(default)]
    pub(in crate::roles) name: String,
    #[serde(default, rename = "peerURLs")]
    pub(in crate::roles) peer_urls: Vec<String>,
    /// Empty until it has started once.
    #[serde(default, rename = "clientURLs")]
    pub(in crate::roles) client_urls: Vec<String>,
}

/// A member as another is told of it, who may ask before the cluster has a leader.
#[derive(Debug, Deserialize)]
struct Known {
    #[serde(default, rename = "clientURLs")]
    client_urls: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Members {
    #[serde(default)]
    members: Vec<Listed>,
}

/// A key and its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(in crate::roles) struct Pair {
    pub(in crate::roles) key: Bytes,
    #[serde(default)]
    pub(in crate::roles) value: Bytes,
    /// The revision that wrote it.
    #[serde(default, deserialize_with = "number")]
    pub(in crate::roles) mod_revision: u64,
}

/// Keys from one on: that one alone, or all before `range_end`.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::roles) struct Range {
    pub(in crate::roles) key: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::roles) range_end: Option<Bytes>,
    #[serde(skip_serializing_if = "is_zero", serialize_with = "as_text")]
    pub(in crate::roles) limit: u64,
    /// As they were then; 0 is now.
    #[serde(skip_serializing_if = "is_zero", serialize_with = "as_text")]
    pub(in crate::roles) revision: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Debug, Default, Deserialize)]
struct Header {
    #[serde(default, deserialize_with = "number")]
    revision: u64,
}

/// The keys of a range.
#[derive(Debug, Default, Deserialize)]
pub(in crate::roles) struct Ranged {
    #[serde(default)]
    header: Header,
    #[serde(default)]
    pub(in crate::roles) kvs: Vec<Pair>,
    /// There are more than were asked for.
    #[serde(default)]
    pub(in crate::roles) more: bool,
}

impl Ranged {
    /// The revision of the store that it is from.
    pub(in crate::roles) fn revision(&self) -> u64 {
        self.header.revision
    }
}

/// That a key was last written by this revision; 0 is a key that is not there.
#[derive(Debug, Serialize)]
pub(in crate::roles) struct Unchanged {
    key: Bytes,
    target: &'static str,
    result: &'static str,
    #[serde(serialize_with = "as_text")]
    mod_revision: u64,
}

impl Unchanged {
    pub(in crate::roles) fn since(key: &str, mod_revision: u64) -> Self {
        Self { key: key.into(), target: "MOD", result: "EQUAL", mod_revision }
    }
}

/// One part of a transaction.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::roles) enum Part {
    RequestPut { key: Bytes, value: Bytes },
    RequestRange(Range),
}

#[derive(Debug, Serialize)]
struct Transaction<'a> {
    compare: &'a [Unchanged],
    success: &'a [Part],
}

/// What became of a transaction.
#[derive(Debug, Deserialize)]
pub(in crate::roles) struct Done {
    /// Everything was as it was compared with.
    #[serde(default)]
    pub(in crate::roles) succeeded: bool,
    #[serde(default)]
    responses: Vec<Response>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Response {
    response_range: Ranged,
}

impl Done {
    /// What its ranges found, in order.
    pub(in crate::roles) fn ranges(self) -> impl Iterator<Item = Ranged> {
        self.responses.into_iter().map(|response| response.response_range)
    }
}

#[derive(Debug, Deserialize)]
struct Complaint {
    error: String,
    #[serde(default)]
    code: i64,
}

/// One member.
#[derive(Clone, Debug)]
pub(in crate::roles) struct Gateway {
    http: Option<reqwest::Client>,
    base: String,
}

impl Gateway {
    /// The member that listens there.
    pub(in crate::roles) fn new(base: String) -> Self {
        let http = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_MAX).build();
        Self { http: http.ok(), base }
    }

    /// What it knows of the cluster.
    pub(in crate::roles) async fn status(&self) -> Result<Status, Error> {
        self.call("maintenance/status", &serde_json::json!({})).await
    }

    /// All members, as it knows them.
    pub(in crate::roles) async fn members(&self) -> Result<Vec<Listed>, Error> {
        let members: Members = self.call("cluster/member/list", &serde_json::json!({})).await?;
        Ok(members.members)
    }

    /// Whether any member has ever served clients, as the one that listens for its peers there knows. Clients are served only
    /// once there is a leader, peers at once.
    pub(in crate::roles) async fn has_served(&self, peer_url: &str) -> Result<bool, Error> {
        let known: Vec<Known> = answered(self.http()?.get(format!("{peer_url}/members"))).await?;
        Ok(known.iter().any(|member| !member.client_urls.is_empty()))
    }

    /// Strikes a member off.
    pub(in crate::roles) async fn remove(&self, id: MemberId) -> Result<(), Error> {
        let request = serde_json::json!({ "ID": id.to_string() });
        self.call::<serde_json::Value>("cluster/member/remove", &request).await.map(drop)
    }

    /// Has the cluster expect a new member there.
    pub(in crate::roles) async fn add(&self, peer_url: &str) -> Result<(), Error> {
        let request = serde_json::json!({ "peerURLs": [peer_url] });
        self.call::<serde_json::Value>("cluster/member/add", &request).await.map(drop)
    }

    /// Reads keys, with everything that was acknowledged before (a quorum is asked).
    pub(in crate::roles) async fn range(&self, range: &Range) -> Result<Ranged, Error> {
        self.call("kv/range", range).await
    }

    /// Does all parts or none.
    pub(in crate::roles) async fn transact(
        &self,
        compare: &[Unchanged],
        success: &[Part],
    ) -> Result<Done, Error> {
        self.call("kv/txn", &Transaction { compare, success }).await
    }

    async fn call<T: DeserializeOwned>(&self, path: &str, request: &impl Serialize) -> Result<T, Error> {
        answered(self.http()?.post(format!("{}/v3/{path}", self.base)).json(request)).await
    }

    fn http(&self) -> Result<&reqwest::Client, Error> {
        self.http.as_ref().ok_or_else(|| Error::Connect("no HTTP client".to_owned()))
    }
}

async fn answered<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T, Error> {
    let response = request.send().await.map_err(|error| {
        let text = crate::roles::described(&error);
        if error.is_connect() { Error::Connect(text) } else { Error::Http(text) }
    })?;
    let ok = response.status().is_success();
    let body = response.bytes().await.map_err(|error| Error::Http(error.to_string()))?;
    if ok {
        return serde_json::from_slice(&body).map_err(|error| Error::Failed(error.to_string()));
    }
    Err(complaint(&body))
}

fn complaint(body: &[u8]) -> Error {
    match serde_json::from_slice::<Complaint>(body) {
        Ok(Complaint { error, code: RESOURCE_EXHAUSTED }) => Error::Full(error),
        Ok(Complaint { error, .. }) if error == NO_LEADER => Error::Refused(error),
        Ok(Complaint { error, .. }) => Error::Failed(error),
        Err(_) => Error::Failed(String::from_utf8_lossy(body).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_what_etcd_reads() {
        let compare = [Unchanged::since("k", 5)];
        let put = Part::RequestPut { key: "k".into(), value: "v".into() };
        let range = Range { key: "a".into(), range_end: Some("b".into()), limit: 2, revision: 0 };
        let success = [put, Part::RequestRange(range)];
        let request = Transaction { compare: &compare, success: &success };
        insta::assert_snapshot!(serde_json::to_string(&request).unwrap(), @r#"{"compare":[{"key":"aw==","target":"MOD","result":"EQUAL","mod_revision":"5"}],"success":[{"request_put":{"key":"aw==","value":"dg=="}},{"request_range":{"key":"YQ==","range_end":"Yg==","limit":"2"}}]}"#);
    }

    /// As etcd 3.4.23 gave them.
    #[test]
    fn answers_are_what_etcd_writes() {
        let status = r#"{"header":{"cluster_id":"1","member_id":"15913282542427192288","revision":"1","raft_term":"2"},"version":"3.4.23","dbSize":"20480","leader":"15913282542427192288","raftIndex":"4","raftTerm":"2"}"#;
        let status: Status = serde_json::from_str(status).unwrap();
        assert_eq!((status.leader, status.raft_term), (Some(15913282542427192288), 2));
        let members = r#"{"header":{},"members":[{"ID":"1","name":"a","peerURLs":["http://p"],"clientURLs":["http://c"]}]}"#;
        let members: Members = serde_json::from_str(members).unwrap();
        assert_eq!((members.members[0].id, members.members[0].name.as_str()), (1, "a"));
        let done = r#"{"header":{"revision":"2"},"succeeded":true,"responses":[{"response_range":{"header":{"revision":"2"},"kvs":[{"key":"aA==","create_revision":"2","mod_revision":"2","version":"1","value":"MQ=="}],"count":"1"}},{"response_range":{"header":{"revision":"2"}}}]}"#;
        let done: Done = serde_json::from_str(done).unwrap();
        assert!(done.succeeded);
        let ranges: Vec<Ranged> = done.ranges().collect();
        let pair = Pair { key: "h".into(), value: "1".into(), mod_revision: 2 };
        assert_eq!((&ranges[0].kvs, ranges[0].revision()), (&vec![pair], 2));
        assert_eq!(ranges[1].kvs, []);
        let refused = r#"{"header":{"revision":"2"}}"#;
        assert!(!serde_json::from_str::<Done>(refused).unwrap().succeeded);
    }

    #[test]
    fn complaints_say_whether_the_work_may_be_done() {
        let full =
            complaint(br#"{"error":"etcdserver: mvcc: database space exceeded","message":"","code":8}"#);
        assert!(matches!(full, Error::Full(_)) && !full.may_be_done());
        assert!(!complaint(br#"{"error":"etcdserver: no leader","code":14}"#).may_be_done());
        assert!(complaint(br#"{"error":"etcdserver: request timed out","code":14}"#).may_be_done());
        assert!(complaint(b"nonsense").may_be_done());
    }
}
