//! Mistakes about what a machine is given, and what shares one.

use insta::assert_snapshot;

use super::{SITE, problems, wrong};

/// The site whose web1 has one key more.
fn web1(key: &str) -> String {
    wrong("web1: { role: web,", &format!("web1: {{ role: web, {key},"))
}

#[test]
fn processors() {
    assert_snapshot!(web1("cpu: 0"), @"");
    assert_snapshot!(web1("cpu: 50%"), @"");
    assert_snapshot!(web1("cpu: 500m"), @"");
    assert_snapshot!(web1("cpu: 0.125"), @"");
    assert_snapshot!(web1("cpu: half"), @"");
}

#[test]
fn sizes() {
    assert_snapshot!(web1("memory: 64"), @"");
    assert_snapshot!(web1("memory: 64M"), @"");
    assert_snapshot!(web1("memory: 64 mib"), @"");
    assert_snapshot!(web1("disk: 1KiB"), @"");
    assert_snapshot!(web1("disk: 9999999999TiB"), @"");
    assert_snapshot!(web1("disk: none"), @"");
}

#[test]
fn shared_machines() {
    let colocated = |site: &str| problems(&format!("{site}placement: colocated\n"));
    assert_snapshot!(wrong("conversation: {", "placement: collocated\nconversation: {"), @"");
    // Databases need no node of their own, but somebody to share one with.
    let webless =
        SITE.replace("role: web", "role: remote").replace("{ port: 80 }", "{ port: 80, real: { web1: 1 } }");
    assert_snapshot!(colocated(&webless), @"");
    // Those that share machines must reach each other, too.
    let apart = SITE
        .replace("  db1: { role: db, on: { data: 10.10.2.31 } }\n", "")
        .replace("on: { back: 10.10.1.21, data: 10.10.2.21 }", "on: { back: 10.10.1.21 }")
        .replace("on: { back: 10.10.1.22, data: 10.10.2.22 }", "on: { front: 203.0.113.22, back: none }");
    assert_snapshot!(colocated(&apart), @"");
    // One port that both want is a mistake only where both are one machine.
    let one_port = |placement: &str| {
        format!(
            "{}placement: {placement}\n",
            SITE.replace("memory: database", "memory: database, db_port: 8080")
        )
    };
    assert!(super::parse("site.yaml", &one_port("separate")).is_ok());
    assert_snapshot!(problems(&one_port("colocated")), @"");
}
