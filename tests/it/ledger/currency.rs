//! Sums know no currency: the books have one, from their beginning on.

use super::*;
use pannier::store::ledger::Figure;

#[tokio::test]
async fn a_start_with_another_currency_is_refused_and_says_what_to_do() {
    for ground in Ground::all() {
        let (upstream, _) = upstream().await;
        let pannier = ground.launch(&upstream).start().await;
        pannier.ask(&ask(1, false)).await.fine();
        end(pannier).await;
        let (status, said) = ground.launch(&upstream).set("prices.currency", "EUR").run().await;
        assert!(!status.success(), "{said}");
        for words in ["the books are in USD", "set prices.currency = \"USD\"", "store.database"] {
            assert!(said.contains(words), "{said}");
        }
        let pannier = ground.launch(&upstream).start().await;
        pannier.ask(&ask(2, false)).await.fine();
        end(pannier).await;
        let costs = [1, 2].map(|number| Figures::of(number).cost());
        assert_eq!(ground.book().await.sum(Figure::Cost), costs.iter().sum::<i64>());
    }
}

#[tokio::test]
async fn the_currency_is_no_setting_to_change_on_the_way() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (upstream, _) = upstream().await;
    let pannier = ground.launch(&upstream).start().await;
    pannier.configure(&PRICES.replace("[prices]", "[prices]\ncurrency = \"EUR\"\nhit = \"1\""));
    pannier.signal("HUP");
    eventually("the change is refused", || async {
        pannier.output().contains("prices.currency can only be changed by a new start").then_some(())
    })
    .await;
    end(pannier).await;
}
