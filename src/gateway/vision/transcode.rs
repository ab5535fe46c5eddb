//! Makes the pictures readable that stand in calls of the upstream's own routes, where the settings want it.

use crate::dialect::encoding::Opened;
use crate::dialect::{self, pictures};
use crate::domain::{Call, Error, Film};
use crate::gateway::{Gateway, Request};

impl Gateway {
    /// Reads a body; pictures in it that not every engine reads are made anew. One that cannot be read here either
    /// goes on as it came, and the upstream judges it.
    pub(in crate::gateway) async fn read_with_pictures(
        &self,
        request: &Request<'_>,
    ) -> Result<(Opened, Call), Error> {
        let (form, (opened, call)) = (request.form, self.read(request).await?);
        // What another route has made a call of has been looked at there.
        if !self.way.eyes.config.transcode_native || request.route.template != form.path() {
            return Ok((opened, call));
        }
        let mut anew = Vec::new();
        for place in pictures::find(form, &opened.plain) {
            match self.develop(Film::Text(place.text.clone())).await {
                Ok(picture) if picture.is_anew => anew.push((place, picture.base64)),
                _ => {}
            }
        }
        if anew.is_empty() {
            return Ok((opened, call));
        }
        let others: Vec<_> = anew.iter().map(|(place, base64)| (place, &**base64)).collect();
        let plain = pictures::replace(form, &opened.plain, &others);
        let call = dialect::decode(form, plain.clone())?;
        Ok((opened.amended(plain), call))
    }
}
