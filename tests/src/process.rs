//! Programs of the project as processes of their own.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::Mutex,
};

use tempfile::TempDir;

use crate::{env::required, wait::eventually};

/// A running program. It is killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program of `AUDIT_EXPORT_TEST_BIN_DIR` with no environment but this.
    pub fn start(program: &str, environment: &[(&str, &str)], dir: &Path) -> Self {
        let path = Path::new(&required("AUDIT_EXPORT_TEST_BIN_DIR")).join(program);
        Self::start_path(&path, environment, dir)
    }

    /// Starts any program with no environment but this and `PATH`.
    pub fn start_path(path: &Path, environment: &[(&str, &str)], dir: &Path) -> Self {
        let name = path.file_name().unwrap().to_string_lossy();
        let log = dir.join(format!("{name}-{}.log", uuid::Uuid::new_v4().simple()));
        let output = File::create(&log).unwrap();
        let mut command = Command::new(path);
        command.env_clear().envs(environment.iter().copied());
        // By the latter run.sh finds what a test has left behind.
        for name in ["PATH", "AUDIT_EXPORT_TEST_RUN"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { child, log }
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it without warning, as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal, such as STOP.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        let child = Mutex::new(&mut self.child);
        let look = || std::future::ready(child.lock().unwrap().try_wait().unwrap());
        eventually("the end of a process after SIGTERM", look).await
    }

    /// Fails if it has ended.
    pub fn must_run(&mut self) {
        if let Some(status) = self.ended() {
            panic!("it has ended with {status}:\n{}", self.log());
        }
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// The most memory that it ever had, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}:\n{}", self.log.display(), self.log());
        }
    }
}

/// Runs a script for bash to its end, with no environment but this, and with the programs of a folder
/// before those of the system.
pub fn run_script(script: &str, programs: &Path, environment: &[(&str, &str)]) -> Output {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("script");
    fs::write(&path, script).unwrap();
    let mut command = Command::new("bash");
    let system = std::env::var("PATH").unwrap();
    command
        .arg(path)
        .env_clear()
        .env("PATH", format!("{}:{system}", programs.display()))
        .env("HOME", dir.path())
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    command.output().unwrap()
}

/// A port that is free, from below those that systems give to whoever asks for any: such a one
/// could be another's by the time the server listens.
pub fn free_port() -> u16 {
    loop {
        let [a, b, ..] = *uuid::Uuid::new_v4().as_bytes();
        let port = 20_000 + u16::from_be_bytes([a, b]) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// What a program of `AUDIT_EXPORT_TEST_BIN_DIR` prints when it is run with no environment but this.
pub fn output_of(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = run_to_end(program, arguments, environment);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it prints, and how it ends, well or not.
pub fn run_to_end(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let path = Path::new(&required("AUDIT_EXPORT_TEST_BIN_DIR")).join(program);
    let mut command = Command::new(&path);
    command
        .env_clear()
        .envs(environment.iter().copied())
        .args(arguments);
    command
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
