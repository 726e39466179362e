//! One set of rules and three programs that read requests: ours, HAProxy and nginx, each with what this program writes for it,
//! on loopback. Whatever is asked, the same real server answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};
use std::time::Duration;

use axum::Router;
use axum::routing::any;
use reqwest::{Client, Method, StatusCode};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::foreign::fixtures::start;
use super::proxy::Proxy;
use super::{Site, haproxy, nginx};
use crate::balancer::{self, Endpoint, Real, Service};
use crate::kernel::process;
use crate::topology::{Layer7, Probe, RealServer, Rule, Scheduler, VirtualService, parse};

/// The longest wait for anything: generous, since the machine may be slow and busy.
const WAIT_MAX: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);
const SITE: &str = include_str!("../../topologies/vs-proxy.yaml");
const STICKY: &str = "lab_real";

/// A program that balances on loopback, until this is dropped.
struct Director {
    name: &'static str,
    entrance: SocketAddr,
    _proxy: Option<Proxy>,
    child: Option<(Child, TempDir)>,
}

impl Drop for Director {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.child {
            // nginx's workers end with their master only if it may tell them.
            let _ = process::signal(child.id() as i32, nix::sys::signal::Signal::SIGTERM);
            let _ = child.wait();
        }
    }
}

/// A real server that says nothing but its name.
async fn real(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap();
    let router = Router::new().fallback(any(move || async move { name }));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    here
}

/// A port of an address that nobody else in these tests has.
async fn free(host: u8) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 72, host), 0)).await.unwrap();
    listener.local_addr().unwrap()
}

/// The site with one service there, before these.
fn site(entrance: SocketAddr, reals: &[SocketAddr], layer7: Layer7) -> Site {
    let mut topology = parse("vs-proxy.yaml", SITE).expect("a topology without mistakes");
    let balancer = topology.balancer.as_mut().expect("a balancer");
    let service = &mut balancer.services[0];
    (service.address, service.port) = (entrance.ip(), entrance.port());
    (service.scheduler, service.check.probe, service.layer7) = (Scheduler::Rr, Probe::Tcp, layer7);
    let real = |(at, address): (usize, &SocketAddr)| RealServer {
        node: format!("web{}", at + 1).parse().expect("a name"),
        address: address.ip(),
        port: address.port(),
        weight: 1,
    };
    service.reals = reals.iter().enumerate().map(real).collect();
    Site { topology, me: "proxy1".parse().expect("a name"), disk: "/nowhere".into() }
}

fn ours(entrance: SocketAddr, service: &VirtualService) -> Director {
    let proxy = Proxy::open(std::slice::from_ref(service)).expect("a proxy");
    let real = |real: &RealServer| Real {
        name: real.node.to_string(),
        endpoint: Endpoint::tcp(real.address, real.port),
        weight: real.weight,
        available: true,
    };
    let all = Service {
        address: Endpoint::tcp(service.address, service.port),
        method: balancer::Method::Nat,
        scheduler: balancer::Scheduler::RoundRobin,
        reals: service.reals.iter().map(real).collect(),
    };
    proxy.install(&[all]).expect("real servers");
    proxy.gate().set(true);
    Director { name: "labctl", entrance, _proxy: Some(proxy), child: None }
}

/// Another program, where it is installed.
fn theirs(name: &'static str, entrance: SocketAddr, text: &str, args: &[&str]) -> Option<Director> {
    let child = start(name, text, args, [Stdio::null(), Stdio::inherit()])?;
    Some(Director { name, entrance, _proxy: None, child: Some(child) })
}

