//! What a user would reach for instead of the services. Each peer does the whole job once: all
//! events of an organisation, in their order, from the table into one object in its customer's
//! bucket.
//!
//! The programs are those of `tests/bench/peers.txt`, `psql`, and the compressors of the system.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use harness::{Customer, Org, World, project::root, required, world::REGION};
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

/// How a script ends where a program that it needs is not installed, as shells do.
const NOT_INSTALLED: i32 = 127;

/// As text, COPY would double every backslash, of which JSON has many. As CSV with a delimiter and
/// a quote that no JSON holds it leaves lines as they are, in about the same time.
const COPY_LINES: &str = r#"psql -X -q -v ON_ERROR_STOP=1 "$SOURCE" \
    -c "copy ($SELECT) to stdout (format csv, delimiter e'\x01', quote e'\x02')""#;

const COPY_BINARY: &str = r#"hash psql || exit 127
psql -X -q -v ON_ERROR_STOP=1 "$SOURCE" -c "copy ($SELECT) to stdout (format binary)" >/dev/null"#;

/// Its package holds the program as data. It wraps each line in an object: `{"line":"…"}`.
const SLING: &str = r#"cd "$TOOLS"/../lib/python3*/site-packages
sling=(sling_linux_*/bin/sling-linux-*)
[[ -x ${sling[0]} ]] || exit 127
"${sling[0]}" run --src-conn SOURCE --src-stream "$SELECT" --tgt-conn S3 --tgt-object "$TARGET" \
    --tgt-options '{"format": "jsonlines", "compression": "gzip"}'"#;

/// A tool, or some of them in a row.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// What the table calls it.
    pub name: &'static str,
    work: Work,
    /// What the object's key ends with.
    suffix: &'static str,
    /// What makes lines of the object again; `None` where the peer itself counts what it writes.
    unpack: Option<&'static str>,
}

