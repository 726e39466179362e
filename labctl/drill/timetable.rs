//! Which faults are due. It knows when, not how.

use std::time::Duration;

use super::spec::Fault;

/// The faults of a drill in order of time, and how far they have come.
#[derive(Clone, Debug)]
pub struct Timetable {
    faults: Vec<Fault>,
    next: usize,
}

impl Timetable {
    /// A timetable of which nothing has happened yet. Faults of the same time keep their order.
    pub fn new(mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| fault.at);
        Self { faults, next: 0 }
    }

    /// The next fault that is due this long after the start, if one is. Each is handed out once.
    pub fn due(&mut self, elapsed: Duration) -> Option<Fault> {
        let fault = self.faults.get(self.next).filter(|fault| fault.at <= elapsed)?;
        self.next += 1;
        Some(fault.clone())
    }

    /// When the next fault is due, after the start.
    pub fn next_at(&self) -> Option<Duration> {
        self.faults.get(self.next).map(|fault| fault.at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::{Action, Target};
    use super::*;

    fn fault(at_ms: u64, action: Action) -> Fault {
        Fault { at: Duration::from_millis(at_ms), action, targets: vec![Target::Holder] }
    }

    #[test]
    fn each_fault_is_handed_out_once_and_in_order_of_time() {
        let (late, early) = (fault(6000, Action::PowerOn), fault(2000, Action::PowerOff));
        let mut timetable = Timetable::new(vec![late.clone(), early.clone()]);
        assert_eq!(timetable.next_at(), Some(early.at));
        assert_eq!(timetable.due(Duration::from_millis(1999)), None);
        assert_eq!(timetable.due(early.at), Some(early));
        assert_eq!(timetable.due(Duration::from_millis(5999)), None);
        // A driver that woke late still gets it.
        assert_eq!(timetable.due(Duration::from_secs(60)), Some(late));
        assert_eq!(timetable.due(Duration::from_secs(60)), None);
        assert_eq!(timetable.next_at(), None);
    }

    #[test]
    fn faults_of_the_same_time_keep_the_order_of_the_file() {
        let mut timetable = Timetable::new(vec![fault(1000, Action::KillNode), fault(1000, Action::PowerOn)]);
        let order: Vec<_> =
            std::iter::from_fn(|| timetable.due(Duration::from_secs(1))).map(|f| f.action).collect();
        assert_eq!(order, [Action::KillNode, Action::PowerOn]);
    }
}
