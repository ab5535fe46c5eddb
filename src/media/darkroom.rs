//! Where pictures are developed: a few at a time, beside the threads that everybody shares, and each only once.

use super::picture::{self, Bounds, Developed};
use super::{Config, Flaw, opened};
use crate::domain::Film;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// Pictures that may wait for their turn.
const MOST_WAITING: usize = 256;
/// Bytes of what was made of pictures that came before.
const KEPT: u64 = 32 << 20;
/// What it costs to know of one, beside its bytes.
const OVERHEAD: usize = 128;

/// Looks at pictures, and makes those readable that are not.
pub struct Darkroom {
    bounds: Bounds,
    seats: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// What was made of a picture, by the hash of its bytes; `None` where nothing had to be done.
    known: moka::sync::Cache<[u8; 32], Option<Arc<str>>>,
}

/// A picture that every engine reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    pub base64: Arc<str>,
    /// It was written anew.
    pub is_anew: bool,
    /// It came before.
    pub is_known: bool,
}

/// One of those who wait.
struct Place<'a>(&'a AtomicUsize);

impl Darkroom {
    pub fn new(config: &Config) -> Self {
        let weigh = |_: &[u8; 32], made: &Option<Arc<str>>| {
            let bytes = OVERHEAD + made.as_ref().map_or(0, |made| made.len());
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Darkroom {
            bounds: Bounds { max_side: config.max_side, max_pixels: config.max_pixels as u64 },
            seats: Arc::new(Semaphore::new(config.workers)),
            waiting: AtomicUsize::new(0),
            known: moka::sync::Cache::builder().max_capacity(KEPT).weigher(weigh).build(),
        }
    }

    /// Looks at a picture when it is its turn. Whoever leaves before gives the turn up; work that has begun is
    /// done, and keeps its seat until then.
    ///
    /// # Errors
    /// Why there is no picture.
    pub async fn develop(&self, film: Film) -> Result<Picture, Flaw> {
        let _place = Place::among(&self.waiting).ok_or(Flaw::Busy)?;
        let seat = self.seats.clone().acquire_owned().await.map_err(|_| Flaw::Busy)?;
        let (bounds, known) = (self.bounds, self.known.clone());
        let work = move || {
            let _seat = seat;
            work(film, bounds, &known)
        };
        // A decoder that panics has met a picture that cannot be read.
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Flaw::broken("its decoder gave up")))
    }

    /// Pictures that wait or are worked on.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Bytes of what is known.
    pub fn known_bytes(&self) -> u64 {
        self.known.weighted_size()
    }
}

fn work(
    film: Film,
    bounds: Bounds,
    known: &moka::sync::Cache<[u8; 32], Option<Arc<str>>>,
) -> Result<Picture, Flaw> {
    let bytes = opened::open(film)?;
    let hash = *blake3::hash(&bytes).as_bytes();
    let (made, is_known) = match known.get(&hash) {
        Some(made) => (made, true),
        None => match picture::develop(&bytes, bounds)? {
            Developed::AsIs => (None, false),
            Developed::Anew(bytes) => (Some(Arc::from(STANDARD.encode(bytes))), false),
        },
    };
    if !is_known {
        known.insert(hash, made.clone());
    }
    let is_anew = made.is_some();
    Ok(Picture { base64: made.unwrap_or_else(|| Arc::from(STANDARD.encode(&bytes))), is_anew, is_known })
}

impl<'a> Place<'a> {
    fn among(all: &'a AtomicUsize) -> Option<Self> {
        let place = (all.fetch_add(1, Ordering::Relaxed), Place(all));
        (place.0 < MOST_WAITING).then_some(place.1)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use image::{DynamicImage, ImageFormat};
    use std::io::Cursor;

    fn darkroom(workers: usize) -> Darkroom {
        let model = "m".to_owned();
        let config =
            Config { model, max_side: 8, max_pixels: 4096, max_images: 1, workers, transcode_native: false };
        Darkroom::new(&config)
    }

    fn file(side: u32, format: ImageFormat) -> Bytes {
        let mut file = Cursor::new(Vec::new());
        DynamicImage::new_rgb8(side, side).write_to(&mut file, format).expect("a picture");
        file.into_inner().into()
    }

    #[tokio::test]
    async fn a_picture_is_worked_on_once() {
        let darkroom = darkroom(1);
        let fine = file(8, ImageFormat::Png);
        for known in [false, true] {
            let picture = darkroom.develop(Film::Bytes(fine.clone())).await.expect("a picture");
            assert_eq!(*picture.base64, *STANDARD.encode(&fine));
            assert_eq!((picture.is_anew, picture.is_known), (false, known));
        }
        // However it comes, it is the same one.
        let large = file(16, ImageFormat::Bmp);
        let first = darkroom.develop(Film::Bytes(large.clone())).await.expect("a picture");
        let second = darkroom.develop(Film::Text(STANDARD.encode(&large))).await.expect("a picture");
        assert_eq!((first.is_anew, first.is_known, second.is_known), (true, false, true));
        assert_eq!(first.base64, second.base64);
        darkroom.known.run_pending_tasks();
        assert!(darkroom.known_bytes() > 0);
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let darkroom = darkroom(1);
        let seat = darkroom.seats.clone().acquire_owned().await.expect("a seat");
        let film = || Film::Bytes(file(8, ImageFormat::Png));
        let mut waiting: Vec<_> = (0..MOST_WAITING).map(|_| Box::pin(darkroom.develop(film()))).collect();
        for one in &mut waiting {
            assert!(futures_util::FutureExt::now_or_never(one.as_mut()).is_none());
        }
        assert_eq!((darkroom.waiting(), darkroom.develop(film()).await), (MOST_WAITING, Err(Flaw::Busy)));
        // Who leaves makes room, and who stays has his turn.
        waiting.truncate(2);
        drop(seat);
        for one in waiting {
            assert!(one.await.is_ok());
        }
        assert_eq!(darkroom.waiting(), 0);
    }
}
