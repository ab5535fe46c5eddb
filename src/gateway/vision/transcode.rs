//! Makes the pictures readable that stand in calls of the upstream's own routes, where the settings want it.

use crate::dialect::encoding::Opened;
use crate::dialect::{self, pictures};
use crate::domain::{Call, Error, Film};
use crate::gateway::{Gateway, Request};

impl Gateway {
    /// The call with pictures that every engine reads. One that cannot be read here goes on as it came, and the
    /// upstream judges it.
    pub(in crate::gateway) async fn with_readable_pictures(
        &self,
        request: &Request<'_>,
        (opened, call): (Opened, Call),
    ) -> Result<(Opened, Call), Error> {
        let form = request.form;
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
