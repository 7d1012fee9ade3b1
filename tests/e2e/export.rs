//! Exports, from none to many events, and what an object looks like.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{SHA256, digest};
use harness::{
    Event, World,
    checker::Sent,
    events::{Generator, events},
};
use serde_json::json;

const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_export_is_a_run_that_succeeds() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;

    let run = acme.export_now().await;

    assert_eq!(run["status"], "succeeded", "{run}");
    assert_eq!(run["trigger"], "manual");
    assert_eq!(
        (&run["events"], &run["objectCount"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(run["objects"], json!([]));
    assert_eq!(customer.bucket().keys(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_as_they_were_sent() {
    let world = World::start().await;
    world.start_worker();
    for (id, count) in [("one", 1), ("two", 2), ("many", 2_000)] {
        let (org, customer) = world.active_org(id).await;
        let sent = events(11, count);
        org.ingest(&sent).await;
        org.wait_until_delivered(&customer, count.try_into().unwrap())
            .await;
        customer.bucket().must_hold(id, &sent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_what_the_run_says_it_is() {
    let world = World::start().await;
    world.start_worker();
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    acme.save(customer.settings_with(json!({"prefix": "security/audit/"})))
        .await
        .expect(201);
    acme.wait_for_state("active").await;
    acme.ingest(&events(3, 100)).await;
    acme.wait_until_delivered(&customer, 100).await;

    let exports = customer.bucket().exports("acme");
    let [(parts, object)] = &exports[..] else {
        panic!("{exports:?}");
    };
    assert_eq!(
        (parts.prefix.as_str(), parts.first_seq, parts.last_seq),
        ("security/audit", 1, 100)
    );
    let run = acme.runs().await.remove(0);
    let run = acme.run(run["id"].as_str().unwrap()).await;
    let told = &run["objects"][0];
    let bytes = object.bytes();
    let sha256: String = digest(&SHA256, &bytes)
        .as_ref()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(
        (&told["key"], &told["bucket"]),
        (&json!(object.key), &json!(customer.bucket_name))
    );
    assert_eq!(told["status"], "stored");
    assert_eq!(
        (&told["firstSeq"], &told["lastSeq"]),
        (&json!(1), &json!(100))
    );
    assert_eq!(
        (&told["events"], &told["bytes"]),
        (&json!(100), &json!(bytes.len()))
    );
    assert_eq!(told["sha256"], sha256);
    assert_eq!(
        (&run["events"], &run["bytes"]),
        (&json!(100), &json!(bytes.len()))
    );

    // Nobody on the way may decode it for whoever fetches it.
    let head = world.head_object(&customer, &object.key).await;
    assert_eq!(head.content_type(), Some("application/gzip"));
    assert_eq!(head.content_encoding(), None);
    assert_eq!(head.metadata().unwrap()["sha256"], sha256);
    assert_eq!(head.e_tag(), told["etag"].as_str());
}

/// Other programs read all of an object that is larger than a block of lines.
#[tokio::test(flavor = "multi_thread")]
async fn zcat_and_python_read_all_of_a_large_object() {
    const COUNT: &str = "import gzip, sys; print(sum(1 for _ in gzip.open(sys.argv[1])))";
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    let sent: Vec<_> = Generator::new(9).bytes(2_000).take(1_500).collect();
    acme.ingest(&sent).await;
    acme.wait_until_delivered(&customer, 1_500).await;
    customer.bucket().must_hold("acme", &sent);
    let [(_, object)] = &customer.bucket().exports("acme")[..] else {
        panic!("one object");
    };
    for (script, argument) in [
        ("zcat -- \"$0\" | wc -l", ""),
        ("python3 -c \"$1\" \"$0\"", COUNT),
    ] {
        let mut command = Command::new("bash");
        command.args(["-c", script]).arg(&object.path).arg(argument);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        let lines = String::from_utf8(output.stdout).unwrap();
        assert_eq!(lines.trim(), "1500", "{script}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_after_zstd_was_chosen_is_compressed_by_it() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    let sent = events(8, 90);
    acme.ingest(&sent[..40]).await;
    acme.wait_until_delivered(&customer, 40).await;
    let saved = acme
        .save(customer.settings_with(json!({"compression": "zstd"})))
        .await
        .expect(201);
    assert_eq!(saved["compression"], "zstd");
    acme.wait_for_state("active").await;
    acme.ingest(&sent[40..]).await;
    acme.wait_until_delivered(&customer, 90).await;

    customer.bucket().must_hold("acme", &sent);
    let keys = customer.bucket().keys();
    assert!(keys[0].ends_with(".jsonl.gz"), "{keys:?}");
    let last = keys.last().unwrap();
    assert!(last.ends_with(".jsonl.zst"), "{keys:?}");
    let head = world.head_object(&customer, last).await;
    assert_eq!(head.content_type(), Some("application/zstd"));
    assert_eq!(head.content_encoding(), None);
    let sent = BTreeMap::from([("acme".to_owned(), sent.iter().map(Sent::from).collect())]);
    world.check(&sent).await.must_be_good();
}

/// What every request that makes an object visible has to carry, asked for by the customer's policy.
#[tokio::test(flavor = "multi_thread")]
async fn a_put_names_its_checksum_and_the_owner_and_replaces_nothing() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    let mut policy = customer.good_policy();
    let statements = policy["Statement"].as_array_mut().unwrap();
    for (header, must_be_absent) in [
        ("s3:if-none-match", "true"),
        ("s3:x-amz-checksum-sha256", "true"),
        ("s3:x-amz-expected-bucket-owner", "true"),
        ("s3:x-amz-acl", "false"),
    ] {
        statements.push(json!({
            "Effect": "Deny",
            "Action": "s3:PutObject",
            "Resource": "*",
            "Condition": {"Null": {header: must_be_absent}},
        }));
    }
    customer.set_policy(policy);
    let sent = events(4, 50);
    acme.ingest(&sent).await;
    acme.wait_until_delivered(&customer, 50).await;
    customer.bucket().must_hold("acme", &sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_and_ten_organisations() {
    const EVENTS: usize = 600;
    let world = Arc::new(World::start().await);
    for _ in 0..2 {
        // Many runs for each organisation, so that the workers have a lot to share out.
        world.start_worker_with(|config| config.run_max_events = 70);
    }
    let mut orgs = tokio::task::JoinSet::new();
    for n in 0..10 {
        let world = world.clone();
        orgs.spawn(async move {
            let id = format!("org-{n}");
            let (org, customer) = world.active_org(&id).await;
            let sent = events(n, EVENTS);
            for batch in sent.chunks(150) {
                org.ingest(batch).await;
            }
            org.wait_until_delivered(&customer, EVENTS.try_into().unwrap())
                .await;
            customer.bucket().must_hold(&id, &sent);
            customer.nothing_was_rewritten();
            let runs = org.runs().await;
            let delivered: u64 = runs.iter().map(|run| run["events"].as_u64().unwrap()).sum();
            assert_eq!(delivered, EVENTS as u64, "{runs:?}");
            assert!(
                runs.iter().all(|run| run["status"] == "succeeded"),
                "{runs:?}"
            );
        });
    }
    while let Some(done) = orgs.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_has_bounds_and_the_next_one_goes_on() {
    let world = World::start().await;
    let worker = world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    worker.drain().await;
    let sent = events(5, 1_000);
    acme.ingest(&sent).await;
    world.start_worker_with(|config| config.run_max_events = 300);
    acme.wait_until_delivered(&customer, 1_000).await;

    customer.bucket().must_hold("acme", &sent);
    let ranges: Vec<_> = customer
        .bucket()
        .exports("acme")
        .iter()
        .map(|(p, _)| (p.first_seq, p.last_seq))
        .collect();
    assert_eq!(ranges, [(1, 300), (301, 600), (601, 900), (901, 1_000)]);
    let runs = acme.runs().await;
    let triggers: BTreeSet<_> = runs
        .iter()
        .map(|run| run["trigger"].as_str().unwrap())
        .collect();
    assert!(triggers.contains("continuation"), "{runs:?}");
}

/// Says something that is shown also where the test passes: what `println!` prints is not.
fn tell(what: &str) {
    let mut terminal = std::io::stderr();
    writeln!(terminal, "{what}").unwrap();
}

/// The worker is a process of its own, so that its memory can be measured.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_thousand_events_in_bounded_memory() {
    const EVENTS: usize = 200_000;
    const MAX_MEMORY: u64 = 128 * MIB;
    let world = World::start().await;
    let mut worker = world.spawn_worker(&[]);
    let (acme, customer) = world.active_org("acme").await;
    acme.save(customer.settings_with(json!({"enabled": false})))
        .await
        .expect(201);
    let different: Vec<_> = Generator::new(6).bytes(1_500).take(2_000).collect();
    let sent: Vec<Event> = (0..EVENTS)
        .map(|n| different[n % different.len()].with_id(format!("big-{n:06}")))
        .collect();
    let began = Instant::now();
    for batch in sent.chunks(8_000) {
        acme.ingest(batch).await;
    }
    tell(&format!(
        "ingest of {EVENTS} events: {:.1?}",
        began.elapsed()
    ));

    let began = Instant::now();
    acme.save(customer.settings_with(json!({"enabled": true})))
        .await
        .expect(201);
    let last = EVENTS.try_into().unwrap();
    acme.wait_until_delivered_within(&customer, last, Duration::from_secs(180))
        .await;
    tell(&format!(
        "export of {EVENTS} events: {:.1?}",
        began.elapsed()
    ));

    worker.must_run();
    let peak = worker.peak_memory_kib() * 1024;
    tell(&format!("exporter peak memory: {} MiB", peak / MIB));
    assert!(peak < MAX_MEMORY, "{} MiB", peak / MIB);
    customer.bucket().must_hold("acme", &sent);
    let exports = customer.bucket().exports("acme");
    for (_, object) in &exports {
        let status = Command::new("gzip")
            .arg("-t")
            .arg(&object.path)
            .status()
            .unwrap();
        assert!(status.success(), "{}", object.key);
    }
    let in_parts = world
        .aws
        .write_log()
        .into_iter()
        .filter(|write| write.op == "CompleteMultipartUpload" && write.size > Some(8 * MIB));
    assert_eq!(
        in_parts.count(),
        exports.len(),
        "all were uploaded in parts"
    );
    assert_eq!(world.aws.open_uploads(&customer.bucket_name), []);
    let status = worker.terminate().await;
    assert!(status.success(), "{status}");
}
