//! What a hundred thousand API keys cost: a look-up among them, and their room.

use std::time::Duration;

use anyhow::{Context, ensure};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};

use crate::contender::{Contender, Kind};
use crate::ground::Ground;
use crate::results::{Crowd, Results, Sample, Standing};
use crate::rounds;
use crate::throughput::ASKED;
use crate::tiers::await_figure;
use crate::workload::Workload;
use crate::wrk::Picking;

const DATABASE: &str = "PANNIER__STORE__DATABASE";
const FEW: usize = 10;

/// Two servers in turn, one with few keys and one with many.
pub fn measure(ground: &Ground, results: &mut Results) -> anyhow::Result<()> {
    let (few, many) = (FEW, ground.options.scaled(100_000));
    let mut servers = [Server::with(ground, few)?, Server::with(ground, many)?];
    let workload = Workload::small();
    for server in &servers {
        rounds::warm_up(&server.contender, &workload, Picking::Rotate(ASKED))?;
    }
    for _ in 0..ground.options.rounds() {
        for Server { contender, samples } in &mut servers {
            samples.push(rounds::sample(ground, contender, &workload, Picking::Rotate(ASKED))?);
        }
    }
    let resident = [&servers[0], &servers[1]].map(|server| server.contender.process.kept());
    let cpu_us = servers.map(|Server { contender, samples }| {
        Standing { kind: contender.kind, samples }.median(Sample::cpu_us).unwrap_or(f64::NAN)
    });
    let crowd = Crowd { few, many, cpu_us, grown: resident[1].saturating_sub(resident[0]) };
    eprintln!("  {crowd:?}");
    results.crowd = Some(crowd);
    Ok(())
}

struct Server {
    contender: Contender,
    samples: Vec<Sample>,
}

impl Server {
    /// One that has read so many keys, beside those of its settings.
    fn with(ground: &Ground, keys: usize) -> anyhow::Result<Self> {
        let file = ground.dir().join(format!("crowd-{keys}.db"));
        let contender = Contender::start(ground, Kind::PannierBooks, &[(DATABASE, &file.to_string_lossy())])?;
        let own = known(&contender)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(make(&file, keys)).context("cannot make keys")?;
        await_figure(&contender, KEYS, &(own + keys).to_string())?;
        Ok(Server { contender, samples: Vec::new() })
    }
}

const KEYS: &str = "pannier_internal_size{what=\"keys\"}";

/// Keys of the settings, before there are others.
fn known(contender: &Contender) -> anyhow::Result<usize> {
    let page = crate::tiers::metrics(contender)?;
    let figure = page.lines().find_map(|line| line.strip_prefix(KEYS)?.strip_prefix(' '));
    Ok(figure.context("it does not say how many keys it knows")?.parse()?)
}

/// Makes so many keys, as another replica would.
async fn make(file: &std::path::Path, keys: usize) -> anyhow::Result<()> {
    let options = SqliteConnectOptions::new().filename(file).busy_timeout(Duration::from_secs(10));
    let mut books = options.connect().await?;
    let made = format!(
        "WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < {keys}) \
         INSERT INTO pannier_key (id, name, team, start, admin, digest, old_digest, old_until, expires, disabled, \
         created, rotated, used) SELECT 'key_' || substr('000000000000' || n, -12), 'name-' || n, \
         'team-' || n % 100, 'pannier_abcdef', 0, randomblob(32), x'', 0, 0, 0, 1, 0, 0 FROM many"
    );
    let done = sqlx::raw_sql(AssertSqlSafe(made)).execute(&mut books).await?;
    ensure!(done.rows_affected() as usize == keys, "{} keys were made", done.rows_affected());
    sqlx::raw_sql("UPDATE pannier_key_book SET version = version + 1").execute(&mut books).await?;
    Ok(())
}
