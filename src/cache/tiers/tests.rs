use super::*;
use crate::cache::samples;
use crate::domain::Operation;
use async_trait::async_trait;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{SetOnce, mpsc};

/// The first of its key's bytes where [`Late`] knows without having opened that it has nothing.
const LACKING: u8 = 0xff;

/// A tier that opens when it is told to; until then it keeps nothing.
#[derive(Default)]
struct Late {
    open: SetOnce<()>,
    kept: AtomicUsize,
}

#[async_trait]
impl Tier for Late {
    fn name(&self) -> TierName {
        TierName::Database
    }

    fn lacks(&self, key: &CacheKey) -> bool {
        key.0[0] == LACKING
    }

    async fn find(&self, keys: &[CacheKey]) -> Result<Vec<Option<Bytes>>, Fault> {
        self.open.get().ok_or(Fault::Unreachable)?;
        Ok(vec![None; keys.len()])
    }

    async fn look(&self, keys: &[CacheKey]) -> Result<Vec<Option<Bytes>>, Fault> {
        self.find(keys).await
    }

    async fn keep(&self, parcels: &[Parcel]) -> Result<(), Fault> {
        self.open.get().ok_or(Fault::Unreachable)?;
        self.kept.fetch_add(parcels.len(), Ordering::Relaxed);
        Ok(())
    }

    async fn remove(&self, _: &Selection) -> Result<u64, Fault> {
        Ok(0)
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
        self.open.get().copied().ok_or(Fault::Unreachable)
    }

    async fn settled(&self) {
        self.open.wait().await;
    }
}

fn tiers(late: &Arc<Late>) -> Tiers {
    let hour = Duration::from_secs(3600);
    let limits =
        Limits { embedding_ttl: hour, completion_ttl: hour, max_entry: 1 << 20, timeout: PROBE_EVERY };
    let tier: Arc<dyn Tier> = late.clone();
    let seal = Seal::new(&crate::cache::Secret::of([7; 32]));
    Tiers::new(seal, [(tier, limits)], 1 << 20, Arc::default())
}

fn put(tiers: &Tiers) {
    let load = Load::Sealed(Bytes::from_static(b"sealed"));
    let label = samples::label(Operation::Chat, "m", "lab");
    tiers.queue.put(Errand::Keep(Box::new(Keeping {
        key: CacheKey([1; 32]),
        scope: Scope([0; 32]),
        label,
        load,
        stored: std::time::Instant::now(),
        ttl: Duration::from_secs(60),
        depth: 1,
        lease: None,
    })));
}

#[tokio::test(start_paused = true)]
async fn what_comes_before_a_tier_has_opened_waits_for_it() {
    let late = Arc::<Late>::default();
    let tiers = tiers(&late);
    put(&tiers);
    let (_stop, stopped) = watch::channel(false);
    let opens = async {
        tokio::time::sleep(SETTLING / 2).await;
        assert_eq!(tiers.waiting().0, 1, "it waits");
        late.open.set(()).unwrap();
        while late.kept.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let opened = tokio::time::timeout(SETTLING * 2, async {
        tokio::select! {
            () = opens => {}
            () = tiers.run(stopped) => {}
        }
    });
    opened.await.expect("it is written");
    assert_eq!((late.kept.load(Ordering::Relaxed), tiers.waiting().0), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn neither_a_tier_that_never_opens_nor_the_end_is_waited_for_without_end() {
    let late = Arc::<Late>::default();
    let tiers = tiers(&late);
    put(&tiers);
    let (stop, stopped) = watch::channel(false);
    let began = tokio::time::Instant::now();
    let ends = async {
        tokio::time::sleep(SETTLING * 2).await;
        assert_eq!(tiers.waiting().0, 0, "it was tried all the same");
        put(&tiers);
        stop.send_replace(true);
    };
    tokio::join!(tiers.run(stopped), ends);
    assert_eq!(tiers.waiting().0, 0);
    assert!(began.elapsed() <= SETTLING * 2 + LAST_WRITES, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_tier_that_cannot_be_asked_may_have_all_but_what_it_is_known_to_lack() {
    let late = Arc::<Late>::default();
    let tiers = tiers(&late);
    let key = |n: u32, first: u8| {
        let mut key = [first; 32];
        key[1..5].copy_from_slice(&n.to_le_bytes());
        CacheKey(key)
    };
    // More than are asked for at once.
    let keys: Vec<CacheKey> = (0..CHUNK as u32 * 2).flat_map(|n| [key(n, 1), key(n, LACKING)]).collect();
    let label = samples::label(Operation::Chat, "m", "lab");
    let whys = async || -> Vec<Option<Reason>> {
        let found = tiers.find_many(&keys, &Scope([0; 32]), &label).await;
        found.into_iter().map(|found| found.expect_err("there is nothing")).collect()
    };
    let away = [Some(Reason::TierDown), None].repeat(CHUNK * 2);
    assert_eq!(whys().await, away);
    late.open.set(()).unwrap();
    assert_eq!(whys().await, [None].repeat(CHUNK * 4));
}
