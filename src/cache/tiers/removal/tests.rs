use super::*;
use crate::cache::tiers::Limits;
use crate::cache::{Board, Listing, Parcel, Seal, Secret, Tally, Tier, samples};
use crate::domain::Operation;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What replicas share: the keys of entries, and notices.
#[derive(Default)]
struct Common {
    kept: Mutex<HashSet<CacheKey>>,
    /// What is not to be removed for now.
    stuck: Mutex<HashSet<CacheKey>>,
    notices: Mutex<Vec<String>>,
}

#[async_trait]
impl Tier for Common {
    fn name(&self) -> TierName {
        TierName::Redis
    }

    async fn find(&self, keys: &[CacheKey]) -> Result<Vec<Option<Bytes>>, Fault> {
        Ok(vec![None; keys.len()])
    }

    async fn look(&self, keys: &[CacheKey]) -> Result<Vec<Option<Bytes>>, Fault> {
        self.find(keys).await
    }

    async fn keep(&self, parcels: &[Parcel]) -> Result<(), Fault> {
        self.kept.lock().unwrap().extend(parcels.iter().map(|parcel| parcel.key));
        Ok(())
    }

    async fn remove(&self, selection: &Selection) -> Result<u64, Fault> {
        let is_stuck = |key| self.stuck.lock().unwrap().contains(&key);
        if selection.key.is_some_and(is_stuck) {
            return Err(Fault::Refused);
        }
        let mut kept = self.kept.lock().unwrap();
        let before = kept.len();
        kept.retain(|key| selection.key.is_some_and(|wanted| wanted != *key));
        Ok((before - kept.len()) as u64)
    }

    async fn tally(&self) -> Result<Vec<Tally>, Fault> {
        Ok(Vec::new())
    }

    async fn top(&self, _: &Selection, _: usize) -> Result<Vec<Listing>, Fault> {
        Ok(Vec::new())
    }

    async fn list(&self, _: &Selection, _: &mpsc::Sender<Vec<Listing>>) -> Result<(), Fault> {
        Ok(())
    }

    async fn probe(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn board(&self) -> Option<&dyn Board> {
        Some(self)
    }
}

#[async_trait]
impl Board for Common {
    async fn post(&self, notice: &str) -> Result<(), Fault> {
        self.notices.lock().unwrap().push(notice.to_owned());
        Ok(())
    }

