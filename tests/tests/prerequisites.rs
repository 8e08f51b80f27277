//! `install-prerequisites` notices by use that something does not work, names it, and installs it with the right privileges.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// A machine like this one, on which some programs were replaced.
struct Machine {
    dir: tempfile::TempDir,
    variables: Vec<(&'static str, PathBuf)>,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { dir: tempfile::tempdir().unwrap(), variables: Vec::new() };
        std::fs::create_dir(machine.bin()).unwrap();
        machine
    }

    fn bin(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    /// Replaces a program by a script.
    fn with(self, program: &str, script: &str) -> Self {
        let path = self.bin().join(program);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// Points a variable to a directory with one file.
    fn with_file(mut self, variable: &'static str, name: &str, content: &str) -> Self {
        let dir = self.dir.path().join(variable);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join(name), content).unwrap();
        self.variables.push((variable, dir));
        self
    }

    /// No Rust but what was replaced: the user's own is not found.
    fn without_rust(mut self) -> Self {
        self.variables.push(("CARGO_HOME", self.dir.path().join("cargo")));
        self
    }

    /// Runs the script: whether it succeeded, and everything that it said.
    fn prerequisites(&self, argument: Option<&str>) -> (bool, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../install-prerequisites");
        let path = format!("{}:{}", self.bin().display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(script);
        command.args(argument).env("PATH", path).env_remove("LIBCLANG_PATH").envs(self.variables.iter().cloned());
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// What `--check` calls missing.
    fn missing(&self) -> Vec<String> {
        let (success, said) = self.prerequisites(Some("--check"));
        let missing: Vec<_> =
            said.lines().filter_map(|line| line.strip_prefix("missing: ")).map(str::to_owned).collect();
        assert_eq!(success, missing.is_empty(), "{said}");
        missing
    }
}

#[track_caller]
fn assert_only(machine: &Machine, name: &str) {
    let missing = machine.missing();
    assert!(matches!(&missing[..], [only] if only.starts_with(name)), "{name} is broken, but missing is {missing:?}");
}

#[test]
fn a_machine_that_builds_starling_misses_nothing() {
    assert_eq!(Machine::new().missing(), Vec::<String>::new());
}

#[test]
fn a_program_that_is_there_and_does_not_work_is_missing() {
    for (program, name) in [("c++", "a C++ compiler"), ("cmake", "cmake"), ("nasm", "nasm")] {
        assert_only(&Machine::new().with(program, "exit 1"), name);
    }
    let without_compiler = Machine::new().with("cc", "exit 1").missing();
    assert!(without_compiler.iter().any(|line| line.starts_with("a C compiler")), "{without_compiler:?}");
}

#[test]
fn alsa_without_its_library_is_missing() {
    let description = "Name: alsa\nDescription: sound\nVersion: 1\nLibs: -lno-such-alsa\n";
    assert_only(&Machine::new().with_file("PKG_CONFIG_LIBDIR", "alsa.pc", description), "ALSA");
    assert_only(&Machine::new().with("pkg-config", "exit 1"), "ALSA");
}

#[test]
fn libclang_cpp_is_no_libclang() {
    // What the package `llvm` brings on Debian 12.
    assert_only(&Machine::new().with_file("LIBCLANG_PATH", "libclang-cpp.so.14", ""), "libclang");
}

#[test]
fn a_libclang_that_cannot_be_loaded_is_missing() {
    assert_only(&Machine::new().with_file("LIBCLANG_PATH", "libclang.so", "not a library"), "libclang");
}

#[test]
fn a_rust_that_is_too_old_is_named_with_the_remedy() {
    let machine = Machine::new().without_rust().with("cargo", "echo 'cargo 1.63.0 (fd9c4297c 2022-07-01)'");
    let missing = machine.missing();
    assert!(missing[0].contains("1.63.0") && missing[0].contains("rustup update"), "{missing:?}");
    let (installed, said) = machine.prerequisites(None);
    assert!(!installed && said.contains("rustup update"), "{said}");
}

#[test]
fn a_user_installs_with_sudo_and_root_without() {
    let tools = |user: &str| {
        // The package brings a nasm that works.
        let log = "echo \"$(basename \"$0\") $*\" >>\"$(dirname \"$0\")/log\"";
        let apt = format!("{log}\ncase \"$*\" in *nasm*) rm -f \"$(dirname \"$0\")/nasm\" ;; esac");
        Machine::new()
            .with("nasm", "exit 1")
            .with("id", &format!("echo {user}"))
            .with("apt-get", &apt)
            .with("sudo", &format!("{log}\n\"$@\""))
    };
    for (user, sudo) in [("1000", true), ("0", false)] {
        let machine = tools(user);
        let (installed, said) = machine.prerequisites(None);
        assert!(installed, "{said}");
        let log = std::fs::read_to_string(machine.bin().join("log")).unwrap();
        assert!(log.contains("apt-get install -y -qq nasm"), "{log}");
        assert_eq!(log.contains("sudo apt-get update"), sudo, "{log}");
    }
}

#[test]
fn what_cannot_be_installed_ends_with_its_name() {
    let machine = Machine::new().with("nasm", "exit 1").with("sudo", "exit 1").with("apt-get", "exit 1");
    let (installed, said) = machine.prerequisites(None);
    assert!(!installed && said.contains("missing: nasm"), "{said}");
}

#[test]
fn rust_that_cannot_be_downloaded_ends_with_another_way() {
    // Everything but cargo is there.
    let mut machine = Machine::new().without_rust().with("curl", "[ \"$1\" = --version ]");
    for program in
        std::env::split_paths(&std::env::var("PATH").unwrap()).flat_map(std::fs::read_dir).flatten().flatten()
    {
        let name = program.file_name();
        if name != "cargo" && !machine.bin().join(&name).exists() {
            std::os::unix::fs::symlink(program.path(), machine.bin().join(&name)).unwrap();
        }
    }
    machine.variables.push(("PATH", machine.bin()));
    let (installed, said) = machine.prerequisites(None);
    assert!(!installed && said.contains("sh.rustup.rs cannot be reached") && said.contains("rust-lang.org"), "{said}");
}
