//! The workers of a world.

use aws_config::SdkConfig;
use clap::Parser;
use tokio_util::sync::CancellationToken;

use super::{ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, World, sdk_config};
use crate::{process::Process, wait::PATIENCE};

/// A worker within this process.
#[derive(Debug)]
pub struct Worker {
    drain: CancellationToken,
    ended: CancellationToken,
}

impl Worker {
    /// Ends it as SIGTERM would, and waits until it has ended.
    pub async fn drain(self) {
        self.drain.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.ended.cancelled()).await;
        ended.expect("the worker drains");
    }
}

impl World {
    /// Settings of a worker: leases, pauses and probes take a second where they would take a minute.
    pub fn worker_config(&self) -> exporter::Config {
        let arguments = [
            "audit-export-exporter",
            "--database-url",
            self.database.url(),
            "--amqp-url",
            self.broker.amqp_url(),
            "--s3-path-style",
            "true",
            "--lease",
            "3",
            "--retry-budget",
            "2",
            "--give-back",
            "0.5",
            "--probe-first",
            "0.5",
            "--probe-longest",
            "1",
            "--drain",
            "10",
        ];
        exporter::Config::try_parse_from(arguments).expect("good settings")
    }

    /// Starts a worker within this process.
    pub fn start_worker(&self) -> Worker {
        self.start_worker_with(|_| {})
    }

    /// Starts a worker with changed settings.
    pub fn start_worker_with(&self, change: impl FnOnce(&mut exporter::Config)) -> Worker {
        self.start_worker_at(&sdk_config(&self.aws.endpoint()), change)
    }

    /// Starts a worker with another AWS.
    pub fn start_worker_at(
        &self,
        aws: &SdkConfig,
        change: impl FnOnce(&mut exporter::Config),
    ) -> Worker {
        let mut config = self.worker_config();
        change(&mut config);
        let worker = Worker {
            drain: self.end.child_token(),
            ended: CancellationToken::new(),
        };
        let (aws, drain, ended) = (aws.clone(), worker.drain.clone(), worker.ended.clone());
        self.keep(tokio::spawn(async move {
            exporter::run(config, aws, None, drain)
                .await
                .expect("the worker works");
            ended.cancel();
        }));
        worker
    }

    /// Starts a worker as a process of its own, which can be killed and measured, with these
    /// settings besides those of [`Self::worker_config`].
    pub fn spawn_worker(&self, settings: &[(&str, &str)]) -> Process {
        let endpoint = self.aws.endpoint();
        let mut all = vec![
            ("DATABASE_URL", self.database.url()),
            ("AMQP_URL", self.broker.amqp_url()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID),
            ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
            ("AWS_REGION", REGION),
            ("AWS_ENDPOINT_URL_S3", &endpoint),
            ("AWS_ENDPOINT_URL_STS", &endpoint),
            ("AUDIT_EXPORT_S3_PATH_STYLE", "true"),
            ("AUDIT_EXPORT_LEASE_SECONDS", "3"),
            ("AUDIT_EXPORT_GIVE_BACK_SECONDS", "0.5"),
            ("AUDIT_EXPORT_PROBE_FIRST_SECONDS", "0.5"),
            ("AUDIT_EXPORT_DRAIN_SECONDS", "10"),
        ];
        all.extend_from_slice(settings);
        Process::start("audit-export-exporter", &all, self.dir.path())
    }
}
