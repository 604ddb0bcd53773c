//! Conditions and asserts on this host, with a daemon and real processes.

#[macro_use]
mod instance;

use instance::Instance;
use std::fs;

fn unit(table: &str) -> String {
    format!("[unit]\n{table}\n\n[service]\nexec = [\"/bin/sleep\", \"1000\"]\n")
}

#[test]
fn an_unmet_condition_is_said_by_start_and_status_and_is_no_failure() {
    root_only!();
    let instance = Instance::start();
    let flag = instance.file("flag");
    let condition = format!("condition = {{ path_exists = \"{}\" }}", flag.display());
    instance.unit("web", &unit(&condition));
    instance.unit("app", &unit("requires = [\"web\"]"));
    let words = format!("skipped, as the condition path_exists = \"{}\" is not met", flag.display());
    let said = instance.rsvc(&["start", "web"]).expect(0);
    assert!(said.err.contains(&words), "{}", said.err);
    let status = instance.status("web");
    assert_eq!((status["state"].as_str(), status["result"].as_str()), (Some("inactive"), Some("exec-condition")));
    let page = instance.rsvc(&["status", "web"]).expect(3).out;
    assert!(page.contains("Condition: skipped"), "{page}");
    instance.rsvc(&["start", "app"]).expect(0);
    fs::write(&flag, "").expect("flag");
    assert_eq!(instance.rsvc(&["start", "web"]).expect(0).err, "");
    assert_eq!(instance.status("web")["state"], "active");
}

#[test]
fn an_unmet_assert_fails_the_start() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", &unit("assert = { file_not_empty = \"/dev/null\" }"));
    let said = instance.rsvc(&["start", "web"]).expect(1);
    assert!(said.err.contains("the assert file_not_empty = \"/dev/null\" is not met"), "{}", said.err);
    assert_eq!(instance.status("web")["state"], "failed");
}

#[test]
fn this_host_answers_each_kind_of_test() {
    root_only!();
    let instance = Instance::start();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let release = release.split('-').next().unwrap_or_default();
    let table = [
        ("path_exists = \"/proc/self\"".to_owned(), true),
        ("path_is_directory = [\"/\", \"/etc\"]".to_owned(), true),
        ("path_is_directory = \"/etc/passwd\"".to_owned(), false),
        ("file_not_empty = [\"/etc/passwd\", \"!/nonexistent\"]".to_owned(), true),
        ("environment = [\"RSVC_UNIT_PATH\", \"!RSVC_NOSUCH\", \"NO_COLOR=1\", \"!NO_COLOR=2\"]".to_owned(), true),
        (format!("host = [\"nosuch\", \"{host}\"]"), true),
        (format!("host = \"!{host}\""), false),
        ("user = \"root\"".to_owned(), true),
        ("user = \"!0\"".to_owned(), false),
        (format!("kernel_version = [\"={release}\", \">=5.14\", \"!<5.14\"]"), true),
        ("kernel_version = \"<5\"".to_owned(), false),
        ("capability = \"CAP_KILL\"".to_owned(), true),
    ];
    for (number, (test, met)) in table.iter().enumerate() {
        let name = format!("test{number}");
        instance.unit(&name, &unit(&format!("condition = {{ {test} }}")));
        let said = instance.rsvc(&["start", &name]).expect(0);
        assert_eq!(said.err.is_empty(), *met, "{test}: {}", said.err);
        assert_eq!(instance.status(&name)["state"], if *met { "active" } else { "inactive" }, "{test}");
    }
}
