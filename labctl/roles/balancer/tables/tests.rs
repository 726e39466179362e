//! The tables of a real data plane, in a network namespace of its own.

use std::io::Write as _;
use std::net::Ipv4Addr;

use nix::sched::{CloneFlags, unshare};
use tokio::time::timeout;

use super::*;
use crate::balancer::{Endpoint, Method, Real, Scheduler};
use crate::dataplane::Settings;
use crate::dataplane::ebpf::EbpfPlane;

const PATIENCE: Duration = Duration::from_secs(20);

fn endpoint(host: u8) -> Endpoint {
    Endpoint::tcp(Ipv4Addr::new(10, 10, 1, host), 80)
}

fn service(host: u8) -> Service {
    let real = Real { name: "web1".to_owned(), endpoint: endpoint(21), weight: 1, available: true };
    Service {
        address: endpoint(host),
        method: Method::Nat,
        scheduler: Scheduler::SourceHash,
        reals: vec![real],
    }
}

/// Two services cannot share a real server, so the data plane refuses these whatever the kernel says.
fn refused() -> Vec<Service> {
    vec![service(1), service(2)]
}

/// Runs a test with a data plane in a network namespace of its own, or says on the terminal why not.
fn with_tables(test: impl AsyncFnOnce(Tables) + Send + 'static) {
    let thread = std::thread::spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            let _ = writeln!(std::io::stderr(), "skipped: no network namespace ({error})");
            return;
        }
        let plane = match EbpfPlane::attach(Settings::between("lo", "lo")) {
            Ok((plane, _switch)) => Box::new(plane),
            Err(error) if error.lacks_ebpf() => {
                // Not `println!`, which the test harness swallows when a test passes.
                let _ = writeln!(std::io::stderr(), "skipped: no eBPF ({error})");
                return;
            }
            Err(error) => panic!("{error:?}"),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            timeout(PATIENCE, test(Tables::of(plane).expect("tables"))).await.expect("no waiting for ever");
        });
    });
    thread.join().expect("the test");
}

#[test]
fn a_change_that_fails_is_tried_again_more_seldom_each_time() {
    with_tables(async |mut tables| {
        tables.install(refused());
        for again in [AGAIN_MIN, AGAIN_MIN * 2, AGAIN_MIN * 4] {
            assert_eq!(fails(&mut tables).await, again);
        }
    });
}

#[test]
fn a_new_wish_takes_the_place_of_one_that_failed() {
    with_tables(async |mut tables| {
        tables.install(refused());
        assert_eq!(fails(&mut tables).await, AGAIN_MIN);
        let wish = tables.install(vec![service(1)]);
        assert!(matches!(tables.event().await, Event::Installed(number) if number == wish));
        // And the refused one is forgotten.
        tables.install(refused());
        assert_eq!(fails(&mut tables).await, AGAIN_MIN);
    });
}

#[test]
fn a_survey_says_what_was_installed_and_comes_after_it() {
    with_tables(async |mut tables| {
        tables.install(vec![service(1)]);
        tables.survey();
        assert!(!tables.is_idle());
        assert!(matches!(tables.event().await, Event::Installed(1)));
        match tables.event().await {
            Event::Surveyed(Ok(survey)) => {
                assert!(survey.usage.keys().eq([&(endpoint(1), endpoint(21))]));
                assert!(survey.flows.is_empty());
            }
            other => panic!("{other:?}"),
        }
        assert!(tables.is_idle());
    });
}

#[test]
fn flows_of_another_director_are_taken_over_where_they_fit() {
    with_tables(async |mut tables| {
        tables.install(vec![service(1)]);
        tables.event().await;
        let flow = |port, real| Flow {
            client: ([198, 51, 100, 10], port).into(),
            service: endpoint(1),
            real: endpoint(real),
        };
        let told = [flow(1000, 21), flow(1001, 99)];
        assert_eq!(tables.adopt(&told).expect("adopted"), 1);
        tables.survey();
        match tables.event().await {
            Event::Surveyed(Ok(survey)) => assert_eq!(survey.flows, [told[0]]),
            other => panic!("{other:?}"),
        }
    });
}

/// When a change that fails will be tried again.
async fn fails(tables: &mut Tables) -> Duration {
    match tables.event().await {
        Event::Failed(failed) => failed.again_in,
        other => panic!("two services with one real server: {other:?}"),
    }
}
