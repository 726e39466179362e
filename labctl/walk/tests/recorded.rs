//! Walks of real requests, one a method, in fixtures/walks: `labctl trace client vip:80 --method METHOD --format json` records
//! one. The page docs/methods.md is written from them, and so are the snapshots.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::*;

/// The methods, and what each teaches.
const METHODS: [(&str, &str, &str); 4] = [
    (
        "nat",
        "VS/NAT",
        "The director writes the address of a real server over its own, and its own over that of the real server on the way \
         back. So every answer must pass it: its link carries all octets, and the real servers must have it for their gateway. \
         They need no other setting, and may listen on another port.",
    ),
    (
        "tun",
        "VS/TUN",
        "The director puts the packet, as it is, into another one to the real server, which may be in any network that a packet \
         reaches. The real server takes it out, finds the public address in it, which it has itself, and answers the client \
         straight. Only requests pass the director.",
    ),
    (
        "dr",
        "VS/DR",
        "The director hands the packet on as it is, and only writes another hardware address before it (and lowers the TTL, as every \
         router does). So both must be on one switch, and the real server must have the public address without \
         answering ARP for it. Only requests pass the director, and nothing is added to them.",
    ),
    (
        "proxy",
        "Layer 7",
        "The director is the server: it ends the connection of the client, reads the request, and asks a real server by a connection of \
         its own. It can choose by what it has read, and pays for it with two connections, which both end with it.",
    ),
];

/// The methods of which a walk is on file.
fn recorded() -> Vec<([&'static str; 3], Record)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/walks");
    let mut found = Vec::new();
    for (method, name, lesson) in METHODS {
        let Ok(text) = std::fs::read_to_string(folder.join(format!("{method}.json"))) else { continue };
        found.push(([method, name, lesson], parse(&text).expect(method)));
    }
    let files = std::fs::read_dir(&folder).expect("the folder of walks").count();
    assert!(
        found.len() == files && files == METHODS.len(),
        "{} of {files} files are walks of a method",
        found.len()
    );
    found
}

/// The committed schema is the one that programs read; `LABCTL_UPDATE=1 cargo test schema` writes it anew.
#[test]
fn the_schema_on_file_is_that_of_a_walk() {
    crate::generated::assert_current("reports/walk.schema.json", &schema());
}

#[test]
fn every_method_in_full() {
    for ([method, ..], record) in recorded() {
        let show = Show { all: true, arp: true, colour: false };
        insta::assert_snapshot!(format!("recorded_{method}"), text(&Walk::of(&record), show));
    }
}

/// The page on file is what the records say; `LABCTL_UPDATE=1 cargo test methods` writes it anew.
#[test]
fn the_page_of_the_methods_is_what_was_recorded() {
    crate::generated::assert_current("docs/methods.md", &page());
}

fn page() -> String {
    let records = recorded();
    let walks: Vec<Walk> = records.iter().map(|(_, record)| Walk::of(record)).collect();
    let mut page = String::from(
        "# How a packet gets to a real server, and its answer back\n\
         Ways to put many servers behind one address, side by side. Each walk below is a real request, captured on every \
         interface of every node by one clock. To see it on your machine, as root:\n\
         ```sh\n\
         labctl trace client vip:80 --method nat     # or tun, dr, proxy; --all for every packet, --format pcap for Wireshark\n\
         ```\n\
         This page is written from `fixtures/walks` by `LABCTL_UPDATE=1 cargo test methods`.\n\n",
    );
    let mut row = |what: &str, cell: &dyn Fn(&Walk) -> String| {
        let cells: Vec<String> = walks.iter().map(cell).collect();
        let _ = writeln!(page, "| {what} | {} |", cells.join(" | "));
    };
    row("", &|walk| format!("`forward: {}`", walk.record.forward.as_deref().unwrap_or_default()));
    row("---", &|_| "---".to_owned());
    row("the request goes", &|walk| path(walk, Side::Client));
    row("the answer goes", &|walk| path(walk, Side::Server));
    row("the director changes in the request", &changed_by_director);
    row("IP octets of answers that leave the director, of all that reach the client", &|walk| {
        format!("{} of {}", octets(walk, DIRECTOR, Way::Out), octets(walk, "client", Way::In))
    });
    row("the client talks with", &peers);
    row("connections", &|walk| walk.conversations.len().to_string());
    for (([method, name, lesson], _), walk) in records.iter().zip(&walks) {
        let _ = write!(
            page,
            "\n## {name}: `forward: {method}`\n{lesson}\n\n```mermaid\n{}```\n\n```text\n{}```\n",
            mermaid(walk, Show::default()),
            text(walk, Show::default()),
        );
    }
    page
}

/// Who holds the VIP in the sites of the methods while nothing is broken.
const DIRECTOR: &str = "proxy1";

fn path(walk: &Walk, side: Side) -> String {
    let kind = if side == Side::Client { Kind::Request } else { Kind::Answer };
    let steps = walk.conversations.iter().filter_map(|it| it.steps.iter().find(|step| step.kind == kind));
    let mut paths: Vec<String> = steps.map(|step| super::super::text::path(step).join(", ")).collect();
    if side == Side::Server {
        // What the proxy hears it then tells.
        paths.reverse();
    }
    paths.join("; then ")
}

fn changed_by_director(walk: &Walk) -> String {
    let steps = walk.conversations[0].steps.iter().filter(|step| step.kind == Kind::Request);
    let mut hops = steps.flat_map(|step| &step.hops);
    let leaves = hops.find(|hop| hop.node.as_str() == DIRECTOR && hop.way == Way::Out);
    leaves.map_or("nothing: it goes no further".to_owned(), |hop| {
        hop.changed.iter().map(|change| change.words()).collect::<Vec<_>>().join(", ")
    })
}

/// Octets of the server's packets in the client's conversation at the interfaces of a node, IP headers included.
fn octets(walk: &Walk, node: &str, way: Way) -> usize {
    const ETHERNET: usize = 14;
    let steps = walk.conversations[0].steps.iter().filter(|step| step.side == Side::Server);
    let hops = steps.flat_map(|step| &step.hops).filter(|hop| hop.node.as_str() == node && hop.way == way);
    hops.map(|hop| walk.record.frames[hop.frame].bytes.len() - ETHERNET).sum()
}

/// All addresses but its own in what the client sends and receives.
fn peers(walk: &Walk) -> String {
    let own = walk.record.from.ip();
    let hops = walk.conversations.iter().flat_map(|it| &it.steps).flat_map(|step| &step.hops);
    let at_client = hops.filter(|hop| hop.node == walk.record.client);
    let seen: BTreeSet<String> = at_client
        .flat_map(|hop| [hop.ip.source, hop.ip.destination])
        .filter(|address| *address != own)
        .map(|address| address.to_string())
        .collect();
    seen.into_iter().collect::<Vec<_>>().join(", ")
}
