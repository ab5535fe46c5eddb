//! S-07: the database has done it, and nobody hears of it.

use super::trouble::{becomes, endures, is_complete};
use super::*;
use servers::{Answers, Detour, Weather};

#[tokio::test]
async fn a_commit_that_nobody_hears_of_is_not_done_twice() {
    let Some(server) = Postgres::start() else { return };
    let detour = Detour::to_socket(&server.socket().join(".s.PGSQL.5432")).await;
    let mut ground = Ground::Server(Box::new(server), TempDir::new().expect("a folder"));
    let (upstream, served) = upstream().await;
    let url = format!("postgresql://pannier@127.0.0.1:{}/postgres?sslmode=disable", detour.port());
    let pannier = ground.launch(&upstream).set("store.database", &url).start().await;
    endures(&pannier, 0..1).await;
    is_in(&mut ground, 1).await;

    detour.weather(Weather { answers: Answers::UnheardTo("COMMIT"), ..Weather::default() });
    for round in 1..=3 {
        let unheard = detour.unheard();
        endures(&pannier, round * 10..round * 10 + 10).await;
        is_in(&mut ground, round * 10 + 1).await;
        let is_unheard = || async { (detour.unheard() > unheard).then_some(()) };
        eventually("and it was not heard of", is_unheard).await;
    }
    detour.weather(Weather::default());
    becomes(&pannier, true).await;
    end(pannier).await;
    is_complete(&ground, &served).await;
}

/// Waits until so many requests are in the database.
async fn is_in(ground: &mut Ground, requests: u64) {
    let tables = "SELECT count(*) FROM pg_class WHERE relname = 'ledger_row'";
    let mut is_in = || {
        let is_there = ground.server().ask(tables) == "1";
        is_there && ground.server().ask("SELECT count(*) FROM ledger_row") == requests.to_string()
    };
    eventually_within(PATIENCE, "what was asked is in the database", || {
        std::future::ready(is_in().then_some(()))
    })
    .await;
}
