//! What row-level security costs a read: counted in statements of one connection, side by side.

use std::{fmt::Write as _, time::Instant};

use common::{
    db::{
        self, Tenant,
        export_configs::{self, FIND},
    },
    ids::OrgId,
};
use harness::{World, report, servers};

/// Reads of each kind in a round, and rounds; the medians are compared.
const READS: u32 = 500;
const ROUNDS: usize = 9;

fn median(mut micros: Vec<f64>) -> f64 {
    micros.sort_by(f64::total_cmp);
    micros[micros.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_read() {
    let _alone = servers::exclusive().await;
    let world = World::start().await;
    world.start_worker();
    let (_org, _customer) = world.active_org("acme").await;
    let acme: OrgId = "acme".parse().unwrap();
    let pool = db::pool(world.database.url(), "a test", 1).unwrap();
    let confined = pool.get().await.unwrap();
    let owner = world.database.client().await;
    // As it would be without row-level security: the owner of the tables is exempt, and a statement
    // needs no transaction around it.
    let plain = owner.prepare(FIND).await.unwrap();

    let per_read = |began: Instant| began.elapsed().as_secs_f64() * 1e6 / f64::from(READS);
    let (mut without, mut with, mut in_turn) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..READS {
            owner.query_one(&plain, &[&acme]).await.unwrap();
        }
        without.push(per_read(began));

        let tenant = Tenant::of(&confined, &acme);
        let began = Instant::now();
        for _ in 0..READS {
            export_configs::find(&tenant).await.unwrap().unwrap();
        }
        with.push(per_read(began));

        // As it would be if each step waited for the one before.
        let began = Instant::now();
        for _ in 0..READS {
            owner.batch_execute("begin").await.unwrap();
            owner
                .batch_execute("set local audit_export.org = 'acme'")
                .await
                .unwrap();
            owner.query_one(&plain, &[&acme]).await.unwrap();
            owner.batch_execute("commit").await.unwrap();
        }
        in_turn.push(per_read(began));
    }
    let (without, with, in_turn) = (median(without), median(with), median(in_turn));
    let mut text = String::from("what row-level security costs a read of the configuration\n");
    for (name, micros) in [
        ("without it: one statement", without),
        (
            "with it: begin, setting, statement, commit, sent together",
            with,
        ),
        (
            "the same four, each after the answer to the one before",
            in_turn,
        ),
    ] {
        let ratio = micros / without;
        writeln!(text, "  {micros:6.0} us  {ratio:4.2} x  {name}").unwrap();
    }
    report::write("isolation-cost", &text);
}