/// All three, as far as they are installed and can do what is wanted.
async fn directors(host: u8, reals: &[SocketAddr], layer7: &Layer7) -> Vec<Director> {
    let mut all = Vec::new();
    let entrance = free(host).await;
    let ours_of = site(entrance, reals, layer7.clone());
    all.push(ours(entrance, &ours_of.topology.balancer.as_ref().expect("a balancer").services[0]));
    let entrance = free(host + 1).await;
    let there = site(entrance, reals, layer7.clone());
    let text = haproxy::configuration(&there, there.topology.balancer.as_ref().expect("a balancer"));
    all.extend(theirs("haproxy", entrance, &text.expect("a configuration"), &["-db", "-f", "FOLDER/conf"]));
    let entrance = free(host + 2).await;
    let there = site(entrance, reals, layer7.clone());
    if let Ok(text) = nginx::configuration(&there, there.topology.balancer.as_ref().expect("a balancer")) {
        let args = ["-p", "FOLDER", "-e", "stderr", "-c", "FOLDER/conf"];
        all.extend(theirs("nginx", entrance, &text, &args));
    }
    for director in &all {
        let deadline = Instant::now() + WAIT_MAX;
        while tokio::net::TcpStream::connect(director.entrance).await.is_err() {
            assert!(Instant::now() < deadline, "{} does not listen", director.name);
            sleep(LOOK).await;
        }
    }
    all
}

/// Who answers, and the cookie that is to be kept.
async fn ask(director: &Director, path: &str, headers: &[(&str, &str)]) -> (String, Option<String>) {
    let visitor = Client::builder().no_proxy().timeout(WAIT_MAX).build().unwrap();
    let request = visitor.request(Method::GET, format!("http://{}{path}", director.entrance));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{} {path}", director.name);
    let cookie = answer.headers().get("set-cookie").map(|cookie| cookie.to_str().unwrap().to_owned());
    (answer.text().await.unwrap(), cookie)
}

fn rule(real: &str) -> Rule {
    Rule { host: None, path: None, header: None, cookie: None, reals: vec![real.parse().expect("a name")] }
}

#[tokio::test]
async fn every_request_finds_the_same_real_server() {
    let reals = [real("web1").await, real("web2").await, real("web3").await];
    let rules = vec![
        Rule { host: Some("shop.example".to_owned()), path: Some("/cart/".to_owned()), ..rule("web1") },
        Rule { header: Some(("X-Tenant".to_owned(), "it's \"$blue\" {1}".to_owned())), ..rule("web2") },
        Rule { cookie: Some(("beta".to_owned(), "1".to_owned())), ..rule("web3") },
        Rule { path: Some("/a.b".to_owned()), ..rule("web2") },
        Rule { path: Some("/".to_owned()), ..rule("web1") },
    ];
    let shop = ("host", "Shop.Example:8080");
    let blue = ("x-tenant", "it's \"$blue\" {1}");
    let directors = directors(1, &reals, &Layer7 { sticky: None, rules }).await;
    for (path, headers, expected) in [
        ("/cart", &[shop, ("cookie", "beta=1")][..], "web1"),
        ("/cart/7?x=/", &[shop, ("cookie", "beta=1")], "web1"),
        ("/carts", &[shop, ("cookie", "beta=1")], "web3"),
        ("/cart", &[("cookie", "beta=1")], "web3"),
        ("/x", &[blue], "web2"),
        ("/x", &[blue, ("cookie", "beta=1")], "web2"),
        ("/x", &[("x-tenant", "it's \"$blue\" {1}!"), ("cookie", "alpha=1; beta=1; c=2")], "web3"),
        ("/x", &[("cookie", "beta=10")], "web1"),
        ("/a.b/c", &[], "web2"),
        ("/aXb/c", &[], "web1"),
        ("/", &[], "web1"),
    ] {
        for director in &directors {
            let (name, _) = ask(director, path, headers).await;
            assert_eq!(name, expected, "{} {path} {headers:?}", director.name);
        }
    }
}

#[tokio::test]
async fn whoever_sets_cookies_keeps_to_them() {
    let reals = [real("web1").await, real("web2").await];
    let directors = directors(11, &reals, &Layer7 { sticky: Some(STICKY.to_owned()), rules: vec![] }).await;
    for director in &directors {
        for _ in 0..2 {
            let (name, cookie) = ask(director, "/", &[]).await;
            let cookie = cookie.unwrap_or_else(|| panic!("{} sets no cookie", director.name));
            let pair = cookie.split(';').next().unwrap();
            for _ in 0..3 {
                let (kept, set) = ask(director, "/", &[("cookie", pair)]).await;
                assert_eq!((kept.as_str(), set), (name.as_str(), None), "{}", director.name);
            }
        }
    }
}
