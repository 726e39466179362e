//! The checklist: every requirement on a VRRP daemon with its stable id. `V` lines are of RFC 9568 and its verified errata
//! unless another RFC is named; `L` lines are of the site.

use Since::{Optional, Rfc3768, Rfc5798, Rfc9568, Site};

/// The oldest text that asks something of every daemon: nobody can be blamed for what was written later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Of VRRPv2.
    Rfc3768,
    /// Of VRRPv3 from the beginning.
    Rfc5798,
    /// Came with RFC 9568 or its errata.
    Rfc9568,
    /// Whatever the text, it is a MAY.
    Optional,
    /// No text: the site needs it.
    Site,
}

impl Since {
    /// As it is shown.
    pub fn word(self) -> &'static str {
        match self {
            Rfc3768 => "3768",
            Rfc5798 => "5798",
            Rfc9568 => "9568",
            Optional => "optional",
            Site => "site",
        }
    }

    /// Does a daemon that is written after RFC 5798 owe it?
    pub fn is_owed_by_rfc5798(self) -> bool {
        !matches!(self, Rfc9568 | Optional)
    }
}

/// One requirement.
#[derive(Clone, Copy, Debug)]
pub struct Requirement {
    /// Its stable name; scenarios are tagged with it.
    pub id: &'static str,
    /// Which text asks it first.
    pub since: Since,
    /// What it asks, and where that is written.
    pub what: &'static str,
    /// Why no scenario proves it, or none for some engine.
    pub unproved: Option<&'static str>,
}

