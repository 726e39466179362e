//! What a proxy changes in the heads that pass it (RFC 9110 section 7.6, RFC 9112 section 3.2): nothing that is between the
//! two ends, everything that is between two hops. Pure.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{Method, Request, StatusCode, Version, response};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// Visitors come over nothing else.
const HTTP: HeaderValue = HeaderValue::from_static("http");
const VIA_OLD: HeaderValue = HeaderValue::from_static("1.0 labctl");
const VIA_US: HeaderValue = HeaderValue::from_static("1.1 labctl");

/// Why a request goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) why: &'static str,
}

/// Makes a visitor's request one to a real server, and returns the host that is asked for.
pub(super) fn to_real(parts: &mut Parts, client: &HeaderValue) -> Result<HeaderValue, Refusal> {
    if parts.method == Method::CONNECT {
        let why = "this proxy makes no tunnels";
        return Err(Refusal { status: StatusCode::NOT_IMPLEMENTED, why });
    }
    let host = host(parts)?;
    let via = via(parts.version);
    // HTTP/1.1 is spoken to real servers, whatever the visitor speaks.
    parts.version = Version::HTTP_11;
    let headers = &mut parts.headers;
    remove_hop_by_hop(headers);
    let all = match headers.get(FORWARDED_FOR) {
        // Whoever sent it may have lied; the last one is what we have seen ourselves.
        Some(before) => HeaderValue::from_bytes(&[before.as_bytes(), b", ", client.as_bytes()].concat())
            .unwrap_or_else(|_| client.clone()),
        None => client.clone(),
    };
    headers.insert(FORWARDED_FOR, all);
    headers.insert(FORWARDED_HOST, host.clone());
    headers.insert(FORWARDED_PROTO, HTTP);
    headers.append(VIA, via);
    Ok(host)
}

/// Makes a real server's answer one to a visitor.
pub(super) fn to_client(parts: &mut response::Parts) -> Result<(), Refusal> {
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        let why = "a real server switched protocols, which nobody had asked for";
        return Err(Refusal { status: StatusCode::BAD_GATEWAY, why });
    }
    let via = via(parts.version);
    parts.version = Version::HTTP_11;
    remove_hop_by_hop(&mut parts.headers);
    parts.headers.append(VIA, via);
    Ok(())
}

/// May it be sent again although it may have been carried out: because it changes nothing the second time (RFC 9110 section
/// 9.2.2), or because it carries a key by which its server knows it again?
pub(super) fn is_idempotent(parts: &Parts) -> bool {
    parts.method.is_idempotent() || parts.headers.contains_key(IDEMPOTENCY_KEY)
}

/// Will there be no other request on this connection (RFC 9112 section 9.3)?
pub(super) fn is_last<B>(request: &Request<B>) -> bool {
    let says = |word| options(request.headers()).any(|option| option.eq_ignore_ascii_case(word));
    says("close") || (request.version() < Version::HTTP_11 && !says("keep-alive"))
}

/// What a head says of the connection that it comes by (RFC 9110 section 7.6.1).
fn options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// The host of a request, which then has one `Host` line and a path (RFC 9112 sections 3.2 and 3.2.2).
fn host(parts: &mut Parts) -> Result<HeaderValue, Refusal> {
    let refusal = |why| Refusal { status: StatusCode::BAD_REQUEST, why };
    if let Some(authority) = parts.uri.authority() {
        let host = HeaderValue::from_str(authority.as_str());
        let host = host.map_err(|_| refusal("the host that is asked for makes no sense"))?;
        let path = parts.uri.path_and_query().cloned();
        parts.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        parts.headers.insert(HOST, host);
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => Ok(host.clone()),
        (None, _) if parts.version < Version::HTTP_11 => Ok(HeaderValue::from_static("")),
        (None, _) => Err(refusal("an HTTP/1.1 request names the host that it asks for")),
        (Some(_), Some(_)) => Err(refusal("a request names one host")),
    }
}

fn via(version: Version) -> HeaderValue {
    if version < Version::HTTP_11 { VIA_OLD } else { VIA_US }
}

