//! K-04: whatever somebody writes where a name or a word is expected, the database takes it for that.

use super::*;
use crate::ledger::books::Book;
use servers::Postgres;

/// What would mean something to a database, were it not taken for a value.
const STATEMENTS: [&str; 9] = [
    "' OR '1'='1",
    "'; DROP TABLE ledger_row; --",
    "\" OR \"\"=\"",
    "x' UNION SELECT id, name, team FROM ledger_account --",
    "1; SELECT pg_sleep(600)",
    "1) OR (1=1",
    "$1",
    "?1",
    "\\'; --",
];

/// Figures and lists, each with what would come of a name that is none.
const ROUTES: [&str; 13] = [
    "/usage",
    "/costs",
    "/usage/requests",
    "/api/metrics/dashboard",
    "/api/metrics/timeseries",
    "/api/metrics/endpoints",
    "/api/costs/summary",
    "/api/costs/projection",
    "/api/admin/costs/all",
    "/api/admin/costs/pricing",
    "/metrics/export",
    "/admin/keys",
    "/analytics/cache",
];
const FIELDS: [&str; 14] = [
    "by", "key", "team", "model", "endpoint", "period", "from", "to", "zone", "format", "days", "interval",
    "limit", "cursor",
];

#[tokio::test]
async fn what_is_no_name_is_no_statement_either() {
    let server = Postgres::start();
    for server in [None, server.as_ref()].into_iter().take(1 + usize::from(server.is_some())) {
        let shop = Shop::open_under(|launch| {
            let launch = launch.set("auth.mode", "required").set("cache.enabled", "false");
            match server {
                Some(server) => {
                    launch.set("store.database", &server.url()).set("store.pepper", &"ab".repeat(32))
                }
                None => launch,
            }
        });
        let mut shop = shop.await;
        for number in 0..2 {
            shop.chat(&shop.ann, number).await;
            shop.chat(&shop.sum, number).await;
        }
        let mut asked = 4;
        for statement in STATEMENTS {
            in_a_body(&shop, statement).await;
            asked += 1;
            as_a_key(&shop, statement).await;
            is_in_the_books(&shop, asked).await;
            in_a_query(&shop, statement).await;
            in_a_path(&shop, statement).await;
        }
        is_in_the_books(&shop, asked).await;
        let keys = shop.admin("/admin/keys").await.json();
        assert_eq!(keys["keys"].as_array().map(Vec::len), Some(2), "{keys}");
        shop.pannier.signal("TERM");
        shop.pannier.ended().await;
        let file = shop.pannier.data_dir.join("pannier.db");
        let book = Book::read(&server.map_or(file.to_string_lossy().into(), Postgres::url)).await;
        book.agrees();
        assert_eq!(book.rows.len() as u64, asked);
    }
}

async fn is_in_the_books(shop: &Shop, requests: u64) {
    eventually("all of it is in the books", || async {
        let told = shop.admin("/usage?by=").await.json();
        (told["total"]["requests"] == requests).then_some(())
    })
    .await;
}

/// As a model's name, and as that of a new key and of its team.
async fn in_a_body(shop: &Shop, statement: &str) {
    let messages = json!([{ "role": "user", "content": statement }]);
    let body = json!({ "model": statement, "stream": false, "messages": messages });
    let reply = shop.pannier.ask(&of(Ask::post(CHAT, &body), &shop.ann)).await;
    assert_eq!(reply.status(), 200, "{statement}: {}", reply.text());
    for made in [json!({ "name": statement }), json!({ "name": "n", "team": statement })] {
        let made = shop.house(of(Ask::post("/admin/keys", &made), &shop.pannier.admin_key())).await;
        assert_eq!(made.status(), 400, "{statement}: {}", made.text());
    }
}

async fn as_a_key(shop: &Shop, statement: &str) {
    let chat = || Ask::post(CHAT, &json!({ "model": "smollm2:135m", "messages": [] }));
    for ask in [of(chat(), statement), chat().with("X-API-Key", statement)] {
        let reply = shop.pannier.ask(&ask).await;
        assert_eq!(reply.status(), 401, "{statement}: {}", reply.text());
    }
    for route in ["/usage", "/admin/keys"] {
        assert_eq!(shop.get(route, statement).await.status(), 401, "{statement}");
    }
}

/// Neither refused by the database, nor answered with what is another's.
async fn in_a_query(shop: &Shop, statement: &str) {
    for route in ROUTES {
        for field in FIELDS {
            let target = format!("{route}?{field}={}", encoded(statement));
            let of_all = shop.get(&target, &shop.pannier.admin_key()).await;
            assert!(of_all.status() < 500, "{target}: {}", of_all.text());
            let of_ann = shop.get(&target, &shop.ann).await;
            assert!(of_ann.status() < 500, "{target}: {}", of_ann.text());
            assert!(!of_ann.text().contains("+1-2"), "{target}: {}", of_ann.text());
        }
    }
    for field in ["key", "team", "endpoint"] {
        let told = shop.admin(&format!("/usage?by=&{field}={}", encoded(statement))).await.json();
        let requests = told["total"]["requests"].as_u64().expect("a number");
        assert_eq!(requests, 0, "{field}={statement}: {told}");
    }
}

async fn in_a_path(shop: &Shop, statement: &str) {
    let (name, admin) = (encoded(statement), shop.pannier.admin_key());
    let rate = Ask::post(&format!("/api/metrics/{name}/rate"), &json!({ "rating": 1 }));
    let price = Ask::new("DELETE", &format!("/api/admin/costs/pricing?model={name}"));
    for ask in [
        Ask::get(&format!("/admin/keys/{name}")),
        Ask::new("DELETE", &format!("/admin/keys/{name}")),
        rate,
        price,
    ] {
        let reply = shop.house(of(ask, &admin)).await;
        assert!([400, 404].contains(&reply.status()), "{statement}: {} {}", reply.status(), reply.text());
    }
}

/// As it stands in an address.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
