//! Makes the pictures readable that stand in calls of the upstream's own routes, where the settings want it.

use crate::cache::Directives;
use crate::dialect::encoding::Opened;
use crate::dialect::pictures::{self, Place};
use crate::domain::{Call, Error, Film};
use crate::gateway::{Gateway, Request};
use crate::{dialect, media};
use std::sync::Arc;

/// Bytes of what is made of the pictures of one call. Beyond it they go on as they came.
const MOST_MADE: usize = 64 << 20;

impl Gateway {
    /// Reads a body; pictures in it that not every engine reads are made anew. One that cannot be read here either, or
    /// not now, goes on as it came, and the upstream judges it.
    pub(in crate::gateway) async fn read_with_pictures(
        &self,
        request: &Request<'_>,
        directives: Directives,
    ) -> Result<(Opened, Call), Error> {
        let (form, (opened, call)) = (request.form, self.read(request).await?);
        let media::Config { transcode_native, max_images, .. } = self.way.eyes.config;
        // What another route has made a call of has been looked at there.
        if !transcode_native || directives.no_transform || request.route.template != form.path() {
            return Ok((opened, call));
        }
        let size = opened.plain.len();
        let places = self.aside(size, || pictures::find(form, &opened.plain, max_images)).await;
        let anew = self.make_anew(places).await;
        if anew.is_empty() {
            return Ok((opened, call));
        }
        let replace = || {
            let others: Vec<_> = anew.iter().map(|(place, base64)| (place, &**base64)).collect();
            let plain = pictures::replace(form, &opened.plain, &others);
            dialect::decode(form, plain.clone()).map(|call| (plain, call))
        };
        let (plain, call) = self.aside(size, replace).await?;
        Ok((opened.amended(plain), call))
    }

    async fn make_anew(&self, places: Vec<Place>) -> Vec<(Place, Arc<str>)> {
        let (mut anew, mut made) = (Vec::new(), 0);
        for mut place in places {
            let film = Film::Text(std::mem::take(&mut place.text));
            if let Ok(picture) = self.develop(film).await
                && picture.is_anew
            {
                made += picture.base64.len();
                if made > MOST_MADE {
                    break;
                }
                anew.push((place, picture.base64));
            }
        }
        anew
    }
}
