//! Pingora as it comes: one upstream, one thread, nothing looked into and nothing written down.

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::proxy::http_proxy_service;
use pingora::server::configuration::ServerConf;

struct PassThrough {
    peer: HttpPeer,
}

/// Serves until the process is ended.
pub fn run(port: u16, upstream: u16) -> anyhow::Result<()> {
    let conf = ServerConf { threads: 1, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let peer = HttpPeer::new(("127.0.0.1", upstream), false, String::new());
    let mut proxy = http_proxy_service(&server.configuration, PassThrough { peer });
    proxy.add_tcp(&format!("127.0.0.1:{port}"));
    server.add_service(proxy);
    server.run_forever()
}

#[async_trait]
impl ProxyHttp for PassThrough {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(self.peer.clone()))
    }
}
