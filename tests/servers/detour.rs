//! A way round to a server, on which things are slow, vanish, or are torn to pieces.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Forwards every connection to one server.
pub struct Detour {
    port: u16,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

/// What becomes of what goes this way.
#[derive(Clone, Copy, Default)]
pub struct Weather {
    /// Each piece takes so long, and up to `jitter` more; none overtakes another.
    pub latency: Duration,
    pub jitter: Duration,
    /// Nothing comes through, and nobody hears of it.
    pub swallows: bool,
    pub answers: Answers,
}

/// What becomes of what the server says.
#[derive(Clone, Copy, Default)]
pub enum Answers {
    #[default]
    Whole,
    /// One bit in so many bytes is another.
    Garbled(usize),
    /// Each number of eight bytes in a row of a PostgreSQL's is its neighbour: 2 for 3, and 3 for 2.
    Misnumbered,
    /// Half a piece comes through, and then the connection's end.
    Cut,
    /// Half a piece comes through, and of its connection nothing more ever.
    Half,
    /// What answers this does not come through, and its connection ends: it was done, and nobody hears of it.
    UnheardTo(&'static str),
}

#[derive(Clone)]
enum Goal {
    Port(u16),
    Socket(PathBuf),
}

struct State {
    goal: Mutex<Goal>,
    weather: Mutex<Weather>,
    /// Pieces that clients have sent.
    sent: AtomicU64,
    connections: AtomicU64,
    /// Answers that were not heard; see [`Answers::UnheardTo`].
    unheard: AtomicU64,
}

impl Detour {
    pub async fn to(port: u16, latency: Duration, jitter: Duration) -> Self {
        Detour::towards(Goal::Port(port), Weather { latency, jitter, ..Weather::default() }).await
    }

    /// To a server that listens on a socket of the file system.
    pub async fn to_socket(path: &Path) -> Self {
        Detour::towards(Goal::Socket(path.to_owned()), Weather::default()).await
    }

    async fn towards(goal: Goal, weather: Weather) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (goal, weather) = (Mutex::new(goal), Mutex::new(weather));
        let [sent, connections, unheard] = [0; 3].map(AtomicU64::new);
        let state = Arc::new(State { goal, weather, sent, connections, unheard });
        let accepting = tokio::spawn(accept(listener, state.clone()));
        Detour { port, state, accepting }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Of a Redis behind it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn weather(&self, weather: Weather) {
        *self.state.weather.lock().unwrap() = weather;
    }

    /// From now on nothing comes through, and nobody hears of it.
    pub fn swallow(&self, swallows: bool) {
        self.weather(Weather { swallows, ..Weather::default() });
    }

    /// New connections lead there; those that are open stay.
    pub fn lead_to(&self, port: u16) {
        *self.state.goal.lock().unwrap() = Goal::Port(port);
    }

    /// Pieces that clients have sent, and connections that they have opened.
    pub fn traffic(&self) -> (u64, u64) {
        (self.state.sent.load(Ordering::Relaxed), self.state.connections.load(Ordering::Relaxed))
    }

    /// How many answers came that were not heard; see [`Answers::UnheardTo`].
    pub fn unheard(&self) -> u64 {
        self.state.unheard.load(Ordering::Relaxed)
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        state.connections.fetch_add(1, Ordering::Relaxed);
        let _ = client.set_nodelay(true);
        let goal = state.goal.lock().unwrap().clone();
        match goal {
            Goal::Port(port) => {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let _ = server.set_nodelay(true);
                let (from_server, to_server) = server.into_split();
                tokio::spawn(carry_both(state.clone(), client, from_server, to_server));
            }
            Goal::Socket(path) => {
                let Ok(server) = UnixStream::connect(path).await else { continue };
                let (from_server, to_server) = server.into_split();
                tokio::spawn(carry_both(state.clone(), client, from_server, to_server));
            }
        }
    }
}

async fn carry_both(
    state: Arc<State>,
    client: TcpStream,
    from_server: impl AsyncRead + Unpin,
    to_server: impl AsyncWrite + Unpin,
) {
    let (from_client, to_client) = client.into_split();
    let (over, mut is_over) = watch::channel(false);
    let asked = AtomicBool::new(false);
    let questions = carry(&state, from_client, to_server, (false, &asked), &over);
    let answers = carry(&state, from_server, to_client, (true, &asked), &over);
    tokio::select! {
        _ = async { tokio::join!(questions, answers) } => {}
        _ = is_over.wait_for(|over| *over) => {}
    }
}

/// From one end to the other, until that is over; `over` is told where the connection is to end at once. `asked`:
/// whether that was asked whose answer is not to be heard.
async fn carry(
    state: &State,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    (is_answer, asked): (bool, &AtomicBool),
    over: &watch::Sender<bool>,
) {
    let (on_its_way, mut arriving) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let arrive = async move {
        while let Some((due, piece)) = arriving.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    let set_off = async move {
        let mut buffer = vec![0; 64 << 10];
        let mut is_dead = false;
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if !is_answer {
                state.sent.fetch_add(1, Ordering::Relaxed);
            }
            let weather = *state.weather.lock().unwrap();
            let mut piece = buffer[..length].to_vec();
            if is_answer {
                is_dead |= spoil(&mut piece, weather.answers);
            }
            if let Answers::UnheardTo(question) = weather.answers {
                if !is_answer {
                    let is_it = piece.windows(question.len()).any(|bytes| bytes == question.as_bytes());
                    asked.fetch_or(is_it, Ordering::Relaxed);
                } else if asked.load(Ordering::Relaxed) {
                    state.unheard.fetch_add(1, Ordering::Relaxed);
                    let _ = over.send(true);
                    return;
                }
            }
            let due = Instant::now() + weather.latency + weather.jitter.mul_f32(fastrand::f32());
            if !weather.swallows {
                let _ = on_its_way.send((due, piece));
            }
            match weather.answers {
                Answers::Cut if is_answer => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    let _ = over.send(true);
                }
                _ if is_dead => std::future::pending().await,
                _ => {}
            }
        }
        drop(on_its_way);
    };
    tokio::join!(arrive, set_off);
}

/// Whether nothing may follow.
fn spoil(piece: &mut Vec<u8>, answers: Answers) -> bool {
    match answers {
        Answers::Whole | Answers::UnheardTo(_) => false,
        Answers::Garbled(every) => {
            for byte in piece.iter_mut() {
                if fastrand::usize(..every) == 0 {
                    *byte ^= 1 << fastrand::u8(..8);
                }
            }
            false
        }
        Answers::Misnumbered => {
            misnumber(piece);
            false
        }
        Answers::Cut => {
            piece.truncate(piece.len() / 2);
            false
        }
        Answers::Half => {
            piece.truncate(piece.len() / 2);
            true
        }
    }
}

/// Of answers so short that they come in one piece
/// (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
fn misnumber(mut piece: &mut [u8]) {
    while let Some((head, rest)) = piece.split_at_mut_checked(5) {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let Some((body, next)) = rest.split_at_mut_checked(length.saturating_sub(4)) else { return };
        if head[0] == b'D' {
            misnumber_row(&mut body[2..]);
        }
        piece = next;
    }
}

fn misnumber_row(mut values: &mut [u8]) {
    while let Some((length, rest)) = values.split_first_chunk_mut::<4>() {
        // Nothing is told as a length of -1.
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let (value, next) = rest.split_at_mut(length);
        if let [.., last] = value
            && length == 8
        {
            *last ^= 1;
        }
        values = next;
    }
}
