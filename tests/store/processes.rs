//! Several processes on one database. Each is this very program, told by its environment that it is another.

use crate::stage::{Ground, HOUR, Stage, key, options, parcels};
use pannier::cache::{Fault, Tier};
use pannier::store::{Migration, Migrations, Place, Statement, Store};
use servers::Postgres;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Where a run of a test as another process finds the database.
const WHERE: &str = "PANNIER_TEST_WHERE";

/// Another process, which does its part of `test` on `place`.
fn other(test: &str, place: &str) -> Child {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["--exact", &format!("processes::{test}"), "--nocapture"]).env(WHERE, place);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("another process")
}

/// The database, where this is such another process.
fn as_another() -> Option<Place> {
    std::env::var(WHERE).ok().map(|place| Place::parse(&place).expect("a place"))
}

/// Waits until it says `word`.
fn until(other: &mut Child, word: &str) {
    let lines = BufReader::new(other.stdout.as_mut().expect("its output")).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains(word)), "it never says {word}");
}

/// Steps that take long enough to be killed in.
fn slow_steps() -> Migrations {
    let step = |n: u32| {
        let rows = "INSERT INTO step_{n} WITH RECURSIVE c (n) AS \
                    (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000) SELECT n FROM c;";
        let text = ["CREATE TABLE step_{n} (n BIGINT);", rows].concat().replace("{n}", &n.to_string());
        Migration { name: "a step", sqlite: text.clone(), postgres: text }
    };
    Migrations { part: "steps".into(), steps: (1..=20).map(step).collect() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_belongs_to_one() {
    if let Some(place) = as_another() {
        let stage = Stage::open(place).await;
        stage.tier.keep(&parcels(0..10, 100)).await.expect("keep");
        println!("\nholding");
        return tokio::time::sleep(HOUR).await;
    }
    let ground = Ground::file();
    let mut holder = other("a_file_belongs_to_one", &ground.path().to_string_lossy());
    until(&mut holder, "holding");
    let stage = Stage::closed(ground.place(), 1 << 30);
    assert_eq!(stage.tier.open().await, Err(Fault::Refused));
    assert_eq!(stage.tier.find(&[key(1)]).await, Err(Fault::Unreachable));
    // Killed, it leaves nothing behind that is in the way.
    holder.kill().expect("kill");
    holder.wait().expect("its end");
    stage.tier.open().await.expect("open");
    let found = stage.tier.find(&(0..10).map(key).collect::<Vec<_>>()).await.expect("find");
    assert!(found.iter().all(Option::is_some), "what it had kept is there");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_belongs_to_all() {
    if let Some(place) = as_another() {
        let stage = Stage::open(place).await;
        for round in 0..20 {
            stage.tier.keep(&parcels(round * 10..round * 10 + 100, 100)).await.expect("keep");
            let found = stage.tier.find(&(0..300).map(key).collect::<Vec<_>>()).await.expect("find");
            assert!(found.iter().flatten().count() >= 100);
        }
        return stage.stop().await;
    }
    let Some(postgres) = Postgres::start() else { return };
    // All begin at once, on an empty database.
    let others: Vec<Child> = (0..4).map(|_| other("a_server_belongs_to_all", &postgres.url())).collect();
    for other in others {
        let output = other.wait_with_output().expect("its end");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{}", postgres.log());
    }
    assert_eq!(postgres.ask("SELECT count(*) FROM pannier_schema"), "3");
    assert_eq!(postgres.ask("SELECT count(*), sum(bytes) FROM query_cache"), "290|29000");
    assert_eq!(postgres.ask("SELECT entries, bytes FROM query_cache_tally"), "290|29000");
}

/// S-14: killed at many moments while it makes tables: there are none, or all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_survives_being_killed() {
    if let Some(place) = as_another() {
        println!("\nmigrating");
        let store = Store::open(&place, &options(), &slow_steps()).await.expect("open");
        return store.close().await;
    }
    let mut grounds = vec![Ground::file()];
    grounds.extend(Ground::server());
    for ground in grounds {
        let address = match &ground {
            Ground::File(_) => ground.path().to_string_lossy().into_owned(),
            Ground::Server(server) => server.url(),
        };
        for milliseconds in [1, 3, 6, 10, 15, 20, 30, 45] {
            let mut migrating = other("a_migration_survives_being_killed", &address);
            until(&mut migrating, "migrating");
            std::thread::sleep(Duration::from_millis(milliseconds));
            migrating.kill().expect("kill");
            migrating.wait().expect("its end");
        }
        let store = Store::open(&ground.place(), &options(), &slow_steps()).await.expect("open");
        let mut work = store.read().await.expect("read");
        for n in 1..=20 {
            let rows =
                work.rows(Statement::new(format!("SELECT count(*) FROM step_{n}"))).await.expect("a table");
            assert_eq!(rows[0].number(0).expect("a number"), 3000);
        }
        work.done().await.expect("done");
        store.close().await;
    }
}
