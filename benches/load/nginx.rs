//! nginx's two ways to stand before Ollama: as a plain proxy, and with its cache keyed on the body.

use std::path::Path;

/// A configuration for one worker that proxies `port` to `upstream` over kept-alive connections and keeps
/// all of its files under `dir`. `caching` adds the fastest cache that nginx has for POST.
pub fn config(dir: &Path, port: u16, upstream: u16, caching: bool) -> String {
    let dir = dir.display();
    let (zone, rules) = if caching { (zone(&dir), RULES) } else { (String::new(), "") };
    format!(
        "user root;
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  sendfile on;
  tcp_nodelay on;
  keepalive_timeout 75s;
  keepalive_requests 1000000000;
  client_max_body_size 64m;
  client_body_buffer_size 64k;
  client_body_in_single_buffer on;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
{zone}  upstream ollama {{
    server 127.0.0.1:{upstream};
    keepalive 128;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://ollama;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
{rules}    }}
  }}
}}
"
    )
}

fn zone(dir: &impl std::fmt::Display) -> String {
    format!("  proxy_cache_path {dir}/cache keys_zone=answers:64m inactive=24h use_temp_path=off;\n")
}

/// The key stands in the head of each cache file and is read with it: the buffer must hold both.
const RULES: &str = "      proxy_buffer_size 32k;
      proxy_buffers 8 32k;
      proxy_cache answers;
      proxy_cache_methods POST;
      proxy_cache_key \"$uri|$http_authorization|$request_body\";
      proxy_cache_valid 200 24h;
";
