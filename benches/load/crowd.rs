//! What a hundred thousand API keys cost: a look-up among them, and their room.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};

use crate::contender::{Contender, Kind};
use crate::ground::Ground;
use crate::results::{Crowd, Results, Sample};
use crate::rounds;
use crate::throughput::ASKED;
use crate::tiers::await_figure;
use crate::workload::Workload;
use crate::wrk::Picking;

const DATABASE: &str = "PANNIER__STORE__DATABASE";
const FEW: usize = 10;
/// What reading them took is given back within this time.
const SETTLED: Duration = Duration::from_secs(15);

pub fn measure(ground: &Ground, results: &mut Results) -> anyhow::Result<()> {
    let many = ground.options.scaled(100_000);
    let file = ground.dir().join("crowd.db");
    let place = file.to_string_lossy().into_owned();
    let mut contenders = vec![Contender::start(ground, Kind::PannierBooks, &[(DATABASE, &place)])?];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let own = known(&contenders[0])?;
    let mut cpu = [0.0; 2];
    let mut resident = [0; 2];
    let mut made = 0;
    for (number, keys) in [FEW, many].into_iter().enumerate() {
        runtime.block_on(make(&file, made, keys)).context("cannot make keys")?;
        made = keys;
        await_figure(&contenders[0], KEYS, &(own + keys).to_string())?;
        let (standings, dropped) =
            rounds::compete(ground, &mut contenders, &Workload::small(), Picking::Rotate(ASKED));
        if let Some((_, error)) = dropped.into_iter().next() {
            anyhow::bail!(error);
        }
        let standing = standings.first().context("nothing was measured")?;
        cpu[number] = standing.median(Sample::cpu_us).context("no sample")?;
        resident[number] = least(&contenders[0]);
    }
    let crowd = Crowd { few: FEW, many, cpu_us: cpu, grown: resident[1].saturating_sub(resident[0]) };
    eprintln!("  {crowd:?}");
    results.crowd = Some(crowd);
    Ok(())
}

const KEYS: &str = "pannier_internal_size{what=\"keys\"}";

/// Keys of the settings, before there are others.
fn known(contender: &Contender) -> anyhow::Result<usize> {
    let page = crate::tiers::metrics(contender)?;
    let figure = page.lines().find_map(|line| line.strip_prefix(KEYS)?.strip_prefix(' '));
    Ok(figure.context("it does not say how many keys it knows")?.parse()?)
}

/// The least memory that it takes within a while.
fn least(contender: &Contender) -> u64 {
    let begun = Instant::now();
    let mut least = contender.process.resident();
    while begun.elapsed() < SETTLED {
        std::thread::sleep(Duration::from_millis(200));
        least = least.min(contender.process.resident());
    }
    least
}

/// Makes the keys from number `from` to `to`, as another replica would.
async fn make(file: &std::path::Path, from: usize, to: usize) -> anyhow::Result<()> {
    let options = SqliteConnectOptions::new().filename(file).busy_timeout(Duration::from_secs(10));
    let mut books = options.connect().await?;
    let made = format!(
        "WITH RECURSIVE many(n) AS (SELECT {from} + 1 UNION ALL SELECT n + 1 FROM many WHERE n < {to}) \
         INSERT INTO pannier_key (id, name, team, start, admin, digest, old_digest, old_until, expires, disabled, \
         created, rotated, used) SELECT 'key_' || substr('000000000000' || n, -12), 'name-' || n, \
         'team-' || n % 100, 'pannier_abcdef', 0, randomblob(32), x'', 0, 0, 0, 1, 0, 0 FROM many"
    );
    let done = sqlx::raw_sql(AssertSqlSafe(made)).execute(&mut books).await?;
    ensure!(done.rows_affected() as usize == to - from, "{} keys were made", done.rows_affected());
    sqlx::raw_sql("UPDATE pannier_key_book SET version = version + 1").execute(&mut books).await?;
    Ok(())
}
