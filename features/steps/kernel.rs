//! Kernels that lack something: the one that runs here, which refuses a system call in the words of one that does not know it.

use std::io;
use std::os::unix::process::CommandExt as _;

use cucumber::when;

use super::lab::changed;
use crate::world::{World, labctl, with_input};

/// `BPF_LINK_CREATE` of `linux/bpf.h`, by which programs come to tcx.
const BPF_LINK_CREATE: u32 = 28;
/// Where a filter finds the number of the call and its first argument: `struct seccomp_data`.
const NUMBER_AT: u32 = 0;
const FIRST_ARGUMENT_AT: u32 = 16;

#[when(regex = r#"^on a kernel without (eBPF|tcx) I start (\S+) with "(.*)" instead of "(.*)"$"#)]
fn start_without(
    world: &mut World,
    what: String,
    file: String,
    new: String,
    old: String,
) -> Result<(), String> {
    let text = changed(&file, &new, &old)?;
    let name = world.lab_name("site");
    let mut up = labctl();
    up.args(["up", "-", "--name", name.as_str()]);
    let mut filter = if what == "eBPF" { no_ebpf() } else { no_tcx() };
    // SAFETY: between fork and exec the closure makes one system call, on memory that was allocated before.
    unsafe { up.pre_exec(move || install(&mut filter)) };
    world.said = Some(with_input(up, &text)?.into());
    Ok(())
}

#[when("I ask for the status of the lab")]
fn status(world: &mut World) -> Result<(), String> {
    world.run_in_lab("status", &[]).map(drop)
}

/// There is no call of that number.
fn no_ebpf() -> Vec<libc::sock_filter> {
    vec![
        load(NUMBER_AT),
        unless(libc::SYS_bpf as u32, 1),
        end(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        end(libc::SECCOMP_RET_ALLOW),
    ]
}

/// Nothing can be attached in the way that came with tcx.
fn no_tcx() -> Vec<libc::sock_filter> {
    vec![
        load(NUMBER_AT),
        unless(libc::SYS_bpf as u32, 3),
        load(FIRST_ARGUMENT_AT),
        unless(BPF_LINK_CREATE, 1),
        end(libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
        end(libc::SECCOMP_RET_ALLOW),
    ]
}

fn load(at: u32) -> libc::sock_filter {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, at)
}

/// Leaves so many steps out unless what was loaded is that.
fn unless(value: u32, steps: u8) -> libc::sock_filter {
    step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, steps, value)
}

fn end(verdict: u32) -> libc::sock_filter {
    step(libc::BPF_RET | libc::BPF_K, 0, verdict)
}

fn step(code: u32, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf, k }
}

/// For the calling thread and all that it will start.
fn install(filter: &mut [libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel reads the filter, which is as long as its head says, before the call returns.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
