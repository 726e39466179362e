//! What machines made of namespaces have used: processor time, memory, bytes written and bytes on the wire, summed over all
//! processes of a PID namespace, by one walk through `/proc` for all machines. It knows no lab.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

/// What a machine has used since its PID 1 started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Processor time, that of processes which have ended included.
    pub cpu: Duration,
    /// Memory now; what several processes share counts in parts (proportional set size).
    pub memory_bytes: u64,
    /// Bytes that its processes gave to `write` and its kin (proc(5), `wchar`), those that have ended left out. Bytes to
    /// sockets are among them where a program writes to those in the same way, as etcd and Redis do; ours do not.
    pub written_bytes: u64,
    /// Bytes that came in by its interfaces, loopback left out.
    pub received_bytes: u64,
    /// Bytes that left by its interfaces, loopback left out.
    pub sent_bytes: u64,
}

/// What the machines with these processes as PID 1 have used. One that has ended meanwhile is not in the answer.
pub fn of_machines(inits: &[i32]) -> io::Result<BTreeMap<i32, Used>> {
    let tick = ticks_per_s()?;
    let mut machines: BTreeMap<PathBuf, i32> = BTreeMap::new();
    let mut used: BTreeMap<i32, Used> = BTreeMap::new();
    for &init in inits {
        let (Ok(namespace), Ok(devices)) = (pid_namespace(init), fs::read_to_string(at(init, "net/dev")))
        else {
            continue;
        };
        let (received_bytes, sent_bytes) = traffic(&devices);
        used.insert(init, Used { received_bytes, sent_bytes, ..Used::default() });
        machines.insert(namespace, init);
    }
    for entry in fs::read_dir("/proc")? {
        // Whoever ends meanwhile is counted by its parent.
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Some(init) = pid_namespace(pid).ok().and_then(|namespace| machines.get(&namespace)) else {
            continue;
        };
        let (Some(of_machine), Ok(stat)) = (used.get_mut(init), fs::read_to_string(at(pid, "stat"))) else {
            continue;
        };
        of_machine.cpu += Duration::from_secs_f64(ticks(&stat).unwrap_or(0) as f64 / tick);
        // Also where the disk is memory: what reaches a block device says nothing there.
        let io = fs::read_to_string(at(pid, "io")).unwrap_or_default();
        of_machine.written_bytes += written(&io).unwrap_or(0);
        let rollup = fs::read_to_string(at(pid, "smaps_rollup")).unwrap_or_default();
        of_machine.memory_bytes += proportional_bytes(&rollup).unwrap_or(0);
    }
    Ok(used)
}

fn at(pid: i32, file: &str) -> String {
    format!("/proc/{pid}/{file}")
}

fn pid_namespace(pid: i32) -> io::Result<PathBuf> {
    fs::read_link(at(pid, "ns/pid"))
}

fn ticks_per_s() -> io::Result<f64> {
    let ticks = sysconf(SysconfVar::CLK_TCK)?;
    ticks.map(|ticks| ticks as f64).ok_or_else(|| io::Error::other("the kernel has no clock ticks"))
}

/// Ticks in `/proc/PID/stat` (proc(5), fields 14 to 17): its own, and those of children that it has waited for.
fn ticks(stat: &str) -> Option<u64> {
    // The program's name, in parentheses, may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()? + next()? + next()?)
}

/// `wchar:` of `/proc/PID/io`.
fn written(io: &str) -> Option<u64> {
    io.lines().find_map(|line| line.strip_prefix("wchar:"))?.trim().parse().ok()
}

/// `Pss:` of `/proc/PID/smaps_rollup`.
fn proportional_bytes(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

/// Bytes received and sent in `/proc/PID/net/dev`, of all interfaces but loopback.
fn traffic(devices: &str) -> (u64, u64) {
    let of_line = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let counters: Vec<u64> = counters.split_ascii_whitespace().map_while(|it| it.parse().ok()).collect();
        (name.trim() != "lo").then_some((*counters.first()?, *counters.get(8)?))
    };
    devices.lines().filter_map(of_line).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_call_itself_anything() {
        let stat = "7 (a) R 1 (b)) S 1 7 7 0 -1 4194560 100 200 0 0 11 22 33 44 20 0 1 0 99 1 2";
        assert_eq!(ticks(stat), Some(110));
        assert_eq!(ticks("7 (cat) S 1 7"), None);
    }

    #[test]
    fn loopback_is_no_wire() {
        let devices = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    1000       1    0    0    0     0          0         0     1000       1    0    0    0     0       0          0
  back:      20       1    0    0    0     0          0         0      300       1    0    0    0     0       0          0
  data:       1       1    0    0    0     0          0         0        7       1    0    0    0     0       0          0
";
        assert_eq!(traffic(devices), (21, 307));
        assert_eq!(traffic(""), (0, 0));
    }

    #[test]
    fn memory_is_that_of_the_rollup() {
        let rollup = "5581-7ffd ---p 00000000 00:00 0   [rollup]\nRss:   2048 kB\nPss:             12 kB\nPss_Dirty: 3 kB\n";
        assert_eq!(proportional_bytes(rollup), Some(12 * 1_024));
        assert_eq!(proportional_bytes(""), None);
    }

    #[test]
    fn what_is_written_need_not_reach_a_device() {
        let io = "rchar: 5\nwchar: 70\nsyscr: 1\nsyscw: 2\nread_bytes: 0\nwrite_bytes: 0\n";
        assert_eq!(written(io), Some(70));
        assert_eq!(written(""), None);
    }

    #[test]
    fn this_machine_has_used_something() {
        // The root of this process's own PID namespace; others of it may do a great deal, none can undo it.
        let me = std::process::id().cast_signed();
        let before = of_machines(&[me]).expect("a readable /proc")[&me];
        let until = Duration::from_millis(50);
        let own =
            || nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from);
        let began = own().expect("a clock");
        while own().expect("a clock") - began < until {
            std::hint::spin_loop();
        }
        let after = of_machines(&[me]).expect("a readable /proc")[&me];
        assert!(after.cpu > before.cpu && after.memory_bytes > 0, "{before:?}, then {after:?}");
        assert!(of_machines(&[i32::MAX]).expect("a readable /proc").is_empty());
    }
}
