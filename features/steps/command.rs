//! The program from outside: what it prints and how it ends.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use cucumber::{given, then, when};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::world::{World, labctl, root, with_input};

#[given(regex = r"^I run labctl (.*)$")]
#[when(regex = r"^I run labctl (.*)$")]
fn run(world: &mut World, line: String) -> Result<(), String> {
    let args: Vec<&str> = line.split_whitespace().collect();
    world.run(&args).map(drop)
}

#[when(regex = r"^to a full device I run labctl (.*)$")]
fn run_into_full(world: &mut World, line: String) -> Result<(), String> {
    let full =
        std::fs::OpenOptions::new().write(true).open("/dev/full").map_err(|error| error.to_string())?;
    let child = labctl().args(line.split_whitespace()).stdout(full).stderr(Stdio::piped()).spawn();
    let output = child.and_then(Child::wait_with_output).map_err(|error| error.to_string())?;
    world.said = Some(output.into());
    Ok(())
}

#[when(regex = r"^in the lab I run labctl (\S+) (.*)$")]
fn run_in_lab(world: &mut World, verb: String, line: String) -> Result<(), String> {
    let args: Vec<&str> = line.split_whitespace().collect();
    world.run_in_lab(&verb, &args).map(drop)
}

#[when(regex = r"^it is brought up again from (\S+)$")]
fn up_again(world: &mut World, file: String) -> Result<(), String> {
    let lab = world.lab()?;
    world.run(&["up", &file, "--name", lab.name().as_str(), "--format", "json"]).map(drop)
}

#[when(regex = r"^labctl hog takes port (\d+) of (\S+) and is interrupted$")]
fn interrupt(world: &mut World, port: String, node: String) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let lab = world.lab()?;
    let mut hog = labctl();
    hog.args(["hog", "--lab", lab.name().as_str(), &node, "--port", &port, "--for", "1m"]);
    let mut child = hog.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(text)?;
    let mut line = String::new();
    let stdout = child.stdout.as_mut().ok_or("no standard output")?;
    BufReader::new(stdout).read_line(&mut line).map_err(text)?;
    nix::sys::signal::kill(Pid::from_raw(child.id() as i32), Signal::SIGINT)
        .map_err(|errno| errno.to_string())?;
    world.said = Some(child.wait_with_output().map_err(text)?.into());
    if line.contains("listens on port") { Ok(()) } else { Err(format!("the hog said {line:?}")) }
}

#[when(regex = r"^without the capability (\S+) I run labctl (.*)$")]
fn run_without(world: &mut World, capability: String, line: String) -> Result<(), String> {
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

#[when(regex = r"^I run on (\S+) the program (\S+)$")]
fn exec_program(world: &mut World, node: String, program: String) -> Result<(), String> {
    world.run_in_lab("exec", &[&node, &program]).map(drop)
}

#[when(regex = r#"^I run on (\S+) with the input "(.*)": (.*)$"#)]
fn exec_with_input(world: &mut World, node: String, input: String, line: String) -> Result<(), String> {
    let lab = world.lab()?;
    let mut exec = labctl();
    exec.args(["exec", "--lab", lab.name().as_str(), &node, "--", "/bin/sh", "-c", &line]);
    world.said = Some(with_input(exec, &input)?.into());
    Ok(())
}

/// `script` gives the program a terminal of its own and prints what appears on it.
#[when(regex = r"^I run on (\S+) from a terminal: (.*)$")]
fn exec_on_terminal(world: &mut World, node: String, line: String) -> Result<(), String> {
    let lab = world.lab()?;
    let program = labctl().get_program().to_string_lossy().into_owned();
    let inner = format!("{program} exec --lab {} {node} -- {line}", lab.name());
    let mut script = std::process::Command::new("script");
    script.args(["--quiet", "--return", "--command", &inner, "/dev/null"]);
    world.said = Some(with_input(script, "")?.into());
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

#[when("I ask for the events of the lab")]
fn events(world: &mut World) -> Result<(), String> {
    world.run_in_lab("events", &[]).map(drop)
}

/// Another user's program must not lie in a folder that only this one may enter, so it gets a copy.
#[when(regex = r"^an ordinary user runs labctl up (\S+) in a user namespace$")]
fn in_user_namespace(world: &mut World, file: String) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    let text = |error: std::io::Error| error.to_string();
    let topology = std::fs::read_to_string(root().join(&file)).map_err(text)?;
    let folder = tempfile::tempdir().map_err(text)?;
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).map_err(text)?;
    let program = folder.path().join("program");
    std::fs::copy(labctl().get_program(), &program).map_err(text)?;
    let script = r#""$0" up - && "$0" reach --from left right:80 && "$0" down --wait"#;
    let mut command = std::process::Command::new("unshare");
    command.args(["-U", "-r", "-n", "-m", "--", "/bin/sh", "-c", script]).arg(program);
    command.current_dir("/").uid(NOBODY).gid(NOBODY);
    world.said = Some(with_input(command, &topology)?.into());
    Ok(())
}
