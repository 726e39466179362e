//! How directors tell each other of their connections, so that one can go on with what another began although their tables
//! differ. A pure machine for one other director: it numbers what is told to it, sees what was lost on the way, and says
//! when to ask it for everything. It knows neither sockets nor tables.
//!
//! Whoever hears of the other for the first time asks for everything and is told in parts; from then on it is told whatever
//! is new. A gap in the numbers is a loss, which is counted, and a reason to ask for everything once more. A beat each
//! second shows a loss after which nothing followed.

mod datagram;

use std::time::{Duration, Instant};

use datagram::{Body, Datagram};
pub use datagram::{DATAGRAM_BYTES_MAX, Malformed, Part, batches, fitting};

use super::Flow;

/// From one beat to the next. As often as that, at most, is everything asked for.
pub const BEAT: Duration = Duration::from_secs(1);
/// Whoever was asked this often for everything, and did not come to an end, is asked ever more seldom.
const PATIENCE_MAX: Duration = Duration::from_secs(32);

/// What went between this director and another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Flows told to it.
    pub told: u64,
    /// Flows that it told.
    pub heard: u64,
    /// Datagrams of it that never came.
    pub lost: u64,
    /// Datagrams of it that came after later ones, and were passed over.
    pub late: u64,
    /// Datagrams of it that made no sense.
    pub malformed: u64,
    /// How often it told everything, to the end and without a loss.
    pub bulks: u64,
}

/// What a datagram of another director means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It has these connections; nobody, if it only shows that it is there.
    Flows(Vec<Flow>),
    /// It wants to be told everything.
    Asked,
}

/// Another director.
#[derive(Clone, Debug)]
pub struct Peer {
    /// This director's own life.
    life: u64,
    /// The number of the next datagram to it.
    number: u32,
    /// Its life, and the number of its next datagram.
    heard: Option<(u64, u32)>,
    heard_at: Option<Instant>,
    beat_at: Instant,
    want: Want,
    tally: Tally,
}

/// Whether everything is still to be asked for.
#[derive(Clone, Copy, Debug)]
struct Want {
    /// When to ask, and how long to wait for the end before asking again; `None` when everything was told.
    ask: Option<(Instant, Duration)>,
    /// Something was lost since everything was asked for.
    gap: bool,
}

impl Peer {
    /// One that nothing is known of, and that is given a sign of life at once. `life` is another number after each start of
    /// this director.
    pub fn new(life: u64, now: Instant) -> Self {
        Self {
            life,
            number: 0,
            heard: None,
            heard_at: None,
            beat_at: now,
            want: Want { ask: Some((now, BEAT)), gap: false },
            tally: Tally::default(),
        }
    }

    /// When the next beat is due.
    pub fn deadline(&self) -> Instant {
        self.beat_at
    }

    /// The datagram of a beat: a question for everything if that is due, else a sign of life.
    pub fn beat(&mut self, now: Instant) -> Vec<u8> {
        self.beat_at = now + BEAT;
        match self.want.ask {
            // Before it was heard, nobody could tell a loss from what it said to others.
            Some((due, patience)) if due <= now && self.heard.is_some() => {
                let next = (patience * 2).min(PATIENCE_MAX);
                self.want = Want { ask: Some((now + patience, next)), gap: false };
                self.datagram(Body::Ask)
            }
            _ => self.datagram(Body::Flows(Vec::new(), Part::Fresh)),
        }
    }

    /// The datagram that tells these flows, which must be no more than [`fitting`].
    pub fn tell(&mut self, flows: &[Flow], part: Part) -> Vec<u8> {
        self.tally.told += flows.len() as u64;
        self.datagram(Body::Flows(flows.iter().copied().map(Into::into).collect(), part))
    }

    /// Takes a datagram of it.
    pub fn hear(&mut self, bytes: &[u8], now: Instant) -> Result<Heard, Malformed> {
        let datagram = Datagram::decode(bytes).inspect_err(|_| self.tally.malformed += 1)?;
        self.heard_at = Some(now);
        if !self.is_in_order(&datagram, now) {
            self.tally.late += 1;
            return Ok(Heard::Flows(Vec::new()));
        }
        match datagram.body {
            Body::Ask => Ok(Heard::Asked),
            Body::Flows(flows, part) => {
                self.tally.heard += flows.len() as u64;
                if part == Part::BulkEnd && !self.want.gap && self.want.ask.is_some() {
                    self.want.ask = None;
                    self.tally.bulks += 1;
                }
                Ok(Heard::Flows(flows.into_iter().map(Into::into).collect()))
            }
        }
    }

    /// What went to it and came from it so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// When it was last heard.
    pub fn heard_at(&self) -> Option<Instant> {
        self.heard_at
    }

    /// It told everything that it had, and nothing was lost since.
    pub fn is_known(&self) -> bool {
        self.want.ask.is_none()
    }

    fn datagram(&mut self, body: Body) -> Vec<u8> {
        let number = self.number;
        self.number = number.wrapping_add(1);
        Datagram { life: self.life, number, body }.encode()
    }

    /// Counts what is missing before a datagram. One that is behind those that came is of no use: what it tells may be
    /// over by now.
    fn is_in_order(&mut self, datagram: &Datagram, now: Instant) -> bool {
        let missing = match self.heard {
            Some((life, next)) if life == datagram.life => datagram.number.wrapping_sub(next),
            Some(_) | None => {
                // It has begun, or begun anew. It waits for a sign of life in turn, to ask for everything too.
                self.want = Want { ask: Some((now, BEAT)), gap: false };
                self.beat_at = now;
                0
            }
        };
        if missing > u32::MAX / 2 {
            return false;
        }
        self.heard = Some((datagram.life, datagram.number.wrapping_add(1)));
        if missing > 0 {
            self.tally.lost += u64::from(missing);
            self.want.gap = true;
            self.want.ask.get_or_insert((now, BEAT));
        }
        true
    }
}

#[cfg(test)]
mod tests;
