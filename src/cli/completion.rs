//! Completion scripts of shells: made from the definition of the command line, with the live names of units added.

use clap::ValueEnum;
use clap_complete::generate;

/// Shells that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Commands whose arguments are names of units.
const UNIT_COMMANDS: [&str; 28] = [
    "start",
    "stop",
    "restart",
    "try-restart",
    "reload",
    "scale",
    "status",
    "list",
    "ls",
    "ps",
    "logs",
    "show",
    "cat",
    "enable",
    "disable",
    "is-active",
    "is-enabled",
    "is-failed",
    "kill",
    "reset-failed",
    "events",
    "wait",
    "set",
    "freeze",
    "thaw",
    "tree",
    "deps",
    "verify",
];

/// Commands that take names or files.
const MIXED_COMMANDS: [&str; 5] = ["check", "diff", "lint", "plan", "security"];

/// Prints the names, by sh(1): those that the daemon knows, else those of the unit directories. A daemon that does not
/// answer must not hang a keyboard. No single quote may be in it.
const NAMES: &str = r#"timeout 1 rsvc list --all --output name 2>/dev/null ||
    ls $(echo "${RSVC_UNIT_PATH:-/etc/rsvc/units:/run/rsvc/units:/usr/lib/rsvc/units}" | tr : " ") 2>/dev/null |
    sed -n "/\.slice\.toml\$/d; s/\.toml\$//p" | sort -u"#;

/// The script of `shell` for this definition.
pub fn script(shell: Shell, mut command: clap::Command) -> String {
    let mut text = Vec::new();
    match shell {
        Shell::Bash => generate(clap_complete::Shell::Bash, &mut command, "rsvc", &mut text),
        Shell::Zsh => generate(clap_complete::Shell::Zsh, &mut command, "rsvc", &mut text),
        Shell::Fish => generate(clap_complete::Shell::Fish, &mut command, "rsvc", &mut text),
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    match shell {
        Shell::Bash => text + &bash(),
        Shell::Zsh => zsh(&text),
        Shell::Fish => text + &fish(),
    }
}

/// A wrapper around the generated function: whatever that offers, and names where units are expected.
fn bash() -> String {
    let units = UNIT_COMMANDS.join("|");
    let mixed = MIXED_COMMANDS.join("|");
    format!(
        r#"
_rsvc_unit_names() {{
    {NAMES}
}}
_rsvc_with_units() {{
    _rsvc "$@"
    local current="${{COMP_WORDS[COMP_CWORD]}}" word kind=""
    [[ "$current" == -* || "${{COMP_WORDS[COMP_CWORD-1]}}" == -* ]] && return 0
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$word" in
            {units}) kind=units; break ;;
            {mixed}) kind=mixed; break ;;
        esac
    done
    [[ -z "$kind" ]] && return 0
    COMPREPLY=($(compgen -W "$(_rsvc_unit_names)" -- "$current"))
    [[ "$kind" == mixed ]] && COMPREPLY+=($(compgen -f -- "$current"))
    return 0
}}
complete -F _rsvc_with_units rsvc
"#
    )
}

/// The generated script with a function of ours in the place of the file names that it offers for units.
fn zsh(text: &str) -> String {
    let function = format!(
        "_rsvc_units() {{\n    local -a names\n    names=(${{(f)\"$(sh -c '{NAMES}')\"}})\n    compadd -a names\n}}\n"
    );
    let mixed = "_rsvc_units_or_files() {\n    _rsvc_units\n    _files\n}\n";
    let mut script = String::new();
    for line in text.lines() {
        let positional =
            line.starts_with("'*::units ") || line.starts_with("'*::target") || line.starts_with("':target");
        let line = match line {
            line if !positional => line.to_owned(),
            line if line.contains("targets") || line.contains("target ") => {
                line.replace(":_default'", ":_rsvc_units_or_files'")
            }
            line => line.replace(":_default'", ":_rsvc_units'"),
        };
        script += &line;
        script.push('\n');
        if line.starts_with("#compdef") {
            script += &format!("\n{function}\n{mixed}");
        }
    }
    script
}

fn fish() -> String {
    let mut script = format!("function __rsvc_units\n    sh -c '{NAMES}'\nend\n");
    for (commands, files) in [(UNIT_COMMANDS.as_slice(), "-f"), (MIXED_COMMANDS.as_slice(), "-F")] {
        for command in commands {
            let condition = format!("__fish_rsvc_using_subcommand {command}");
            script += &format!("complete -c rsvc -n \"{condition}\" {files} -a \"(__rsvc_units)\"\n");
        }
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Arguments;
    use clap::CommandFactory;

    #[test]
    fn every_command_that_takes_units_completes_them() {
        let command = Arguments::command();
        for sub in command.get_subcommands() {
            let takes = sub.get_positionals().any(|p| matches!(p.get_id().as_str(), "units" | "target" | "targets"));
            let names = std::iter::once(sub.get_name()).chain(sub.get_all_aliases());
            for name in names {
                let listed = UNIT_COMMANDS.contains(&name) || MIXED_COMMANDS.contains(&name);
                assert_eq!(listed, takes, "{name}");
            }
        }
    }

    #[test]
    fn each_shell_gets_its_script_with_live_names() {
        for (shell, word) in [
            (Shell::Bash, "complete -F _rsvc_with_units"),
            (Shell::Zsh, "#compdef rsvc"),
            (Shell::Fish, "__fish_rsvc_using_subcommand start\" -f"),
        ] {
            let text = script(shell, Arguments::command());
            assert!(text.contains(word), "{shell:?}");
            assert!(text.contains("rsvc list --all --output name"), "{shell:?}");
            assert!(text.contains("try-restart"), "{shell:?}");
            assert!(!text.contains("learn"), "words of later versions are not offered: {shell:?}");
        }
        assert!(script(Shell::Zsh, Arguments::command()).contains(":_rsvc_units'"));
        assert!(script(Shell::Zsh, Arguments::command()).contains(":_rsvc_units_or_files'"));
    }

    #[test]
    fn the_bash_script_is_accepted_by_bash_and_offers_names() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("rsvc.bash");
        std::fs::write(&file, script(Shell::Bash, Arguments::command())).expect("write");
        let test = format!(
            "rsvc() {{ echo 'web\nwork\ndb'; }}; timeout() {{ shift; \"$@\"; }}; source '{}'; \
             COMP_WORDS=(rsvc start w); COMP_CWORD=2; _rsvc_with_units rsvc w start; echo \"${{COMPREPLY[@]}}\"",
            file.display()
        );
        match std::process::Command::new("bash").args(["--norc", "-c", &test]).output() {
            Ok(output) => {
                assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "web work");
                assert_eq!(String::from_utf8_lossy(&output.stderr), "");
            }
            Err(error) => eprintln!("skipped: no bash: {error}"),
        }
    }
}
