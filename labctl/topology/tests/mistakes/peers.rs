//! What each mistake about two webs that remember for each other looks like.

use insta::assert_snapshot;

use super::super::*;
use super::{problems, wrong};

/// The site with its conversations kept by two webs.
fn kept(conversation: &str) -> String {
    changed("{ memory: database }", conversation)
}

#[test]
fn pairs() {
    assert_snapshot!(problems(&kept("{ memory: peer }").replace("web2: { role: web", "web2: { role: remote")), @"");
    let apart = kept("{ memory: peer }").replace("back: 10.10.1.22, data: 10.10.2.22", "front: 203.0.113.22");
    assert_snapshot!(problems(&apart), @"");
}

#[test]
fn witnesses() {
    assert_snapshot!(problems(&kept("{ memory: peer, witness: db9 }")), @"");
    assert_snapshot!(problems(&kept("{ memory: peer, witness: web1 }")), @"");
    assert_snapshot!(problems(&kept("{ memory: peer, witness: client }")), @"");
    assert_snapshot!(problems(&kept("{ memory: peer }").replace("data: 10.10.2.31", "front: 203.0.113.31")), @"");
    assert_snapshot!(problems(&kept("{ memory: peer }").replace("role: db", "role: remote")), @"");
    assert_snapshot!(problems(&kept("{ memory: peer, degrade: never, witness: client }")), @"");
    assert_snapshot!(problems(&kept("{ memory: peer, degrade: sometimes }")), @"");
    assert_snapshot!(problems(&kept("{ memory: peer, witness_port: 7000 }")), @"");
}

#[test]
fn keys_without_peers() {
    assert_snapshot!(wrong("{ memory: database }", "{ degrade: never, witness: db1, peer_port: 1, witness_port: 2 }"), @"");
    // Who misspelt the memory is told that, and nothing that follows from it.
    assert_snapshot!(problems(&kept("{ memory: pear, degrade: never }")), @"");
}
