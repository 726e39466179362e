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
    assert_snapshot!(problems(&kept("{ memory: peer }").replace("web2: { role: web", "web2: { role: remote")), @"
    14:25 labctl::peers_not_two at `peer`
      two webs remember for each other, and there are 1
      help: have two nodes of role web, or keep conversations with `memory: database`
    ");
    let apart = kept("{ memory: peer }").replace("back: 10.10.1.22, data: 10.10.2.22", "front: 203.0.113.22");
    assert_snapshot!(problems(&apart), @"
    10:3 labctl::peers_off_link at `web2`
      web web2 shares no network with web1, with which it is to keep its conversations
      also `web1`: the other web
      help: give both an address on one network
    ");
}

#[test]
fn witnesses() {
    assert_snapshot!(problems(&kept("{ memory: peer, witness: db9 }")), @"
    14:40 labctl::unknown_node at `db9`
      there is no node `db9`
      help: did you mean `db1`?
    ");
    assert_snapshot!(problems(&kept("{ memory: peer, witness: web1 }")), @"
    14:40 labctl::witness_is_peer at `web1`
      web1 has a vote of its own, and the witness is the third
      help: name a node that is no web, such as a database
    ");
    assert_snapshot!(problems(&kept("{ memory: peer, witness: client }")), @"
    14:40 labctl::witness_off_link at `client`
      witness client has an address on no network that both web1 and web2 are on
      help: give all three an address on one network
    ");
    assert_snapshot!(problems(&kept("{ memory: peer }").replace("data: 10.10.2.31", "front: 203.0.113.31")), @"
    11:3 labctl::witness_off_link at `db1`
      witness db1 has an address on no network that both web1 and web2 are on
      help: give all three an address on one network
    ");
    assert_snapshot!(problems(&kept("{ memory: peer }").replace("role: db", "role: remote")), @"
    14:25 labctl::no_witness at `peer`
      a web that loses the other may go on with the vote of a witness, and there is none
      help: name one (`witness: NODE`), or say what a web does without: `degrade: never` stops, `degrade: always` goes on and may leave two memories
    ");
    assert_snapshot!(problems(&kept("{ memory: peer, degrade: never, witness: client }")), @"
    14:56 labctl::witness_off_link at `client`
      witness client has an address on no network that both web1 and web2 are on
      help: give all three an address on one network
    ");
    assert_snapshot!(problems(&kept("{ memory: peer, degrade: sometimes }")), @"
    14:40 labctl::unknown_word at `sometimes`
      `sometimes` is not a way to degrade
      help: known are: never, witness, always
    ");
    assert_snapshot!(problems(&kept("{ memory: peer, witness_port: 7000 }")), @"
    11:3 labctl::duplicate_port at `db1`
      port 7000 is already listened on by service db of this node
      also `db1`: service db
      help: give one of them another port
    ");
}

#[test]
fn keys_without_peers() {
    assert_snapshot!(wrong("{ memory: database }", "{ degrade: never, witness: db1, peer_port: 1, witness_port: 2 }"), @"
    14:26 labctl::without_peers at `never`
      `degrade` is for webs that remember for each other
      help: remove it, or keep conversations with `memory: peer`
    14:42 labctl::without_peers at `db1`
      `witness` is for webs that remember for each other
      help: remove it, or keep conversations with `memory: peer`
    14:58 labctl::without_peers at `1`
      `peer_port` is for webs that remember for each other
      help: remove it, or keep conversations with `memory: peer`
    14:75 labctl::without_peers at `2`
      `witness_port` is for webs that remember for each other
      help: remove it, or keep conversations with `memory: peer`
    ");
    // Who misspelt the memory is told that, and nothing that follows from it.
    assert_snapshot!(problems(&kept("{ memory: pear, degrade: never }")), @"
    14:25 labctl::unknown_word at `pear`
      `pear` is not a kind of memory
      help: did you mean `peer`?
    ");
}
