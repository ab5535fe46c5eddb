//! One connection to the upstream, driven by whoever uses it: no task of its own, small buffers, and gone
//! when it is dropped.

use super::opening::Socket;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What is read ahead of the reader at the most; an answer's head must fit into it too.
const MOST_BUFFERED: usize = 64 << 10;

/// A piece up to this size is copied.
const SMALL: usize = 2 << 10;

/// An open connection that bears one request at a time.
pub struct Link {
    sender: SendRequest<Full<Bytes>>,
    /// Boxed: a link is handed from one to the next.
    connection: Box<Connection<TokioIo<Socket>, Full<Bytes>>>,
    is_over: bool,
}

impl Link {
    /// # Errors
    /// When HTTP cannot be spoken over `socket`.
    pub async fn over(socket: Socket) -> hyper::Result<Self> {
        let mut builder = http1::Builder::new();
        // The spelling of names that Ollama's own kind of client uses.
        builder.title_case_headers(true).max_buf_size(MOST_BUFFERED);
        let (sender, connection) = builder.handshake(TokioIo::new(socket)).await?;
        Ok(Link { sender, connection: Box::new(connection), is_over: false })
    }

    /// Whether it can bear a request; one that the upstream has closed meanwhile cannot.
    pub async fn is_ready(&mut self) -> bool {
        std::future::poll_fn(|cx| {
            self.turn(cx);
            Poll::Ready(())
        })
        .await;
        !self.is_over && self.sender.is_ready()
    }

    /// Sends `request` and waits for the answer's head, which may come before all of it was sent.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Option<Response<Incoming>>> {
        let mut answering = std::pin::pin!(self.sender.send_request(request));
        let (connection, is_over) = (&mut self.connection, &mut self.is_over);
        std::future::poll_fn(|cx| {
            drive(connection, is_over, cx);
            match answering.as_mut().poll(cx) {
                Poll::Ready(answered) => Poll::Ready(answered.map(Some)),
                Poll::Pending if *is_over => Poll::Ready(Ok(None)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// The next piece of an answer's body. `None` is its clean end.
    pub async fn piece(&mut self, body: &mut Incoming) -> hyper::Result<Option<Bytes>> {
        std::future::poll_fn(|cx| {
            loop {
                // Asking first tells the connection that there is room.
                let mut polled = Pin::new(&mut *body).poll_frame(cx);
                if polled.is_pending() {
                    self.turn(cx);
                    polled = Pin::new(&mut *body).poll_frame(cx);
                }
                match std::task::ready!(polled) {
                    None => return Poll::Ready(Ok(None)),
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    Some(Ok(frame)) => match frame.into_data() {
                        // A small piece must not keep the buffer that it was read into.
                        Ok(piece) if piece.len() <= SMALL => {
                            return Poll::Ready(Ok(Some(Bytes::copy_from_slice(&piece))));
                        }
                        Ok(piece) => return Poll::Ready(Ok(Some(piece))),
                        // Trailers say nothing that anybody here wants to know.
                        _ => {}
                    },
                }
            }
        })
        .await
    }

    fn turn(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.connection, &mut self.is_over, cx);
    }
}

/// Lets the connection do what can be done now.
fn drive(
    connection: &mut Connection<TokioIo<Socket>, Full<Bytes>>,
    is_over: &mut bool,
    cx: &mut Context<'_>,
) {
    if !*is_over {
        *is_over = Pin::new(connection).poll(cx).is_ready();
    }
}
