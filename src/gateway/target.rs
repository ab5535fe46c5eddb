//! A request's target, taken apart.

/// What stands before the question mark.
pub fn path(target: &[u8]) -> &[u8] {
    memchr::memchr(b'?', target).map_or(target, |mark| &target[..mark])
}

/// What follows the question mark, less `ts`: a signature's time makes no other question.
pub fn query(target: &[u8]) -> Vec<u8> {
    let Some(mark) = memchr::memchr(b'?', target) else { return Vec::new() };
    let pairs = target[mark + 1..].split(|&byte| byte == b'&');
    pairs.filter(|pair| !pair.starts_with(b"ts=")).collect::<Vec<_>>().join(&b'&')
}