#[derive(Debug, Clone, Copy)]
enum Work {
    /// `psql`, this compressor, and the AWS CLI.
    Pipe(&'static str),
    Sling,
    /// DuckDB, in this format of `by_duckdb.py`.
    DuckDb(&'static str),
}

const fn pipe(name: &'static str, compressor: &'static str) -> Peer {
    Peer {
        name,
        work: Work::Pipe(compressor),
        suffix: "jsonl.gz",
        unpack: Some("gzip -dc"),
    }
}

/// The one that everybody knows.
pub const GZIP_6: Peer = pipe("psql COPY | gzip -6 | aws s3 cp", "gzip -6");
/// The same in a hurry.
pub const GZIP_1: Peer = pipe("psql COPY | gzip -1 | aws s3 cp", "gzip -1");
/// The same on all cores.
pub const PIGZ_6: Peer = pipe("psql COPY | pigz -6 | aws s3 cp", "pigz -6");
/// The same with a better compressor.
pub const ZSTD_3: Peer = Peer {
    suffix: "jsonl.zst",
    unpack: Some("zstd -dcq"),
    ..pipe("psql COPY | zstd -3 | aws s3 cp", "zstd -q -3 -c")
};
/// sling, which moves data between systems.
pub const SLING_GZIP: Peer = Peer {
    name: "sling, jsonlines, gzip",
    work: Work::Sling,
    suffix: "jsonl.gz",
    unpack: Some("gzip -dc"),
};
/// DuckDB, writing lines.
pub const DUCKDB_GZIP: Peer = Peer {
    name: "DuckDB, lines, gzip",
    work: Work::DuckDb("lines"),
    suffix: "jsonl.gz",
    unpack: Some("gzip -dc"),
};
/// DuckDB, writing what it likes best.
pub const DUCKDB_PARQUET: Peer = Peer {
    name: "DuckDB, Parquet, zstd",
    work: Work::DuckDb("parquet"),
    suffix: "parquet",
    unpack: None,
};

/// A job that was done.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// How long it took, from the start of the first program.
    pub time: Duration,
    /// The size of the object.
    pub object_bytes: u64,
    /// The most memory that any one of the programs had, in KiB; those beside it had some, too.
    pub peak_memory_kib: u64,
}

impl Work {
    fn script(self) -> String {
        match self {
            Self::Pipe(compressor) => {
                let program = compressor.split(' ').next().unwrap();
                format!(
                    "hash psql {program} aws || exit {NOT_INSTALLED}\n\
                     {COPY_LINES} | {compressor} | aws s3 cp --only-show-errors - \"$TARGET\""
                )
            }
            Self::Sling => SLING.to_owned(),
            Self::DuckDb(format) => format!("python tests/bench/peers/by_duckdb.py {format}"),
        }
    }
}

impl Peer {
    /// Does the job, makes sure that the object is there, and removes it. `None` where a program is
    /// not installed. To `look_inside` takes a while, and is enough once.
    ///
    /// It blocks, and S3 is served by this process: call it in [`tokio::task::block_in_place`].
    pub fn run(&self, source: &Source, look_inside: bool) -> Option<Done> {
        let Self {
            name,
            work,
            suffix,
            unpack,
        } = *self;
        let key = format!("peers/{}.{suffix}", Uuid::new_v4());
        let (time, peak_memory_kib) = source.measure(&work.script(), &key)?;
        let object = source.bucket.join(&key);
        let found = fs::metadata(&object).unwrap_or_else(|error| panic!("{name}: {error}"));
        if let (true, Some(unpack)) = (look_inside, unpack) {
            assert_eq!(
                lines(unpack, &object),
                source.events,
                "{name}: events in the object"
            );
        }
        fs::remove_file(object).unwrap();
        Some(Done {
            time,
            object_bytes: found.len(),
            peak_memory_kib,
        })
    }
}

/// The events of an organisation, and its customer's bucket.
#[derive(Debug)]
pub struct Source {
    /// How many there are.
    events: usize,
    /// The folder behind the bucket.
    bucket: PathBuf,
    bucket_url: String,
    environment: Vec<(&'static str, String)>,
    _home: TempDir,
}

impl Source {
    /// The organisation must have so many events. It gives the customer's account a user, so it can
    /// be called once for each customer.
    pub fn new(world: &World, org: &Org<'_>, customer: &Customer, events: usize) -> Self {
        let home = TempDir::new().unwrap();
        let tools = required("AUDIT_EXPORT_TEST_TOOLS");
        let system = std::env::var("PATH").unwrap();
        let (access_key_id, secret_access_key) = world.owner_of(customer);
        let endpoint = world.aws.endpoint();
        let bucket = &customer.bucket_name;
        let s3_of_sling = json!({
            "type": "s3",
            "bucket": bucket,
            "endpoint": endpoint,
            "region": REGION,
            "access_key_id": access_key_id,
            "secret_access_key": secret_access_key,
        });
        let org = org.id();
        let select = format!("select line from audit_events where org_id = '{org}' order by seq");
        let mut environment = vec![
            ("PATH", format!("{tools}:{system}")),
            ("HOME", home.path().display().to_string()),
            ("TOOLS", tools),
            (
                "SOURCE",
                format!("{}?sslmode=disable", world.database.owner_url()),
            ),
            ("SELECT", select),
            ("ORG", org.to_owned()),
            ("EVENTS", events.to_string()),
            ("S3", s3_of_sling.to_string()),
            ("AWS_ENDPOINT_URL_S3", endpoint),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", access_key_id),
            ("AWS_SECRET_ACCESS_KEY", secret_access_key),
            ("SLING_DISABLE_TELEMETRY", "true".to_owned()),
        ];
        // By it bench.sh finds what was left behind.
        let run = "AUDIT_EXPORT_TEST_RUN";
        environment.extend(std::env::var(run).ok().map(|id| (run, id)));
        Self {
            events,
            bucket: customer.bucket().path().to_owned(),
            bucket_url: format!("s3://{bucket}"),
            environment,
            _home: home,
        }
    }

    /// How many events there are.
    pub fn events(&self) -> usize {
        self.events
    }

    /// The limit of whatever reads the table through its server: the events in Postgres's own
    /// format, to nowhere. `None` where there is no `psql`.
    pub fn copy_binary(&self) -> Option<Duration> {
        self.measure(COPY_BINARY, "").map(|(time, _)| time)
    }

    /// Runs a script for bash: how long it took, and the peak memory in KiB.
    fn measure(&self, script: &str, key: &str) -> Option<(Duration, u64)> {
        let python = Path::new(&required("AUDIT_EXPORT_TEST_TOOLS")).join("python");
        let output = Command::new(python)
            .args([
                "tests/bench/peers/measure.py",
                "bash",
                "-euo",
                "pipefail",
                "-c",
                script,
            ])
            .current_dir(root())
            .env_clear()
            .envs(self.environment.iter().cloned())
            .env("TARGET", format!("{}/{key}", self.bucket_url))
            .stdin(Stdio::null())
            .output()
            .expect("there is the Python of AUDIT_EXPORT_TEST_TOOLS");
        if output.status.code() == Some(NOT_INSTALLED) {
            return None;
        }
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{script}\n{}\n{complaints}",
            output.status
        );
        let printed = String::from_utf8(output.stdout).unwrap();
        let (seconds, peak) = printed.trim().split_once(' ').unwrap();
        let time = Duration::from_secs_f64(seconds.parse().unwrap());
        Some((time, peak.parse().unwrap()))
    }
}

/// How many lines this command makes of a file.
fn lines(unpack: &str, file: &Path) -> usize {
    let script = format!("{unpack} <\"$0\" | wc -l");
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{unpack}: {output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}