/// All of them, in order.
#[rustfmt::skip]
pub const REQUIREMENTS: [Requirement; 78] = [
    Requirement { id: "V01", since: Rfc5798, what: "adverts go to 224.0.0.18 in IP protocol 112 (5.1.1.2, 5.1.1.4, 7.2)", unproved: None },
    Requirement { id: "V02", since: Rfc5798, what: "IPv6 adverts go to ff02::12 in next header 112 (5.1.2.2, 7.2)", unproved: None },
    Requirement { id: "V03", since: Rfc5798, what: "TTL 255 (5.1.1.3)", unproved: None },
    Requirement { id: "V04", since: Rfc5798, what: "hop limit 255 (5.1.2.3)", unproved: None },
    Requirement { id: "V05", since: Rfc5798, what: "the source is the primary IPv4 address, never a virtual one (5.1.1.1, 7.2)", unproved: None },
    Requirement { id: "V06", since: Rfc5798, what: "the IPv6 source is a link-local address (5.1.2.1, 7.2)", unproved: None },
    Requirement { id: "V07", since: Rfc5798, what: "the source MAC is the virtual one (7.2, 7.3)", unproved: None },
    Requirement { id: "V08", since: Rfc5798, what: "version 3, type 1 (5.2.1, 5.2.2)", unproved: None },
    Requirement { id: "V09", since: Rfc5798, what: "the configured VRID (5.2.3)", unproved: None },
    Requirement { id: "V10", since: Rfc5798, what: "the configured priority, 255 for the owner, 0 to give up (5.2.4)", unproved: None },
    Requirement { id: "V11", since: Rfc5798, what: "every address, in order, counted right (5.2.5, 5.2.9)", unproved: None },
    Requirement { id: "V12", since: Rfc5798, what: "the first IPv6 address is the link-local one (5.2.9, erratum 8300)", unproved: None },
    Requirement { id: "V13", since: Rfc5798, what: "reserved bits are sent as 0 and ignored on receipt (5.2.6)", unproved: None },
    Requirement { id: "V14", since: Rfc5798, what: "the interval in 12 bits of centiseconds (5.2.7, 6.1)", unproved: None },
    Requirement { id: "V15", since: Rfc9568, what: "the IPv4 checksum covers the message alone, or a pseudo-header if told so (5.2.8)", unproved: None },
    Requirement { id: "V16", since: Rfc5798, what: "the IPv6 checksum covers a pseudo-header (5.2.8)", unproved: None },
    Requirement { id: "V17", since: Rfc5798, what: "adverts are never forwarded (5.1.1.2, 5.1.2.2)", unproved: None },
    Requirement { id: "V18", since: Rfc3768, what: "VRRPv2: version, seconds, no authentication, checksum (RFC 3768 5.3)", unproved: None },
    Requirement { id: "V19", since: Rfc5798, what: "TTL other than 255: dropped (7.1)", unproved: None },
    Requirement { id: "V20", since: Rfc5798, what: "hop limit other than 255: dropped (7.1)", unproved: None },
    Requirement { id: "V21", since: Rfc5798, what: "unknown version: dropped (7.1)", unproved: None },
    Requirement { id: "V22", since: Rfc5798, what: "unknown type: dropped (5.2.2)", unproved: None },
    Requirement { id: "V23", since: Rfc5798, what: "fewer addresses than counted: dropped (7.1)", unproved: None },
    Requirement { id: "V24", since: Rfc5798, what: "wrong checksum: dropped (7.1)", unproved: None },
    Requirement { id: "V25", since: Rfc5798, what: "VRID of somebody else: dropped (7.1)", unproved: None },
    Requirement { id: "V26", since: Rfc9568, what: "no address: ignored (5.2.5, erratum 8299)", unproved: None },
    Requirement { id: "V27", since: Rfc9568, what: "interval 0: dropped (erratum 8301)", unproved: None },
    Requirement { id: "V28", since: Rfc9568, what: "first IPv6 address not link-local: dropped (erratum 8300)", unproved: None },
    Requirement { id: "V29", since: Rfc9568, what: "an owner does not drop the advert of another owner (erratum 8298)", unproved: None },
    Requirement { id: "V30", since: Rfc5798, what: "another interval: not dropped (7.1); VRRPv2: dropped (RFC 3768 7.1)", unproved: None },
    Requirement { id: "V31", since: Optional, what: "other addresses: not dropped (7.1); VRRPv2: dropped unless from the owner (RFC 3768 7.1)", unproved: None },
    Requirement { id: "V32", since: Rfc3768, what: "VRRPv2 with authentication: dropped (RFC 3768 5.3.6, 7.1)", unproved: None },
    Requirement { id: "V33", since: Rfc5798, what: "its own packet, looped back: ignored", unproved: None },
    Requirement { id: "V34", since: Rfc5798, what: "the same VRID in IPv4 and IPv6: two routers (1.x, 5.2)", unproved: None },
    Requirement { id: "V35", since: Rfc5798, what: "the owner becomes active as it starts (6.4.1, erratum 7947)", unproved: None },
    Requirement { id: "V36", since: Rfc5798, what: "anybody else starts in backup (6.4.1)", unproved: None },
    Requirement { id: "V37", since: Rfc5798, what: "skew and down interval by priority (6.1)", unproved: None },
    Requirement { id: "V38", since: Rfc5798, what: "backup: no answer about a virtual address (6.4.2)", unproved: None },
    Requirement { id: "V39", since: Rfc5798, what: "backup: nothing for the virtual MAC is taken (6.4.2)", unproved: None },
    Requirement { id: "V40", since: Rfc5798, what: "backup: no packet for a virtual address is accepted (6.4.2)", unproved: None },
    Requirement { id: "V41", since: Rfc5798, what: "backup: stops without an advert (6.4.2)", unproved: None },
    Requirement { id: "V42", since: Rfc5798, what: "a new active sends an advert and announces every address (6.4.2, erratum 7949)", unproved: None },
    Requirement { id: "V43", since: Rfc5798, what: "backup: priority 0 leaves the skew only (6.4.2)", unproved: None },
    Requirement { id: "V44", since: Rfc5798, what: "backup: the interval of the active counts (6.4.2)", unproved: None },
    Requirement { id: "V45", since: Rfc5798, what: "backup: a lower priority does not hold it off (6.4.2)", unproved: None },
    Requirement { id: "V46", since: Rfc5798, what: "backup without preemption: a lower priority does (6.4.2)", unproved: None },
    Requirement { id: "V47", since: Rfc5798, what: "an owner preempts in any case (6.1)", unproved: None },
    Requirement { id: "V48", since: Rfc5798, what: "active: answers ARP with the virtual MAC (6.4.3, 8.1.2)", unproved: None },
    Requirement { id: "V49", since: Rfc5798, what: "active: answers neighbour solicitations as a router (6.4.3)", unproved: None },
    Requirement { id: "V50", since: Rfc5798, what: "active: forwards what comes to the virtual MAC (6.4.3)", unproved: None },
    Requirement { id: "V51", since: Rfc5798, what: "active: accepts packets for a virtual address by Accept_Mode (6.1, 6.4.3)", unproved: None },
    Requirement { id: "V52", since: Rfc5798, what: "active: stops with priority 0 (6.4.3)", unproved: None },
    Requirement { id: "V53", since: Rfc5798, what: "active: an advert every interval (6.4.3)", unproved: None },
    Requirement { id: "V54", since: Rfc5798, what: "active: answers priority 0 with an advert, and counts from there (6.4.3)", unproved: None },
    Requirement { id: "V55", since: Rfc5798, what: "active: gives way to a higher priority, and takes its interval (6.4.3)", unproved: None },
    Requirement { id: "V56", since: Rfc5798, what: "active: of equal priorities the greater address wins (6.4.3)", unproved: None },
    Requirement { id: "V57", since: Rfc9568, what: "active: answers a losing advert with one of its own (6.4.3)", unproved: None },
    Requirement { id: "V58", since: Rfc5798, what: "a late timer of an earlier state is ignored", unproved: Some("a timer inside the daemon cannot be made late from outside; of our own, tests of labctl/vrrp/machine.rs try every order of inputs") },
    Requirement { id: "V59", since: Rfc5798, what: "announcements at boot wait until they are true (8.1.2, 8.2.2)", unproved: None },
    Requirement { id: "V60", since: Rfc5798, what: "announcements at the transition and none in backup, whose own address works (8.1.2)", unproved: None },
    Requirement { id: "V61", since: Rfc5798, what: "nothing for a virtual address is forwarded, in backup or by an active that is no owner (8.3.1)", unproved: None },
    Requirement { id: "V62", since: Rfc9568, what: "two owners: logged (8.3.2)", unproved: None },
    Requirement { id: "V63", since: Rfc5798, what: "flapping at small intervals: logged (2.5)", unproved: Some("a log line about the machine's own queues, which a suite on the same machine cannot cause on purpose; our own daemon does not log it yet: not done") },
    Requirement { id: "V64", since: Optional, what: "VRRPv2 and VRRPv3 side by side (8.4.2)", unproved: None },
    Requirement { id: "L01", since: Site, what: "the VIP on front, without another address there, while VRRP runs on back", unproved: None },
    Requirement { id: "L02", since: Site, what: "the holder leaves by front, the other by back, and both reach the Internet", unproved: None },
    Requirement { id: "L03", since: Site, what: "never two nodes answer for the VIP", unproved: None },
    Requirement { id: "L04", since: Site, what: "after a heal, the client's ARP points to the holder", unproved: None },
    Requirement { id: "L05", since: Site, what: "graceful stop and failback without a lost probe", unproved: None },
    Requirement { id: "L06", since: Site, what: "a crash costs no more than the time-outs", unproved: None },
    Requirement { id: "L07", since: Site, what: "loss of the front link: takeover at once", unproved: None },
    Requirement { id: "L08", since: Site, what: "loss of the back link with front alive: no takeover", unproved: None },
    Requirement { id: "L09", since: Site, what: "busy processors: no change of roles", unproved: None },
    Requirement { id: "L10", since: Site, what: "no more than six announcements a transition", unproved: None },
    Requirement { id: "L11", since: Site, what: "both links of the holder dead: takeover; all links of the backup dead: none", unproved: None },
    Requirement { id: "L12", since: Site, what: "an address deleted by hand: noticed", unproved: None },
    Requirement { id: "L13", since: Site, what: "a peer that is configured differently: named", unproved: None },
    Requirement { id: "L14", since: Site, what: "packets that are dropped cost no adverts of its own", unproved: None },
];