    async fn read(&self, last: &str) -> Result<Vec<(String, String)>, Fault> {
        let read: usize = last.parse().unwrap_or(0);
        let notices = self.notices.lock().unwrap();
        let named = notices.iter().enumerate().map(|(at, notice)| ((at + 1).to_string(), notice.clone()));
        Ok(named.skip(read).collect())
    }
}

/// Those of one replica.
fn tiers(common: &Arc<Common>) -> Tiers {
    let (hour, second) = (Duration::from_secs(3600), Duration::from_secs(1));
    let limits = Limits { embedding_ttl: hour, completion_ttl: hour, max_entry: 1 << 20, timeout: second };
    let tier: Arc<dyn Tier> = common.clone();
    Tiers::new(Seal::new(&Secret::of([7; 32])), [(tier, limits)], 1 << 20, Arc::default())
}

fn only(key: CacheKey) -> Selection {
    Selection { key: Some(key), ..Selection::default() }
}

#[tokio::test]
async fn one_removal_that_fails_keeps_no_other_waiting() {
    let common = Arc::<Common>::default();
    let tiers = tiers(&common);
    let keys = [1, 2, 3].map(|number| CacheKey([number; 32]));
    common.stuck.lock().unwrap().extend(keys);
    for key in keys {
        assert_eq!(tiers.remove(&only(key)).await, [(TierName::Redis, Err(Fault::Refused))]);
    }
    let label = samples::label(Operation::Chat, "m", "lab");
    let owed = || keys.map(|key| tiers.levels[0].still_has_removed(&[key], &label));
    assert_eq!(owed(), [true; 3]);
    common.stuck.lock().unwrap().retain(|key| *key == keys[0]);
    tiers.levels[0].remove_owed().await;
    assert_eq!(owed(), [true, false, false]);
    common.stuck.lock().unwrap().clear();
    tiers.levels[0].remove_owed().await;
    assert_eq!(owed(), [false; 3]);
}

#[tokio::test]
async fn what_another_wrote_before_it_heard_goes_in_the_second_pass() {
    let common = Arc::<Common>::default();
    let [one, other] = [tiers(&common), tiers(&common)];
    let (key, all) = (CacheKey([1; 32]), Selection::default());
    let write = || common.kept.lock().unwrap().insert(key);
    let has_it = || common.kept.lock().unwrap().contains(&key);
    write();
    assert_eq!(one.remove(&all).await, [(TierName::Redis, Ok(1))]);
    write();
    assert_eq!(other.heard().await, std::slice::from_ref(&all));
    assert!(one.heard().await.is_empty(), "it knows what it has done");
    one.levels[0].remove_owed().await;
    assert!(has_it(), "not before all must have heard of it");

    let pass = |removal: &mut Removal| removal.again = Some(Instant::now());
    one.levels[0].owed.lock().iter_mut().for_each(pass);
    one.levels[0].remove_owed().await;
    assert!(!has_it());
    for replica in [&one, &other] {
        assert_eq!(
            replica.heard().await,
            std::slice::from_ref(&all),
            "whoever has read it meanwhile drops it"
        );
        assert!(replica.heard().await.is_empty());
    }
    write();
    one.levels[0].remove_owed().await;
    assert!(has_it(), "two passes are all there are");
}

/// However many are removed one by one: what nobody has named stays.
#[tokio::test(start_paused = true)]
async fn many_removals_are_many_and_not_all() {
    let common = Arc::<Common>::default();
    let tiers = tiers(&common);
    let owed = &tiers.levels[0].owed;
    let key = |number: usize| CacheKey(std::array::from_fn(|at| (number >> (8 * (at % 4))) as u8));
    for number in 0..MOST {
        owed.add(&only(key(number)));
        owed.settle(&only(key(number)), Some(Instant::now() + AGAIN_AFTER));
    }
    assert!(owed.is_crowded());
    let stays = CacheKey([255; 32]);
    common.kept.lock().unwrap().extend([stays, key(MOST)]);
    let one_more = only(key(MOST));
    let removing = tiers.remove(&one_more);
    let second_passes = async {
        tokio::time::sleep(PROBE_EVERY).await;
        owed.lock().iter_mut().for_each(|removal| removal.again = Some(Instant::now()));
        tiers.levels[0].remove_owed().await;
    };
    let (removed, ()) = tokio::join!(removing, second_passes);
    assert_eq!(removed, [(TierName::Redis, Ok(1))]);
    assert!(!owed.is_crowded());
    assert!(common.kept.lock().unwrap().contains(&stays));
    let all = || owed.lock().iter().any(|removal| removal.selection == Selection::default());
    assert!(!all(), "nobody wanted that");
    (0..=MOST).for_each(|number| owed.add(&only(key(number))));
    assert!(all(), "what cannot be remembered one by one is remembered as all");
}

/// Where a tier cannot be asked for the second time, it is to remove all that it has instead.
#[test]
fn what_waits_to_be_done_once_more_has_an_end() {
    let owed = Owed::default();
    let key = |number: usize| CacheKey(std::array::from_fn(|at| (number >> (8 * (at % 4))) as u8));
    for number in 0..3 * MOST {
        owed.add(&only(key(number)));
        owed.settle(&only(key(number)), Some(Instant::now() + AGAIN_AFTER));
        assert!(owed.lock().len() <= 2 * MOST);
    }
    let undone = |removal: &Removal| removal.again.is_none() && removal.selection == Selection::default();
    assert!(owed.lock().iter().any(undone) && owed.any.load(Ordering::Acquire));
}