/// RFC 9110 section 7.6.1. So nobody upgrades a connection: the wish to does not get through (section 7.8).
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = options(headers).filter_map(|name| name.parse().ok()).collect();
        // What says where a message is going and where it ends is never between two hops, whoever says so.
        for name in named.iter().filter(|name| **name != HOST && **name != CONTENT_LENGTH) {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    if headers.remove(TRANSFER_ENCODING).is_some() {
        // The length that goes with it is a lie or an attempt at smuggling (RFC 9112 section 6.3).
        headers.remove(CONTENT_LENGTH);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TE, UPGRADE] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    const CLIENT: HeaderValue = HeaderValue::from_static("198.51.100.10");

    fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let builder = Request::builder().method(method).uri(uri);
        let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        builder.body(()).expect("a request").into_parts().0
    }

    /// The request as a real server gets it, or why it does not.
    fn passed(mut parts: Parts) -> String {
        match to_real(&mut parts, &CLIENT) {
            Ok(host) => format!("{} {} for {host:?}\n{}", parts.method, parts.uri, lines(&parts.headers)),
            Err(refusal) => format!("{} {}", refusal.status, refusal.why),
        }
    }

    fn lines(headers: &HeaderMap) -> String {
        let mut lines: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        lines.sort();
        lines.join("\n")
    }

    #[test]
    fn what_is_between_two_hops_stays_there() {
        let parts = request(
            "GET",
            "/chat?x=1",
            &[
                ("host", "www.example"),
                ("connection", "keep-alive, Upgrade, X-Secret, Host, Content-Length"),
                ("keep-alive", "timeout=5"),
                ("upgrade", "websocket"),
                ("x-secret", "1"),
                ("te", "trailers"),
                ("proxy-connection", "close"),
                ("accept", "*/*"),
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-proto", "https"),
                ("via", "1.1 elsewhere"),
            ],
        );
        insta::assert_snapshot!(passed(parts), @r#"
        GET /chat?x=1 for "www.example"
        accept: */*
        host: www.example
        via: 1.1 elsewhere
        via: 1.1 labctl
        x-forwarded-for: 192.0.2.1, 198.51.100.10
        x-forwarded-host: www.example
        x-forwarded-proto: http
        "#);
    }

    #[test]
    fn a_whole_address_becomes_a_host_and_a_path() {
        let parts = request("GET", "http://www.example:80/a?b", &[("host", "other")]);
        insta::assert_snapshot!(passed(parts), @r#"
        GET /a?b for "www.example:80"
        host: www.example:80
        via: 1.1 labctl
        x-forwarded-for: 198.51.100.10
        x-forwarded-host: www.example:80
        x-forwarded-proto: http
        "#);
    }

    #[test]
    fn what_makes_no_sense_goes_no_further() {
        let refused = [
            request("CONNECT", "www.example:443", &[("host", "www.example")]),
            request("GET", "/", &[]),
            request("GET", "/", &[("host", "a"), ("host", "b")]),
        ];
        insta::assert_snapshot!(refused.map(passed).join("\n"), @r"
        501 Not Implemented this proxy makes no tunnels
        400 Bad Request an HTTP/1.1 request names the host that it asks for
        400 Bad Request a request names one host
        ");
        let mut old = request("GET", "/", &[]);
        old.version = Version::HTTP_10;
        assert!(passed(old).contains("via: 1.0 labctl"));
    }

    #[test]
    fn two_lengths_of_one_message_do_not_pass() {
        let both = [("host", "h"), ("transfer-encoding", "chunked"), ("content-length", "3")];
        assert!(!passed(request("POST", "/", &both)).contains("content-length"));
        let (mut parts, ()) = Response::builder()
            .header("transfer-encoding", "chunked")
            .header("content-length", "3")
            .header("connection", "close")
            .body(())
            .expect("an answer")
            .into_parts();
        to_client(&mut parts).expect("an answer to pass on");
        assert_eq!(lines(&parts.headers), "via: 1.1 labctl");
    }

    #[test]
    fn protocols_are_not_switched() {
        let (mut parts, ()) = Response::builder().status(101).body(()).expect("an answer").into_parts();
        assert_eq!(to_client(&mut parts).expect_err("nobody asked").status, StatusCode::BAD_GATEWAY);
    }

    #[test]
    fn the_last_request_of_a_connection_is_known() {
        for (version, connection, is) in [
            (Version::HTTP_11, None, false),
            (Version::HTTP_11, Some("Keep-Alive"), false),
            (Version::HTTP_11, Some("te, Close"), true),
            (Version::HTTP_10, None, true),
            (Version::HTTP_10, Some("Keep-Alive"), false),
            (Version::HTTP_10, Some("keep-alive, close"), true),
        ] {
            let request = Request::builder().version(version);
            let request = match connection {
                Some(options) => request.header(CONNECTION, options),
                None => request,
            };
            assert_eq!(is_last(&request.body(()).expect("a request")), is, "{version:?} {connection:?}");
        }
    }

    #[test]
    fn only_what_may_be_repeated_is() {
        let keyed = [("idempotency-key", "1")];
        for (method, headers, may) in
            [("GET", &[][..], true), ("PUT", &[], true), ("POST", &[], false), ("POST", &keyed, true)]
        {
            assert_eq!(is_idempotent(&request(method, "/", headers)), may, "{method}");
        }
    }
}
