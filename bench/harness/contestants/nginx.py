"""Bare nginx as a reverse proxy: no key, no limit, no accounting. The floor of what relaying costs."""

from collections.abc import Mapping, Sequence

from harness.contestants.base import ALL_ROUNDS, Process, Side
from harness.mocks.nginx import find_nginx, nginx_version
from harness.place import Place

__all__ = ["Nginx"]


class Nginx:
    name = "nginx"
    title = "nginx"
    about = "reverse proxy, nothing else; one process, buffering off, upstream connections kept"
    checks_keys = False
    runs_model = False
    beside = None
    metrics = None
    rounds = ALL_ROUNDS
    ready_path = "/v1/models"

    def version(self) -> str:
        return f"nginx {nginx_version()}"

    def prepare(self, place: Place) -> None:
        folder = place.folder(self.name)
        (folder / "nginx.conf").write_text(
            f"""
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_rlimit_nofile 20000;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream provider {{
        server 127.0.0.1:{place.upstream_port};
        keepalive 256;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{place.port} backlog=8192;
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""
        )

    def renew(self, place: Place) -> None:
        """Nothing is kept."""

    def gateway(self, place: Place) -> Process:
        folder = place.folder(self.name)
        return Process([find_nginx(), "-p", str(folder), "-c", str(folder / "nginx.conf")])

    def sides(self, place: Place) -> Sequence[Side]:  # noqa: ARG002 - it has none
        return ()

    def headers(self) -> Mapping[str, str]:
        return {}
