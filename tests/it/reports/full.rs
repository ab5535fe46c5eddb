//! Whoever is about to lose rows is told so before.

use super::*;
use tempfile::TempDir;

const WARNING: &str = "more than 80 % of the rows";

#[tokio::test]
async fn a_warning_is_given_before_rows_go() {
    let (upstream, dir, chat) = (Upstream::start().await, TempDir::new().expect("a folder"), route(CHAT));
    upstream.always(CHAT, chat.acts(false));
    let launch = |most| Launch::before(&upstream).data_dir(dir.path()).set("retention.max_rows", most);
    let mut pannier = launch("10").start().await;
    for number in 0..8 {
        let mut body = chat.body(false);
        body["number"] = number.into();
        pannier.ask(&Ask::post(CHAT, &body)).await.fine();
    }
    pannier.signal("TERM");
    pannier.ended().await;
    // Rows are counted at the start. Eight of ten are not more than that.
    for (most, is_told) in [("10", false), ("9", true)] {
        let mut pannier = launch(most).start().await;
        pannier.counts("pannier_internal_size", &[("what", "ledger_rows")], 8.0).await;
        if is_told {
            eventually("it is told", || async { pannier.output().contains(WARNING).then_some(()) }).await;
        }
        pannier.signal("TERM");
        pannier.ended().await;
        assert_eq!(pannier.output().contains(WARNING), is_told, "{}", pannier.output());
    }
}
