//! What listening costs, and who pays.

use super::*;
use crate::ledger::books::Book;
use pannier::store::ledger::Figure;

const PRICES: &str = "[prices]\nmodels = [{ model = \"whisper:*\", audio_second = \"0.001\" }]\n";

#[tokio::test]
async fn a_second_of_a_recording_has_its_price_and_a_hit_costs_nothing() {
    let Some(mut studio) = Studio::open_with(|launch| launch.file(PRICES)).await else { return };
    let fields = [("model", "tiny"), ("language", "en")];
    studio.hear("silence_5s.wav", &fields).await.fine();
    eventually("it is remembered", || async {
        studio.hear("silence_5s.wav", &fields).await.is_hit().then_some(())
    })
    .await;
    studio.pannier.signal("TERM");
    studio.pannier.ended().await;
    let book = Book::read(&studio.pannier.data_dir.join("pannier.db").to_string_lossy()).await;
    assert_eq!((book.sum(Figure::Hits), book.sum(Figure::Trips)), (1, 1));
    assert_eq!(book.models(), ["whisper:tiny-q5_1"]);
    assert_eq!((book.sum(Figure::Audio), book.sum(Figure::Cost)), (5_000, 5_000_000));
    // Whoever asked before it was kept has joined the first.
    let given = book.sum(Figure::Hits) + book.sum(Figure::Joined);
    assert_eq!(book.sum(Figure::SavedCost), 5_000_000 * given);
    assert!(book.sum(Figure::Gpu) > 0 && book.sum(Figure::Prompt) == 0);
}
