//! Everything that one test needs, for itself alone.

mod aws;
mod workers;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

pub use aws::{ACCESS_KEY_ID, PRINCIPAL_ARN, REGION, SECRET_ACCESS_KEY, sdk_config, sdk_config_of};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use local_aws::{LocalAws, OpenUpload};
use secrecy::ExposeSecret;
use serde_json::json;
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Handle, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
pub use workers::Worker;

use crate::{
    Customer, Org,
    api::Api,
    broker::Vhost,
    checker::{self, Sent, Verdict},
    database::Database,
    process::{Process, free_port},
    tokens,
    wait::eventually,
};

/// How long the removal of database and vhost may take; what is left goes with the servers.
const CLEANING_TIME: Duration = Duration::from_secs(10);
/// More requests in a minute than any test makes.
const PLENTY: &str = "100000";

/// A world: database, vhost, AWS and the API. Workers are started by the test.
#[derive(Debug)]
pub struct World {
    /// The API's client.
    pub api: Api,
    /// S3 and STS.
    pub aws: Arc<LocalAws>,
    /// The database.
    pub database: Database,
    /// The vhost.
    pub broker: Vhost,
    dir: TempDir,
    /// Ends the API and the workers that live in this process.
    end: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    customers: AtomicU32,
}

impl World {
    /// A world whose API looks for due exports every second, and publishes again after two.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A world with changed settings of the API.
    pub async fn start_with(change: impl FnOnce(&mut api::config::Config)) -> Self {
        let (listener, base) = listen().await;
        let (admin, admin_base) = listen().await;
        let world = Self::start_without_api(base).await;
        let mut config = world.api_config();
        change(&mut config);
        // Straight or through a proxy.
        let has_broker = config
            .amqp_url
            .expose_secret()
            .contains(world.broker.name());
        let end = world.end.clone();
        world.keep(tokio::spawn(async move {
            api::serve(config, listener, Some(admin), end)
                .await
                .expect("the API serves");
        }));
        let admin = Api::new(admin_base);
        let ready = || async {
            let readiness = admin.ask("GET", "/readyz").send().await.json();
            (readiness["postgres"] == true && readiness["broker"] == has_broker).then_some(())
        };
        eventually("the API is ready", ready).await;
        world
    }

    /// A world in which the test starts the API itself, at this address.
    pub async fn start_without_api(base: String) -> Self {
        log_for_failures();
        let dir = TempDir::new().unwrap();
        let (database, broker, aws) =
            tokio::join!(Database::create(), Vhost::create(), aws::start(&dir));
        Self {
            api: Api::new(base),
            aws: Arc::new(aws),
            database,
            broker,
            dir,
            end: CancellationToken::new(),
            tasks: Mutex::default(),
            customers: AtomicU32::new(0),
        }
    }

    fn api_config(&self) -> api::config::Config {
        let arguments = [
            "audit-export-api",
            "serve",
            "--database-url",
            self.database.url(),
            "--amqp-url",
            self.broker.amqp_url(),
            "--jwt-secret",
            tokens::SECRET,
            "--jwt-issuer",
            tokens::ISSUER,
            "--jwt-audience",
            tokens::AUDIENCE,
            "--interval-seconds",
            "1",
            "--republish-seconds",
            "2",
            // Tests count what they send; those of the events themselves have them on.
            "--system-events",
            "false",
            "--principal-arn",
            PRINCIPAL_ARN,
            // Those that are tested are set lower.
            "--tests-per-minute",
            PLENTY,
            "--runs-per-minute",
            PLENTY,
        ];
        match api::config::Cli::read(arguments.map(Into::into))
            .expect("good settings")
            .command
        {
            api::config::Command::Serve(config) => *config,
            other => panic!("{other:?}"),
        }
    }

    /// Starts an API as a process of its own, with these settings besides those of the API that
    /// [`Self::start`] starts, and waits until it answers.
    pub async fn spawn_api(&self, settings: &[(&str, &str)]) -> (Process, Api) {
        let listen = format!("127.0.0.1:{}", free_port());
        let mut all = vec![
            ("DATABASE_URL", self.database.url()),
            ("AMQP_URL", self.broker.amqp_url()),
            ("AUDIT_EXPORT_LISTEN", &listen),
            ("AUDIT_EXPORT_JWT_SECRET", tokens::SECRET),
            ("AUDIT_EXPORT_JWT_ISSUER", tokens::ISSUER),
            ("AUDIT_EXPORT_JWT_AUDIENCE", tokens::AUDIENCE),
            ("AUDIT_EXPORT_INTERVAL_SECONDS", "1"),
            ("AUDIT_EXPORT_REPUBLISH_SECONDS", "2"),
            ("AUDIT_EXPORT_SYSTEM_EVENTS", "false"),
            ("AUDIT_EXPORT_PRINCIPAL_ARN", PRINCIPAL_ARN),
            ("AUDIT_EXPORT_TESTS_PER_MINUTE", PLENTY),
            ("AUDIT_EXPORT_RUNS_PER_MINUTE", PLENTY),
        ];
        all.extend_from_slice(settings);
        let process = Process::start("audit-export-api", &all, self.dir.path());
        let mut listen = all
            .iter()
            .rev()
            .filter(|(name, _)| *name == "AUDIT_EXPORT_LISTEN");
        let api = Api::new(format!("http://{}", listen.next().unwrap().1));
        let look = || async {
            let answer = api.ask("GET", "/openapi.json").try_send().await;
            answer
                .is_ok_and(|answer| answer.status == 200)
                .then_some(())
        };
        eventually("the API answers", look).await;
        (process, api)
    }

