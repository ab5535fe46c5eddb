//! What keys use, in the metrics; and several processes that keep one set of books.

use super::*;
use pannier::store::ledger::Figure;

const KEYS: &str = "[[auth.keys]]\nname = \"ann\"\nteam = \"lab\"\nkey = \"key-of-ann\"\n\
                    [[auth.keys]]\nname = \"ben\"\nteam = \"lab\"\nkey = \"key-of-ben\"\n";

#[tokio::test]
async fn the_metrics_say_by_key_what_the_ledger_says() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (upstream, _) = upstream().await;
    let pannier = ground.launch_under(&[PRICES, KEYS].concat(), &upstream).start().await;
    let of = |ask: Ask, who: &str| ask.with("Authorization", &format!("Bearer key-of-{who}"));
    for number in 0..30 {
        pannier.ask(&of(ask(number, number % 2 == 0), "ann")).await.fine();
    }
    // They are of one team, and share answers.
    let mut asked = 32;
    for number in 0..10 {
        let ask = of(ask(number, number % 2 == 0), "ben");
        let mut is_hit = false;
        while !is_hit {
            asked += 1;
            is_hit = pannier.ask(&ask).await.fine().is_hit();
            assert!(asked < 1_000, "nothing is remembered");
        }
    }
    pannier.ask(&of(ask(99, false), "ben")).await.fine();
    pannier.ask(&ask(100, false)).await.fine();
    let samples = eventually_within(PATIENCE, "all of it is in the books", || async {
        let samples = pannier.metrics_of_keys().await;
        (samples.sum("pannier_key_requests_total", &[]) == f64::from(asked)).then_some(samples)
    })
    .await;
    end(pannier).await;

    let book = ground.book().await;
    book.agrees();
    for key in ["ann", "ben", "anonymous"] {
        for (name, kind, figure, unit) in [
            ("requests_total", None, Figure::Requests, 1.0),
            ("tokens_total", Some("input"), Figure::Prompt, 1.0),
            ("tokens_total", Some("output"), Figure::Completion, 1.0),
            ("gpu_seconds_total", None, Figure::Gpu, 1e6),
            ("cost_usd_total", None, Figure::Cost, 1e9),
            ("saved_gpu_seconds_total", None, Figure::SavedGpu, 1e6),
            ("saved_cost_usd_total", None, Figure::SavedCost, 1e9),
        ] {
            let labels: Vec<_> = [("key", Some(key)), ("type", kind)]
                .into_iter()
                .filter_map(|(label, value)| Some((label, value?)))
                .collect();
            let shown = samples.sum(&format!("pannier_key_{name}"), &labels) * unit;
            assert_eq!(shown.round() as i64, book.sum_of(key, figure), "{key}: {name}");
        }
        let saved = [Figure::SavedPrompt, Figure::SavedCompletion].map(|figure| book.sum_of(key, figure));
        let shown = samples.sum("pannier_key_saved_tokens_total", &[("key", key)]);
        assert_eq!(shown as i64, saved.iter().sum::<i64>(), "{key}: saved tokens");
        assert_eq!(shown > 0.0, key == "ben", "{key}");
    }
    assert!(book.sum_of("ben", Figure::SavedCost) > 0 && book.sum_of("ann", Figure::SavedCost) == 0);
}

