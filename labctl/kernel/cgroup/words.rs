//! The words of both forms of control groups: which file takes a limit, and what the counters say. Pure.

use serde::{Deserialize, Serialize};

use super::place::{Controller, Version};

/// Processor time is dealt out anew in each of these, in microseconds: the kernel's default.
const PERIOD_US: u64 = 100_000;

/// What a node may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Hundredths of a processor.
    pub cpu_hundredths: Option<u32>,
    /// Memory and swap together.
    pub memory_bytes: Option<u64>,
}

impl Limits {
    /// What must keep them.
    pub fn controllers(&self) -> Vec<Controller> {
        let cpu = self.cpu_hundredths.map(|_| Controller::Cpu);
        cpu.into_iter().chain(self.memory_bytes.map(|_| Controller::Memory)).collect()
    }
}

/// What the kernel counted of a node's use since the lab is up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Of its processor time, if that is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuCounters>,
    /// Of its memory, if that is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryCounters>,
}

/// What the kernel counted of processor time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuCounters {
    /// Periods of 100 ms in which it ran.
    pub nr_periods: u64,
    /// Those of them in which it was stopped for having used its share.
    pub nr_throttled: u64,
    /// How long it was stopped, all its processors together.
    pub throttled_us: u64,
}

/// What the kernel counted of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryCounters {
    /// In use now, caches and files in memory included.
    pub used_bytes: u64,
    /// The most that ever was; older kernels do not count it in version 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    /// Processes that the kernel killed because there was no more.
    pub oom_kill: u64,
}

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) file: &'static str,
    pub(super) value: String,
    /// The kernel may have been built without it.
    pub(super) optional: bool,
}

fn setting(file: &'static str, value: impl ToString) -> Setting {
    Setting { file, value: value.to_string(), optional: false }
}

fn if_there(file: &'static str, value: impl ToString) -> Setting {
    Setting { optional: true, ..setting(file, value) }
}

/// The files that keep one of the limits, in the order in which they must be written.
pub(super) fn settings(version: Version, controller: Controller, limits: &Limits) -> Vec<Setting> {
    match (controller, version) {
        (Controller::Cpu, version) => {
            let Some(hundredths) = limits.cpu_hundredths else { return Vec::new() };
            let quota = u64::from(hundredths) * PERIOD_US / 100;
            match version {
                Version::V1 => {
                    vec![setting("cpu.cfs_period_us", PERIOD_US), setting("cpu.cfs_quota_us", quota)]
                }
                Version::V2 => vec![setting("cpu.max", format!("{quota} {PERIOD_US}"))],
            }
        }
        (Controller::Memory, version) => {
            let Some(bytes) = limits.memory_bytes else { return Vec::new() };
            match version {
                // That of memory and swap cannot be below that of memory.
                Version::V1 => vec![
                    setting("memory.limit_in_bytes", bytes),
                    if_there("memory.memsw.limit_in_bytes", bytes),
                ],
                Version::V2 => vec![setting("memory.max", bytes), if_there("memory.swap.max", 0)],
            }
        }
    }
}

/// The value of a key in a file of `key value` lines.
fn number(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_once(' ').filter(|(word, _)| *word == key)?.1.trim().parse().ok())
}

/// What `cpu.stat` says.
pub(super) fn cpu(version: Version, stat: &str) -> Option<CpuCounters> {
    let throttled_us = match version {
        Version::V1 => number(stat, "throttled_time")? / 1_000,
        Version::V2 => number(stat, "throttled_usec")?,
    };
    let (nr_periods, nr_throttled) = (number(stat, "nr_periods")?, number(stat, "nr_throttled")?);
    Some(CpuCounters { nr_periods, nr_throttled, throttled_us })
}

/// The files that count memory: in use, the most that was, processes killed.
pub(super) fn memory_files(version: Version) -> [&'static str; 3] {
    match version {
        Version::V1 => ["memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"],
        Version::V2 => ["memory.current", "memory.peak", "memory.events"],
    }
}

/// What those files say.
pub(super) fn memory(used: &str, peak: Option<&str>, events: &str) -> Option<MemoryCounters> {
    let bytes = |text: &str| text.trim().parse().ok();
    Some(MemoryCounters {
        used_bytes: bytes(used)?,
        peak_bytes: peak.and_then(bytes),
        oom_kill: kills(events)?,
    })
}

/// How many processes were killed, in the last of those files.
pub(super) fn kills(events: &str) -> Option<u64> {
    number(events, "oom_kill")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Limits = Limits { cpu_hundredths: Some(50), memory_bytes: Some(64 << 20) };

    fn written(version: Version) -> String {
        let both = [Controller::Cpu, Controller::Memory];
        let all = both.iter().flat_map(|controller| settings(version, *controller, &HALF));
        let line = |it: Setting| {
            format!("{} = {}{}", it.file, it.value, if it.optional { ", if there" } else { "" })
        };
        all.map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn half_a_processor_and_64_mib() {
        insta::assert_snapshot!(written(Version::V1), @"
        cpu.cfs_period_us = 100000
        cpu.cfs_quota_us = 50000
        memory.limit_in_bytes = 67108864
        memory.memsw.limit_in_bytes = 67108864, if there
        ");
        insta::assert_snapshot!(written(Version::V2), @"
        cpu.max = 50000 100000
        memory.max = 67108864
        memory.swap.max = 0, if there
        ");
    }

    #[test]
    fn nothing_is_written_for_what_is_not_limited() {
        let limits = Limits { cpu_hundredths: None, memory_bytes: Some(1) };
        assert_eq!(limits.controllers(), [Controller::Memory]);
        assert_eq!(settings(Version::V2, Controller::Cpu, &limits), []);
        assert_eq!(Limits::default().controllers(), []);
    }

    #[test]
    fn counters_of_both_forms_mean_the_same() {
        let v1 = "nr_periods 40\nnr_throttled 7\nthrottled_time 1500000000\nnr_bursts 0\nburst_time 0\n";
        let v2 = "usage_usec 9\nuser_usec 5\nsystem_usec 4\nnr_periods 40\nnr_throttled 7\nthrottled_usec 1500000\n";
        let same = CpuCounters { nr_periods: 40, nr_throttled: 7, throttled_us: 1_500_000 };
        assert_eq!(cpu(Version::V1, v1), Some(same));
        assert_eq!(cpu(Version::V2, v2), Some(same));
        // A controller that is not handed on leaves a shorter file.
        assert_eq!(cpu(Version::V2, "usage_usec 9\n"), None);
        let v1 = memory("4096\n", Some("8192\n"), "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
        let v2 = memory("4096\n", Some("8192\n"), "low 0\nhigh 0\nmax 12\noom 4\noom_kill 3\n");
        assert_eq!(v1, Some(MemoryCounters { used_bytes: 4096, peak_bytes: Some(8192), oom_kill: 3 }));
        assert_eq!(v1, v2);
        assert_eq!(memory("4096\n", None, "oom_kill 0\n").unwrap().peak_bytes, None);
    }
}
