use crate::domain::Template;
use bytes::Bytes;
pub fn cut(streamed: bool, frames: &[Bytes], model: &str) -> Option<Template> {
    let _ = (streamed, frames, model);
    todo!()
}