    /// Copies what the processes of this world have printed.
    pub fn copy_logs(&self, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "log") {
                fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
            }
        }
    }

    /// The uploads that are open, each with its bucket.
    pub fn open_uploads(&self) -> Vec<(String, OpenUpload)> {
        let state = self.aws.state();
        let of_bucket = |bucket: &local_aws::Bucket| {
            let open = self.aws.open_uploads(&bucket.name).into_iter();
            let name = bucket.name.clone();
            open.map(move |upload| (name.clone(), upload))
        };
        state.buckets.iter().flat_map(of_bucket).collect()
    }

    /// Decides whether these events, whose appends were acknowledged, were delivered as promised.
    pub async fn check(&self, sent: &BTreeMap<String, Vec<Sent>>) -> Verdict {
        let aws = checker::Aws {
            data_dir: &self.data_dir(),
            writes: &self.aws.write_log(),
            open_uploads: &self.open_uploads(),
        };
        checker::check(&self.database.client().await, &aws, sent).await
    }

    fn keep(&self, task: JoinHandle<()>) {
        self.tasks.lock().unwrap().push(task);
    }

    /// Creates an organisation.
    pub async fn org(&self, id: &str) -> Org<'_> {
        let platform = tokens::platform("orgs:write");
        let put = self.api.ask("PUT", &format!("/orgs/{id}")).token(&platform);
        let answer = put
            .json(&json!({"name": format!("The {id} company")}))
            .send()
            .await;
        let org = answer.expect(201);
        Org::new(self, id, org["externalId"].as_str().unwrap())
    }

    /// The AWS account of an organisation's people, whose role trusts the exporter.
    pub fn customer(&self, org: &Org<'_>) -> Customer {
        let number = self.customers.fetch_add(1, Ordering::Relaxed) + 1;
        let customer = Customer::new(&self.aws, number, org.external_id(), &self.data_dir());
        self.api.must_never_show(&customer.role_arn);
        customer
    }

    /// An organisation with a config that has passed its test, and its customer's AWS account. There
    /// has to be a worker.
    pub async fn active_org(&self, id: &str) -> (Org<'_>, Customer) {
        let org = self.org(id).await;
        let customer = self.customer(&org);
        org.save(customer.settings()).await.expect(201);
        org.wait_for_state("active").await;
        (org, customer)
    }

    /// The access key, id and secret, of a user in the customer's own account.
    pub fn owner_of(&self, customer: &Customer) -> (String, String) {
        let account = &customer.account;
        let (id, secret) = (
            format!("AKIAOWNER{account}"),
            "secret of an owner".to_owned(),
        );
        let user = local_aws::User {
            arn: format!("arn:aws:iam::{account}:user/owner"),
            access_key_id: id.clone(),
            secret_access_key: secret.clone(),
        };
        self.aws.update(|state| state.users.push(user)).unwrap();
        (id, secret)
    }

    /// What S3 tells the customer of an object.
    pub async fn head_object(&self, customer: &Customer, key: &str) -> HeadObjectOutput {
        let (id, secret) = self.owner_of(customer);
        let config = sdk_config_of(&self.aws.endpoint(), &id, &secret);
        let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(true);
        let s3 = aws_sdk_s3::Client::from_conf(config.build());
        let head = s3.head_object().bucket(&customer.bucket_name).key(key);
        head.send().await.unwrap()
    }

    /// Where the buckets lie, each a folder.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("s3")
    }

    /// What the server of S3 and STS refused, for a look at a test that failed.
    pub fn refused_calls(&self) -> Vec<String> {
        let calls = self
            .aws
            .calls()
            .into_iter()
            .filter(|call| call.status >= 400);
        calls.map(|call| format!("{call:?}")).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.end.cancel();
        for task in self.tasks.lock().unwrap().drain(..) {
            task.abort();
        }
        // In the middle of a panic, perhaps: this thread waits while others of its runtime work.
        tokio::task::block_in_place(|| {
            Handle::current().block_on(async {
                let cleaning =
                    async { tokio::join!(self.database.drop_now(), self.broker.delete_now()) };
                let _ = tokio::time::timeout(CLEANING_TIME, cleaning).await;
            });
        });
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    (listener, base)
}

/// Logs what `RUST_LOG` says, warnings by default, to where a failed test shows it.
fn log_for_failures() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter = EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| EnvFilter::new("warn,lapin=off,s3s=off"));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .with_test_writer()
            .init();
    });
}
