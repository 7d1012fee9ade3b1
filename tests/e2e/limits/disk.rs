//! A disk that is full.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use harness::{
    World,
    events::{Generator, ndjson},
};
use uuid::Uuid;

use super::{AtEnd, server};

/// A file system with little room, and a tablespace in it.
struct SmallDisk {
    tablespace: String,
    // In this order they go.
    _tablespace_end: AtEnd,
    mount: Mount,
}

/// A mounted file system in memory.
struct Mount(PathBuf);

impl SmallDisk {
    async fn new(mib: u32) -> Self {
        let server = server().await;
        let row = server.query_one("select current_setting('data_directory')", &[]);
        let data: String = row.await.unwrap().get(0);
        let id = Uuid::new_v4().simple();
        // Where the server's user gets to.
        let path = Path::new(&data).with_file_name(format!("small-disk-{id}"));
        let mount = Mount::new(path, mib, &fs::metadata(&data).unwrap());
        let tablespace = format!("small_disk_{id}");
        let location = mount.0.display();
        let create = format!("create tablespace {tablespace} location '{location}'");
        server.batch_execute(&create).await.unwrap();
        let let_in = format!("grant create on tablespace {tablespace} to public");
        server.batch_execute(&let_in).await.unwrap();
        Self {
            _tablespace_end: AtEnd(format!("drop tablespace if exists {tablespace}")),
            tablespace,
            mount,
        }
    }

    fn grow(&self, mib: u32) {
        let options = format!("remount,size={mib}m");
        let path = self.mount.0.to_str().unwrap();
        as_root("mount", &["-o", &options, path]).expect("the disk grows");
    }
}

impl Mount {
    fn new(path: PathBuf, mib: u32, owner: &fs::Metadata) -> Self {
        fs::create_dir(&path).expect("this user may write beside Postgres's data directory");
        let mount = Self(path);
        let (user, group) = (owner.uid(), owner.gid());
        let options = format!("size={mib}m,mode=700,uid={user},gid={group}");
        let path = mount.0.to_str().unwrap();
        let mounted = as_root("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", path]);
        if let Err(said) = mounted {
            panic!(
                "this test fills a small disk of its own, and mounting one needs root, or sudo \
                 without a password: {said}"
            );
        }
        mount
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let path = self.0.to_str().unwrap();
        // Lazily: a server that has a file open still must not keep it.
        let _ = as_root("umount", &["--lazy", path]);
        let _ = fs::remove_dir(&self.0);
    }
}

/// Runs a program with the rights of root, if there is a way.
fn as_root(program: &str, arguments: &[&str]) -> Result<(), String> {
    let mut said = String::new();
    for before in [&[][..], &["sudo", "-n"]] {
        let line = [before, &[program], arguments].concat();
        match Command::new(line[0]).args(&line[1..]).output() {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => said += &String::from_utf8_lossy(&output.stderr),
            Err(error) => said += &format!("{}: {error}\n", line[0]),
        }
    }
    Err(said)
}

async fn rows(world: &World, table: &str) -> i64 {
    let count = format!("select count(*) from {table}");
    let client = world.database.client().await;
    client.query_one(&count, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_whole_batches_and_loses_nothing() {
    const BATCH: usize = 500;
    let disk = SmallDisk::new(16).await;
    let world = World::start().await;
    let move_table = format!(
        "alter table audit_events set tablespace {}",
        disk.tablespace
    );
    let client = world.database.client().await;
    client.batch_execute(&move_table).await.unwrap();
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;

    let mut all = Generator::new(41).bytes(1_500);
    let mut sent = Vec::new();
    let (refused, answer) = loop {
        let batch: Vec<_> = all.by_ref().take(BATCH).collect();
        let answer = acme.send_ndjson(ndjson(&batch)).await;
        if answer.status != 200 {
            break (batch, answer);
        }
        assert_eq!(answer.json()["accepted"], BATCH);
        sent.extend(batch);
        assert!(sent.len() < 40_000, "the disk does not fill");
    };
    let again = acme.send_ndjson(ndjson(&refused)).await;

    for answer in [answer, again] {
        answer.expect_error(503, "storage_full");
        assert_eq!(answer.header("retry-after"), "5");
    }
    let stored = i64::try_from(sent.len()).unwrap();
    assert!(stored > 0, "the disk was full from the beginning");
    assert_eq!(rows(&world, "audit_events").await, stored);
    assert_eq!(rows(&world, "audit_event_ids").await, stored);
    // What is stored goes out, and the rest of the API answers.
    acme.wait_until_delivered(&customer, stored).await;

    disk.grow(64);
    acme.ingest(&refused).await;
    sent.extend(refused);
    acme.wait_until_delivered(&customer, sent.len().try_into().unwrap())
        .await;
    customer.bucket().must_hold("acme", &sent);
    customer.nothing_was_rewritten();
}
