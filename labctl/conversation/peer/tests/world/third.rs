//! The witness of the simulated site: the ways to it and back, what is on its disk, and when memory may begin.

use std::time::Duration;

use super::super::super::machine::Phase;
use super::super::super::*;
use super::{Cable, Happening, Site, index};

impl Site {
    pub(super) fn ask(&mut self, from: Side, ask: Ask) {
        if self.is_cut(Cable::Witness(from)) || self.one_in(40) {
            return;
        }
        for _ in 0..if self.one_in(20) { 2 } else { 1 } {
            let after = self.way_to_witness();
            self.push(after, Happening::Asked(ask));
        }
    }

    /// Mostly short; at times a question or an answer is overtaken by many.
    fn way_to_witness(&mut self) -> Duration {
        match self.random() % 20 {
            0 => self.between(100, 2_500_000),
            1..=3 => self.between(1_000, 150_000),
            _ => self.between(50, 900),
        }
    }

    pub(super) fn asked(&mut self, ask: Ask) {
        if self.is_cut(Cable::Witness(ask.from.side)) {
            return;
        }
        let now = self.witness_clock.read(self.now);
        let Some(witness) = &mut self.witness else { return };
        for action in witness.handle(now, ask) {
            match action {
                WitnessAction::Persist(record) => {
                    if record.term != self.disk.term {
                        let holders: Vec<_> =
                            record.holders.iter().map(|holder| holder.side.to_string()).collect();
                        let holders = holders.join(" and ");
                        self.note(|| format!("the witness writes: term {}, {holders}", record.term));
                    }
                    if matches!(ask.want, Want::Found { .. }) {
                        self.check_beginning(record);
                    }
                    self.disk = record;
                    if record.founding > 0 {
                        self.written = record;
                    }
                }
                WitnessAction::Reply(reply) => {
                    for _ in 0..if self.one_in(20) { 2 } else { 1 } {
                        let after = self.way_to_witness();
                        self.push(after, Happening::Replied(reply));
                    }
                }
            }
        }
    }

    /// Memory begins anew only if nobody is left who had it.
    fn check_beginning(&mut self, record: Record) {
        if record.founding == self.disk.founding {
            return;
        }
        let wiped = self.disk.founding == 0;
        let lives = |member: Member| {
            let it = &self.webs[index(member.side)];
            let blank = |peer: &Peer| matches!(peer.phase, Phase::Blank(_));
            it.config.me == member && it.peer.as_ref().is_some_and(|peer| !(wiped && blank(peer)))
        };
        // Where the disk was wiped, one that has everything may have to begin anew with that.
        let has = |member: &Member| lives(*member) && !(wiped && record.holders == Holders::One(*member));
        let alive = self.written.holders.iter().find(has);
        self.must(alive.is_none(), || format!("memory begins anew although {alive:?} has it"));
    }
}
