//! Tasks, modules and the machine of real dumps, against what drgn finds with full debug information.

mod support;

use serde_json::Value;
use support::each;
use triage::tasks::Task;

/// A task as both name it.
fn key(task: &Task) -> (u32, u32, String, char, Option<u32>, bool) {
    (task.pid, task.tgid, task.comm.clone(), task.state, task.cpu, task.kernel_thread)
}

fn golden_key(task: &Value) -> (u32, u32, String, char, Option<u32>, bool) {
    let number = |name: &str| task[name].as_u64().unwrap() as u32;
    let state = task["state"].as_str().unwrap().chars().next().unwrap();
    let comm = task["comm"].as_str().unwrap().to_owned();
    let cpu = task["cpu"].as_u64().map(|cpu| cpu as u32);
    (number("pid"), number("tgid"), comm, state, cpu, task["kthread"].as_bool().unwrap())
}

#[test]
fn all_tasks_are_found_with_their_names_states_and_cpus() {
    each(|name, report, golden| {
        let found: Vec<_> = report.tasks.iter().filter(|task| task.pid != 0).map(key).collect();
        let mut expected: Vec<_> = golden["tasks"].as_array().unwrap().iter().map(golden_key).collect();
        expected.sort();
        assert_eq!(found, expected, "{name}: {:?}", report.missing);
        for task in golden["tasks"].as_array().unwrap() {
            let pid = task["pid"].as_u64().unwrap() as u32;
            let found = report.tasks.iter().find(|found| found.pid == pid).unwrap();
            assert_eq!(found.parent.map(u64::from), task["ppid"].as_u64(), "{name}: {pid}");
            assert_eq!(Some(found.running), task["on_cpu"].as_bool(), "{name}: {pid}");
        }
    });
}

#[test]
fn every_cpu_has_its_running_task_and_its_idle_one() {
    each(|name, report, golden| {
        let cpus = golden["cpus"].as_array().unwrap();
        assert_eq!(report.cpus.len(), cpus.len(), "{name}");
        for (found, expected) in report.cpus.iter().zip(cpus) {
            assert_eq!(Some(u64::from(found.cpu)), expected["cpu"].as_u64(), "{name}");
            assert_eq!(found.online, expected["online"].as_bool(), "{name}");
            assert_eq!(found.pid.map(u64::from), expected["current"]["pid"].as_u64(), "{name}");
            assert_eq!(found.comm.as_deref(), expected["current"]["comm"].as_str(), "{name}");
        }
        let idle: Vec<_> =
            report.tasks.iter().filter(|task| task.pid == 0).map(|t| t.comm.as_str()).collect();
        let expected: Vec<_> = (0..cpus.len()).map(|cpu| format!("swapper/{cpu}")).collect();
        assert_eq!(idle, expected, "{name}");
    });
}

#[test]
fn all_modules_are_found_with_their_places() {
    each(|name, report, golden| {
        let loaded = report.modules.loaded.as_ref().unwrap_or_else(|| panic!("{name}: {:?}", report.missing));
        let expected = golden["modules"].as_array().unwrap();
        assert_eq!(loaded.len(), expected.len(), "{name}");
        for (found, expected) in loaded.iter().zip(expected) {
            assert_eq!(Some(found.name.as_str()), expected["name"].as_str(), "{name}");
            assert_eq!(Some(found.base), expected["base"].as_u64(), "{name}: {}", found.name);
            assert_eq!(Some(found.size), expected["size"].as_u64(), "{name}: {}", found.name);
            assert_eq!(found.state, "live");
            assert_eq!(Some(found.taints.as_str()), expected["taints"].as_str(), "{name}");
            let regions: Vec<_> = found.regions.iter().map(|&(start, size)| vec![start, size]).collect();
            assert_eq!(serde_json::json!(regions), expected["regions"], "{name}: {}", found.name);
        }
    });
}

#[test]
fn the_machine_is_described_as_it_was() {
    each(|name, report, golden| {
        let machine = &report.machine;
        assert_eq!(Some(machine.release.as_str()), golden["release"].as_str(), "{name}");
        assert_eq!(Some(machine.version.as_str()), golden["version"].as_str(), "{name}");
        assert_eq!(machine.command_line.as_deref(), golden["cmdline"].as_str(), "{name}");
        let pages = golden["memory"]["totalram_pages"].as_u64().unwrap();
        assert_eq!(machine.managed, Some(pages * golden["memory"]["page_size"].as_u64().unwrap()), "{name}");
        let online = golden["cpus_online"].as_array().unwrap().len() as u32;
        assert_eq!(machine.cpus_online, Some(online), "{name}");
        let uptime = machine.uptime.unwrap().as_secs_f64();
        let expected = golden["uptime_s"].as_f64().unwrap();
        assert!((uptime - expected).abs() < 0.02, "{name}: {uptime} s, expected {expected}");
        assert_eq!(machine.taints.as_deref(), Some(&[][..]), "{name}");
        let mask: Vec<u32> = report.cpus.iter().filter(|cpu| cpu.crashed).map(|cpu| cpu.cpu).collect();
        let panicked = golden["crash"]["crashed_cpu"].as_u64().map(|cpu| cpu as u32);
        assert_eq!(mask, panicked.into_iter().collect::<Vec<_>>(), "{name}");
        // s390x has no such name in its memory, and not every arm64 machine has one.
        let hardware = machine.hardware.as_deref().unwrap_or("qemu").to_lowercase();
        assert!(hardware.contains("qemu") || hardware.contains("linux,dummy-virt"), "{name}: {hardware}");
    });
}
