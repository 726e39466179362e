//! Drills: run as a user runs them, in a folder of the scenario's own.

use std::path::PathBuf;

use cucumber::{then, when};
use serde_json::Value;

use crate::world::{World, labctl, root};

/// Runs a drill file, as it is or with one line changed.
fn run(world: &mut World, file: &str, change: Option<(&str, &str)>) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let scratch = tempfile::tempdir().map_err(failed)?;
    let original = root().join(file);
    let text = std::fs::read_to_string(&original).map_err(|error| format!("read {file}: {error}"))?;
    let (new, old) = change.unwrap_or_default();
    if !text.contains(old) {
        return Err(format!("{file} has no {old:?}"));
    }
    // The topology's path is relative to the drill's.
    let folder = original.parent().unwrap_or(root()).join("..");
    let text = text.replace(old, new);
    let text = text.replace("topology: ../", &format!("topology: {}/", folder.display()));
    let drill = scratch.path().join("drill.yaml");
    std::fs::write(&drill, text).map_err(failed)?;
    let out = scratch.path().join("reports");
    let name = world.lab_name("drill");
    let args = ["drill", "run", &drill.display().to_string(), "--out", &out.display().to_string()];
    // A node has a /tmp of its own: the program must not depend on being found where it lies.
    let program = scratch.path().join("labctl");
    std::fs::copy(labctl().get_program(), &program).map_err(failed)?;
    let mut command = std::process::Command::new(program);
    command.args(args).args(["--name", name.as_str()]).current_dir(root()).env_remove("LABCTL_LAB");
    world.said = Some(command.output().map_err(failed)?.into());
    world.reports = Some(scratch);
    Ok(())
}

#[when(regex = r"^I run the drill (\S+)$")]
fn run_as_is(world: &mut World, file: String) -> Result<(), String> {
    run(world, &file, None)
}

#[when(regex = r#"^I run the drill (\S+) with "(.*)" instead of "(.*)"$"#)]
fn run_changed(world: &mut World, file: String, new: String, old: String) -> Result<(), String> {
    run(world, &file, Some((&new, &old)))
}

fn folder(world: &World) -> Result<PathBuf, String> {
    let reports = world.reports.as_ref().ok_or("no drill was run")?.path().join("reports");
    let mut entries =
        std::fs::read_dir(&reports).map_err(|error| format!("{}: {error}", reports.display()))?;
    let entry = entries.next().ok_or("there is no report")?;
    entry.map(|entry| entry.path()).map_err(|error| error.to_string())
}

fn report(world: &World) -> Result<Value, String> {
    let text =
        std::fs::read_to_string(folder(world)?.join("report.json")).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

#[then(regex = r"^the report says (pass|fail)$")]
fn says(world: &mut World, verdict: String) -> Result<(), String> {
    let report = report(world)?;
    let summary =
        std::fs::read_to_string(folder(world)?.join("summary.md")).map_err(|error| error.to_string())?;
    let first = summary.lines().next().unwrap_or_default();
    if report["verdict"] == verdict.as_str() && first.contains(&format!(": {}", verdict.to_uppercase())) {
        Ok(())
    } else {
        Err(format!("{first}: {}", report["checks"]))
    }
}

#[then("the report has an outage and no lost turn")]
fn outage_without_loss(world: &mut World) -> Result<(), String> {
    let report = report(world)?;
    let outages = report["outages"].as_array().map_or(0, Vec::len);
    let acknowledged = report["turns"]["acknowledged"].as_u64().unwrap_or(0);
    let lost = report["turns"]["lost"].as_array().map_or(usize::MAX, Vec::len);
    if outages > 0 && acknowledged > 0 && lost == 0 { Ok(()) } else { Err(report.to_string()) }
}

#[then("the VIP moved to the other proxy and back")]
fn moved(world: &mut World) -> Result<(), String> {
    let changes = report(world)?["holder_changes"].clone();
    let to: Vec<&str> =
        changes.as_array().into_iter().flatten().filter_map(|change| change["to"].as_str()).collect();
    if to == ["proxy2", "proxy1"] { Ok(()) } else { Err(changes.to_string()) }
}

#[when("I render the report again")]
fn replay(world: &mut World) -> Result<(), String> {
    let folder = folder(world)?;
    for file in ["report.json", "summary.md"] {
        let (from, to) = (folder.join(file), folder.join(format!("{file}.before")));
        std::fs::copy(from, to).map_err(|error| error.to_string())?;
    }
    world.run(&["drill", "replay", &folder.display().to_string()]).map(drop)
}

#[then("it is the same, byte for byte")]
fn same(world: &mut World) -> Result<(), String> {
    let folder = folder(world)?;
    for file in ["report.json", "summary.md"] {
        let read = |name: &str| std::fs::read(folder.join(name)).map_err(|error| error.to_string());
        if read(file)? != read(&format!("{file}.before"))? {
            return Err(format!("{file} differs"));
        }
    }
    match world.said.as_ref() {
        Some(said) if said.code == 0 => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// What `labctl check` makes of the history in the report's folder: its exit code and its words.
fn check(world: &mut World) -> Result<(i32, String), String> {
    let history = folder(world)?.join("history.jsonl");
    let said = world.run(&["check", &history.display().to_string()])?;
    Ok((said.code, said.stdout))
}

#[then(expr = "the checker finds its history consistent, with reads and acknowledgements of {string}")]
fn consistent(world: &mut World, durability: String) -> Result<(), String> {
    let report = report(world)?;
    let (code, words) = check(world)?;
    let reads = report["memory"]["reads"].as_u64().unwrap_or(0);
    let (kept, acknowledged) =
        (&report["turns"]["durability"][&durability], &report["turns"]["acknowledged"]);
    if code == 0 && report["memory"]["consistent"] == true && reads > 0 && kept == acknowledged {
        Ok(())
    } else {
        Err(format!("exit {code}: {words}\n{}\n{}", report["memory"], report["turns"]["durability"]))
    }
}

#[then("the checker finds a contradiction in its history")]
fn contradiction(world: &mut World) -> Result<(), String> {
    let report = report(world)?;
    let (code, words) = check(world)?;
    // The report tells the same story as the checker does.
    let told = report["memory"]["story"].as_array().cloned().unwrap_or_default();
    let same = !told.is_empty() && told.iter().filter_map(Value::as_str).all(|line| words.contains(line));
    if code == 1 && same && report["memory"]["consistent"] == false {
        Ok(())
    } else {
        Err(format!("exit {code}: {words}\n{}", report["memory"]))
    }
}
