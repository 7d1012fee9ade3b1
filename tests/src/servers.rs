//! The servers that all tests share, for tests that stop them: PostgreSQL and RabbitMQ as
//! `deploy/local/stack.sh` runs them.
//!
//! Whoever disturbs them holds [`exclusive`] meanwhile, and tests of the same program that would be
//! hurt by it hold [`undisturbed`]. Other test programs run at other times.

use std::process::{Command, Stdio};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{env::required, project::root};

static SERVERS: RwLock<()> = RwLock::const_new(());

/// The right to disturb the servers. It ends when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Guard {
    _alone: RwLockWriteGuard<'static, ()>,
}

/// Waits for the right to disturb the servers.
pub async fn exclusive() -> Guard {
    Guard {
        _alone: SERVERS.write().await,
    }
}

/// That nobody in this program disturbs the servers. It ends when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Calm {
    _together: RwLockReadGuard<'static, ()>,
}

/// Waits until nobody in this program disturbs the servers.
pub async fn undisturbed() -> Calm {
    Calm {
        _together: SERVERS.read().await,
    }
}

/// Ends a server without warning: `postgres` by an immediate shutdown, `rabbitmq` by `kill -9`. It has
/// ended when this returns.
pub async fn kill(service: &str) {
    stack(&["kill", service]).await;
}

/// Starts a server again, on the ports it had; it answers when this returns.
pub async fn start(service: &str) {
    stack(&["start", service]).await;
}

/// Stops a server in good order and starts it again.
pub async fn restart(service: &str) {
    stack(&["restart", service]).await;
}

/// What `rabbitmqctl` prints when it is run with these arguments on the tests' RabbitMQ.
pub async fn rabbitmqctl(arguments: &[&str]) -> String {
    stack(&[&["ctl"], arguments].concat()).await
}

async fn stack(arguments: &[&str]) -> String {
    let script = root().join("deploy/local/stack.sh");
    let mut command = Command::new(script);
    command
        .args(["--dir", &required("AUDIT_EXPORT_TEST_STACK_DIR")])
        .args(arguments)
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().expect("stack.sh can be run");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "stack.sh {arguments:?}: {}\n{printed}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    printed
}