/// On the house's own port and through the data port, and although a key of one's own is needed there.
#[tokio::test]
async fn what_keys_use_is_shown_to_the_admin_key_alone_until_the_settings_say_otherwise() {
    let (upstream, _) = upstream().await;
    let launch = Launch::before(&upstream).file(&[PRICES, KEYS].concat());
    let pannier = launch.set("auth.mode", "required").start().await;
    let of = |ask: Ask, key: &str| ask.with("Authorization", &format!("Bearer {key}"));
    pannier.ask(&of(ask(0, false), "key-of-ann")).await.fine();
    eventually_within(PATIENCE, "ann is in the books", || async {
        let samples = pannier.metrics_of_keys().await;
        (samples.sum("pannier_key_requests_total", &[("key", "ann")]) == 1.0).then_some(())
    })
    .await;
    let page = || Ask::get("/metrics");
    let admin = pannier.admin_key();
    let two_keys = of(page(), &admin).with("X-API-Key", "key-of-ann");
    let foreign = of(page(), &admin).with("Sec-Fetch-Site", "cross-site");
    let in_query = Ask::get(&format!("/metrics?key={admin}"));
    for addr in [pannier.admin, pannier.addr] {
        let told = async |ask: &Ask| Wire::open(addr).await.exchange(ask).await.fine().text();
        for ask in [
            page(),
            of(page(), "key-of-ann"),
            of(page(), "another"),
            in_query.clone(),
            two_keys.clone(),
            foreign.clone(),
        ] {
            let told = told(&ask).await;
            assert!(
                told.contains("pannier_build_info{") && !told.contains("pannier_key_"),
                "{ask:?}\n{told}"
            );
            assert!(!told.contains("\"ann\""), "{ask:?}\n{told}");
        }
        for ask in [of(page(), &admin), page().with("X-API-Key", &admin)] {
            let told = told(&ask).await;
            assert!(told.contains("pannier_key_requests_total{key=\"ann\"} 1\n"), "{told}");
            assert!(told.contains("pannier_build_info{"), "{told}");
        }
    }
    pannier.configure(&[PRICES, KEYS, "[reports]\nkey_metrics = \"open\"\n"].concat());
    eventually_within(PATIENCE, "the settings are in force", || async {
        let samples = pannier.metrics().await;
        (samples.sum("pannier_key_requests_total", &[("key", "ann")]) == 1.0).then_some(())
    })
    .await;
}

/// A file has one owner; whoever comes later keeps what it has in its spool until the file is free.
#[tokio::test]
async fn two_on_one_directory_keep_one_set_of_books() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (upstream, served) = upstream().await;
    let one = ground.launch(&upstream).start().await;
    one.ask(&ask(0, false)).await.fine();
    let other = ground.launch(&upstream).start().await;
    for number in 1..20 {
        let pannier = if number % 2 == 0 { &one } else { &other };
        pannier.ask(&ask(number, false)).await.fine();
    }
    end(one).await;
    eventually("the file is the other's", || async {
        let samples = other.metrics_of_keys().await;
        let up = samples.sum("pannier_dependency_up", &[("dep", "ledger")]);
        (up == 1.0 && samples.sum("pannier_key_requests_total", &[]) == 10.0).then_some(())
    })
    .await;
    end(other).await;

    let book = ground.book().await;
    book.agrees();
    let costs = served.lock().expect("served").iter().map(|number| Figures::of(*number).cost()).sum::<i64>();
    assert_eq!((book.sum(Figure::Trips), book.sum(Figure::Cost)), (20, costs));
}

/// Two with spools of their own write into one server.
#[tokio::test]
async fn replicas_keep_one_set_of_books() {
    let Some(server) = Postgres::start() else { return };
    let ground = Ground::Server(Box::new(server), TempDir::new().expect("a folder"));
    let folder = TempDir::new().expect("a folder");
    let (upstream, served) = upstream().await;
    let panniers = [
        ground.launch(&upstream).start().await,
        ground.launch(&upstream).data_dir(folder.path()).start().await,
    ];
    let asking = panniers.each_ref().map(|pannier| {
        let addr = pannier.addr;
        tokio::spawn(async move {
            for number in 0..60 {
                Wire::open(addr).await.exchange(&ask(number, number % 2 == 0)).await.fine();
            }
        })
    });
    for asking in asking {
        asking.await.expect("all answers");
    }
    for pannier in panniers {
        end(pannier).await;
    }
    let book = ground.book().await;
    book.agrees();
    let costs = served.lock().expect("served").iter().map(|number| Figures::of(*number).cost()).sum::<i64>();
    assert_eq!((book.sum(Figure::Requests), book.sum(Figure::Cost)), (120, costs));
}
