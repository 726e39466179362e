//! Mistakes about what a machine is given, and what shares one.

use insta::assert_snapshot;

use super::{SITE, problems, wrong};

/// The site whose web1 has one key more.
fn web1(key: &str) -> String {
    wrong("web1: { role: web,", &format!("web1: {{ role: web, {key},"))
}

#[test]
fn processors() {
    assert_snapshot!(web1("cpu: 0"), @"
    9:27 labctl::wrong_type at `0`
      expected processors from 0.01 to 1024 in steps of 0.01, such as 0.5, found `0`
    ");
    assert_snapshot!(web1("cpu: 50%"), @"
    9:27 labctl::wrong_type at `50%`
      expected processors from 0.01 to 1024 in steps of 0.01, such as 0.5, found `50%`
      help: did you mean `0.5`?
    ");
    assert_snapshot!(web1("cpu: 500m"), @"
    9:27 labctl::wrong_type at `500m`
      expected processors from 0.01 to 1024 in steps of 0.01, such as 0.5, found `500m`
      help: did you mean `0.5`?
    ");
    assert_snapshot!(web1("cpu: 0.125"), @"
    9:27 labctl::wrong_type at `0.125`
      expected processors from 0.01 to 1024 in steps of 0.01, such as 0.5, found `0.125`
    ");
    assert_snapshot!(web1("cpu: half"), @"
    9:27 labctl::wrong_type at `half`
      expected processors from 0.01 to 1024 in steps of 0.01, such as 0.5, found `half`
    ");
}

#[test]
fn sizes() {
    assert_snapshot!(web1("memory: 64"), @"
    9:30 labctl::wrong_type at `64`
      expected a size from 1MiB to 1TiB, such as 64MiB, found `64`
      help: give the unit: `64MiB`
    ");
    assert_snapshot!(web1("memory: 64M"), @"
    9:30 labctl::wrong_type at `64M`
      expected a size from 1MiB to 1TiB, such as 64MiB, found `64M`
      help: did you mean `64MiB`?
    ");
    assert_snapshot!(web1("memory: 64 mib"), @"
    9:30 labctl::wrong_type at `64 mib`
      expected a size from 1MiB to 1TiB, such as 64MiB, found `64 mib`
      help: did you mean `64MiB`?
    ");
    assert_snapshot!(web1("disk: 1KiB"), @"
    9:28 labctl::wrong_type at `1KiB`
      expected a size from 1MiB to 1TiB, such as 64MiB, found `1KiB`
    ");
    assert_snapshot!(web1("disk: 9999999999TiB"), @"
    9:28 labctl::wrong_type at `9999999999TiB`
      expected a size from 1MiB to 1TiB, such as 64MiB, found `9999999999TiB`
    ");
    assert_snapshot!(web1("disk: none"), @"
    9:28 labctl::wrong_type at `none`
      expected a size from 1MiB to 1TiB, such as 64MiB, found `none`
    ");
}

#[test]
fn shared_machines() {
    let colocated = |site: &str| problems(&format!("{site}placement: colocated\n"));
    assert_snapshot!(wrong("conversation: {", "placement: collocated\nconversation: {"), @"
    14:12 labctl::unknown_word at `collocated`
      `collocated` is not a placement
      help: did you mean `colocated`?
    ");
    // Databases need no node of their own, but somebody to share one with.
    let webless = SITE
        .replace("role: web", "role: remote")
        .replace("balancer: { services: { web: { port: 80 } } }\n", "");
    assert_snapshot!(colocated(&webless), @"
    14:12 labctl::nothing_to_colocate at `colocated`
      each web is to run a database as well, and there is no node of role web
      help: add nodes of role web, or remove `placement`
    ");
    // Those that share machines must reach each other, too.
    let apart = SITE
        .replace("  db1: { role: db, on: { data: 10.10.2.31 } }\n", "")
        .replace("on: { back: 10.10.1.21, data: 10.10.2.21 }", "on: { back: 10.10.1.21 }")
        .replace("on: { back: 10.10.1.22, data: 10.10.2.22 }", "on: { front: 203.0.113.22, back: none }");
    assert_snapshot!(colocated(&apart), @"
    9:3 labctl::web_off_database at `web1`
      web web1 shares no network with web2, where it is to keep its conversations
      also `web2`: the database
      help: give both an address on one network
    ");
    // One port that both want is a mistake only where both are one machine.
    let one_port = |placement: &str| {
        format!(
            "{}placement: {placement}\n",
            SITE.replace("memory: database", "memory: database, db_port: 8080")
        )
    };
    assert!(super::parse("site.yaml", &one_port("separate")).is_ok());
    assert_snapshot!(problems(&one_port("colocated")), @"
    9:3 labctl::duplicate_port at `web1`
      port 8080 is already listened on by service web of this node
      also `web1`: service web
      help: give one of them another port
    10:3 labctl::duplicate_port at `web2`
      port 8080 is already listened on by service web of this node
      also `web2`: service web
      help: give one of them another port
    ");
}
