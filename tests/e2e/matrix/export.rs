//! A cell whose fault meets an export: what was seen of it, against what the table says.

use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use harness::{
    Customer, Event, Org,
    faults::http::{Injected, Operation},
    within,
};
use serde_json::Value;

use super::{
    lab::{self, Lab},
    made,
    rows::Row,
    table::{Class, Ending, Kind, Mode},
};

/// No job sits in a slot for longer, give or take what a busy machine adds.
const LONGEST_IN_A_SLOT: Duration = Duration::from_secs(30 + 5);
/// How long the last cleaning up may take.
const CLEANING: Duration = Duration::from_secs(10);

/// What is run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    pub(super) operation: Operation,
    pub(super) kind: Kind,
    pub(super) mode: Mode,
    pub(super) ending: Ending,
}

/// A cell under way.
struct Trial<'a> {
    cell: Cell,
    lab: &'a Lab,
    org: &'a Org<'a>,
    customer: &'a Customer,
    injected: Injected,
    /// Before there was anything to export.
    began: Instant,
    /// When there was.
    appended: Instant,
}

impl Cell {
    /// Runs it with an organisation of its own.
    pub(super) async fn run(self, lab: &Lab, number: usize) -> Row {
        let Self {
            operation,
            kind,
            mode,
            ending,
        } = self;
        let (org, customer) = lab.active_org(number).await;
        let calls = lab::calls_of(operation, &customer);
        let calls = match mode {
            Mode::Once => calls.first(1),
            Mode::UntilLifted => calls,
        };
        let injected = lab.proxy.inject(calls, made::fault(operation, kind));
        let began = Instant::now();
        let sent = lab.append(&org, number).await;
        let trial = Trial {
            cell: self,
            lab,
            org: &org,
            customer: &customer,
            injected,
            began,
            appended: Instant::now(),
        };
        let (seen, settling) = match ending {
            Ending::Retried(most) | Ending::AlreadyThere(most) | Ending::NewUpload(most) => {
                trial.succeeds_at_once(most).await;
                (word(ending).to_owned(), began)
            }
            Ending::GivenBack(class) => trial.is_given_back(class).await,
            Ending::RetriedOrGivenBack => trial.is_retried_or_given_back().await,
            Ending::Refused { code, says } => trial.is_refused(code, says).await,
        };
        lab::delivered(&org, &customer, sent.len()).await;
        let milliseconds = settling.elapsed().as_millis();
        assert!(trial.injected.hits() > 0, "the fault met no call");
        all_is_well(lab, &org, &customer, &sent).await;
        Row {
            fault: format!("{kind:?}"),
            mode: format!("{mode:?}"),
            ending: seen,
            calls: lab.calls(operation, &customer, began),
            faults: trial.injected.hits(),
            milliseconds,
            sent: sent.len(),
            delivered: customer.bucket().events(org.id()).len(),
        }
    }
}

fn word(ending: Ending) -> &'static str {
    match ending {
        Ending::Retried(_) => "retried",
        Ending::AlreadyThere(_) => "already there",
        Ending::NewUpload(_) => "new upload",
        Ending::GivenBack(_) => "given back",
        Ending::RetriedOrGivenBack => "retried or given back",
        Ending::Refused { .. } => "refused",
    }
}

