//! The connection to the other web: frames in their order, who is there, and what two webs that meet are to each other. It does
//! not know what becomes of conversations.

use super::contract::{Action, Cause, ConnectionId, Degrade, DropCause, Member, Time};
use super::machine::{Bond, Half, Peer, Phase};
use super::message::{Frame, Message, PEER_VERSION, Standing};

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: ConnectionId,
    pub(super) heard_at: Time,
    pub(super) said_at: Time,
    next_in: u64,
    next_out: u64,
    /// What this web said that it is.
    told: Standing,
    /// Who the other is, and what.
    pub(super) peer: Option<(Member, Standing)>,
}

impl Peer {
    pub(super) fn connected(&mut self, connection: ConnectionId) {
        if self.link.is_some() {
            self.drop_link(DropCause::Replaced);
        }
        let standing = self.standing();
        self.link = Some(Link {
            connection,
            heard_at: self.now,
            said_at: self.now,
            next_in: 0,
            next_out: 0,
            told: standing,
            peer: None,
        });
        self.say(Message::Hello { from: self.config.me, standing });
    }

    /// Says something to the other, if there is a connection.
    pub(super) fn say(&mut self, message: Message) {
        let Some(link) = &mut self.link else { return };
        let frame = Frame { version: PEER_VERSION, number: link.next_out, message };
        link.next_out += 1;
        link.said_at = self.now;
        self.actions.push(Action::SendPeer { connection: link.connection, frame });
    }

    pub(super) fn say_alive(&mut self) {
        let due = |link: &Link| link.said_at + self.config.alive_every <= self.now;
        if self.link.as_ref().is_some_and(due) {
            self.say(Message::Alive);
        }
    }

    pub(super) fn drop_if_silent(&mut self) {
        let silent = |link: &Link| link.heard_at + self.config.silence_max <= self.now;
        if self.link.as_ref().is_some_and(silent) {
            self.drop_link(DropCause::Silence);
        }
    }

    pub(super) fn drop_link(&mut self, because: DropCause) {
        if let Some(link) = &self.link {
            self.actions.push(Action::DropPeer { connection: link.connection, because });
        }
        self.unlink();
    }

    /// The connection is gone, and what was under way on it.
    pub(super) fn unlink(&mut self) {
        self.link = None;
        self.unlinked_since = self.now;
        self.probes.in_flight = false;
        let now = self.now;
        match &mut self.phase {
            Phase::Blank(blank) => blank.staging = None,
            Phase::Sole(sole) => sole.admission = None,
            Phase::Half(half) if half.bond == Bond::Live => {
                self.asks.forget();
                let goes_back = self.config.degrade == Degrade::Always;
                #[cfg(test)]
                let goes_back = goes_back || self.flaw == Some(super::tests::Flaw::GoesBack);
                // The joiner has not said that it joined. If it has, it finds that the witness does not know it, and asks for that.
                match half.before.take().filter(|_| goes_back) {
                    Some(sole) => self.phase = Phase::Sole(sole),
                    None => half.bond = Bond::Apart { since: now, refused: false },
                }
            }
            Phase::Half(_) => {}
        }
    }

    /// A frame of the other.
    pub(super) fn hear(&mut self, connection: ConnectionId, frame: Frame) {
        let Some(link) = self.link.as_mut().filter(|link| link.connection == connection) else { return };
        if frame.version != PEER_VERSION {
            return self.drop_link(DropCause::Version);
        }
        if frame.number != link.next_in {
            return self.drop_link(DropCause::Gap);
        }
        link.next_in += 1;
        link.heard_at = self.now;
        let fits = match (frame.message, link.peer) {
            (Message::Hello { from, standing }, None) => self.meet(from, standing),
            (message, Some((other, _))) => self.take(other, message),
            (_, None) => false,
        };
        if !fits {
            self.drop_link(DropCause::Misfit);
        }
    }

    /// The other says who it is. Whoever joins waits for the other to begin.
    fn meet(&mut self, from: Member, standing: Standing) -> bool {
        let Some(link) = &mut self.link else { return false };
        if from.side == self.config.me.side {
            return false;
        }
        link.peer = Some((from, standing));
        let told = link.told;
        match (&mut self.phase, standing) {
            (Phase::Half(half), Standing::Half { pairing, applied, .. })
                if pairing == half.pairing && half.knows(applied) =>
            {
                half.bond = Bond::Live;
                half.because = Cause::Resumed;
                half.noted = false;
                self.asks.forget();
                self.resume(applied);
            }
            // What has happened since, this one has no part in.
            (Phase::Half(_), Standing::Sole { .. }) => self.give_way(),
            (Phase::Sole(_), Standing::Sole { .. }) => {
                if outranks(told, standing, from) {
                    link.peer = Some((from, Standing::Blank { copy: None }));
                } else {
                    self.give_way();
                }
            }
            // The one that has something that counts begins; where both have not, one of them asks the witness; where one
            // is half of another pair, it asks to be the sole holder.
            (Phase::Blank(_), _) | (Phase::Half(_) | Phase::Sole(_), _) => {}
        }
        true
    }

    /// Anything but a greeting.
    fn take(&mut self, other: Member, message: Message) -> bool {
        match (&mut self.phase, message) {
            (_, Message::Alive) => true,
            // A pair says good-bye to nobody: what was meant for the half that this was may come after it gave way.
            (_, Message::Hello { .. }) => false,
            (Phase::Blank(_) | Phase::Half(Half { bond: Bond::Apart { .. }, .. }), Message::Snapshot) => {
                self.begin_to_join();
                true
            }
            (Phase::Blank(_), Message::Piece { number, parts }) => self.take_piece(number, parts),
            (Phase::Blank(_), Message::Tail { entry }) => self.take_tail(other, entry),
            (Phase::Blank(_), Message::PairUp { pairing, copy }) => self.join(other, pairing, copy),
            (Phase::Sole(_), Message::PieceTaken { number }) => self.piece_taken(number),
            // Those of the last pieces come when the joiner has everything already.
            (Phase::Half(_), Message::PieceTaken { .. }) => true,
            (Phase::Half(half), Message::Joined { pairing }) => half.confirm(pairing),
            (Phase::Half(Half { bond: Bond::Live, .. }), message) => self.take_from_partner(other, message),
            (Phase::Blank(_) | Phase::Half(_) | Phase::Sole(_), _) => false,
        }
    }
}

/// Of two that have both gone on alone, does this one stay? Both come to the same answer, because they compare what they told
/// each other. The witness decides where it was asked; else most turns stay; else the first web's.
fn outranks(mine: Standing, theirs: Standing, other: Member) -> bool {
    let rank = |standing| match standing {
        Standing::Sole { copy, licensed, turns } => {
            Some((licensed, copy.founding, licensed.then_some(copy.term), turns))
        }
        Standing::Blank { .. } | Standing::Half { .. } => None,
    };
    (rank(mine), other.side) > (rank(theirs), other.side.other())
}
