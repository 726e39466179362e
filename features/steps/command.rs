//! The program from outside: what it prints and how it ends.

use cucumber::{given, then, when};

use crate::world::{World, labctl};

#[given(regex = r"^I run labctl (.*)$")]
#[when(regex = r"^I run labctl (.*)$")]
fn run(world: &mut World, line: String) -> Result<(), String> {
    let args: Vec<&str> = line.split_whitespace().collect();
    world.run(&args).map(drop)
}

#[when(regex = r"^I run labctl (.*) without the capability (\S+)$")]
fn run_without(world: &mut World, line: String, capability: String) -> Result<(), String> {
    use std::os::unix::process::CommandExt;
    let number: libc::c_ulong = match capability.as_str() {
        "CAP_NET_ADMIN" => 12,
        "CAP_SYS_ADMIN" => 21,
        "CAP_BPF" => 39,
        other => return Err(format!("this step does not know {other}")),
    };
    let mut command = labctl();
    command.args(line.split_whitespace());
    // SAFETY: between fork and exec the closure makes one system call with integer arguments.
    unsafe {
        command.pre_exec(move || match libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    world.said = Some(command.output().map_err(|error| error.to_string())?.into());
    Ok(())
}

#[when(regex = r"^I run on (\S+): (.*)$")]
fn exec(world: &mut World, node: String, line: String) -> Result<(), String> {
    let mut args = vec![node.as_str(), "--", "/bin/sh", "-c"];
    args.push(&line);
    world.run_in_lab("exec", &args).map(drop)
}

#[when(regex = r#"^I run on (\S+) with the input "(.*)": (.*)$"#)]
fn exec_with_input(world: &mut World, node: String, input: String, line: String) -> Result<(), String> {
    use std::io::Write;
    use std::process::Stdio;
    let lab = world.lab()?;
    let mut child = labctl()
        .args(["exec", "--lab", lab.name().as_str(), &node, "--", "/bin/sh", "-c", &line])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut stdin = child.stdin.take().ok_or("no standard input")?;
    stdin.write_all(input.as_bytes()).map_err(|error| error.to_string())?;
    drop(stdin);
    world.said = Some(child.wait_with_output().map_err(|error| error.to_string())?.into());
    Ok(())
}

#[then(regex = r"^it ends with (\d+)$")]
fn ends_with(world: &mut World, code: i32) -> Result<(), String> {
    let said = world.said.as_ref().ok_or("nothing was run")?;
    if said.code == code { Ok(()) } else { Err(format!("it ended with {}: {said:?}", said.code)) }
}

#[then(regex = r#"^it says "(.*)"$"#)]
fn says(world: &mut World, words: String) -> Result<(), String> {
    let said = world.said.as_ref().ok_or("nothing was run")?;
    // Diagnostics are wrapped to the width of a terminal; what they say does not depend on where.
    let flat = |text: &str| text.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    if flat(&said.stderr).contains(&words) { Ok(()) } else { Err(format!("it said: {}", said.stderr)) }
}

#[then(regex = r#"^it prints "(.*)"$"#)]
fn prints(world: &mut World, words: String) -> Result<(), String> {
    let said = world.said.as_ref().ok_or("nothing was run")?;
    if said.stdout.contains(&words) { Ok(()) } else { Err(format!("it printed: {}", said.stdout)) }
}

#[then("it prints nothing")]
fn prints_nothing(world: &mut World) -> Result<(), String> {
    let said = world.said.as_ref().ok_or("nothing was run")?;
    if said.stdout.is_empty() { Ok(()) } else { Err(format!("it printed: {}", said.stdout)) }
}