impl Trial<'_> {
    fn calls(&self) -> usize {
        self.calls_of(self.cell.operation)
    }

    fn calls_of(&self, operation: Operation) -> usize {
        self.lab.calls(operation, self.customer, self.began)
    }

    /// Calls that one attempt may make: the budget allows for four pauses, the shortest of which
    /// are 100, 200, 400 and 800 ms long. Large objects have two parts.
    fn most_calls_of_an_attempt(&self) -> usize {
        match self.cell.operation {
            Operation::UploadPart => 6,
            _ => 5,
        }
    }

    async fn is_active(&self) {
        let config = self.org.config().await;
        assert_eq!(config["state"], "active", "a good destination: {config}");
    }

    async fn the_only_run_succeeds(&self) -> Value {
        let ended = |run: &Value| run["finishedAt"].is_string();
        let run = lab::first_run(self.org, "the run ends", ended).await;
        assert_eq!(run["status"], "succeeded", "{run}");
        let runs = self.org.runs().await;
        assert_eq!(runs.len(), 1, "{runs:?}");
        run
    }

    async fn succeeds_at_once(&self, most_calls: usize) {
        let run = self.the_only_run_succeeds().await;
        let calls = self.calls();
        assert_eq!(run["attempts"], 1, "{run}");
        assert!(calls <= most_calls, "{calls} calls: {run}");
        self.is_active().await;
        match self.cell.ending {
            Ending::AlreadyThere(_) => assert!(self.key_was_taken(), "no 412: {run}"),
            Ending::NewUpload(_) => {
                let uploads = self.calls_of(Operation::CreateMultipartUpload);
                assert_eq!(uploads, 2, "{run}");
            }
            _ => {}
        }
    }

    /// Whether S3 itself has said so, other than to a test.
    fn key_was_taken(&self) -> bool {
        self.lab.world.aws.calls().iter().any(|call| {
            call.status == 412
                && call.bucket.as_ref() == Some(&self.customer.bucket_name)
                && call.key.as_ref().is_some_and(|key| key.contains("org_id="))
        })
    }

    async fn is_given_back(&self, class: Class) -> (String, Instant) {
        let noticed = |run: &Value| run["errorClass"].is_string() || run["finishedAt"].is_string();
        lab::first_run(self.org, "the run is given back", noticed).await;
        let in_slot = self.appended.elapsed();
        let calls = self.calls();
        let run = lab::first_run(self.org, "the run is there", |_| true).await;
        assert!(
            in_slot < LONGEST_IN_A_SLOT,
            "in a slot for {in_slot:?}: {run}"
        );
        let attempts: usize = run["attempts"].to_string().parse().unwrap();
        assert!(
            calls <= attempts * self.most_calls_of_an_attempt(),
            "{calls} calls: {run}"
        );
        self.is_active().await;
        // Once it has succeeded, the reason is gone.
        if self.cell.mode == Mode::UntilLifted || run["finishedAt"].is_null() {
            self.names_a_reason(&run, class);
        }
        self.injected.lift();
        let lifted = Instant::now();
        let run = self.the_only_run_succeeds().await;
        assert!(run["attempts"].as_u64() >= Some(2), "{run}");
        assert!(run["error"].is_null(), "{run}");
        (
            format!("given back ({class:?}), attempt {}", run["attempts"]),
            lifted,
        )
    }

    fn names_a_reason(&self, run: &Value, class: Class) {
        let (class, says) = match (class, self.cell.operation) {
            (Class::Internal, _) => ("internal", "our side"),
            (Class::Transient, Operation::AssumeRole) => ("transient", "STS"),
            (Class::Transient, _) => ("transient", "S3"),
        };
        assert_eq!(run["errorClass"], class, "{run}");
        let sentence = run["error"].as_str().unwrap_or_default();
        assert!(sentence.contains(says), "{says} is not in: {run}");
        assert!(sentence.contains("again"), "it is tried again: {run}");
    }

    async fn is_retried_or_given_back(&self) -> (String, Instant) {
        let noticed = |run: &Value| run["errorClass"].is_string() || run["finishedAt"].is_string();
        let run = lab::first_run(self.org, "the run is retried or given back", noticed).await;
        let in_slot = self.appended.elapsed();
        assert!(
            in_slot < LONGEST_IN_A_SLOT,
            "in a slot for {in_slot:?}: {run}"
        );
        if run["errorClass"].is_string() {
            self.names_a_reason(&run, Class::Transient);
        }
        self.is_active().await;
        self.injected.lift();
        let lifted = Instant::now();
        let run = self.the_only_run_succeeds().await;
        let attempts: usize = run["attempts"].to_string().parse().unwrap();
        let calls = self.calls();
        assert!(
            calls <= attempts * self.most_calls_of_an_attempt(),
            "{calls} calls: {run}"
        );
        match attempts {
            1 => ("retried".to_owned(), self.began),
            _ => (
                format!("given back (Transient), attempt {attempts}"),
                lifted,
            ),
        }
    }

    async fn is_refused(&self, code: &str, says: &[&str]) -> (String, Instant) {
        let config = lab::state(self.org, "paused").await;
        let calls = self.calls();
        let run = lab::first_run(self.org, "the run is there", |_| true).await;
        assert_eq!(calls, 1, "asked once: {run}");
        assert_eq!(run["status"], "failed", "{run}");
        assert_eq!(run["attempts"], 1, "{run}");
        assert_eq!(run["errorClass"], "permanent", "{run}");
        assert_eq!(run["errorCode"], code, "{run}");
        assert_eq!(run["events"], 0, "{run}");
        let sentence = run["error"].as_str().unwrap_or_default();
        for part in says {
            let part = lab::in_words_of(self.org, self.customer, part);
            assert!(sentence.contains(&part), "{part:?} is not in: {sentence}");
        }
        assert_eq!(config["stateReason"], run["error"], "{config}");
        assert!(config["nextProbeAt"].is_string(), "{config}");

        self.injected.lift();
        let lifted = Instant::now();
        lab::state(self.org, "active").await;
        (format!("refused ({code})"), lifted)
    }
}

/// Once all is delivered: each event stands there once, as it was sent; nothing was written twice,
/// nothing is left over, and what the runs tell of the objects is so.
async fn all_is_well(lab: &Lab, org: &Org<'_>, customer: &Customer, sent: &[Event]) {
    customer.bucket().must_hold(org.id(), sent);
    customer.nothing_was_rewritten();
    let open_uploads = || lab.world.aws.open_uploads(&customer.bucket_name);
    let cleaned = within(CLEANING, || async {
        open_uploads().is_empty().then_some(())
    })
    .await;
    assert!(cleaned.is_some(), "open uploads: {:?}", open_uploads());

    let runs = org.runs().await;
    let failed = runs.iter().filter(|run| run["status"] == "failed").count();
    assert!(failed <= 1 && runs.len() <= 2, "{runs:?}");
    let told: u64 = runs.iter().filter_map(|run| run["events"].as_u64()).sum();
    assert_eq!(told, sent.len() as u64, "{runs:?}");
    let run = org.run(runs[0]["id"].as_str().unwrap()).await;
    for (object, (_, file)) in run["objects"]
        .as_array()
        .unwrap()
        .iter()
        .zip(customer.bucket().exports(org.id()))
    {
        let sha256 = digest(&SHA256, &file.bytes());
        let sha256: String = sha256.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(object["key"], file.key, "{run}");
        assert_eq!(object["status"], "stored", "{run}");
        assert_eq!(object["sha256"], sha256, "{run}");
    }
}
